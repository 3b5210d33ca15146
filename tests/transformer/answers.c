#include "tests/transformer/answers.h"

#include "mpc/clear.h"
#include "mpc/cost.h"
#include "transformer/reference.h"

#include <math.h>

#define MODEL SOURCE_ROOT "/models/sst2-tiny"

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

const uint32_t buckets[BUCKETS] = {8, 16, 32, 64};

int set_up(void **state)
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

int tear_down(void **state)
{
    struct fixture *f = *state;

    checkpoint_free(f->checkpoint);
    free(f->samples);
    free(f);
    return 0;
}

struct compile_options options_of(const struct fixture *f, unsigned int ring, unsigned int frac)
{
    return (struct compile_options){
        .ring = ring,
        .frac = frac,
        .name = "test",
        .tokens = buckets,
        .token_count = BUCKETS,
        .samples = f->samples,
        .sample_count = f->count,
    };
}

struct compiled *compile(const struct checkpoint *c, const struct compile_options *o)
{
    struct compiled *m = NULL;
    struct err err = {0};
    int rc = compile_model(c, o, &m, &err);

    if (rc < 0)
        fail_msg("%s", err_text(&err, rc));
    return m;
}

struct trial try_out(struct compiled *m, const struct checkpoint *c, const struct encoding *samples,
                     size_t count)
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

void check_answers(struct replay *r, const struct compiled *m, const struct checkpoint *c,
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

void check_answer(struct replay *r, const struct compiled *m, const struct checkpoint *c,
                  const struct variant *v, const struct encoding *e, double error)
{
    assert_int_equal(v->batch, 1);
    check_answers(r, m, c, v, e, error);
}

const struct encoding small_text = {.count = 5, .ids = {1, 7, 3, 18, 2}, .types = {0, 0, 0, 1, 1}};

const struct model_config small = {
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

struct checkpoint *make_small(const char *hidden_act, const char *softmax_act)
{
    struct model_config k = small;
    struct checkpoint *c = NULL;

    assert_int_equal(model_config_set_hidden(&k, hidden_act, NULL), 0);
    assert_int_equal(model_config_set_softmax(&k, softmax_act, NULL), 0);
    assert_int_equal(checkpoint_random(&k, 1, &c, NULL), 0);
    return c;
}
