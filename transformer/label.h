/*
 * label: of logits only which one is the largest, for owners of models who give no more away.
 *
 * Every logit i is compared with every later one j in one go: g_ij = [x_i >= x_j], so that of equal
 * ones the first wins, as argmax has it. Logit i wins sum_{j>i} g_ij + sum_{j<i} (1 - g_ji) times,
 * and exactly one of n wins n - 1 times. Of two labels that is the answer, of more the wins are
 * compared with n - 1 in a second go. What comes out is shared anew by the last operation, so that
 * both halves together say the label and nothing else.
 */
#ifndef TRANSFORMER_LABEL_H
#define TRANSFORMER_LABEL_H

#include "transformer/builder.h"

/** All pairs are compared: of so many labels 2016 a sequence. */
#define LABEL_MOST 64

/**
 * @logits: a row of plan->labels, 2 to LABEL_MOST, for each sequence, in the plan's ring, that are
 * less than 2^(bits - 1) apart. The same shape with a 1 for the largest and 0 for the others.
 */
uint32_t build_labels(struct builder *b, uint32_t logits, int bits);

#endif
