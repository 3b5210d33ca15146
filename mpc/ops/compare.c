/*
 * compare a masked wire with public thresholds: the bits [x >= T_k], XOR-shared.
 *
 * With x' = x - T_k, opened as x^ - T_k under the same mask r,
 *
 *     msb(x') = msb(x'^) XOR msb(r) XOR [low(x'^) < low(r)],     low: the l - 1 lower bits.
 *
 * For each 4-bit digit r_j of low(r) the dealer XOR-shares the tables lt_j[v] = (v < r_j) and
 * eq_j[v] = (v == r_j); msb(r) is folded into the highest lt. Both parties look up at the public
 * digit of x'^, and join digits by a tree, (lt, eq) o (lt', eq') = (lt XOR eq lt', eq eq'), its
 * ANDs by bit triples; the two ANDs of a node share the opening of eq, and the lowest digit needs
 * no eq. Thresholds share the tables (only shares are read again) and have triples of their own.
 *
 * Where |x'| < 2^(w-1) all of this is done modulo 2^w, with w for l: fewer digits, fewer rounds.
 *
 * Bits lie in lanes: lane of (element e, threshold k) is e K + k, 64 lanes a word.
 */
#include "mpc/op.h"
#include "mpc/tape.h"

#include <math.h>
#include <string.h>

#define DIGIT_BITS 4
#define DIGITS_MAX ((RING_BITS_MAX - 1 + DIGIT_BITS - 1) / DIGIT_BITS)

struct shape {
    size_t elements, thresholds, lanes, words;
    size_t digits, levels;
    size_t nodes_full, nodes_low; /* with three opened vectors, with two */
    unsigned int bits;            /* w */
};

static int64_t threshold_of(const struct op *op, size_t k)
{
    return op->attr[COMPARE_THRESHOLD + k];
}

static struct shape shape_of(const struct variant *v, const struct op *op)
{
    const struct wire *in = &v->wires[op->in[0]];
    struct shape s = {
        .elements = wire_elements(in),
        .thresholds = (size_t)op->attr_count - COMPARE_THRESHOLD,
        .bits = (unsigned int)op->attr[COMPARE_BITS],
    };

    s.digits = (s.bits - 1 + DIGIT_BITS - 1) / DIGIT_BITS;
    s.lanes = s.elements * s.thresholds;
    s.words = ring_bit_words(s.lanes);
    for (size_t left = s.digits; left > 1; left = (left + 1) / 2) {
        s.levels++;
        s.nodes_low++;
        s.nodes_full += left / 2 - 1;
    }
    return s;
}

/* Words of all triple masks (a, b, c) and of all their products (ab, ac). */
static size_t mask_words(const struct shape *s)
{
    return (3 * s->nodes_full + 2 * s->nodes_low) * s->words;
}

static size_t product_words(const struct shape *s)
{
    return (2 * s->nodes_full + s->nodes_low) * s->words;
}

/* 16-bit tables: lt of every digit, then eq of every digit but the lowest. */
static size_t table_count(const struct shape *s)
{
    return (2 * s->digits - 1) * s->elements;
}

static size_t table_words(const struct shape *s)
{
    return (table_count(s) + 3) / 4;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    const struct wire *in;

    (void)plan;
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != WIRE_MASKED)
        return err_set(err, -EINVAL, "its input is no masked wire");
    in = &v->wires[op->in[0]];
    if (op->attr[COMPARE_BITS] < 2 || op->attr[COMPARE_BITS] > (in->cut ? in->cut : in->ring))
        return err_set(err, -EINVAL, "%" PRId64 " bits of a wire that has fewer",
                       op->attr[COMPARE_BITS]);
    if (wire_elements(in) > PLAN_DIM_MAX)
        return err_set(err, -EINVAL, "%zu comparisons at once", wire_elements(in));
    *ret = (struct wire){
        .kind = WIRE_BITS,
        .ring = in->ring,
        .rows = (uint32_t)wire_elements(in),
        .cols = op->attr_count - COMPARE_THRESHOLD,
    };
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    struct shape s = shape_of(v, op);

    (void)plan;
    ret->bytes_online = mask_words(&s) * sizeof(uint64_t);
    ret->rounds_online = s.levels;
    ret->bytes_tape = table_count(&s) * sizeof(uint16_t) + product_words(&s) * sizeof(uint64_t);
    ret->scratch_words = 2 * table_words(&s) + 2 * mask_words(&s) + 2 * product_words(&s) +
                         (2 * s.digits + 3 * (s.digits / 2)) * s.words;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    struct shape s = shape_of(c->walk.variant, op);
    const int64_t *x = (const int64_t *)walk_at(&c->walk, op->in[0]);
    uint64_t *bits = walk_at(&c->walk, op->out);
    double limit = ldexp(1, (int)s.bits - 1), top = 0;

    memset(bits, 0, s.words * sizeof(*bits));
    for (size_t lane = 0; lane < s.lanes; lane++) {
        int64_t at = x[lane / s.thresholds], threshold = threshold_of(op, lane % s.thresholds);

        top = fmax(top, fabs((double)at - (double)threshold));
        bits[lane / 64] |= (uint64_t)(at >= threshold) << lane % 64;
    }
    clear_note(c, op, top, limit);
    if (top >= limit)
        return err_set(err, -ERANGE,
                       "operation %u (compare): a distance of %.3g units does not fit a ring of "
                       "%u bits; take a wider ring or fewer fraction bits",
                       op->index, top, s.bits);
    return 0;
}

