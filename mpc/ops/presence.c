/*
 * presence: which tokens of a bucket are there, where their number is secret: a wire that the data
 * owner shares like its rows (enum presence), and its local use. Of a sum over tokens' columns it
 * takes out those that are not there.
 */
#include "mpc/op.h"

#include <stdlib.h>
#include <string.h>

static void cost_nothing(const struct plan *plan, const struct variant *v, const struct op *op,
                         struct op_cost *ret)
{
    (void)plan, (void)v, (void)op, (void)ret;
}

/* --- presence: the data owner's share of it --- */

static int presence_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                          struct wire *ret, struct err *err)
{
    if (v->length != LENGTH_BUCKET)
        return err_set(err, -EINVAL, "lengths are public here");
    /* The first is then the input, since no other kind has nothing to read. */
    if (op->index != 1)
        return err_set(err, -EINVAL, "it is not the second operation");
    *ret = (struct wire){
        .kind = WIRE_SHARE,
        .ring = plan->ring,
        .rows = v->batch * v->tokens,
        .cols = PRESENCE_COLS,
    };
    return 0;
}

static void take(const struct walk *w, const struct op *op, const uint64_t *input)
{
    const uint64_t *from = input + variant_presence_at(w->variant);
    uint64_t *to = walk_at(w, op->out);

    if (to != from)
        memcpy(to, from, wire_elements(op_wire(w, op->out)) * sizeof(*to));
}

static int presence_clear(struct clear *c, const struct op *op, struct err *err)
{
    (void)err;
    take(&c->walk, op, c->input);
    return 0;
}

static int presence_online(struct online *o, const struct op *op)
{
    take(&o->walk, op, o->input);
    return 0;
}

const struct op_kind op_presence = {
    .name = "presence",
    .infer = presence_infer,
    .cost = cost_nothing,
    .clear = presence_clear,
    .online = presence_online,
};

/* --- add presence: y = x + factor * (1 in columns of tokens that are there) + add --- */

static bool is_share(const struct variant *v, uint32_t operand)
{
    return !operand_is_weight(operand) && v->wires[operand].kind == WIRE_SHARE;
}

static int add_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                     struct wire *ret, struct err *err)
{
    const struct wire *p;

    (void)plan;
    if (!is_share(v, op->in[0]) || !is_share(v, op->in[1]))
        return err_set(err, -EINVAL, "its input is no share wire");
    *ret = v->wires[op->in[0]];
    p = &v->wires[op->in[1]];
    if (ret->cols != v->tokens || ret->rows % v->batch)
        return err_set(err, -EINVAL, "its columns are not the tokens of %u sequences", v->batch);
    if (p->rows != v->batch * v->tokens || p->cols != 1 || p->ring != ret->ring || p->frac)
        return err_set(err, -EINVAL, "no presence of one column in its ring");
    return 0;
}

static void add_cost(const struct plan *plan, const struct variant *v, const struct op *op,
                     struct op_cost *ret)
{
    (void)plan, (void)op;
    ret->scratch_words = v->tokens;
}

static void add(const struct walk *w, const struct op *op, uint64_t constant)
{
    const struct wire *in = op_wire(w, op->in[0]);
    const uint64_t *x = walk_at(w, op->in[0]), *p = walk_at(w, op->in[1]);
    uint64_t *y = walk_at(w, op->out), *row = w->scratch;
    size_t rows = in->rows / w->variant->batch;

    for (size_t s = 0; s < w->variant->batch; s++, p += in->cols) {
        for (size_t i = 0; i < in->cols; i++)
            row[i] = (uint64_t)op->attr[ADD_PRESENCE_FACTOR] * p[i] + constant;
        for (size_t r = 0; r < rows; r++, x += in->cols, y += in->cols)
            for (size_t i = 0; i < in->cols; i++)
                y[i] = x[i] + row[i];
    }
}

static int add_clear(struct clear *c, const struct op *op, struct err *err)
{
    const struct wire *in = op_wire(&c->walk, op->in[0]);
    const uint64_t *x = walk_at(&c->walk, op->in[0]), *p = walk_at(&c->walk, op->in[1]);
    size_t count = wire_elements(in), each = count / c->walk.variant->batch;
    double *exact = malloc(count * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int64_t there = (int64_t)p[i / each * in->cols + i % in->cols];

        exact[i] = (double)(int64_t)x[i] + (double)op->attr[ADD_PRESENCE_FACTOR] * (double)there +
                   (double)op->attr[ADD_PRESENCE_ADD];
    }
    add(&c->walk, op, (uint64_t)op->attr[ADD_PRESENCE_ADD]);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static int add_online(struct online *o, const struct op *op)
{
    add(&o->walk, op, o->party == 0 ? (uint64_t)op->attr[ADD_PRESENCE_ADD] : 0);
    return 0;
}

const struct op_kind op_add_presence = {
    .name = "add presence",
    .inputs_min = 2,
    .inputs_max = 2,
    .attrs_min = ADD_PRESENCE_ATTRS,
    .attrs_max = ADD_PRESENCE_ATTRS,
    .infer = add_infer,
    .cost = add_cost,
    .clear = add_clear,
    .online = add_online,
};
