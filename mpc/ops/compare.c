/*
 * compare a masked wire with public thresholds: the bits [x >= T_k], XOR-shared.
 *
 * With x' = x - T_k, opened as x^ - T_k under the same mask r,
 *
 *     msb(x') = msb(x'^) XOR msb(r) XOR [low(x'^) < low(r)],     low: the l - 1 lower bits.
 *
 * For each 4-bit digit r_j of low(r) the dealer XOR-shares the tables lt_j[v] = (v < r_j) and
 * eq_j[v] = (v == r_j); msb(r) is folded into the highest lt. Both parties look up at the public
 * digit of x'^, and join digits by a tree whose nodes have up to four children:
 *
 *     lt = lt_3 XOR eq_3 lt_2 XOR eq_3 eq_2 lt_1 XOR eq_3 eq_2 eq_1 lt_0,   eq = eq_3 eq_2 eq_1
 * eq_0.
 *
 * The factors of a node are opened under masks a of their own, u = u^ XOR a, once whatever product
 * they are in; a product of several is the XOR over all subsets of them, of the opened values of
 * the rest and the dealt product of the subset's masks. So four digits cost one round, sixteen two.
 * The lowest node needs no eq. Thresholds share the tables (only shares are read again) and have
 * masks of their own.
 *
 * Where |x'| < 2^(w-1) all of this is done modulo 2^w, with w for l; and where it does not matter
 * on which side of T_k the last step of 2^c below it falls, without the c lowest bits: fewer
 * digits, fewer rounds. As in a lookup (x'^ >> c) - (r >> c) is the floor of x' / 2^c or one more.
 *
 * What a party needs of its seed and of the tape it has by then: online nothing is drawn.
 *
 * Bits lie in lanes: lane of (element e, threshold k) is e K + k, 64 lanes a word.
 */
#include "mpc/op.h"
#include "mpc/tape.h"

#include <math.h>
#include <string.h>

#define DIGIT_BITS 4
#define DIGITS_MAX ((RING_BITS_MAX - 1 + DIGIT_BITS - 1) / DIGIT_BITS)
#define FAN        4
#define SETS_MAX   (1 << (FAN - 1)) /* subsets of a node's eq but the lowest */

struct shape {
    size_t elements, thresholds, lanes, words;
    size_t digits, levels;
    size_t masks, products;   /* vectors of words, of all nodes */
    size_t opened_most;       /* vectors that a level opens */
    unsigned int bits, shift; /* w, c */
};

struct node {
    size_t children; /* one: it is passed on as it is */
    bool full;       /* makes an eq, too */
};

static struct node node_of(size_t left, size_t number)
{
    return (struct node){MIN((size_t)FAN, left - FAN * number), number > 0};
}

static size_t nodes_of(size_t left)
{
    return (left + FAN - 1) / FAN;
}

/* Vectors in this order: eq of every child but the lowest; lt of every child but the highest; eq of
 * the lowest, of a full node. */
static size_t node_opened(struct node k)
{
    return k.children > 1 ? 2 * (k.children - 1) + k.full : 0;
}

/* Of masks: of two eq and more; then of each lt, and of the lowest eq, with one eq above it and
 * more. */
static size_t node_products(struct node k)
{
    size_t sets = (size_t)1 << (k.children - 1);

    return k.children > 1 ? 3 * sets - 2 * k.children - 1 + (k.full ? sets - 1 : 0) : 0;
}

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
        .shift = (unsigned int)op->attr[COMPARE_SHIFT],
    };

    s.digits = (s.bits - 1 - s.shift + DIGIT_BITS - 1) / DIGIT_BITS;
    s.lanes = s.elements * s.thresholds;
    s.words = ring_bit_words(s.lanes);
    for (size_t left = s.digits; left > 1; left = nodes_of(left)) {
        size_t opened = 0;

        for (size_t i = 0; i < nodes_of(left); i++) {
            opened += node_opened(node_of(left, i));
            s.products += node_products(node_of(left, i));
        }
        s.levels++;
        s.masks += opened;
        s.opened_most = MAX(s.opened_most, opened);
    }
    return s;
}

