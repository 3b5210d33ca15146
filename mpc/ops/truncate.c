/*
 * faithful truncation: y is the floor or the ceiling of x / 2^s, unbiased, for
 * -2^(l-2) <= x <= 2^(l-2) - 2^s. One bit an element, one round.
 *
 * Party 0 adds 2^(l-2) + 2^s - 1 to its share. With v_i = 1 - msb([x]_i), the shares wrapped
 * exactly if not both v_i are 1. Each party opens e_i = v_i XOR a_i, never the wrap bit itself;
 * with [a_0 a_1] modulo 2^s from the dealer,
 *
 *     v_0 v_1 = e_0 e_1 + e_0 (1 - 2 e_1) a_1 + e_1 (1 - 2 e_0) a_0
 *             + (1 - 2 e_0)(1 - 2 e_1) a_0 a_1                               (modulo 2^s)
 *     [y]_i   = ([x]_i >> s) - [1 - v_0 v_1]_i 2^(l-s) - (i == 0) 2^(l-2-s).
 *
 * The same bit lifts y to a wider ring of l' bits, with [a_0 a_1] modulo 2^(s + l' - l); then s may
 * be 0.
 */
#include "base/secret.h"
#include "mpc/op.h"
#include "mpc/tape.h"

#include <string.h>

static unsigned int shift_of(const struct op *op)
{
    return (unsigned int)op->attr[TRUNCATE_SHIFT];
}

/* Bits of the wrap bit's corrections: all of it above that is a multiple of the ring that comes
 * out.
 */
static unsigned int field_bits(const struct walk *w, const struct op *op)
{
    return shift_of(op) + op_wire(w, op->out)->ring - op_wire(w, op->in[0])->ring;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    int64_t shift = op->attr[TRUNCATE_SHIFT], relabel = op->attr[TRUNCATE_RELABEL], frac;
    int64_t ring = op->attr[TRUNCATE_RING];

    (void)plan;
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != WIRE_SHARE)
        return err_set(err, -EINVAL, "its input is no share wire");
    *ret = v->wires[op->in[0]];
    if (ring && (ring < ret->ring || !ring_valid((unsigned int)MIN(ring, 255))))
        return err_set(err, -EINVAL, "a lift from %u to %" PRId64 " bits", ret->ring, ring);
    if (shift < (ring > ret->ring ? 0 : 1) || shift > ret->ring - 2)
        return err_set(err, -EINVAL, "a shift of %" PRId64 " in a ring of %u bits", shift,
                       ret->ring);
    if (relabel < -64 || relabel > 64)
        return err_set(err, -EINVAL, "it relabels by more than 64 bits");
    frac = ret->frac - shift + relabel;
    if (frac < -64 || frac > 64)
        return err_set(err, -EINVAL, "its result has %" PRId64 " fraction bits", frac);
    ret->frac = (int8_t)frac;
    if (ring)
        ret->ring = (uint8_t)ring;
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    const struct wire *in = &v->wires[op->in[0]], *out = &v->wires[op->out];
    size_t count = wire_elements(out), words = ring_bit_words(count);

    (void)plan;
    ret->bytes_online = words * sizeof(uint64_t);
    ret->rounds_online = 1;
    ret->bytes_tape = ring_field_bytes(count, shift_of(op) + out->ring - in->ring);
    ret->scratch_words = 2 * count + 3 * words;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    return op_clear_truncate(c, op, shift_of(op), err);
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    size_t count = wire_elements(op_wire(&d->walk, op->out)), words = ring_bit_words(count);
    uint64_t *c = d->walk.scratch, *a0 = c + count, *a1 = a0 + words;

    prg_words(d->prg[0], op->index, STREAM_BITS, a0, words);
    prg_words(d->prg[1], op->index, STREAM_BITS, a1, words);
    for (size_t i = 0; i < count; i++)
        c[i] = (a0[i / 64] & a1[i / 64]) >> i % 64 & 1;
    op_deal_fields(d, op, STREAM_CORR, c, count, field_bits(&d->walk, op), tape, a1 + words);
}

/* e = v XOR a in 64-element words; bits past the last element stay those of a, which are random. */
static void wrap_bits(const struct online *o, const struct op *op, uint64_t offset,
                      const uint64_t *a, uint64_t *e)
{
    const struct wire *in = op_wire(&o->walk, op->in[0]);
    const uint64_t *x = walk_at(&o->walk, op->in[0]);
    size_t count = wire_elements(in);

    memcpy(e, a, ring_bit_words(count) * sizeof(*e));
    for (size_t i = 0; i < count; i++)
        e[i / 64] ^= (~(x[i] + offset) >> (in->ring - 1) & 1) << i % 64;
}

static int online(struct online *o, const struct op *op)
{
    const struct wire *in = op_wire(&o->walk, op->in[0]);
    size_t count = wire_elements(in), words = ring_bit_words(count);
    const uint64_t *x = walk_at(&o->walk, op->in[0]);
    uint64_t *y = walk_at(&o->walk, op->out);
    uint64_t *c = o->walk.scratch, *a = c + count, *mine = a + words, *sum = mine + words;
    unsigned int l = in->ring, s = shift_of(op);
    uint64_t first = o->party == 0;
    uint64_t offset = first * ((1ull << (l - 2)) + (1ull << s) - 1);
    int rc;

    prg_words(o->prg, op->index, STREAM_BITS, a, words);
    wrap_bits(o, op, offset, a, mine);
    memcpy(sum, mine, words * sizeof(*sum));
    rc = op_open_bits(o, sum, words);
    if (rc < 0)
        return rc;
    CT_DECLASSIFY(mine, words * sizeof(*mine));
    op_fields(o->prg, o->tape, o->party, op, STREAM_CORR, 0, c, count, field_bits(&o->walk, op));
    for (size_t i = 0; i < count; i++) {
        uint64_t me = mine[i / 64] >> i % 64 & 1, other = (sum[i / 64] >> i % 64 & 1) ^ me;
        uint64_t bit = a[i / 64] >> i % 64 & 1;
        uint64_t both =
            first * me * other + other * (1 - 2 * me) * bit + (1 - 2 * me) * (1 - 2 * other) * c[i];

        y[i] = (((x[i] + offset) & ring_mask(l)) >> s) - ((first - both) << (l - s)) -
               (first << (l - 2 - s));
    }
    return 0;
}

const struct op_kind op_truncate = {
    .name = "truncate",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = TRUNCATE_ATTRS,
    .attrs_max = TRUNCATE_ATTRS,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
