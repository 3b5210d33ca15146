/* secret: aligned, zeroed, out of core dumps and of children, gone when freed. */
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

/* The flags of the mapping that holds @p, from the kernel. */
static void flags_of(const void *p, char *ret, size_t size)
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
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(ret, size, "%s", line);
    }
    fclose(f);
}

static void test_kept_out(void **state)
{
    char flags[512];
    void *p = secret_alloc(100);

    (void)state;
    assert_non_null(p);
    flags_of(p, flags, sizeof(flags));
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
        cmocka_unit_test(test_alloc),         cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_too_much),      cmocka_unit_test(test_kept_out),
        cmocka_unit_test(test_not_inherited), cmocka_unit_test(test_wipe),
        cmocka_unit_test(test_equal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
