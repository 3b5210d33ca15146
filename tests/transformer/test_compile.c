/*
 * The compiler: what the two parties and the dealer make of a compiled model, against the float
 * reference and the clear executor; and what it refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mpc/clear.h"
#include "mpc/cost.h"
#include "tests/mpc/replay.h"
#include "tests/transformer/folder.h"
#include "transformer/reference.h"
#include "transformer/trial.h"

#include <math.h>

#define MODEL      SOURCE_ROOT "/models/sst2-tiny"
#define LABELS_MAX 8
#define BATCH_MAX  3
#define GUARDS_MAX 32
#define VALUES_MAX (BATCH_MAX * (LABELS_MAX + GUARDS_MAX)) /* of an answer */

#define BOTH_LENGTHS (1u << LENGTH_PUBLIC | 1u << LENGTH_BUCKET)

static const char *const sentences[] = {
    "A warm, funny film that earns every tear.",
    "Two hours of my life that I will never get back.",
    "The actors try hard, but the script gives them nothing.",
    "Breathtaking!",
    "I would watch it again tomorrow - and the day after.",
    "Dull, dull, dull.",
    "the camera loves her and so do we",
    "It is not the worst film of the year, but it tries.",
    "A small masterpiece about a very large dog.",
    "Every joke is explained twice and none of them is funny.",
    "The music alone is worth the ticket.",
    "So clumsy that even the extras look embarrassed.",
    "Tender without ever being sentimental, and clever without ever showing off about it.",
    "An insult to anyone who has ever told a story, and to anyone who has ever listened to one, "
    "from "
    "its first noisy minute to the last.",
    "Go and see it.",
    "Do not go.",
    "What could have been a fine short film is a very long one: for every scene that works there "
    "are "
    "three that do not, and the ending, when at last it comes, has been in plain sight for an "
    "hour.",
    "My children laughed until they cried, and then so did I.",
    "Lifeless.",
    "A joy from beginning to end.",
};

static const uint32_t buckets[] = {8, 16, 32, 64};

struct fixture {
    struct checkpoint *checkpoint;
    struct encoding *samples;
    size_t count;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct tokenizer *t = NULL;
    struct err err = {0};

    assert_non_null(f);
    f->count = ARRAY_LENGTH(sentences);
    f->samples = calloc(f->count, sizeof(*f->samples));
    assert_non_null(f->samples);
    assert_int_equal(checkpoint_load(MODEL, &f->checkpoint, &err), 0);
    assert_int_equal(tokenizer_load(MODEL, &f->checkpoint->config, &t, &err), 0);
    for (size_t i = 0; i < f->count; i++)
        assert_int_equal(tokenizer_encode(t, sentences[i], NULL, 64, &f->samples[i], &err), 0);
    tokenizer_free(t);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    checkpoint_free(f->checkpoint);
    free(f->samples);
    free(f);
    return 0;
}

static struct compile_options options_of(const struct fixture *f, unsigned int ring,
                                         unsigned int frac)
{
    return (struct compile_options){
        .ring = ring,
        .frac = frac,
        .name = "test",
        .tokens = buckets,
        .token_count = ARRAY_LENGTH(buckets),
        .samples = f->samples,
        .sample_count = f->count,
    };
}

static struct compiled *compile(const struct checkpoint *c, const struct compile_options *o)
{
    struct compiled *m = NULL;
    struct err err = {0};
    int rc = compile_model(c, o, &m, &err);

    if (rc < 0)
        fail_msg("%s", err_text(&err, rc));
    return m;
}

static struct trial try_out(struct compiled *m, const struct checkpoint *c,
                            const struct encoding *samples, size_t count)
{
    const struct trial_options o = {
        .checkpoint = c, .samples = samples, .sample_count = count, .random_runs = 1};
    struct err err = {0};
    struct trial t;
    int rc = trial_run(m, &o, &t, &err);

    if (rc < 0)
        fail_msg("%s", err_text(&err, rc));
    return t;
}

static size_t best(const double *v, size_t count)
{
    size_t at = 0;

    for (size_t i = 1; i < count; i++)
        if (v[i] > v[at])
            at = i;
    return at;
}

/* What the counters of both parties' runs say is what the plan said it would cost. */
static void check_cost(const struct replay *r, const struct variant *v)
{
    struct cost cost;

    cost_variant(r->plan, v, &cost, NULL);
    for (unsigned int p = 0; p < 2; p++) {
        assert_int_equal(r->stats[p].bytes, cost.bytes_online);
        assert_int_equal(r->stats[p].rounds, cost.rounds_online);
    }
    assert_int_equal(v->tape_bytes, cost.bytes_tape);
}

/* One text's answer. */
static void check_logits(const struct plan *plan, const struct variant *v, const int64_t output[],
                         const int64_t clear[], const struct checkpoint *c,
                         const struct encoding *e, double error)
{
    double logits[LABELS_MAX], private[LABELS_MAX];

    assert_int_equal(reference_classify(c, e, logits, NULL, NULL), 0);
    for (size_t i = 0; i < plan->labels; i++) {
        double off = ldexp((double)(output[i] - clear[i]), -plan->frac);

        private[i] = ldexp((double)output[i], -plan->frac);
        if (fabs(off) > plan->error_bound || fabs(private[i] - logits[i]) > error)
            fail_msg("%u/%u, %u times %u tokens: logit %zu is %.6g, %.2g off the clear executor, "
                     "%.2g off the float model",
                     plan->ring, plan->frac, v->batch, v->tokens, i, private[i], off,
                     private[i] - logits[i]);
    }
    assert_int_equal(best(private, plan->labels), best(logits, plan->labels));
}

