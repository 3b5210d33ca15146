/*
 * spline: a function of x that a public table and a few public polynomials say piece by piece, and
 * zero where a bit is zero. A piece is a row i, with all of x's distance from it: of a masked wire
 * x^ - r = x, with
 *
 *     v = x^ >> s,   p = r >> s,   i = v - p          floor(x / 2^s), or one more
 *     t = (x^ mod 2^s) - (r mod 2^s) = x - 2^s i      exact; |t| < 2^s
 *
 * v and x^ mod 2^s are public, p and u = r mod 2^s the dealer's. (Without the e lowest bits of both
 * parts, d = t / 2^e is the floor or the ceiling.) What comes out is
 *
 *     b sum_c T_c[i] Q_c(d),    Q_c(d) = sum_k q_ck d^k, public, of degree n_c <= 2.
 *
 * With d^ = (x^ mod 2^s) >> e, Q_c(d^ - u) = sum_k C_ck(d^) u^k has public factors C_ck, of which
 * the last, C_cn, is a constant. As in lookup.c the parties open S_c = sg T_c[i] under r_c, here in
 * whatever ring holds the result; in the same round they open m = b XOR B. Then, were b one,
 *
 *     sum_c S_c^ sum_k C_ck [sg u^k] - sum_c sum_(k < n_c) C_ck [sg r_c u^k]
 *         - [sg sum_c C_cn r_c u^n_c]
 *
 * and since b is B where m is 0, and 1 - B where it is 1, the dealer deals every correction in
 * brackets twice: times B, and times 1 - B. So a bit costs no round and no opening of what it
 * selects; a line costs two openings in a ring no wider than its values, an exponential, which is
 * its row's times a polynomial of the distance, one.
 *
 * The round goes in units of 64 elements: a word of m, then each column's elements. Tables do not
 * clamp, and they wrap: what lies outside is for the bit to leave out.
 */
#include "base/secret.h"
#include "mpc/ops/hot.h"
#include "mpc/ops/product.h"
#include "mpc/tape.h"

#include <stdlib.h>
#include <string.h>

#define UNIT 64

struct shape {
    const struct table *table;
    const struct wire *x, *bits, *out;
    size_t count, padded, cols;
    size_t words; /* of a one-hot vector */
    unsigned int shift, drop, ring;
    unsigned int degree[PLAN_TABLE_COLS_MAX], degree_most;

    /* sg u^k, k up to the highest degree; sg r_c u^k, a column after the other; the sum of the last
     * ones. Each is a pair of planes, times B and times 1 - B. */
    size_t corrections;
};

static int64_t term(const struct op *op, size_t col, unsigned int power)
{
    return op->attr[SPLINE_TERM + SPLINE_TERMS * col + power];
}

static struct shape shape_of(const struct plan *plan, const struct variant *v, const struct op *op)
{
    const struct table *table = &plan->tables[op->attr[SPLINE_TABLE]];
    struct shape s = {
        .table = table,
        .x = &v->wires[op->in[0]],
        .bits = &v->wires[op->in[1]],
        .cols = table->cols,
        .words = ring_bit_words((size_t)1 << table->bits),
        .shift = (unsigned int)op->attr[SPLINE_SHIFT],
        .drop = (unsigned int)op->attr[SPLINE_DROP],
        .ring = (unsigned int)op->attr[SPLINE_RING],
    };

    s.count = wire_elements(s.x);
    s.padded = (s.count + UNIT - 1) / UNIT * UNIT;
    for (size_t c = 0; c < s.cols; c++) {
        for (unsigned int k = 0; k < SPLINE_TERMS; k++)
            if (term(op, c, k))
                s.degree[c] = k;
        s.degree_most = MAX(s.degree_most, s.degree[c]);
        s.corrections += s.degree[c];
    }
    s.corrections += s.degree_most + 2;
    return s;
}

static size_t hot_bytes(const struct shape *s)
{
    return s->count * s->words * sizeof(uint64_t);
}

static size_t unit_bytes(const struct shape *s)
{
    return sizeof(uint64_t) + ring_bytes(UNIT * s->cols, s->ring);
}

