/* Every bound of a bucket holds what it should, and quantiles are those of what was added. */
#include "base/histogram.h"

#include <setjmp.h>

#include <cmocka.h>

static uint64_t only(uint64_t ns)
{
    struct histogram h = {0};

    histogram_add(&h, ns);
    return histogram_quantile(&h, 500);
}

static void test_bounds(void **state)
{
    (void)state;
    for (uint64_t ns = 0; ns < 100000; ns++) {
        assert_true(only(ns) >= ns);
        assert_true(only(ns) <= ns + ns / 8);
        assert_int_equal(only(only(ns)), only(ns));
    }
    for (unsigned int power = 17; power < 40; power++)
        for (uint64_t ns = ((uint64_t)1 << power) - 2; ns < ((uint64_t)1 << power) + 2; ns++)
            assert_true(only(ns) >= ns && only(ns) <= ns + ns / 8);
    assert_int_equal(only(UINT64_MAX), ((uint64_t)1 << 40) - 1);
}

static void test_quantiles(void **state)
{
    struct histogram h = {0};

    (void)state;
    assert_int_equal(histogram_quantile(&h, 999), 0);
    for (uint64_t ns = 1; ns <= 1000; ns++)
        histogram_add(&h, 1000 * ns);
    assert_int_equal(h.count, 1000);
    assert_in_range(histogram_quantile(&h, 500), 500000, 562500);
    assert_in_range(histogram_quantile(&h, 990), 990000, 1113750);
    assert_in_range(histogram_quantile(&h, 999), 999000, 1123875);
    assert_in_range(histogram_quantile(&h, 0), 1000, 1125);
    assert_in_range(histogram_quantile(&h, 1000), 1000000, 1125000);
}

static void test_merge(void **state)
{
    struct histogram all = {0}, part[2] = {{0}};

    (void)state;
    for (uint64_t ns = 1; ns <= 1000; ns++) {
        histogram_add(&all, 1000 * ns);
        histogram_add(&part[ns % 3 == 0], 1000 * ns);
    }
    histogram_merge(&part[0], &part[1]);
    assert_memory_equal(&part[0], &all, sizeof(all));
}

static void test_below(void **state)
{
    struct histogram h = {0};
    uint64_t sum = 0;

    (void)state;
    for (uint64_t ns = 0; ns < 70000; sum += ns++)
        histogram_add(&h, ns);
    assert_true(h.sum_ns == sum);
    for (unsigned int power = 3; power <= 40; power++)
        assert_int_equal(histogram_below(&h, power), MIN((uint64_t)1 << power, 70000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_below),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
