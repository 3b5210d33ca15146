/*
 * Steps of training beside PyTorch's (tests/data/training.py), and a course that is cut anywhere
 * and goes on: the same bits as one that is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "distill/cpu.h"
#include "distill/trainer.h"
#include "tests/transformer/folder.h"

#include <math.h>

#define RELATIVE 1e-4 /* what float may differ by from float64 */
#define RATE     1e-3

#define SEQUENCES 3
static const uint32_t starts[] = {0, 5, 6, 15};
static const uint32_t ids[] = {1, 4, 17, 2, 6, 3, 1, 18, 7, 7, 9, 10, 11, 5, 2};
static const uint8_t types[] = {0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1};
static const double labels[] = {2, 0, 1};
static const uint32_t words[] = {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 17, 18};
static const struct batch batch = {.sequences = SEQUENCES,
                                   .tokens = 15,
                                   .ids = ids,
                                   .types = types,
                                   .starts = starts,
                                   .words = words,
                                   .word_count = ARRAY_LENGTH(words)};

static void write_tiny(struct folder *f)
{
    static const char config[] =
        "{\"architectures\":[\"BertForSequenceClassification\"],\"model_type\":\"bert\","
        "\"hidden_size\":21,\"num_hidden_layers\":2,\"num_attention_heads\":3,"
        "\"intermediate_size\":37,\"vocab_size\":19,\"max_position_embeddings\":11,"
        "\"num_labels\":3}";
    uint8_t *weights = NULL;
    size_t count;

    folder_write(f, "config.json", config, sizeof(config) - 1);
    assert_int_equal(file_read(TEST_DATA "tiny.safetensors", 1 << 20, &weights, &count, NULL), 0);
    folder_write(f, "model.safetensors", weights, count);
    free(weights);
}

struct tiny {
    struct checkpoint *student, *teacher;
    struct network *teacher_net;
    struct trainer *trainer;
    float *before, *gradient; /* values at the start, and their first gradient */
    size_t tensors;           /* compared */
};

static void tiny_make(struct tiny *t, const char *hidden, const char *softmax)
{
    struct trainer_settings settings = trainer_defaults();
    struct folder f;

    *t = (struct tiny){.tensors = 0};
    settings.dropout = 0;
    settings.eps = 1e-4; /* the oracle's */
    folder_make(&f);
    write_tiny(&f);
    assert_int_equal(checkpoint_load(f.path, &t->student, NULL), 0);
    assert_int_equal(checkpoint_load(f.path, &t->teacher, NULL), 0);
    folder_remove(&f);
    assert_int_equal(model_config_set_hidden(&t->student->config, hidden, NULL), 0);
    assert_int_equal(model_config_set_softmax(&t->student->config, softmax, NULL), 0);
    assert_int_equal(network_new(t->teacher, &t->teacher_net, NULL), 0);
    assert_int_equal(trainer_new(t->student, &settings, &t->trainer, NULL), 0);
    t->before = malloc(t->student->bytes);
    t->gradient = malloc(t->student->bytes);
    assert_true(t->before && t->gradient);
    memcpy(t->before, t->student->values, t->student->bytes);
}

static void tiny_free(struct tiny *t)
{
    trainer_free(t->trainer);
    network_free(t->teacher_net);
    checkpoint_free(t->student);
    checkpoint_free(t->teacher);
    free(t->before);
    free(t->gradient);
}

static void take_steps(struct tiny *t, enum objective_kind kind, const double loss[2])
{
    const struct objective objective = {
        .kind = kind, .teacher = t->teacher, .teacher_net = t->teacher_net};

    for (size_t i = 0; i < 2; i++) {
        struct step_figures figures;

        assert_int_equal(trainer_step(t->trainer, &batch, labels, &objective, RATE, &figures, NULL),
                         0);
        if (i == 0)
            memcpy(t->gradient, t->trainer->gradients, t->student->bytes);
        if (!(fabs(figures.loss - loss[i]) <= RELATIVE * loss[i]))
            fail_msg("loss %zu is %.9g, PyTorch's %.9g", i, figures.loss, loss[i]);
    }
}

struct line {
    const char *name;
    double figures[4]; /* norm and product with cos(0.7 i + 0.3), of gradient and change */
    struct tiny *tiny;
};

static void check_pair(const char *name, const char *what, const float *x, const float *less,
                       size_t count, const double want[2], double floor)
{
    double squares = 0, along = 0, slack;

    for (size_t i = 0; i < count; i++) {
        double v = (double)x[i] - (less ? (double)less[i] : 0);

        squares += v * v;
        along += v * cos(0.7 * (double)i + 0.3);
    }
    slack = RELATIVE * fmax(want[0], floor * sqrt((double)count));
    if (!(fabs(sqrt(squares) - want[0]) <= slack) || !(fabs(along - want[1]) <= 2 * slack))
        fail_msg("%s: %s has norm %.9g and product %.9g, PyTorch's %.9g and %.9g", name, what,
                 sqrt(squares), along, want[0], want[1]);
}

