#include "mpc/cost.h"

#include <string.h>

static void add(struct cost *to, const struct op_cost *c)
{
    to->bytes_online += c->bytes_online;
    to->rounds_online += c->rounds_online;
    to->bytes_tape += c->bytes_tape;
    to->prepared_words += c->prepared_words;
    to->macs_online += c->macs_online;
    to->ops++;
}

void cost_variant(const struct plan *plan, const struct variant *v, struct cost *ret_total,
                  struct cost *ret_kinds)
{
    *ret_total = (struct cost){0};
    if (ret_kinds)
        memset(ret_kinds, 0, OP_ID_END * sizeof(*ret_kinds));
    for (size_t i = 0; i < v->op_count; i++) {
        struct op_cost c = {0};

        op_kind(v->ops[i].id)->cost(plan, v, &v->ops[i], &c);
        add(ret_total, &c);
        if (ret_kinds)
            add(&ret_kinds[v->ops[i].id], &c);
    }
}
