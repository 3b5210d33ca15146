/* ring: what a ring may be, and the signed value of an element. */
#include "mpc/ring.h"

#include "tests/mpc/build.h"

static void test_signed(void **state)
{
    (void)state;
    assert_int_equal(ring_signed(0x80000000, 32), INT32_MIN);
    assert_int_equal(ring_signed(0x7fffffff, 32), INT32_MAX);
    assert_int_equal(ring_signed(0xabcdffffffffffff, 48), -1);
    assert_int_equal(ring_signed(UINT64_MAX, 64), -1);
    assert_int_equal(ring_mask(1), 1);
    assert_int_equal(ring_mask(64), UINT64_MAX);
}

static void test_valid(void **state)
{
    (void)state;
    for (unsigned int ring = 0; ring < 256; ring++)
        assert_int_equal(ring_valid(ring),
                         ring == 32 || ring == 40 || ring == 48 || ring == 56 || ring == 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed),
        cmocka_unit_test(test_valid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