/* Private answers to v->batch texts: near the clear executor's, nearer to the float model's than
 * @error. */
static void check_answers(struct replay *r, const struct compiled *m, const struct checkpoint *c,
                          const struct variant *v, const struct encoding e[], double error)
{
    const struct plan *plan = m->plan;
    int64_t output[VALUES_MAX], clear[VALUES_MAX];
    const uint8_t seed[PRG_SEED_BYTES] = {0};
    uint64_t *input = calloc(variant_input_words(v), sizeof(*input));
    uint32_t lengths[BATCH_MAX];

    assert_non_null(input);
    assert_true(v->batch <= BATCH_MAX && plan->guard_count <= GUARDS_MAX);
    for (size_t s = 0; s < v->batch; s++)
        lengths[s] = v->length == LENGTH_PUBLIC ? (uint32_t)e[s].count : v->tokens;
    assert_int_equal(compile_input(plan, v, e, input, NULL), 0);
    assert_int_equal(replay_run(r, v, lengths, input, output), 0);
    assert_int_equal(clear_run(plan, v, (const uint64_t *const *)m->weights, input, lengths,
                               CLEAR_FLOOR, seed, NULL, clear, NULL),
                     0);
    for (size_t s = 0; s < v->batch; s++) {
        assert_null(plan_outside(plan, v, output, s));
        check_logits(plan, v, output + s * plan->labels, clear + s * plan->labels, c, &e[s], error);
    }
    check_cost(r, v);
    free(input);
}

/* A job of one text. */
static void check_answer(struct replay *r, const struct compiled *m, const struct checkpoint *c,
                         const struct variant *v, const struct encoding *e, double error)
{
    assert_int_equal(v->batch, 1);
    check_answers(r, m, c, v, e, error);
}

static void check_format(const struct fixture *f, unsigned int ring, unsigned int frac,
                         double error)
{
    const struct compile_options o = options_of(f, ring, frac);
    struct compiled *m = compile(f->checkpoint, &o);
    struct trial t = try_out(m, f->checkpoint, f->samples, f->count);
    struct replay *r = replay_new(m->plan, (const int64_t *const *)m->weights, kernels_here());
    bool used[ARRAY_LENGTH(buckets)] = {false};

    assert_int_equal(t.agree, f->count);
    print_message("# %u/%u: float error median %.3g max %.3g, bound %.3g, allowed %.3g\n", ring,
                  frac, t.float_error_median, t.float_error_max, t.error_bound, error);
    assert_true(t.float_error_max < error && t.error_bound < error);
    assert_true(t.error_bound == m->plan->error_bound && t.error_bound > 0);
    for (size_t i = 0; i < f->count; i++) {
        const struct variant *v =
            plan_variant(m->plan, (uint32_t)f->samples[i].count, LENGTH_PUBLIC);

        used[v - m->plan->variants] = true;
        check_answer(r, m, f->checkpoint, v, &f->samples[i], error);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(buckets); i++)
        assert_true(used[i]);
    /* Rows past a text weigh nothing: a longer bucket gives the same answer. */
    check_answer(r, m, f->checkpoint, &m->plan->variants[3], &f->samples[3], error);
    replay_free(r);
    compiled_free(m);
}

static void private_answers_are_the_float_models_64_16(void **state)
{
    check_format(*state, 64, 16, 0.002);
}

static void private_answers_are_the_float_models_48_12(void **state)
{
    check_format(*state, 48, 12, 0.02);
}

static void private_answers_are_the_float_models_40_11(void **state)
{
    check_format(*state, 40, 11, 0.1);
}

/* Sizes that divide by nothing convenient: every fold and view at an odd place. */
static void odd_shapes_compile(void **state)
{
    static const uint32_t tokens[] = {5, 11};
    struct encoding samples[2] = {
        {.count = 5, .ids = {1, 7, 3, 18, 2}, .types = {0, 0, 0, 1, 1}},
        {.count = 9, .ids = {4, 4, 0, 12, 9, 3, 5, 16, 2}, .types = {0, 0, 0, 0, 0, 1, 1, 1, 1}},
    };
    struct model_config k = {
        .hidden = 21,
        .heads = 3,
        .intermediate = 37,
        .vocab = 19,
        .positions_max = 11,
        .types = 2,
        .layer_norm_eps = 1e-5,
        .labels = 3,
    };
    static const uint32_t batches[] = {1, 2};
    const struct compile_options o = {.ring = 64,
                                      .frac = 16,
                                      .tokens = tokens,
                                      .token_count = 2,
                                      .batches = batches,
                                      .batch_count = 2,
                                      .samples = samples,
                                      .sample_count = 2};

    (void)state;
    assert_int_equal(model_config_set_hidden(&k, "quad", NULL), 0);
    assert_int_equal(model_config_set_softmax(&k, "2quad", NULL), 0);
    for (k.layers = 1; k.layers <= 3; k.layers++) {
        struct checkpoint *c = NULL;
        struct compiled *m;
        struct replay *r;

        assert_int_equal(checkpoint_random(&k, k.layers, &c, NULL), 0);
        m = compile(c, &o);
        try_out(m, c, samples, 2);
        r = replay_new(m->plan, (const int64_t *const *)m->weights, kernels_here());
        for (size_t i = 0; i < 2; i++)
            check_answer(r, m, c, &m->plan->variants[2 * i], &samples[i], 1e-3);
        check_answers(r, m, c, &m->plan->variants[3], samples, 1e-3);
        replay_free(r);
        compiled_free(m);
        checkpoint_free(c);
    }
}