static int compare_tensor(void *ctx, const struct checkpoint_tensor *tensor, struct err *err)
{
    struct line *l = ctx;
    struct tiny *t = l->tiny;
    size_t at = (size_t)(tensor->values - t->student->values);

    (void)err;
    if (strcmp(tensor->name, l->name) != 0)
        return 0;
    /* Where a gradient is rounding alone, float's stands for zero. A change is at most the rate. */
    check_pair(l->name, "the gradient", t->gradient + at, NULL, tensor->count, l->figures, 1e-3);
    check_pair(l->name, "the change", tensor->values, t->before + at, tensor->count, l->figures + 2,
               RATE);
    t->tensors++;
    return 0;
}

static enum objective_kind kind_of(const char *name)
{
    static const char *const names[OBJECTIVES] = {"labels", "logits", "hidden"};
    size_t kind = 0;

    while (strcmp(names[kind], name) != 0)
        assert_true(++kind < OBJECTIVES);
    return (enum objective_kind)kind;
}

static void steps_equal_pytorch(void **state)
{
    char *rest, *line, *c[7];
    struct tiny t = {.tensors = 0};
    uint8_t *bytes = NULL;
    size_t count, runs = 0;

    (void)state;
    assert_int_equal(file_read(TEST_DATA "training.tsv", 1 << 20, &bytes, &count, NULL), 0);
    rest = (char *)bytes;
    while ((line = strsep(&rest, "\n")) && *line) {
        for (size_t i = 0; i < ARRAY_LENGTH(c) && line; i++)
            c[i] = strsep(&line, "\t");
        if (strcmp(c[0], "run") == 0) {
            if (runs++)
                tiny_free(&t);
            tiny_make(&t, c[2], c[3]);
            take_steps(&t, kind_of(c[1]), (const double[]){atof(c[4]), atof(c[5])});
        } else {
            struct line l = {c[1], {atof(c[2]), atof(c[3]), atof(c[4]), atof(c[5])}, &t};
            size_t before = t.tensors;

            assert_int_equal(checkpoint_each(t.student, compare_tensor, &l, NULL), 0);
            assert_int_equal(t.tensors, before + 1);
        }
    }
    assert_int_equal(runs, 6);
    assert_int_equal(t.tensors, 9 + 2 * 16);
    tiny_free(&t);
    free(bytes);
}

/* A teacher twice as deep: the student's two layers are held against layers 2 and 4. */
static void fewer_layers_map_evenly(void **state)
{
    struct tiny t;
    struct model_config deep;
    struct step_figures figures;
    struct checkpoint *teacher = NULL;
    struct network *net = NULL;

    (void)state;
    tiny_make(&t, "gelu", "softmax");
    deep = t.teacher->config;
    deep.layers = 4;
    for (size_t i = 0; i < deep.layers; i++)
        deep.functions[i] = t.teacher->config.functions[0];
    assert_int_equal(checkpoint_random(&deep, 3, &teacher, NULL), 0);
    assert_int_equal(network_new(teacher, &net, NULL), 0);
    {
        const struct objective o = {
            .kind = OBJECTIVE_HIDDEN, .teacher = teacher, .teacher_net = net};
        double want = 0;
        size_t scores;

        assert_int_equal(trainer_step(t.trainer, &batch, labels, &o, 0, &figures, NULL), 0);
        scores = network_score_count(net);
        for (size_t l = 0; l < 3; l++) {
            double sum = 0;

            for (size_t i = 0; i < 15 * 21; i++)
                sum += pow((double)network_hidden(t.trainer->net, l)[i] -
                               (double)network_hidden(net, 2 * l)[i],
                           2);
            want += sum / (15 * 21);
            sum = 0;
            for (size_t i = 0; l < 2 && i < scores; i++)
                sum += pow((double)network_scores(t.trainer->net, l)[i] -
                               (double)network_scores(net, 2 * l + 1)[i],
                           2);
            want += sum / (double)scores;
        }
        assert_true(fabs(figures.loss - want) < 1e-5 * want);
    }
    network_free(net);
    checkpoint_free(teacher);
    tiny_free(&t);
}

static void refuses_to_come_apart(void **state)
{
    const struct objective o = {.kind = OBJECTIVE_LABELS};
    struct step_figures figures;
    struct err err = {0};
    struct tiny t;

    (void)state;
    tiny_make(&t, "quad", "2quad");
    ((float *)(uintptr_t)t.student->layers[0].output_w)[5] = 3e38f;
    memcpy(t.before, t.student->values, t.student->bytes);
    assert_int_equal(trainer_step(t.trainer, &batch, labels, &o, RATE, &figures, &err), -ERANGE);
    assert_non_null(strstr(err_text(&err, 0), "smaller --rate"));
    assert_memory_equal(t.before, t.student->values, t.student->bytes);
    assert_int_equal(t.trainer->steps, 0);
    tiny_free(&t);
}

