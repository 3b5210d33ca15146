/*
 * What `host apply` writes and `host revert` takes back, on a host of three files: nothing but our
 * own files, and of those nothing that somebody has changed.
 */
#include "tests/appliance/fixture.h"

#include "base/file.h"
#include "firmware-config/drop_in.h"
#include "firmware-config/drop_in_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT   "host"
#define SYSCTL ROOT "/etc/sysctl.d/90-mpcformer.conf"
#define GRUB   ROOT "/etc/default/grub.d/90-mpcformer.cfg"

#define REST "severity = fail\ncost = c\nsource = s\nverified = no\n"

static const char mine[] =
    "[profile]\ntitle = mine\n"
    "[entry x]\nreason = r\nread = sysctl vm.x\nexpect = >= 7\nset = sysctl vm.x = 7\n" REST
    "[entry y]\nreason = r\nread = sysctl vm.y\nexpect = = 1\nset = sysctl vm.y = 1\n"
    "set = modprobe options y z=1\n" REST
    "[entry none]\nreason = r\nread = sysctl vm.none\nexpect = = 1\nset = sysctl vm.none = 1\n" REST
    "[entry cpus]\nreason = r\nread = file /sys/devices/system/cpu/isolated\nexpect = set\n"
    "set = cmdline isolcpus=@cpus@\nset = cmdline irqaffinity=@others@\n" REST
    "[entry rest]\nreason = r\nread = by-hand look\nset = hugetlbfs 1G\n"
    "set = udev ACTION==\"add\", RUN+=\"/bin/true $name\"\n" REST;

static int make_host(void **state)
{
    (void)state;
    folder_enter();
    assert_int_equal(system("mkdir -p " ROOT "/proc/sys/vm " ROOT "/sys/devices/system/cpu"), 0);
    write_text(ROOT "/proc/sys/vm/x", "9\n");
    write_text(ROOT "/proc/sys/vm/y", "0\n");
    write_text(ROOT "/sys/devices/system/cpu/isolated", "\n");
    write_text(ROOT "/sys/devices/system/cpu/online", "0-3\n");
    write_text("mine.conf", mine);
    return 0;
}

static int leave_host(void **state)
{
    (void)state;
    folder_leave();
    return 0;
}

/* Plan, and write unless @plan_only; what went wrong in @err. */
static int apply(const char *cpus, bool plan_only, size_t *ret_left_out, struct err *err)
{
    const char *name = "mine";
    struct profile *p = NULL;
    struct check c = {NULL};
    struct drop_ins d;
    int rc;

    assert_int_equal(profile_load(".", &name, 1, &p, err), 0);
    assert_int_equal(check_run(p, ROOT, &c, err), 0);
    rc = drop_ins_plan(&c, ROOT, cpus, &d, err);
    if (rc == 0) {
        if (ret_left_out)
            *ret_left_out = d.left_out_count;
        if (!plan_only)
            rc = drop_ins_write(&d, err);
        drop_ins_free(&d);
    }
    check_free(&c);
    profile_free(p);
    return rc;
}

static void must_apply(const char *cpus)
{
    struct err err = {""};

    if (apply(cpus, false, NULL, &err) < 0)
        fail_msg("%s", err.text);
}

static void expect_text(const char *path, const char *part, bool there)
{
    uint8_t *text = NULL;
    size_t bytes;
    struct err err = {""};

    if (file_read(path, 1 << 16, &text, &bytes, &err) < 0)
        fail_msg("%s", err.text);
    if ((strstr((char *)text, part) != NULL) != there)
        fail_msg("%s: \"%s\" %s in:\n%s", path, part, there ? "is not" : "is", (char *)text);
    free(text);
}

static size_t removed_count, left_count;

static void count_one(void *context, const char *path, bool removed)
{
    (void)context, (void)path;
    *(removed ? &removed_count : &left_count) += 1;
}

static int revert(struct err *err)
{
    removed_count = left_count = 0;
    return drop_ins_revert(ROOT, count_one, NULL, err);
}