/* Of a form that is left out: what may only rise by it, and what must where it is used at all. */
static void check_pays(enum form form, const struct cost *with, const struct cost *without,
                       bool compared)
{
    bool fewer_bytes = with->bytes_online < without->bytes_online;
    bool fewer_rounds = with->rounds_online < without->rounds_online;

    switch (form) {
    case FORM_NARROW:
        assert_true(fewer_bytes);
        assert_int_equal(with->rounds_online, without->rounds_online + 1); /* the lift */
        break;
    case FORM_COMPARE: /* of no use where there are none */
        assert_int_equal(fewer_bytes, compared);
        assert_int_equal(with->bytes_tape < without->bytes_tape, compared);
        break;
    case FORM_TURNS:
        assert_true(with->macs_online < without->macs_online);
        assert_int_equal(with->bytes_online, without->bytes_online);
        break;
    default:
        assert_true(fewer_bytes && fewer_rounds);
    }
}

static const struct encoding small_text = {
    .count = 5, .ids = {1, 7, 3, 18, 2}, .types = {0, 0, 0, 1, 1}};

static const struct model_config small = {
    .hidden = 24,
    .layers = 1,
    .heads = 3,
    .intermediate = 40,
    .vocab = 19,
    .positions_max = 6,
    .types = 2,
    .layer_norm_eps = 1e-5,
    .labels = 3,
};

static struct checkpoint *make_small(const char *hidden_act, const char *softmax_act)
{
    struct model_config k = small;
    struct checkpoint *c = NULL;

    assert_int_equal(model_config_set_hidden(&k, hidden_act, NULL), 0);
    assert_int_equal(model_config_set_softmax(&k, softmax_act, NULL), 0);
    assert_int_equal(checkpoint_random(&k, 1, &c, NULL), 0);
    return c;
}

/* Any set of forms gives the same answer, and each form pays whatever the others are. */
static void every_form_can_be_left_out(void **state)
{
    static const uint32_t tokens[] = {6};
    struct compile_options o = {.ring = 56,
                                .frac = 14,
                                .tokens = tokens,
                                .token_count = 1,
                                .lengths = BOTH_LENGTHS,
                                .samples = &small_text,
                                .sample_count = 1};
    struct cost cost[1 << FORMS];
    struct checkpoint *c = make_small("quad", "2quad");

    (void)state;
    for (o.without = 0; o.without < 1 << FORMS; o.without++) {
        struct compiled *m = compile(c, &o);
        struct replay *r = replay_new(m->plan, (const int64_t *const *)m->weights, kernels_here());

        try_out(m, c, &small_text, 1);
        for (size_t i = 0; i < LENGTH_MODES; i++)
            check_answer(r, m, c, &m->plan->variants[i], &small_text, 4e-3);
        cost_variant(m->plan, m->plan->variants, &cost[o.without], NULL);
        replay_free(r);
        compiled_free(m);
    }
    for (unsigned int without = 0; without < 1 << FORMS; without++)
        for (int form = 0; form < FORMS; form++)
            if (!(without >> form & 1))
                check_pays((enum form)form, &cost[without], &cost[without | 1u << form],
                           without >> FORM_SCALE & 1);
    checkpoint_free(c);
}

/* Two layers whose scores and activations reach far. */
static struct checkpoint *make_lively(const struct model_config *k)
{
    struct checkpoint *c = NULL;

    assert_int_equal(checkpoint_random(k, 5, &c, NULL), 0);
    for (size_t i = 0; i < c->bytes / sizeof(float); i++)
        if (fabsf(c->values[i]) < 0.5f) /* not a gain */
            c->values[i] *= 12;
    return c;
}

/* Private answers of texts of all lengths, against the float model's, whoever knows the lengths. */
static void check_functions(const struct checkpoint *c, unsigned int ring, unsigned int frac,
                            double error)
{
    static const uint32_t tokens[] = {6};
    static const uint32_t batches[] = {1, 2};
    struct encoding texts[6] = {small_text, small_text, small_text,
                                small_text, small_text, small_text};
    const struct compile_options o = {.ring = ring,
                                      .frac = frac,
                                      .tokens = tokens,
                                      .token_count = 1,
                                      .lengths = BOTH_LENGTHS,
                                      .batches = batches,
                                      .batch_count = 2,
                                      .samples = texts,
                                      .sample_count = ARRAY_LENGTH(texts)};
    struct compiled *m;
    struct replay *r;

    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
        texts[i].count = 1 + i;
    m = compile(c, &o);
    print_message("# %s, %s at %u/%u: float error %.3g\n",
                  hidden_act_name(c->config.functions[0].hidden),
                  softmax_act_name(c->config.functions[0].softmax), ring, frac,
                  try_out(m, c, texts, ARRAY_LENGTH(texts)).float_error_max);
    r = replay_new(m->plan, (const int64_t *const *)m->weights, kernels_here());
    for (int length = 0; length < LENGTH_MODES; length++) {
        const struct variant *v = plan_variant(m->plan, 1, (enum length_mode)length);

        for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
            check_answer(r, m, c, v, &texts[i], error);
        check_answers(r, m, c, v + 1, texts + 1, error);
    }
    replay_free(r);
    compiled_free(m);
}

