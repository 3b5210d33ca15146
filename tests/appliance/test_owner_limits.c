/*
 * What owners may ask: lines as an operator writes them, whose they are, and a clock that the test
 * turns by hand for what was had.
 */
#include "tests/appliance/fixture.h"

#include "appliance/owner_limits.h"
#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

#define S ((uint64_t)1000000000)

#define HEX_A   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B   "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_P   "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define MODEL_1 "13aff303cf0c19c6d71fd0293202dd4f"
#define MODEL_2 "23aff303cf0c19c6d71fd0293202dd4f"

static struct tls_pins pins;
static struct limits limits;
static struct budgets budgets;

/* acme is pinned by name, another owner without one. */
static int start(void **state)
{
    struct err err = {""};

    (void)state;
    limits = (struct limits){.count = 0};
    memset(&budgets, 0, sizeof(budgets));
    return tls_pins_add(&pins, ROLE_OWNER, "acme=" HEX_A, &err) ||
           tls_pins_add(&pins, ROLE_OWNER, HEX_B, &err) ||
           tls_pins_add(&pins, ROLE_PARTY1, "p1=" HEX_P, &err);
}

static int end(void **state)
{
    (void)state;
    limits_free(&limits);
    tls_pins_free(&pins);
    return 0;
}

static void add(const char *text)
{
    struct err err = {""};
    unsigned int line;

    if (limits_add(&limits, (unsigned int)limits.count + 1, text, &err) < 0 ||
        limits_check(&limits, &pins, &line, &err) < 0)
        fail_msg("%s: %s", text, err.text);
}

/* The owner whose key has this fingerprint, whatever its certificate calls it. */
static struct limit of(const char *hex, const char *name)
{
    struct identity owner = {.role = ROLE_OWNER};
    struct limit limit;

    snprintf(owner.name, sizeof(owner.name), "%s", name);
    assert_int_equal(hex_decode(hex, owner.fingerprint, sizeof(owner.fingerprint)), 0);
    limits_of(&limits, &pins, &owner, &limit);
    return limit;
}

static bool has(const struct limit *limit, const char *hex)
{
    uint8_t id[PLAN_ID_BYTES];

    assert_int_equal(hex_decode(hex, id, sizeof(id)), 0);
    return limit_has_model(limit, id);
}

static void test_nothing_said(void **state)
{
    struct limit l = of(HEX_A, "acme");

    (void)state;
    for (size_t i = 0; i < LIMIT_KINDS; i++)
        assert_int_equal(l.most[i], LIMIT_ANY);
    assert_true(has(&l, MODEL_1));
}

static void test_own_then_all(void **state)
{
    struct limit l;

    (void)state;
    add("* queries=60 waiting=4 model=" MODEL_2);
    add("acme  queries=600\tburst=64 job=32");
    add("acme model=" MODEL_1);
    l = of(HEX_A, "acme");
    assert_int_equal(l.most[LIMIT_QUERIES], 600);
    assert_int_equal(l.most[LIMIT_BURST], 64);
    assert_int_equal(l.most[LIMIT_JOB], 32);
    assert_int_equal(l.most[LIMIT_WAITING], 4);
    assert_true(has(&l, MODEL_1) && !has(&l, MODEL_2));

    /* A name that only the certificate has is nobody's limit. */
    l = of(HEX_B, "acme");
    assert_int_equal(l.most[LIMIT_QUERIES], 60);
    assert_int_equal(l.most[LIMIT_BURST], 60);
    assert_int_equal(l.most[LIMIT_JOB], LIMIT_ANY);
    assert_true(has(&l, MODEL_2) && !has(&l, MODEL_1));
}

static void test_any_lifts(void **state)
{
    struct limit l;

    (void)state;
    add("* queries=60 burst=5 waiting=4 model=" MODEL_2);
    add(HEX_B " queries=any burst=any model=any");
    l = of(HEX_B, "");
    assert_int_equal(l.most[LIMIT_QUERIES], LIMIT_ANY);
    assert_int_equal(l.most[LIMIT_WAITING], 4);
    assert_true(has(&l, MODEL_1));
}

static const struct {
    const char *lines[2], *says;
} wrong[] = {
    {{"acme"}, "nothing follows the owner: write model=ID"},
    {{"queries=3"}, "\"queries=3\" is no owner"},
    {{"acme queries"}, "\"queries\" limits nothing: write model=ID"},
    {{"acme quota=3"}, "\"quota\" limits nothing"},
    {{"acme queries=0"}, "queries=0: write a number from 1 to 1000000000, or any"},
    {{"acme queries=1000000001"}, "queries=1000000001: write"},
    {{"acme queries=99999999999999999999999"}, "write a number"},
    {{"acme queries=-1"}, "queries=-1: write"},
    {{"acme queries="}, "queries=: write"},
    {{"acme waiting=3x"}, "waiting=3x: write"},
    {{"acme waiting=3", "acme waiting=4"}, "waiting= stands twice for this owner: keep one"},
    {{"acme model=xyz"}, "\"xyz\" is no model: write any, or the 32 digits"},
    {{"acme burst=3"}, "burst=3 is of a limit that there is not: say queries=N"},
    {{"acme queries=9 burst=3 job=4"}, "job=4 is more than may ever come at once, 3"},
    {{"* queries=9", "acme job=10"}, "job=10 is more than may ever come at once, 9"},
    {{"bob queries=3"}, "no owner is pinned as bob"},
    {{"p1 queries=3"}, "no owner is pinned as p1"},
    {{"acme queries=3", HEX_A " waiting=3"}, "is the owner that line 7 calls acme"},
};

