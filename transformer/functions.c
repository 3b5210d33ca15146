#include "transformer/functions.h"

#include <math.h>
#include <stdlib.h>

/* Up to as many fraction bits lines do: their slopes are opened in few bits. */
#define LINES_FRAC_MAX 12

/* Fraction bits of what exp reads, over the plan's, where the ring has room. */
#define EXP_ARGUMENT_BITS 2

/* log2 of the units of a score's last places on either side of which a comparison for the largest
 * may fall. */
#define MAX_STEP (-4)

/* --- curves --- */

/* Of one activation: an odd part of it dies away outside 2^(period - 1). */
struct domain {
    double (*f)(double x);
    int period; /* log2 of what the table covers, 0 in its middle */
    int below;
    int top;        /* log2 of the largest value */
    int more_steps; /* over those of a third derivative below 1 */
};

static double gelu(double x)
{
    return 0.5 * x * erfc(-x * M_SQRT1_2);
}

/* 1 + tanh u = 2 / (1 + exp(-2 u)), without the difference of the two. */
static double gelu_new(double x)
{
    double u = M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x);

    return x / (1 + exp(-2 * u));
}

static struct domain domain_of(enum hidden_act act, int frac)
{
    if (act == HIDDEN_TANH)
        return (struct domain){tanh, frac <= 18 ? 4 : 5, frac <= 18 ? -2 : -1, 0, 1};
    /* At 3.75 gelu is 1.4 units off at 12 fraction bits; at 6 it is 0.1 at 24. */
    return (struct domain){act == HIDDEN_GELU ? gelu : gelu_new, frac <= LINES_FRAC_MAX ? 3 : 4,
                           frac <= LINES_FRAC_MAX ? -3 : 0, frac <= LINES_FRAC_MAX ? 2 : 3, 0};
}

/* ceil(a / b) for b > 0 */
static int divide_up(int a, int b)
{
    return a > 0 ? (a + b - 1) / b : -(-a / b);
}

/* The smallest ring in which values below 2^bits are truncated. */
static int ring_for(int bits)
{
    return MAX((bits + 2 + 7) / 8 * 8, 24);
}

static int no_room(const struct plan *plan, const char *name, struct err *err)
{
    return err_set(err, -ERANGE,
                   "%s: a ring of %u bits has no room for its pieces at %u fraction bits: take "
                   "fewer",
                   name, plan->ring, plan->frac);
}

/* The polynomial in d, |d| < h, through f at Chebyshev's points. */
static void fit(double (*f)(double x), double at, double h, size_t columns, double ret[])
{
    double far = h * (columns == 2 ? M_SQRT1_2 : sqrt(3) / 2);
    double left = f(at - far), middle = f(at), right = f(at + far);

    ret[0] = columns == 2 ? 0.5 * (left + right) : middle;
    ret[1] = (right - left) / (2 * far);
    ret[2] = (left + right - 2 * middle) / (2 * far * far);
}

static int add_rows(struct plan *plan, struct curve *k, const struct domain *d, struct err *err)
{
    int bits = d->period + k->step, rows = 1 << bits, rc;
    int64_t *entries = malloc((size_t)rows * k->columns * sizeof(*entries));
    double h = ldexp(1, -k->step);

    if (!entries)
        return err_set(err, -ENOMEM, "no memory for a table");
    for (int i = 0; i < rows; i++) {
        double v[3];

        fit(d->f, (i < rows / 2 ? i : i - rows) * h, h, k->columns, v);
        for (size_t c = 0; c < k->columns; c++)
            entries[(size_t)i * k->columns + c] =
                llrint(ldexp(v[c], k->out_frac - (int)c * k->frac));
    }
    rc =
        plan_add_table(plan, (unsigned int)bits, (unsigned int)k->columns, entries, &k->table, err);
    free(entries);
    return rc;
}

/*
 * A line over two steps h errs by h^2 / 4 of the second derivative, which is below 0.8: 3.2 units
 * where h^2 is 16. A parabola errs by h^3 / 24 of the third, which is below 0.8, and 2 for tanh: a
 * unit. The last coefficient's own last place is half a unit at h.
 */
static int add_activation(struct plan *plan, enum hidden_act act, struct curve *ret,
                          struct err *err)
{
    int f = plan->frac;
    struct domain d = domain_of(act, f);
    struct curve k = {
        .frac = f,
        .below = d.below,
        .from = ldexp(2, d.below) - ldexp(1, d.period - 1),
        .to = ldexp(1, d.period - 1) - ldexp(1, d.below),
    };
    int rc;

