/*
 * What a host has to give: a /proc and a /sys made by hand, with and without control groups.
 */
#include "tests/appliance/fixture.h"

#include "appliance/host_memory.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>

#define GROUPS "sys/fs/cgroup/"
#define PAGES  "sys/kernel/mm/hugepages/"

static void put(const char *folder, const char *name, const char *text)
{
    char path[256];
    struct err err = {""};

    if (file_make_folders(folder, 0700, &err) < 0)
        fail_msg("%s", err.text);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    write_text(path, text);
}

static void expect_left(uint64_t bytes, const char *bound)
{
    const char *whose;

    assert_int_equal(host_memory_left_at(".", &whose), bytes);
    assert_string_equal(whose, bound);
}

static void test_host(void **state)
{
    const char *whose;

    (void)state;
    assert_true(host_memory_left_at("nowhere", &whose) == UINT64_MAX);
    put("proc", "meminfo", "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable:    4000 kB\n");
    expect_left(4000 * 1024, "the host's memory");
}

/* The group itself is not bounded; the one around it is; files that are cached can go. */
static void test_groups(void **state)
{
    (void)state;
    put("proc/self", "cgroup", "4:memory:/old\n0::/outer/inner\n");
    put(GROUPS "outer/inner", "memory.max", "max\n");
    put(GROUPS "outer/inner", "memory.current", "100\n");
    expect_left(4000 * 1024, "the host's memory");
    put(GROUPS "outer", "memory.max", "1000000\n");
    put(GROUPS "outer", "memory.current", "400000\n");
    put(GROUPS "outer", "memory.stat", "anon 5\ninactive_file 150000\nactive_file 7\n");
    expect_left(750000, "the control group's memory.max");
    put(GROUPS "outer/inner", "memory.max", "100\n");
    expect_left(0, "the control group's memory.max");
}

/* A container sees its own group as the root. */
static void test_root_group(void **state)
{
    (void)state;
    put("proc/self", "cgroup", "0::/\n");
    expect_left(4000 * 1024, "the host's memory");
    put(GROUPS, "memory.max", "300000\n");
    put(GROUPS, "memory.current", "300001\n");
    expect_left(0, "the control group's memory.max");
}

static void test_huge_pages(void **state)
{
    (void)state;
    put(PAGES "hugepages-2048kB", "free_hugepages", "3\n");
    put(PAGES "hugepages-1048576kB", "free_hugepages", "0\n");
    put(PAGES "other", "free_hugepages", "7\n");
    expect_left(3 * 2048 * 1024, "the control group's memory.max");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_root_group),
        cmocka_unit_test(test_huge_pages),
    };

    return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
