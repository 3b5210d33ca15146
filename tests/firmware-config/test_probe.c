/*
 * How a host is read, probe by probe, on the hosts of tests/data/hosts; and what a value is
 * compared with.
 */
#include "tests/appliance/fixture.h"

#include "firmware-config/cpus.h"
#include "firmware-config/expect.h"
#include "firmware-config/probe.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *source;

static struct reading look(const char *host, const char *name, const char *argument)
{
    const struct probe *probe = probe_find(name, strlen(name));
    struct reading r;
    char root[PATH_MAX];

    snprintf(root, sizeof(root), "%s/tests/data/hosts/%s", source, host);
    assert_non_null(probe);
    if (probe->check)
        assert_int_equal(probe->check(argument, NULL), 0);
    assert_int_equal(probe_read(probe, root, argument, &r), 0);
    return r;
}

/* One item with this value. */
static void reads(const char *host, const char *name, const char *argument, const char *value)
{
    struct reading r = look(host, name, argument);

    if (!r.count)
        fail_msg("%s %s of %s: %s", name, argument, host, r.why);
    assert_int_equal(r.count, 1);
    assert_string_equal(r.item[0].value, value);
    reading_free(&r);
}

static void reads_not(const char *host, const char *name, const char *argument, const char *why)
{
    struct reading r = look(host, name, argument);

    assert_int_equal(r.count, 0);
    assert_contains(r.why, why);
    reading_free(&r);
}

static void test_values(void **state)
{
    (void)state;
    reads("good", "file", "/sys/devices/system/cpu/isolated", "2-7");
    reads("good", "sysctl", "net.core.rmem_max", "16777216");
    reads("good", "cmdline", "irqaffinity", "0-1");
    reads("good", "cmdline", "nosmt", "(given)");
    reads("good", "cmdline", "irqaff", ""); /* no word of that name */
    reads("good", "cpuinfo", "cpu family", "6");
    reads("good", "cpuinfo", "model", "143"); /* and not "model name" */
    reads("good", "count", "/sys/kernel/iommu_groups", "2");
    reads("good", "lines", "/proc/swaps", "1");
    reads("bad", "lines", "/proc/swaps", "2");
    reads("good", "mount", "hugetlbfs", "/dev/hugepages");
    reads("bad", "mount", "hugetlbfs", "");
}

/* A star is a folder each; each is an item under its name. */
static void test_many(void **state)
{
    struct reading r =
        look("bad", "file", "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor");

    (void)state;
    assert_int_equal(r.count, 2);
    assert_string_equal(r.item[1].where, "cpu1");
    assert_string_equal(r.item[1].value, "powersave");
    reading_free(&r);

    /* The third state of each CPU is off on the good host. */
    r = look("good", "idle", "latency");
    assert_int_equal(r.count, 6);
    assert_string_equal(r.item[1].where, "cpu0 state1");
    assert_string_equal(r.item[1].value, "1");
    reading_free(&r);
    r = look("bad", "idle", "latency");
    assert_int_equal(r.count, 6);
    assert_string_equal(r.item[5].value, "800");
    reading_free(&r);
}

static void test_pci(void **state)
{
    (void)state;
    reads("good", "pci", "15b3 link", "full");
    reads("bad", "pci", "15b3 link", "8.0 GT/s PCIe x8 of 16.0 GT/s PCIe x16");
    reads("good", "pci", "15b3 max-read-request", "4096");
    reads("bad", "pci", "15b3 max-read-request", "512");
    reads("good", "pci", "15b3 relaxed-ordering", "on");
    reads("bad", "pci", "15b3 relaxed-ordering", "off");
    reads("good", "pci", "15b3 isolated-cpus", "near");
    reads("good", "pci", "8086:1591,1592 link", "full");
    reads_not("good", "pci", "8086:1591,1593 link", "no network device 8086:1591,1593");
    reads_not("bad", "pci", "15b3 isolated-cpus", "no CPU is isolated");
}

static void test_unknown(void **state)
{
    (void)state;
    reads_not("unreadable", "file", "/sys/devices/system/cpu/isolated", "Is a directory");
    reads_not("unreadable", "sysctl", "net.core.wmem_max", "No such file");
    reads_not("unreadable", "cmdline", "iommu", "/proc/cmdline: Is a directory");
    reads_not("unreadable", "cpuinfo", "flags", "/proc/cpuinfo: Is a directory");
    reads_not("unreadable", "count", "/sys/kernel/iommu_groups", "No such file");
    reads_not("unreadable", "lines", "/proc/swaps", "Is a directory");
    reads_not("unreadable", "mount", "hugetlbfs", "Is a directory");
    reads_not("unreadable", "idle", "latency", "latency: Is a directory");
    reads_not("unreadable", "pci", "15b3 max-read-request", "only root");
    reads_not("unreadable", "pci", "15b3 link", "max_link_width: No such file");
    reads_not("unreadable", "by-hand", "ethtool -c", "no file shows it: ethtool -c");
    reads_not("vm", "pci", "15b3 link", "no network device 15b3");
    reads_not("good", "cpuinfo", "nonesuch", "no line \"nonesuch\"");
    /* One of two can be read: the whole is not known. */
    reads_not("unreadable", "file", "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
              "cpu0/cpufreq/scaling_governor: Is a directory");
    reads_not("nonesuch", "file", "/proc/cmdline", "No such file");
}

