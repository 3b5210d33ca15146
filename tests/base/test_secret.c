/*
 * secret: aligned, zeroed, out of core dumps and of children, gone when freed; and on which pages.
 * Reserved huge pages are looked at where this process may reserve some (it gives them back), and
 * what happens without them everywhere.
 */
#include "base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_alloc(void **state)
{
    static const size_t sizes[] = {1, 63, 64, 4095, 4096, 4097, (size_t)5 << 20};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *p = secret_alloc(sizes[i]), any = 0;

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t j = 0; j < sizes[i]; j++)
            any |= p[j];
        assert_int_equal(any, 0);
        memset(p, 0xff, sizes[i]);
        secret_free(p, sizes[i]);
    }
}

static void test_nothing(void **state)
{
    void *p = secret_alloc(0);

    (void)state;
    assert_non_null(p); /* NULL means that there is no memory */
    secret_free(p, 0);
    secret_free(NULL, 100);
}

static void test_too_much(void **state)
{
    (void)state;
    assert_null(secret_alloc(SIZE_MAX));
    assert_null(secret_alloc(SIZE_MAX / 2));
}

/* The line of smaps that begins with @key, of the mapping that holds @p; empty when there is none.
 */
static void smaps_of(const void *p, const char *key, char *ret, size_t size)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long low, high;
    char line[512];
    bool here = false;

    assert_non_null(f);
    ret[0] = 0;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
            here = low <= (uintptr_t)p && (uintptr_t)p < high;
        else if (here && strncmp(line, key, strlen(key)) == 0)
            snprintf(ret, size, "%s", line);
    }
    fclose(f);
}

static bool mapped(const void *p)
{
    char line[512];

    smaps_of(p, "Size:", line, sizeof(line));
    return line[0];
}

static void test_kept_out(void **state)
{
    char flags[512];
    void *p = secret_alloc(100);

    (void)state;
    assert_non_null(p);
    smaps_of(p, "VmFlags:", flags, sizeof(flags));
    if (!flags[0])
        skip();                            /* a kernel without VmFlags */
    assert_non_null(strstr(flags, " dd")); /* not dumped */
    assert_non_null(strstr(flags, " dc")); /* not copied on fork */
    secret_free(p, 100);
}

/* A child does not have the page: a system call that reads it fails there. */
static void test_not_inherited(void **state)
{
    char *p = secret_alloc(100);
    int fd[2], status;
    pid_t child;

    (void)state;
    assert_non_null(p);
    assert_int_equal(pipe(fd), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(write(fd[1], p, 100) < 0 && errno == EFAULT ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(fd[0]);
    close(fd[1]);
    secret_free(p, 100);
}

/* --- on which pages --- */

struct use {
    uint64_t bytes[SECRET_PAGES_KINDS];
};

static struct use use_now(void)
{
    struct use u;

    secret_memory(u.bytes);
    return u;
}

/* How much more of @kind there is than in @before, and that of the others there is as much. */
static uint64_t more_of(const struct use *before, enum secret_pages kind)
{
    struct use now = use_now();

    for (unsigned int i = 0; i < SECRET_PAGES_KINDS; i++)
        if (i != kind)
            assert_int_equal(now.bytes[i], before->bytes[i]);
    return now.bytes[kind] - before->bytes[kind];
}

/* Rounding these up to two megabyte pages would waste more than an eighth. */
static void test_counted(void **state)
{
    static const struct {
        size_t bytes, pages;
        enum secret_pages kind;
    } blocks[] = {
        {0, 4096, SECRET_PAGES_SMALL},
        {4097, 8192, SECRET_PAGES_SMALL},
        {(size_t)3 << 20, (size_t)3 << 20, SECRET_PAGES_SMALL},
        {((size_t)4 << 20) + 1, ((size_t)4 << 20) + 4096, SECRET_PAGES_TRANSPARENT},
        {(size_t)9 << 19, (size_t)9 << 19, SECRET_PAGES_TRANSPARENT},
    };
    struct use before = use_now();

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(blocks); i++) {
        void *p = secret_alloc(blocks[i].bytes);

        assert_non_null(p);
        assert_int_equal(more_of(&before, blocks[i].kind), blocks[i].pages);
        secret_free(p, blocks[i].bytes);
        assert_int_equal(more_of(&before, blocks[i].kind), 0);
    }
    secret_memory_add(SECRET_PAGES_1G, 1 << 30);
    assert_int_equal(more_of(&before, SECRET_PAGES_1G), 1 << 30);
    secret_memory_add(SECRET_PAGES_1G, -(1 << 30));
    assert_int_equal(more_of(&before, SECRET_PAGES_1G), 0);
}

/* Reserved pages of one size; -1: there are none of it here. */
static long read_pool(unsigned long page, const char *name)
{
    char path[128];
    long count = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/%s", page >> 10, name);
    f = fopen(path, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%ld", &count) != 1)
        count = -1;
    fclose(f);
    return count;
}

static void write_pool(unsigned long page, long count)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/nr_hugepages",
             page >> 10);
    f = fopen(path, "we");
    if (!f)
        return;
    fprintf(f, "%ld", count);
    (void)fclose(f); /* what the pool holds afterwards is looked at */
}

