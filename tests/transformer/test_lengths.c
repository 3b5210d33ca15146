/*
 * Texts of other lengths than their bucket's: lengths that only their owner knows, and batches of
 * texts of several lengths.
 */
#include "mpc/clear.h"
#include "mpc/cost.h"
#include "tests/transformer/answers.h"

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
    assert_int_equal(m->plan->variant_count, 2 * BUCKETS);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_length_changes_no_answer),
        cmocka_unit_test(a_secret_length_costs_next_to_nothing),
        cmocka_unit_test(presence_follows_the_input),
        cmocka_unit_test(a_batch_answers_each_as_if_alone),
        cmocka_unit_test(a_batch_has_the_operations_of_one),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
