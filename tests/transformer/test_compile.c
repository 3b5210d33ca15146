/*
 * The compiler: what the two parties and the dealer make of a compiled model, against the float
 * reference and the clear executor; and what it refuses.
 */
#include "tests/transformer/answers.h"

#include "mpc/clear.h"
#include "mpc/cost.h"
#include "tests/transformer/folder.h"

#include <math.h>

static void check_format(const struct fixture *f, unsigned int ring, unsigned int frac,
                         double error)
{
    const struct compile_options o = options_of(f, ring, frac);
    struct compiled *m = compile(f->checkpoint, &o);
    struct trial t = try_out(m, f->checkpoint, f->samples, f->count);
    struct replay *r = replay_new(m->plan, (const int64_t *const *)m->weights, kernels_here());
    bool used[BUCKETS] = {false};

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
    for (size_t i = 0; i < BUCKETS; i++)
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
        cmocka_unit_test(every_form_can_be_left_out),
        cmocka_unit_test(an_embedding_may_round_up_to_a_power_of_two),
        cmocka_unit_test(a_sum_is_guarded_where_a_length_cannot_be),
        cmocka_unit_test(tanh_ends_before_its_last_step),
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
