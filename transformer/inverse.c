#include "transformer/inverse.h"

#include "transformer/guard.h"

#include <math.h>
#include <stdlib.h>

/* u: an index of SCALE_BITS bits tells the exponent as long as it is at least 2. */
#define SCALE_BITS      13
#define SCALE_RANGE_MAX (SCALE_BITS - 1) /* powers of two between the ends of a range */

/* Lines: the domain of t is [0, 4), of which [T_MIN, T_MAX] can occur. */
#define LINE_BITS_MAX 11
#define LINE_BITS_MIN 8
#define LINE_DOMAIN   2 /* log2 of it */
#define SLOPE_FRAC    12
#define T_MIN         0.375
#define T_MAX         2.5

/* A lookup reads 2^SCALE_BITS bits of tape a row; past this many a sequence, comparisons are
 * cheaper. */
#define SCALE_TAPE_BITS_MAX ((size_t)1 << 22)

/* floor(log2 j) of an index; one step past the last wraps to 0, which is as high as that. */
static int exponent(int j)
{
    return j ? ilogb(j) : SCALE_BITS - 1;
}

static int64_t scale_of(enum inverse_kind kind, int below_top)
{
    return (int64_t)1 << (kind == INVERSE_ROOT ? below_top & ~1 : below_top);
}

static int add_scales(struct plan *plan, struct inverse_tables *t, struct err *err)
{
    int64_t *entries = malloc((sizeof(*entries)) << SCALE_BITS);
    int rc = entries ? 0 : err_set(err, -ENOMEM, "no memory for a table");

    for (int kind = 0; rc == 0 && kind < INVERSE_KINDS; kind++) {
        for (int j = 0; j < 1 << SCALE_BITS; j++)
            entries[j] = scale_of((enum inverse_kind)kind, SCALE_BITS - 1 - exponent(j));
        rc = plan_add_table(plan, SCALE_BITS, 1, entries, &t->scale[kind], err);
    }
    for (int j = 0; rc == 0 && j < 1 << SCALE_BITS; j++)
        entries[j] = (int64_t)1 << (SCALE_BITS - 1 - exponent(j)) / 2;
    if (rc == 0)
        rc = plan_add_table(plan, SCALE_BITS, 1, entries, &t->root_scale, err);
    free(entries);
    return rc;
}

static double inverse_at(enum inverse_kind kind, double factor, double t)
{
    return kind == INVERSE_RECIPROCAL ? 1 / t : factor / sqrt(t);
}

/* Where the slope is @slope. */
static double point_of_slope(enum inverse_kind kind, double factor, double slope)
{
    return kind == INVERSE_RECIPROCAL ? sqrt(-1 / slope) : pow(-factor / (2 * slope), 2.0 / 3);
}

/* The line that errs least between @from and @to, with its slope as it will be used: a convex
 * function less a line is largest at the ends and least where the slopes agree. */
static void fit_line(enum inverse_kind kind, double factor, double from, double to, int value_frac,
                     int64_t ret[2])
{
    double f0 = inverse_at(kind, factor, from), f1 = inverse_at(kind, factor, to);
    double slope = rint(ldexp((f1 - f0) / (to - from), SLOPE_FRAC));
    double s = ldexp(slope, -SLOPE_FRAC);
    double at = fmin(fmax(point_of_slope(kind, factor, s), from), to);
    double most = fmax(f0 - s * from, f1 - s * to), least = inverse_at(kind, factor, at) - s * at;

    ret[0] = llrint(ldexp(0.5 * (most + least), value_frac));
    ret[1] = (int64_t)slope;
}

/* A line over two steps h errs by (2 h)^2 / 16 times the second derivative, which is below 10: with
 * h = 2^(LINE_DOMAIN - bits) below 2^-frac for twice as many bits as frac + 6. */
static int line_bits(const struct plan *plan)
{
    return MAX(MIN((plan->frac + 7) / 2, LINE_BITS_MAX), LINE_BITS_MIN);
}

