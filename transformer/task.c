#include "transformer/task.h"

#include "base/file.h"
#include "base/secret.h"
#include "transformer/tokenizer.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define COLUMNS_MAX 16 /* MNLI's development files */

#define MNLI_LAYOUT                                                                                \
    "index, promptID, pairID, genre, four parses, sentence1, sentence2, label1 ..., gold_label"

#define NATURAL_INFERENCE                                                                          \
    .text = "sentence1", .pair = "sentence2", .label = "gold_label", .layout = MNLI_LAYOUT,        \
    .unnamed = {8, 9, 0, 12, 16}, .label_count = 3,                                                \
    .labels = {"entailment", "neutral", "contradiction"}, .metrics = {METRIC_ACCURACY},            \
    .metric_count = 1

static const struct task tasks[] = {
    {.name = "CoLA",
     .text = "sentence",
     .label = "label",
     .layout = "source, label, the author's mark, sentence",
     .unnamed = {3, 0, 2, 4, 4},
     .label_count = 2,
     .labels = {"unacceptable", "acceptable"},
     .metrics = {METRIC_MATTHEWS, METRIC_ACCURACY},
     .metric_count = 2},
    {.name = "SST-2",
     .text = "sentence",
     .label = "label",
     .layout = "sentence<tab>label",
     .unnamed = {0, 0, 0, 2, 2},
     .label_count = 2,
     .labels = {"negative", "positive"},
     .aliases = {"neg", "pos"},
     .metrics = {METRIC_ACCURACY},
     .metric_count = 1},
    {.name = "MRPC",
     .text = "#1 String",
     .pair = "#2 String",
     .label = "Quality",
     .layout = "Quality, #1 ID, #2 ID, #1 String, #2 String",
     .unnamed = {3, 4, 4, 5, 5},
     .label_count = 2,
     .labels = {"not_equivalent", "equivalent"},
     .metrics = {METRIC_F1, METRIC_ACCURACY},
     .metric_count = 2},
    {.name = "STS-B",
     .text = "sentence1",
     .pair = "sentence2",
     .label = "score",
     .layout = "index, genre, filename, year, old_index, two sources, sentence1, sentence2, score",
     .unnamed = {7, 8, 0, 10, 10},
     .score_max = 5,
     .metrics = {METRIC_PEARSON, METRIC_SPEARMAN},
     .metric_count = 2},
    {.name = "QQP",
     .text = "question1",
     .pair = "question2",
     .label = "is_duplicate",
     .layout = "id, qid1, qid2, question1, question2, is_duplicate",
     .unnamed = {3, 4, 0, 6, 6},
     .label_count = 2,
     .labels = {"not_duplicate", "duplicate"},
     .metrics = {METRIC_F1, METRIC_ACCURACY},
     .metric_count = 2},
    {.name = "MNLI", NATURAL_INFERENCE},
    {.name = "MNLI-mm", NATURAL_INFERENCE},
    {.name = "QNLI",
     .text = "question",
     .pair = "sentence",
     .label = "label",
     .layout = "index, question, sentence, label",
     .unnamed = {1, 2, 0, 4, 4},
     .label_count = 2,
     .labels = {"entailment", "not_entailment"},
     .metrics = {METRIC_ACCURACY},
     .metric_count = 1},
    {.name = "RTE",
     .text = "sentence1",
     .pair = "sentence2",
     .label = "label",
     .layout = "index, sentence1, sentence2, label",
     .unnamed = {1, 2, 0, 4, 4},
     .label_count = 2,
     .labels = {"entailment", "not_entailment"},
     .metrics = {METRIC_ACCURACY},
     .metric_count = 1},
    {.name = "IMDb",
     .text = "sentence",
     .label = "label",
     .layout = "sentence<tab>label",
     .unnamed = {0, 0, 0, 2, 2},
     .label_count = 2,
     .labels = {"negative", "positive"},
     .aliases = {"neg", "pos"},
     .metrics = {METRIC_ACCURACY},
     .metric_count = 1},
};

/* --- names --- */

/* The next character of a name that counts, and where the one after it may be. */
static int next_of(const char **at)
{
    *at += strspn(*at, " _-");
    return **at ? tolower((unsigned char)*(*at)++) : 0;
}

static bool same_name(const char *a, const char *b)
{
    int c, d;

    do {
        c = next_of(&a);
        d = next_of(&b);
    } while (c == d && c);
    return c == d;
}

static bool is_label(const struct task *t, size_t label, const char *name)
{
    return same_name(t->labels[label], name) ||
           (t->aliases[label] && same_name(t->aliases[label], name));
}

const struct task *task_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(tasks); i++)
        if (same_name(tasks[i].name, name))
            return &tasks[i];
    return NULL;
}

