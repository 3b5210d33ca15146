/*
 * What a data owner sends of a text: both parties' inputs expand to shares that add up to the
 * one-hot rows, in every ring; an input that is another job's, row's or party's does not; and what
 * is refused before anything is shared.
 */
#include "tests/appliance/fixture.h"

#include "appliance/input.h"
#include "mpc/dpf.h"
#include "mpc/op.h"
#include "transformer/compile.h"

#include <stdlib.h>
#include <string.h>

#define VOCABULARY 1000
#define TYPES      2
#define COLUMNS    (VOCABULARY + TYPES)
#define TOKENS     8
#define LABELS     2

static const struct encoding text = {
    .count = 5, .ids = {1, 999, 0, 7, 512}, .types = {0, 0, 0, 1, 1}};

static const uint8_t job[MESSAGE_ID_BYTES] = {1, 2, 3};

/* As much of a plan as sharing looks at; the input has @ring bits. */
static struct plan *make_plan(unsigned int ring, uint32_t types)
{
    struct plan *plan = plan_new();
    const struct op input = {.id = OP_INPUT, .attr_count = INPUT_ATTRS, .attr = {ring}};
    struct variant *v;
    uint32_t wire;

    assert_non_null(plan);
    plan->vocabulary = VOCABULARY;
    plan->types = types;
    plan->ring = 64;
    for (uint32_t tokens = 4; tokens <= TOKENS; tokens *= 2) {
        assert_int_equal(plan_add_variant(plan, tokens, LENGTH_PUBLIC, 1, &v, NULL), 0);
        assert_int_equal(plan_add_op(plan, v, &input, &wire, NULL), 0);
    }
    return plan;
}

/* Both parties, and what they were sent. */
struct pair {
    struct plan *plan;
    const struct variant *v;
    size_t bytes;
    uint8_t *sent[2];
    struct input *party[2];
    uint64_t *rows[2];
};

static void pair_start(struct pair *p, unsigned int ring, uint32_t types)
{
    const struct variant *v;

    p->plan = make_plan(ring, types);
    p->v = plan_variant(p->plan, (uint32_t)text.count, LENGTH_PUBLIC);
    p->bytes = input_bytes(p->plan, p->v);
    for (unsigned int i = 0; i < 2; i++) {
        p->sent[i] = malloc(p->bytes);
        p->party[i] = input_new(p->plan, i);
        p->rows[i] = calloc((size_t)TOKENS * (VOCABULARY + types), sizeof(uint64_t));
        assert_true(p->sent[i] && p->party[i] && p->rows[i]);
    }
    assert_int_equal(input_check(p->plan, &text, 1, LENGTH_PUBLIC, &v, NULL), 0);
    assert_ptr_equal(v, p->v);
    assert_int_equal(input_share(p->plan, p->v, job, &text, 1, p->sent), 0);
}

static void pair_end(struct pair *p)
{
    for (unsigned int i = 0; i < 2; i++) {
        free(p->sent[i]);
        free(p->rows[i]);
        input_free(p->party[i]);
    }
    plan_free(p->plan);
}

static void expand(struct pair *p, const uint8_t id[MESSAGE_ID_BYTES])
{
    for (unsigned int i = 0; i < 2; i++)
        assert_int_equal(input_expand(p->party[i], p->v, id, p->sent[i], p->bytes, p->rows[i]), 0);
}

/* Elements of a row in which the two shares do not add up to the text. */
static size_t wrong_in_row(const struct pair *p, size_t row)
{
    size_t columns = VOCABULARY + p->plan->types, wrong = 0, from = MIN(row, text.count - 1);

    for (size_t i = 0; i < columns; i++) {
        uint64_t sum = p->rows[0][row * columns + i] + p->rows[1][row * columns + i];
        bool one = i == text.ids[from] || (i >= VOCABULARY && i - VOCABULARY == text.types[from]);

        wrong += (sum & ring_mask(p->v->wires[0].ring)) != one;
    }
    return wrong;
}

