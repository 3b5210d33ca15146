/*
 * Bounds: no text, and no row as long as a normalised one can be, reaches past them; and they are
 * not much larger than what some row reaches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/random_fixed.h"
#include "transformer/bounds.h"
#include "transformer/functions.h"
#include "transformer/ranges.h"

#include <math.h>

#define FRAC   12
#define TEXTS  20
#define TOKENS 12

static double gauss(void)
{
    double u = ((double)random_in(1, 1 << 30)) / (1 << 30), v = (double)random_in(0, 1 << 30);

    return sqrt(-2 * log(u)) * cos(2 * M_PI * v / (1 << 30));
}

/* |m x| / |x| where it grows the most, by iteration: from below. */
static double singular(const float *m, size_t rows, size_t cols)
{
    double *x = calloc(cols, sizeof(*x)), *y = calloc(rows, sizeof(*y)), norm = 0;

    assert_true(x && y);
    for (size_t i = 0; i < cols; i++)
        x[i] = gauss();
    for (int round = 0; round < 200; round++) {
        double squares = 0;

        for (size_t r = 0; r < rows; r++) {
            y[r] = 0;
            for (size_t i = 0; i < cols; i++)
                y[r] += m[r * cols + i] * x[i];
        }
        for (size_t i = 0; i < cols; i++) {
            x[i] = 0;
            for (size_t r = 0; r < rows; r++)
                x[i] += m[r * cols + i] * y[r];
            squares += x[i] * x[i];
        }
        norm = sqrt(squares);
        for (size_t i = 0; i < cols; i++)
            x[i] /= norm;
    }
    free(x);
    free(y);
    return sqrt(norm);
}

static void singular_values_are_bounded(void **state)
{
    static const size_t shapes[][2] = {{1, 1}, {1, 9}, {7, 1}, {64, 200}, {200, 64}, {150, 150}};

    (void)state;
    for (size_t s = 0; s < ARRAY_LENGTH(shapes); s++)
        for (int lively = 0; lively < 3; lively++) {
            size_t rows = shapes[s][0], cols = shapes[s][1];
            float *m = calloc(rows * cols, sizeof(*m));
            double least, bound;

            assert_non_null(m);
            for (size_t i = 0; i < rows * cols; i++)
                m[i] = (float)(gauss() * (lively == 1 ? 1e-4 : 30));
            /* One direction that outdoes all others. */
            for (size_t i = 0; lively == 2 && i < cols; i++)
                for (size_t r = 0; r < rows; r++)
                    m[r * cols + i] += 200;
            least = singular(m, rows, cols);
            bound = bounds_singular(m, rows, cols);
            if (bound < least * (1 - 1e-4) || bound > least * 2.5)
                fail_msg("(%zu, %zu): bounded by %g, and is %g", rows, cols, bound, least);
            free(m);
        }
    assert_true(bounds_singular((const float[4]){0}, 2, 2) == 0);
}

static const struct model_config shape = {.hidden = 24,
                                          .layers = 2,
                                          .heads = 3,
                                          .intermediate = 40,
                                          .vocab = 50,
                                          .positions_max = TOKENS,
                                          .types = 2,
                                          .labels = 3};

/* Weights that matter, and gains and biases that are not those of a model that was never trained.
 */
static struct checkpoint *make(enum hidden_act hidden, enum softmax_act softmax)
{
    struct model_config k = shape;
    struct checkpoint *c = NULL;

    for (size_t i = 0; i < k.layers; i++)
        k.functions[i] = (struct layer_functions){hidden, softmax};
    assert_int_equal(checkpoint_random(&k, random_word(), &c, NULL), 0);
    for (size_t i = 0; i < c->bytes / sizeof(*c->values); i++)
        c->values[i] = c->values[i] * 10 + (float)(0.1 * gauss());
    return c;
}

static void below(const struct ranges *r, enum reference_point point, size_t layer, double bound,
                  const char *what)
{
    if (ranges_top(r, point, layer) > bound)
        fail_msg("layer %zu, %s: %g, and bounded by %g", layer, what, ranges_top(r, point, layer),
                 bound);
}