static int add_lines(struct plan *plan, double factor, struct inverse_tables *t, struct err *err)
{
    int bits = line_bits(plan), rc = 0;

    for (int kind = 0; rc == 0 && kind < INVERSE_KINDS; kind++) {
        int64_t entries[2 << LINE_BITS_MAX];

        /* Row j is found by t between the steps j - 1 and j + 1. */
        for (int j = 0; j < 1 << bits; j++) {
            double from = fmin(fmax(ldexp(j - 1, LINE_DOMAIN - bits), T_MIN), T_MAX);
            double to = fmin(fmax(ldexp(j + 1, LINE_DOMAIN - bits), T_MIN), T_MAX);

            if (from == to)
                to = from + ldexp(1, LINE_DOMAIN - bits);
            fit_line((enum inverse_kind)kind, factor, from, to, t->mantissa + SLOPE_FRAC,
                     entries + 2 * j);
        }
        rc = plan_add_table(plan, (unsigned int)bits, 2, entries, &t->line[kind], err);
    }
    return rc;
}

int inverse_add_tables(struct plan *plan, int mantissa, double factor, struct inverse_tables *ret,
                       struct err *err)
{
    struct inverse_tables t = {.mantissa = mantissa};
    int rc = add_scales(plan, &t, err);

    if (rc == 0)
        rc = add_lines(plan, factor, &t, err);
    if (rc == 0)
        *ret = t;
    return rc;
}

/* --- the operations --- */

/* u of every row: the lookup that gives it, or its opened value (and that of its root). */
struct scale {
    const struct inverse *k;
    uint32_t x; /* masked */
    int shift;  /* of the lookup's index; negative: compared */
    uint32_t up, back;
};

/* The bits of a comparison with 2^lo+1 .. 2^hi choose among powers of two. */
static uint32_t pick(struct builder *b, uint32_t bits, const struct inverse *k, bool root)
{
    int64_t steps[PLAN_ATTRS_MAX], least = 0;

    for (int e = k->lo; e <= k->hi; e++) {
        int64_t u = root ? (int64_t)1 << (k->hi - e) / 2 : scale_of(k->kind, k->hi - e);

        if (e == k->lo)
            least = u;
        else
            steps[e - k->lo - 1] =
                u - (root ? (int64_t)1 << (k->hi - e + 1) / 2 : scale_of(k->kind, k->hi - e + 1));
    }
    return build_open(b, build_dot(b, bits, least, steps, (size_t)(k->hi - k->lo), 0));
}

static void compare_scale(struct builder *b, struct scale *s)
{
    const struct inverse *k = s->k;
    int frac = build_frac(b, s->x);
    int64_t thresholds[PLAN_ATTRS_MAX];
    uint32_t bits;

    for (int e = k->lo + 1; e <= k->hi; e++)
        thresholds[e - k->lo - 1] = (int64_t)1 << (frac + e);
    bits = build_compare(b, s->x, frac + k->hi + 2, 0, thresholds, (size_t)(k->hi - k->lo));
    bits = build_bit_to_ring(b, bits);
    s->up = s->back = pick(b, bits, k, false);
    if (k->kind == INVERSE_ROOT)
        s->back = pick(b, bits, k, true);
}

/* Of one sequence, so that a batch has the operations of one query. */
static size_t rows_of(const struct builder *b, uint32_t x)
{
    return b->rc < 0 ? 0 : b->variant->wires[x].rows / b->variant->batch;
}

static struct scale find_scale(struct builder *b, uint32_t x, const struct inverse *k)
{
    int frac = build_frac(b, x) - k->shift, index = frac + k->hi + 1 - SCALE_BITS;
    struct scale s = {.k = k, .shift = -1};

