/*
 * cut: truncate by s bits and open at once, for what elementwise products read. No truncation bit,
 * and l - s bits an element instead of l + 1. One round.
 *
 * Modulo 2^k, k = l - s, shares can be truncated on their own: where they wrap around 2^l, the
 * shifted ones are off by 2^k, which is nothing. Party 0 adds 2^(l-2) + 2^s - 1 to its share before
 * the shift, so that y' = y + 2^(k-2) lies in 0..2^(k-1) - 1 and y is faithful as in truncate.c.
 * Opened under r in Z_2^k, y^ = y' + r modulo 2^k. Over the integers
 *
 *     y' = y^ - (r - c m 2^k),     m = msb(r),  c = 1 - msb(y^),
 *
 * since y' + r passes 2^k only if r >= 2^(k-1), and exactly then y^ < 2^(k-1). So the wire is a
 * masked one in the ring of l bits, Y = y^ - 2^(k-2) under R = r - c m 2^k, with c public. The
 * dealer knows r but not c: of a correction that holds R it deals both terms. With b the carry of
 * the two mask shares,
 *
 *     [R]_i = [r]_i - [b]_i 2^k - c [m]_i 2^k                          CORR modulo 2^s: b, m
 *
 * Where what comes out may lie in the ring of k bits itself, no carry counts: y^ - 2^(k-2) is a
 * whole masked wire under r there, and nothing is dealt.
 */
#include "base/secret.h"
#include "mpc/op.h"

#include <string.h>

/* Corrections that are unpacked at once: with what they are for they stay in the first cache. */
#define FIELDS_AT_ONCE 1024

_Static_assert(2 * FIELDS_AT_ONCE <= OP_ROUND_SCRATCH, "both corrections are at hand");

static unsigned int shift_of(const struct op *op)
{
    return (unsigned int)op->attr[CUT_SHIFT];
}

static bool is_whole(const struct op *op)
{
    return op->attr_count > CUT_WHOLE && op->attr[CUT_WHOLE];
}

/* Bits that are opened. */
static unsigned int bits_of(const struct wire *out)
{
    return out->cut ? out->cut : out->ring;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    int64_t shift = op->attr[CUT_SHIFT], relabel = op->attr[CUT_RELABEL], frac;

    (void)plan;
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != WIRE_SHARE)
        return err_set(err, -EINVAL, "its input is no share wire");
    *ret = v->wires[op->in[0]];
    if (shift < 1 || shift > ret->ring - 8)
        return err_set(err, -EINVAL, "a shift of %" PRId64 " in a ring of %u bits", shift,
                       ret->ring);
    if (relabel < -64 || relabel > 64)
        return err_set(err, -EINVAL, "it relabels by more than 64 bits");
    frac = ret->frac - shift + relabel;
    if (frac < -64 || frac > 64)
        return err_set(err, -EINVAL, "its result has %" PRId64 " fraction bits", frac);
    ret->kind = WIRE_MASKED;
    ret->frac = (int8_t)frac;
    ret->cut = (uint8_t)(ret->ring - shift);
    if (!is_whole(op))
        return 0;
    if (op->attr[CUT_WHOLE] != 1 || !ring_narrow_valid(ret->cut))
        return err_set(err, -EINVAL, "no ring of %u bits", ret->cut);
    ret->ring = ret->cut;
    ret->cut = 0;
    return 0;
}

/* Eight elements of k bits are k bytes: what is sent is whole groups of them. */
static size_t groups(size_t count)
{
    return wire_padded(count) / 8;
}

