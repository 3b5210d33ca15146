#include "transformer/inverse.h"

#include <math.h>

/* The table's step is 2^-STEP_BITS; its domain [0, 4) has [1, 2] in the middle, so that an index
 * one off still finds an entry. */
#define STEP_BITS (INVERSE_TABLE_BITS - 2)

int inverse_add_table(struct plan *plan, enum inverse_kind kind, int mantissa, int64_t *ret,
                      struct err *err)
{
    int64_t entries[1 << INVERSE_TABLE_BITS];

    for (int i = 0; i < 1 << INVERSE_TABLE_BITS; i++) {
        double t = fmin(fmax(ldexp(i, -STEP_BITS), 1), 2);

        entries[i] = llrint(ldexp(kind == INVERSE_RECIPROCAL ? 1 / t : 1 / sqrt(t), mantissa));
    }
    return plan_add_table(plan, INVERSE_TABLE_BITS, 1, entries, ret, err);
}

/* The bits of a comparison with 2^lo+1 .. 2^hi choose among values[0..hi-lo]. */
static uint32_t pick(struct builder *b, uint32_t bits, const int64_t *values, size_t count,
                     int frac)
{
    int64_t steps[PLAN_ATTRS_MAX];

    for (size_t i = 1; i < count; i++)
        steps[i - 1] = values[i] - values[i - 1];
    return build_dot(b, bits, values[0], steps, count - 1, frac);
}

static uint32_t newton_reciprocal(struct builder *b, uint32_t t, uint32_t y, int g)
{
    uint32_t e = build_truncate(b, build_mul(b, t, y), g, g);

    e = build_affine(b, e, -1, (int64_t)2 << g, g);
    return build_truncate(b, build_mul(b, y, build_open(b, e)), g, g);
}

static uint32_t newton_root(struct builder *b, uint32_t t, uint32_t y, int g)
{
    uint32_t square = build_truncate(b, build_square(b, y, false), g, g);
    uint32_t e = build_truncate(b, build_mul(b, t, build_open(b, square)), g, g);

    e = build_affine(b, e, -1, (int64_t)3 << g, g);
    return build_truncate(b, build_mul(b, y, build_open(b, e)), g + 1, g);
}

/* factor / x or factor / sqrt(x) at x = 2^e, in units. */
static int64_t scale_back(const struct inverse *k, int e)
{
    double root = k->kind == INVERSE_RECIPROCAL ? 1 : 0.5;

    return llrint(k->factor * exp2(k->frac - root * e));
}

uint32_t build_inverse(struct builder *b, uint32_t x, const struct inverse *k)
{
    int64_t thresholds[PLAN_ATTRS_MAX], up[PLAN_ATTRS_MAX], back[PLAN_ATTRS_MAX];
    int frac = build_frac(b, x), g = k->mantissa;
    size_t count = (size_t)(k->hi - k->lo) + 1;
    uint32_t masked, bits, t, y;

    if (b->rc == 0 && (k->hi <= k->lo || count > PLAN_ATTRS_MAX - DOT_FACTOR || frac + k->lo < 0))
        b->rc = err_set(b->err, -ERANGE, "%s: a range from 2^%d to 2^%d at %d fraction bits",
                        b->at.what, k->lo, k->hi + 1, frac);
    if (b->rc < 0)
        return OPERAND_NONE;
    for (size_t i = 0; i < count; i++) {
        thresholds[i] = (int64_t)1 << (frac + k->lo + (int)i);
        up[i] = (int64_t)1 << (count - 1 - i);
        back[i] = scale_back(k, k->lo + (int)i);
    }
    build_range(b, x, thresholds[0], 2 * thresholds[count - 1]);
    masked = build_open(b, x);
    bits = build_bit_to_ring(b, build_compare(b, masked, thresholds + 1, count - 1));
    t = build_mul(b, masked, build_open(b, pick(b, bits, up, count, 0)));
    t = build_truncate(b, t, frac + k->hi - g, g);
    y = build_lookup(b, build_truncate(b, t, g - STEP_BITS, 0), k->table, g);
    t = build_open(b, t);
    y = build_open(b, y);
    y = k->kind == INVERSE_RECIPROCAL ? newton_reciprocal(b, t, y, g) : newton_root(b, t, y, g);
    y = build_mul(b, build_open(b, y), build_open(b, pick(b, bits, back, count, k->frac)));
    return build_truncate(b, y, g, k->frac);
}
