/*
 * course: training from its first stage to its last, and what is kept of it.
 *
 * In the folder of the result lie
 *
 *     config.json, model.safetensors   the best so far on the development set, of the last stage
 *     log.tsv                          a line every LOG_STEPS steps and one an epoch
 *     training.state                   where the course is, until it is over
 *
 * The state is written, whole or not at all, at the start, at each epoch's end and every @save_ns.
 * A course that was killed at any moment goes on from the last one and computes the same bits as if
 * it had not been; the state says by a digest what course it belongs to, and another is refused.
 */
#ifndef DISTILL_COURSE_H
#define DISTILL_COURSE_H

#include "distill/corpus.h"
#include "distill/trainer.h"

#define COURSE_STAGES_MAX 2
#define COURSE_EPOCHS_MAX 100000

struct stage {
    const char *name; /* in the log */
    enum objective_kind kind;
    size_t epochs;       /* 0: left out */
    double rate, warmup; /* warmup: the part of all steps in which the rate rises from 0 */
    bool falls;          /* the rate, to 0 at the last step; else it stays */
};

struct course {
    struct stage stages[COURSE_STAGES_MAX];
    size_t stage_count;
    const struct task *task;
    const struct corpus *train, *dev;
    const size_t *map;        /* (TASK_LABELS_MAX), see corpus_make() */
    struct checkpoint *model; /* what training begins with, and then changes */
    struct trainer_settings settings;
    struct objective objective; /* its kind is each stage's */
    size_t batch;               /* sequences */
    size_t patience;            /* epochs without a better metric before a stage ends; 0: any */
    uint64_t save_ns;
    const char *out;
    uint8_t data_digest[HASH_BYTES]; /* of the files that train and dev were read from */
    bool quiet;                      /* no progress on stderr */
    uint64_t steps_max;              /* of this call, to go on another time; 0: to the end */
};

struct course_result {
    double best;         /* the metric on dev of what lies in the folder */
    size_t best_epoch;   /* of the stage that it is in, from 1 on; 0: none yet */
    size_t epochs;       /* trained, of all stages, before and after a resumption */
    double tokens_per_s; /* of this process */
    bool resumed, finished;
};

/**
 * Train, or go on where @c->out/training.state says. -EEXIST: the folder holds a finished model;
 * -EINVAL: a state of another course; -EBUSY: another process is at it. Whatever else fails leaves
 * the state where it was.
 */
MUST_CHECK int course_run(const struct course *c, struct course_result *ret, struct err *err);

#endif
