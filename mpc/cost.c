#include "mpc/cost.h"

#include <string.h>

/* The wire that an operation makes, or reads where it makes none. */
static const struct wire *wire_of(const struct variant *v, const struct op *op)
{
    uint32_t at = op->out;

    for (size_t i = 0; at == OPERAND_NONE && i < op->input_count; i++)
        if (!(op->in[i] & OPERAND_WEIGHT))
            at = op->in[i];
    return at == OPERAND_NONE ? NULL : &v->wires[at];
}

struct cost cost_op(const struct plan *plan, const struct variant *v, const struct op *op)
{
    const struct wire *wire = wire_of(v, op);
    struct op_cost c = {0};
    double work = 0;

    op_kind(op->id)->cost(plan, v, op, &c);
    if (wire && c.macs_online)
        work = (double)c.macs_online * wire->ring * wire->ring / 4096;
    else if (wire)
        work = (double)wire_elements(wire);
    return (struct cost){.bytes_online = c.bytes_online,
                         .rounds_online = c.rounds_online,
                         .bytes_tape = c.bytes_tape,
                         .prepared_words = c.prepared_words,
                         .macs_online = c.macs_online,
                         .work = work,
                         .ops = 1};
}

static void add(struct cost *to, const struct cost *c)
{
    to->bytes_online += c->bytes_online;
    to->rounds_online += c->rounds_online;
    to->bytes_tape += c->bytes_tape;
    to->prepared_words += c->prepared_words;
    to->macs_online += c->macs_online;
    to->work += c->work;
    to->ops += c->ops;
}

void cost_variant(const struct plan *plan, const struct variant *v, struct cost *ret_total,
                  struct cost *ret_kinds)
{
    *ret_total = (struct cost){0};
    if (ret_kinds)
        memset(ret_kinds, 0, OP_ID_END * sizeof(*ret_kinds));
    for (size_t i = 0; i < v->op_count; i++) {
        struct cost c = cost_op(plan, v, &v->ops[i]);

        add(ret_total, &c);
        if (ret_kinds)
            add(&ret_kinds[v->ops[i].id], &c);
    }
}
