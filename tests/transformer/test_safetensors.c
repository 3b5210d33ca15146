/* A safetensors file is from outside: everything that its header says is checked before a value is
 * read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/safetensors.h"

#include <math.h>
#include <sys/stat.h>

static int setup(void **state)
{
    static struct folder f;

    folder_make(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    folder_remove(*state);
    return 0;
}

/* What opening the file says: its code, and that the text has both parts. */
static void expect_refusal(struct folder *f, int code, const char *says)
{
    struct safetensors *s = NULL;
    struct err err = {0};
    int rc = safetensors_open(folder_at(f, "model.safetensors"), &s, &err);

    if (rc != code || !strstr(err.text, says) || !strstr(err.text, "model.safetensors"))
        print_error("expected %d, %s; got %d, %s\n", code, says, rc, err.text);
    assert_int_equal(rc, code);
    assert_non_null(strstr(err.text, says));
    assert_non_null(strstr(err.text, "model.safetensors"));
    assert_null(s);
}

static void reads_what_was_written(void **state)
{
    static const float values[6] = {1, -2, 3.5f, 0, -0.0f, 1e-40f};
    struct folder *f = *state;
    struct safetensors *s = NULL;
    const struct safetensors_entry *e;
    float got[6];

    folder_write_tensors(f,
                         "{\"__metadata__\":{\"format\":\"pt\"},"
                         "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                         "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[24,24]},"
                         "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[24,32]}}   ",
                         (const float[8]){1, -2, 3.5f, 0, -0.0f, 1e-40f}, 32);
    assert_int_equal(safetensors_open(folder_at(f, "model.safetensors"), &s, NULL), 0);
    assert_int_equal(safetensors_count(s), 3);
    assert_string_equal(safetensors_at(s, 0)->name, "empty");
    assert_null(safetensors_find(s, "v"));
    e = safetensors_find(s, "w");
    assert_int_equal(e->rank, 2);
    assert_int_equal(e->shape[0], 2);
    assert_int_equal(e->shape[1], 3);
    assert_int_equal(safetensors_read(s, e, got, NULL), 0);
    assert_memory_equal(got, values, sizeof(values));
    e = safetensors_find(s, "scalar");
    assert_int_equal(e->elements, 1);
    assert_int_equal(safetensors_read(s, e, got, NULL), -ENOTSUP);
    safetensors_close(s);
}

static void widens_halves_exactly(void **state)
{
    /* one, -2, largest, smallest normal, smallest and largest subnormal, -0; then BF16: 1, -2, 1/3
     * rounded */
    static const uint16_t data[] = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001,
                                    0x03ff, 0x8000, 0x3f80, 0xc000, 0x3eab};
    static const float want[] = {1,     -2, 65504, 0x1p-14f,    0x1p-24f, 1023 * 0x1p-24f,
                                 -0.0f, 1,  -2,    0.333984375f};
    struct folder *f = *state;
    struct safetensors *s = NULL;
    float got[10];

    folder_write_tensors(f,
                         "{\"h\":{\"dtype\":\"F16\",\"shape\":[7],\"data_offsets\":[0,14]},"
                         "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[14,20]}}",
                         data, sizeof(data));
    assert_int_equal(safetensors_open(folder_at(f, "model.safetensors"), &s, NULL), 0);
    assert_int_equal(safetensors_read(s, safetensors_find(s, "h"), got, NULL), 0);
    assert_int_equal(safetensors_read(s, safetensors_find(s, "b"), got + 7, NULL), 0);
    assert_memory_equal(got, want, sizeof(want));
    safetensors_close(s);
}

/* The bad value stands behind the first stage of a read, so its index must count from the start. */
static void refuses_nan_and_infinity(void **state)
{
    static const struct {
        const char *dtype;
        uint32_t bits;
        size_t bytes;
    } bad[] = {{"F32", 0x7fc00000, 4}, {"F32", 0xff800000, 4}, {"F16", 0x7c00, 2},
               {"F16", 0xfc01, 2},     {"BF16", 0x7f80, 2},    {"BF16", 0x7fc0, 2}};
    static uint8_t data[4 * 9001];
    static float got[9001];
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct safetensors *s = NULL;
        struct err err = {0};
        char header[128];

        snprintf(header, sizeof(header),
                 "{\"w.x\":{\"dtype\":\"%s\",\"shape\":[9001],\"data_offsets\":[0,%zu]}}",
                 bad[i].dtype, 9001 * bad[i].bytes);
        memset(data, 0, sizeof(data));
        memcpy(data + 9000 * bad[i].bytes, &bad[i].bits, bad[i].bytes);
        folder_write_tensors(f, header, data, 9001 * bad[i].bytes);
        assert_int_equal(safetensors_open(folder_at(f, "model.safetensors"), &s, NULL), 0);
        assert_int_equal(safetensors_read(s, safetensors_find(s, "w.x"), got, &err), -EINVAL);
        assert_non_null(strstr(err.text, "tensor w.x"));
        assert_non_null(strstr(err.text, "element 9000"));
        safetensors_close(s);
    }
}

