/*
 * elementwise product of masked wires; y may have one element a row of x:
 *
 *     [xy]_i = x^ (i y^ - [r_y]_i) - [r_x]_i y^ + [r_x r_y]_i
 *
 * x may be cut: its mask is then R = r - c m 2^k, and R r_y = r r_y - c m r_y 2^k.
 */
#include "mpc/ops/product.h"
#include "mpc/tape.h"

#include <stdlib.h>

/* Elements of x that one element of y multiplies: 1, or a row. */
static size_t spread(const struct walk *w, const struct op *op)
{
    return wire_elements(op_wire(w, op->in[0])) / wire_elements(op_wire(w, op->in[1]));
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    const struct wire *x, *y;
    int rc = product_need_masked(v, op->in[0], err);

    (void)plan;
    if (rc == 0)
        rc = product_need_whole(v, op->in[1], err);
    if (rc < 0)
        return rc;
    x = &v->wires[op->in[0]];
    y = &v->wires[op->in[1]];
    if (x->ring != y->ring || (wire_elements(y) != wire_elements(x) && wire_elements(y) != x->rows))
        return err_set(err, -EINVAL, "its inputs do not fit elementwise");
    *ret = *x;
    ret->kind = WIRE_SHARE;
    ret->cut = 0;
    return product_frac(x->frac, y->frac, &ret->frac, err);
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    const struct wire *x = &v->wires[op->in[0]], *out = &v->wires[op->out];
    size_t count = wire_elements(out);

    (void)plan;
    ret->bytes_tape =
        ring_bytes(count, out->ring) + ring_field_bytes(x->cut ? count : 0, wire_carry_bits(x));
    ret->scratch_words = 2 * count;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    size_t count = wire_elements(op_wire(&c->walk, op->out)), width = spread(&c->walk, op);
    const uint64_t *x = walk_at(&c->walk, op->in[0]), *y = walk_at(&c->walk, op->in[1]);
    uint64_t *z = walk_at(&c->walk, op->out);
    double *exact = malloc(count * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        z[i] = x[i] * y[i / width];
        exact[i] = (double)(int64_t)x[i] * (double)(int64_t)y[i / width];
    }
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    const struct wire *x = op_wire(&d->walk, op->in[0]), *out = op_wire(&d->walk, op->out);
    const uint64_t *rx = walk_mask(&d->walk, op->in[0]), *ry = walk_mask(&d->walk, op->in[1]);
    size_t count = wire_elements(out), width = spread(&d->walk, op);
    uint64_t *c = d->walk.scratch;

    for (size_t i = 0; i < count; i++)
        c[i] = rx[i] * ry[i / width];
    op_deal_correction(d, op, STREAM_CORR, c, count, out->ring, tape, c + count);
    if (!x->cut)
        return;
    for (size_t i = 0; i < count; i++)
        c[i] = 0 - (rx[i] >> (x->cut - 1)) * ry[i / width];
    op_deal_fields(d, op, STREAM_CORR_2, c, count, wire_carry_bits(x),
                   tape + ring_bytes(count, out->ring), c + count);
}

static int online(struct online *o, const struct op *op)
{
    const struct wire *in = op_wire(&o->walk, op->in[0]), *out = op_wire(&o->walk, op->out);
    const uint64_t *x = walk_at(&o->walk, op->in[0]), *rx = walk_mask(&o->walk, op->in[0]);
    const uint64_t *y = walk_at(&o->walk, op->in[1]), *ry = walk_mask(&o->walk, op->in[1]);
    size_t count = wire_elements(out), width = spread(&o->walk, op);
    uint64_t *z = walk_at(&o->walk, op->out), *q = o->walk.scratch;

    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, 0, z, count, out->ring);
    for (size_t at = 0; at < count; at += width) {
        uint64_t yh = y[at / width], w = o->party * yh - ry[at / width];

        for (size_t i = at; i < at + width; i++)
            z[i] += x[i] * w - rx[i] * yh;
    }
    if (!in->cut)
        return 0;
    op_fields(o->prg, o->tape, o->party, op, STREAM_CORR_2, ring_bytes(count, out->ring), q, count,
              wire_carry_bits(in));
    product_add_carried(z, in, x, q, count, 1);
    return 0;
}

const struct op_kind op_mul = {
    .name = "mul",
    .inputs_min = 2,
    .inputs_max = 2,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
