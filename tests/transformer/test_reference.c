/* The float reference against an independent one: numpy in float64 (tests/data/reference.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/reference.h"

#include <math.h>

#define MODEL       SOURCE_ROOT "/models/sst2-tiny"
#define LOGIT_ERROR 1e-4 /* absolute: floats against float64 */
#define RANGE_ERROR 2e-5 /* relative to the larger of 1 and the value */
#define COLUMNS_MAX 9

/* Names of the observer's points in the vectors. */
static const char *const points[REFERENCE_POINTS] = {
    [REFERENCE_EMBEDDING_VARIANCE] = "embedding_variance",
    [REFERENCE_EMBEDDING_CENTRED] = "embedding_centred",
    [REFERENCE_QUERY] = "query",
    [REFERENCE_KEY] = "key",
    [REFERENCE_VALUE] = "value",
    [REFERENCE_SCORE] = "score",
    [REFERENCE_ROW_SUM] = "row_sum",
    [REFERENCE_CONTEXT] = "context",
    [REFERENCE_ATTENTION_VARIANCE] = "attention_variance",
    [REFERENCE_ATTENTION_CENTRED] = "attention_centred",
    [REFERENCE_FFN_INPUT] = "ffn_input",
    [REFERENCE_FFN_OUTPUT] = "ffn_output",
    [REFERENCE_OUTPUT_VARIANCE] = "output_variance",
    [REFERENCE_OUTPUT_CENTRED] = "output_centred",
    [REFERENCE_POOLER] = "pooler",
    [REFERENCE_LOGITS] = "logits",
};

static struct checkpoint *load(const char *folder)
{
    struct checkpoint *c = NULL;
    struct err err = {0};
    int rc = checkpoint_load(folder, &c, &err);

    if (rc)
        print_error("%s\n", err_text(&err, rc));
    assert_int_equal(rc, 0);
    return c;
}

/* "a", or "a,b" as a list. */
static void write_names(const char *names, char ret[64])
{
    const char *comma = strchr(names, ',');

    if (comma)
        snprintf(ret, 64, "[\"%.*s\",\"%s\"]", (int)(comma - names), names, comma + 1);
    else
        snprintf(ret, 64, "\"%s\"", names);
}

/* The tiny model's one set of weights, with these functions. */
static struct checkpoint *load_tiny(struct folder *f, const char *hidden_act,
                                    const char *softmax_act)
{
    char config[512], hidden[64], softmax[64];
    uint8_t *weights = NULL;
    size_t count;
    int n;

    write_names(hidden_act, hidden);
    write_names(softmax_act, softmax);

    n = snprintf(config, sizeof(config),
                 "{\"architectures\":[\"BertForSequenceClassification\"],\"model_type\":\"bert\","
                 "\"hidden_size\":21,\"num_hidden_layers\":2,\"num_attention_heads\":3,"
                 "\"intermediate_size\":37,\"vocab_size\":19,\"max_position_embeddings\":11,"
                 "\"hidden_act\":%s,\"softmax_act\":%s,\"num_labels\":3}",
                 hidden, softmax);
    folder_write(f, "config.json", config, (size_t)n);
    assert_int_equal(file_read(TEST_DATA "tiny.safetensors", 1 << 20, &weights, &count, NULL), 0);
    folder_write(f, "model.safetensors", weights, count);
    free(weights);
    return load(f->path);
}

/* Whole numbers, or logits, apart by spaces. */
static size_t numbers(char *text, double ret[], size_t max)
{
    size_t count = 0;
    char *at;

    for (char *word = strtok_r(text, " ", &at); word; word = strtok_r(NULL, " ", &at)) {
        assert_true(count < max);
        ret[count++] = strtod(word, NULL);
    }
    return count;
}

static void parse_encoding(char *ids, char *types, struct encoding *ret)
{
    double v[ENCODING_TOKENS_MAX];

    memset(ret, 0, sizeof(*ret));
    ret->count = numbers(ids, v, ARRAY_LENGTH(v));
    for (size_t i = 0; i < ret->count; i++)
        ret->ids[i] = (uint32_t)v[i];
    assert_int_equal(numbers(types, v, ARRAY_LENGTH(v)), ret->count);
    for (size_t i = 0; i < ret->count; i++)
        ret->types[i] = (uint8_t)v[i];
}

static void check_logits(const struct checkpoint *c, const struct encoding *e, char *want,
                         const char *name)
{
    double logits[8], expected[8];

    assert_int_equal(numbers(want, expected, 8), c->config.labels);
    assert_int_equal(reference_classify(c, e, logits, NULL, NULL), 0);
    for (size_t i = 0; i < c->config.labels; i++)
        if (!(fabs(logits[i] - expected[i]) < LOGIT_ERROR))
            fail_msg("%s: logit %zu is %.9g, expected %.9g", name, i, logits[i], expected[i]);
}

/* @handle on each row of the vectors whose first column is @kind. Returns how many. */
static size_t each_row(const char *kind, void (*handle)(void *ctx, char *column[]), void *ctx)
{
    uint8_t *bytes = NULL;
    size_t count, rows = 0;
    char *rest, *line;

    assert_int_equal(file_read(TEST_DATA "reference.tsv", 1 << 20, &bytes, &count, NULL), 0);
    rest = (char *)bytes;
    while ((line = strsep(&rest, "\n"))) {
        char *column[COLUMNS_MAX] = {NULL};

        for (size_t i = 0; i < COLUMNS_MAX && line; i++)
            column[i] = strsep(&line, "\t");
        if (strcmp(column[0], kind))
            continue;
        handle(ctx, column);
        rows++;
    }
    free(bytes);
    return rows;
}

