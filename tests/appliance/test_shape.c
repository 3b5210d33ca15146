/* A line as text: what it may say, what is said of every other text, and back again. */
#include "tests/appliance/fixture.h"

#include "appliance/shape.h"

#include <string.h>

static void test_good(void **state)
{
    static const struct {
        const char *text, *again;
        struct link_line line;
    } good[] = {
        {"10gbit,20us", "10gbit,20us", {10000000000, 20}},
        {"20us,10gbit", "10gbit,20us", {10000000000, 20}},
        {"5ms , 100mbit", "100mbit,5ms", {100000000, 5000}},
        {"1mbit", "1mbit", {1000000, 0}},
        {"2500mbit", "2500mbit", {2500000000, 0}},
        {"1000gbit", "1000gbit", {1000000000000, 0}},
        {"1us", "1us", {0, 1}},
        {"1000ms", "1000ms", {0, 1000000}},
        {"1500us", "1500us", {0, 1500}},
        {"000001gbit", "1gbit", {1000000000, 0}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        char text[SHAPE_TEXT_SIZE];
        struct link_line line;

        assert_int_equal(shape_parse(good[i].text, &line, NULL), 0);
        assert_int_equal(line.bits_per_s, good[i].line.bits_per_s);
        assert_int_equal(line.delay_us, good[i].line.delay_us);
        assert_true(shape_set(&line));
        shape_format(&line, text);
        assert_string_equal(text, good[i].again);
    }
}

static void test_bad(void **state)
{
    static const struct {
        const char *text, *says;
        int rc;
    } bad[] = {
        {"", "\"\" is no rate and no delay", -EINVAL},
        {"10", "\"10\" is no rate and no delay", -EINVAL},
        {"gbit", "\"gbit\" is no rate", -EINVAL},
        {"10 gbit", "is no rate", -EINVAL},
        {"10Gbit", "is no rate", -EINVAL},
        {"10gbits", "is no rate", -EINVAL},
        {"2.5gbit", "write a whole number", -EINVAL},
        {"-1us", "is no rate", -EINVAL},
        {"1gbit,", "\"\" is no rate", -EINVAL},
        {",1us", "\"\" is no rate", -EINVAL},
        {"1gbit 1us", "is no rate", -EINVAL},
        {"1gbit,2gbit", "two rates: keep one", -EINVAL},
        {"1us,1gbit,1ms", "two delays: keep one", -EINVAL},
        {"0gbit", "a rate is from 1mbit to 1000gbit", -ERANGE},
        {"1bit", "a rate is from", -ERANGE},
        {"1001gbit", "a rate is from", -ERANGE},
        {"99999999999999999999999gbit", "a rate is from", -ERANGE},
        {"0us", "a delay is from 1us to 1000ms", -ERANGE},
        {"1001ms", "a delay is from", -ERANGE},
        {"18446744073709551617us", "a delay is from", -ERANGE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct link_line line = {.bits_per_s = 1, .delay_us = 2};
        struct err err = {""};

        assert_int_equal(shape_parse(bad[i].text, &line, &err), bad[i].rc);
        assert_contains(err.text, bad[i].says);
        assert_int_equal(line.bits_per_s, 1);
        assert_int_equal(line.delay_us, 2);
    }
}

/* Also what a peer may say and no configuration. */
static void test_format(void **state)
{
    const struct link_line none = {0}, odd = {UINT64_MAX, UINT32_MAX};
    char text[SHAPE_TEXT_SIZE];

    (void)state;
    assert_false(shape_set(&none));
    shape_format(&none, text);
    assert_string_equal(text, "none");
    shape_format(&odd, text);
    assert_string_equal(text, "18446744073709551615bit,4294967295us");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_format),
    };

    return cmocka_run_group_tests_name("shape", tests, NULL, NULL);
}