static void every_pair_of_functions_answers_as_the_float_model(void **state)
{
    (void)state;
    for (int hidden = 0; hidden < HIDDEN_ACTS; hidden++)
        for (int softmax = 0; softmax < SOFTMAX_ACTS; softmax++) {
            struct model_config k = small;
            struct checkpoint *c;

            k.layers = 2;
            for (size_t i = 0; i < k.layers; i++)
                k.functions[i] =
                    (struct layer_functions){(enum hidden_act)hidden, (enum softmax_act)softmax};
            c = make_lively(&k);
            check_functions(c, 64, 16, 0.01);
            check_functions(c, 48, 12, 0.1);
            checkpoint_free(c);
        }
}

/* Scores that are all the same number, none of them positive. */
static void a_row_of_2relu_without_a_sum_is_uniform(void **state)
{
    (void)state;
    for (int score = -1; score <= 0; score++) {
        struct checkpoint *c = make_small("quad", "2relu");
        const struct layer_weights *w = c->layers;
        size_t h = small.hidden;

        for (size_t i = 0; i < h * h; i++)
            c->values[w->query_w + i - c->values] = c->values[w->key_w + i - c->values] = 0;
        for (size_t i = 0; i < h; i++) {
            c->values[w->query_b + i - c->values] = 1;
            c->values[w->key_b + i - c->values] = (float)score;
        }
        for (size_t i = 0; i < h * h; i++) /* so that it matters what is attended to */
            c->values[w->value_w + i - c->values] *= 20;
        check_functions(c, 64, 16, 0.001);
        check_functions(c, 48, 12, 0.01);
        checkpoint_free(c);
    }
}

static void every_layer_has_functions_of_its_own(void **state)
{
    struct model_config k = small;
    struct checkpoint *c;

    (void)state;
    k.layers = 3;
    k.functions[0] = (struct layer_functions){HIDDEN_GELU, SOFTMAX_2QUAD};
    k.functions[1] = (struct layer_functions){HIDDEN_QUAD, SOFTMAX_EXP};
    k.functions[2] = (struct layer_functions){HIDDEN_TANH, SOFTMAX_2RELU};
    c = make_lively(&k);
    check_functions(c, 64, 16, 0.01);
    check_functions(c, 48, 12, 0.1);
    checkpoint_free(c);
}

struct edge {
    struct checkpoint *c;
    struct compiled *m;
};

/* A small model whose weights the caller may still move. */
static void edge_start(struct edge *e)
{
    *e = (struct edge){.c = make_small("quad", "2quad")};
}

static void set(struct edge *e, const float *at, float v)
{
    e->c->values[at - e->c->values] = v;
}

static int edge_try(struct edge *e, struct err *err)
{
    static const uint32_t tokens[] = {6};
    const struct compile_options o = {.ring = 64,
                                      .frac = 16,
                                      .tokens = tokens,
                                      .token_count = 1,
                                      .samples = &small_text,
                                      .sample_count = 1};
    const struct trial_options t = {.samples = &small_text, .sample_count = 1, .random_runs = 1};
    struct trial result;

    e->m = compile(e->c, &o);
    return trial_run(e->m, &t, &result, err);
}

static void edge_end(struct edge *e)
{
    compiled_free(e->m);
    checkpoint_free(e->c);
}

/* An embedding that rounds to a power of two has room in the ring that was chosen for it. */
static void an_embedding_may_round_up_to_a_power_of_two(void **state)
{
    struct err err = {0};
    struct edge e;

    (void)state;
    edge_start(&e);
    for (size_t i = 0; i < 19; i++)
        set(&e, &e.c->word_embeddings[24 * i], i == 7 ? nextafterf(1, 0) : 0);
    for (size_t i = 0; i < 2; i++)
        set(&e, &e.c->type_embeddings[24 * i], 0);
    for (size_t i = 0; i < 6; i++)
        set(&e, &e.c->position_embeddings[24 * i], 0);
    if (edge_try(&e, &err) < 0)
        fail_msg("%s", err.text);
    edge_end(&e);
}

/* How many operations of a kind stand at a place of the only variant. */
static size_t operations_at(const struct compiled *m, const char *what, enum op_id id)
{
    size_t count = 0;

    for (size_t i = 0; i < m->plan->variants[0].op_count; i++)
        count += m->plan->variants[0].ops[i].id == id && !strcmp(m->places[0][i].what, what);
    return count;
}

/*
 * Units that all look along one direction, so far that squares of what they make could wrap: their
 * sum is guarded, too, and a word that is nothing but that direction breaks it.
 */