/* bfloat16 has 8 bits: the same products as of numbers that have no more, and near the exact ones.
 */
static void narrow_products_are_of_rounded_factors(void **state)
{
    enum { ROWS = 7, COLUMNS = 9, INNER = 20, MOST = 32 };
    float a[MOST * MOST], b[MOST * MOST], c[MOST * MOST], exact[ROWS * COLUMNS];
    float ra[MOST * MOST], rb[MOST * MOST];
    struct narrow *n = NULL;

    (void)state;
    assert_int_equal(narrow_new(&n, NULL), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(a); i++)
        a[i] = sinf((float)i) * powf(2, (float)(i % 9));
    for (size_t i = 0; i < ARRAY_LENGTH(b); i++)
        b[i] = cosf((float)i);
    kernel_round(a, ARRAY_LENGTH(a), ra);
    kernel_round(b, ARRAY_LENGTH(b), rb);
    for (size_t i = 0; i < ARRAY_LENGTH(a); i++)
        assert_true(fabsf(ra[i] - a[i]) <= fabsf(a[i]) / 256);
    assert_true(narrow_room(ROWS) <= MOST && narrow_room(INNER) == MOST);
    assert_true(narrow_product(n, MOST, MOST, MOST, (struct matrix){a, MOST, false},
                               (struct matrix){b, MOST, false}, 0, c)); /* leaves its factors */
    for (int transposed = 0; transposed < 4; transposed++) {
        bool at = transposed & 1, bt = transposed & 2;
        const size_t sa = at ? ROWS : INNER, sb = bt ? INNER : COLUMNS;

        for (size_t i = 0; i < ARRAY_LENGTH(exact); i++)
            exact[i] = c[i] = (float)i;
        assert_true(product(ROWS, COLUMNS, INNER, 1, (struct matrix){ra, sa, at},
                            (struct matrix){rb, sb, bt}, 1, exact, COLUMNS));
        assert_true(narrow_product(n, ROWS, COLUMNS, INNER, (struct matrix){a, sa, at},
                                   (struct matrix){b, sb, bt}, 1, c));
        for (size_t i = 0; i < ARRAY_LENGTH(exact); i++)
            assert_true(fabsf(c[i] - exact[i]) < 1e-3f);
    }
    narrow_free(n);
}

/* What bf16 costs: the first gradient beside the same in f32. */
static void narrow_gradients_are_near(void **state)
{
    const struct objective o = {.kind = OBJECTIVE_LABELS};
    struct step_figures figures;
    double squares = 0, off = 0;
    struct tiny t;

    (void)state;
    tiny_make(&t, "gelu", "softmax");
    assert_int_equal(trainer_step(t.trainer, &batch, labels, &o, 0, &figures, NULL), 0);
    memcpy(t.gradient, t.trainer->gradients, t.student->bytes);
    assert_int_equal(network_set_precision(t.trainer->net, PRECISION_BF16, NULL), 0);
    assert_int_equal(trainer_step(t.trainer, &batch, labels, &o, 0, &figures, NULL), 0);
    for (size_t i = 0; i < t.trainer->count; i++) {
        squares += pow((double)t.gradient[i], 2);
        off += pow((double)(t.gradient[i] - t.trainer->gradients[i]), 2);
    }
    print_message("# bf16: the gradient is off by %.2g of its norm\n", sqrt(off / squares));
    assert_true(off > 0 && sqrt(off / squares) < 0.03);
    tiny_free(&t);
}

/* Gradients whose squares are denormal, or nothing, move a weight by no more than the rate. */
static void tiny_gradients_stay_numbers(void **state)
{
    const struct adamw a = {.rate = RATE,
                            .beta1 = 0.9,
                            .beta2 = 0.999,
                            .eps = 1e-6,
                            .correct1 = 0.1,
                            .correct2 = 0.001,
                            .scale = 1};
    float p[32], g[32], m[32] = {0}, v[32] = {0};

    (void)state;
    for (size_t i = 0; i < 32; i++) {
        p[i] = 1;
        g[i] = powf(10, -(float)(i + 10));
    }
    kernel_adamw(&a, p, g, m, v, 32);
    for (size_t i = 0; i < 32; i++)
        assert_true(p[i] <= 1 && p[i] >= 1 - (float)RATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_equal_pytorch),
        cmocka_unit_test(fewer_layers_map_evenly),
        cmocka_unit_test(refuses_to_come_apart),
        cmocka_unit_test(narrow_products_are_of_rounded_factors),
        cmocka_unit_test(narrow_gradients_are_near),
        cmocka_unit_test(tiny_gradients_stay_numbers),
    };

    if (!cpu_can_train()) {
        puts("1..0 # SKIP this CPU has no AVX2");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