static void test_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct err err = {""};
        unsigned int line = 0;
        int rc = 0;

        for (size_t k = 0; k < 2 && rc == 0 && wrong[i].lines[k]; k++)
            rc = limits_add(&limits, 7 + (unsigned int)k, wrong[i].lines[k], &err);
        if (rc == 0)
            rc = limits_check(&limits, &pins, &line, &err);
        assert_true(rc < 0);
        if (!strstr(err.text, wrong[i].says))
            fail_msg("case %zu says \"%s\"", i, err.text);
        limits_free(&limits);
    }
}

static void test_too_many_models(void **state)
{
    char line[64] = "";
    struct err err = {""};
    int rc = 0;

    (void)state;
    for (unsigned int i = 0; i <= LIMIT_MODELS_MAX && rc == 0; i++) {
        snprintf(line, sizeof(line), "acme model=%032u", i);
        rc = limits_add(&limits, 1, line, &err);
        assert_int_equal(rc == 0, i < LIMIT_MODELS_MAX);
    }
    assert_non_null(strstr(err.text, "write model=any"));
}

/* --- what they had --- */

static uint64_t wait_s(uint8_t owner, const struct limit *l, uint32_t queries, uint64_t now_ns)
{
    uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES] = {owner};

    return budget_wait_s(&budgets, fingerprint, l, queries, now_ns);
}

static void charge(uint8_t owner, const struct limit *l, uint32_t queries, uint64_t now_ns)
{
    uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES] = {owner};

    assert_int_equal(wait_s(owner, l, queries, now_ns), 0);
    budget_charge(&budgets, fingerprint, l, queries, now_ns);
}

/* One query a second, 32 at once: a job counts what it answers, and what is refused counts nothing.
 */
static void test_bucket(void **state)
{
    struct limit l;

    (void)state;
    add("acme queries=3600 burst=32");
    l = of(HEX_A, "acme");
    charge(1, &l, 31, 100 * S);
    assert_int_equal(wait_s(1, &l, 2, 100 * S), 1);
    assert_int_equal(wait_s(1, &l, 32, 100 * S), 31);
    charge(1, &l, 1, 100 * S);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(wait_s(1, &l, 1, 100 * S), 1);
    assert_int_equal(wait_s(2, &l, 32, 100 * S), 0);

    /* What it was told to wait is enough, and less is not. */
    assert_int_equal(wait_s(1, &l, 32, 100 * S), 32);
    assert_int_equal(wait_s(1, &l, 32, 131 * S), 1);
    charge(1, &l, 32, 132 * S);
    assert_int_equal(wait_s(1, &l, 1, 132 * S), 1);

    /* It does not save up more than a burst. */
    charge(1, &l, 32, 1000000 * S);
    assert_int_equal(wait_s(1, &l, 1, 1000000 * S), 1);
}

/* An hour's accepted queries are never more than the rate and one burst, however they come. */
static void test_an_hour(void **state)
{
    unsigned int had = 0;
    struct limit l;

    (void)state;
    add("acme queries=100 burst=7");
    l = of(HEX_A, "acme");
    for (uint64_t at = 1; at <= 3600; at++)
        for (uint32_t n = 1 + at % 3; wait_s(1, &l, n, at * S) == 0; had += n)
            charge(1, &l, n, at * S);
    assert_in_range(had, 100, 107);
}

static void test_limit_changes(void **state)
{
    struct limit l;

    (void)state;
    add("acme queries=3600 burst=100");
    l = of(HEX_A, "acme");
    charge(1, &l, 80, S);
    l.most[LIMIT_BURST] = 50;
    assert_int_equal(wait_s(1, &l, 1, S), 31);
    l.most[LIMIT_BURST] = 90;
    l.most[LIMIT_QUERIES] = 36000;
    assert_int_equal(wait_s(1, &l, 20, S), 1);
}

/* More owners than are remembered: those go first that have not asked for longest. */
static void test_many_owners(void **state)
{
    uint8_t owner[IDENTITY_FINGERPRINT_BYTES] = {0};
    struct limit l;

    (void)state;
    add("* queries=1");
    l = of(HEX_A, "acme");
    for (uint32_t i = 0; i <= BUDGETS_MAX; i++) {
        store_le32(owner + 1, i + 1);
        budget_charge(&budgets, owner, &l, 1, (1 + i) * S);
    }
    store_le32(owner + 1, BUDGETS_MAX + 1);
    assert_true(budget_wait_s(&budgets, owner, &l, 1, BUDGETS_MAX * S + S) > 0);
    store_le32(owner + 1, 2);
    assert_true(budget_wait_s(&budgets, owner, &l, 1, BUDGETS_MAX * S + S) > 0);
    store_le32(owner + 1, 1);
    assert_int_equal(budget_wait_s(&budgets, owner, &l, 1, BUDGETS_MAX * S + S), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_said, start, end),
        cmocka_unit_test_setup_teardown(test_own_then_all, start, end),
        cmocka_unit_test_setup_teardown(test_any_lifts, start, end),
        cmocka_unit_test_setup_teardown(test_wrong, start, end),
        cmocka_unit_test_setup_teardown(test_too_many_models, start, end),
        cmocka_unit_test_setup_teardown(test_bucket, start, end),
        cmocka_unit_test_setup_teardown(test_an_hour, start, end),
        cmocka_unit_test_setup_teardown(test_limit_changes, start, end),
        cmocka_unit_test_setup_teardown(test_many_owners, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
