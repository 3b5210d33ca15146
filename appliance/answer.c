#include "appliance/answer.h"

#include <math.h>

void answer_add(const struct plan *plan, const struct variant *v, uint64_t *const share[2],
                size_t count, double ret_logits[], const struct guard *ret_outside[])
{
    int scale = plan_labels_only(plan) ? 0 : -plan->frac;
    int64_t *sum = (int64_t *)share[0];

    for (size_t i = 0; i < plan_answers(plan, v); i++)
        sum[i] = ring_signed(share[0][i] + share[1][i], plan->ring);
    for (size_t s = 0; s < count; s++) {
        ret_outside[s] = plan_outside(plan, v, sum, s);
        for (size_t i = s * plan->labels; i < (s + 1) * plan->labels; i++)
            ret_logits[i] = ret_outside[s] ? NAN : ldexp((double)sum[i], scale);
    }
}
