/*
 * The audit log: lines are chained, and whatever is done to the file afterwards is found; a disk
 * that is full loses nothing.
 */
#include "tests/appliance/fixture.h"

#include "appliance/audit.h"
#include "base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILE_NAME "audit"
#define LINES     5

static struct audit *open_log(void)
{
    struct audit *a = NULL;
    struct err err = {""};

    if (audit_open(FILE_NAME, &a, &err) < 0)
        fail_msg("%s", err.text);
    return a;
}

static void write_lines(struct audit *a, int count)
{
    for (int i = 0; i < count; i++)
        audit_note(a, "asked", log_number("number", i), log_text("name", "a b"));
}

/* A fresh file of LINES lines. */
static void make_log(void)
{
    struct audit *a;

    unlink(FILE_NAME);
    a = open_log();
    write_lines(a, LINES);
    audit_close(a);
}

static char *read_log(size_t *ret_count)
{
    uint8_t *text;

    assert_int_equal(file_read(FILE_NAME, 1 << 20, &text, ret_count, NULL), 0);
    return (char *)text;
}

static void write_log(const char *text, size_t count)
{
    assert_int_equal(file_write(FILE_NAME, 0600, text, count, NULL), 0);
}

static struct audit_found expect_good(const char *look_for)
{
    struct audit_found f;
    struct err err = {""};

    if (audit_verify(FILE_NAME, look_for, &f, &err) < 0)
        fail_msg("%s", err.text);
    return f;
}

static void expect_bad(const char *says)
{
    struct audit_found f;
    struct err err = {""};
    struct audit *a;

    assert_int_equal(audit_verify(FILE_NAME, NULL, &f, &err), -EBADMSG);
    assert_contains(err.text, says);
    /* The appliance does not go on behind it either. */
    err = (struct err){""};
    assert_int_equal(audit_open(FILE_NAME, &a, &err), -EBADMSG);
    assert_contains(err.text, says);
}

/* Where the line at @index begins, 0 being the header; its bytes with its end. */
static size_t line_at(const char *text, int index, size_t *ret_bytes)
{
    size_t at = 0;

    for (; index > 0; index--)
        at += strcspn(text + at, "\n") + 1;
    *ret_bytes = strcspn(text + at, "\n") + 1;
    return at;
}

static void test_lines(void **state)
{
    struct audit_found f;
    struct audit_state s;
    struct audit *a;
    size_t count;
    char *text;

    (void)state;
    make_log();
    text = read_log(&count);
    assert_memory_equal(text, "mpcformer-audit 1 000000", 24);
    assert_contains(text, " asked number=0 name=\"a b\" ");
    free(text);
    f = expect_good(NULL);
    assert_int_equal(f.lines, LINES);
    assert_false(f.torn);

    /* The next process goes on where this one ended, and says where that is. */
    a = open_log();
    audit_describe(a, &s);
    assert_string_equal(s.head, f.head);
    write_lines(a, 1);
    assert_int_equal(audit_flush(a, NULL), 0);
    audit_describe(a, &s);
    assert_int_equal(s.lines, 1);
    assert_int_equal(s.pending, 0);
    assert_true(expect_good(s.head).seen);
    assert_true(expect_good(f.head).seen);
    assert_string_equal(expect_good(NULL).head, s.head);
    audit_close(a);
    audit_write(NULL, "nobody", NULL);
    assert_int_equal(audit_flush(NULL, NULL), 0);
    assert_int_equal(audit_rotate(NULL, NULL), 0);
}

/* Every line removed, moved, doubled or changed in any one bit. */
static void test_changed(void **state)
{
    char *text, *changed;
    size_t count;

    (void)state;
    make_log();
    text = read_log(&count);
    changed = malloc(2 * count);
    for (int i = 0; i <= LINES; i++) {
        size_t bytes, at = line_at(text, i, &bytes), next = at + bytes;

        memcpy(changed, text, at);
        memcpy(changed + at, text + next, count - next);
        write_log(changed, count - bytes);
        if (i < LINES)
            expect_bad("audit");
        else /* that the last is gone is seen by who has its head */
            assert_int_equal(expect_good(NULL).lines, LINES - 1);
        memcpy(changed, text, next);
        memcpy(changed + next, text + at, count - at);
        write_log(changed, count + bytes);
        expect_bad("audit:");
    }
    for (size_t i = 0; i + 1 < count; i++) {
        memcpy(changed, text, count);
        changed[i] = (char)(changed[i] ^ 1 << i % 7);
        write_log(changed, count);
        expect_bad("audit");
    }
    write_log(text, count);
    assert_int_equal(expect_good(NULL).lines, LINES);
    free(changed);
    free(text);
}

