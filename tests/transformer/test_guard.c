/*
 * Guards: what a plan counts of the values that leave their ranges, as parties and dealer make it.
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
#include "transformer/guard.h"

#include <stdio.h>
#include <string.h>

#define TOKENS  5
#define COLUMNS 8
#define BATCH   2
#define GUARDS  7 /* more than an operation joins at once */

/* Of guard g: everything, or from least on, or below end. */
struct ends {
    int64_t least, end;
};

/* A plan of one variant that answers its input's first row, and guards all of it. */
static struct plan *make(unsigned int ring, const struct ends ends[GUARDS])
{
    struct plan *plan = made_plan(ring, COLUMNS, COLUMNS);
    struct err err = {""};
    struct builder b = {.plan = plan, .err = &err};
    uint32_t x;

    assert_int_equal(plan_add_variant(plan, TOKENS, LENGTH_PUBLIC, BATCH, &b.variant, &err), 0);
    x = build_input(&b, ring);
    for (int g = 0; g < GUARDS; g++) {
        b.at = (struct place){"guard", g};
        build_guard(&b, x, ends[g].least, ends[g].end);
    }
    b.at = (struct place){"end", -1};
    x = build_rows(&b, x, BATCH, COLUMNS, 0, TOKENS * COLUMNS);
    x = build_affine(&b, x, 1, 0, plan->frac);
    build_output(&b, x, build_outside(&b));
    made_finish(&b);
    return plan;
}

/* An element that is surely in or surely out; what is within a sixteenth of an end is neither. */
static int64_t value(unsigned int ring, const struct ends *e)
{
    int64_t top = ((int64_t)1 << (ring - 3)) - 1;
    int64_t least = e->least == GUARD_NO_MIN ? 0 : e->least,
            end = e->end == GUARD_NO_END ? 0 : e->end;
    const int64_t near[] = {least,
                            least - 1,
                            end - 1,
                            end,
                            0,
                            -top,
                            top,
                            random_in(-top, top),
                            least + least / 16 + 1,
                            end - end / 16 - 1};
    int64_t x = near[random_word() % ARRAY_LENGTH(near)];

    return x > top || x < -top ? top : x;
}

static void check(unsigned int ring, const struct ends ends[GUARDS])
{
    struct plan *plan = make(ring, ends);
    struct replay *r = replay_new(plan, NULL, kernels_here());
    const struct variant *v = plan->variants;
    const uint32_t lengths[BATCH] = {TOKENS, TOKENS};
    int64_t x[BATCH * TOKENS * COLUMNS], private[BATCH * (COLUMNS + GUARDS)];

    for (size_t i = 0; i < ARRAY_LENGTH(x); i++)
        x[i] = value(ring, &ends[random_word() % GUARDS]);
    assert_int_equal(replay_run(r, v, lengths, (const uint64_t *)x, private), 0);
    for (size_t s = 0; s < BATCH; s++) {
        const struct guard *first = NULL;

        for (size_t g = 0; g < GUARDS; g++) {
            int64_t out = 0, near = 0, got = private[BATCH * COLUMNS + s * GUARDS + g];

            for (size_t i = 0; i < TOKENS * COLUMNS; i++) {
                int64_t at = x[s * TOKENS * COLUMNS + i];
                bool lower = ends[g].least != GUARD_NO_MIN, upper = ends[g].end != GUARD_NO_END;

                out += (lower && at < ends[g].least) + (upper && at >= ends[g].end);
                near += (lower && at >= ends[g].least && at < ends[g].least + ends[g].least / 16) +
                        (upper && at < ends[g].end && at >= ends[g].end - ends[g].end / 16);
            }
            if (got < out || got > out + near)
                fail_msg("ring %u, sequence %zu, %" PRId64 " to %" PRId64 ": %" PRId64
                         " outside, and not %" PRId64 " to %" PRId64,
                         ring, s, ends[g].least, ends[g].end, got, out, out + near);
            if (got && !first)
                first = &plan->guards[g];
        }
        assert_ptr_equal(plan_outside(plan, v, private, s), first);
    }
    replay_free(r);
    plan_free(plan);
}

/* Ends of every height, also so low that nothing is cut off before they are compared. */
static void test_counts(void **state)
{
    (void)state;
    for (unsigned int ring = RING_BITS_MIN; ring <= RING_BITS_MAX; ring += 8) {
        const int64_t top = (int64_t)1 << (ring - 4);
        const struct ends high[GUARDS] = {
            {1 << 10, 1 << 20}, {1 << 10, GUARD_NO_END}, {GUARD_NO_MIN, 1 << 20},   {1 << 12, top},
            {3000, 5000},       {GUARD_NO_MIN, top},     {top / 2, top / 2 + 1000},
        };
        const struct ends low[GUARDS] = {
            {1, 2}, {3, 1 << 20}, {GUARD_NO_MIN, 16}, {5, top}, {1, GUARD_NO_END}, {16, 64}, {2, 7},
        };

        for (int i = 0; i < 3; i++) {
            check(ring, high);
            check(ring, low);
        }
    }
}

/* None: the plan's answer has no counts, and costs nothing more. */
static void test_none(void **state)
{
    struct plan *plan = made_plan(48, 1, 1);
    struct builder b = {.plan = plan};

    (void)state;
    assert_int_equal(plan_add_variant(plan, 1, LENGTH_PUBLIC, 1, &b.variant, NULL), 0);
    build_input(&b, 48);
    assert_int_equal(build_outside(&b), OPERAND_NONE);
    assert_int_equal(b.rc, 0);
    assert_int_equal(b.variant->op_count, 1);
    free(b.places);
    plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_none),
    };

    random_fixed_restart(7);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