/* Bytes of the corrections, whole groups too. */
static size_t fields(size_t count, unsigned int bits)
{
    return groups(count) * bits;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    const struct wire *out = &v->wires[op->out];
    size_t count = wire_elements(out);

    (void)plan;
    ret->bytes_online = groups(count) * bits_of(out);
    ret->rounds_online = 1;
    ret->bytes_tape = is_whole(op) ? 0 : 2 * fields(count, shift_of(op));
    ret->scratch_words = MAX(3 * wire_padded(count), (size_t)OP_ROUND_SCRATCH);
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    return op_clear_truncate(c, op, shift_of(op), err);
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    const struct wire *out = op_wire(&d->walk, op->out);
    size_t count = wire_padded(wire_elements(out)), bytes = fields(count, shift_of(op));
    uint64_t *r = walk_mask(&d->walk, op->out), *b = d->walk.scratch, *m = b + count;
    unsigned int k = bits_of(out);

    prg_words(d->prg[0], op->index, STREAM_MASK, 0, r, count);
    prg_words(d->prg[1], op->index, STREAM_MASK, 0, b, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = (r[i] & ring_mask(k)) + (b[i] & ring_mask(k));

        r[i] = sum & ring_mask(k);
        b[i] = sum >> k;
        m[i] = r[i] >> (k - 1);
    }
    if (is_whole(op))
        return;
    op_deal_fields(d, op, STREAM_CORR, b, count, shift_of(op), tape, m + count);
    op_deal_fields(d, op, STREAM_CORR_2, m, count, shift_of(op), tape + bytes, m + count);
}

struct opening {
    struct online *o;
    const struct op *op;
    const struct wire *out;
    unsigned int ring; /* of x */
    const uint64_t *x;
    uint64_t *hat, *r;
    size_t field_bytes; /* of the first corrections on the tape */
};

/* The last group is filled up with masks of its own, over whatever stands behind the share. */
static void fill(void *context, size_t first, size_t count, uint8_t *to)
{
    const struct opening *open = context;
    const struct online *o = open->o;
    unsigned int l = open->ring, s = shift_of(open->op);
    uint64_t offset = o->party == 0 ? (1ull << (l - 2)) + (1ull << s) - 1 : 0;
    size_t at = 8 * first, n = 8 * count;

    prg_words(o->prg, open->op->index, STREAM_MASK, at, open->r + at, n);
    o->walk.kernels->hide_cut(open->hat + at, to, open->x + at, open->r + at, n, offset, s, l,
                              bits_of(open->out));
    CT_DECLASSIFY(open->hat + at, n * sizeof(*open->hat));
}

static void use(void *context, size_t first, size_t count, const uint8_t *from)
{
    const struct opening *open = context;
    const struct online *o = open->o;
    uint64_t *b = o->walk.scratch, *m = b + FIELDS_AT_ONCE;
    size_t end = 8 * (first + count);

    for (size_t at = 8 * first; at < end; at += FIELDS_AT_ONCE) {
        size_t n = MIN(end - at, (size_t)FIELDS_AT_ONCE);

        if (is_whole(open->op)) {
            /* A carry is a multiple of the ring. */
            memset(b, 0, n * sizeof(*b));
            memset(m, 0, n * sizeof(*m));
        } else {
            op_fields(o, open->op, STREAM_CORR, 0, at, b, n, shift_of(open->op));
            op_fields(o, open->op, STREAM_CORR_2, open->field_bytes, at, m, n, shift_of(open->op));
        }
        o->walk.kernels->reveal_cut(open->hat + at, open->r + at, from, b, m, n,
                                    bits_of(open->out));
        from += n / 8 * bits_of(open->out);
    }
}

/* Of a whole one, which a matrix product may read. */
static void prepare(struct prepare *p, const struct op *op)
{
    if (is_whole(op))
        prg_words(p->prg, op->index, STREAM_MASK, 0, walk_mask(&p->walk, op->out),
                  wire_elements(op_wire(&p->walk, op->out)));
}

static int online(struct online *o, const struct op *op)
{
    const struct wire *out = op_wire(&o->walk, op->out);
    size_t count = wire_elements(out);
    struct opening open = {
        .o = o,
        .op = op,
        .out = out,
        .ring = op_wire(&o->walk, op->in[0])->ring,
        .x = walk_at(&o->walk, op->in[0]),
        .hat = walk_at(&o->walk, op->out),
        .r = walk_mask(&o->walk, op->out),
        .field_bytes = fields(count, shift_of(op)),
    };

    return op_send(o, op, groups(count), bits_of(out), 8, fill, use, &open, sizeof(open));
}

const struct op_kind op_cut = {
    .name = "cut",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = CUT_ATTRS,
    .attrs_max = CUT_ATTRS_MAX,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .prepare = prepare,
    .online = online,
    .pulls = true,
};
