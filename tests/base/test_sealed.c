/*
 * sealed: what goes in comes out, with the right key and every byte in place, and else nothing
 * does; what is wrong is said with the file's name.
 */
#include "base/sealed.h"

#include "base/random.h"
#include "base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAD_BYTES 60 /* magic, version, salt, proof */
#define STEP       ((size_t)1 << 20)

static char folder[] = "/tmp/test_sealed.XXXXXX";
static struct sealed_key *key, *other;

static struct sealed_key *make_key(const char *path)
{
    struct sealed_key *k = NULL;
    struct err err = {""};

    if (sealed_key_make(path, &err) < 0 || sealed_key_load(path, &k, &err) < 0)
        fail_msg("%s", err.text);
    return k;
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chdir(folder) < 0)
        return -1;
    key = make_key("key");
    other = make_key("other");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sealed_key_free(key);
    sealed_key_free(other);
    unlink("key");
    unlink("other");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1; /* every test cleaned up */
}

static void put(const struct sealed_key *k, const void *bytes, size_t count)
{
    struct err err = {""};

    if (sealed_write("f", k, &(struct file_part){bytes, count}, 1, &err) < 0)
        fail_msg("%s", err.text);
}

static void check_holds(const struct sealed_key *k, const uint8_t *bytes, size_t count)
{
    struct err err = {""};
    uint8_t *back;
    size_t n;

    if (sealed_read("f", k, count, &back, &n, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(n, count);
    assert_memory_equal(back, bytes, count);
    secret_free(back, n);
}

static void check_refused(const struct sealed_key *k, size_t bytes_max, int code, const char *text)
{
    struct err err = {""};
    uint8_t *back = NULL;
    size_t n = 42;
    int rc = sealed_read("f", k, bytes_max, &back, &n, &err);

    if (rc != code || !strstr(err.text, text) || strncmp(err.text, "f: ", 3) != 0)
        fail_msg("%d, \"%s\" instead of %d, \"%s\"", rc, err.text, code, text);
    assert_null(back);
    assert_int_equal(n, 42);
}

static uint8_t *read_raw(size_t *ret_count)
{
    struct err err = {""};
    uint8_t *bytes;

    if (file_read("f", SIZE_MAX, &bytes, ret_count, &err) < 0)
        fail_msg("%s", err.text);
    return bytes;
}

/* Thousands of them: no sync, nor what a file system does when a file is cut and written anew. */
static void write_raw(const void *bytes, size_t count)
{
    FILE *f;

    unlink("f");
    f = fopen("f", "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 4096, STEP - 1, STEP, STEP + 1, 3 * STEP};
    uint8_t *bytes = malloc(3 * STEP);
    struct stat st;

    (void)state;
    assert_non_null(bytes);
    random_bytes(bytes, 3 * STEP);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        put(key, bytes, sizes[i]);
        assert_int_equal(stat("f", &st), 0);
        assert_int_equal(st.st_size, sizes[i] + SEALED_EXTRA_BYTES);
        assert_int_equal(st.st_mode & 07777, 0600);
        check_holds(key, bytes, sizes[i]);
        if (sizes[i])
            check_refused(key, sizes[i] - 1, -EFBIG, "at most");
    }
    free(bytes);
    unlink("f");
}

/* Parts are one string of bytes, however they are cut. */
static void test_parts(void **state)
{
    static const uint8_t text[] = "the first part, and the second";
    const struct file_part parts[] = {{text, 0}, {text, 15}, {NULL, 0}, {text + 15, 15}};
    struct err err = {""};

    (void)state;
    assert_int_equal(sealed_write("f", key, parts, 4, &err), 0);
    check_holds(key, text, 30);
    unlink("f");
}

/* Nothing of the bytes is to be seen, and the same bytes are never sealed the same way. */
static void test_fresh(void **state)
{
    static const uint8_t text[] = "a seed that nobody may see";
    uint8_t *first, *second;
    size_t count;

    (void)state;
    put(key, text, sizeof(text));
    first = read_raw(&count);
    put(key, text, sizeof(text));
    second = read_raw(&count);
    assert_null(memmem(first, count, text, 8));
    assert_memory_not_equal(first + 12, second + 12, 32);
    assert_memory_not_equal(first + HEAD_BYTES, second + HEAD_BYTES, sizeof(text));
    free(first);
    free(second);
    unlink("f");
}

static void test_keys(void **state)
{
    static const uint8_t text[] = "text";

    (void)state;
    put(key, text, 4);
    check_refused(other, 100, -EPERM, "sealed with another store key");
    check_refused(NULL, 100, -EPERM, "it is sealed: set `store_key`");
    put(NULL, text, 4);
    check_holds(NULL, text, 4);
    check_refused(NULL, 3, -EFBIG, "4 bytes, at most 3");
    check_refused(key, 100, -EINVAL, "it is not sealed");
    unlink("f");
}

/* What a flip of this byte is taken for. */
static int code_at(size_t at)
{
    if (at < 8)
        return -EINVAL; /* no sealed file at all */
    if (at >= 12 && at < HEAD_BYTES)
        return -EPERM; /* salt and proof: another key */
    return -EBADMSG;
}

static void test_every_flip(void **state)
{
    uint8_t text[100], *file;
    size_t count;

    (void)state;
    random_bytes(text, sizeof(text));
    put(key, text, sizeof(text));
    file = read_raw(&count);
    for (size_t at = 0; at < count; at++)
        for (unsigned int bit = 0; bit < 8; bit++) {
            file[at] ^= (uint8_t)(1u << bit);
            write_raw(file, count);
            check_refused(key, 1000, code_at(at), "");
            file[at] ^= (uint8_t)(1u << bit);
        }
    write_raw(file, count);
    check_holds(key, text, sizeof(text));
    free(file);
    unlink("f");
}

static void test_every_cut(void **state)
{
    uint8_t text[100], *file;
    size_t count;

    (void)state;
    random_bytes(text, sizeof(text));
    put(key, text, sizeof(text));
    file = read_raw(&count);
    for (size_t n = 0; n < count; n++) {
        write_raw(file, n);
        check_refused(key, 1000, n < 8 ? -EINVAL : -EBADMSG, n < 8 ? "not sealed" : "damaged");
    }
    /* Nor is anything taken that was put behind it. */
    file = realloc(file, count + 1);
    assert_non_null(file);
    file[count] = 0;
    write_raw(file, count + 1);
    check_refused(key, 1000, -EBADMSG, "damaged");
    free(file);
    unlink("f");
}

static void test_key_file(void **state)
{
    struct sealed_key *k = NULL;
    struct err err = {""}, err2 = {""}, err3 = {""}, err4 = {""};
    uint8_t *first, *second;
    struct stat st;
    size_t count;

    (void)state;
    assert_int_equal(stat("key", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, SEALED_KEY_BYTES);
    assert_int_equal(file_read("key", 100, &first, &count, &err), 0);
    assert_int_equal(sealed_key_make("key", &err), -EEXIST);
    assert_non_null(strstr(err.text, "key exists already"));
    assert_int_equal(file_read("key", 100, &second, &count, &err), 0);
    assert_memory_equal(first, second, SEALED_KEY_BYTES);
    free(first);
    free(second);

    assert_int_equal(sealed_key_load("none", &k, &err2), -ENOENT);
    write_raw("0123456789", 10);
    chmod("f", 0600);
    assert_int_equal(sealed_key_load("f", &k, &err3), -EINVAL);
    assert_non_null(strstr(err3.text, "f: has 10 bytes, a store key 32"));
    assert_int_equal(chmod("key", 0644), 0);
    assert_int_equal(sealed_key_load("key", &k, &err4), -EPERM);
    assert_non_null(strstr(err4.text, "chmod 600"));
    assert_null(k);
    chmod("key", 0600);
    unlink("f");
}

/* A file from before there was a key is sealed once, and nothing else is touched. */
static void test_adopt(void **state)
{
    static const uint8_t text[] = "MPCFOPEN and what it holds";
    struct err err = {""};

    (void)state;
    put(NULL, text, sizeof(text));
    assert_int_equal(sealed_adopt("f", NULL, "MPCFOPEN", &err), 0);
    assert_int_equal(sealed_adopt("f", key, "MPCFMASK", &err), 0);
    check_holds(NULL, text, sizeof(text));
    assert_int_equal(sealed_adopt("f", key, "MPCFOPEN", &err), 1);
    check_holds(key, text, sizeof(text));
    assert_int_equal(sealed_adopt("f", key, "MPCFOPEN", &err), 0);
    check_holds(key, text, sizeof(text));
    write_raw("MPC", 3);
    assert_int_equal(sealed_adopt("f", key, "MPCFOPEN", &err), 0);
    unlink("f");
    assert_int_equal(sealed_adopt("f", key, "MPCFOPEN", &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_parts),
        cmocka_unit_test(test_fresh),      cmocka_unit_test(test_keys),
        cmocka_unit_test(test_every_flip), cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_key_file),   cmocka_unit_test(test_adopt),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
