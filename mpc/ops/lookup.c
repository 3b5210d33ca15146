/*
 * lookup of a public table T of 2^m rows at the index x / 2^s of a masked wire, with no opening of
 * its own: x^ is public and the dealer knows r, so with v = x^ >> s and p = r >> s, both modulo
 * 2^m,
 *
 *     v - p = floor(x / 2^s), or one more where the low bits of x and r carry: faithful.
 *
 * The dealer XOR-shares the one-hot vector h of p, and
 *
 *     S_0 = sum_j h_0[j] T[v - j],   S_1 = - sum_j h_1[j] T[v - j],   S_0 + S_1 = sg T[v - p],
 *
 * with sg = h_0[p] - h_1[p] = +-1, which the dealer knows. S is opened under r_S; one round. Then
 *
 *     T[.]   = sg S^ - sg r_S                                            CORR: sg, sg r_S
 *     T[.] t = S^ t^ sg - S^ (sg r_t) - t^ (sg r_S) + sg r_S r_t         CORR: sg r_t, sg r_S r_t
 *
 * so that an entry, or the slope of a line, is multiplied with a masked wire t without being opened
 * again. Where t is cut, R_t = r_t - c m 2^k takes r_t's place: two more corrections modulo
 * 2^(l-k).
 *
 * Tables do not clamp. What an index of one more finds must be right for x too, and a plan that can
 * leave its table says so by a range operation.
 */
#include "base/secret.h"
#include "mpc/ops/hot.h"
#include "mpc/ops/product.h"
#include "mpc/tape.h"

#include <stdlib.h>
#include <string.h>

/* Corrections of one element: planes of as many elements as there are lookups. */
enum plane {
    PLANE_SIGN,          /* sg */
    PLANE_SIGN_T,        /* sg r_t */
    PLANE_SIGN_MASK_T,   /* sg r_S r_t, of the column that t multiplies */
    PLANE_SIGN_MASK,     /* sg r_S, a plane a column */
    PLANES_OF_ENTRY = 1, /* without t: the first, and one a column */
};
enum carried_plane { CARRIED_SIGN, CARRIED_SIGN_MASK, CARRIED_PLANES };

struct shape {
    const struct table *table;
    const struct wire *x, *t; /* t: NULL when nothing is multiplied */
    size_t count, cols;       /* lookups; columns of the table */
    size_t words;             /* 64-bit words of a one-hot vector */
    size_t planes, mask_plane;
    size_t carried; /* planes of the corrections modulo 2^carry_bits */
    unsigned int ring, carry_bits;
};

static struct shape shape_of(const struct plan *plan, const struct variant *v, const struct op *op)
{
    const struct wire *x = &v->wires[op->in[0]];
    const struct wire *t = op->input_count > 1 ? &v->wires[op->in[1]] : NULL;
    const struct table *table = &plan->tables[op->attr[LOOKUP_TABLE]];
    struct shape s = {
        .table = table,
        .x = x,
        .t = t,
        .count = wire_elements(x),
        .cols = table->cols,
        .words = ring_bit_words((size_t)1 << table->bits),
        .mask_plane = t ? PLANE_SIGN_MASK : PLANES_OF_ENTRY,
        .ring = x->ring,
        .carry_bits = 1,
    };

    s.planes = s.mask_plane + s.cols;
    if (t && t->cut) {
        s.carried = CARRIED_PLANES;
        s.carry_bits = wire_carry_bits(t);
    }
    return s;
}

static size_t hot_bytes(const struct shape *s)
{
    return s->count * s->words * sizeof(uint64_t);
}

static size_t plane_bytes(const struct shape *s)
{
    return ring_bytes(s->count * s->planes, s->ring);
}

static int infer_multiplied(const struct plan *plan, const struct variant *v, const struct op *op,
                            struct err *err)
{
    const struct wire *x = &v->wires[op->in[0]], *t;
    int rc = product_need_masked(v, op->in[1], err);

    if (rc < 0)
        return rc;
    t = &v->wires[op->in[1]];
    if (wire_elements(t) != wire_elements(x) || t->ring != x->ring)
        return err_set(err, -EINVAL, "what it multiplies is not one element an index");
    if (plan->tables[op->attr[LOOKUP_TABLE]].cols > 2)
        return err_set(err, -EINVAL, "a line has an entry and a slope, no more");
    return 0;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    int64_t frac = op->attr[LOOKUP_FRAC], number = op->attr[LOOKUP_TABLE];
    int64_t shift = op->attr[LOOKUP_SHIFT];
    const struct wire *x;
    int rc = product_need_masked(v, op->in[0], err);

