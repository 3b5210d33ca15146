/*
 * loss: what training makes small, and its gradients by what a network gives.
 *
 * Losses are means over sequences, tokens or scores that are there; none counts padding. Of a part
 * of a batch it is what that part adds to the mean over @all. Rows of logits are (sequence, label).
 */
#ifndef DISTILL_LOSS_H
#define DISTILL_LOSS_H

#include "distill/network.h"

/** Cross-entropy with the labels @right (sequence), numbers of logits. */
double loss_labels(const real *logits, const double *right, size_t sequences, size_t labels,
                   size_t all, real *ret_gradient);

/** Squared error of one logit a sequence. */
double loss_scores(const real *logits, const double *right, size_t sequences, size_t all,
                   real *ret_gradient);

/** Cross-entropy with the probabilities that @teacher's logits give: soft labels, temperature 1. */
double loss_teacher(const real *logits, const real *teacher, size_t sequences, size_t labels,
                    size_t all, real *ret_gradient);

/** Mean squared error, as doubles. */
double loss_square(const real *x, const real *y, size_t count, size_t all, real *ret_gradient);

#endif