static void tiny_row(void *ctx, char *column[])
{
    struct checkpoint *c = load_tiny(ctx, column[1], column[2]);
    struct encoding e;
    char name[64];

    snprintf(name, sizeof(name), "%s, %s", column[1], column[2]);
    parse_encoding(column[3], column[4], &e);
    check_logits(c, &e, column[5], name);
    checkpoint_free(c);
}

static void every_function_equals_the_oracle(void **state)
{
    assert_int_equal(each_row("tiny", tiny_row, *state), HIDDEN_ACTS * SOFTMAX_ACTS * 3);
    assert_int_equal(each_row("layers", tiny_row, *state), 3);
}

struct shipped {
    struct checkpoint *model;
    struct tokenizer *tokenizer;
};

static void shipped_row(void *ctx, char *column[])
{
    struct shipped *s = ctx;
    struct encoding e;

    assert_int_equal(tokenizer_encode(s->tokenizer, column[1], NULL, 512, &e, NULL), 0);
    check_logits(s->model, &e, column[2], column[1]);
}

static void the_shipped_model_equals_the_oracle(void **state)
{
    struct shipped s = {.model = load(MODEL)};

    (void)state;
    assert_string_equal(s.model->config.label_names[0], "negative");
    assert_string_equal(s.model->config.label_names[1], "positive");
    assert_int_equal(tokenizer_load(MODEL, &s.model->config, &s.tokenizer, NULL), 0);
    assert_int_equal(tokenizer_size(s.tokenizer), s.model->config.vocab);
    assert_int_equal(each_row("shipped", shipped_row, &s), 8);
    tokenizer_free(s.tokenizer);
    checkpoint_free(s.model);
}

struct seen {
    struct folder *folder;
    bool called[REFERENCE_POINTS][2];
    double least[REFERENCE_POINTS][2], most[REFERENCE_POINTS][2];
};

static void remember(void *ctx, enum reference_point point, size_t layer, double least, double most)
{
    struct seen *s = ctx;

    assert_true(least <= most);
    if (!s->called[point][layer] || least < s->least[point][layer])
        s->least[point][layer] = least;
    if (!s->called[point][layer] || most > s->most[point][layer])
        s->most[point][layer] = most;
    s->called[point][layer] = true;
}

static bool near(double got, double want)
{
    return fabs(got - want) <= RANGE_ERROR * fmax(1, fabs(want));
}

static void range_row(void *ctx, char *column[])
{
    struct seen s = {0};
    struct reference_observer obs = {.see = remember, .ctx = &s};
    struct checkpoint *c = load_tiny(ctx, column[1], column[2]);
    size_t point = 0, layer = strtoul(column[6], NULL, 10);
    struct encoding e;
    double logits[3];

    parse_encoding(column[3], column[4], &e);
    while (strcmp(points[point], column[5]))
        assert_true(++point < REFERENCE_POINTS);
    assert_int_equal(reference_classify(c, &e, logits, &obs, NULL), 0);
    assert_true(s.called[point][layer]);
    assert_int_equal(s.called[REFERENCE_ROW_SUM][0], c->config.functions[0].softmax != SOFTMAX_EXP);
    if (!near(s.least[point][layer], strtod(column[7], NULL)) ||
        !near(s.most[point][layer], strtod(column[8], NULL)))
        fail_msg("%s %s, layer %zu: %s to %s expected, got %.9g to %.9g", column[2], column[5],
                 layer, column[7], column[8], s.least[point][layer], s.most[point][layer]);
    checkpoint_free(c);
}

static void the_observer_sees_the_oracle_s_ranges(void **state)
{
    assert_int_equal(each_row("range", range_row, *state), 28 + 28 + 26);
}

static void refuses_what_the_model_cannot_read(void **state)
{
    struct checkpoint *c = load_tiny(*state, "quad", "2quad");
    struct encoding e = {.count = 1};
    double logits[3] = {7, 7, 7};
    struct err err = {0};

    e.count = 0;
    assert_int_equal(reference_classify(c, &e, logits, NULL, NULL), -EINVAL);
    e.count = 12; /* positions_max is 11 */
    assert_int_equal(reference_classify(c, &e, logits, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "12 tokens; the model takes 1 to 11"));
    e.count = SIZE_MAX;
    assert_int_equal(reference_classify(c, &e, logits, NULL, NULL), -EINVAL);
    e.count = 2;
    e.ids[1] = 19;
    assert_int_equal(reference_classify(c, &e, logits, NULL, NULL), -EINVAL);
    e.ids[1] = 18;
    e.types[1] = 2;
    assert_int_equal(reference_classify(c, &e, logits, NULL, NULL), -EINVAL);
    assert_true(logits[0] == 7 && logits[1] == 7 && logits[2] == 7);
    checkpoint_free(c);
}

/* Finite weights may still overflow: an error, and no logits. */
static void says_when_the_model_overflows(void **state)
{
    struct checkpoint *c = load_tiny(*state, "quad", "2quad");
    struct encoding e = {.count = 2};
    double logits[3] = {7, 7, 7};

    for (size_t i = 0; i < c->bytes / sizeof(float); i++)
        c->values[i] *= 1e37f;
    assert_int_equal(reference_classify(c, &e, logits, NULL, NULL), -ERANGE);
    assert_true(logits[0] == 7);
    checkpoint_free(c);
}

static int setup(void **state)
{
    static struct folder f;

    folder_make(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    folder_remove(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_equals_the_oracle),
        cmocka_unit_test(the_shipped_model_equals_the_oracle),
        cmocka_unit_test(the_observer_sees_the_oracle_s_ranges),
        cmocka_unit_test(refuses_what_the_model_cannot_read),
        cmocka_unit_test(says_when_the_model_overflows),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
