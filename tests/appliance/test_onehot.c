/*
 * What a data owner shares: two shares that add up to the one-hot rows, each of which alone is the
 * PRG's, and what is refused before anything is shared.
 */
#include "tests/appliance/fixture.h"

#include "appliance/onehot.h"
#include "transformer/compile.h"

#include <stdlib.h>
#include <string.h>

#define VOCABULARY 11
#define TYPES      2
#define COLUMNS    (VOCABULARY + TYPES)
#define TOKENS     8

/* As much of a plan as sharing looks at. */
static struct plan *make_plan(void)
{
    struct plan *plan = plan_new();
    struct variant *v;

    assert_non_null(plan);
    plan->vocabulary = VOCABULARY;
    plan->types = TYPES;
    plan->ring = 64;
    assert_int_equal(plan_add_variant(plan, 4, &v, NULL), 0);
    assert_int_equal(plan_add_variant(plan, TOKENS, &v, NULL), 0);
    return plan;
}

static const struct encoding text = {.count = 5, .ids = {1, 10, 0, 7, 2}, .types = {0, 0, 0, 1, 1}};

static struct prg *make_prg(uint8_t first)
{
    uint8_t seed[PRG_SEED_BYTES] = {first};
    struct prg *prg = prg_new(seed);

    assert_non_null(prg);
    return prg;
}

static void test_shares_add_up(void **state)
{
    struct plan *plan = make_plan();
    struct prg *prg = make_prg(1);
    uint64_t rows[TOKENS * COLUMNS], share0[COLUMNS], share1[COLUMNS];

    (void)state;
    assert_int_equal(onehot_columns(plan), COLUMNS);
    assert_int_equal(onehot_check(plan, &text, NULL), 0);
    assert_int_equal(compile_input(plan, plan_variant(plan, TOKENS), &text, rows, NULL), 0);
    for (size_t row = 0; row < TOKENS; row++) {
        onehot_share_row(plan, &text, row, prg, 0, share0);
        onehot_share_row(plan, &text, row, prg, 1, share1);
        for (size_t i = 0; i < COLUMNS; i++)
            assert_int_equal(share0[i] + share1[i], rows[row * COLUMNS + i]);
    }
    prg_free(prg);
    plan_free(plan);
}

/* Party 1's share says nothing of the text, since it is the same for any. */
static void test_share_of_party1_is_the_stream(void **state)
{
    static const struct encoding other = {.count = 1, .ids = {9}};
    struct plan *plan = make_plan();
    struct prg *prg = make_prg(2), *fresh = make_prg(3);
    uint64_t one[COLUMNS], two[COLUMNS], row1[COLUMNS];

    (void)state;
    onehot_share_row(plan, &text, 0, prg, 1, one);
    onehot_share_row(plan, &other, 0, prg, 1, two);
    assert_memory_equal(one, two, sizeof(one));

    /* Rows and jobs have streams of their own. */
    onehot_share_row(plan, &text, 1, prg, 1, row1);
    assert_memory_not_equal(one, row1, sizeof(one));
    onehot_share_row(plan, &text, 0, fresh, 1, two);
    assert_memory_not_equal(one, two, sizeof(one));
    prg_free(prg);
    prg_free(fresh);
    plan_free(plan);
}

static void test_refused(void **state)
{
    struct plan *plan = make_plan();
    struct encoding e = text;
    struct err err = {""};

    (void)state;
    e.ids[4] = VOCABULARY;
    assert_int_equal(onehot_check(plan, &e, &err), -EINVAL);
    assert_contains(err.text, "vocab.txt is another model's");
    e = text;
    e.types[1] = TYPES;
    assert_int_equal(onehot_check(plan, &e, NULL), -EINVAL);
    e = text;
    e.count = 0;
    assert_int_equal(onehot_check(plan, &e, NULL), -EINVAL);
    e.count = TOKENS + 1;
    err = (struct err){""};
    assert_int_equal(onehot_check(plan, &e, &err), -EINVAL);
    assert_contains(err.text, "9 tokens: the plan takes 1 to 8");
    e.count = SIZE_MAX;
    assert_int_equal(onehot_check(plan, &e, NULL), -EINVAL);
    plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_add_up),
        cmocka_unit_test(test_share_of_party1_is_the_stream),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests_name("onehot", tests, NULL, NULL);
}