    if (rc < 0)
        return rc;
    x = &v->wires[op->in[0]];
    rc = hot_need_rows(plan, x, number, shift, err);
    if (rc < 0)
        return rc;
    if (frac < -64 || frac > 64)
        return err_set(err, -EINVAL, "its result has %" PRId64 " fraction bits", frac);
    *ret = (struct wire){
        .kind = WIRE_SHARE,
        .ring = x->ring,
        .frac = (int8_t)frac,
        .rows = (uint32_t)wire_elements(x),
        .cols = op->input_count > 1 ? 1 : plan->tables[number].cols,
    };
    return op->input_count > 1 ? infer_multiplied(plan, v, op, err) : 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    struct shape s = shape_of(plan, v, op);

    ret->bytes_online = ring_bytes(s.count * s.cols, s.ring);
    ret->rounds_online = 1;
    ret->bytes_tape =
        hot_bytes(&s) + plane_bytes(&s) + ring_field_bytes(s.count * s.carried, s.carry_bits);
    ret->scratch_words = s.count * (s.words + 3 * s.cols + 2 * s.planes + s.carried);
}

/* --- clear --- */

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    struct shape s = shape_of(c->walk.plan, c->walk.variant, op);
    const uint64_t *x = walk_at(&c->walk, op->in[0]);
    const int64_t *t = s.t ? (const int64_t *)walk_at(&c->walk, op->in[1]) : NULL;
    uint64_t *z = walk_at(&c->walk, op->out), *draw = c->walk.scratch;
    uint64_t low = (1ull << op->attr[LOOKUP_SHIFT]) - 1;
    size_t out = s.t ? 1 : s.cols;
    double *exact = malloc(s.count * out * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    /* The low bits of the wire's mask: all lookups at one wire find the same row. */
    if (c->rounding == CLEAR_RANDOM)
        prg_words(c->rounding_prg, op->in[0], STREAM_MASK, 0, draw, s.count);
    for (size_t i = 0; i < s.count; i++) {
        uint64_t at = x[i] + (c->rounding == CLEAR_RANDOM ? draw[i] & low : 0);
        uint64_t row = at >> op->attr[LOOKUP_SHIFT] & ring_mask(s.table->bits);
        const int64_t *entry = s.table->entries + row * s.cols;

        if (t) {
            z[i] = (s.cols > 1 ? (uint64_t)entry[0] : 0) +
                   (uint64_t)entry[s.cols - 1] * (uint64_t)t[i];
            exact[i] =
                (s.cols > 1 ? (double)entry[0] : 0) + (double)entry[s.cols - 1] * (double)t[i];
            continue;
        }
        for (size_t j = 0; j < s.cols; j++) {
            z[i * s.cols + j] = (uint64_t)entry[j];
            exact[i * s.cols + j] = (double)entry[j];
        }
    }
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

/* --- dealer --- */

/* Every plane of element @i; its masks r_S, a column after the other, stand at @mask. */
static void fill_planes(const struct deal *d, const struct op *op, const struct shape *s, size_t i,
                        uint64_t sign, const uint64_t *mask, uint64_t *planes, uint64_t *carried)
{
    size_t n = s->count;

    planes[PLANE_SIGN * n + i] = sign;
    for (size_t j = 0; j < s->cols; j++)
        planes[(s->mask_plane + j) * n + i] = sign * mask[j * n + i];
    if (s->t) {
        uint64_t rt = walk_mask(&d->walk, op->in[1])[i], last = mask[(s->cols - 1) * n + i];

        planes[PLANE_SIGN_T * n + i] = sign * rt;
        planes[PLANE_SIGN_MASK_T * n + i] = sign * last * rt;
        if (s->carried) {
            uint64_t m = rt >> (s->t->cut - 1);

            carried[CARRIED_SIGN * n + i] = sign * m;
            carried[CARRIED_SIGN_MASK * n + i] = sign * last * m;
        }
    }
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    struct shape s = shape_of(d->walk.plan, d->walk.variant, op);
    size_t values = s.count * s.cols, planes = s.count * s.planes, carries = s.count * s.carried;
    const uint64_t *r = walk_mask(&d->walk, op->in[0]);
    uint64_t *hot = d->walk.scratch, *mask = hot + s.count * s.words, *mask1 = mask + values;
    uint64_t *plane = mask1 + values, *carried = plane + planes, *scratch = carried + carries;

    prg_words(d->prg[0], op->index, STREAM_TABLES, 0, hot, s.count * s.words);
    prg_words(d->prg[0], op->index, STREAM_MASK, 0, mask, values);
    prg_words(d->prg[1], op->index, STREAM_MASK, 0, mask1, values);
    for (size_t i = 0; i < values; i++)
        mask[i] += mask1[i];
    for (size_t i = 0; i < s.count; i++) {
        uint64_t p = r[i] >> op->attr[LOOKUP_SHIFT] & ring_mask(s.table->bits);
        uint64_t sign = hot_deal(hot + i * s.words, s.words, p);

        fill_planes(d, op, &s, i, sign, mask, plane, carried);
    }
    memcpy(tape, hot, hot_bytes(&s));
    tape += hot_bytes(&s);
    op_deal_correction(d, op, STREAM_CORR, plane, planes, s.ring, tape, scratch);
    op_deal_fields(d, op, STREAM_CORR_2, carried, carries, s.carry_bits, tape + plane_bytes(&s),
                   scratch);
}

/* --- parties --- */

/* S of every lookup, in planes. */
static void masked_sums(const struct online *o, const struct op *op, const struct shape *s,
                        const uint64_t *hot, uint64_t *ret)
{
    const uint64_t *hat = walk_at(&o->walk, op->in[0]);

    for (size_t i = 0; i < s->count; i++, hot += s->words)
        hot_sum(&o->walk, s->table, hot, hat[i] >> op->attr[LOOKUP_SHIFT], o->party, s->ring,
                ret + i, s->count);
}

/* T[.] t of the last column, added to @z. */
static void add_multiplied(const struct online *o, const struct op *op, const struct shape *s,
                           const uint64_t *opened, const uint64_t *plane, const uint64_t *carried,
                           uint64_t *z)
{
    const uint64_t *hat = opened + (s->cols - 1) * s->count, *t = walk_at(&o->walk, op->in[1]);
    const uint64_t *sign_mask = plane + (s->mask_plane + s->cols - 1) * s->count;
    size_t n = s->count;

    for (size_t i = 0; i < n; i++) {
        uint64_t sign_t = plane[PLANE_SIGN_T * n + i];
        uint64_t sign_mask_t = plane[PLANE_SIGN_MASK_T * n + i];

        if (s->carried) {
            uint64_t c = op_carry(s->t, t[i]);

            sign_t -= (c * carried[CARRIED_SIGN * n + i]) << s->t->cut;
            sign_mask_t -= (c * carried[CARRIED_SIGN_MASK * n + i]) << s->t->cut;
        }
        z[i] += hat[i] * (t[i] * plane[PLANE_SIGN * n + i] - sign_t) - t[i] * sign_mask[i] +
                sign_mask_t;
    }
}

static void finish(const struct online *o, const struct op *op, const struct shape *s,
                   const uint64_t *opened, const uint64_t *plane, const uint64_t *carried)
{
    uint64_t *z = walk_at(&o->walk, op->out);
    size_t n = s->count, out = s->t ? 1 : s->cols, entries = s->t ? s->cols - 1 : s->cols;

    memset(z, 0, n * out * sizeof(*z));
    for (size_t j = 0; j < entries; j++)
        for (size_t i = 0; i < n; i++)
            z[i * out + j] =
                plane[PLANE_SIGN * n + i] * opened[j * n + i] - plane[(s->mask_plane + j) * n + i];
    if (s->t)
        add_multiplied(o, op, s, opened, plane, carried, z);
}

static int online(struct online *o, const struct op *op)
{
    struct shape s = shape_of(o->walk.plan, o->walk.variant, op);
    size_t values = s.count * s.cols, planes = s.count * s.planes, carries = s.count * s.carried;
    uint64_t *hot = o->walk.scratch, *sum = hot + s.count * s.words, *mask = sum + values;
    uint64_t *opened = mask + values, *plane = opened + values, *carried = plane + planes;
    int rc;

    if (o->party == 0)
        prg_words(o->prg, op->index, STREAM_TABLES, 0, hot, s.count * s.words);
    else
        memcpy(hot, op_tape(o->tape, op), hot_bytes(&s));
    masked_sums(o, op, &s, hot, sum);
    rc = op_open(o, op, sum, mask, opened, values, s.ring);
    if (rc < 0)
        return rc;
    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, hot_bytes(&s), plane, planes, s.ring);
    op_fields(o, op, STREAM_CORR_2, hot_bytes(&s) + plane_bytes(&s), 0, carried, carries,
              s.carry_bits);
    finish(o, op, &s, opened, plane, carried);
    return 0;
}

const struct op_kind op_lookup = {
    .name = "lookup",
    .inputs_min = 1,
    .inputs_max = 2,
    .attrs_min = LOOKUP_ATTRS,
    .attrs_max = LOOKUP_ATTRS,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