static int infer_bits(const struct variant *v, const struct op *op, const struct wire *x,
                      struct err *err)
{
    int64_t from = op->attr[SPLINE_FROM], to = op->attr[SPLINE_TO];
    const struct wire *bits;

    if (operand_is_weight(op->in[1]) || v->wires[op->in[1]].kind != WIRE_BITS)
        return err_set(err, -EINVAL, "its second input holds no bits");
    bits = &v->wires[op->in[1]];
    if (bits->rows != wire_elements(x))
        return err_set(err, -EINVAL, "its bits are not one row an element");
    if (from < 0 || from >= (int64_t)bits->cols || to < -1 || to >= (int64_t)bits->cols)
        return err_set(err, -EINVAL, "columns %" PRId64 " and %" PRId64 " of %u", from, to,
                       bits->cols);
    return 0;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    int64_t shift = op->attr[SPLINE_SHIFT], drop = op->attr[SPLINE_DROP];
    int64_t number = op->attr[SPLINE_TABLE], frac = op->attr[SPLINE_FRAC];
    uint64_t ring = (uint64_t)op->attr[SPLINE_RING];
    const struct wire *x;
    int rc = product_need_masked(v, op->in[0], err);

    if (rc < 0)
        return rc;
    x = &v->wires[op->in[0]];
    rc = hot_need_rows(plan, x, number, shift, err);
    if (rc < 0)
        return rc;
    if (drop < 0 || drop > shift)
        return err_set(err, -EINVAL, "it drops %" PRId64 " bits of %" PRId64, drop, shift);
    if (!ring_narrow_valid((unsigned int)MIN(ring, 255u)))
        return err_set(err, -EINVAL, "a result of %" PRIu64 " bits", ring);
    if (frac < -64 || frac > 64)
        return err_set(err, -EINVAL, "its result has %" PRId64 " fraction bits", frac);
    if (op->attr_count != SPLINE_TERM + SPLINE_TERMS * plan->tables[number].cols)
        return err_set(err, -EINVAL, "%d terms for %u columns", op->attr_count - SPLINE_TERM,
                       plan->tables[number].cols);
    *ret = (struct wire){.kind = WIRE_SHARE,
                         .ring = (uint8_t)ring,
                         .frac = (int8_t)frac,
                         .rows = x->rows,
                         .cols = x->cols};
    return infer_bits(v, op, x, err);
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    struct shape s = shape_of(plan, v, op);

    ret->bytes_online = s.padded / UNIT * unit_bytes(&s);
    ret->rounds_online = 1;
    ret->bytes_tape = hot_bytes(&s) + ring_bytes(2 * s.corrections * s.padded, s.ring);
    /* Online: a unit's vectors and what is opened; the dealer: a unit; the clear executor: draws.
     */
    ret->scratch_words =
        UNIT * (s.words + 2 * s.cols + 2 * s.corrections) + s.padded / UNIT + s.padded * s.cols;
}

/* This seed's share of a unit's B. A stream is read from a block on, of two words. */
static uint64_t bits_word(const struct prg *prg, const struct op *op, size_t unit)
{
    uint64_t pair[2];

    prg_words(prg, op->index, STREAM_BITS, unit & ~(size_t)1, pair, 2);
    return pair[unit & 1];
}

static uint64_t bit_at(const struct op *op, const struct shape *s, const uint64_t *bits, size_t i)
{
    size_t from = i * s->bits->cols + (size_t)op->attr[SPLINE_FROM];
    uint64_t bit = bits[from / 64] >> from % 64;

    if (op->attr[SPLINE_TO] >= 0) {
        size_t to = i * s->bits->cols + (size_t)op->attr[SPLINE_TO];

        bit ^= bits[to / 64] >> to % 64;
    }
    return bit & 1;
}

