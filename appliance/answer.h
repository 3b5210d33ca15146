/*
 * answer: both parties' shares of an answer, added: where the data owner learns it.
 */
#ifndef APPLIANCE_ANSWER_H
#define APPLIANCE_ANSWER_H

#include "mpc/plan.h"

/**
 * @share: plan_answers() values of each party, of a job on @v; overwritten. @ret_logits:
 * plan->labels for each of the first @count sequences; NaN for one of which a value left the plan's
 * range, and @ret_outside (count) then names the guard that saw it first: its logits mean nothing.
 * Of a plan that gives labels only a "logit" is 1 or 0. NULL for the others. CT: not constant time;
 * runs at the owner of the answer.
 */
void answer_add(const struct plan *plan, const struct variant *v, uint64_t *const share[2],
                size_t count, double ret_logits[], const struct guard *ret_outside[]);

/* What to tell people of a guard; its name goes in. */
#define ANSWER_OUTSIDE                                                                             \
    "a value left the range that the plan was made for, at %s: the answer is not to be trusted; "  \
    "ask the model's owner to share it again with sample text like this one, or with a wider "     \
    "--ring"

#endif