    if (f <= LINES_FRAC_MAX) {
        k.columns = 2;
        k.step = MAX(divide_up(f, 2) - 2, PLAN_TABLE_BITS_MIN - d.period);
        k.out_frac = 2 * f - k.step;
    } else {
        k.columns = 3;
        k.step = MAX(divide_up(f - 5, 3) + d.more_steps, PLAN_TABLE_BITS_MIN - d.period);
        k.out_frac = 3 * f - 2 * k.step + 1;
    }
    k.ring = ring_for(k.out_frac + d.top);
    if (k.ring > plan->ring || d.period + k.step > PLAN_TABLE_BITS_MAX)
        return no_room(plan, hidden_act_name(act), err);
    for (size_t c = 0; c < k.columns; c++)
        k.terms[SPLINE_TERMS * c + c] = 1;
    rc = add_rows(plan, &k, &d, err);
    if (rc == 0)
        *ret = k;
    return rc;
}

/*
 * exp(i h + d) = exp(i h) exp(d): a column of values and one parabola for all, 1 + (1 + h^2/8) d +
 * d^2/2, which errs by h^3 / 24.
 */
static int add_exp(struct plan *plan, struct curve *ret, struct err *err)
{
    int f = plan->frac, frac = f + EXP_ARGUMENT_BITS, period = f <= 18 ? 4 : 5, value_frac, bits,
        rc;
    struct curve k = {
        .below = -1,
        .from = 2 - ldexp(1, period),
        .ring = plan->ring,
        .columns = 1,
        .step = MAX(divide_up(f - 4, 3), PLAN_TABLE_BITS_MIN - period),
    };
    int64_t *entries;

    while (frac > 4 && plan->ring - 4 - 2 * frac < f + 2)
        frac--;
    value_frac = MIN(plan->ring - 4 - 2 * frac, f + FUNCTIONS_EXP_MORE_BITS);
    bits = period + k.step;
    if (value_frac < f || frac < f || bits > PLAN_TABLE_BITS_MAX)
        return no_room(plan, "softmax", err);
    k.frac = frac;
    k.out_frac = value_frac + 2 * frac + 1;
    k.terms[0] = (int64_t)1 << (2 * frac + 1);
    k.terms[1] = llrint(ldexp(1 + ldexp(1, -2 * k.step - 3), frac + 1));
    k.terms[2] = 1;
    entries = malloc(sizeof(*entries) << bits);
    if (!entries)
        return err_set(err, -ENOMEM, "no memory for a table");
    /* Little of the table is above 0, the rest from where it wraps. */
    for (int i = 0; i < 1 << bits; i++) {
        double x = ldexp(i, -k.step);

        entries[i] = llrint(ldexp(exp(x <= 1 ? x : x - ldexp(1, period)), value_frac));
    }
    rc = plan_add_table(plan, (unsigned int)bits, 1, entries, &k.table, err);
    free(entries);
    if (rc == 0)
        *ret = k;
    return rc;
}

int functions_add(struct plan *plan, const struct model_config *config, struct functions *ret,
                  struct err *err)
{
    bool hidden[HIDDEN_ACTS] = {false}, softmax = false;
    struct functions k = {0};
    int rc = 0;

    for (size_t i = 0; i < config->layers; i++) {
        hidden[config->functions[i].hidden] = true;
        softmax |= config->functions[i].softmax == SOFTMAX_EXP;
    }
    hidden[HIDDEN_QUAD] = hidden[HIDDEN_RELU] = false;
    for (int act = 0; rc == 0 && act < HIDDEN_ACTS; act++)
        if (hidden[act])
            rc = add_activation(plan, (enum hidden_act)act, &k.hidden[act], err);
    if (rc == 0 && softmax)
        rc = add_exp(plan, &k.exp, err);
    if (rc == 0)
        *ret = k;
    return rc;
}

/* --- the operations --- */

double activation_before(enum hidden_act act)
{
    return act == HIDDEN_QUAD ? 1 : 0;
}

/* 0.125 x^2 + 0.25 x + 0.5 = 0.125 (x + 1)^2 + 0.375. */
double activation_after(enum hidden_act act)
{
    return act == HIDDEN_QUAD ? 0.375 : 0;
}

/* Of a masked wire, with thresholds in x, how far below them counts as either, and all its bits. */
static uint32_t compare(struct builder *b, uint32_t x, int below, const double *thresholds,
                        size_t count)
{
    int frac = build_frac(b, x);
    int64_t units[2];

    for (size_t i = 0; i < count; i++)
        units[i] = llrint(ldexp(thresholds[i], frac));
    return build_compare(b, x, build_bits(b, x), frac + below, units, count);
}