static void refuses_a_lying_length(void **state)
{
    struct folder *f = *state;
    uint8_t bytes[16] = {0};

    folder_write(f, "model.safetensors", bytes, 0);
    expect_refusal(f, -EINVAL, "too few");
    folder_write(f, "model.safetensors", bytes, 7);
    expect_refusal(f, -EINVAL, "too few");
    folder_write(f, "model.safetensors", bytes, 8); /* an empty header */
    expect_refusal(f, -EINVAL, "no JSON object");
    store_le64(bytes, 9); /* one more than there are */
    folder_write(f, "model.safetensors", bytes, 16);
    expect_refusal(f, -EINVAL, "claims 9 bytes, the file has 16");
    store_le64(bytes, UINT64_MAX); /* 8 + length wraps */
    folder_write(f, "model.safetensors", bytes, 16);
    expect_refusal(f, -EINVAL, "claims 18446744073709551615 bytes");
}

static void refuses_an_oversized_header(void **state)
{
    struct folder *f = *state;
    size_t count = 8 + SAFETENSORS_HEADER_BYTES_MAX + 1;
    uint8_t *bytes = malloc(count);

    assert_non_null(bytes);
    memset(bytes, ' ', count);
    store_le64(bytes, SAFETENSORS_HEADER_BYTES_MAX + 1);
    folder_write(f, "model.safetensors", bytes, count);
    expect_refusal(f, -EFBIG, "header has 16777217 bytes");
    free(bytes);
}

/* A file of a size that no disk has: sparse, and refused before its header is read. */
static void refuses_an_oversized_file(void **state)
{
    struct folder *f = *state;

    folder_write(f, "model.safetensors", "", 0);
    if (truncate(folder_at(f, "model.safetensors"), (off_t)SAFETENSORS_FILE_BYTES_MAX + 1))
        skip();
    expect_refusal(f, -EFBIG, "more than 17179869184");
}

static void refuses_what_is_no_file(void **state)
{
    struct folder *f = *state;
    const char *path = folder_at(f, "model.safetensors");

    unlink(path);
    expect_refusal(f, -ENOENT, "No such file");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusal(f, -EINVAL, "not a regular file");
    unlink(path);
}