/* A crash leaves any part of the last line, and of the first. */
static void test_torn(void **state)
{
    size_t count, bytes, last;
    char *text;

    (void)state;
    make_log();
    text = read_log(&count);
    last = line_at(text, LINES, &bytes);
    for (size_t i = 1; i < bytes; i++) {
        write_log(text, last + i);
        assert_true(expect_good(NULL).torn);
        audit_close(open_log());
        assert_int_equal(expect_good(NULL).lines, LINES - 1);
        assert_false(expect_good(NULL).torn);
    }
    line_at(text, 0, &bytes);
    for (size_t i = 0; i < bytes; i++) {
        write_log(text, i);
        audit_close(open_log());
        assert_int_equal(expect_good(NULL).lines, 0);
    }
    free(text);
}

static void test_other_files(void **state)
{
    struct audit *a, *second;
    struct audit_found f;
    struct err err = {""};

    (void)state;
    write_text(FILE_NAME, "a letter\n");
    expect_bad("not an audit log of version 1");
    write_text(FILE_NAME, "mpcformer-audit 2 00");
    expect_bad("not an audit log of version 1");
    assert_int_equal(audit_verify("nothing", NULL, &f, &err), -ENOENT);
    assert_int_equal(audit_open("nowhere/audit", &a, NULL), -ENOENT);
    make_log();
    a = open_log();
    err = (struct err){""};
    assert_int_equal(audit_open(FILE_NAME, &second, &err), -EWOULDBLOCK);
    assert_contains(err.text, "another process writes it");
    audit_close(a);
}

/* The disk is full for a while: nothing is lost, and who would accept a job hears of it. */
static void test_full(void **state)
{
    struct rlimit old, small;
    struct audit_state s;
    struct err err = {""};
    struct audit *a;

    (void)state;
    unlink(FILE_NAME);
    a = open_log();
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t room = 100; room < 700; room += 67) {
        small = (struct rlimit){.rlim_cur = room, .rlim_max = old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        write_lines(a, LINES);
        err = (struct err){""};
        assert_int_equal(audit_flush(a, &err), -EFBIG);
        assert_contains(err.text, "the audit log cannot be written: File too large");
        audit_describe(a, &s);
        assert_true(s.pending > 0 && s.lost == 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(audit_flush(a, NULL), 0);
        audit_describe(a, &s);
        assert_int_equal(s.pending, 0);
        assert_int_equal(expect_good(s.head).lines, s.lines);
        assert_true(expect_good(s.head).seen);
        assert_int_equal(truncate(FILE_NAME, 0), 0);
        audit_close(a);
        unlink(FILE_NAME);
        a = open_log();
    }
    audit_close(a);
}

/* So long that not even memory has room: what is lost is counted, in the file. */
static void test_lost(void **state)
{
    struct rlimit old, small;
    struct audit_state s;
    struct audit *a;
    size_t count;
    char *text, says[64];
    int kept = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY);

    (void)state;
    unlink(FILE_NAME);
    a = open_log();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 200, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    /* The file takes no more before there are many: its thread would else make room meanwhile. */
    write_lines(a, 2);
    assert_int_equal(audit_flush(a, NULL), -EFBIG);
    dup2(nowhere, STDERR_FILENO);
    write_lines(a, 2998);
    dup2(kept, STDERR_FILENO);
    audit_describe(a, &s);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(s.lost > 0 && s.lines + s.lost == 3000);
    assert_int_equal(audit_flush(a, NULL), 0);
    write_lines(a, 1);
    audit_close(a);
    text = read_log(&count);
    snprintf(says, sizeof(says), " lines-lost count=%d ", (int)s.lost);
    assert_contains(text, says);
    assert_int_equal(expect_good(NULL).lines, s.lines + 2);
    free(text);
    close(kept);
    close(nowhere);
}

/* Moved away, it goes on in a new file that names the head of the old one. */
static void test_rotate(void **state)
{
    struct audit_found old, fresh;
    struct audit *a;

    (void)state;
    unlink(FILE_NAME);
    a = open_log();
    write_lines(a, 2);
    assert_int_equal(audit_flush(a, NULL), 0);
    assert_int_equal(audit_rotate(a, NULL), 0);
    assert_int_equal(expect_good(NULL).lines, 2);
    assert_int_equal(rename(FILE_NAME, "audit.1"), 0);
    write_lines(a, 1);
    assert_int_equal(audit_flush(a, NULL), 0);
    assert_int_equal(audit_rotate(a, NULL), 0);
    write_lines(a, 3);
    audit_close(a);
    assert_int_equal(audit_verify("audit.1", NULL, &old, NULL), 0);
    fresh = expect_good(NULL);
    assert_int_equal(old.lines, 3);
    assert_int_equal(fresh.lines, 3);
    assert_string_equal(fresh.before, old.head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),  cmocka_unit_test(test_changed),
        cmocka_unit_test(test_torn),   cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_full),   cmocka_unit_test(test_lost),
        cmocka_unit_test(test_rotate),
    };

    return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