static void test_shares_add_up(void **state)
{
    (void)state;
    for (unsigned int ring = 16; ring <= RING_BITS_MAX; ring += 8)
        for (uint32_t types = 0; types <= TYPES; types += TYPES) {
            struct pair p;

            pair_start(&p, ring, types);
            expand(&p, job);
            for (size_t row = 0; row < TOKENS; row++)
                assert_int_equal(wrong_in_row(&p, row), 0);
            pair_end(&p);
        }
}

/* The rows are those that the clear executor is given. */
static void test_rows_are_the_compilers(void **state)
{
    uint64_t *clear = calloc((size_t)TOKENS * COLUMNS, sizeof(*clear)), wrong = 0;
    struct pair p;

    (void)state;
    assert_non_null(clear);
    pair_start(&p, 64, TYPES);
    expand(&p, job);
    assert_int_equal(compile_input(p.plan, p.v, &text, clear, NULL), 0);
    for (size_t i = 0; i < (size_t)TOKENS * COLUMNS; i++)
        wrong |= (p.rows[0][i] + p.rows[1][i] - clear[i]) & ring_mask(p.v->wires[0].ring);
    assert_int_equal(wrong, 0);
    free(clear);
    pair_end(&p);
}

/* The size says nothing of the text, and follows from the plan alone. */
static void test_size(void **state)
{
    unsigned int ring;
    struct pair p;

    (void)state;
    pair_start(&p, 48, TYPES);
    ring = p.v->wires[0].ring;
    assert_int_equal(p.bytes, TOKENS * (dpf_key_bytes(VOCABULARY, ring) + TYPES * ring / 8));
    assert_int_equal(input_bytes(p.plan, &p.plan->variants[0]), p.bytes / 2);
    for (size_t n = p.bytes - 1; n <= p.bytes + 1; n += 2)
        assert_int_equal(input_expand(p.party[0], p.v, job, p.sent[0], n, p.rows[0]), -EINVAL);
    assert_int_equal(input_expand(p.party[0], p.v, job, p.sent[0], 0, p.rows[0]), -EINVAL);
    pair_end(&p);
}

/* Nearly all of a row is wrong when it was expanded for what it was not made for. */
static void check_noise(const struct pair *p, size_t row)
{
    assert_true(wrong_in_row(p, row) >= VOCABULARY);
}

static void test_bound_to_the_job(void **state)
{
    uint8_t other[MESSAGE_ID_BYTES];
    struct pair p;

    (void)state;
    pair_start(&p, 64, TYPES);
    for (size_t i = 0; i < sizeof(other); i += 5) {
        memcpy(other, job, sizeof(other));
        other[i] ^= 1;
        expand(&p, other);
        for (size_t row = 0; row < TOKENS; row++)
            check_noise(&p, row);
    }
    p.plan->model_id[3] ^= 1;
    expand(&p, job);
    check_noise(&p, 0);
    pair_end(&p);
}

/* Two rows in each other's place, at both parties: noise there, and no harm elsewhere. */
static void test_bound_to_the_row(void **state)
{
    uint8_t row[1024];
    struct pair p;
    size_t bytes;

    (void)state;
    pair_start(&p, 64, TYPES);
    bytes = p.bytes / TOKENS;
    assert_true(bytes <= sizeof(row));
    for (unsigned int i = 0; i < 2; i++) {
        memcpy(row, p.sent[i], bytes);
        memcpy(p.sent[i], p.sent[i] + bytes, bytes);
        memcpy(p.sent[i] + bytes, row, bytes);
    }
    expand(&p, job);
    check_noise(&p, 0);
    check_noise(&p, 1);
    for (size_t i = 2; i < TOKENS; i++)
        assert_int_equal(wrong_in_row(&p, i), 0);
    pair_end(&p);
}

/* A text shared twice has nothing in common, nor have two rows of one token. */
static void test_fresh(void **state)
{
    uint8_t *again[2];
    struct pair p;
    size_t bytes;

    (void)state;
    pair_start(&p, 64, TYPES);
    bytes = p.bytes / TOKENS;
    for (unsigned int i = 0; i < 2; i++) {
        again[i] = malloc(p.bytes);
        assert_non_null(again[i]);
    }
    assert_int_equal(input_share(p.plan, p.v, job, &text, 1, again), 0);
    for (unsigned int i = 0; i < 2; i++) {
        for (size_t at = 0; at + DPF_SEED_BYTES <= bytes; at += DPF_SEED_BYTES) {
            assert_memory_not_equal(p.sent[i] + at, again[i] + at, DPF_SEED_BYTES);
            assert_memory_not_equal(p.sent[i] + 5 * bytes + at, p.sent[i] + 6 * bytes + at,
                                    DPF_SEED_BYTES);
        }
        free(again[i]);
    }
    pair_end(&p);
}

