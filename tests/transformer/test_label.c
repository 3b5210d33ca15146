/*
 * Labels: which logit is the largest, as parties and dealer find it, and in the clear.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mpc/clear.h"
#include "tests/mpc/replay.h"
#include "tests/random_fixed.h"
#include "tests/transformer/made.h"
#include "transformer/label.h"

#include <string.h>

#define BATCH 3

/* A plan of one variant whose input's first row is the logits of a sequence. */
static struct plan *make(unsigned int ring, uint32_t labels, int bits)
{
    struct plan *plan = made_plan(ring, labels, labels);
    struct err err = {""};
    struct builder b = {.plan = plan, .err = &err};
    uint32_t x;

    assert_int_equal(plan_add_variant(plan, 1, LENGTH_PUBLIC, BATCH, &b.variant, &err), 0);
    b.at = (struct place){"label", -1};
    x = build_labels(&b, build_input(&b, ring), bits);
    build_output_labels(&b, x, OPERAND_NONE);
    made_finish(&b);
    assert_true(plan_labels_only(plan));
    return plan;
}

/* Few values, so that some are equal, at both ends of what may be apart. In the clear a
 * sum takes one bit less than the ring has. */
static int64_t value(int bits)
{
    int64_t top = ((int64_t)1 << (bits - 2)) - 1;
    const int64_t some[] = {-top, top, 0, -1, 1, top - 1, random_in(-top, top)};

    return some[random_word() % ARRAY_LENGTH(some)];
}

static void expect_label(const int64_t x[], const int64_t got[], uint32_t labels)
{
    size_t best = 0;

    for (size_t i = 1; i < labels; i++)
        if (x[i] > x[best])
            best = i;
    for (size_t i = 0; i < labels; i++)
        assert_int_equal(got[i], i == best);
}

static void check(unsigned int ring, uint32_t labels, int bits)
{
    struct plan *plan = make(ring, labels, bits);
    struct replay *r = replay_new(plan, NULL, kernels_here());
    const struct variant *v = plan->variants;
    const uint32_t lengths[BATCH] = {1, 1, 1};
    uint8_t seed[PRG_SEED_BYTES] = {0};
    int64_t x[BATCH * LABEL_MOST], got[BATCH * LABEL_MOST];
    struct err err = {""};

    for (int times = 0; times < 8; times++) {
        for (size_t i = 0; i < BATCH * labels; i++)
            x[i] = times ? value(MIN(bits, (int)ring - 1)) : 5; /* all are equal: the first */
        assert_int_equal(replay_run(r, v, lengths, (const uint64_t *)x, got), 0);
        for (size_t s = 0; s < BATCH; s++)
            expect_label(x + s * labels, got + s * labels, labels);
        if (clear_run(plan, v, NULL, (const uint64_t *)x, lengths, CLEAR_RANDOM, seed, NULL, got,
                      &err) < 0)
            fail_msg("%s", err.text);
        for (size_t s = 0; s < BATCH; s++)
            expect_label(x + s * labels, got + s * labels, labels);
    }
    replay_free(r);
    plan_free(plan);
}

static void test_largest(void **state)
{
    static const uint32_t labels[] = {2, 3, 4, 5, 7, 8, 9, 33, LABEL_MOST};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(labels); i++)
        for (unsigned int ring = RING_BITS_MIN; ring <= RING_BITS_MAX; ring += 16) {
            check(ring, labels[i], (int)ring);
            check(ring, labels[i], 13);
        }
}

/* A plan gives either, in all of its variants. */
static void test_variants_agree(void **state)
{
    struct plan *plan = made_plan(48, 2, 2);
    struct err err = {""};
    struct builder b = {.plan = plan, .err = &err};

    (void)state;
    for (uint32_t batch = 1; batch <= 2; batch++) {
        uint32_t x;

        assert_int_equal(plan_add_variant(plan, 1, LENGTH_PUBLIC, batch, &b.variant, &err), 0);
        x = build_input(&b, 48);
        if (batch == 1)
            build_output_labels(&b, x, OPERAND_NONE);
        else
            build_output(&b, build_affine(&b, x, 1, 0, plan->frac), OPERAND_NONE);
    }
    assert_int_equal(b.rc, 0);
    assert_int_equal(plan_finish(plan, &err), -EINVAL);
    assert_string_equal(err.text, "plan: some variants give logits, and others labels");
    free(b.places);
    plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_variants_agree),
    };

    random_fixed_restart(11);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