static size_t mask_words(const struct shape *s)
{
    return s->masks * s->words;
}

static size_t product_words(const struct shape *s)
{
    return s->products * s->words;
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
    if (op->attr[COMPARE_SHIFT] < 0 || op->attr[COMPARE_SHIFT] > op->attr[COMPARE_BITS] - 2)
        return err_set(err, -EINVAL, "a step of %" PRId64 " bits", op->attr[COMPARE_SHIFT]);
    for (size_t k = 0; k < (size_t)op->attr_count - COMPARE_THRESHOLD; k++)
        if ((uint64_t)threshold_of(op, k) & ((1ull << op->attr[COMPARE_SHIFT]) - 1))
            return err_set(err, -EINVAL, "threshold %" PRId64 " is no whole number of steps",
                           threshold_of(op, k));
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
    ret->prepared_words = table_words(&s) + product_words(&s) + mask_words(&s);
    ret->scratch_words = table_words(&s) + 2 * mask_words(&s) + product_words(&s) +
                         (2 * s.digits + s.opened_most) * s.words + s.lanes;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    struct shape s = shape_of(c->walk.variant, op);
    const int64_t *x = (const int64_t *)walk_at(&c->walk, op->in[0]);
    uint64_t *bits = walk_at(&c->walk, op->out), *draw = c->walk.scratch;
    uint64_t low = (1ull << s.shift) - 1;
    double limit = ldexp(1, (int)s.bits - 1) - (double)low, top = 0;

    /* The low bits of the wire's mask, as a lookup draws them. */
    memset(draw, 0, s.elements * sizeof(*draw));
    if (c->rounding == CLEAR_RANDOM && s.shift)
        prg_words(c->rounding_prg, op->in[0], STREAM_MASK, 0, draw, s.elements);
    memset(bits, 0, s.words * sizeof(*bits));
    for (size_t lane = 0; lane < s.lanes; lane++) {
        size_t e = lane / s.thresholds;
        int64_t threshold = threshold_of(op, lane % s.thresholds);

        top = fmax(top, fabs((double)x[e] - (double)threshold));
        bits[lane / 64] |= (uint64_t)(x[e] + (int64_t)(draw[e] & low) >= threshold) << lane % 64;
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

static void deal_tables(struct deal *d, const struct op *op, const struct shape *s, uint64_t *to)
{
    const uint64_t *r = walk_mask(&d->walk, op->in[0]);
    uint16_t *lt = (uint16_t *)(void *)to, *eq = lt + s->digits * s->elements;

    prg_words(d->prg[0], op->index, STREAM_TABLES, 0, to, table_words(s));
    for (size_t j = 0; j < s->digits; j++)
        for (size_t e = 0; e < s->elements; e++) {
            uint64_t low = (r[e] & ring_mask(s->bits - 1)) >> s->shift;
            uint64_t digit = low >> DIGIT_BITS * j & 15;

            lt[j * s->elements + e] ^= table_less(digit);
            if (j > 0)
                eq[(j - 1) * s->elements + e] ^= table_equal(digit);
            if (j == s->digits - 1)
                lt[j * s->elements + e] ^= (uint16_t)(0 - (r[e] >> (s->bits - 1) & 1));
        }
}

/* Of one node: its masks at @m, its products added to party 0's share at @to. */
static void deal_node(struct node k, size_t w, const uint64_t *m, uint64_t *to)
{
    size_t above = k.children - 1, sets = (size_t)1 << above;

    for (size_t i = 0; i < w; i++) {
        uint64_t eq[SETS_MAX] = {UINT64_MAX}, *p = to + i;

        for (size_t s = 1; s < sets; s++) {
            eq[s] = eq[s & (s - 1)] & m[(size_t)__builtin_ctzl(s) * w + i];
            if (s & (s - 1)) {
                *p ^= eq[s];
                p += w;
            }
        }
        for (size_t f = 0; f < above + k.full; f++)
            for (size_t first = f < above ? f : 0, s = 1; s < sets >> first; s++, p += w)
                *p ^= m[(above + f) * w + i] & eq[s << first];
    }
}

/* Products of the summed masks, less party 0's share, in the order of the tree. */
static void deal_triples(struct deal *d, const struct op *op, const struct shape *s, uint64_t *to)
{
    uint64_t *m = d->walk.scratch + table_words(s), *m1 = m + mask_words(s);

    prg_words(d->prg[0], op->index, STREAM_TRIPLES, 0, m, mask_words(s));
    prg_words(d->prg[1], op->index, STREAM_TRIPLES, 0, m1, mask_words(s));
    prg_words(d->prg[0], op->index, STREAM_CORR, 0, to, product_words(s));
    for (size_t i = 0; i < mask_words(s); i++)
        m[i] ^= m1[i];
    for (size_t left = s->digits; left > 1; left = nodes_of(left))
        for (size_t number = 0; number < nodes_of(left); number++) {
            struct node k = node_of(left, number);

            if (k.children > 1)
                deal_node(k, s->words, m, to);
            m += node_opened(k) * s->words;
            to += node_products(k) * s->words;
        }
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    struct shape s = shape_of(d->walk.variant, op);
    size_t table_bytes = table_count(&s) * sizeof(uint16_t);
    uint64_t *products = d->walk.scratch + table_words(&s) + 2 * mask_words(&s);

    deal_tables(d, op, &s, d->walk.scratch);
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

/* Look every digit of x^ - T up in the shared tables: the leaves, 64 lanes a word. @lanes: room for
 * the low bits of every lane's x^ - T. */
static void look_up(struct online *o, const struct op *op, struct tree *t, const uint16_t *tables,
                    uint64_t *lanes)
{
    const struct shape *s = &t->s;
    const uint64_t *hat = walk_at(&o->walk, op->in[0]);
    const struct kernels *k = o->walk.kernels;
    size_t stride = 2 * s->words;

    for (size_t e = 0; e < s->elements; e++)
        for (size_t i = 0; i < s->thresholds; i++)
            lanes[e * s->thresholds + i] =
                ((hat[e] - (uint64_t)threshold_of(op, i)) & ring_mask(s->bits - 1)) >> s->shift;
    k->look_up(t->lt[0], stride, tables, s->elements, lanes, s->lanes, 0, (unsigned int)s->digits,
               s->thresholds);
    memset(t->eq[0], 0, s->words * sizeof(uint64_t));
    if (s->digits > 1)
        k->look_up(t->eq[1], stride, tables + s->digits * s->elements, s->elements, lanes, s->lanes,
                   1, (unsigned int)s->digits - 1, s->thresholds);
}

static void hide(uint64_t *to, const uint64_t *x, const uint64_t *m, size_t w)
{
    for (size_t i = 0; i < w; i++)
        to[i] = x[i] ^ m[i];
}

static void hide_node(const struct tree *t, struct node k, size_t first, uint64_t *to,
                      const uint64_t *m)
{
    size_t w = t->s.words, above = k.children - 1;

    if (!above)
        return;
    for (size_t i = 0; i < above; i++) {
        hide(to + i * w, t->eq[first + 1 + i], m + i * w, w);
        hide(to + (above + i) * w, t->lt[first + i], m + (above + i) * w, w);
    }
    if (k.full)
        hide(to + 2 * above * w, t->eq[first], m + 2 * above * w, w);
}

/* The share of a factor, opened as @x under @a, times all eq from @first on, opened in @open: of
 * their masks' products @eq, and those with a, which stand at *p. */
static uint64_t times_above(const uint64_t *eq, uint64_t x, uint64_t a, const uint64_t *open,
                            size_t first, size_t sets, size_t w, const uint64_t **p)
{
    uint64_t v[SETS_MAX];

    v[0] = (x & eq[0]) ^ a;
    for (size_t s = 1; s < sets >> first; s++, *p += w)
        v[s] = (x & eq[s << first]) ^ **p;
    for (size_t left = sets >> first; left > 1; left /= 2, first++)
        for (size_t s = 0; s < left / 2; s++)
            v[s] = (v[2 * s] & open[first * w]) ^ v[2 * s + 1];
    return v[0];
}

static void join_node(struct tree *t, struct node k, size_t number, const uint64_t *open,
                      const uint64_t *m, const uint64_t *products)
{
    size_t w = t->s.words, above = k.children - 1, sets = (size_t)1 << above, first = FAN * number;

    for (size_t i = 0; i < w; i++) {
        uint64_t eq[SETS_MAX] = {t->first}, lt = t->lt[first + above][i], all = t->eq[first][i];
        const uint64_t *p = products + i;

        for (size_t s = 1; s < sets; s++) {
            eq[s] = m[(size_t)__builtin_ctzl(s) * w + i];
            if (s & (s - 1)) {
                eq[s] = *p;
                p += w;
            }
        }
        for (size_t f = 0; f < above; f++)
            lt ^= times_above(eq, open[(above + f) * w + i], m[(above + f) * w + i], open + i, f,
                              sets, w, &p);
        if (k.full && above)
            all = times_above(eq, open[2 * above * w + i], m[2 * above * w + i], open + i, 0, sets,
                              w, &p);
        t->lt[number][i] = lt;
        t->eq[number][i] = all;
    }
}

static int join_level(struct online *o, struct tree *t, size_t left)
{
    size_t w = t->s.words, opened = 0;
    const uint64_t *open = t->opened;
    int rc;

    for (size_t number = 0; number < nodes_of(left); number++) {
        struct node k = node_of(left, number);

        hide_node(t, k, FAN * number, t->opened + opened * w, t->masks + opened * w);
        opened += node_opened(k);
    }
    rc = op_open_bits(o, t->opened, opened * w);
    for (size_t number = 0; rc == 0 && number < nodes_of(left); number++) {
        struct node k = node_of(left, number);

        join_node(t, k, number, open, t->masks, t->products);
        open += node_opened(k) * w;
        t->masks += node_opened(k) * w;
        t->products += node_products(k) * w;
    }
    return rc;
}

/* All that a party draws or reads for it, ahead of time: tables, products, masks. */
static void prepare(struct prepare *p, const struct op *op)
{
    struct shape s = shape_of(p->walk.variant, op);
    size_t table_bytes = table_count(&s) * sizeof(uint16_t);
    uint64_t *tables = op_prepared(p->tape, op), *products = tables + table_words(&s);

    if (p->party == 0) {
        prg_words(p->prg, op->index, STREAM_TABLES, 0, tables, table_words(&s));
        prg_words(p->prg, op->index, STREAM_CORR, 0, products, product_words(&s));
    } else {
        memcpy(tables, op_tape(p->tape, op), table_bytes);
        memcpy(products, op_tape(p->tape, op) + table_bytes, product_words(&s) * sizeof(*products));
    }
    prg_words(p->prg, op->index, STREAM_TRIPLES, 0, products + product_words(&s), mask_words(&s));
}

static int online(struct online *o, const struct op *op)
{
    struct tree t = {.s = shape_of(o->walk.variant, op), .first = o->party == 0 ? UINT64_MAX : 0};
    const struct shape *s = &t.s;
    const uint64_t *tables = op_prepared(o->tape, op), *hat = walk_at(&o->walk, op->in[0]);
    uint64_t *bits = walk_at(&o->walk, op->out), *at = o->walk.scratch;
    int rc = 0;

    t.products = tables + table_words(s);
    t.masks = t.products + product_words(s);
    for (size_t j = 0; j < s->digits; j++, at += 2 * s->words) {
        t.lt[j] = at;
        t.eq[j] = at + s->words;
    }
    t.opened = at;
    look_up(o, op, &t, (const uint16_t *)(const void *)tables, at + s->opened_most * s->words);
    for (size_t left = s->digits; rc == 0 && left > 1; left = nodes_of(left))
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
    .prepare = prepare,
    .online = online,
};
