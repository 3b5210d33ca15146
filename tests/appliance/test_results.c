/* An evaluation's results: kept row by row, found again, and refused when they are not these. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "appliance/results.h"
#include "appliance/score.h"
#include "base/file.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROWS 5

static char folder[PATH_MAX], path[PATH_MAX + 8];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/mpcformer-results-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/rows", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static json_t *make_head(const char *task, const char *data, const char *plan)
{
    json_t *head = json_pack("{s:i, s:s, s:s, s:s?, s:s, s:s, s:s*}", "results", RESULTS_VERSION,
                             "task", task, "data_sha256", data, "plan_sha256", plan, "float_sha256",
                             "f", "labels_by", "name", "length", plan ? "bucket" : NULL);

    assert_non_null(head);
    return head;
}

/* Private says 1, 1, 0, 0, 1, and float the same but for the last; 1, 0, 0, 1, 1 is right. */
static struct result make_row(size_t i)
{
    static const double private[ROWS] = {1, 1, 0, 0, 1}, right[ROWS] = {1, 0, 0, 1, 1};
    double sign = private[i] > 0 ? 1 : -1;
    struct result row = {.index = i,
                         .line = i + 2,
                         .label = right[i],
                         .logits = {-sign / 3, sign / 3},
                         .float_logits = {-sign / 3, sign / 3 + 1e-3 * (double)i},
                         .tokens = 7,
                         .dropped = i == 2,
                         .batch = 2,
                         .online_ms = 3 + (double)i,
                         .offline_ms = 8,
                         .bytes_online = 4001,
                         .rounds_online = 30};

    if (i == ROWS - 1)
        row.float_logits[1] = -1;
    return row;
}

static void add(struct results_file *f, struct results *r, size_t from, size_t to)
{
    struct online_stats stats = {.kind[OP_OPEN] = {.ns = 1500000, .bytes = 4001, .rounds = 30}};

    for (size_t i = from; i < to; i++) {
        struct result row = make_row(i);

        assert_int_equal(results_add(f, r, &row, &stats, NULL), 0);
    }
}

static void check(const struct results *r, size_t count)
{
    assert_int_equal(r->count, count);
    for (size_t i = 0; i < count; i++) {
        const struct result row = make_row(i), *found = &r->rows[i];

        /* Everything before `outside`, logits to the last bit; after it there is padding. */
        assert_memory_equal(found, &row, offsetof(struct result, outside));
        assert_int_equal(found->outside, row.outside);
        assert_true(found->online_ms == row.online_ms && found->offline_ms == row.offline_ms);
        assert_int_equal(found->bytes_online, row.bytes_online);
        assert_int_equal(found->rounds_online, row.rounds_online);
    }
    assert_true(r->ops[OP_OPEN].ms == 0.75 * (double)count);
    assert_true(r->ops[OP_OPEN].bytes == 2000.5 * (double)count);
    assert_true(r->ops[OP_MATMUL].ms == 0);
}

/* Opens, checks that there are @had rows, writes up to @count, closes. */
static void go_on(size_t had, size_t count)
{
    json_t *head = make_head("SST-2", "d", "p");
    struct results_file *f = NULL;
    struct results r = {.head = NULL};
    struct err err = {""};
    int rc = results_open(path, head, &f, &r, &err);

    if (rc)
        fail_msg("%s", err.text);
    check(&r, had);
    add(f, &r, had, count);
    check(&r, count);
    assert_int_equal(results_close(f, NULL), 0);
    results_free(&r);
    json_decref(head);
}

static char *read_text(size_t *ret_count)
{
    uint8_t *text;

    assert_int_equal(file_read(path, 1 << 20, &text, ret_count, NULL), 0);
    return (char *)text;
}

static void write_text(const char *text, size_t count)
{
    assert_int_equal(file_write(path, 0600, text, count, NULL), 0);
}

