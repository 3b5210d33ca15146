/*
 * Models of every kind, from their folders to logits, against HF's own (tests/data/kinds.py wrote
 * folders and vectors): RoBERTa, DistilBERT, and a BERT that is a regression, in two shards. Then
 * compiled, in fixed point and in the clear.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/reference.h"
#include "transformer/trial.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define ROWS        6    /* of each folder */
#define LOGIT_ERROR 1e-4 /* absolute: floats against float64 */
#define FIXED_ERROR 2e-2 /* 16 fraction bits against floats */
#define COLUMNS     5

struct model {
    struct checkpoint *checkpoint;
    struct tokenizer *tokenizer;
    struct encoding encodings[ROWS];
    size_t rows;
};

static void model_load(const char *name, struct model *ret)
{
    char path[PATH_MAX];
    struct err err = {""};

    memset(ret, 0, sizeof(*ret));
    assert_int_equal(file_path(path, sizeof(path), TEST_DATA, name), 0);
    if (checkpoint_load(path, &ret->checkpoint, &err) < 0 ||
        tokenizer_load(path, &ret->checkpoint->config, &ret->tokenizer, &err) < 0)
        fail_msg("%s", err.text);
}

static void model_free(struct model *m)
{
    checkpoint_free(m->checkpoint);
    tokenizer_free(m->tokenizer);
}

static void check_logits(const struct model *m, const struct encoding *e, char *want,
                         const char *text)
{
    size_t labels = m->checkpoint->config.labels, count = 0;
    double logits[8];
    char *at;

    assert_true(labels <= ARRAY_LENGTH(logits));
    assert_int_equal(reference_classify(m->checkpoint, e, logits, NULL, NULL), 0);
    for (char *v = strtok_r(want, " \n", &at); v; v = strtok_r(NULL, " \n", &at), count++)
        if (count < labels && !(fabs(logits[count] - strtod(v, NULL)) < LOGIT_ERROR))
            fail_msg("%s: logit %zu is %.9g, expected %s", text, count, logits[count], v);
    assert_int_equal(count, labels);
}

static void check_row(struct model *m, char *column[COLUMNS])
{
    json_t *text = json_loads(column[1], JSON_DECODE_ANY, NULL);
    json_t *pair = json_loads(column[2], JSON_DECODE_ANY, NULL);
    struct encoding *e = &m->encodings[m->rows++];
    size_t count = 0;
    char *at;

    assert_true(m->rows <= ROWS);
    assert_int_equal(tokenizer_encode(m->tokenizer, json_string_value(text),
                                      json_string_value(pair), m->checkpoint->config.positions_max,
                                      e, NULL),
                     0);
    for (char *id = strtok_r(column[3], " ", &at); id; id = strtok_r(NULL, " ", &at), count++)
        if (count < e->count && strtoul(id, NULL, 10) != e->ids[count])
            fail_msg("%s: token %zu is %u, expected %s", column[1], count, e->ids[count], id);
    assert_int_equal(count, e->count);
    check_logits(m, e, column[4], column[1]);
    json_decref(text);
    json_decref(pair);
}

/* All rows of @name; its encodings stay with @ret. */
static void check_folder(const char *name, struct model *ret)
{
    uint8_t *bytes = NULL;
    size_t count;
    char *rest, *line;

    model_load(name, ret);
    assert_int_equal(file_read(TEST_DATA "kinds.tsv", 1 << 20, &bytes, &count, NULL), 0);
    rest = (char *)bytes;
    while ((line = strsep(&rest, "\n"))) {
        char *column[COLUMNS];

        for (size_t i = 0; i < COLUMNS; i++)
            column[i] = strsep(&line, "\t");
        if (column[COLUMNS - 1] && !strcmp(column[0], name))
            check_row(ret, column);
    }
    assert_int_equal(ret->rows, ROWS);
    free(bytes);
}

static void check_compiled(const struct model *m)
{
    const uint32_t tokens = (uint32_t)m->checkpoint->config.positions_max;
    const struct compile_options options = {
        .ring = 64,
        .frac = 16,
        .tokens = &tokens,
        .token_count = 1,
        .samples = m->encodings,
        .sample_count = m->rows,
    };
    const struct trial_options trial = {
        .checkpoint = m->checkpoint,
        .samples = m->encodings,
        .sample_count = m->rows,
        .random_runs = 1,
    };
    struct compiled *compiled = NULL;
    struct err err = {""};
    struct trial result;

    if (compile_model(m->checkpoint, &options, &compiled, &err) < 0 ||
        trial_run(compiled, &trial, &result, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(compiled->plan->types, m->checkpoint->config.types);
    assert_int_equal(result.agree, m->rows);
    if (!(result.float_error_max < FIXED_ERROR))
        fail_msg("logits are %.3g off", result.float_error_max);
    compiled_free(compiled);
}

static void roberta_equals_the_oracle(void **state)
{
    struct model m;

    (void)state;
    check_folder("roberta", &m);
    assert_int_equal(m.checkpoint->config.kind, MODEL_ROBERTA);
    assert_int_equal(m.checkpoint->config.positions_max, 32); /* of 34 rows */
    assert_false(m.checkpoint->config.regression);
    check_compiled(&m);
    model_free(&m);
}

static void distilbert_equals_the_oracle(void **state)
{
    struct model m;

    (void)state;
    check_folder("distilbert", &m);
    assert_int_equal(m.checkpoint->config.kind, MODEL_DISTILBERT);
    assert_int_equal(m.checkpoint->config.types, 0);
    check_compiled(&m);
    model_free(&m);
}

static void a_regression_equals_the_oracle(void **state)
{
    struct model m;

    (void)state;
    check_folder("regression", &m);
    assert_true(m.checkpoint->config.regression);
    check_compiled(&m);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roberta_equals_the_oracle),
        cmocka_unit_test(distilbert_equals_the_oracle),
        cmocka_unit_test(a_regression_equals_the_oracle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