static void test_there_and_back(void **state)
{
    struct err err = {""};

    (void)state;
    must_apply("1,3");
    /* x has more than enough, which is left alone; none is none of this kernel's. */
    expect_text(SYSCTL, "vm.x", false);
    expect_text(SYSCTL, "vm.none", false);
    expect_text(SYSCTL, "\n# y\nvm.y = 1\n", true);
    expect_text(GRUB,
                "\n# cpus\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX isolcpus=1,3\"\n"
                "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX irqaffinity=0,2\"\n",
                true);
    expect_text(ROOT "/etc/modprobe.d/90-mpcformer.conf", "options y z=1\n", true);
    expect_text(ROOT "/etc/udev/rules.d/90-mpcformer.rules", "RUN+=\"/bin/true $name\"\n", true);
    expect_text(ROOT "/etc/systemd/system/dev-mpcformer.mount", "pagesize=1G\n", true);

    assert_int_equal(revert(&err), 0);
    assert_int_equal(removed_count, 5);
    assert_int_equal(left_count, 0);
    assert_int_equal(access(ROOT "/etc", F_OK), -1);
    assert_int_equal(access(ROOT "/var", F_OK), -1);
    assert_int_equal(revert(&err), -ENOENT);
    assert_contains(err.text, "nothing was applied, so there is nothing to undo");
}

static void test_plan_only(void **state)
{
    struct err err = {""};
    size_t left_out = 0;

    (void)state;
    assert_int_equal(apply(NULL, true, &left_out, &err), 0);
    assert_int_equal(left_out, 1);
    assert_int_equal(access(ROOT "/etc", F_OK), -1);
    assert_int_equal(access(ROOT "/var", F_OK), -1);
}

/* After the next start everything passes, because of what stands there: it must stay. */
static void test_again(void **state)
{
    struct err err = {""};

    (void)state;
    must_apply("1-3");
    write_text(ROOT "/proc/sys/vm/y", "1\n");
    write_text(ROOT "/sys/devices/system/cpu/isolated", "1-3\n");
    must_apply(NULL);
    expect_text(SYSCTL, "vm.y = 1\n", true);
    expect_text(GRUB, "isolcpus=1-3\"\n", true);
    must_apply("3");
    expect_text(GRUB, "isolcpus=3\"\n", true);
    expect_text(GRUB, "irqaffinity=0-2\"\n", true);
    assert_int_equal(revert(&err), 0);
    assert_int_equal(removed_count, 5);
}

static void test_neighbours(void **state)
{
    struct err err = {""};

    (void)state;
    assert_int_equal(system("mkdir -p " ROOT "/etc/sysctl.d"), 0);
    write_text(ROOT "/etc/sysctl.d/10-other.conf", "vm.z = 1\n");
    must_apply(NULL);
    write_text(ROOT "/etc/udev/rules.d/50-later.rules", "# later\n");
    assert_int_equal(revert(&err), 0);
    expect_text(ROOT "/etc/sysctl.d/10-other.conf", "vm.z = 1\n", true);
    expect_text(ROOT "/etc/udev/rules.d/50-later.rules", "# later\n", true);
    assert_int_equal(access(SYSCTL, F_OK), -1);
    assert_int_equal(access(ROOT "/etc/modprobe.d", F_OK), -1);
}

static void test_foreign(void **state)
{
    struct err err = {""};

    (void)state;
    assert_int_equal(system("mkdir -p " ROOT "/etc/sysctl.d"), 0);
    write_text(SYSCTL, "vm.x = 1\n");
    assert_int_equal(apply(NULL, false, NULL, &err), -EEXIST);
    assert_contains(err.text, SYSCTL ": was not written by `host apply`");
    expect_text(SYSCTL, "vm.x = 1\n", true);
    assert_int_equal(access(ROOT "/var", F_OK), -1);
    assert_int_equal(access(ROOT "/etc/modprobe.d", F_OK), -1);
}

static void test_changed_since(void **state)
{
    struct err err = {""};

    (void)state;
    must_apply(NULL);
    write_text(SYSCTL, "vm.y = 2\n");
    assert_int_equal(apply(NULL, false, NULL, &err), -EEXIST);
    assert_contains(err.text, "or was changed since: move it away");
    assert_int_equal(revert(&err), 0);
    assert_int_equal(left_count, 1);
    assert_int_equal(removed_count, 3);
    expect_text(SYSCTL, "vm.y = 2\n", true);
}

