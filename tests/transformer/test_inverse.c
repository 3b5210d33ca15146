/* Reciprocal and inverse square root over their whole range, ends included, in the clear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mpc/clear.h"
#include "transformer/inverse.h"

#include <math.h>

#define COUNT    512
#define RING     48
#define FRAC     12 /* of x, once it is cut */
#define OUT_FRAC 20
#define MANTISSA 18
#define LO       (-3)

/* Narrow enough for lookups; for comparisons only. */
enum { HI_LOOKED_UP = 8, HI_COMPARED = 10 };

struct shape {
    enum inverse_kind kind;
    int hi, shift;
    double factor; /* of roots */
};

/* x in, 1 / x or factor / sqrt(x) out. */
static struct plan *make(const struct shape *s)
{
    struct inverse_tables tables;
    struct plan *plan = plan_new();
    struct builder b = {.plan = plan, .at = {"test", -1}};
    struct inverse k = {.kind = s->kind,
                        .lo = LO,
                        .hi = s->hi,
                        .shift = s->shift,
                        .frac = OUT_FRAC,
                        .lo_proven = true,
                        .hi_proven = true,
                        .tables = &tables};
    uint32_t x;

    assert_non_null(plan);
    plan->ring = RING;
    plan->frac = OUT_FRAC;
    plan->vocabulary = 1;
    plan->labels = COUNT;
    assert_int_equal(inverse_add_tables(plan, MANTISSA, s->factor, &tables, NULL), 0);
    assert_int_equal(plan_add_variant(plan, COUNT, LENGTH_PUBLIC, 1, &b.variant, NULL), 0);
    x = build_affine(&b, build_input(&b, RING), (int64_t)1 << s->shift, 0, FRAC + s->shift);
    build_output(&b, build_inverse(&b, x, &k), OPERAND_NONE);
    free(b.places);
    assert_int_equal(b.rc, 0);
    assert_int_equal(plan_finish(plan, NULL), 0);
    return plan;
}

static size_t comparisons(const struct plan *plan)
{
    size_t count = 0;

    for (size_t i = 0; i < plan->variants[0].op_count; i++)
        count += plan->variants[0].ops[i].id == OP_COMPARE;
    return count;
}

/* From end to end in even steps of the logarithm, and the powers of two and their neighbours. */
static void fill(uint64_t x[COUNT], int hi)
{
    size_t at = 0;

    for (int e = LO; e <= hi; e++)
        for (int near = e == LO ? 0 : -1; near <= 1; near++)
            x[at++] = (1ull << (FRAC + e)) + (uint64_t)near;
    x[at++] = (1ull << (FRAC + hi + 1)) - 1;
    for (size_t i = 0; at < COUNT; i++)
        x[at++] = (uint64_t)exp2(FRAC + LO + (hi + 1 - LO) * (double)i / COUNT);
}

static void check(const struct shape *s, enum clear_rounding rounding)
{
    struct plan *plan = make(s);
    const uint8_t seed[PRG_SEED_BYTES] = {1};
    const uint32_t lengths[] = {COUNT};
    struct err err = {0};
    uint64_t x[COUNT];
    int64_t y[COUNT];

    assert_int_equal(comparisons(plan), s->hi == HI_COMPARED);
    fill(x, s->hi);
    if (clear_run(plan, plan->variants, NULL, x, lengths, rounding, seed, NULL, y, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < COUNT; i++) {
        double v = ldexp((double)x[i], -FRAC), got = ldexp((double)y[i], -OUT_FRAC);
        double want = s->kind == INVERSE_RECIPROCAL ? 1 / v : s->factor / sqrt(v);

        /* A line over two steps of 2^-9, the mantissa's last place at t and its inverse, and that
         * of what comes out. */
        if (fabs(got / want - 1) > exp2(-15) + exp2(1 - OUT_FRAC) / want)
            fail_msg("at %.6g: %.8g instead of %.8g", v, got, want);
    }
    plan_free(plan);
}

static void check_all(enum inverse_kind kind, double factor)
{
    for (int i = 0; i < 8; i++) {
        struct shape s = {kind, i & 1 ? HI_COMPARED : HI_LOOKED_UP, i & 2 ? 5 : 0, factor};

        check(&s, i & 4 ? CLEAR_RANDOM : CLEAR_FLOOR);
    }
}

static void reciprocals_are_good_to_fifteen_bits(void **state)
{
    (void)state;
    check_all(INVERSE_RECIPROCAL, 1);
}

static void inverse_roots_are_good_to_fifteen_bits(void **state)
{
    (void)state;
    check_all(INVERSE_ROOT, 1);
    check_all(INVERSE_ROOT, 1.2247);
}

static void out_of_range_is_seen(void **state)
{
    const struct shape s = {INVERSE_RECIPROCAL, HI_LOOKED_UP, 0, 1};
    struct plan *plan = make(&s);
    const uint8_t seed[PRG_SEED_BYTES] = {0};
    const uint32_t lengths[] = {COUNT};
    struct err err = {0};
    uint64_t x[COUNT];
    int64_t y[COUNT];

    (void)state;
    fill(x, s.hi);
    x[7] = (1ull << (FRAC + LO)) - 1;
    assert_int_equal(
        clear_run(plan, plan->variants, NULL, x, lengths, CLEAR_FLOOR, seed, NULL, y, &err),
        -ERANGE);
    x[7] = 1ull << (FRAC + s.hi + 1);
    assert_int_equal(
        clear_run(plan, plan->variants, NULL, x, lengths, CLEAR_FLOOR, seed, NULL, y, &err),
        -ERANGE);
    plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reciprocals_are_good_to_fifteen_bits),
        cmocka_unit_test(inverse_roots_are_good_to_fifteen_bits),
        cmocka_unit_test(out_of_range_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