void task_names(char *ret, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_LENGTH(tasks); i++)
        used += (size_t)snprintf(ret + MIN(used, size - 1), size - MIN(used, size - 1), "%s%s",
                                 i ? ", " : "", tasks[i].name);
}

/* --- a line --- */

/* Where a file has its columns. */
struct columns {
    size_t text, pair, label, count;
};

/* Cuts a line at its tabs. How many columns it has; beyond COLUMNS_MAX they are only counted. */
static size_t split(char *line, char *ret_cells[COLUMNS_MAX])
{
    size_t count = 0;

    for (char *cell; (cell = strsep(&line, "\t")); count++)
        if (count < COLUMNS_MAX)
            ret_cells[count] = cell;
    return count;
}

static bool is_utf8(const char *text, size_t count)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;

    while (count) {
        utf8proc_int32_t point;
        utf8proc_ssize_t bytes = utf8proc_iterate(at, (utf8proc_ssize_t)count, &point);

        if (bytes <= 0)
            return false;
        at += bytes;
        count -= (size_t)bytes;
    }
    return true;
}

static bool read_score(const struct task *t, const char *cell, double *ret)
{
    char *end;

    *ret = strtod(cell, &end);
    return isdigit((unsigned char)*cell) && !*end && *ret <= t->score_max;
}

static bool read_label(const struct task *t, const char *cell, double *ret)
{
    if (!t->label_count)
        return read_score(t, cell, ret);
    for (size_t i = 0; i < t->label_count; i++) {
        const char number[2] = {(char)('0' + i), 0};

        if (strcmp(cell, number) == 0 || is_label(t, i, cell)) {
            *ret = (double)i;
            return true;
        }
    }
    return false;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " ")] == 0;
}

/* What is wrong with a row of @count bytes, which is cut into its cells; NULL when nothing is. */
static const char *read_row(const struct task *t, const struct columns *at, char *line,
                            size_t count, struct task_row *ret)
{
    char *cells[COLUMNS_MAX];
    struct task_row row = {.pair = NULL};
    size_t found;

    if (memchr(line, 0, count))
        return "holds a NUL";
    if (!is_utf8(line, count))
        return "is not UTF-8";
    found = split(line, cells);
    if (found != at->count)
        return found < at->count ? "has too few columns" : "has too many columns";
    row.text = cells[at->text];
    row.pair = t->pair ? cells[at->pair] : NULL;
    if (is_blank(row.text) && (!row.pair || is_blank(row.pair)))
        return "has no text";
    if (strlen(row.text) > TOKENIZER_TEXT_BYTES_MAX ||
        (row.pair && strlen(row.pair) > TOKENIZER_TEXT_BYTES_MAX))
        return "has a text that is too long";
    if (!read_label(t, cells[at->label], &row.label))
        return t->label_count ? "has a label that the task does not have"
                              : "has no score of the task's range";
    *ret = row;
    return NULL;
}

/* --- the first line --- */

static size_t find_column(char *const cells[], size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(cells[i], name) == 0)
            return i;
    return SIZE_MAX;
}

/* 1: these are the columns' names; 0: they are not. */
static int read_names(const struct task *t, char *const cells[], size_t count, struct columns *ret,
                      struct err *err)
{
    struct columns c = {.text = find_column(cells, MIN(count, COLUMNS_MAX), t->text),
                        .label = find_column(cells, MIN(count, COLUMNS_MAX), t->label),
                        .count = count};

    if (t->pair)
        c.pair = find_column(cells, MIN(count, COLUMNS_MAX), t->pair);
    if (c.text == SIZE_MAX || c.pair == SIZE_MAX)
        return 0;
    if (c.label == SIZE_MAX)
        return err_set(
            err, -EINVAL,
            "line 1 names no column \"%s\": GLUE's test files have no labels, its dev files do",
            t->label);
    *ret = c;
    return 1;
}

/*
 * The columns of a file that begins with @line, which is left as it was; *ret_named: they are the
 * line's own words.
 */
static int read_head(const struct task *t, const char *line, size_t count, struct columns *ret,
                     bool *ret_named, struct err *err)
{
    char *copy = strndup(line, count), *again = strndup(line, count), *cells[COLUMNS_MAX];
    struct columns c;
    struct task_row row;
    size_t found;
    int rc;

    if (!copy || !again) {
        rc = err_set(err, -ENOMEM, "no memory for a line");
        goto out;
    }
    found = split(copy, cells);
    rc = read_names(t, cells, found, ret, err);
    *ret_named = rc == 1;
    if (rc)
        goto out;
    c = (struct columns){t->unnamed.text, t->unnamed.pair, found - 1 - t->unnamed.label, found};
    if ((found == t->unnamed.columns || found == t->unnamed.columns_or) &&
        !read_row(t, &c, again, strlen(again), &row))
        *ret = c;
    else
        rc = err_set(err, -EINVAL,
                     "line 1 has neither the names of %s's columns nor a row of them: %s", t->name,
                     t->layout);
out:
    if (copy)
        secret_wipe(copy, strlen(copy));
    if (again)
        secret_wipe(again, strlen(again));
    free(copy);
    free(again);
    return MIN(rc, 0);
}

