/* course_state: the file from which a course goes on. docs/formats.md has its bytes. */
#ifndef DISTILL_COURSE_STATE_H
#define DISTILL_COURSE_STATE_H

#include "base/hash.h"
#include "distill/trainer.h"

/* Where a course is. All of it is in the file, in this order. */
struct course_state {
    uint64_t stage, epoch, batch; /* the next batch to train on */
    uint64_t epochs;              /* trained, of all stages */
    double loss_sum;              /* of this epoch's batches */
    double best;                  /* metric of this stage, and after how many epochs */
    uint64_t best_epoch;          /* 0: none yet */
    uint64_t log_bytes;           /* of log.tsv that belong to this state */
};

/** Durable and atomic; mode 0600, since the weights are in it. */
MUST_CHECK int course_state_save(const char *path, const uint8_t course[HASH_BYTES],
                                 const struct course_state *s, const struct trainer *t,
                                 struct err *err);

/** -ENOENT: there is none. -EINVAL: not a state, or of another course than @course. */
MUST_CHECK int course_state_load(const char *path, const uint8_t course[HASH_BYTES],
                                 struct course_state *ret, struct trainer *t, struct err *err);

#endif