/* The pool that reserve() raised, and what give_back() lowers it to, whatever the test came to. */
static unsigned long raised_page;
static long raised_from;

static int give_back(void **state)
{
    (void)state;
    if (raised_page)
        write_pool(raised_page, raised_from);
    raised_page = 0;
    return 0;
}

/* @more pages than the pool has; false where that cannot be. */
static bool reserve(unsigned long page, long more)
{
    long before = read_pool(page, "nr_hugepages");

    if (before < 0 || geteuid() != 0)
        return false;
    raised_page = page;
    raised_from = before;
    write_pool(page, before + more);
    return read_pool(page, "nr_hugepages") >= before + more;
}

/*
 * A block on pages of @page bytes, not a whole number of them: all that any block must be. False
 * when somebody else took what was reserved for it: then it went elsewhere, unharmed.
 */
static bool check_block(unsigned long page, size_t bytes, enum secret_pages kind)
{
    size_t pages = (bytes + page - 1) / page * page;
    struct use before = use_now();
    uint8_t *p = secret_alloc(bytes), any = 0;
    char line[512], size[64];

    assert_non_null(p);
    for (size_t i = 0; i < bytes; i += 8)
        any |= p[i];
    assert_int_equal(any, 0);
    p[0] = p[bytes - 1] = 1;
    if (use_now().bytes[kind] == before.bytes[kind]) {
        secret_free(p, bytes);
        return false;
    }
    assert_int_equal(more_of(&before, kind), pages);
    smaps_of(p, "KernelPageSize:", line, sizeof(line));
    snprintf(size, sizeof(size), " %lu kB", page >> 10);
    assert_non_null(strstr(line, size));
    smaps_of(p, "VmFlags:", line, sizeof(line));
    assert_non_null(strstr(line, " dd"));
    assert_non_null(strstr(line, " dc"));
    secret_free(p, bytes);
    assert_int_equal(more_of(&before, kind), 0);
    assert_false(mapped(p));
    assert_false(mapped(p + pages - 1));
    return true;
}

/* More blocks than there are pages: some lie elsewhere, each is as good. */
static void check_shortage(size_t bytes)
{
    struct use before = use_now();
    uint8_t *p[4];

    for (size_t i = 0; i < ARRAY_LENGTH(p); i++) {
        p[i] = secret_alloc(bytes);
        assert_non_null(p[i]);
        memset(p[i], (int)i + 1, bytes);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(p); i++) {
        assert_int_equal(p[i][0], i + 1);
        assert_int_equal(p[i][bytes - 1], i + 1);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(p); i++)
        secret_free(p[i], bytes);
    assert_int_equal(more_of(&before, SECRET_PAGES_SMALL), 0);
}

static void test_reserved_2m(void **state)
{
    const size_t bytes = ((size_t)17 << 20) + 5;
    bool ours;

    (void)state;
    if (!reserve(2ul << 20, 9))
        skip();
    ours = check_block(2ul << 20, bytes, SECRET_PAGES_2M);
    check_shortage(bytes);
    if (!ours)
        skip();
}

static void test_reserved_1g(void **state)
{
    (void)state;
    if (sysconf(_SC_AVPHYS_PAGES) < (6l << 30) / 4096)
        skip(); /* nobody's memory is to run short for this */
    if (!reserve(1ul << 30, 1) ||
        !check_block(1ul << 30, ((size_t)1 << 30) - 4097, SECRET_PAGES_1G))
        skip();
}

static void test_wipe(void **state)
{
    uint8_t bytes[40];

    (void)state;
    memset(bytes, 0xff, sizeof(bytes));
    secret_wipe(bytes + 4, 32);
    for (size_t i = 0; i < sizeof(bytes); i++)
        assert_int_equal(bytes[i], i < 4 || i >= 36 ? 0xff : 0);
    secret_wipe(bytes, 0);
    assert_int_equal(bytes[0], 0xff);
}

static void test_equal(void **state)
{
    uint8_t a[32], b[32];

    (void)state;
    memset(a, 7, sizeof(a));
    memset(b, 7, sizeof(b));
    assert_true(secret_equal(a, b, sizeof(a)));
    assert_true(secret_equal(a, b, 0));
    for (size_t bit = 0; bit < 8 * sizeof(b); bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(secret_equal(a, b, sizeof(a)));
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_kept_out),
        cmocka_unit_test(test_not_inherited),
        cmocka_unit_test(test_wipe),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_counted),
        cmocka_unit_test_teardown(test_reserved_2m, give_back),
        cmocka_unit_test_teardown(test_reserved_1g, give_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
