/* Labelled text: every task's columns, what a line may hold, what is left out, a model's labels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/task.h"
#include "transformer/tokenizer.h"

/* Columns of GLUE's files, rows of our own. */
#define RTE_NAMES  "index\tsentence1\tsentence2\tlabel\n"
#define MNLI_FRONT "\tc\tp\tgenre\t( x )\t( y )\t(X)\t(Y)\tIt rains.\tIt is wet.\t"

static const struct file {
    const char *task, *text;
    double labels[3];
    const char *first, *pair; /* of the first row */
} files[] = {
    {"CoLA", "gj04\t1\t\tHe came.\nx\t0\t*\tHim came.\nx\t1\t?\tCome!\n", {1, 0, 1}, "He came.", 0},
    {"SST-2",
     "sentence\tlabel\na fine film \t1\ndull\t0\ngood\tpos\n",
     {1, 0, 1},
     "a fine film ",
     0},
    {"SST-2", "a fine film\t1\ndull\t0\ngood\tpositive\n", {1, 0, 1}, "a fine film", 0},
    {"MRPC",
     "\xef\xbb\xbfQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t5\t6\t\"A\" fell.\tA "
     "\"fell.\r\n"
     "0\t7\t8\tB\tC\r\n1\t7\t8\tB\tB\r\n",
     {1, 0, 1},
     "\"A\" fell.",
     "A \"fell."},
    {"STS-B",
     "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
     "0\tg\tf\t2012\t1\tn\tn\tA man sings.\tA man is singing.\t5.000\n"
     "1\tg\tf\t2012\t1\tn\tn\tA\tB\t0\n1\tg\tf\t2012\t1\tn\tn\tA\tB\t2.25",
     {5, 0, 2.25},
     "A man sings.",
     "A man is singing."},
    {"sts-b",
     "0\tg\tf\t2012\t1\tn\tn\tA\tB\t1.5\n0\tg\tf\t2012\t1\tn\tn\tC\tD\t4\n"
     "0\tg\tf\t2012\t1\tn\tn\tC\tD\t3.8\n",
     {1.5, 4, 3.8},
     "A",
     "B"},
    {"QQP",
     "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tWhy?\tWhy \"?\t1\n"
     "2\t4\t5\tHow?\t\t0\n3\t4\t5\tWho?\tWhen?\t0\n",
     {1, 0, 0},
     "Why?",
     "Why \"?"},
    {"MNLI",
     "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
     "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
     "0" MNLI_FRONT "neutral\tentailment\n1" MNLI_FRONT "neutral\tneutral\n"
     "2" MNLI_FRONT "neutral\tcontradiction\n",
     {0, 1, 2},
     "It rains.",
     "It is wet."},
    {"mnli-mm",
     "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
     "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\t"
     "label5\tgold_label\n"
     "0" MNLI_FRONT "a\tb\tc\td\te\tcontradiction\n0" MNLI_FRONT "a\tb\tc\td\te\tneutral\n"
     "0" MNLI_FRONT "a\tb\tc\td\te\tentailment\n",
     {2, 1, 0},
     "It rains.",
     "It is wet."},
    {"MNLI",
     "0" MNLI_FRONT "a\tneutral\n0" MNLI_FRONT "a\tneutral\n0" MNLI_FRONT "a\tentailment\n",
     {1, 1, 0},
     "It rains.",
     "It is wet."},
    {"QNLI",
     "index\tquestion\tsentence\tlabel\n0\tWho?\tHe did.\tentailment\n"
     "1\tWho?\tWell.\tnot_entailment\n2\tWho?\tThem.\t1\n",
     {0, 1, 1},
     "Who?",
     "He did."},
    {"RTE",
     RTE_NAMES "0\tIt rains.\tIt is dry.\tnot_entailment\n1\tA\tB\tentailment\n"
               "2\tA\tB\tentailment\n",
     {1, 0, 0},
     "It rains.",
     "It is dry."},
    {"imdb",
     "sentence\tlabel\nDull.<br />\t0\nnot so\t1\nnor so\tneg\n",
     {0, 1, 0},
     "Dull.<br />",
     0},
};

struct noted {
    char text[1024];
};

static void note(void *context, size_t line, const char *what)
{
    struct noted *n = context;

    snprintf(n->text + strlen(n->text), sizeof(n->text) - strlen(n->text), "%zu %s\n", line, what);
}

static int read_bytes_as(const char *task, const void *bytes, size_t count, size_t rows_max,
                         struct noted *noted, struct task_data *ret, struct err *err)
{
    const struct task_listener listener = {note, noted};
    struct folder f;
    int rc;

