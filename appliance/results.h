/*
 * results: what `mpcformer eval` found, a row of the task's file a line, so that a run that was
 * ended goes on where it stopped and a report can be made of it later.
 *
 * JSON lines. The first says what the rows are of:
 *
 *     {"results": 1, "task", "data", "data_sha256", "model", "functions", "ring", "frac",
 *      "plan_sha256", "float_sha256", "labels", "labels_by", "error_bound"}
 *
 * and "labels_only": true of a plan that gives no logits: the private ones are 1 or 0 then.
 * plan_sha256 is of the plan without the split that it is of: the same model, shared again in the
 * same way, has the same. With the float model alone plan_sha256, ring, frac and error_bound are
 * null. Then, for each row of the file in its order,
 *
 *     {"index", "line", "label", "private": [logits], "float": [logits], "tokens", "dropped",
 *      "batch", "online_ms", "offline_ms", "bytes_online", "rounds_online",
 *      "ops": {KIND: [ms, bytes, rounds]}}
 *
 * Logits are in the task's order of labels; the private ones of a text that left the plan's range
 * are null. From "batch" on it is what the whole job cost in which
 * the row was one of "batch"; none of it, nor "private", is there with the float model alone.
 *
 * Lines are appended whole and synced every few seconds, so that what a crash can take is the rows
 * under way, and of a crash of the machine those seconds. A last line that was cut off is removed;
 * damage anywhere else is refused. The file is its owner's alone (0600): answers stand in it.
 */
#ifndef APPLIANCE_RESULTS_H
#define APPLIANCE_RESULTS_H

#include "mpc/op.h"
#include "transformer/task.h"

#include <jansson.h>

#define RESULTS_VERSION   1
#define RESULTS_BYTES_MAX ((size_t)4 << 30)
#define RESULTS_SYNC_NS   UINT64_C(2000000000)

struct result {
    size_t index, line;
    double label; /* in the task's order, or the score */
    double logits[TASK_LABELS_MAX], float_logits[TASK_LABELS_MAX];
    size_t tokens, dropped; /* of the text, and cut off from it */
    size_t batch;           /* 0: the float model alone */
    bool outside;           /* it left the plan's range: no private logits */
    double online_ms, offline_ms;
    uint64_t bytes_online, rounds_online;
};

/** The operation of that name; 0: there is none. */
unsigned int results_op(const char *name);

/* By operation kind, of a row: its part of its job. */
struct result_cost {
    double ms, bytes, rounds;
};

/* Zeroed is none. */
struct results {
    json_t *head;
    const struct task *task;
    size_t labels; /* logits a row */
    bool private;  /* not of the float model alone */
    struct result *rows;
    size_t count;
    struct result_cost ops[OP_ID_END]; /* summed over the rows */
};

void results_free(struct results *r);

/** Read @path for a report: a last line that is cut off does not count. -EBADMSG: damaged, or no
 * results (line named). The caller frees. */
MUST_CHECK int results_read(const char *path, struct results *ret, struct err *err);

/* A file that is being written. */
struct results_file;

/**
 * Open or create @path for rows of @head, and lock it. *ret is what it has already.
 * -EINVAL: it holds the results of something else (named); -EBADMSG: damaged, or no results;
 * -EWOULDBLOCK: another process writes it.
 */
MUST_CHECK int results_open(const char *path, const json_t *head, struct results_file **ret_file,
                            struct results *ret, struct err *err);

/** Append a row, and count it in @to. @stats is its job's (NULL without one). */
MUST_CHECK int results_add(struct results_file *f, struct results *to, const struct result *row,
                           const struct online_stats *stats, struct err *err);

/** Sync and close; NULL is nothing. */
MUST_CHECK int results_close(struct results_file *f, struct err *err);

/** An evaluation that no file keeps: @head as in the file. */
MUST_CHECK int results_start(const json_t *head, struct results *ret, struct err *err);

#endif
