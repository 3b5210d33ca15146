/*
 * join: share wires side by side, factor x + add of each. Local. The elements that a wire has of
 * one sequence become columns of that sequence's one row, so that wires of any shapes can be opened
 * and compared at once.
 */
#include "mpc/op.h"

#include <stdlib.h>

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    size_t cols = 0;

    if (op->attr_count != JOIN_ATTRS * op->input_count)
        return err_set(err, -EINVAL, "%u numbers for %u inputs", op->attr_count, op->input_count);
    for (size_t i = 0; i < op->input_count; i++) {
        const struct wire *in;

        if (operand_is_weight(op->in[i]) || v->wires[op->in[i]].kind != WIRE_SHARE)
            return err_set(err, -EINVAL, "input %zu is no share wire", i);
        in = &v->wires[op->in[i]];
        if (in->ring != plan->ring)
            return err_set(err, -EINVAL, "input %zu is not in the plan's ring", i);
        if (in->rows % v->batch)
            return err_set(err, -EINVAL, "the %u rows of input %zu are not %u sequences", in->rows,
                           i, v->batch);
        cols += wire_elements(in) / v->batch;
    }
    if (cols > PLAN_DIM_MAX)
        return err_set(err, -EINVAL, "%zu columns", cols);
    *ret = (struct wire){
        .kind = WIRE_SHARE, .ring = plan->ring, .rows = v->batch, .cols = (uint32_t)cols};
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    (void)plan, (void)v, (void)op, (void)ret;
}

/* Party 1 leaves out what is @added. In the clear, @exact gets the same unreduced. */
static void join(const struct walk *w, const struct op *op, bool added, double *exact)
{
    size_t batch = w->variant->batch, cols = op_wire(w, op->out)->cols, at = 0;

    for (size_t i = 0; i < op->input_count; i++) {
        const uint64_t *x = walk_at(w, op->in[i]);
        int64_t factor = op->attr[JOIN_ATTRS * i + JOIN_FACTOR];
        int64_t add = added ? op->attr[JOIN_ATTRS * i + JOIN_ADD] : 0;
        size_t each = wire_elements(op_wire(w, op->in[i])) / batch;

        for (size_t s = 0; s < batch; s++)
            for (size_t j = 0; j < each; j++, x++) {
                walk_at(w, op->out)[s * cols + at + j] = (uint64_t)factor * *x + (uint64_t)add;
                if (exact)
                    exact[s * cols + at + j] = (double)factor * (double)(int64_t)*x + (double)add;
            }
        at += each;
    }
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    double *exact = malloc(wire_elements(op_wire(&c->walk, op->out)) * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    join(&c->walk, op, true, exact);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static int online(struct online *o, const struct op *op)
{
    join(&o->walk, op, o->party == 0, NULL);
    return 0;
}

const struct op_kind op_join = {
    .name = "join",
    .inputs_min = 1,
    .inputs_max = PLAN_INPUTS_MAX,
    .attrs_min = JOIN_ATTRS,
    .attrs_max = JOIN_ATTRS * PLAN_INPUTS_MAX,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .online = online,
};