/* A configuration space whose list of capabilities runs in a ring ends all the same. */
static void test_pci_ring(void **state)
{
    uint8_t config[256] = {[0x06] = 0x10, [0x34] = 0x40, [0x40] = 0x05, [0x41] = 0x40};
    struct reading r;
    FILE *f;

    (void)state;
    folder_enter();
    assert_int_equal(system("mkdir -p sys/bus/pci/devices/0000:01:00.0"), 0);
    write_text("sys/bus/pci/devices/0000:01:00.0/vendor", "0x15b3\n");
    write_text("sys/bus/pci/devices/0000:01:00.0/class", "0x020000\n");
    f = fopen("sys/bus/pci/devices/0000:01:00.0/config", "w");
    assert_int_equal(fwrite(config, 1, sizeof(config), f), sizeof(config));
    fclose(f);
    assert_int_equal(probe_read(probe_find("pci", 3), ".", "15b3 relaxed-ordering", &r), 0);
    assert_int_equal(r.count, 0);
    assert_contains(r.why, "no PCI Express device");
    reading_free(&r);
    folder_leave();
}

static void test_arguments(void **state)
{
    static const char *const wrong[][3] = {
        {"file", "sys/x", "no path"},
        {"file", "/sys/../etc", "no path"},
        {"sysctl", "/proc/sys/vm", "no sysctl"},
        {"sysctl", "swappiness", "no sysctl"},
        {"idle", "names", "there is `latency`"},
        {"pci", "15b3", "no device"},
        {"pci", "mlx5 link", "no device"},
        {"pci", "15b3 colour", "of a device there are link"},
        {"count", "proc", "no path"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        const struct probe *probe = probe_find(wrong[i][0], strlen(wrong[i][0]));
        struct err err = {""};

        assert_int_equal(probe->check(wrong[i][1], &err), -EINVAL);
        assert_contains(err.text, wrong[i][2]);
    }
    assert_null(probe_find("shell", 5));
}

static void test_expect(void **state)
{
    static const struct {
        const char *expect, *value;
        bool met;
    } cases[] = {
        {"= a b", "a b", true},
        {"= a b", "a", false},
        {"!= pt", "", true},
        {"!= pt", "pt", false},
        {">= 128", "128", true},
        {">= 128", "127", false},
        {">= 128", "", false},
        {">= 128", "many", false},
        {"<= 5", "5", true},
        {"<= 5", "290", false},
        {"<= 5", "5 us", false},
        {"has aes avx2", "fpu avx2 aes", true},
        {"has aes", "vaes", false},
        {"has aes avx2", "aes", false},
        {"lacks Vulnerable", "x", true},
        {"lacks Vulnerable", "BHI: Vulnerable", false},
        {"selects a b", "[b] c", true},
        {"selects a b", "a [c]", false},
        {"selects ab", "[abc]", false},
        {"set", "x", true},
        {"set", "", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct expect e;

        assert_int_equal(expect_parse(cases[i].expect, &e, NULL), 0);
        if (expect_met(&e, cases[i].value) != cases[i].met)
            fail_msg("\"%s\" of \"%s\"", cases[i].expect, cases[i].value);
    }
}

static void test_cpus(void **state)
{
    static const char *const wrong[] = {"a", "1,", ",1", "3-1", "1-", "1024", "1 2", "99999999"};
    static const char *const right[] = {"", "0", "0-3", "0-1,7", "5,9-1023"};
    cpu_set_t set, most, rest;
    char *text;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++)
        assert_int_equal(cpus_parse(wrong[i], &set), -EINVAL);
    for (size_t i = 0; i < ARRAY_LENGTH(right); i++) {
        assert_int_equal(cpus_parse(right[i], &set), 0);
        text = cpus_text(&set);
        assert_string_equal(text, right[i]);
        free(text);
    }
    assert_int_equal(cpus_parse("0-7", &set), 0);
    assert_int_equal(cpus_parse("2-6,9", &most), 0);
    cpus_without(&set, &most, &rest);
    text = cpus_text(&rest);
    assert_string_equal(text, "0-1,7");
    free(text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_many),
        cmocka_unit_test(test_pci),     cmocka_unit_test(test_pci_ring),
        cmocka_unit_test(test_unknown), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_expect),  cmocka_unit_test(test_cpus),
    };

    source = argc > 1 ? argv[1] : ".";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