static void rows_are_found_again_wherever_it_was_cut(void **state)
{
    size_t count, lines = 0, head_end = 0;
    char *text;

    (void)state;
    go_on(0, 3);
    text = read_text(&count);
    for (size_t cut = 0; cut <= count; cut++) {
        lines += cut && text[cut - 1] == '\n';
        if (lines == 1 && !head_end)
            head_end = cut;
        if (cut > 20 && cut % 41 && text[cut - 1] != '\n' && cut < count)
            continue; /* all beginnings, all ends, some of the rest */
        write_text(text, cut);
        go_on(lines ? lines - 1 : 0, ROWS);
    }
    assert_int_equal(lines, 4);
    free(text);
}

static void expect_refused(const json_t *head, int wanted, const char *why)
{
    struct results_file *f = NULL;
    struct results r = {.head = NULL};
    struct err err = {""};

    assert_int_equal(results_open(path, head, &f, &r, &err), wanted);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    assert_null(f);
    assert_null(r.head);
}

static void results_of_something_else_are_refused(void **state)
{
    static const struct {
        const char *task, *data, *plan, *why;
    } other[] = {{"IMDb", "d", "p", "another task"},
                 {"SST-2", "e", "p", "another data file"},
                 {"SST-2", "d", "q", "another plan"},
                 {"SST-2", "d", NULL, "another plan"}};

    json_t *public = make_head("SST-2", "d", "p");

    (void)state;
    unlink(path);
    go_on(0, 2);
    json_object_set_new(public, "length", json_string("public"));
    expect_refused(public, -EINVAL, "another length mode");
    json_decref(public);
    for (size_t i = 0; i < ARRAY_LENGTH(other); i++) {
        json_t *head = make_head(other[i].task, other[i].data, other[i].plan);

        expect_refused(head, -EINVAL, other[i].why);
        json_decref(head);
    }
    go_on(2, 3);
}

static void damage_is_refused_and_stays(void **state)
{
    json_t *head = make_head("SST-2", "d", "p");
    size_t count, after;
    char *text, *now;

    (void)state;
    unlink(path);
    go_on(0, 3);
    text = read_text(&count);
    for (size_t at = 0; at < count; at += at < 30 ? 1 : 7) {
        char was = text[at];

        text[at] = '{';
        if (was == '{' || was == '\n') {
            text[at] = was;
            continue;
        }
        write_text(text, count);
        text[at] = was;
        /* A byte of a number or a name may be another number: those that are not are refused. */
        struct results r = {.head = NULL};
        struct err err = {""};
        int rc = results_read(path, &r, &err);

        assert_true(rc == 0 || rc == -EBADMSG);
        results_free(&r);
        now = read_text(&after);
        assert_int_equal(after, count);
        free(now);
    }
    text[count - 2] = ' '; /* a line that is whole, and no JSON */
    write_text(text, count);
    expect_refused(head, -EBADMSG, "rows:4: damaged");
    write_text("sentence\tlabel\n", 15);
    expect_refused(head, -EBADMSG, "rows:1: no results");
    write_text("precious", 8);
    expect_refused(head, -EBADMSG, "no results");
    now = read_text(&after);
    assert_string_equal(now, "precious");
    free(now);
    free(text);
    json_decref(head);
}

static void one_process_writes(void **state)
{
    json_t *head = make_head("SST-2", "d", "p");
    struct results_file *f = NULL;
    struct results r = {.head = NULL};

    (void)state;
    unlink(path);
    assert_int_equal(results_open(path, head, &f, &r, NULL), 0);
    expect_refused(head, -EWOULDBLOCK, "another process");
    assert_int_equal(results_close(f, NULL), 0);
    results_free(&r);
    json_decref(head);
}

static double number(const json_t *score, const char *key)
{
    assert_true(json_is_number(json_object_get(score, key)));
    return json_number_value(json_object_get(score, key));
}

