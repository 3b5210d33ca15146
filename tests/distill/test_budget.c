/*
 * Which functions a budget keeps: the best of all choices by the places' own figures, within the
 * budget by its plan; the same each time; none and all of them at the ends; of fewer layers too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/secret.h"
#include "distill/budget.h"
#include "tests/distill/toy_corpus.h"

#include <math.h>
#include <string.h>

#define ROWS   24
#define LAYERS 4

struct school {
    struct corpus corpus;
    struct checkpoint *teacher;
    struct network *net;
    struct budget budget;
    struct model_config student;
};

static int school_make(void **state)
{
    struct school *s = calloc(1, sizeof(*s));
    struct model_config config = {.hidden = 16,
                                  .layers = LAYERS,
                                  .heads = 2,
                                  .intermediate = 24,
                                  .vocab = 40,
                                  .positions_max = 16,
                                  .types = 2,
                                  .labels = 2,
                                  .layer_norm_eps = 1e-12};
    struct corpus *c = &s->corpus;

    *c = toy_corpus(ROWS, 0, (uint32_t)config.vocab);
    assert_int_equal(checkpoint_random(&config, 11, &s->teacher, NULL), 0);
    for (size_t i = 0; i < s->teacher->bytes / sizeof(float); i++)
        s->teacher->values[i] *= 8; /* so that functions matter */
    assert_int_equal(network_new(s->teacher, &s->net, NULL), 0);
    s->student = s->teacher->config;
    assert_int_equal(model_config_set_hidden(&s->student, "quad", NULL), 0);
    assert_int_equal(model_config_set_softmax(&s->student, "2quad", NULL), 0);
    s->budget = (struct budget){.rates = rates_default,
                                .tokens = 8,
                                .ring = 48,
                                .frac = 12,
                                .probe = {.train = c,
                                          .teacher = s->teacher,
                                          .teacher_net = s->net,
                                          .settings = trainer_defaults(),
                                          .rows = 16,
                                          .steps = 2,
                                          .batch = 4,
                                          .rate = 1e-3}};
    *state = s;
    return 0;
}

static int school_free(void **state)
{
    struct school *s = *state;

    corpus_free(&s->corpus);
    network_free(s->net);
    checkpoint_free(s->teacher);
    free(s);
    return 0;
}

/* The budget that lies @part of the way from all cheap to all exact. */
static void set_budget(struct school *s, double part)
{
    static struct budget_choice all;

    s->budget.ms = 1e9;
    assert_int_equal(budget_choose(&s->budget, &s->student, &all, NULL), 0);
    s->budget.ms = all.ms_cheap + part * (all.ms_exact - all.ms_cheap);
}

/* The least loss of any set of cheap places whose exact rest may cost @most more. */
static double try_all(const struct budget_choice *c, double most)
{
    double best = INFINITY;

    for (size_t set = 0; set < (size_t)1 << c->place_count; set++) {
        double more = 0, loss = 0;

        for (size_t i = 0; i < c->place_count; i++) {
            const struct budget_place *p = &c->places[i];

            more += set >> i & 1 ? fmax(0, p->ms_exact - p->ms_cheap) : 0;
            loss += set >> i & 1 ? 0 : p->loss;
        }
        if (more <= most)
            best = fmin(best, loss);
    }
    return best;
}

static void the_best_within_the_budget(void **state)
{
    static struct budget_choice c, again;
    struct school *s = *state;

    set_budget(s, 0.5);
    assert_int_equal(budget_choose(&s->budget, &s->student, &c, NULL), 0);
    assert_int_equal(c.place_count, 2 * LAYERS);
    assert_true(c.probed && c.ms <= s->budget.ms && c.ms >= c.ms_cheap);
    assert_true(c.kept_count > 0 && c.kept_count < c.place_count);
    assert_true(fabs(c.loss_exact) < 1e-3); /* it begins as its teacher */
    for (size_t i = 0; i < c.place_count; i++) {
        const struct budget_place *p = &c.places[i];
        const struct layer_functions *f = &c.functions[p->layer];

        if (p->part == BUDGET_ACTIVATION)
            assert_int_equal(f->hidden, p->kept ? HIDDEN_GELU : HIDDEN_QUAD);
        else
            assert_int_equal(f->softmax, p->kept ? SOFTMAX_EXP : SOFTMAX_2QUAD);
    }
    /* the plan of the choice may be a little dearer than its places' sum, and be chosen again */
    assert_true(c.loss_predicted >= try_all(&c, s->budget.ms - c.ms_cheap) - 1e-9);
    assert_true(c.loss_predicted <= try_all(&c, 0.95 * s->budget.ms - c.ms_cheap) + 1e-9);
    assert_int_equal(budget_choose(&s->budget, &s->student, &again, NULL), 0);
    assert_memory_equal(&c, &again, sizeof(c));
}

static void none_and_all(void **state)
{
    static struct budget_choice c;
    struct school *s = *state;
    struct err err = {""};

    set_budget(s, 0.01);
    assert_int_equal(budget_choose(&s->budget, &s->student, &c, NULL), 0);
    assert_int_equal(c.kept_count, 0);
    set_budget(s, 1);
    assert_int_equal(budget_choose(&s->budget, &s->student, &c, NULL), 0);
    assert_true(!c.probed && c.kept_count == c.place_count);
    set_budget(s, -0.01);
    assert_int_equal(budget_choose(&s->budget, &s->student, &c, &err), -ERANGE);
    assert_non_null(strstr(err.text, "the budget must be at least"));
}

/* Layer i of the student may keep what the last of the teacher's i-th share has. */
static void fewer_layers_than_the_teacher(void **state)
{
    static struct budget_choice c;
    struct school *s = *state;

    s->student.layers = 2;
    s->teacher->config.functions[1].hidden = HIDDEN_TANH;
    s->teacher->config.functions[3].softmax = SOFTMAX_2QUAD;
    s->budget.ms = 1e9;
    assert_int_equal(budget_choose(&s->budget, &s->student, &c, NULL), 0);
    assert_int_equal(c.place_count, 3); /* the student's second attention is cheap either way */
    assert_int_equal(c.functions[0].hidden, HIDDEN_TANH);
    assert_int_equal(c.functions[0].softmax, SOFTMAX_EXP);
    assert_int_equal(c.functions[1].hidden, HIDDEN_GELU);
    assert_int_equal(c.functions[1].softmax, SOFTMAX_2QUAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_best_within_the_budget, school_make, school_free),
        cmocka_unit_test_setup_teardown(none_and_all, school_make, school_free),
        cmocka_unit_test_setup_teardown(fewer_layers_than_the_teacher, school_make, school_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
