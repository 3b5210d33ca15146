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

/* Words of bits that are used at once: what 64 times as many elements need stays in the first
 * cache.
 */
#define WORDS_AT_ONCE 16

_Static_assert(64 * WORDS_AT_ONCE <= OP_ROUND_SCRATCH, "its corrections are at hand");

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
    ret->scratch_words = MAX(2 * count, (size_t)OP_ROUND_SCRATCH) + 2 * words;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    return op_clear_truncate(c, op, shift_of(op), err);
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    size_t count = wire_elements(op_wire(&d->walk, op->out)), words = ring_bit_words(count);
    uint64_t *c = d->walk.scratch, *a0 = c + count, *a1 = a0 + words;

    prg_words(d->prg[0], op->index, STREAM_BITS, 0, a0, words);
    prg_words(d->prg[1], op->index, STREAM_BITS, 0, a1, words);
    for (size_t i = 0; i < count; i++)
        c[i] = (a0[i / 64] & a1[i / 64]) >> i % 64 & 1;
    op_deal_fields(d, op, STREAM_CORR, c, count, field_bits(&d->walk, op), tape, a1 + words);
}

struct opening {
    struct online *o;
    const struct op *op;
    unsigned int ring, shift, bits; /* bits: of a correction */
    uint64_t offset;
    size_t count;
    const uint64_t *x;
    uint64_t *y, *a, *mine;
};

static void fill(void *context, size_t first, size_t count, uint8_t *to)
{
    const struct opening *open = context;
    uint64_t *a = open->a + first, *mine = open->mine + first;
    size_t n = MIN(open->count - 64 * first, 64 * count);

    prg_words(open->o->prg, open->op->index, STREAM_BITS, first, a, count);
    open->o->walk.kernels->wrap_bits(mine, open->x + 64 * first, a, n, open->offset, open->ring);
    CT_DECLASSIFY(mine, count * sizeof(*mine));
    memcpy(to, mine, count * sizeof(*mine));
}

static void use(void *context, size_t first, size_t count, const uint8_t *from)
{
    const struct opening *open = context;
    const struct online *o = open->o;
    uint64_t *c = o->walk.scratch, sum[WORDS_AT_ONCE];

    for (size_t w = first; w < first + count; w += WORDS_AT_ONCE) {
        size_t words = MIN(first + count - w, (size_t)WORDS_AT_ONCE), at = 64 * w;
        size_t n = MIN(open->count - at, 64 * words);

        memcpy(sum, from + (w - first) * sizeof(*sum), words * sizeof(*sum));
        for (size_t i = 0; i < words; i++)
            sum[i] ^= open->mine[w + i];
        op_fields(o, open->op, STREAM_CORR, 0, at, c, n, open->bits);
        o->walk.kernels->truncate(open->y + at, open->x + at, open->mine + w, sum, open->a + w, c,
                                  n, open->offset, open->shift, open->ring, o->party == 0);
    }
}

static int online(struct online *o, const struct op *op)
{
    const struct wire *in = op_wire(&o->walk, op->in[0]);
    size_t count = wire_elements(in), words = ring_bit_words(count);
    struct opening open = {
        .o = o,
        .op = op,
        .ring = in->ring,
        .shift = shift_of(op),
        .bits = field_bits(&o->walk, op),
        .count = count,
        .x = walk_at(&o->walk, op->in[0]),
        .y = walk_at(&o->walk, op->out),
        .a = o->walk.scratch + OP_ROUND_SCRATCH,
        .mine = o->walk.scratch + OP_ROUND_SCRATCH + words,
    };
    int rc = 0;

    /* The bits of a truncation before this one lie where this one's are to lie. */
    if (o->rounds[o->newest].kind == OP_TRUNCATE)
        rc = op_settle(o);
    if (o->party == 0)
        open.offset = (1ull << (open.ring - 2)) + (1ull << open.shift) - 1;
    return rc < 0 ? rc
                  : op_send(o, op, words, sizeof(uint64_t), 64, fill, use, &open, sizeof(open));
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
    .pulls = true,
};
