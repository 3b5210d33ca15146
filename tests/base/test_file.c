/*
 * file: bounded reads of regular files, and writes that leave the old or the new, never a half,
 * also when the disk is full.
 */
#include "base/file.h"

#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_BYTES ((size_t)64 << 10)

static char folder[] = "/tmp/test_file.XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1; /* every test cleaned up */
}

static void put(const char *path, const void *bytes, size_t count)
{
    struct err err = {""};

    if (file_write(path, 0600, bytes, count, &err) < 0)
        fail_msg("%s", err.text);
}

static void check_holds(const char *path, const char *text)
{
    struct err err = {""};
    uint8_t *bytes;
    size_t count;

    assert_int_equal(file_read(path, 1 << 20, &bytes, &count, &err), 0);
    assert_int_equal(count, strlen(text));
    assert_string_equal((char *)bytes, text); /* its NUL is not counted */
    free(bytes);
}

/* Names in the working folder, but for . and .. */
static size_t entries(const char *path)
{
    DIR *d = opendir(path);
    size_t count = 0;

    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

static void check_refused(const char *path, size_t bytes_max, int code, const char *text)
{
    struct err err = {""};
    uint8_t *bytes = NULL;
    size_t count = 42;

    assert_int_equal(file_read(path, bytes_max, &bytes, &count, &err), code);
    if (!strstr(err.text, text) || !strstr(err.text, path))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    assert_null(bytes);
    assert_int_equal(count, 42);
}

static void test_read(void **state)
{
    (void)state;
    put("f", "0123456789", 10);
    check_holds("f", "0123456789");
    check_refused("f", 9, -EFBIG, "10 bytes, at most 9");
    put("f", "", 0);
    check_holds("f", "");
    unlink("f");
    check_refused("f", 9, -ENOENT, "No such file");
}

/* A pipe would block whoever opens it, a folder and a device have no size. */
static void test_not_regular(void **state)
{
    (void)state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    check_refused("pipe", 100, -EINVAL, "not a regular file");
    unlink("pipe");
    check_refused(".", 100, -EINVAL, "not a regular file");
    check_refused("/dev/zero", 100, -EINVAL, "not a regular file");
}

static void test_write(void **state)
{
    struct err err = {""};
    struct stat st;

    (void)state;
    put("f", "old", 3);
    assert_int_equal(stat("f", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(file_write("f", 0644, "new text", 8, &err), 0);
    check_holds("f", "new text");
    assert_int_equal(stat("f", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask is */
    assert_int_equal(entries("."), 1);
    unlink("f");
}

static void test_write_nowhere(void **state)
{
    char path[PATH_MAX + 10];
    struct err err = {""}, err2 = {""}, err3 = {""};

    (void)state;
    assert_int_equal(file_write("none/f", 0600, "x", 1, &err), -ENOENT);
    assert_non_null(strstr(err.text, "none/f"));
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = 0;
    assert_int_equal(file_write(path, 0600, "x", 1, &err2), -ENAMETOOLONG);
    /* A folder is not replaced, and the temporary file does not stay. */
    assert_int_equal(mkdir("d", 0700), 0);
    assert_int_equal(file_write("d", 0600, "x", 1, &err3), -EISDIR);
    assert_int_equal(entries("."), 1);
    rmdir("d");
}

/* A write that fails half way: the old bytes are there, and nothing else. */
static void check_full(const char *path, const char *where, int code)
{
    size_t count = 4 * DISK_BYTES;
    char *bytes = calloc(1, count);
    struct err err = {""};

    assert_non_null(bytes);
    assert_int_equal(file_write(path, 0600, bytes, count, &err), code);
    assert_non_null(strstr(err.text, path));
    check_holds(path, "old");
    assert_int_equal(entries(where), 1);
    free(bytes);
}

static void test_size_limit(void **state)
{
    struct rlimit old, small = {.rlim_cur = DISK_BYTES, .rlim_max = RLIM_INFINITY};

    (void)state;
    put("f", "old", 3);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    check_full("f", ".", -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    unlink("f");
}

static void test_full_disk(void **state)
{
    char options[32];
    int rc;

    (void)state;
    snprintf(options, sizeof(options), "size=%zu", DISK_BYTES);
    assert_int_equal(mkdir("disk", 0700), 0);
    rc = mount("tmpfs", "disk", "tmpfs", 0, options);
    if (rc < 0) {
        rmdir("disk");
        skip(); /* only root may mount one */
    }
    put("disk/f", "old", 3);
    check_full("disk/f", "disk", -ENOSPC);
    assert_int_equal(umount("disk"), 0);
    rmdir("disk");
}

static void test_folders(void **state)
{
    struct err err = {""}, err2 = {""};
    struct stat st;

    (void)state;
    assert_int_equal(file_make_folders("a/b/c", 0700, &err), 0);
    assert_int_equal(file_make_folders("a/b/c", 0700, &err), 0); /* again is no error */
    assert_int_equal(stat("a/b", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    put("a/f", "x", 1);
    assert_true(file_make_folders("a/f/g", 0700, &err2) < 0);
    assert_non_null(strstr(err2.text, "a/f/g"));
    assert_int_equal(file_sync_folder("a/f", &err), 0);
    unlink("a/f");
    rmdir("a/b/c");
    rmdir("a/b");
    rmdir("a");
}

static void test_path(void **state)
{
    char path[8];

    (void)state;
    assert_int_equal(file_path(path, sizeof(path), "abc", "def"), 0);
    assert_string_equal(path, "abc/def");
    assert_int_equal(file_path(path, sizeof(path), "abc", "defg"), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),       cmocka_unit_test(test_not_regular),
        cmocka_unit_test(test_write),      cmocka_unit_test(test_write_nowhere),
        cmocka_unit_test(test_size_limit), cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_folders),    cmocka_unit_test(test_path),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
