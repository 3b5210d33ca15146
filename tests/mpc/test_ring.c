/* ring: fields of every width, packed without gaps, come back as they were and as long as said. */
#include "mpc/ring.h"

#include "tests/mpc/build.h"

#include <string.h>

#define COUNT_MAX 67
#define GUARD     16
#define POISON    0xa5

/* Bit @bit of field @i, found the slow way. */
static unsigned int bit_at(const uint8_t *packed, size_t at)
{
    return packed[at / 8] >> at % 8 & 1;
}

static void check_fields(const uint64_t *v, size_t count, unsigned int bits)
{
    uint8_t packed[COUNT_MAX * 8 + GUARD];
    uint64_t back[COUNT_MAX + 1];
    size_t bytes = ring_field_bytes(count, bits);

    memset(packed, POISON, sizeof(packed));
    memset(back, POISON, sizeof(back));
    ring_pack_fields(packed, v, count, bits);
    for (size_t i = 0; i < count * bits; i++)
        assert_int_equal(bit_at(packed, i), v[i / bits] >> i % bits & 1);
    for (size_t i = count * bits; i < bytes * 8; i++)
        assert_int_equal(bit_at(packed, i), 0);
    for (size_t i = bytes; i < bytes + GUARD; i++)
        assert_int_equal(packed[i], POISON);
    ring_unpack_fields(back, packed, count, bits);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(back[i], v[i] & ring_mask(bits));
    assert_int_equal(back[count], 0xa5a5a5a5a5a5a5a5);
}

static void test_fields(void **state)
{
    (void)state;
    for (unsigned int bits = 1; bits <= 63; bits++)
        for (size_t count = 0; count <= COUNT_MAX; count++) {
            uint64_t v[COUNT_MAX];

            build_noise((int64_t *)v, count, INT64_MIN, INT64_MAX);
            check_fields(v, count, bits);
        }
}

/* A field leaves no trace of the bits above it, all ones least of all. */
static void test_fields_of_ones(void **state)
{
    uint64_t v[COUNT_MAX];

    (void)state;
    memset(v, 0xff, sizeof(v));
    for (unsigned int bits = 1; bits <= 63; bits++)
        check_fields(v, COUNT_MAX, bits);
}

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
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_fields_of_ones),
        cmocka_unit_test(test_signed),
        cmocka_unit_test(test_valid),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