/* --- a file --- */

static int add_row(struct task_data *d, const struct task_row *row, struct err *err)
{
    struct task_row *more = d->rows;

    if ((d->count & (d->count - 1)) == 0)
        more = reallocarray(d->rows, d->count ? 2 * d->count : 1, sizeof(*more));
    if (!more)
        return err_set(err, -ENOMEM, "no memory for its rows");
    d->rows = more;
    d->rows[d->count++] = *row;
    return 0;
}

/* The end of the line at @line, and its bytes without what ends it. */
static char *end_of(char *line, char *end, size_t *ret_count)
{
    char *newline = memchr(line, '\n', (size_t)(end - line)), *last = newline ? newline : end;

    *ret_count = (size_t)(last - line);
    while (*ret_count && line[*ret_count - 1] == '\r')
        --*ret_count;
    line[*ret_count] = 0;
    return newline ? newline + 1 : end;
}

static int read_rows(const struct task *t, size_t rows_max, const struct task_listener *listener,
                     struct task_data *d, struct err *err)
{
    char *at = d->bytes, *end = d->bytes + d->byte_count, *next;
    struct columns columns;
    int rc = 0;

    if (d->byte_count >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
        at += 3;
    for (size_t line = 1; rc == 0 && at < end && (!rows_max || d->count < rows_max);
         at = next, line++) {
        struct task_row row;
        const char *wrong;
        size_t count;
        bool named = false;

        next = end_of(at, end, &count);
        if (line == 1)
            rc = read_head(t, at, count, &columns, &named, err);
        if (rc < 0 || named)
            continue;
        wrong = read_row(t, &columns, at, count, &row);
        row.line = line;
        if (!wrong)
            rc = add_row(d, &row, err);
        else if (d->bad++, listener)
            listener->bad(listener->context, line, wrong);
    }
    if (rc == 0 && !d->count)
        rc = err_set(err, -EINVAL, "it has no row that can be read");
    return rc;
}

int task_read(const struct task *t, const char *path, size_t rows_max,
              const struct task_listener *listener, struct task_data *ret, struct err *err)
{
    struct task_data d = {.rows = NULL};
    struct err why = {""};
    uint8_t *bytes;
    int rc = file_read(path, TASK_FILE_BYTES_MAX, &bytes, &d.byte_count, err);

    if (rc < 0)
        return rc;
    d.bytes = (char *)bytes;
    hash_bytes(d.bytes, d.byte_count, d.digest);
    rc = read_rows(t, rows_max, listener, &d, &why);
    if (rc < 0) {
        task_data_free(&d);
        return err_set(err, rc, "%s: %s", path, err_text(&why, rc));
    }
    *ret = d;
    return 0;
}

void task_data_free(struct task_data *d)
{
    if (d->bytes)
        secret_wipe(d->bytes, d->byte_count);
    free(d->bytes);
    free(d->rows);
    *d = (struct task_data){.rows = NULL};
}

/* --- a model's labels --- */

int task_map_labels(const struct task *t, const struct model_config *config,
                    size_t ret_map[TASK_LABELS_MAX], bool *ret_by_name, struct err *err)
{
    size_t map[TASK_LABELS_MAX] = {0}, named = 0;

    if (!t->label_count && config->labels != 1)
        return err_set(err, -EINVAL, "the model has %zu labels; %s is a score, of a model with one",
                       config->labels, t->name);
    if (t->label_count && config->labels != t->label_count)
        return err_set(err, -EINVAL, "the model has %zu labels, %s %zu", config->labels, t->name,
                       t->label_count);
    for (size_t i = 0; i < t->label_count; i++) {
        size_t found = 0;

        while (found < config->labels && !is_label(t, i, config->label_names[found]))
            found++;
        named += found < config->labels;
        map[i] = found;
    }
    if (named && named < t->label_count)
        return err_set(err, -EINVAL,
                       "some of the model's labels are %s's and some are not: say in its "
                       "config.json, id2label, which is which",
                       t->name);
    for (size_t i = 0; i < t->label_count; i++)
        ret_map[i] = named ? map[i] : i;
    if (!t->label_count)
        ret_map[0] = 0;
    *ret_by_name = named > 0;
    return 0;
}