/* --- dealer --- */

/* All sixteen answers for one digit at once: bit v of the result is v < digit, or v == digit. */
static uint16_t table_less(uint64_t digit)
{
    return (uint16_t)((1u << digit) - 1);
}

static uint16_t table_equal(uint64_t digit)
{
    return (uint16_t)(1u << digit);
}

static void deal_tables(struct deal *d, const struct op *op, const struct shape *s, uint16_t *to)
{
    const uint64_t *r = walk_mask(&d->walk, op->in[0]);
    uint16_t *lt = to, *eq = to + s->digits * s->elements;

    prg_bytes(d->prg[0], op->index, STREAM_TABLES, to, table_count(s) * sizeof(*to));
    for (size_t j = 0; j < s->digits; j++)
        for (size_t e = 0; e < s->elements; e++) {
            uint64_t low = r[e] & ring_mask(s->bits - 1), digit = low >> DIGIT_BITS * j & 15;

            lt[j * s->elements + e] ^= table_less(digit);
            if (j > 0)
                eq[(j - 1) * s->elements + e] ^= table_equal(digit);
            if (j == s->digits - 1)
                lt[j * s->elements + e] ^= (uint16_t)(0 - (r[e] >> (s->bits - 1) & 1));
        }
}

/* Products of the summed masks, less party 0's share, in the order of the tree. */
static void deal_triples(struct deal *d, const struct op *op, const struct shape *s, uint64_t *to)
{
    uint64_t *m = d->walk.scratch + table_words(s), *m1 = m + mask_words(s);
    size_t w = s->words;

    prg_words(d->prg[0], op->index, STREAM_TRIPLES, m, mask_words(s));
    prg_words(d->prg[1], op->index, STREAM_TRIPLES, m1, mask_words(s));
    prg_words(d->prg[0], op->index, STREAM_CORR, to, product_words(s));
    for (size_t i = 0; i < mask_words(s); i++)
        m[i] ^= m1[i];
    for (size_t left = s->digits; left > 1; left = (left + 1) / 2)
        for (size_t node = 0; node < left / 2; node++) {
            for (size_t i = 0; i < w; i++)
                to[i] ^= m[i] & m[w + i];
            if (node > 0)
                for (size_t i = 0; i < w; i++)
                    to[w + i] ^= m[i] & m[2 * w + i];
            to += node > 0 ? 2 * w : w;
            m += node > 0 ? 3 * w : 2 * w;
        }
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    struct shape s = shape_of(d->walk.variant, op);
    size_t table_bytes = table_count(&s) * sizeof(uint16_t);
    uint64_t *products = d->walk.scratch + table_words(&s) + 2 * mask_words(&s);

    deal_tables(d, op, &s, (uint16_t *)(void *)d->walk.scratch);
    memcpy(tape, d->walk.scratch, table_bytes);
    deal_triples(d, op, &s, products);
    memcpy(tape + table_bytes, products, product_words(&s) * sizeof(*products));
}

/* --- parties --- */

struct tree {
    struct shape s;
    uint64_t *lt[DIGITS_MAX], *eq[DIGITS_MAX];
    const uint64_t *masks, *products; /* of the level to come */
    uint64_t *opened;
    uint64_t first; /* all ones at party 0 */
};

/* Look every digit of x^ - T up in the shared tables: the leaves, 64 lanes a word. */
static void look_up(struct online *o, const struct op *op, struct tree *t, const uint16_t *tables)
{
    const struct shape *s = &t->s;
    const uint64_t *hat = walk_at(&o->walk, op->in[0]);
    const uint16_t *eq_tables = tables + s->digits * s->elements;

    for (size_t j = 0; j < s->digits; j++) {
        memset(t->lt[j], 0, s->words * sizeof(uint64_t));
        memset(t->eq[j], 0, s->words * sizeof(uint64_t));
        for (size_t lane = 0; lane < s->lanes; lane++) {
            size_t e = lane / s->thresholds;
            uint64_t x = hat[e] - (uint64_t)threshold_of(op, lane % s->thresholds);
            unsigned int digit = (x & ring_mask(s->bits - 1)) >> DIGIT_BITS * j & 15;
            uint64_t lt = tables[j * s->elements + e] >> digit & 1;
            uint64_t eq = j > 0 ? eq_tables[(j - 1) * s->elements + e] >> digit & 1 : 0;

            t->lt[j][lane / 64] |= lt << lane % 64;
            t->eq[j][lane / 64] |= eq << lane % 64;
        }
    }
}

