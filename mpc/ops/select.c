/*
 * select: a masked wire's element where a bit is one, else zero. With a random bit B that the
 * dealer deals as XOR shares (from the two seeds), as [B] and as [B r_x], m = b XOR B is opened,
 * and
 *
 *     [b x] = m [x] + (1 - 2m) (x^ [B] - [B r_x]).
 *
 * Of a cut wire, whose mask is R = r - c u 2^k with u = msb(r), B R = B r - c B u 2^k.
 */
#include "base/secret.h"
#include "mpc/ops/product.h"
#include "mpc/tape.h"

#include <string.h>

/* Words of bits that are used at once: what they select stays in the first cache. */
#define WORDS_AT_ONCE 4
#define AT_ONCE       (64 * WORDS_AT_ONCE)

enum plane { PLANE_BIT, PLANE_BIT_MASK, PLANES };

struct shape {
    const struct wire *bits, *x;
    size_t count, words; /* of results */
    size_t padded;       /* of a plane of corrections */
    size_t times;        /* results an element of x */
    size_t column, step; /* of the first bit that is used; from one to the next */
    size_t carried;      /* elements of the carry's corrections */
};

static bool has_column(const struct op *op)
{
    return op->attr_count > SELECT_COLUMN;
}

static struct shape shape_of(const struct variant *v, const struct op *op)
{
    struct shape s = {.bits = &v->wires[op->in[0]], .x = &v->wires[op->in[1]]};

    s.times = has_column(op) ? 1 : s.bits->cols;
    s.column = has_column(op) ? (size_t)op->attr[SELECT_COLUMN] : 0;
    s.step = has_column(op) ? s.bits->cols : 1;
    s.count = wire_elements(s.x) * s.times;
    s.words = ring_bit_words(s.count);
    s.padded = wire_padded(s.count);
    s.carried = s.x->cut ? s.padded : 0;
    return s;
}

static size_t plane_bytes(const struct shape *s)
{
    return ring_bytes(s->padded, s->x->ring);
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    const struct wire *bits, *x;
    int rc;

    (void)plan;
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != WIRE_BITS)
        return err_set(err, -EINVAL, "its input holds no bits");
    rc = product_need_masked(v, op->in[1], err);
    if (rc < 0)
        return rc;
    bits = &v->wires[op->in[0]];
    x = &v->wires[op->in[1]];
    if (wire_elements(x) != bits->rows)
        return err_set(err, -EINVAL, "its bits are not one row an element");
    if (has_column(op) &&
        (op->attr[SELECT_COLUMN] < 0 || op->attr[SELECT_COLUMN] >= (int64_t)bits->cols))
        return err_set(err, -EINVAL, "column %" PRId64 " of %u", op->attr[SELECT_COLUMN],
                       bits->cols);
    *ret = (struct wire){
        .kind = WIRE_SHARE,
        .ring = x->ring,
        .frac = x->frac,
        .rows = has_column(op) ? x->rows : bits->rows,
        .cols = has_column(op) ? x->cols : bits->cols,
    };
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    struct shape s = shape_of(v, op);

    (void)plan;
    ret->bytes_online = s.words * sizeof(uint64_t);
    ret->rounds_online = 1;
    ret->bytes_tape = PLANES * plane_bytes(&s) + s.carried / 8 * wire_carry_bits(s.x);
    ret->scratch_words = 2 * s.words + 2 * PLANES * s.padded;
}