/* Whoever is asked may take long to answer. */
static void test_changed_meanwhile(void **state)
{
    const char *name = "mine";
    struct profile *p = NULL;
    struct check c = {NULL};
    struct err err = {""};
    struct drop_ins d;

    (void)state;
    assert_int_equal(profile_load(".", &name, 1, &p, &err), 0);
    assert_int_equal(check_run(p, ROOT, &c, &err), 0);
    assert_int_equal(drop_ins_plan(&c, ROOT, NULL, &d, &err), 0);
    assert_int_equal(system("mkdir -p " ROOT "/etc/sysctl.d"), 0);
    write_text(SYSCTL, "vm.y = 3\n");
    assert_int_equal(drop_ins_write(&d, &err), -EBUSY);
    assert_contains(err.text, SYSCTL ": has changed meanwhile: apply again");
    expect_text(SYSCTL, "vm.y = 3\n", true);
    assert_int_equal(access(ROOT "/var", F_OK), -1);
    drop_ins_free(&d);
    check_free(&c);
    profile_free(p);
}

/* An entry that is left out is taken out. */
static void test_left_out(void **state)
{
    struct err err = {""};
    char *mark, text[sizeof(mine)];

    (void)state;
    must_apply("3");
    memcpy(text, mine, sizeof(mine));
    mark = strstr(text, "[entry cpus]");
    assert_non_null(mark);
    *mark = 0;
    write_text("mine.conf", text);
    must_apply(NULL);
    assert_int_equal(access(GRUB, F_OK), -1);
    expect_text(SYSCTL, "vm.y = 1\n", true);

    /* Nothing stays of what nobody wants any more, but folders and the list. */
    write_text("mine.conf", "[profile]\ntitle = nothing\n");
    must_apply(NULL);
    assert_int_equal(access(SYSCTL, F_OK), -1);
    assert_int_equal(revert(&err), 0);
    assert_int_equal(removed_count, 0);
    assert_int_equal(access(ROOT "/etc", F_OK), -1);
    assert_int_equal(access(ROOT "/var", F_OK), -1);
}

/* Killed after the list, before the files: what is there, old or new, is ours. */
static void test_interrupted(void **state)
{
    struct err err = {""};
    json_t *list = NULL;

    (void)state;
    must_apply(NULL);
    assert_int_equal(unlink(ROOT "/etc/modprobe.d/90-mpcformer.conf"), 0);
    assert_int_equal(drop_in_list_read(ROOT, &list, &err), 0);
    assert_int_equal(drop_in_list_set(list, "/etc/sysctl.d/90-mpcformer.conf", "new", "old"), 0);
    assert_int_equal(drop_in_list_write(ROOT, list, &err), 0);
    assert_true(drop_in_list_has(list, "/etc/sysctl.d/90-mpcformer.conf", "new"));
    assert_true(drop_in_list_has(list, "/etc/sysctl.d/90-mpcformer.conf", "old"));
    assert_false(drop_in_list_has(list, "/etc/sysctl.d/90-mpcformer.conf", "other"));
    json_decref(list);
    write_text(SYSCTL, "old");
    assert_int_equal(revert(&err), 0);
    assert_int_equal(left_count, 0);
    assert_int_equal(access(ROOT "/etc", F_OK), -1);
}

static void test_cpus(void **state)
{
    static const char *const wrong[][2] = {
        {"x", "\"x\" is no list of CPUs: write 2-7"},
        {"", "\"\" is no list of CPUs"},
        {"2-4", "CPUs 2-4: the host has 0-3, and no others"},
        {"0-3", "CPUs 0-3: the host has 0-3, and one must be left"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct err err = {""};

        assert_int_equal(apply(wrong[i][0], true, NULL, &err), -EINVAL);
        assert_contains(err.text, wrong[i][1]);
    }
}

static void test_trouble(void **state)
{
    struct err err = {""};

    (void)state;
    /* A file where a folder should be made. */
    write_text(ROOT "/etc", "a file\n");
    assert_int_equal(apply(NULL, false, NULL, &err), -ENOTDIR);
    assert_contains(err.text, ROOT "/etc");
    assert_int_equal(unlink(ROOT "/etc"), 0);
    err.text[0] = 0;
    write_text(ROOT "/var/lib/mpcformer/host.json", "{\"files\": 1}\n");
    assert_int_equal(revert(&err), -EINVAL);
    assert_contains(err.text, "host.json: no list of what was written: restore it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_plan_only, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_again, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_neighbours, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_foreign, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_changed_since, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_changed_meanwhile, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_left_out, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_interrupted, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_cpus, make_host, leave_host),
        cmocka_unit_test_setup_teardown(test_trouble, make_host, leave_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