/* --- clear --- */

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    struct shape s = shape_of(c->walk.plan, c->walk.variant, op);
    const uint64_t *x = walk_at(&c->walk, op->in[0]), *bits = walk_at(&c->walk, op->in[1]);
    uint64_t *z = walk_at(&c->walk, op->out), *draw = c->walk.scratch;
    uint64_t low = (1ull << s.shift) - 1;
    double *exact = malloc(s.count * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    /* The low bits of the wire's mask: all lookups at one wire find the same row. */
    memset(draw, 0, s.count * sizeof(*draw));
    if (c->rounding == CLEAR_RANDOM)
        prg_words(c->rounding_prg, op->in[0], STREAM_MASK, 0, draw, s.count);
    for (size_t i = 0; i < s.count; i++) {
        uint64_t u = draw[i] & low, at = x[i] + u, bit = bit_at(op, &s, bits, i);
        int64_t d = (int64_t)((at & low) >> s.drop) - (int64_t)(u >> s.drop);
        const int64_t *row = s.table->entries + (at >> s.shift & ring_mask(s.table->bits)) * s.cols;

        z[i] = 0;
        exact[i] = 0;
        for (size_t col = 0; col < s.cols; col++) {
            uint64_t q = 0, power = 1;
            double q_exact = 0, power_exact = 1;

            for (unsigned int k = 0; k <= s.degree[col]; k++) {
                q += (uint64_t)term(op, col, k) * power;
                q_exact += (double)term(op, col, k) * power_exact;
                power *= (uint64_t)d;
                power_exact *= (double)d;
            }
            z[i] += bit * (uint64_t)row[col] * q;
            exact[i] += (double)bit * (double)row[col] * q_exact;
        }
    }
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

/* --- dealer --- */

/* The corrections of element @i, which has mask @r and whose columns have masks @mask apart by
 * @stride; of the sign @sign; at every @stride of @ret. */
static void correct(const struct op *op, const struct shape *s, uint64_t r, uint64_t sign,
                    const uint64_t *mask, size_t stride, uint64_t *ret)
{
    uint64_t u = (r & ((1ull << s->shift) - 1)) >> s->drop;
    uint64_t power[SPLINE_TERMS] = {sign, sign * u, sign * u * u}, last = 0;

    for (unsigned int k = 0; k <= s->degree_most; k++, ret += stride)
        *ret = power[k];
    for (size_t c = 0; c < s->cols; c++) {
        unsigned int n = s->degree[c];
        uint64_t constant = (uint64_t)term(op, c, n) * (n % 2 ? UINT64_MAX : 1);

        for (unsigned int k = 0; k < n; k++, ret += stride)
            *ret = mask[c * stride] * power[k];
        last += constant * mask[c * stride] * power[n];
    }
    *ret = last;
}

/* A unit: its vectors to the tape, and every pair of planes, less party 0's share. */
static void deal_unit(struct deal *d, const struct op *op, const struct shape *s, size_t unit,
                      uint8_t *tape)
{
    size_t at = UNIT * unit, count = MIN(s->count - at, (size_t)UNIT), masks = UNIT * s->cols;
    uint64_t *hot = d->walk.scratch, *mask = hot + UNIT * s->words, *mask1 = mask + masks;
    uint64_t *plain = mask1 + masks, *times_b = plain + UNIT * s->corrections;
    const uint64_t *r = walk_mask(&d->walk, op->in[0]);
    uint8_t *planes = tape + hot_bytes(s);
    uint64_t b, b1, share[UNIT];

    prg_words(d->prg[0], op->index, STREAM_TABLES, at * s->words, hot, count * s->words);
    prg_words(d->prg[0], op->index, STREAM_MASK, at * s->cols, mask, masks);
    prg_words(d->prg[1], op->index, STREAM_MASK, at * s->cols, mask1, masks);
    b = bits_word(d->prg[0], op, unit);
    b1 = bits_word(d->prg[1], op, unit);
    memset(plain, 0, 2 * UNIT * s->corrections * sizeof(*plain));
    for (size_t i = 0; i < masks; i++)
        mask[i] += mask1[i];
    for (size_t i = 0; i < count; i++) {
        uint64_t p = r[at + i] >> s->shift & ring_mask(s->table->bits);
        uint64_t sign = hot_deal(hot + i * s->words, s->words, p);

        correct(op, s, r[at + i], sign, mask + i, UNIT, plain + i);
    }
    memcpy(tape + at * s->words * sizeof(*hot), hot, count * s->words * sizeof(*hot));
    for (size_t i = 0; i < UNIT * s->corrections; i++)
        times_b[i] = plain[i] & (0 - ((b ^ b1) >> i % UNIT & 1));
    for (size_t plane = 0; plane < 2 * s->corrections; plane++) {
        const uint64_t *with = times_b + plane / 2 * UNIT, *all = plain + plane / 2 * UNIT;
        size_t first = plane * s->padded + at;

        prg_words(d->prg[0], op->index, STREAM_CORR, first, share, UNIT);
        for (size_t i = 0; i < UNIT; i++)
            share[i] = (plane % 2 ? all[i] - with[i] : with[i]) - share[i];
        d->walk.kernels->pack_fields(planes + first / 8 * s->ring, share, UNIT, s->ring);
    }
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    struct shape s = shape_of(d->walk.plan, d->walk.variant, op);

    for (size_t unit = 0; unit < s.padded / UNIT; unit++)
        deal_unit(d, op, &s, unit, tape);
}

/* --- parties --- */

struct evaluation {
    struct online *o;
    const struct op *op;
    struct shape s;
    uint64_t *hot; /* of a unit */
    uint64_t *m;   /* (unit): opened so far on this side, then on both */
    uint64_t *hat; /* (unit, column, element): likewise S */
};

static void fill_unit(const struct evaluation *k, size_t unit, uint8_t *to)
{
    const struct walk *w = &k->o->walk;
    const struct shape *s = &k->s;
    size_t at = UNIT * unit, count = MIN(s->count - at, (size_t)UNIT), values = UNIT * s->cols;
    const uint64_t *x = walk_at(w, k->op->in[0]) + at, *bits = walk_at(w, k->op->in[1]);
    uint64_t sum[PLAN_TABLE_COLS_MAX * UNIT] = {0}, mask[PLAN_TABLE_COLS_MAX * UNIT];
    uint64_t *hat = k->hat + unit * values, *m = k->m + unit;

    if (k->o->party == 0)
        prg_words(k->o->prg, k->op->index, STREAM_TABLES, at * s->words, k->hot, count * s->words);
    else
        memcpy(k->hot, op_tape(k->o->tape, k->op) + at * s->words * sizeof(*k->hot),
               count * s->words * sizeof(*k->hot));
    *m = bits_word(k->o->prg, k->op, unit);
    for (size_t i = 0; i < count; i++) {
        *m ^= bit_at(k->op, s, bits, at + i) << i;
        hot_sum(w, s->table, k->hot + i * s->words, x[i] >> s->shift, k->o->party, s->ring, sum + i,
                UNIT);
    }
    prg_words(k->o->prg, k->op->index, STREAM_MASK, at * s->cols, mask, values);
    CT_DECLASSIFY(m, sizeof(*m));
    memcpy(to, m, sizeof(*m));
    w->kernels->hide(hat, to + sizeof(*m), sum, mask, values, s->ring);
    CT_DECLASSIFY(hat, values * sizeof(*hat));
}

static void fill(void *context, size_t first, size_t count, uint8_t *to)
{
    const struct evaluation *k = context;

    for (size_t unit = first; unit < first + count; unit++, to += unit_bytes(&k->s))
        fill_unit(k, unit, to);
}

/* The correction times b, of a unit: the plane of the pair that m says. */
static void read_correction(const struct evaluation *k, size_t number, size_t unit,
                            uint64_t ret[UNIT])
{
    size_t first = 2 * number * k->s.padded + UNIT * unit;
    uint64_t other[UNIT], m = k->m[unit];

    op_fields(k->o, k->op, STREAM_CORR, hot_bytes(&k->s), first, ret, UNIT, k->s.ring);
    op_fields(k->o, k->op, STREAM_CORR, hot_bytes(&k->s), first + k->s.padded, other, UNIT,
              k->s.ring);
    for (size_t i = 0; i < UNIT; i++)
        ret[i] ^= (ret[i] ^ other[i]) & (0 - (m >> i & 1));
}

/* C_ck at every d^. */
static void factors(const struct op *op, size_t col, unsigned int power, unsigned int degree,
                    const uint64_t d[UNIT], uint64_t ret[UNIT])
{
    static const uint64_t binomial[SPLINE_TERMS][SPLINE_TERMS] = {{1, 1, 1}, {0, 1, 2}, {0, 0, 1}};
    uint64_t term_of[SPLINE_TERMS];

    for (unsigned int j = power; j <= degree; j++)
        term_of[j] = (uint64_t)term(op, col, j) * binomial[power][j] * (power % 2 ? UINT64_MAX : 1);
    for (size_t i = 0; i < UNIT; i++)
        ret[i] = term_of[degree];
    for (unsigned int j = degree; j-- > power;)
        for (size_t i = 0; i < UNIT; i++)
            ret[i] = ret[i] * d[i] + term_of[j];
}

/* One column's part of a unit, with the powers of the mask at @power; @number: of its first
 * correction. */
static void add_column(const struct evaluation *k, size_t col, size_t number, size_t unit,
                       const uint64_t power[][UNIT], const uint64_t d[UNIT], uint64_t sum[UNIT])
{
    const uint64_t *hat = k->hat + (unit * k->s.cols + col) * UNIT;
    uint64_t by[UNIT] = {0}, factor[UNIT], correction[UNIT];

    for (unsigned int j = 0; j <= k->s.degree[col]; j++) {
        factors(k->op, col, j, k->s.degree[col], d, factor);
        for (size_t i = 0; i < UNIT; i++)
            by[i] += factor[i] * power[j][i];
        if (j == k->s.degree[col])
            break;
        read_correction(k, number + j, unit, correction);
        for (size_t i = 0; i < UNIT; i++)
            sum[i] -= factor[i] * correction[i];
    }
    for (size_t i = 0; i < UNIT; i++)
        sum[i] += hat[i] * by[i];
}

static void finish_unit(const struct evaluation *k, size_t unit)
{
    const struct shape *s = &k->s;
    size_t at = UNIT * unit, count = MIN(s->count - at, (size_t)UNIT);
    size_t number = s->degree_most + 1;
    const uint64_t *x = walk_at(&k->o->walk, k->op->in[0]) + at;
    uint64_t *z = walk_at(&k->o->walk, k->op->out) + at;
    uint64_t power[SPLINE_TERMS][UNIT], d[UNIT] = {0}, sum[UNIT];

    for (size_t i = 0; i < count; i++)
        d[i] = (x[i] & ((1ull << s->shift) - 1)) >> s->drop;
    for (size_t j = 0; j < number; j++)
        read_correction(k, j, unit, power[j]);
    read_correction(k, s->corrections - 1, unit, sum);
    for (size_t i = 0; i < UNIT; i++)
        sum[i] = 0 - sum[i];
    for (size_t c = 0; c < s->cols; number += s->degree[c], c++)
        add_column(k, c, number, unit, (const uint64_t(*)[UNIT])power, d, sum);
    memcpy(z, sum, count * sizeof(*z));
}

static void use(void *context, size_t first, size_t count, const uint8_t *from)
{
    const struct evaluation *k = context;
    size_t values = UNIT * k->s.cols;

    for (size_t unit = first; unit < first + count; unit++, from += unit_bytes(&k->s)) {
        uint64_t theirs;

        memcpy(&theirs, from, sizeof(theirs));
        k->m[unit] ^= theirs;
        k->o->walk.kernels->unpack_add(k->hat + unit * values, from + sizeof(theirs), values,
                                       k->s.ring);
        finish_unit(k, unit);
    }
}

static int online(struct online *o, const struct op *op)
{
    struct evaluation k = {
        .o = o, .op = op, .s = shape_of(o->walk.plan, o->walk.variant, op), .hot = o->walk.scratch};
    size_t units = k.s.padded / UNIT;

    k.m = k.hot + UNIT * k.s.words;
    k.hat = k.m + units;
    return exchange_all(o->exchange, units, unit_bytes(&k.s), fill, use, &k);
}

const struct op_kind op_spline = {
    .name = "spline",
    .inputs_min = 2,
    .inputs_max = 2,
    .attrs_min = SPLINE_TERM + SPLINE_TERMS,
    .attrs_max = SPLINE_ATTRS_MAX,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