static uint32_t evaluate(struct builder *b, uint32_t x, const struct curve *k, uint32_t bits,
                         int64_t to)
{
    int frac = build_frac(b, x);

    return build_spline(b, x, bits,
                        &(struct builder_spline){
                            .table = k->table,
                            .shift = frac - k->step,
                            .drop = frac - k->frac,
                            .ring = k->ring,
                            .frac = k->out_frac,
                            .to = to,
                            .terms = k->terms,
                            .columns = k->columns,
                        });
}

/* The curve between its thresholds, 0 outside; and their bits. */
static uint32_t between(struct builder *b, uint32_t x, const struct curve *k, uint32_t *ret_bits)
{
    const double thresholds[2] = {k->from, k->to};
    uint32_t bits = compare(b, x, k->below, thresholds, 2);
    uint32_t y = evaluate(b, x, k, bits, 1);

    *ret_bits = bits;
    return build_truncate_lift(b, y, k->out_frac - b->plan->frac, b->plan->frac);
}

static uint32_t gelu_of(struct builder *b, uint32_t x, const struct curve *k)
{
    uint32_t bits, y = between(b, x, k, &bits);

    return build_add(b, y, build_select(b, bits, 1, x));
}

/* -1 + [x >= from] + [x >= to], and the curve. */
static uint32_t tanh_of(struct builder *b, uint32_t x, const struct curve *k)
{
    int64_t one = (int64_t)1 << b->plan->frac;
    uint32_t bits, y = between(b, x, k, &bits), outside;

    outside =
        build_dot(b, build_bit_to_ring(b, bits), -one, (int64_t[]){one, one}, 2, b->plan->frac);
    return build_add(b, y, build_like(b, outside, y));
}

uint32_t build_positive(struct builder *b, uint32_t x)
{
    const int64_t zero = 0;

    return build_select(b, build_compare(b, x, build_bits(b, x), 0, &zero, 1), 0, x);
}

uint32_t build_activation(struct builder *b, uint32_t x, int shift, enum hidden_act act,
                          const struct functions *k)
{
    int f = b->plan->frac;

    x = build_cut(b, x, shift, f);
    switch (act) {
    case HIDDEN_QUAD:
        return build_truncate(b, build_square(b, x, false), f + 3, f);
    case HIDDEN_RELU:
        return build_positive(b, x);
    case HIDDEN_TANH:
        return tanh_of(b, x, &k->hidden[act]);
    default:
        return gelu_of(b, x, &k->hidden[act]);
    }
}

/* The largest of every row of a masked wire, or less by a sixteenth a level: the pairs of a level
 * may meet in the middle. */
static uint32_t largest(struct builder *b, uint32_t x)
{
    const double zero = 0;
    size_t count = build_cols(b, x);

    while (b->rc == 0 && count > 1) {
        size_t half = (count + 1) / 2;
        uint32_t d = build_difference(b, x, x, half, 0, count - half);
        uint32_t more = build_select(b, compare(b, d, MAX_STEP, &zero, 1), 0, d);
        uint32_t right = build_columns(b, build_unmask(b, x), count - half, half);

        x = build_open(b, build_add(b, more, right));
        count = half;
    }
    return x;
}

/* Bits to cut off scores: what is left is whole bytes, and as few of them as hold the curve's
 * argument. */
static int score_shift(const struct builder *b, int score_frac, const struct curve *k)
{
    return MAX(MIN(score_frac - k->frac, b->plan->ring - 24) / 8 * 8, 8);
}

/* The scores of tokens that are not there go far below every score, and still within what
 * differences fit. */
static uint32_t exclude(struct builder *b, uint32_t s, uint32_t presence)
{
    int64_t end = (int64_t)1 << (b->plan->ring - 3), far = 5 * (end / 4);

    if (presence == OPERAND_NONE) {
        build_range(b, s, -end, end);
        return build_length_fill(b, s, -3 * (end / 2));
    }
    /* Down from where they were: to between -7/4 and -3/4 of the end. */
    build_range(b, s, -end / 2, end / 2);
    return build_add_presence(b, s, presence, far, -far);
}

uint32_t build_exponentials(struct builder *b, uint32_t s, uint32_t presence, int score_frac,
                            int frac, const struct functions *k)
{
    const struct curve *exp = &k->exp;
    int shift = score_shift(b, score_frac, exp);
    uint32_t most, d, bits;

    if (b->rc == 0 && score_frac - shift < exp->frac)
        b->rc = err_set(b->err, -ERANGE, "%s: scores of %d fraction bits", b->at.what, score_frac);
    s = build_cut_whole(b, exclude(b, s, presence), shift, score_frac - shift);
    most = largest(b, s);
    d = build_difference(b, s, most, build_cols(b, s), 0, 0);
    bits = compare(b, d, exp->below, &exp->from, 1);
    d = evaluate(b, d, exp, bits, -1);
    return build_truncate_lift(b, d, exp->out_frac - frac, frac);
}
