/* Profiles: the shipped ones, one of our own, and every way to be wrong with the message for it. */
#include "tests/appliance/fixture.h"

#include "base/file.h"
#include "firmware-config/profile.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const char *source;

#define TITLE "[profile]\ntitle = mine\n"
#define REST                                                                                       \
    "severity = warn\nset = sysctl vm.x = 1\ncost = slow\nsource = a book, page 1\nverified = "    \
    "no\n"
#define ENTRY "[entry one]\nreason = because\nread = sysctl vm.x\nexpect = = 1\n" REST

static void test_shipped(void **state)
{
    static const char *const all[] = {"generic", "intel-sapphire-rapids", "amd-genoa",
                                      "nvidia-connectx", "intel-e810"};
    char folder[PATH_MAX], **names = NULL;
    struct profile *p = NULL;
    struct err err = {""};
    size_t count;

    (void)state;
    snprintf(folder, sizeof(folder), "%s/firmware-config/profiles", source);
    assert_int_equal(profile_list(folder, &names, &count, &err), 0);
    assert_int_equal(count, ARRAY_LENGTH(all));
    profile_list_free(names, count);
    /* Together, so that no two say the same thing; and each with a document. */
    if (profile_load(folder, all, ARRAY_LENGTH(all), &p, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(p->entry_count > 40);
    for (size_t i = 0; i < p->entry_count; i++)
        if (strlen(profile_value(&p->entry[i], PROFILE_SOURCE)) < 15)
            fail_msg("%s: a source is a title", p->entry[i].id);
    profile_free(p);
}

static int load(const char *text, struct profile **ret, struct err *err)
{
    const char *name = "mine";
    FILE *f = fopen("mine.conf", "w"); /* not write_text(), which waits for the disk */

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return profile_load(".", &name, 1, ret, err);
}

static void test_own(void **state)
{
    struct profile *p = NULL;
    const struct profile_entry *e;
    struct err err = {""};

    (void)state;
    write_text("base.conf", TITLE "[entry zero]\nreason = r\nread = by-hand look\nseverity = fail\n"
                                  "by_hand = turn it\ncost = c\nsource = s\nverified = no\n");
    if (load(TITLE "# a comment\ninclude = base\nmatch = one\n\n"
                   "[entry one]\nreason = because of\n  this, and\n\tthat\n# another\n"
                   "read = file /sys/x/*/y\r\nexpect = >= 12\nset = sysctl vm.x = 1\n"
                   "set = cmdline isolcpus=@cpus@\nseverity = fail\ncost = slow\nsource = a\n"
                   "source = b,\n  page 2\nverified = yes (a machine, May 2026)",
             &p, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(p->file_count, 2);
    assert_string_equal(p->file[0].title, "mine");
    assert_int_equal(p->entry_count, 2);
    e = profile_find(p, "one");
    assert_string_equal(profile_value(e, PROFILE_REASON), "because of this, and that");
    assert_string_equal(e->argument, "/sys/x/*/y");
    assert_int_equal(e->expect.number, 12);
    assert_true(e->must);
    assert_int_equal(e->setting_count, 2);
    assert_int_equal(e->setting[1].kind, SETTING_CMDLINE);
    assert_true(setting_needs_cpus(&e->setting[1]));
    assert_int_equal(e->value[PROFILE_SOURCE].count, 2);
    assert_string_equal(e->value[PROFILE_SOURCE].text[1], "b, page 2");
    assert_non_null(profile_find(p, "zero"));
    assert_null(profile_value(profile_find(p, "zero"), PROFILE_EXPECT));
    profile_free(p);
}

/* Two that include each other are each read once. */
static void test_ring(void **state)
{
    struct profile *p = NULL;
    struct err err = {""};

    (void)state;
    write_text("base.conf", "[profile]\ntitle = base\ninclude = mine\n");
    assert_int_equal(load(TITLE "include = base\n" ENTRY, &p, &err), 0);
    assert_int_equal(p->file_count, 2);
    profile_free(p);
}

#define LONG                                                                                       \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *text, *message;
} wrong[] = {
    {"", "mine.conf:1: `title`: is missing: add title = ..."},
    {"title = mine\n", "mine.conf:1: `title`: stands before any section: begin with [profile]"},
    {TITLE "colour = red\n",
     "mine.conf:3: `colour`: there is no such key here: there are title, include, match"},
    {TITLE "title = again\n", "mine.conf:3: `title`: stands twice, first on line 2: keep one"},
    {TITLE "nonsense\n", "mine.conf:3: \"nonsense\" is no line of ours: write key = value"},
    {TITLE "include = nonesuch\n", "there is no profile \"nonesuch\" in .: there are"},
    {TITLE "include = ../etc\n", "there is no profile \"../etc\""},
    {TITLE "match = nonesuch\n", "mine.conf:3: `match`: this file has no entry \"nonesuch\""},
    {TITLE "[entries]\n", "mine.conf:3: \"[entries]\": write [profile], or [entry ID]"},
    {TITLE "[entry One]\n", "with an ID of a-z, 0-9 and hyphens"},
    {TITLE "[entry " LONG "]\n", "write [profile], or [entry ID]"},
    {TITLE "[entry one\n", "write [profile], or [entry ID]"},
    {TITLE ENTRY ENTRY, "mine.conf:12: entry one stands in mine, line 3, too: remove one"},
    {TITLE "[entry one]\nread = sysctl vm.x\nexpect = = 1\n" REST,
     "mine.conf:3: `reason`: is missing"},
    {TITLE "[entry one]\nreason = r\nexpect = = 1\n" REST, "mine.conf:3: `read`: is missing"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\n" REST,
     "mine.conf:3: `expect`: is missing"},
    {TITLE ENTRY "reason = again\n",
     "mine.conf:12: `reason`: stands twice, first on line 4: keep one"},
    {TITLE ENTRY "reasons = x\n",
     "mine.conf:12: `reasons`: there is no such key here: there are reason, read, expect"},
    {TITLE ENTRY "by_hand =\n", "mine.conf:12: `by_hand`: has no value: write one or remove it"},
    {TITLE "[entry one]\nreason = r\nread = shell id\nexpect = = 1\n" REST,
     "mine.conf:5: `read`: there is no probe \"shell\": there are file, sysctl, "},
    {TITLE "[entry one]\nreason = r\nread = sysctl\nexpect = = 1\n" REST,
     "mine.conf:5: `read`: write sysctl NAME"},
    {TITLE "[entry one]\nreason = r\nread = file proc/x\nexpect = = 1\n" REST,
     "mine.conf:5: `read`: \"proc/x\" is no path from / on"},
    {TITLE "[entry one]\nreason = r\nread = by-hand look\nexpect = = 1\n" REST,
     "mine.conf:6: `expect`: nothing is read by-hand, so nothing is compared: remove it"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\nexpect = 1\n" REST,
     "mine.conf:6: `expect`: \"1\": write = TEXT, != TEXT, >= NUMBER"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\nexpect = >= many\n" REST,
     "mine.conf:6: `expect`: \"many\" is no whole number"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\nexpect = =\n" REST,
     "mine.conf:6: `expect`: \"=\": a value is missing"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\nexpect = set 1\n" REST,
     "nothing stands after set"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\nexpect = = 1\nseverity = bad\nby_hand = "
           "x\ncost = c\nsource = s\nverified = no\n",
     "mine.conf:7: `severity`: \"bad\": write fail or warn"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\nexpect = = 1\nseverity = warn\nby_hand = "
           "x\ncost = c\nsource = s\nverified = maybe\n",
     "mine.conf:11: `verified`: \"maybe\": write no, or yes (HARDWARE, DATE)"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\nexpect = = 1\nseverity = warn\nby_hand = "
           "x\ncost = c\nverified = no\n",
     "mine.conf:3: `source`: is missing"},
    {TITLE "[entry one]\nreason = r\nread = sysctl vm.x\nexpect = = 1\nseverity = warn\ncost = "
           "c\nsource = s\nverified = no\n",
     "mine.conf:3: `set`: is missing: add set = ..., or by_hand = ..."},
    {TITLE ENTRY "set = crontab x\n", "mine.conf:12: `set`: \"crontab x\": a setting is of sysctl, "
                                      "modprobe, cmdline, udev or hugetlbfs"},
    {TITLE ENTRY "set = sysctl swappiness\n", "`set`: \"swappiness\": write sysctl NAME = VALUE"},
    {TITLE ENTRY "set = modprobe blacklist x\n", "write modprobe options MODULE NAME=VALUE"},
    {TITLE ENTRY "set = cmdline a=\"$(id)\"\n", "write cmdline WORD[=VALUE]"},
    {TITLE ENTRY "set = udev nothing\n", "write udev RULE"},
    {TITLE ENTRY "set = hugetlbfs 4K\n", "\"4K\" is no size of huge pages: 2M or 1G"},
    {TITLE ENTRY "cost = a ; b\n",
     "mine.conf:12: a ; after a space: write another word, or # for a comment"},
    {TITLE ENTRY "source = " LONG LONG "\n", "at most 198 are read: go on in an indented line"},
    {TITLE "# \xff\n", "mine.conf: is not UTF-8: convert it"},
    {TITLE "a\001b = c\n", "mine.conf:3: a control character"},
};

static void test_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct profile *p = NULL;
        struct err err = {""};

        if (load(wrong[i].text, &p, &err) == 0)
            fail_msg("taken, although: %s", wrong[i].message);
        assert_contains(err.text, wrong[i].message);
        assert_null(p);
    }
}

/* Bytes of a shipped file exchanged, put in and left out: taken, or refused with a reason. */
static void test_noise(void **state)
{
    static const char marks[] = "\n =[]#;:\t\"@-a0\xc3";
    unsigned int seed = (unsigned int)time(NULL), taken = 0;
    struct err err = {""};
    uint8_t *text = NULL;
    char path[PATH_MAX];
    size_t bytes;

    (void)state;
    print_message("seed %u\n", seed);
    snprintf(path, sizeof(path), "%s/firmware-config/profiles/generic.conf", source);
    assert_int_equal(file_read(path, PROFILE_FILE_MAX, &text, &bytes, &err), 0);
    for (int i = 0; i < 300; i++) {
        size_t at = (size_t)rand_r(&seed) % bytes, cut = (size_t)rand_r(&seed) % 3;
        struct profile *p = NULL;
        char *noisy = NULL;

        err.text[0] = 0;
        assert_true(asprintf(&noisy, "%.*s%c%s", (int)at, (char *)text,
                             marks[(size_t)rand_r(&seed) % (sizeof(marks) - 1)],
                             (char *)text + MIN(at + cut, bytes)) > 0);
        if (load(noisy, &p, &err) == 0)
            taken++;
        else
            assert_contains(err.text, "mine.conf:");
        profile_free(p);
        free(noisy);
    }
    /* Most of a file is prose. */
    assert_in_range(taken, 30, 299);
    free(text);
}

static void test_no_file(void **state)
{
    const char *name = "nonesuch";
    struct profile *p = NULL;
    struct err err = {""};

    (void)state;
    assert_int_equal(profile_load(".", &name, 1, &p, &err), -ENOENT);
    assert_contains(err.text, "there is no profile \"nonesuch\" in .: there are");
    err.text[0] = 0;
    assert_int_equal(profile_load("./nonesuch", &name, 1, &p, &err), -ENOENT);
    assert_contains(err.text, "profiles in ./nonesuch: No such file");
    err.text[0] = 0;
    name = "folder";
    assert_int_equal(mkdir("folder.conf", 0700), 0);
    assert_int_equal(profile_load(".", &name, 1, &p, &err), -EINVAL);
    assert_contains(err.text, "folder.conf: not a regular file");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped), cmocka_unit_test(test_own),
        cmocka_unit_test(test_ring),    cmocka_unit_test(test_noise),
        cmocka_unit_test(test_wrong),   cmocka_unit_test(test_no_file),
    };
    static char path[PATH_MAX];

    if (!realpath(argc > 1 ? argv[1] : ".", path))
        return 1;
    source = path;
    return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
