/* A line as text: what it may say, what is said of every other text, and back again. */
#include "tests/appliance/fixture.h"

#include "appliance/shape.h"

#include <string.h>

static void test_good(void **state)
{
    static const struct {
        const char *text, *again;
        struct shape shape;
    } good[] = {
        {"10gbit,20us", "10gbit,20us", {{10000000000, 20}}},
        {"20us,10gbit", "10gbit,20us", {{10000000000, 20}}},
        {"5ms , 100mbit", "100mbit,5ms", {{100000000, 5000}}},
        {"1mbit", "1mbit", {{1000000, 0}}},
        {"2500mbit", "2500mbit", {{2500000000, 0}}},
        {"1000gbit", "1000gbit", {{1000000000000, 0}}},
        {"1us", "1us", {{0, 1}}},
        {"1000ms", "1000ms", {{0, 1000000}}},
        {"1500us", "1500us", {{0, 1500}}},
        {"000001gbit", "1gbit", {{1000000000, 0}}},
        {"1%loss", "1%loss", {.faults = {.lose = 10000}}},
        {"50%duplicate", "50%duplicate", {.faults = {.duplicate = 500000}}},
        {"3%reorder,1ms,2%duplicate,1%loss",
         "1ms,1%loss,2%duplicate,3%reorder",
         {{0, 1000}, {10000, 20000, 30000}}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        char text[SHAPE_TEXT_SIZE];
        struct shape shape;

        assert_int_equal(shape_parse(good[i].text, &shape, NULL), 0);
        assert_int_equal(shape.line.bits_per_s, good[i].shape.line.bits_per_s);
        assert_int_equal(shape.line.delay_us, good[i].shape.line.delay_us);
        assert_int_equal(shape.faults.lose, good[i].shape.faults.lose);
        assert_int_equal(shape.faults.duplicate, good[i].shape.faults.duplicate);
        assert_int_equal(shape.faults.reorder, good[i].shape.faults.reorder);
        assert_int_equal(shape_set(&shape),
                         good[i].again[strspn(good[i].again, "0123456789")] != '%');
        assert_int_equal(shape_faulty(&shape), strchr(good[i].again, '%') != NULL);
        shape_format(&shape, text);
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
        {"1%", "or %loss, %duplicate, %reorder", -EINVAL},
        {"1%loss,2%loss", "two losses: keep one", -EINVAL},
        {"0%reorder", "a reordering is from 1%reorder to 50%reorder", -ERANGE},
        {"51%loss", "a loss is from 1%loss to 50%loss", -ERANGE},
        {"51%duplicate", "a duplication is from", -ERANGE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct shape shape = {.line = {1, 2}};
        struct err err = {""};

        assert_int_equal(shape_parse(bad[i].text, &shape, &err), bad[i].rc);
        assert_contains(err.text, bad[i].says);
        assert_int_equal(shape.line.bits_per_s, 1);
        assert_int_equal(shape.line.delay_us, 2);
    }
}

static void test_nothing(void **state)
{
    const struct shape none = {0};
    char text[SHAPE_TEXT_SIZE];

    (void)state;
    assert_false(shape_set(&none));
    assert_false(shape_faulty(&none));
    shape_format(&none, text);
    assert_string_equal(text, "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_nothing),
    };

    return cmocka_run_group_tests_name("shape", tests, NULL, NULL);
}