    folder_make(&f);
    folder_write(&f, "config.json", bytes, count); /* a name that folder_remove() knows */
    rc = task_read(task_find(task), f.file, rows_max, noted ? &listener : NULL, ret, err);
    folder_remove(&f);
    return rc;
}

static int read_as(const char *task, const char *text, struct noted *noted, struct task_data *ret,
                   struct err *err)
{
    return read_bytes_as(task, text, strlen(text), 0, noted, ret, err);
}

static void every_task_has_its_columns(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        const struct file *f = &files[i];
        struct noted noted = {""};
        struct task_data d;
        struct err err = {""};
        int rc = read_as(f->task, f->text, &noted, &d, &err);

        if (rc)
            fail_msg("%s: %s", f->task, err.text);
        assert_string_equal(noted.text, "");
        assert_int_equal(d.count, 3);
        assert_int_equal(d.bad, 0);
        for (size_t j = 0; j < 3; j++)
            assert_true(d.rows[j].label == f->labels[j]);
        assert_string_equal(d.rows[0].text, f->first);
        assert_int_equal(!d.rows[0].pair, !f->pair);
        if (f->pair)
            assert_string_equal(d.rows[0].pair, f->pair);
        task_data_free(&d);
    }
}

static void a_limit_counts_good_rows(void **state)
{
    static const char text[] = "sentence\tlabel\na\t1\nbad\nb\t0\nc\t1\n";
    uint8_t digest[HASH_BYTES];
    struct task_data d;

    (void)state;
    assert_int_equal(read_bytes_as("SST-2", text, strlen(text), 2, NULL, &d, NULL), 0);
    assert_int_equal(d.count, 2);
    assert_int_equal(d.bad, 1);
    assert_int_equal(d.rows[1].line, 4);
    hash_bytes(text, strlen(text), digest);
    assert_memory_equal(d.digest, digest, HASH_BYTES);
    task_data_free(&d);
}

static void bad_lines_are_named_and_left_out(void **state)
{
    static const char text[] = RTE_NAMES "0\ta\tb\tentailment\n" /* 2 */
                                         "1\ta\tb\n"
                                         "2\ta\tb\tentailment\tmore\n"
                                         "3\ta\tb\tperhaps\n"
                                         "4\t \t\tentailment\n" /* 6 */
                                         "5\ta\t\xff\tentailment\n"
                                         "6\ta\0\tb\tentailment\n"
                                         "\n"
                                         "8\ta\tb\t2\n" /* 10 */
                                         "9\t\tb\tnot_entailment";
    struct noted noted = {""};
    struct task_data d;

    (void)state;
    assert_int_equal(read_bytes_as("RTE", text, sizeof(text) - 1, 0, &noted, &d, NULL), 0);
    assert_string_equal(noted.text, "3 has too few columns\n"
                                    "4 has too many columns\n"
                                    "5 has a label that the task does not have\n"
                                    "6 has no text\n"
                                    "7 is not UTF-8\n"
                                    "8 holds a NUL\n"
                                    "9 has too few columns\n"
                                    "10 has a label that the task does not have\n");
    assert_int_equal(d.bad, 8);
    assert_int_equal(d.count, 2);
    assert_int_equal(d.rows[0].line, 2);
    assert_int_equal(d.rows[1].line, 11);
    assert_true(d.rows[1].label == 1);
    task_data_free(&d);
}

static void a_score_is_a_number_of_its_range(void **state)
{
    static const char *const wrong[] = {"5.01", "-1", "", "nan", "inf", "3x", " 3", "1e400"};
    char text[1024] = "sentence1\tsentence2\tscore\na\tb\t5\n";
    struct task_data d;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "a\tb\t%s\n", wrong[i]);
    assert_int_equal(read_as("STS-B", text, NULL, &d, NULL), 0);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.bad, ARRAY_LENGTH(wrong));
    task_data_free(&d);
}

static void a_text_has_a_limit(void **state)
{
    static char text[TOKENIZER_TEXT_BYTES_MAX + 64];
    struct task_data d;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text + TOKENIZER_TEXT_BYTES_MAX, "\t1\nb\t1\n", 8);
    assert_int_equal(read_as("IMDb", text, NULL, &d, NULL), 0);
    assert_int_equal(d.count, 2);
    task_data_free(&d);
    memcpy(text + 4, "\t1\n", 3);
    memset(text + 7, 'a', sizeof(text) - 7);
    memcpy(text + 8 + TOKENIZER_TEXT_BYTES_MAX, "\t1\n", 4);
    assert_int_equal(read_as("IMDb", text, NULL, &d, NULL), 0);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.bad, 1);
    task_data_free(&d);
}

