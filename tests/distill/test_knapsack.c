/*
 * What knapsack() takes is held against every other choice that there is; and the worth of one
 * thing, of ties and of what no one should take.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "distill/knapsack.h"

#include <math.h>
#include <string.h>

#define THINGS 12
#define ROUNDS 400

static uint64_t random_state = 7;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % below;
}

/* Price and worth of the things of @set, a bit each. */
static void sum_up(const struct thing things[], size_t count, size_t set, struct thing *ret)
{
    *ret = (struct thing){0, 0};
    for (size_t i = 0; i < count; i++)
        if (set >> i & 1) {
            ret->price += things[i].price;
            ret->worth += things[i].worth;
        }
}

/* The largest worth within @most, and the least price that has it. */
static struct thing try_all(const struct thing things[], size_t count, uint64_t most)
{
    struct thing best = {0, 0}, sum;

    for (size_t set = 0; set < (size_t)1 << count; set++) {
        sum_up(things, count, set, &sum);
        if (sum.price <= most && (sum.worth > best.worth + 1e-12 ||
                                  (sum.worth > best.worth - 1e-12 && sum.price < best.price)))
            best = sum;
    }
    return best;
}

static size_t set_of(const bool taken[], size_t count)
{
    size_t set = 0;

    for (size_t i = 0; i < count; i++)
        set |= (size_t)taken[i] << i;
    return set;
}

static void no_choice_is_better(void **state)
{
    (void)state;
    for (size_t round = 0; round < ROUNDS; round++) {
        struct thing things[THINGS], best, sum;
        bool taken[THINGS];
        size_t count = draw(THINGS + 1);
        uint64_t all = 0, most;

        for (size_t i = 0; i < count; i++) {
            /* few different prices every other time, as layers have them; some worth nothing */
            things[i].price = round % 2 ? draw(1000) : 10 + draw(3);
            things[i].worth = ((double)draw(1000) - 100) / 8;
            all += things[i].price;
        }
        most = draw(all + 2);
        best = try_all(things, count, most);
        assert_int_equal(knapsack(things, count, most, taken, NULL), 0);
        sum_up(things, count, set_of(taken, count), &sum);
        assert_true(sum.price <= most);
        assert_true(fabs(sum.worth - best.worth) < 1e-9);
        assert_int_equal(sum.price, best.price);
        for (size_t i = 0; i < count; i++)
            assert_true(!taken[i] || things[i].worth > 0);
    }
}

static void the_same_choice_of_equals_each_time(void **state)
{
    const struct thing things[4] = {{5, 1}, {5, 1}, {5, 1}, {5, 1}};
    bool first[4], again[4];

    (void)state;
    assert_int_equal(knapsack(things, 4, 11, first, NULL), 0);
    assert_int_equal(knapsack(things, 4, 11, again, NULL), 0);
    assert_memory_equal(first, again, sizeof(first));
    assert_int_equal(__builtin_popcountl(set_of(first, 4)), 2);
}

/* 512 places of a model of 256 layers are chosen from; prices that are all different are too many,
 * and that is said. */
static void a_large_model_fits_and_a_flood_is_refused(void **state)
{
    static struct thing things[512];
    static bool taken[512];
    struct err err = {""};

    (void)state;
    for (size_t i = 0; i < 512; i++)
        things[i] = (struct thing){i % 2 ? 700 : 300, 1 + (double)(i * 37 % 101)};
    assert_int_equal(knapsack(things, 512, 100000, taken, NULL), 0);
    for (size_t i = 0; i < 512; i++)
        things[i] = (struct thing){UINT64_C(1) << (i % 40), (double)(UINT64_C(1) << (i % 40))};
    assert_int_equal(knapsack(things, 512, UINT64_MAX / 2, taken, &err), -E2BIG);
    assert_non_null(strstr(err.text, "too many different sums"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_choice_is_better),
        cmocka_unit_test(the_same_choice_of_equals_each_time),
        cmocka_unit_test(a_large_model_fits_and_a_flood_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
