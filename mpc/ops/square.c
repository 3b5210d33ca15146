/*
 * square of a masked wire, elementwise or summed along rows (one correction a row):
 *
 *     [x^2]_i = i x^ x^ - 2 x^ [r]_i + [r^2]_i
 *
 * Of a cut wire, whose mask is R = r - c m 2^k, R^2 = r^2 + c (m 2^k - 2 r m) 2^k.
 */
#include "mpc/ops/product.h"
#include "mpc/tape.h"

#include <stdlib.h>

/* Elements that one result sums: 1, or a row. */
static size_t width_of(const struct walk *w, const struct op *op)
{
    return op->attr[SQUARE_SUM_ROWS] ? op_wire(w, op->in[0])->cols : 1;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    int rc = product_need_masked(v, op->in[0], err);

    (void)plan;
    if (rc < 0)
        return rc;
    if (op->attr[SQUARE_SUM_ROWS] < 0 || op->attr[SQUARE_SUM_ROWS] > 1)
        return err_set(err, -EINVAL, "it neither sums rows nor leaves them");
    *ret = v->wires[op->in[0]];
    ret->kind = WIRE_SHARE;
    ret->cut = 0;
    if (op->attr[SQUARE_SUM_ROWS])
        ret->cols = 1;
    return product_frac(ret->frac, ret->frac, &ret->frac, err);
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    const struct wire *in = &v->wires[op->in[0]], *out = &v->wires[op->out];
    size_t carried = in->cut ? wire_elements(in) : 0;

    (void)plan;
    ret->bytes_tape =
        ring_bytes(wire_elements(out), out->ring) + ring_field_bytes(carried, wire_carry_bits(in));
    ret->scratch_words = 2 * MAX(wire_elements(out), carried);
}

static void squares(uint64_t *to, const uint64_t *x, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = 0;
        for (size_t j = 0; j < width; j++, x++)
            to[i] += *x * *x;
    }
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    size_t count = wire_elements(op_wire(&c->walk, op->out)), width = width_of(&c->walk, op);
    const uint64_t *x = walk_at(&c->walk, op->in[0]);
    double *exact = calloc(count, sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    squares(walk_at(&c->walk, op->out), x, count, width);
    for (size_t i = 0; i < count * width; i++)
        exact[i / width] += (double)(int64_t)x[i] * (double)(int64_t)x[i];
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static void deal_carried(struct deal *d, const struct op *op, uint8_t *tape)
{
    const struct wire *in = op_wire(&d->walk, op->in[0]);
    const uint64_t *r = walk_mask(&d->walk, op->in[0]);
    size_t count = wire_elements(in);
    uint64_t *q = d->walk.scratch;

    for (size_t i = 0; i < count; i++)
        q[i] = (r[i] >> (in->cut - 1)) * ((1ull << in->cut) - 2 * r[i]);
    op_deal_fields(d, op, STREAM_CORR_2, q, count, wire_carry_bits(in), tape, q + count);
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    const struct wire *in = op_wire(&d->walk, op->in[0]), *out = op_wire(&d->walk, op->out);
    uint64_t *c = d->walk.scratch;
    size_t count = wire_elements(out);

    squares(c, walk_mask(&d->walk, op->in[0]), count, width_of(&d->walk, op));
    op_deal_correction(d, op, STREAM_CORR, c, count, out->ring, tape, c + count);
    if (in->cut)
        deal_carried(d, op, tape + ring_bytes(count, out->ring));
}

/* The carried halves, summed as the squares are. */
static void add_carried(struct online *o, const struct op *op, uint64_t *z, size_t width)
{
    const struct wire *in = op_wire(&o->walk, op->in[0]), *out = op_wire(&o->walk, op->out);
    const uint64_t *x = walk_at(&o->walk, op->in[0]);
    uint64_t *q = o->walk.scratch;
    size_t count = wire_elements(in);

    op_fields(o->prg, o->tape, o->party, op, STREAM_CORR_2,
              ring_bytes(wire_elements(out), out->ring), q, count, wire_carry_bits(in));
    product_add_carried(z, in, x, q, count / width, width);
}

static int online(struct online *o, const struct op *op)
{
    const struct wire *out = op_wire(&o->walk, op->out);
    const uint64_t *x = walk_at(&o->walk, op->in[0]), *r = walk_mask(&o->walk, op->in[0]);
    size_t count = wire_elements(out), width = width_of(&o->walk, op);
    uint64_t *z = walk_at(&o->walk, op->out), party = o->party;

    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, 0, z, count, out->ring);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < width; j++, x++, r++)
            z[i] += *x * (party * *x - 2 * *r);
    if (op_wire(&o->walk, op->in[0])->cut)
        add_carried(o, op, z, width);
    return 0;
}

const struct op_kind op_square = {
    .name = "square",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = SQUARE_ATTRS,
    .attrs_max = SQUARE_ATTRS,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