static void the_score_is_of_its_rows(void **state)
{
    json_t *score = NULL;
    struct results r = {.head = NULL};

    (void)state;
    unlink(path);
    go_on(0, ROWS);
    assert_int_equal(results_read(path, &r, NULL), 0);
    check(&r, ROWS);
    assert_int_equal(score_describe(&r, ROWS, &score, NULL), 0);
    assert_int_equal(number(score, "n"), 5);
    assert_true(number(score, "private") == 0.6 && number(score, "float") == 0.4);
    assert_true(number(score, "agree") == 0.8);
    assert_true(fabs(number(score, "logit_error_max") - 4.0 / 3) < 1e-12);
    assert_true(fabs(number(score, "logit_error_median") - 2e-3) < 1e-12);
    assert_true(number(score, "online_ms_mean") == 2.5 &&
                number(score, "rounds_online_mean") == 15);
    assert_int_equal(number(score, "texts_cut"), 1);
    json_decref(score);
    assert_int_equal(score_describe(&r, 2, &score, NULL), 0);
    assert_true(number(score, "private") == 0.5 && number(score, "agree") == 1);
    json_decref(score);
    results_free(&r);
}

static void a_text_outside_is_wrong_and_agrees_with_nothing(void **state)
{
    json_t *head = make_head("SST-2", "d", "p"), *score = NULL;
    struct online_stats stats = {.kind[OP_OPEN] = {.ns = 1}};
    struct results r = {.head = NULL};
    struct results_file *f = NULL;

    (void)state;
    unlink(path);
    assert_int_equal(results_open(path, head, &f, &r, NULL), 0);
    for (size_t i = 0; i < 3; i++) {
        struct result row = make_row(i); /* 1, 0 and 0 are right */

        row.outside = i != 1;
        memset(row.logits, 0, sizeof(row.logits));
        assert_int_equal(results_add(f, &r, &row, &stats, NULL), 0);
    }
    assert_int_equal(results_close(f, NULL), 0);
    results_free(&r);
    json_decref(head);

    assert_int_equal(results_read(path, &r, NULL), 0);
    assert_true(r.rows[0].outside && !r.rows[1].outside && r.rows[2].outside);
    assert_int_equal(score_describe(&r, 3, &score, NULL), 0);
    assert_int_equal(number(score, "outside"), 2);
    assert_true(fabs(number(score, "private") - 1.0 / 3) < 1e-12); /* equal logits: the first */
    assert_true(number(score, "agree") == 0);
    json_decref(score);
    results_free(&r);
}

static void a_score_agrees_within_a_tenth(void **state)
{
    json_t *head = make_head("STS-B", "d", "p"), *score = NULL, *metrics;
    struct results r = {.head = NULL};

    (void)state;
    assert_int_equal(results_start(head, &r, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        const struct result row = {.index = i,
                                   .line = i + 1,
                                   .label = (double)i,
                                   .logits = {(double)i},
                                   .float_logits = {(double)i + (i == 3 ? 0.11 : 0.09)},
                                   .tokens = 3,
                                   .batch = 1};

        assert_int_equal(results_add(NULL, &r, &row, NULL, NULL), 0);
    }
    assert_int_equal(score_describe(&r, 4, &score, NULL), 0);
    assert_true(number(score, "agree") == 0.75);
    assert_string_equal(json_string_value(json_object_get(score, "metric")), "pearson");
    metrics = json_object_get(score, "metrics");
    assert_true(fabs(number(json_object_get(metrics, "spearman"), "private") - 1) < 1e-12);
    assert_true(fabs(number(score, "private") - 1) < 1e-12);
    json_decref(score);
    results_free(&r);
    json_decref(head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_found_again_wherever_it_was_cut),
        cmocka_unit_test(results_of_something_else_are_refused),
        cmocka_unit_test(damage_is_refused_and_stays),
        cmocka_unit_test(one_process_writes),
        cmocka_unit_test(the_score_is_of_its_rows),
        cmocka_unit_test(a_text_outside_is_wrong_and_agrees_with_nothing),
        cmocka_unit_test(a_score_agrees_within_a_tenth),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
