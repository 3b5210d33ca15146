/* Weights in several files: a good folder, then every way in which index and files disagree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/shards.h"

#define FIRST  "model-00001-of-00002.safetensors"
#define SECOND "model-00002-of-00002.safetensors"
#define INDEX  "model.safetensors.index.json"

#define MAP(entries) "{\"metadata\":{\"total_size\":12},\"weight_map\":{" entries "}}"

static const char good_index[] =
    MAP("\"c\":\"" SECOND "\",\"a\":\"" FIRST "\",\"b\":\"" SECOND "\"");

static void write_index(struct folder *f, const char *text)
{
    folder_write(f, INDEX, text, strlen(text));
}

/* Each of @names is a scalar; their values count on from @value. */
static void write_shard(struct folder *f, const char *file, const char *names, float value)
{
    char header[512] = "{";
    float data[8];
    size_t count = 0;

    for (; names[count]; count++) {
        size_t used = strlen(header);

        data[count] = value + (float)count;
        snprintf(header + used, sizeof(header) - used,
                 "%s\"%c\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[%zu,%zu]}",
                 count ? "," : "", names[count], 4 * count, 4 * count + 4);
    }
    strcat(header, "}");
    folder_write_shard(f, file, header, data, count * sizeof(*data));
}

static int setup(void **state)
{
    static struct folder f;

    folder_make(&f);
    write_shard(&f, FIRST, "a", 1);
    write_shard(&f, SECOND, "bc", 2);
    write_index(&f, good_index);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    folder_remove(*state);
    return 0;
}

static void expect_values(struct folder *f, const char *names, float first)
{
    struct shards *s = NULL;
    struct err err = {""};
    int rc = shards_open(f->path, &s, &err);

    if (rc)
        print_error("%s\n", err_text(&err, rc));
    assert_int_equal(rc, 0);
    assert_int_equal(shards_count(s), strlen(names));
    for (size_t i = 0; names[i]; i++) {
        const char name[2] = {names[i], 0};
        size_t number = shards_find(s, name);
        float value;

        assert_int_equal(number, i); /* by name, whichever file it is in */
        assert_string_equal(shards_at(s, number)->name, name);
        assert_int_equal(shards_read(s, number, &value, NULL), 0);
        assert_true(value == first + (float)i);
    }
    assert_int_equal(shards_find(s, "d"), shards_count(s));
    shards_close(s);
}

static void reads_every_tensor_from_its_file(void **state)
{
    assert_int_equal(shards_exist(((struct folder *)*state)->path, NULL), 0);
    expect_values(*state, "abc", 1);
}

static void one_file_needs_no_index(void **state)
{
    write_shard(*state, "model.safetensors", "ab", 7);
    expect_values(*state, "ab", 7);
}

static void refuses_an_index_that_is_none(void **state)
{
    static const struct {
        const char *index;
        int code;
        const char *says;
    } bad[] = {
        {"", -EINVAL, "not JSON"},
        {"[]", -EINVAL, "not a JSON object"},
        {"{}", -EINVAL, "weight_map is to be an object"},
        {"{\"weight_map\":[]}", -EINVAL, "weight_map is to be an object"},
        {MAP(""), -EINVAL, "weight_map is to be an object"},
        {MAP("\"a\":1"), -EINVAL, "tensor a is not in a file of this folder"},
        {MAP("\"a\":\"\""), -EINVAL, "tensor a is not in a file of this folder"},
        {MAP("\"a\":\"../" FIRST "\""), -EINVAL, "tensor a is not in a file of this folder"},
        {MAP("\"a\":\"..\""), -EINVAL, "tensor a is not in a file of this folder"},
        {MAP("\"\\u001b[2J\":1"), -EINVAL, "tensor (no printable text) is not"},
        {MAP("\"a\":\"" FIRST "\",\"a\":\"" FIRST "\""), -EINVAL, "not JSON"},
        {MAP("\"a\":\"absent.safetensors\""), -ENOENT,
         "absent.safetensors: No such file or directory; " INDEX " names it"},
        {MAP("\"a\":\"" FIRST "\",\"b\":\"" FIRST "\",\"c\":\"" SECOND "\""), -EINVAL,
         INDEX ": tensor b is in " SECOND ", not in " FIRST},
        {MAP("\"a\":\"" FIRST "\",\"b\":\"" SECOND "\""), -EINVAL,
         "does not name tensor c, which is in " SECOND},
        {MAP("\"a\":\"" FIRST "\",\"b\":\"" SECOND "\",\"c\":\"" SECOND "\",\"d\":\"" FIRST "\""),
         -EINVAL, "tensor d is not in " FIRST},
    };
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct shards *s = NULL;
        struct err err = {""};
        int rc;

        write_index(f, bad[i].index);
        rc = shards_open(f->path, &s, &err);
        if (rc != bad[i].code || !strstr(err.text, bad[i].says))
            fail_msg("expected %d, %s; got %d, %s", bad[i].code, bad[i].says, rc, err.text);
        assert_non_null(strstr(err.text, f->path));
        assert_null(s);
    }
}

static void expect_refusal(struct folder *f, int code, const char *says)
{
    struct shards *s = NULL;
    struct err err = {""};

    assert_int_equal(shards_open(f->path, &s, &err), code);
    if (!strstr(err.text, says))
        fail_msg("expected %s; got %s", says, err.text);
}

static void refuses_a_tensor_twice(void **state)
{
    write_shard(*state, FIRST, "ab", 1);
    expect_refusal(*state, -EINVAL, "tensor b is in two files: ");
}

static void refuses_a_damaged_shard(void **state)
{
    folder_write(*state, SECOND, "short", 5);
    expect_refusal(*state, -EINVAL, SECOND ": 5 bytes are too few");
}

static void says_that_there_is_nothing(void **state)
{
    struct folder *f = *state;

    unlink(folder_at(f, INDEX));
    expect_refusal(f, -ENOENT, "has neither model.safetensors nor " INDEX);
    assert_int_equal(shards_exist(f->path, NULL), -ENOENT);
}

static void refuses_too_many_files(void **state)
{
    struct writer w = {0};
    char entry[64];

    write_bytes(&w, "{\"weight_map\":{", 15);
    for (int i = 0; i <= SHARDS_MAX; i++) {
        int n = snprintf(entry, sizeof(entry), "%s\"%d\":\"%d.safetensors\"", i ? "," : "", i, i);

        write_bytes(&w, entry, (size_t)n);
    }
    write_bytes(&w, "}}", 2);
    folder_write(*state, INDEX, w.bytes, w.count);
    writer_free(&w);
    expect_refusal(*state, -EFBIG, "more than 256 files");
}

/* A byte at a time: the index says another thing, or nothing, or what it did. */
static void survives_a_damaged_index(void **state)
{
    char text[sizeof(good_index)];
    unsigned int seed = 3;

    for (size_t at = 0; at < sizeof(good_index) - 1; at++) {
        struct shards *s = NULL;
        struct err err = {""};

        memcpy(text, good_index, sizeof(text));
        text[at] = (char)rand_r(&seed);
        folder_write(*state, INDEX, text, sizeof(text) - 1);
        if (shards_open(((struct folder *)*state)->path, &s, &err) < 0)
            assert_true(*err.text);
        else
            assert_int_equal(shards_count(s), 3);
        shards_close(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_every_tensor_from_its_file, setup, teardown),
        cmocka_unit_test_setup_teardown(one_file_needs_no_index, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_an_index_that_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_tensor_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_damaged_shard, setup, teardown),
        cmocka_unit_test_setup_teardown(says_that_there_is_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_too_many_files, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_a_damaged_index, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
