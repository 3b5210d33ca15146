/*
 * probe: how far a student with other functions is from its teacher, on a fixed part of the
 * training set, as it is or after a few steps of MPCFormer's first stage.
 *
 * The rows are the first of the training set in the order of the seed, those that it is measured on
 * and then those that it learns from, which are others where there are enough. No development data
 * is looked at. The same arguments give the same bits, on as many threads.
 */
#ifndef DISTILL_PROBE_H
#define DISTILL_PROBE_H

#include "distill/corpus.h"
#include "distill/trainer.h"

struct probe {
    const struct corpus *train;
    const struct checkpoint *teacher;
    struct network *teacher_net;
    struct trainer_settings settings;
    size_t rows;  /* that it is measured on, at most the training set's */
    size_t steps; /* before that */
    size_t batch; /* sequences a step */
    double rate;  /* of each step */
};

/**
 * The student of @config, which begins with the teacher's weights (student.h): *ret is the mean
 * over the rows of what its answer's cross-entropy with the teacher's is above the teacher's own,
 * or of a score the squared difference: 0 for the teacher itself. -ERANGE: not finite; -ENOMEM.
 */
MUST_CHECK int probe_loss(const struct probe *p, const struct model_config *config, double *ret,
                          struct err *err);

#endif