static void test_refused(void **state)
{
    const struct variant *v = NULL;
    struct plan *plan = make_plan(64, TYPES);
    struct encoding e = text;
    struct err err = {""};

    (void)state;
    e.ids[4] = VOCABULARY;
    assert_int_equal(input_check(plan, &e, 1, LENGTH_PUBLIC, &v, &err), -EINVAL);
    assert_contains(err.text, "the vocabulary is another model's");
    e = text;
    e.types[1] = TYPES;
    assert_int_equal(input_check(plan, &e, 1, LENGTH_PUBLIC, &v, NULL), -EINVAL);
    e = text;
    e.count = 0;
    assert_int_equal(input_check(plan, &e, 1, LENGTH_PUBLIC, &v, NULL), -EINVAL);
    e.count = TOKENS + 1;
    err = (struct err){""};
    assert_int_equal(input_check(plan, &e, 1, LENGTH_PUBLIC, &v, &err), -EINVAL);
    assert_contains(err.text, "9 tokens: the plan takes 1 to 8");
    e.count = SIZE_MAX;
    assert_int_equal(input_check(plan, &e, 1, LENGTH_PUBLIC, &v, NULL), -EINVAL);
    assert_int_equal(input_check(plan, &text, 0, LENGTH_PUBLIC, &v, NULL), -EINVAL);
    err = (struct err){""};
    assert_int_equal(
        input_check(plan, (struct encoding[2]){text, text}, 2, LENGTH_PUBLIC, &v, &err), -EINVAL);
    assert_contains(err.text, "2 texts of up to 5 tokens at once");
    assert_null(v);
    plan_free(plan);
}

/* Two texts in a variant of three: the last one is there twice, and every row is its own. */
static void test_batch(void **state)
{
    const struct encoding texts[3] = {
        text, {.count = 2, .ids = {9, 4}}, {.count = 2, .ids = {9, 4}}};
    struct plan *plan = make_plan(64, TYPES);
    size_t rows = 3 * TOKENS, count = rows * COLUMNS;
    uint64_t *shares[2], *clear = calloc(count, sizeof(*clear)), wrong = 0;
    uint32_t lengths[PLAN_BATCH_MAX], wire;
    const struct op op = {.id = OP_INPUT, .attr_count = INPUT_ATTRS, .attr = {64}};
    const struct variant *v;
    struct variant *three;
    uint8_t *sent[2];
    size_t bytes;

    (void)state;
    assert_int_equal(plan_add_variant(plan, TOKENS, LENGTH_PUBLIC, 3, &three, NULL), 0);
    assert_int_equal(plan_add_op(plan, three, &op, &wire, NULL), 0);
    assert_int_equal(input_check(plan, texts, 2, LENGTH_PUBLIC, &v, NULL), 0);
    assert_ptr_equal(v, three);
    bytes = input_bytes(plan, v);
    assert_int_equal(bytes, 3 * input_bytes(plan, plan_variant(plan, TOKENS, LENGTH_PUBLIC)));
    input_lengths(v, texts, 2, lengths);
    assert_true(lengths[0] == text.count && lengths[1] == 2 && lengths[2] == 2);
    for (unsigned int i = 0; i < 2; i++) {
        sent[i] = malloc(bytes);
        shares[i] = calloc(count, sizeof(**shares));
        assert_true(sent[i] && shares[i]);
    }
    assert_int_equal(input_share(plan, v, job, texts, 2, sent), 0);
    for (unsigned int i = 0; i < 2; i++) {
        struct input *in = input_new(plan, i);

        assert_non_null(in);
        assert_int_equal(input_expand(in, v, job, sent[i], bytes, shares[i]), 0);
        input_free(in);
    }
    assert_non_null(clear);
    assert_int_equal(compile_input(plan, v, texts, clear, NULL), 0);
    for (size_t i = 0; i < count; i++)
        wrong |= shares[0][i] + shares[1][i] - clear[i];
    assert_int_equal(wrong, 0);
    for (unsigned int i = 0; i < 2; i++) {
        free(sent[i]);
        free(shares[i]);
    }
    free(clear);
    plan_free(plan);
}