static void check(const struct checkpoint *c, const struct encoding *texts)
{
    struct bounds b;
    struct ranges r;

    assert_int_equal(bounds_prove(c, FRAC, &b, NULL), 0);
    assert_int_equal(ranges_measure(c, texts, TEXTS, &r, NULL), 0);
    below(&r, REFERENCE_EMBEDDING_CENTRED, 0, b.embedding, "embedding");
    below(&r, REFERENCE_EMBEDDING_VARIANCE, 0,
          b.embedding_length * b.embedding_length / (double)c->config.hidden, "embedding");
    below(&r, REFERENCE_POOLER, 0, b.pooler, "pooler");
    below(&r, REFERENCE_LOGITS, 0, b.logits, "logits");
    for (size_t i = 0; i < c->config.layers; i++) {
        const struct layer_bounds *l = &b.layers[i];
        const struct sublayer_bounds *sub[2] = {&l->attention, &l->output};
        static const enum reference_point points[2] = {REFERENCE_ATTENTION_CENTRED,
                                                       REFERENCE_OUTPUT_CENTRED};

        below(&r, REFERENCE_QUERY, i, l->query, "query");
        below(&r, REFERENCE_KEY, i, l->key, "key");
        below(&r, REFERENCE_VALUE, i, l->value, "value");
        below(&r, REFERENCE_SCORE, i, l->score, "score");
        below(&r, REFERENCE_CONTEXT, i, l->value, "context");
        below(&r, REFERENCE_FFN_INPUT, i,
              l->inner + activation_before(c->config.functions[i].hidden), "feed-forward input");
        for (int s = 0; s < 2; s++) {
            double length = sub[s]->length * sub[s]->input + sub[s]->length_rest;

            below(&r, points[s], i, sub[s]->element * sub[s]->input + sub[s]->element_rest,
                  "sublayer");
            below(&r, points[s] - 1, i, length * length / (double)c->config.hidden,
                  "variance of a sublayer");
        }
    }
    ranges_free(&r);
    bounds_free(&b);
}

static void no_text_reaches_past_them(void **state)
{
    (void)state;
    for (int hidden = 0; hidden < HIDDEN_ACTS; hidden++)
        for (int softmax = 0; softmax < SOFTMAX_ACTS; softmax++) {
            struct checkpoint *c = make((enum hidden_act)hidden, (enum softmax_act)softmax);
            struct encoding *texts = calloc(TEXTS, sizeof(*texts));

            assert_non_null(texts);
            for (size_t i = 0; i < TEXTS; i++) {
                texts[i].count = (size_t)random_in(2, TOKENS);
                for (size_t t = 0; t < texts[i].count; t++)
                    texts[i].ids[t] = (uint32_t)random_in(0, (int64_t)shape.vocab - 1);
            }
            check(c, texts);
            free(texts);
            checkpoint_free(c);
        }
}

/* The first value's row, as far as a normalised row can go along it. */
static void some_row_comes_near(void **state)
{
    struct checkpoint *c = make(HIDDEN_GELU, SOFTMAX_EXP);
    const struct layer_weights *w = c->layers;
    size_t h = shape.hidden;
    struct bounds b;
    double most = 0;

    (void)state;
    assert_int_equal(bounds_prove(c, FRAC, &b, NULL), 0);
    for (size_t o = 0; o < h; o++) {
        double squares = 0, bias = w->value_b[o];

        for (size_t i = 0; i < h; i++) {
            squares += pow(w->value_w[o * h + i] * c->embedding_gain[i], 2);
            bias += w->value_w[o * h + i] * c->embedding_bias[i];
        }
        most = fmax(most, sqrt(squares * (double)h) + fabs(bias));
    }
    assert_true(b.layers[0].value >= most && b.layers[0].value < 1.2 * most);
    bounds_free(&b);
    checkpoint_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(singular_values_are_bounded),
        cmocka_unit_test(no_text_reaches_past_them),
        cmocka_unit_test(some_row_comes_near),
    };

    random_fixed_restart(11);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
