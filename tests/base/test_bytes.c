/* bytes: what is written is read back, and nothing is read or written past an end. */
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void write_record(struct writer *w)
{
    write_u8(w, 0x12);
    write_u16(w, 0x3456);
    write_u32(w, 0x789abcde);
    write_u64(w, 0xf0e1d2c3b4a59687);
    write_string(w, "party");
    write_bytes(w, "raw", 3);
}

static void test_round_trip(void **state)
{
    struct writer w = {0};
    struct reader r;
    char text[6];

    (void)state;
    write_record(&w);
    assert_false(w.failed);
    assert_int_equal(w.count, 1 + 2 + 4 + 8 + 2 + 5 + 3);
    assert_int_equal(w.bytes[1], 0x56); /* little endian */
    reader_init(&r, w.bytes, w.count);
    assert_int_equal(read_u8(&r), 0x12);
    assert_int_equal(read_u16(&r), 0x3456);
    assert_int_equal(read_u32(&r), 0x789abcde);
    assert_true(read_u64(&r) == 0xf0e1d2c3b4a59687);
    read_string(&r, text, sizeof(text));
    assert_string_equal(text, "party");
    assert_false(reader_done(&r));
    assert_memory_equal(read_bytes(&r, 3), "raw", 3);
    assert_true(reader_done(&r));
    writer_free(&w);
    assert_null(w.bytes);
}

/* However short the bytes are, a reader stays inside them, says so, and yields zeros from there. */
static void test_short(void **state)
{
    struct writer w = {0};

    (void)state;
    write_record(&w);
    for (size_t n = 0; n < w.count; n++) {
        uint8_t *copy = malloc(n ? n : 1); /* so that a sanitizer sees a read past it */
        struct reader r;
        char text[6];

        assert_non_null(copy);
        memcpy(copy, w.bytes, n);
        reader_init(&r, copy, n);
        assert_int_equal(read_u8(&r), n >= 1 ? 0x12 : 0);
        assert_int_equal(read_u16(&r), n >= 3 ? 0x3456 : 0);
        read_u32(&r);
        read_u64(&r);
        read_string(&r, text, sizeof(text));
        if (n < 22)
            assert_string_equal(text, "");
        assert_null(read_bytes(&r, 3));
        assert_false(reader_ok(&r));
        assert_false(reader_done(&r));
        /* Failed is failed, though what is left might do. */
        assert_null(read_bytes(&r, 0));
        free(copy);
    }
    writer_free(&w);
}

static void test_huge_count(void **state)
{
    const uint8_t bytes[4] = {0};
    struct reader r;

    (void)state;
    reader_init(&r, bytes, sizeof(bytes));
    assert_null(read_bytes(&r, SIZE_MAX));
    assert_int_equal(r.left, 4);
    reader_init(&r, bytes, 0);
    assert_non_null(read_bytes(&r, 0));
    assert_true(reader_done(&r));
}

static void check_string(const void *bytes, size_t count, size_t size, bool ok,
                         const char *expected)
{
    struct reader r;
    char text[8] = "old";

    reader_init(&r, bytes, count);
    read_string(&r, text, size);
    assert_int_equal(reader_ok(&r), ok);
    assert_string_equal(text, expected);
}

static void test_strings(void **state)
{
    (void)state;
    check_string("\3\0abc", 5, 4, true, "abc");
    check_string("\0\0", 2, 1, true, "");
    check_string("\3\0abc", 5, 3, false, "");     /* no room for its end */
    check_string("\3\0a\0c", 5, 4, false, "");    /* a NUL inside */
    check_string("\4\0abc", 5, 8, false, "");     /* cut off */
    check_string("\377\377abc", 5, 8, false, ""); /* longer than it can be */
    check_string("\3", 1, 8, false, "");
}

static void test_writer_fails_for_good(void **state)
{
    struct writer w = {0};
    char *text = malloc(UINT16_MAX + 2);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', UINT16_MAX + 1);
    text[UINT16_MAX + 1] = 0;
    write_u8(&w, 1);
    write_string(&w, text);
    assert_true(w.failed);
    write_u8(&w, 2);
    assert_int_equal(w.count, 1);
    writer_free(&w);

    w = (struct writer){0};
    write_u8(&w, 1);
    write_bytes(&w, text, SIZE_MAX); /* its end is past the end of memory */
    assert_true(w.failed);
    assert_int_equal(w.count, 1);
    writer_free(&w);
    writer_free(&w);
    free(text);
}

static void test_hex(void **state)
{
    const uint8_t bytes[] = {0x00, 0x7f, 0x80, 0xff};
    uint8_t back[4] = {9, 9, 9, 9};
    char text[9];

    (void)state;
    hex_encode(bytes, sizeof(bytes), text);
    assert_string_equal(text, "007f80ff");
    assert_int_equal(hex_decode("007f80fg", back, 4), -EINVAL);
    assert_int_equal(hex_decode("007f80f", back, 4), -EINVAL);
    assert_int_equal(hex_decode("007f80ff0", back, 4), -EINVAL);
    assert_int_equal(hex_decode(" 07f80ff", back, 4), -EINVAL);
    assert_int_equal(back[0], 9); /* untouched */
    assert_int_equal(hex_decode("007F80fF", back, 4), 0);
    assert_memory_equal(back, bytes, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_huge_count),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_writer_fails_for_good),
        cmocka_unit_test(test_hex),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
