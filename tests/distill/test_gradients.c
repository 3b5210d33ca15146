/*
 * Every gradient against central differences, in double: for each pair of functions, each parameter
 * of a small network and each loss. The forward pass itself is held to transformer/reference.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "distill/loss.h"
#include "transformer/reference.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEP      1e-5
#define TOLERANCE 2e-7 /* of a gradient, relative to the larger of it and 1: what STEP^2 leaves */

#define SEQUENCES 3
#define TOKENS    11

/* Lengths 4, 1 and 6; ids and types that repeat. */
static const uint32_t starts[SEQUENCES + 1] = {0, 4, 5, 11};
static const uint32_t ids[TOKENS] = {1, 4, 4, 2, 6, 1, 3, 0, 5, 4, 2};
static const uint8_t types[TOKENS] = {0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1};
static const double labels[SEQUENCES] = {2, 0, 1};

static const struct batch batch = {
    .sequences = SEQUENCES, .tokens = TOKENS, .ids = ids, .types = types, .starts = starts};

/* A network, its parameters, and what it is compared with. */
struct rig {
    struct checkpoint *shape;
    struct network *net, *teacher;
    real *values, *teacher_values, *gradients;
    size_t count;
    struct network_dropout drop;
    struct network_range range;
    enum { LABELS, TEACHER, INSIDE } loss;
};

static void *need(void *p)
{
    assert_non_null(p);
    return p;
}

static real *draw_values(const struct checkpoint *c, uint64_t seed)
{
    size_t count = c->bytes / sizeof(float);
    real *v = need(calloc(count, sizeof(*v)));

    for (size_t i = 0; i < count; i++)
        v[i] = c->values[i] + ((real)(mix64(seed + i) >> 11) * 0x1p-53 - 0.5);
    return v;
}

static void rig_make_kind(struct rig *r, enum model_kind kind, enum hidden_act hidden,
                          enum softmax_act softmax, size_t label_count)
{
    struct model_config config = {.kind = kind,
                                  .position_first = kind == MODEL_ROBERTA ? 2 : 0,
                                  .hidden = 6,
                                  .layers = 2,
                                  .heads = 2,
                                  .intermediate = 5,
                                  .vocab = 7,
                                  .positions_max = 6,
                                  .types = kind == MODEL_DISTILBERT ? 0 : 2,
                                  .labels = label_count,
                                  .layer_norm_eps = 1e-3};

    *r = (struct rig){.loss = LABELS};
    for (size_t i = 0; i < config.layers; i++)
        config.functions[i] = (struct layer_functions){hidden, softmax};
    assert_int_equal(checkpoint_random(&config, 1, &r->shape, NULL), 0);
    r->count = r->shape->bytes / sizeof(float);
    r->values = draw_values(r->shape, 100);
    r->teacher_values = draw_values(r->shape, 20000);
    r->gradients = need(calloc(r->count, sizeof(real)));
    assert_int_equal(network_new(r->shape, &r->net, NULL), 0);
    assert_int_equal(network_new(r->shape, &r->teacher, NULL), 0);
    assert_int_equal(network_forward(r->teacher, r->teacher_values, &batch, NULL, NULL), 0);
}

static void rig_make(struct rig *r, enum hidden_act hidden, enum softmax_act softmax,
                     size_t label_count)
{
    rig_make_kind(r, MODEL_BERT, hidden, softmax, label_count);
}

static void rig_free(struct rig *r)
{
    network_free(r->net);
    network_free(r->teacher);
    checkpoint_free(r->shape);
    free(r->values);
    free(r->teacher_values);
    free(r->gradients);
}

/* Room for the gradients by everything inside. */
struct inside {
    real logits[SEQUENCES * 3];
    real hidden[3][TOKENS * 6];
    real scores[2][2 * (16 + 1 + 36)];
};

/* The loss of the network's last forward pass, and where its gradients are. */
static double loss(const struct rig *r, struct inside *at, struct network_gradient *ret)
{
    size_t count = r->shape->config.labels, hidden = TOKENS * 6;
    double sum;

    *ret = (struct network_gradient){.logits = r->loss == INSIDE ? NULL : at->logits,
                                     .range = r->range};
    sum = network_outside(r->net, &r->range);
    if (r->loss == LABELS && count > 1)
        return sum +
               loss_labels(network_logits(r->net), labels, SEQUENCES, count, SEQUENCES, at->logits);
    if (r->loss == LABELS)
        return sum + loss_scores(network_logits(r->net), labels, SEQUENCES, SEQUENCES, at->logits);
    if (r->loss == TEACHER)
        return sum + loss_teacher(network_logits(r->net), network_logits(r->teacher), SEQUENCES,
                                  count, SEQUENCES, at->logits);
    assert_int_equal(network_score_count(r->net), 2 * (16 + 1 + 36));
    for (size_t i = 0; i < 3; i++) {
        sum += loss_square(network_hidden(r->net, i), network_hidden(r->teacher, i), hidden, hidden,
                           at->hidden[i]);
        ret->hidden[i] = at->hidden[i];
    }
    for (size_t i = 0; i < 2; i++) {
        sum += loss_square(network_scores(r->net, i), network_scores(r->teacher, i),
                           network_score_count(r->net), network_score_count(r->net), at->scores[i]);
        ret->scores[i] = at->scores[i];
    }
    return sum;
}