    if (!build_without(b, FORM_SCALE) && k->hi - k->lo < SCALE_RANGE_MAX && index >= 0 &&
        rows_of(b, x) << SCALE_BITS <= SCALE_TAPE_BITS_MAX)
        s.shift = index;
    if (k->shift && s.shift >= 0)
        s.x = build_cut(b, x, k->shift, frac);
    else
        s.x = build_open(b, k->shift ? build_truncate(b, x, k->shift, frac) : x);
    if (s.shift < 0)
        compare_scale(b, &s);
    return s;
}

/* x u */
static uint32_t scale_up(struct builder *b, const struct scale *s)
{
    int frac = build_frac(b, s->x);

    if (s->shift < 0)
        return build_mul(b, s->x, s->up);
    return build_lookup(b, s->x, s->shift, s->x, s->k->tables->scale[s->k->kind], frac);
}

/* y u, or y sqrt(u) */
static uint32_t scale_back(struct builder *b, const struct scale *s, uint32_t y)
{
    const struct inverse_tables *t = s->k->tables;

    if (s->shift < 0)
        return build_mul(b, y, s->back);
    return build_lookup(b, s->x, s->shift, y,
                        s->k->kind == INVERSE_ROOT ? t->root_scale : t->scale[INVERSE_RECIPROCAL],
                        build_frac(b, y));
}

/* With @ret_spare fraction bits too many, which may be negative. */
static uint32_t mantissa(struct builder *b, uint32_t x, const struct inverse *k, int *ret_spare)
{
    int frac = build_frac(b, x) - k->shift, g = k->tables->mantissa;
    int64_t least, end;
    struct scale s;
    uint32_t t, y;

    if (b->rc == 0 &&
        (k->hi <= k->lo || k->hi - k->lo > PLAN_ATTRS_MAX - DOT_FACTOR || frac + k->lo < 0 ||
         frac + k->hi <= g || g + 2 + k->hi - k->lo > b->plan->ring - 2))
        b->rc = err_set(b->err, -ERANGE, "%s: a range from 2^%d to 2^%d at %d fraction bits",
                        b->at.what, k->lo, k->hi + 1, frac);
    if (b->rc < 0)
        return OPERAND_NONE;
    least = (int64_t)1 << (frac + k->lo + k->shift);
    end = (int64_t)1 << (frac + k->hi + 1 + k->shift);
    build_range(b, x, least, end);
    build_guard(b, x, k->lo_proven ? GUARD_NO_MIN : least, k->hi_proven ? GUARD_NO_END : end);
    s = find_scale(b, x, k);
    t = build_cut(b, scale_up(b, &s), frac + k->hi - g, g);
    y = build_lookup(b, t, g + LINE_DOMAIN - line_bits(b->plan), t, k->tables->line[k->kind],
                     g + SLOPE_FRAC);
    /* 2^-hi, or 2^(-hi/2), moves the point. */
    *ret_spare = g + (k->kind == INVERSE_ROOT ? k->hi / 2 : k->hi) - k->frac;
    return scale_back(b, &s, build_cut(b, y, SLOPE_FRAC, g));
}

uint32_t build_inverse(struct builder *b, uint32_t x, const struct inverse *k)
{
    int spare = 0;
    uint32_t y = mantissa(b, x, k, &spare);

    return spare > 0 ? build_truncate(b, y, spare, k->frac)
                     : build_affine(b, y, (int64_t)1 << -spare, 0, k->frac);
}

uint32_t build_inverse_times(struct builder *b, uint32_t x, const struct inverse *k, uint32_t y)
{
    int spare = 0, cut;
    uint32_t z = mantissa(b, x, k, &spare);

    if (b->rc < 0)
        return OPERAND_NONE;
    /* Opened once more after it, so that it is not truncated but cut: by one bit at least, rather
     * than to have bits that hold nothing. */
    cut = MAX(spare, 1);
    z = build_reshape(b, z, build_elements(b, x) / build_elements(b, y));
    z = build_mul(b, build_cut(b, z, cut, k->frac + spare - cut), y);
    return build_open(b, build_reshape(b, z, 1));
}