static uint64_t bit_at(const uint64_t *bits, const struct shape *s, size_t i)
{
    size_t at = s->column + i * s->step;

    return bits[at / 64] >> at % 64 & 1;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    struct shape s = shape_of(c->walk.variant, op);
    const uint64_t *bits = walk_at(&c->walk, op->in[0]), *x = walk_at(&c->walk, op->in[1]);
    uint64_t *z = walk_at(&c->walk, op->out);

    (void)err;
    for (size_t i = 0; i < s.count; i++)
        z[i] = bit_at(bits, &s, i) * x[i / s.times];
    return 0;
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    struct shape s = shape_of(d->walk.variant, op);
    const uint64_t *r = walk_mask(&d->walk, op->in[1]);
    uint64_t *b0 = d->walk.scratch, *b1 = b0 + s.words, *b = b1 + s.words, *br = b + s.padded;
    uint64_t *scratch = br + s.padded;

    prg_words(d->prg[0], op->index, STREAM_BITS, 0, b0, s.words);
    prg_words(d->prg[1], op->index, STREAM_BITS, 0, b1, s.words);
    memset(b, 0, PLANES * s.padded * sizeof(*b));
    for (size_t i = 0; i < s.count; i++) {
        b[i] = (b0[i / 64] ^ b1[i / 64]) >> i % 64 & 1;
        br[i] = b[i] * r[i / s.times];
    }
    op_deal_fields(d, op, STREAM_CORR, b, PLANES * s.padded, s.x->ring, tape, scratch);
    if (!s.carried)
        return;
    for (size_t i = 0; i < s.count; i++)
        br[i] = b[i] * (r[i / s.times] >> (s.x->cut - 1));
    op_deal_fields(d, op, STREAM_CORR_2, br, s.carried, wire_carry_bits(s.x),
                   tape + PLANES * plane_bytes(&s), scratch);
}

struct selection {
    struct online *o;
    const struct op *op;
    struct shape s;
    uint64_t *m; /* opened so far on this side, then on both */
};

static void fill(void *context, size_t first, size_t count, uint8_t *to)
{
    const struct selection *k = context;
    const uint64_t *bits = walk_at(&k->o->walk, k->op->in[0]);
    uint64_t *m = k->m + first;

    prg_words(k->o->prg, k->op->index, STREAM_BITS, first, m, count);
    for (size_t w = 0; w < count; w++) {
        size_t at = 64 * (first + w), n = MIN(k->s.count - at, (size_t)64);
        uint64_t word = 0;

        for (size_t i = 0; i < n; i++)
            word |= bit_at(bits, &k->s, at + i) << i;
        m[w] ^= word;
    }
    CT_DECLASSIFY(m, count * sizeof(*m));
    memcpy(to, m, count * sizeof(*m));
}

/* The results from @at on, @n of them at the most AT_ONCE. */
static void finish(const struct selection *k, size_t at, size_t n)
{
    const struct walk *w = &k->o->walk;
    const struct wire *x = k->s.x;
    const uint64_t *hat = walk_at(w, k->op->in[1]), *r = walk_mask(w, k->op->in[1]);
    uint64_t b[AT_ONCE], br[AT_ONCE], carried[AT_ONCE] = {0}, first = k->o->party == 0;
    uint64_t *z = walk_at(w, k->op->out);
    size_t groups = wire_padded(n);

    op_fields(k->o, k->op, STREAM_CORR, 0, at, b, groups, x->ring);
    op_fields(k->o, k->op, STREAM_CORR, 0, k->s.padded + at, br, groups, x->ring);
    if (k->s.carried)
        op_fields(k->o, k->op, STREAM_CORR_2, PLANES * plane_bytes(&k->s), at, carried, groups,
                  wire_carry_bits(x));
    for (size_t i = 0; i < n; i++) {
        size_t from = (at + i) / k->s.times;
        uint64_t bit = k->m[(at + i) / 64] >> (at + i) % 64 & 1, hidden;

        hidden = hat[from] * b[i] - br[i] + ((op_carry(x, hat[from]) * carried[i]) << x->cut);
        z[at + i] = bit * (first * hat[from] - r[from]) + (1 - 2 * bit) * hidden;
    }
}

static void use(void *context, size_t first, size_t count, const uint8_t *from)
{
    const struct selection *k = context;

    for (size_t w = 0; w < count; w++) {
        uint64_t theirs;

        memcpy(&theirs, from + w * sizeof(theirs), sizeof(theirs));
        k->m[first + w] ^= theirs;
    }
    for (size_t w = first; w < first + count; w += WORDS_AT_ONCE) {
        size_t end = MIN(64 * MIN(w + WORDS_AT_ONCE, first + count), k->s.count);

        finish(k, 64 * w, end - 64 * w);
    }
}

static int online(struct online *o, const struct op *op)
{
    struct selection k = {
        .o = o, .op = op, .s = shape_of(o->walk.variant, op), .m = o->walk.scratch};

    return exchange_all(o->exchange, k.s.words, sizeof(uint64_t), fill, use, &k);
}

const struct op_kind op_select = {
    .name = "select",
    .inputs_min = 2,
    .inputs_max = 2,
    .attrs_min = 0,
    .attrs_max = SELECT_ATTRS_MAX,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