static void a_sum_is_guarded_where_a_length_cannot_be(void **state)
{
    static const uint32_t tokens[] = {6}, lengths[] = {3};
    const struct encoding ordinary = {.count = 3, .ids = {1, 7, 3}};
    const struct encoding odd = {.count = 3, .ids = {15, 15, 15}};
    const struct compile_options o = {.ring = 48,
                                      .frac = 12,
                                      .tokens = tokens,
                                      .token_count = 1,
                                      .samples = &ordinary,
                                      .sample_count = 1};
    struct model_config k = small;
    int64_t output[LABELS_MAX + GUARDS_MAX];
    const struct variant *v;
    struct replay *r;
    uint64_t *input;
    struct edge e;

    (void)state;
    k.intermediate = 8;
    assert_int_equal(model_config_set_hidden(&k, "quad", NULL), 0);
    assert_int_equal(model_config_set_softmax(&k, "2quad", NULL), 0);
    assert_int_equal(checkpoint_random(&k, 1, &e.c, NULL), 0);
    for (size_t i = 0; i < k.hidden; i++) {
        double along = (i % 2 ? 1 : -1) / sqrt((double)k.hidden);

        set(&e, &e.c->word_embeddings[15 * k.hidden + i], (float)(0.3 * along));
        for (size_t unit = 0; unit < k.intermediate; unit++)
            set(&e, &e.c->layers[0].intermediate_w[unit * k.hidden + i], (float)(13 * along));
    }
    /* What they make cancels out, which no bound can know. */
    for (size_t i = 0; i < k.hidden * k.intermediate; i++)
        set(&e, &e.c->layers[0].output_w[i], (i / k.intermediate + i) % 2 ? 0.3f : -0.3f);
    e.m = compile(e.c, &o);
    assert_int_equal(operations_at(e.m, "feed-forward", OP_ROW_SUM), 1);
    try_out(e.m, e.c, &ordinary, 1);
    v = e.m->plan->variants;
    r = replay_new(e.m->plan, (const int64_t *const *)e.m->weights, kernels_here());
    check_answer(r, e.m, e.c, v, &ordinary, 0.05);
    input = calloc(wire_elements(&v->wires[0]), sizeof(*input));
    assert_non_null(input);
    assert_int_equal(compile_input(e.m->plan, v, &odd, input, NULL), 0);
    assert_int_equal(replay_run(r, v, lengths, input, output), 0);
    assert_non_null(plan_outside(e.m->plan, v, output, 0));
    assert_string_equal(plan_outside(e.m->plan, v, output, 0)->name, "layer 0, feed-forward");
    free(input);
    replay_free(r);
    edge_end(&e);
}

/* The step that might find the first row of the negative half is out of tanh's range. */
static void tanh_ends_before_its_last_step(void **state)
{
    struct err err = {0};
    struct edge e;

    (void)state;
    edge_start(&e);
    set(&e, &e.c->pooler_b[0], 127.5);
    assert_int_equal(edge_try(&e, &err), 0);
    edge_end(&e);
    edge_start(&e);
    for (size_t i = 0; i < 24; i++)
        set(&e, &e.c->pooler_w[i], 0);
    set(&e, &e.c->pooler_b[0], 127.99);
    assert_int_equal(edge_try(&e, &err), -ERANGE);
    assert_non_null(strstr(err.text, "pooler"));
    edge_end(&e);
}

static void made_up_weights_follow_their_seed(void **state)
{
    const struct model_config k = {.hidden = 64,
                                   .layers = 1,
                                   .heads = 2,
                                   .intermediate = 128,
                                   .vocab = 100,
                                   .positions_max = 16,
                                   .types = 2,
                                   .labels = 2};
    struct checkpoint *a = NULL, *b = NULL, *other = NULL;
    double squares = 0;

    (void)state;
    assert_int_equal(checkpoint_random(&k, 1, &a, NULL), 0);
    assert_int_equal(checkpoint_random(&k, 1, &b, NULL), 0);
    assert_int_equal(checkpoint_random(&k, 2, &other, NULL), 0);
    assert_memory_equal(a->values, b->values, a->bytes);
    assert_memory_not_equal(a->values, other->values, a->bytes);
    for (size_t i = 0; i < 100 * 64; i++)
        squares += pow(a->word_embeddings[i], 2);
    assert_true(fabs(sqrt(squares / 6400) - 0.02) < 0.001);
    assert_true(a->embedding_gain[63] == 1 && a->layers[0].output_b[0] == 0);
    assert_string_equal(a->config.label_names[1], "LABEL_1");
    checkpoint_free(a);
    checkpoint_free(b);
    checkpoint_free(other);
}

static void a_plan_survives_its_file(void **state)
{
    const struct fixture *f = *state;
    struct compile_options o = options_of(f, 48, 12);
    struct compiled *m = compile(f->checkpoint, &o), *again = compile(f->checkpoint, &o);
    struct plan *parsed = NULL;
    struct err err = {0};
    uint8_t *bytes;
    size_t count;
    int rc;

    assert_int_equal(plan_serialize(m->plan, &bytes, &count, &err), 0);
    rc = plan_parse(bytes, count, &parsed, &err);
    if (rc < 0)
        fail_msg("%s", err_text(&err, rc));
    assert_memory_equal(parsed->hash, m->plan->hash, PLAN_HASH_BYTES);
    assert_int_equal(parsed->variants[3].arena_words, m->plan->variants[3].arena_words);
    /* Two splits of one checkpoint are two models: masks belong to an id. */
    assert_memory_not_equal(again->plan->model_id, m->plan->model_id, PLAN_ID_BYTES);
    plan_free(parsed);
    free(bytes);
    compiled_free(again);
    compiled_free(m);
}

