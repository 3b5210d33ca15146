/* score: the figures of an evaluation, from its results. */
#ifndef APPLIANCE_SCORE_H
#define APPLIANCE_SCORE_H

#include "appliance/results.h"

/* Two scores agree when they are this part of the range apart, or less: of STS-B's, half the step
 * between the means of five people that its labels are. */
#define SCORE_AGREE_PART 0.02

/** The logit error of a row: of its worst logit. */
double score_error(const struct results *r, size_t row);

/**
 * The first @count >= 1 rows: "n", "metric" (the task's main one), "private" and "float" (its
 * values), "agree" (the part of the rows that private and float answer alike), each with a 95 %
 * interval ("private_interval" ..); "metrics", all of the task's by name; "logit_error_max" and
 * "_median"; means of what a query cost, its part of its job; "texts_cut"; "outside", the rows that
 * left the plan's range, which agree with nothing and are wrong (a score of 0, a logit error of 0).
 * Of the float model alone what is of the private one is not there. -ENOMEM.
 */
MUST_CHECK int score_describe(const struct results *r, size_t count, json_t **ret, struct err *err);

#endif