static double loss_of(struct rig *r)
{
    struct network_gradient from;
    struct inside at;

    assert_int_equal(network_forward(r->net, r->values, &batch, &r->drop, NULL), 0);
    return loss(r, &at, &from);
}

static void check_gradients(struct rig *r, const char *name)
{
    struct network_gradient from;
    struct inside at;
    size_t zeros = 0;

    memset(r->gradients, 0, r->count * sizeof(real));
    assert_int_equal(network_forward(r->net, r->values, &batch, &r->drop, NULL), 0);
    loss(r, &at, &from);
    assert_int_equal(network_backward(r->net, r->values, &from, r->gradients, NULL), 0);
    for (size_t i = 0; i < r->count; i++) {
        double kept = r->values[i], above, below, slope;

        r->values[i] = kept + STEP;
        above = loss_of(r);
        r->values[i] = kept - STEP;
        below = loss_of(r);
        r->values[i] = kept;
        slope = (above - below) / (2 * STEP);
        if (!(fabs(slope - r->gradients[i]) <= TOLERANCE * fmax(1, fabs(slope))))
            fail_msg("%s: parameter %zu: gradient %.12g, by differences %.12g", name, i,
                     r->gradients[i], slope);
        zeros += slope == 0;
    }
    /* The key's bias cancels in softmax, a token that does not occur has no gradient; no more. */
    assert_true(zeros < r->count / 2);
}

static void of_every_pair_of_functions(void **state)
{
    (void)state;
    for (size_t h = 0; h < HIDDEN_ACTS; h++)
        for (size_t s = 0; s < SOFTMAX_ACTS; s++) {
            struct rig r;
            char name[64];

            rig_make(&r, (enum hidden_act)h, (enum softmax_act)s, 3);
            snprintf(name, sizeof(name), "%s, %s", hidden_act_name((enum hidden_act)h),
                     softmax_act_name((enum softmax_act)s));
            check_gradients(&r, name);
            rig_free(&r);
        }
}

static void of_every_loss_and_with_dropout(void **state)
{
    struct rig r;

    (void)state;
    rig_make(&r, HIDDEN_QUAD, SOFTMAX_2QUAD, 3);
    r.loss = TEACHER;
    check_gradients(&r, "soft labels");
    r.loss = INSIDE;
    check_gradients(&r, "scores and hidden states");
    r.drop = (struct network_dropout){.hidden = 0.3, .attention = 0.2, .seed = 5, .step = 9};
    check_gradients(&r, "scores and hidden states, dropout");
    r.loss = LABELS;
    check_gradients(&r, "labels, dropout");
    r.drop = (struct network_dropout){.hidden = 0};
    r.range = (struct network_range){.limit = 0.75, .weight = 0.5};
    check_gradients(&r, "labels, and all stages in a range");
    r.loss = INSIDE;
    check_gradients(&r, "scores and hidden states, and all stages in a range");
    rig_free(&r);

    rig_make(&r, HIDDEN_GELU, SOFTMAX_EXP, 1);
    check_gradients(&r, "a score");
    rig_free(&r);
}

/* Parts come as soon as they are done, and together they are all parameters. */
struct told {
    size_t next, count; /* of parts, from the last; of parameters */
};

static void told(void *ctx, const struct network_part *part)
{
    struct told *t = ctx;

    if (!part)
        return;
    assert_int_equal(part->number, --t->next);
    t->count += part->count;
}

/* What ranks compute: gradients and penalties of parts of a batch add up to those of the whole,
 * with the dropout that each element has there. */