static void input_rows_are_one_hot_and_repeat_the_last(void **state)
{
    const struct encoding e = {.count = 2, .ids = {3, 1}, .types = {0, 1}};
    const struct plan plan = {.vocabulary = 4, .types = 2};
    const struct variant v = {.tokens = 3, .batch = 1};
    const uint64_t want[3][6] = {{0, 0, 0, 1, 1, 0}, {0, 1, 0, 0, 0, 1}, {0, 1, 0, 0, 0, 1}};
    struct encoding bad = e;
    uint64_t got[3][6];

    (void)state;
    assert_int_equal(compile_input(&plan, &v, &e, got[0], NULL), 0);
    assert_memory_equal(got, want, sizeof(want));
    bad.ids[1] = 4;
    assert_int_equal(compile_input(&plan, &v, &bad, got[0], NULL), -EINVAL);
    bad = e;
    bad.types[0] = 2;
    assert_int_equal(compile_input(&plan, &v, &bad, got[0], NULL), -EINVAL);
    bad.count = 0;
    assert_int_equal(compile_input(&plan, &v, &bad, got[0], NULL), -EINVAL);
    bad.count = 4;
    assert_int_equal(compile_input(&plan, &v, &bad, got[0], NULL), -EINVAL);
}

static void refused(const struct checkpoint *c, const struct compile_options *o, int code,
                    const char *text)
{
    struct compiled *m = NULL;
    struct err err = {0};

    assert_int_equal(compile_model(c, o, &m, &err), code);
    assert_null(m);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void formats_that_cannot_hold_the_model_are_refused(void **state)
{
    const struct fixture *f = *state;
    struct compile_options o = options_of(f, 32, 10);

    refused(f->checkpoint, &o, -ERANGE, "take a wider ring or fewer fraction bits");
    o = options_of(f, 40, 15);
    refused(f->checkpoint, &o, -ERANGE, "take a wider ring or fewer fraction bits");
}

/* One bucket, and a text cut to every length that it holds: the clear executor's answer is the
 * float model's, and the parties' the clear executor's, which they give without knowing it. */
static void a_secret_length_changes_no_answer(void **state)
{
    enum { BUCKET = 16 };
    static const uint32_t tokens[] = {BUCKET};
    static const size_t private[] = {1, 2, 3, 8, 9, BUCKET - 1, BUCKET};
    struct fixture *f = *state;
    struct encoding texts[BUCKET];
    struct compile_options o = options_of(f, 48, 12);
    struct compiled *m;
    struct replay *r;

    for (size_t i = 0; i < BUCKET; i++) {
        texts[i] = f->samples[13]; /* a long one */
        texts[i].count = i + 1;
    }
    o.tokens = tokens;
    o.token_count = 1;
    o.lengths = BOTH_LENGTHS;
    o.samples = texts;
    o.sample_count = BUCKET;
    m = compile(f->checkpoint, &o);
    assert_true(try_out(m, f->checkpoint, texts, BUCKET).float_error_max < 0.02);
    r = replay_new(m->plan, (const int64_t *const *)m->weights, kernels_here());
    for (size_t i = 0; i < ARRAY_LENGTH(private); i++)
        check_answer(r, m, f->checkpoint, plan_variant(m->plan, 1, LENGTH_BUCKET),
                     &texts[private[i] - 1], 0.02);
    replay_free(r);
    compiled_free(m);
}

/* A round to open presence, where it is opened at all, and a few elements for each token. */
static void a_secret_length_costs_next_to_nothing(void **state)
{
    static const uint32_t tokens[] = {6};
    struct compile_options o = {.ring = 48,
                                .frac = 12,
                                .tokens = tokens,
                                .token_count = 1,
                                .lengths = BOTH_LENGTHS,
                                .samples = &small_text,
                                .sample_count = 1};

    (void)state;
    for (int softmax = 0; softmax < SOFTMAX_ACTS; softmax++) {
        struct checkpoint *c = make_small("quad", softmax_act_name((enum softmax_act)softmax));
        struct compiled *m = compile(c, &o);
        bool opened = softmax != SOFTMAX_EXP;
        struct cost cost[LENGTH_MODES];

        for (size_t i = 0; i < LENGTH_MODES; i++)
            cost_variant(m->plan, &m->plan->variants[i], &cost[i], NULL);
        assert_int_equal(cost[LENGTH_BUCKET].rounds_online,
                         cost[LENGTH_PUBLIC].rounds_online + opened);
        assert_true(cost[LENGTH_BUCKET].bytes_online <=
                    cost[LENGTH_PUBLIC].bytes_online + (opened ? 6 * 48 : 0));
        if (!opened) {
            assert_int_equal(cost[LENGTH_BUCKET].bytes_online, cost[LENGTH_PUBLIC].bytes_online);
            assert_int_equal(cost[LENGTH_BUCKET].bytes_tape, cost[LENGTH_PUBLIC].bytes_tape);
        }
        compiled_free(m);
        checkpoint_free(c);
    }
}

/* Rows of tokens that are there are 1 and the power of two that fills the bucket; others 0. */
static void presence_follows_the_input(void **state)
{
    static const uint64_t scales[] = {8, 4, 2, 2, 1, 1, 1, 1};
    const struct variant v = {.tokens = 8, .batch = 1, .length = LENGTH_BUCKET};
    uint64_t got[8 * PRESENCE_COLS];

    (void)state;
    for (size_t count = 1; count <= 8; count++) {
        compile_presence(&v, count, got);
        for (size_t t = 0; t < 8; t++) {
            assert_int_equal(got[t * PRESENCE_COLS + PRESENCE_ONE], t < count);
            assert_int_equal(got[t * PRESENCE_COLS + PRESENCE_SCALED],
                             t < count ? scales[count - 1] : 0);
        }
    }
}

/* What the clear executor says of one text in a variant of its own. */
static void clear_alone(const struct compiled *m, const struct variant *v, const struct encoding *e,
                        int64_t *ret)
{
    uint64_t *input = calloc(wire_elements(&v->wires[0]), sizeof(*input));
    const uint8_t seed[PRG_SEED_BYTES] = {0};
    const uint32_t lengths[] = {(uint32_t)e->count};

    assert_non_null(input);
    assert_int_equal(compile_input(m->plan, v, e, input, NULL), 0);
    assert_int_equal(clear_run(m->plan, v, (const uint64_t *const *)m->weights, input, lengths,
                               CLEAR_FLOOR, seed, NULL, ret, NULL),
                     0);
    free(input);
}

/* Three texts of three lengths in one job: each has the answer that it has alone, to the unit. */
static void a_batch_answers_each_as_if_alone(void **state)
{
    static const uint32_t batches[] = {1, BATCH_MAX};
    struct fixture *f = *state;
    struct compile_options o = options_of(f, 48, 12);
    const struct variant *one, *three;
    int64_t together[VALUES_MAX], alone[VALUES_MAX];
    const uint8_t seed[PRG_SEED_BYTES] = {0};
    struct encoding texts[BATCH_MAX];
    uint32_t lengths[BATCH_MAX];
    size_t at = 0;
    struct compiled *m;
    struct replay *r;
    uint64_t *input;

    o.batches = batches;
    o.batch_count = 2;
    m = compile(f->checkpoint, &o);
    try_out(m, f->checkpoint, f->samples, f->count);
    assert_int_equal(m->plan->variant_count, 2 * ARRAY_LENGTH(buckets));
    one = plan_variant(m->plan, buckets[1], LENGTH_PUBLIC);
    three = plan_variant_batch(m->plan, buckets[1], LENGTH_PUBLIC, BATCH_MAX);
    assert_true(one->batch == 1 && three->batch == BATCH_MAX && one->tokens == three->tokens);
    for (size_t i = 0; i < f->count && at < BATCH_MAX; i++)
        if (f->samples[i].count <= one->tokens && (!at || f->samples[i].count != lengths[at - 1])) {
            lengths[at] = (uint32_t)f->samples[i].count;
            texts[at++] = f->samples[i];
        }
    assert_int_equal(at, BATCH_MAX);
    input = calloc(wire_elements(&three->wires[0]), sizeof(*input));
    assert_non_null(input);
    assert_int_equal(compile_input(m->plan, three, texts, input, NULL), 0);
    assert_int_equal(clear_run(m->plan, three, (const uint64_t *const *)m->weights, input, lengths,
                               CLEAR_FLOOR, seed, NULL, together, NULL),
                     0);
    for (size_t s = 0; s < BATCH_MAX; s++) {
        clear_alone(m, one, &texts[s], alone);
        assert_memory_equal(together + s * m->plan->labels, alone,
                            m->plan->labels * sizeof(*alone));
    }
    r = replay_new(m->plan, (const int64_t *const *)m->weights, kernels_here());
    check_answers(r, m, f->checkpoint, three, texts, 0.02);
    replay_free(r);
    free(input);
    compiled_free(m);
}

/* However many there are: the same operations in the same rounds, and no answer depends on where it
 * was computed. */
static void a_batch_has_the_operations_of_one(void **state)
{
    static const uint32_t batches[] = {1, PLAN_BATCH_MAX};
    const struct fixture *f = *state;
    struct compile_options o = options_of(f, 48, 12);
    struct compiled *m;

    o.batches = batches;
    o.batch_count = 2;
    m = compile(f->checkpoint, &o);
    for (size_t i = 0; i < m->plan->variant_count; i += 2) {
        const struct variant *one = &m->plan->variants[i], *many = one + 1;
        struct cost cost[2];

        assert_int_equal(many->batch, PLAN_BATCH_MAX);
        assert_int_equal(many->op_count, one->op_count);
        for (size_t j = 0; j < one->op_count; j++)
            assert_int_equal(many->ops[j].id, one->ops[j].id);
        cost_variant(m->plan, one, &cost[0], NULL);
        cost_variant(m->plan, many, &cost[1], NULL);
        assert_int_equal(cost[1].rounds_online, cost[0].rounds_online);
        assert_true(cost[1].bytes_online <= PLAN_BATCH_MAX * cost[0].bytes_online);
        assert_true(cost[1].bytes_tape <= PLAN_BATCH_MAX * cost[0].bytes_tape);
    }
    compiled_free(m);
}

static void senseless_options_are_refused(void **state)
{
    const struct fixture *f = *state;
    static const uint32_t falling[] = {32, 16}, too_long[] = {16, 1024}, too_short[] = {2};
    struct compile_options o = options_of(f, 33, 12);

    refused(f->checkpoint, &o, -EINVAL, "a ring of 33 bits");
    o = options_of(f, 48, 21);
    refused(f->checkpoint, &o, -EINVAL, "21 fraction bits");
    o = options_of(f, 48, 4);
    refused(f->checkpoint, &o, -EINVAL, "4 fraction bits");
    o = options_of(f, 48, 12);
    o.tokens = falling;
    o.token_count = 2;
    refused(f->checkpoint, &o, -EINVAL, "length bucket of 16");
    o.tokens = too_long;
    refused(f->checkpoint, &o, -EINVAL, "length bucket of 1024");
    o.tokens = too_short;
    o.token_count = 1;
    refused(f->checkpoint, &o, -EINVAL, "length bucket of 2");
    o = options_of(f, 48, 12);
    o.sample_count = 0;
    refused(f->checkpoint, &o, -EINVAL, "no sample text");
    o = options_of(f, 48, 12);
    o.batches = (const uint32_t[]){2, 4};
    o.batch_count = 2;
    refused(f->checkpoint, &o, -EINVAL, "no variant for one query");
    o.batches = (const uint32_t[]){1, PLAN_BATCH_MAX + 1};
    refused(f->checkpoint, &o, -EINVAL, "a batch of 33 queries");
    o.batches = (const uint32_t[]){1, 1};
    refused(f->checkpoint, &o, -EINVAL, "a batch of 1 queries");
    o.batch_count = PLAN_VARIANTS_MAX;
    refused(f->checkpoint, &o, -EINVAL, "length buckets for each of 64 batches");
}

/* A value that the samples at compile time did not show: the trial names operation and place. */
static void a_trial_names_what_leaves_its_range(void **state)
{
    const struct fixture *f = *state;
    const struct compile_options o = options_of(f, 48, 12);
    const struct trial_options t = {.samples = f->samples, .sample_count = 1, .random_runs = 1};
    struct compiled *m = compile(f->checkpoint, &o);
    struct err err = {0};
    struct trial result;

    for (size_t i = 0; i < m->plan->weight_count; i++)
        for (size_t j = 0; strcmp(m->plan->weights[i].name, "layer 1 feed-forward down") == 0 &&
                           j < weight_elements(&m->plan->weights[i]);
             j++)
            m->weights[i][j] *= 256;
    assert_int_equal(trial_run(m, &t, &result, &err), -ERANGE);
    assert_non_null(strstr(err.text, "layer 1, LayerNorm after feed-forward, 16 tokens"));
    assert_true(m->plan->error_bound == 0);
    compiled_free(m);
}

static void default_buckets_double_up_to_the_models_length(void **state)
{
    uint32_t got[PLAN_VARIANTS_MAX];

    (void)state;
    assert_int_equal(compile_buckets(512, got), 6);
    assert_int_equal(got[0], 16);
    assert_int_equal(got[5], 512);
    assert_int_equal(compile_buckets(4096, got), 6);
    assert_int_equal(compile_buckets(100, got), 4);
    assert_int_equal(got[3], 100);
    assert_int_equal(compile_buckets(11, got), 1);
    assert_int_equal(got[0], 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_answers_are_the_float_models_64_16),
        cmocka_unit_test(private_answers_are_the_float_models_48_12),
        cmocka_unit_test(private_answers_are_the_float_models_40_11),
        cmocka_unit_test(odd_shapes_compile),
        cmocka_unit_test(every_pair_of_functions_answers_as_the_float_model),
        cmocka_unit_test(a_row_of_2relu_without_a_sum_is_uniform),
        cmocka_unit_test(every_layer_has_functions_of_its_own),
        cmocka_unit_test(a_secret_length_changes_no_answer),
        cmocka_unit_test(a_secret_length_costs_next_to_nothing),
        cmocka_unit_test(presence_follows_the_input),
        cmocka_unit_test(every_form_can_be_left_out),
        cmocka_unit_test(an_embedding_may_round_up_to_a_power_of_two),
        cmocka_unit_test(a_sum_is_guarded_where_a_length_cannot_be),
        cmocka_unit_test(tanh_ends_before_its_last_step),
        cmocka_unit_test(a_batch_answers_each_as_if_alone),
        cmocka_unit_test(a_batch_has_the_operations_of_one),
        cmocka_unit_test(made_up_weights_follow_their_seed),
        cmocka_unit_test(a_plan_survives_its_file),
        cmocka_unit_test(input_rows_are_one_hot_and_repeat_the_last),
        cmocka_unit_test(formats_that_cannot_hold_the_model_are_refused),
        cmocka_unit_test(senseless_options_are_refused),
        cmocka_unit_test(a_trial_names_what_leaves_its_range),
        cmocka_unit_test(default_buckets_double_up_to_the_models_length),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