static void refuses_bad_headers(void **state)
{
#define ONE(inside) "{\"w\":{" inside "}}"
#define TWO(a, b)                                                                                  \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "},"                              \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"
#define SHAPE(shape) ONE("\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[0,8]")
#define OFFSETS(o)   ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" o)
    static const struct {
        const char *header;
        int code;
        const char *says;
    } bad[] = {
        {"", -EINVAL, "no JSON object"},
        {"[]", -EINVAL, "no JSON object"},
        {"{\"w\":", -EINVAL, "no JSON object"},
        {"{} x", -EINVAL, "no JSON object"},
        {"{\"w\":1}", -EINVAL, "tensor w: its entry"},
        {"{\"w\":{}}", -EINVAL, "tensor w: its entry"},
        {"{\"w\":[]}", -EINVAL, "tensor w: its entry"},
        {"{\"w\":{},\"w\":{}}", -EINVAL, "no JSON object"}, /* twice the same name */
        {"{\"\":{}}", -EINVAL, "name"},
        {"{\"a\\u001b[2J\":{}}", -EINVAL, "name"}, /* a terminal would obey */
        {"{\"\xc3\xa9\":{}}", -EINVAL, "name"},
        {"{\"a\xff\":{}}", -EINVAL, "no JSON object"},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1"), -EINVAL, "entry"},
        {ONE("\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]"), -ENOTSUP, "type"},
        {ONE("\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]"), -EINVAL, "entry"},
        {SHAPE("2"), -EINVAL, "tensor w: shape"},
        {SHAPE("[-2]"), -EINVAL, "tensor w: dimension 0"},
        {SHAPE("[2.0]"), -EINVAL, "tensor w: dimension 0"},
        {SHAPE("[1,\"2\"]"), -EINVAL, "tensor w: dimension 1"},
        {SHAPE("[1,1,1,1,1,1,1,1,2]"), -EINVAL, "tensor w: shape"},
        {SHAPE("[3]"), -EINVAL, "not what its shape"},
        {SHAPE("[1]"), -EINVAL, "not what its shape"},
        /* products that wrap: 2^64 elements, and 2^62 elements of 4 bytes */
        {SHAPE("[4294967296,4294967296]"), -EINVAL, "tensor w: dimension 1"},
        {SHAPE("[4611686018427387904]"), -EINVAL, "not what its shape"},
        {SHAPE("[9223372036854775808]"), -EINVAL, "no JSON object"}, /* past 63 bits */
        {OFFSETS("[0]"), -EINVAL, "data_offsets"},
        {OFFSETS("[0,8,8]"), -EINVAL, "data_offsets"},
        {OFFSETS("[-8,0]"), -EINVAL, "data_offsets"},
        {OFFSETS("[8,0]"), -EINVAL, "data_offsets"},
        {OFFSETS("[0,8.0]"), -EINVAL, "data_offsets"},
        {OFFSETS("[1,9]"), -EINVAL, "tensor w: ends at byte 9 of the data, which has 8"},
        {OFFSETS("[9223372036854775799,9223372036854775807]"), -EINVAL, "ends at byte"},
        {TWO("[0,4]", "[0,4]"), -EINVAL, "overlaps"},
        {TWO("[0,4]", "[3,7]"), -EINVAL, "tensor b overlaps tensor a"},
        {TWO("[0,4]", "[5,8]"), -EINVAL, "tensor b: its offsets span 3"},
        {ONE("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]"), -EINVAL, "4 bytes before"},
        {ONE("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]"), -EINVAL, "last 4 bytes"},
        {"{}", -EINVAL, "last 8 bytes"},
    };
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        folder_write_tensors(f, bad[i].header, "12345678", 8);
        expect_refusal(f, bad[i].code, bad[i].says);
    }
}

static void refuses_every_truncation(void **state)
{
    static const char header[] = ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]");
    struct folder *f = *state;
    size_t whole = 8 + strlen(header) + 8;

    folder_write_tensors(f, header, "\0\0\0\0\0\0\0\0", 8);
    for (size_t left = whole; left-- > 0;) {
        assert_int_equal(truncate(folder_at(f, "model.safetensors"), (off_t)left), 0);
        expect_refusal(f, -EINVAL, "");
    }
}

/* A file that is cut off after it was opened is an error, where a mapping would be a signal. */
static void survives_a_shrinking_file(void **state)
{
    struct folder *f = *state;
    struct safetensors *s = NULL;
    struct err err = {0};
    float got[2];

    folder_write_tensors(f, ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"),
                         "\0\0\0\0\0\0\0\0", 8);
    assert_int_equal(safetensors_open(folder_at(f, "model.safetensors"), &s, NULL), 0);
    assert_int_equal(truncate(folder_at(f, "model.safetensors"), 12), 0);
    assert_int_equal(safetensors_read(s, safetensors_find(s, "w"), got, &err), -EIO);
    assert_non_null(strstr(err.text, "ends at byte"));
    safetensors_close(s);
}

static void refuses_too_many_tensors(void **state)
{
    struct folder *f = *state;
    struct writer w = {0};

    write_bytes(&w, "{", 1);
    for (size_t i = 0; i <= SAFETENSORS_TENSORS_MAX; i++) {
        char one[96];
        int n = snprintf(one, sizeof(one),
                         "%s\"t%zu\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                         i ? "," : "", i);

        write_bytes(&w, one, (size_t)n);
    }
    write_bytes(&w, "}", 2); /* with the NUL that ends a string */
    assert_false(w.failed);
    folder_write_tensors(f, (const char *)w.bytes, NULL, 0);
    expect_refusal(f, -EFBIG, "65537 tensors");
    writer_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),      cmocka_unit_test(widens_halves_exactly),
        cmocka_unit_test(refuses_nan_and_infinity),    cmocka_unit_test(refuses_a_lying_length),
        cmocka_unit_test(refuses_an_oversized_header), cmocka_unit_test(refuses_an_oversized_file),
        cmocka_unit_test(refuses_what_is_no_file),     cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_every_truncation),    cmocka_unit_test(survives_a_shrinking_file),
        cmocka_unit_test(refuses_too_many_tensors),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