/* Two texts in a bucket of secret lengths: the rows, then presence that adds up in the plan's ring,
 * in as many bytes for all texts, of which each party's alone are random. */
static void test_presence(void **state)
{
    enum { WORDS = TOKENS * PRESENCE_COLS };
    const struct op op = {.id = OP_INPUT, .attr_count = INPUT_ATTRS, .attr = {24}};
    struct plan *plan = make_plan(24, TYPES);
    struct variant *bucket;
    const struct variant *v = NULL;
    uint32_t lengths[PLAN_BATCH_MAX], wire;
    struct err err = {""};

    (void)state;
    plan->ring = 48;
    assert_int_equal(input_check(plan, &text, 1, LENGTH_BUCKET, &v, &err), -EINVAL);
    assert_contains(err.text, "no variant for bucket lengths");
    assert_int_equal(plan_add_variant(plan, TOKENS, LENGTH_BUCKET, 1, &bucket, NULL), 0);
    assert_int_equal(plan_add_op(plan, bucket, &op, &wire, NULL), 0);
    for (size_t count = 1; count <= TOKENS; count++) {
        struct encoding e = text;
        size_t bytes, words;
        uint64_t *clear, *shares[2];
        uint8_t *sent[2];

        e.count = count;
        assert_int_equal(input_check(plan, &e, 1, LENGTH_BUCKET, &v, NULL), 0);
        assert_ptr_equal(v, bucket);
        input_lengths(v, &e, 1, lengths);
        assert_int_equal(lengths[0], TOKENS);
        bytes = input_bytes(plan, v);
        words = variant_input_words(v);
        assert_int_equal(bytes,
                         input_bytes(plan, plan_variant(plan, TOKENS, LENGTH_PUBLIC)) + WORDS * 6);
        clear = calloc(words, sizeof(*clear));
        assert_non_null(clear);
        for (unsigned int i = 0; i < 2; i++) {
            sent[i] = malloc(bytes);
            shares[i] = calloc(words, sizeof(**shares));
            assert_true(sent[i] && shares[i]);
        }
        assert_int_equal(input_share(plan, v, job, &e, 1, sent), 0);
        for (unsigned int i = 0; i < 2; i++) {
            struct input *in = input_new(plan, i);

            assert_non_null(in);
            assert_int_equal(input_expand(in, v, job, sent[i], bytes - 1, shares[i]), -EINVAL);
            assert_int_equal(input_expand(in, v, job, sent[i], bytes - WORDS * 6, shares[i]),
                             -EINVAL);
            assert_int_equal(input_expand(in, v, job, sent[i], bytes, shares[i]), 0);
            input_free(in);
        }
        assert_int_equal(compile_input(plan, v, &e, clear, NULL), 0);
        for (size_t i = 0; i < words; i++) {
            unsigned int ring = i < variant_presence_at(v) ? 24 : 48;

            assert_int_equal((shares[0][i] + shares[1][i] - clear[i]) & ring_mask(ring), 0);
        }
        /* Of the same presence, nothing is the same. */
        for (size_t i = 2; i < WORDS; i++)
            assert_int_not_equal(shares[1][variant_presence_at(v) + i],
                                 shares[1][variant_presence_at(v) + i - 2]);
        for (unsigned int i = 0; i < 2; i++) {
            free(sent[i]);
            free(shares[i]);
        }
        free(clear);
    }
    plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_add_up),
        cmocka_unit_test(test_rows_are_the_compilers),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_bound_to_the_job),
        cmocka_unit_test(test_bound_to_the_row),
        cmocka_unit_test(test_fresh),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_presence),
    };

    return cmocka_run_group_tests_name("input", tests, NULL, NULL);
}
