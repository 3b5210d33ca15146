/* base: the first error wins, digests are SHA-256's, and sizes do not overflow. */
#include "base/base.h"
#include "base/bytes.h"
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_first_error_wins(void **state)
{
    struct err err = {""};

    (void)state;
    assert_string_equal(err_text(&err, -ENOENT), strerror(ENOENT));
    assert_string_equal(err_text(NULL, -ENOENT), strerror(ENOENT));
    assert_int_equal(err_set(&err, -EINVAL, "%s: %d", "model", 7), -EINVAL);
    assert_int_equal(err_set(&err, -EIO, "another"), -EIO);
    assert_string_equal(err_text(&err, -EIO), "model: 7");
    assert_int_equal(err_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void test_long_text_is_cut(void **state)
{
    char text[2 * ERR_TEXT_MAX];
    struct err err = {""};

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    assert_int_equal(err_set(&err, -EINVAL, "%s", text), -EINVAL);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
}

static void test_size_mul(void **state)
{
    size_t bytes = 42;

    (void)state;
    assert_int_equal(size_mul(SIZE_MAX, 2, &bytes), -EOVERFLOW);
    assert_int_equal(size_mul((size_t)1 << 63, 2, &bytes), -EOVERFLOW);
    assert_int_equal(bytes, 42);
    assert_int_equal(size_mul(SIZE_MAX, 1, &bytes), 0);
    assert_true(bytes == SIZE_MAX);
    assert_int_equal(size_mul(0, SIZE_MAX, &bytes), 0);
    assert_int_equal(bytes, 0);
}

static void test_clocks(void **state)
{
    uint64_t before = time_ns();

    (void)state;
    assert_true(time_ns() >= before);
    assert_true(time_wall_ms() > 1600000000000);
}

/* FIPS 180-2's "abc", whole and in pieces. */
static void test_sha256(void **state)
{
    uint8_t whole[HASH_BYTES], pieces[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];
    struct hash *h = hash_new();

    (void)state;
    assert_non_null(h);
    hash_bytes("abc", 3, whole);
    hex_encode(whole, HASH_BYTES, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash_add(h, "a", 1);
    hash_add(h, "", 0);
    hash_add(h, "bc", 2);
    hash_end(h, pieces);
    assert_memory_equal(whole, pieces, HASH_BYTES);
    hash_free(NULL);
    hash_free(hash_new());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_error_wins), cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_size_mul),         cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_sha256),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