static void of_a_batch_in_parts(void **state)
{
    static const struct extent whole = {SEQUENCES, TOKENS, 16 + 1 + 36};
    static const size_t cuts[] = {0, 2, SEQUENCES};
    struct network_gradient from;
    struct extent before = {0};
    struct inside at;
    double sum = 0, want;
    struct rig r;
    real *parts;

    (void)state;
    rig_make(&r, HIDDEN_GELU, SOFTMAX_EXP, 3);
    r.drop = (struct network_dropout){.hidden = 0.3, .attention = 0.2, .seed = 5, .step = 9};
    r.range = (struct network_range){.limit = 0.75, .weight = 0.5};
    want = loss_of(&r);
    loss(&r, &at, &from);
    assert_int_equal(network_backward(r.net, r.values, &from, r.gradients, NULL), 0);
    parts = need(calloc(r.count, sizeof(real)));
    for (size_t p = 0; p + 1 < ARRAY_LENGTH(cuts); p++) {
        size_t first = cuts[p], count = cuts[p + 1] - first, token = starts[first];
        struct told t = {.next = network_parts(r.net)};
        uint32_t own_starts[SEQUENCES + 1];
        struct batch part = {.sequences = count,
                             .tokens = starts[cuts[p + 1]] - token,
                             .ids = ids + token,
                             .types = types + token,
                             .starts = own_starts,
                             .whole = whole,
                             .before = before};

        for (size_t i = 0; i <= count; i++)
            own_starts[i] = starts[first + i] - starts[first];
        assert_int_equal(network_forward(r.net, r.values, &part, &r.drop, NULL), 0);
        sum += network_outside(r.net, &r.range) +
               loss_labels(network_logits(r.net), labels + first, count, 3, SEQUENCES, at.logits);
        from = (struct network_gradient){
            .logits = at.logits, .range = r.range, .done = told, .ctx = &t};
        assert_int_equal(network_backward(r.net, r.values, &from, parts, NULL), 0);
        assert_true(!t.next && t.count == r.count);
        for (size_t i = first; i < cuts[p + 1]; i++) {
            size_t length = starts[i + 1] - starts[i];

            before.sequences++;
            before.tokens += length;
            before.squares += length * length;
        }
    }
    assert_true(fabs(sum - want) < 1e-12);
    for (size_t i = 0; i < r.count; i++)
        assert_true(fabs(parts[i] - r.gradients[i]) < 1e-12);
    free(parts);
    rig_free(&r);
}

/* Of many elements about as many are dropped as should be, other ones at each step and place. */
static void dropout_drops_its_share(void **state)
{
    enum { COUNT = 100000 };
    size_t dropped = 0, other = 0;
    const struct dropout a = dropout_at(0.1, 1, 2, 3), b = dropout_at(0.1, 1, 3, 3);

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        real x = dropout_factor(a, i), y = dropout_factor(b, i);

        assert_true(x == 0 || fabs(x - 1 / 0.9) < 1e-12);
        dropped += x == 0;
        other += (x == 0) && (y == 0);
    }
    assert_in_range(dropped, COUNT / 10 - 400, COUNT / 10 + 400); /* 4 deviations */
    assert_in_range(other, COUNT / 100 - 130, COUNT / 100 + 130);
    assert_true(dropout_factor(dropout_none(), 7) == 1);
}

/* A sequence's logits are the reference's, whatever lies beside it in the batch. */
static void check_reference(struct rig *r)
{
    for (size_t i = 0; i < r->count; i++)
        r->shape->values[i] = (float)r->values[i];
    for (size_t i = 0; i < r->count; i++)
        r->values[i] = r->shape->values[i];
    assert_int_equal(network_forward(r->net, r->values, &batch, NULL, NULL), 0);
    for (size_t q = 0; q < SEQUENCES; q++) {
        struct encoding e = {.count = starts[q + 1] - starts[q]};
        double want[3];

        memcpy(e.ids, ids + starts[q], e.count * sizeof(*ids));
        if (r->shape->config.types)
            memcpy(e.types, types + starts[q], e.count * sizeof(*types));
        assert_int_equal(reference_classify(r->shape, &e, want, NULL, NULL), 0);
        for (size_t i = 0; i < 3; i++)
            assert_true(fabs(network_logits(r->net)[q * 3 + i] - want[i]) < 2e-5);
    }
}

static void forward_is_the_reference(void **state)
{
    (void)state;
    for (size_t h = 0; h < HIDDEN_ACTS; h++)
        for (size_t s = 0; s < SOFTMAX_ACTS; s++) {
            struct rig r;

            rig_make(&r, (enum hidden_act)h, (enum softmax_act)s, 3);
            check_reference(&r);
            rig_free(&r);
        }
}

static void of_every_kind(void **state)
{
    (void)state;
    for (size_t k = 0; k < MODEL_KINDS; k++) {
        struct rig r;

        rig_make_kind(&r, (enum model_kind)k, HIDDEN_GELU, SOFTMAX_2QUAD, 3);
        check_reference(&r);
        check_gradients(&r, "another kind");
        rig_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_the_reference),
        cmocka_unit_test(of_every_pair_of_functions),
        cmocka_unit_test(of_every_kind),
        cmocka_unit_test(of_every_loss_and_with_dropout),
        cmocka_unit_test(of_a_batch_in_parts),
        cmocka_unit_test(dropout_drops_its_share),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
