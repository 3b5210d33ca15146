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
#define FRAC     12 /* of x */
#define OUT_FRAC 20
#define LO       (-3)
#define HI       9

/* x in, factor / x or factor / sqrt(x) out. */
static struct plan *make(enum inverse_kind kind, double factor)
{
    struct plan *plan = plan_new();
    struct builder b = {.plan = plan, .at = {"test", -1}};
    struct inverse k = {
        .kind = kind, .lo = LO, .hi = HI, .frac = OUT_FRAC, .factor = factor, .mantissa = 16};
    uint32_t x;

    assert_non_null(plan);
    plan->ring = RING;
    plan->frac = OUT_FRAC;
    plan->vocabulary = 1;
    plan->labels = COUNT;
    assert_int_equal(inverse_add_table(plan, kind, k.mantissa, &k.table, NULL), 0);
    assert_int_equal(plan_add_variant(plan, COUNT, &b.variant, NULL), 0);
    x = build_affine(&b, build_input(&b), 1, 0, FRAC);
    build_output(&b, build_inverse(&b, x, &k));
    free(b.places);
    assert_int_equal(b.rc, 0);
    assert_int_equal(plan_finish(plan, NULL), 0);
    return plan;
}

/* From end to end in even steps of the logarithm, and the powers of two and their neighbours. */
static void fill(uint64_t x[COUNT])
{
    size_t at = 0;

    for (int e = LO; e <= HI; e++)
        for (int near = e == LO ? 0 : -1; near <= 1; near++)
            x[at++] = (1ull << (FRAC + e)) + (uint64_t)near;
    x[at++] = (1ull << (FRAC + HI + 1)) - 1;
    for (size_t i = 0; at < COUNT; i++)
        x[at++] = (uint64_t)exp2(FRAC + LO + (HI + 1 - LO) * (double)i / COUNT);
}

static void check(enum inverse_kind kind, double factor, enum clear_rounding rounding)
{
    struct plan *plan = make(kind, factor);
    const uint8_t seed[PRG_SEED_BYTES] = {1};
    struct err err = {0};
    uint64_t x[COUNT];
    int64_t y[COUNT];

    fill(x);
    assert_int_equal(clear_run(plan, plan->variants, NULL, x, COUNT, rounding, seed, NULL, y, &err),
                     0);
    for (size_t i = 0; i < COUNT; i++) {
        double v = ldexp((double)x[i], -FRAC), got = ldexp((double)y[i], -OUT_FRAC);
        double want = factor / (kind == INVERSE_RECIPROCAL ? v : sqrt(v));

        /* A table off by a step of 2^-7, squared by Newton; the last places of y and of x. */
        if (fabs(got / want - 1) > exp2(-13) + exp2(1 - OUT_FRAC) / want)
            fail_msg("at %.6g: %.8g instead of %.8g", v, got, want);
    }
    plan_free(plan);
}

static void reciprocals_are_good_to_thirteen_bits(void **state)
{
    (void)state;
    check(INVERSE_RECIPROCAL, 1, CLEAR_FLOOR);
    check(INVERSE_RECIPROCAL, 1, CLEAR_RANDOM);
    check(INVERSE_RECIPROCAL, 2.75, CLEAR_RANDOM);
}

static void inverse_roots_are_good_to_thirteen_bits(void **state)
{
    (void)state;
    check(INVERSE_ROOT, 1, CLEAR_FLOOR);
    check(INVERSE_ROOT, 1, CLEAR_RANDOM);
    check(INVERSE_ROOT, 1.2247, CLEAR_RANDOM);
}

static void out_of_range_is_seen(void **state)
{
    struct plan *plan = make(INVERSE_RECIPROCAL, 1);
    const uint8_t seed[PRG_SEED_BYTES] = {0};
    struct err err = {0};
    uint64_t x[COUNT];
    int64_t y[COUNT];

    (void)state;
    fill(x);
    x[7] = (1ull << (FRAC + LO)) - 1;
    assert_int_equal(
        clear_run(plan, plan->variants, NULL, x, COUNT, CLEAR_FLOOR, seed, NULL, y, &err), -ERANGE);
    x[7] = 1ull << (FRAC + HI + 1);
    assert_int_equal(
        clear_run(plan, plan->variants, NULL, x, COUNT, CLEAR_FLOOR, seed, NULL, y, &err), -ERANGE);
    plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reciprocals_are_good_to_thirteen_bits),
        cmocka_unit_test(inverse_roots_are_good_to_thirteen_bits),
        cmocka_unit_test(out_of_range_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