static void another_tasks_file_is_refused(void **state)
{
    static const struct {
        const char *task, *text, *why;
    } wrong[] = {
        {"SST-2", "", "no row"},
        {"SST-2", "sentence\tlabel\n", "no row"},
        {"SST-2", "sentence\tlabel\nno label\n", "no row"},
        {"SST-2", "index\tsentence\n0\ta\n", "line 1 names no column \"label\""},
        {"SST-2", "headline\tmood\na\t1\n",
         "SST-2's columns nor a row of them: sentence<tab>label"},
        {"CoLA", RTE_NAMES "0\ta\tb\tentailment\n", "CoLA's columns"},
        {"CoLA", "gj04\t7\t\tHe came.\n", "CoLA's columns"},
        {"MRPC", "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\ta\tb\n", "\"Quality\""},
        {"QQP", "0\ta\tb\t1\n", "QQP's columns"},
        {"STS-B", "sentence1\tsentence2\n", "\"score\""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct task_data d;
        struct err err = {""};

        assert_int_equal(read_as(wrong[i].task, wrong[i].text, NULL, &d, &err), -EINVAL);
        if (!strstr(err.text, wrong[i].why))
            fail_msg("\"%s\" does not say \"%s\"", err.text, wrong[i].why);
    }
}

static void a_task_is_known_by_its_name(void **state)
{
    char names[256];

    (void)state;
    assert_string_equal(task_find("sst2")->name, "SST-2");
    assert_string_equal(task_find("mnli_mm")->name, "MNLI-mm");
    assert_string_equal(task_find("STS-B")->name, "STS-B");
    assert_null(task_find("sst"));
    assert_null(task_find("sst-22"));
    assert_null(task_find(""));
    task_names(names, sizeof(names));
    assert_string_equal(names, "CoLA, SST-2, MRPC, STS-B, QQP, MNLI, MNLI-mm, QNLI, RTE, IMDb");
}

/* --- a model's labels --- */

struct mapped {
    int rc;
    size_t map[TASK_LABELS_MAX];
    bool by_name;
    struct err err;
};

static struct mapped map(const char *task, size_t count, const char *const labels[])
{
    char names[4][MODEL_LABEL_BYTES_MAX + 1];
    const struct model_config config = {.labels = count, .label_names = names};
    struct mapped m = {.rc = 0};

    for (size_t i = 0; i < count; i++)
        snprintf(names[i], sizeof(names[i]), "%s", labels[i]);
    m.rc = task_map_labels(task_find(task), &config, m.map, &m.by_name, &m.err);
    return m;
}

static void labels_go_by_name_or_number(void **state)
{
    static const char *const moods[] = {"POSITIVE", "NEGATIVE"};
    static const char *const inference[] = {"contradiction", "neutral", "entailment"};
    static const char *const numbered[] = {"LABEL_0", "LABEL_1", "LABEL_2"};
    static const char *const halves[] = {"entailment", "LABEL_1"};
    static const char *const twice[] = {"not entailment", "Not-Entailment"};
    struct mapped m = map("IMDb", 2, moods);

    (void)state;
    assert_int_equal(m.rc, 0);
    assert_true(m.by_name && m.map[0] == 1 && m.map[1] == 0);
    m = map("MNLI", 3, inference);
    assert_int_equal(m.rc, 0);
    assert_true(m.by_name && m.map[0] == 2 && m.map[1] == 1 && m.map[2] == 0);
    m = map("MNLI", 3, numbered);
    assert_int_equal(m.rc, 0);
    assert_true(!m.by_name && m.map[0] == 0 && m.map[1] == 1 && m.map[2] == 2);
    m = map("STS-B", 1, numbered);
    assert_int_equal(m.rc, 0);
    assert_true(!m.by_name && m.map[0] == 0);
    assert_int_equal(map("RTE", 2, halves).rc, -EINVAL);
    assert_int_equal(map("RTE", 2, twice).rc, -EINVAL);
    m = map("RTE", 3, inference);
    assert_int_equal(m.rc, -EINVAL);
    assert_string_equal(m.err.text, "the model has 3 labels, RTE 2");
    m = map("STS-B", 2, moods);
    assert_int_equal(m.rc, -EINVAL);
    assert_string_equal(m.err.text,
                        "the model has 2 labels; STS-B is a score, of a model with one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_has_its_columns),
        cmocka_unit_test(a_limit_counts_good_rows),
        cmocka_unit_test(bad_lines_are_named_and_left_out),
        cmocka_unit_test(a_score_is_a_number_of_its_range),
        cmocka_unit_test(a_text_has_a_limit),
        cmocka_unit_test(another_tasks_file_is_refused),
        cmocka_unit_test(a_task_is_known_by_its_name),
        cmocka_unit_test(labels_go_by_name_or_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
