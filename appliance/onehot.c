#include "appliance/onehot.h"

#include "mpc/op.h"

size_t onehot_columns(const struct plan *plan)
{
    return (size_t)plan->vocabulary + plan->types;
}

int onehot_check(const struct plan *plan, const struct encoding *e, struct err *err)
{
    if (e->count < 1 || e->count > ENCODING_TOKENS_MAX || !plan_variant(plan, (uint32_t)e->count))
        return err_set(err, -EINVAL, "%zu tokens: the plan takes 1 to %u", e->count,
                       plan->variants[plan->variant_count - 1].tokens);
    for (size_t i = 0; i < e->count; i++)
        if (e->ids[i] >= plan->vocabulary || (plan->types && e->types[i] >= plan->types))
            return err_set(err, -EINVAL,
                           "a token or its type is not in the plan: vocab.txt is another model's");
    return 0;
}

void onehot_share_row(const struct plan *plan, const struct encoding *e, size_t row,
                      struct prg *prg, unsigned int party, uint64_t *ret)
{
    size_t at = MIN(row, e->count - 1);
    uint32_t id = e->ids[at], type = e->types[at];

    prg_words(prg, (uint32_t)row, STREAM_MASK, 0, ret, onehot_columns(plan));
    if (party == 1)
        return;
    for (uint32_t i = 0; i < plan->vocabulary; i++)
        ret[i] = (uint64_t)(i == id) - ret[i];
    for (uint32_t i = 0; i < plan->types; i++)
        ret[plan->vocabulary + i] = (uint64_t)(i == type) - ret[plan->vocabulary + i];
}