static void hide_node(const struct tree *t, size_t node, uint64_t *to, const uint64_t *m)
{
    size_t w = t->s.words;

    for (size_t i = 0; i < w; i++) {
        to[i] = t->eq[2 * node + 1][i] ^ m[i];
        to[w + i] = t->lt[2 * node][i] ^ m[w + i];
        if (node > 0)
            to[2 * w + i] = t->eq[2 * node][i] ^ m[2 * w + i];
    }
}

/* [uv] of u = d ^ a, v = e ^ b with d, e opened: de + d[b] + e[a] + [ab]. */
static uint64_t and_share(uint64_t first, uint64_t d, uint64_t e, uint64_t a, uint64_t b,
                          uint64_t ab)
{
    return (first & d & e) ^ (d & b) ^ (e & a) ^ ab;
}

static void join_node(struct tree *t, size_t node, const uint64_t *open, const uint64_t *m,
                      const uint64_t *p)
{
    size_t w = t->s.words;

    for (size_t i = 0; i < w; i++) {
        uint64_t lt = and_share(t->first, open[i], open[w + i], m[i], m[w + i], p[i]);

        lt ^= t->lt[2 * node + 1][i];
        if (node > 0)
            t->eq[node][i] =
                and_share(t->first, open[i], open[2 * w + i], m[i], m[2 * w + i], p[w + i]);
        t->lt[node][i] = lt;
    }
}

static int join_level(struct online *o, struct tree *t, size_t left)
{
    size_t w = t->s.words, nodes = left / 2, count = (3 * nodes - 1) * w;
    const uint64_t *m = t->masks;
    uint64_t *open = t->opened;
    int rc;

    for (size_t node = 0; node < nodes; node++) {
        hide_node(t, node, open, m);
        open += node > 0 ? 3 * w : 2 * w;
        m += node > 0 ? 3 * w : 2 * w;
    }
    rc = op_open_bits(o, t->opened, count);
    if (rc < 0)
        return rc;
    open = t->opened;
    for (size_t node = 0; node < nodes; node++) {
        join_node(t, node, open, t->masks, t->products);
        open += node > 0 ? 3 * w : 2 * w;
        t->masks += node > 0 ? 3 * w : 2 * w;
        t->products += node > 0 ? 2 * w : w;
    }
    if (left % 2) {
        memcpy(t->lt[nodes], t->lt[left - 1], w * sizeof(uint64_t));
        memcpy(t->eq[nodes], t->eq[left - 1], w * sizeof(uint64_t));
    }
    return 0;
}

static uint64_t *lay_out(struct online *o, const struct op *op, struct tree *t)
{
    const struct shape *s = &t->s;
    uint64_t *at = o->walk.scratch + table_words(s), *products;

    t->masks = at;
    prg_words(o->prg, op->index, STREAM_TRIPLES, at, mask_words(s));
    at += mask_words(s);
    t->products = products = at;
    at += product_words(s);
    for (size_t j = 0; j < s->digits; j++, at += 2 * s->words) {
        t->lt[j] = at;
        t->eq[j] = at + s->words;
    }
    t->opened = at;
    return products;
}

static int online(struct online *o, const struct op *op)
{
    struct tree t = {.s = shape_of(o->walk.variant, op), .first = o->party == 0 ? UINT64_MAX : 0};
    const struct shape *s = &t.s;
    size_t table_bytes = table_count(s) * sizeof(uint16_t);
    uint16_t *tables = (uint16_t *)(void *)o->walk.scratch;
    uint64_t *bits = walk_at(&o->walk, op->out), *products = lay_out(o, op, &t);
    const uint64_t *hat = walk_at(&o->walk, op->in[0]);
    int rc = 0;

    if (o->party == 0) {
        prg_bytes(o->prg, op->index, STREAM_TABLES, tables, table_bytes);
        prg_words(o->prg, op->index, STREAM_CORR, products, product_words(s));
    } else {
        memcpy(tables, op_tape(o->tape, op), table_bytes);
        memcpy(products, op_tape(o->tape, op) + table_bytes, product_words(s) * sizeof(*products));
    }
    look_up(o, op, &t, tables);
    for (size_t left = s->digits; rc == 0 && left > 1; left = (left + 1) / 2)
        rc = join_level(o, &t, left);
    if (rc < 0)
        return rc;
    memcpy(bits, t.lt[0], s->words * sizeof(*bits));
    for (size_t lane = 0; t.first && lane < s->lanes; lane++) {
        uint64_t x = hat[lane / s->thresholds] - (uint64_t)threshold_of(op, lane % s->thresholds);

        bits[lane / 64] ^= (~x >> (s->bits - 1) & 1) << lane % 64;
    }
    return 0;
}

const struct op_kind op_compare = {
    .name = "compare",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = COMPARE_THRESHOLD + 1,
    .attrs_max = PLAN_ATTRS_MAX,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
