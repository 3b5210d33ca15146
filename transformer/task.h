/*
 * task: labelled text for a classifier, from the files of GLUE and of IMDb, each in its own
 * columns.
 *
 * A file is tab-separated UTF-8, a row a line, LF or CRLF, with or without a byte order mark, and
 * without quoting: a quotation mark is text like any other, as GLUE has it. Its columns are found
 * by the names in its first line; a file whose first line is a row already is read by position,
 * when it has as many columns as GLUE's file. A label is its number, in the order that struct task
 * gives and GLUE has, or its name.
 *
 * A bad line is told to the caller, counted and left out: too few columns or too many, a label that
 * the task does not have, no text, a text over TOKENIZER_TEXT_BYTES_MAX, a NUL, no UTF-8.
 */
#ifndef TRANSFORMER_TASK_H
#define TRANSFORMER_TASK_H

#include "base/hash.h"
#include "transformer/config.h"
#include "transformer/metric.h"

#define TASK_LABELS_MAX     3
#define TASK_METRICS_MAX    2
#define TASK_FILE_BYTES_MAX ((size_t)1 << 30)

struct task {
    const char *name;                /* "SST-2" */
    const char *text, *pair, *label; /* names of columns; pair is NULL where a row is one text */
    const char *layout;              /* GLUE's columns, for messages */
    struct {
        unsigned int text, pair, label; /* label counts from the last column */
        unsigned int columns, columns_or;
    } unnamed;          /* where the columns stand in a file whose first line is a row */
    size_t label_count; /* 0: a score, from 0 to score_max */
    const char *labels[TASK_LABELS_MAX], *aliases[TASK_LABELS_MAX];
    double score_max;
    enum metric metrics[TASK_METRICS_MAX]; /* (metric_count), the main one first */
    size_t metric_count;
};

struct task_row {
    const char *text, *pair; /* pair is NULL unless task->pair */
    double label;            /* the label's number in the task's order, or the score */
    size_t line;             /* of the file, from 1 on */
};

/* A file's rows in its order; the texts lie in @bytes. Zeroed is an empty one. */
struct task_data {
    struct task_row *rows;
    size_t count, bad;
    uint8_t digest[HASH_BYTES]; /* of the whole file */
    char *bytes;
    size_t byte_count;
};

/* Told of each bad line, if not NULL: @what completes "FILE:LINE: the line ...". */
struct task_listener {
    void (*bad)(void *context, size_t line, const char *what);
    void *context;
};

/** By its name, whatever its case and with or without its dash ("sst2"); NULL: there is none. */
const struct task *task_find(const char *name);

/** "CoLA, SST-2, ...". */
void task_names(char *ret, size_t size);

/**
 * Read @path, at most @rows_max good rows of it (0: all). The caller calls task_data_free() on
 * success. -EINVAL: its first line is neither the names of the task's columns nor a row, it has no
 * labels (GLUE's test files), no good row; -EFBIG; what opening and reading say.
 */
MUST_CHECK int task_read(const struct task *t, const char *path, size_t rows_max,
                         const struct task_listener *listener, struct task_data *ret,
                         struct err *err);

/** Wipes. */
void task_data_free(struct task_data *d);

/**
 * Which of a model's logits stands for each of the task's labels: @ret_map is (label_count), or
 * ret_map[0] = 0 for a score. By name (case and the characters " _-" do not matter, "neg" is
 * "negative") when all of the task's labels are among the model's; by number when none is, as with
 * "LABEL_0"; *ret_by_name says which. -EINVAL when some are and some are not, or their numbers
 * differ; a score takes a model of one logit.
 */
MUST_CHECK int task_map_labels(const struct task *t, const struct model_config *config,
                               size_t ret_map[TASK_LABELS_MAX], bool *ret_by_name, struct err *err);

#endif
