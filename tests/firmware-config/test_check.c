/* The shipped profiles beside the hosts of tests/data/hosts: which are chosen, what each says. */
#include "tests/appliance/fixture.h"

#include "firmware-config/check.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static char folder[PATH_MAX], root[PATH_MAX];
static const char *source;

static const char *host(const char *name)
{
    snprintf(root, sizeof(root), "%s/tests/data/hosts/%s", source, name);
    return root;
}

static const struct check_finding *find(const struct check *c, const char *id)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->finding[i].entry->id, id) == 0)
            return &c->finding[i];
    fail_msg("no entry %s", id);
    return NULL;
}

static void expect(const struct check *c, const char *id, enum check_result result,
                   const char *value)
{
    const struct check_finding *f = find(c, id);

    if (f->result != result)
        fail_msg("%s: %s, and not %s: %s", id, check_result_name(f->result),
                 check_result_name(result), f->value);
    assert_contains(f->value, value);
}

/* Of the profiles that this host calls for. */
static struct profile *run(const char *name, const char *files, struct check *ret)
{
    struct profile *p = NULL;
    struct err err = {""};
    char names[256] = "";

    if (check_matching(folder, host(name), &p, &err) < 0 || check_run(p, host(name), ret, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < p->file_count; i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? " " : "",
                 p->file[i].name);
    assert_string_equal(names, files);
    return p;
}

static void test_good(void **state)
{
    struct check c;
    struct profile *p = run("good", "generic intel-e810 intel-sapphire-rapids nvidia-connectx", &c);

    (void)state;
    assert_int_equal(c.results[CHECK_FAIL], 0);
    assert_int_equal(c.results[CHECK_WARN], 0);
    /* What only a person can look at is never a pass. */
    for (size_t i = 0; i < c.count; i++)
        if (strcmp(c.finding[i].entry->probe->name, "by-hand") == 0)
            assert_int_equal(c.finding[i].result, CHECK_UNKNOWN);
        else
            assert_int_equal(c.finding[i].result, CHECK_PASS);
    expect(&c, "governor", CHECK_PASS, "performance, all 3");
    expect(&c, "mitigations", CHECK_PASS, "as wanted, all 2");
    check_free(&c);
    profile_free(p);
}

static void test_bad(void **state)
{
    struct check c;
    struct profile *p = run("bad", "generic amd-genoa nvidia-connectx", &c);

    (void)state;
    expect(&c, "huge-pages", CHECK_FAIL, "0");
    expect(&c, "isolated-cpus", CHECK_FAIL, "empty");
    expect(&c, "mitigations", CHECK_FAIL, "spectre_v2: Vulnerable");
    expect(&c, "amd-kernels", CHECK_FAIL, "without avx512_vnni");
    expect(&c, "connectx-slot", CHECK_FAIL, "x8 of");
    expect(&c, "connectx-ethernet", CHECK_FAIL, "InfiniBand");
    expect(&c, "governor", CHECK_WARN, "cpu1: powersave");
    expect(&c, "amd-idle", CHECK_WARN, "state2: 800");
    expect(&c, "swap-off", CHECK_WARN, "2");
    expect(&c, "amd-iommu-passthrough", CHECK_WARN, "nopt");
    expect(&c, "connectx-read-request", CHECK_WARN, "512");
    expect(&c, "connectx-near", CHECK_UNKNOWN, "no CPU is isolated");
    /* What tells the hardware is right, and nothing else is. */
    assert_int_equal(c.results[CHECK_PASS], 4);
    assert_int_equal(c.results[CHECK_FAIL], 6);
    check_free(&c);
    profile_free(p);
}

static void test_vm(void **state)
{
    struct check c;
    struct profile *p = run("vm", "generic", &c);

    (void)state;
    expect(&c, "huge-pages", CHECK_FAIL, "0");
    expect(&c, "governor", CHECK_UNKNOWN, "No such file");
    expect(&c, "io-uring", CHECK_UNKNOWN, "No such file");
    expect(&c, "clock-source", CHECK_PASS, "tsc");
    check_free(&c);
    profile_free(p);
}

static void test_unreadable(void **state)
{
    const char *const all[] = {"intel-sapphire-rapids", "amd-genoa", "nvidia-connectx",
                               "intel-e810"};
    struct check c;
    struct profile *p = NULL;
    struct err err = {""};

    (void)state;
    /* Its ConnectX shows too little to be sure of it. */
    profile_free(run("unreadable", "generic", &c));
    check_free(&c);
    assert_int_equal(profile_load(folder, all, ARRAY_LENGTH(all), &p, &err), 0);
    assert_int_equal(check_run(p, host("unreadable"), &c, &err), 0);
    assert_int_equal(c.results[CHECK_UNKNOWN], c.count);
    check_free(&c);
    profile_free(p);
}

/* What a recorded tree holds reaches no terminal as it is. */
static void test_strange_text(void **state)
{
    const char *name = "mine";
    struct check c;
    struct profile *p = NULL;
    struct err err = {""};

    (void)state;
    folder_enter();
    write_text("x", "\033[2J\xff\n\n");
    write_text("mine.conf", "[profile]\ntitle = t\n[entry one]\nreason = r\nread = file /x\n"
                            "expect = = 1\nseverity = fail\nby_hand = b\ncost = c\nsource = s\n"
                            "verified = no\n");
    assert_int_equal(profile_load(".", &name, 1, &p, &err), 0);
    assert_int_equal(check_run(p, ".", &c, &err), 0);
    assert_string_equal(c.finding[0].value, "?[2J?");
    check_free(&c);
    profile_free(p);
    folder_leave();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),         cmocka_unit_test(test_bad),
        cmocka_unit_test(test_vm),           cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_strange_text),
    };

    source = argc > 1 ? argv[1] : ".";
    snprintf(folder, sizeof(folder), "%s/firmware-config/profiles", source);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
