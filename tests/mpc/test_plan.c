/*
 * plan: what is written is read back the same; what is truncated, flipped or of another version is
 * refused by name; what is forged with a right digest is either refused or safe to run. And no two
 * wires that live at once share a word.
 */
#include "mpc/plan.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "mpc/cost.h"
#include "tests/mpc/samples.h"

#include <stdlib.h>
#include <string.h>

#define NONE         OPERAND_NONE
#define VERSION_AT   8 /* behind the magic */
#define BODY_AT      12
#define MUTATIONS    20000
#define FORGED_RUNS  300
#define FORGED_WORDS ((size_t)1 << 16)
#define FORGED_MACS  ((uint64_t)1 << 20)

/* The products of a sequence's first row: an answer of three elements, however many tokens there
 * are. */
static uint32_t first_row(struct build *b)
{
    const int64_t attrs[MATMUL_ATTRS] = {
        [MATMUL_BATCH] = 1,
        [MATMUL_ROWS] = 1,
        [MATMUL_INNER] = SAMPLE_TOKENS,
        [MATMUL_COLS] = 3,
        [MATMUL_B_ROW] = SAMPLE_TOKENS,
        [MATMUL_B_COL] = 1,
        [MATMUL_GROUPS] = b->v->batch,
        [MATMUL_A_GROUP] = b->v->tokens * SAMPLE_TOKENS,
        [MATMUL_B_GROUP] = b->v->tokens * SAMPLE_TOKENS,
    };
    uint32_t x = build_open(b, b->x);

    return build_matmul(b, x, x, attrs);
}

/* Every kind of operation, weight and wire, in three variants. */
static void everything(struct build *b)
{
    build_start(b, 48, SAMPLE_TOKENS, SAMPLE_TOKENS);
    build_lookup(b, build_open(b, b->x), 3, NONE, 6, 1, (int64_t[64]){5, -5, 4, -4, 3, -3, 2, -2});
    for (size_t i = 0; i < sample_count; i++)
        if (strncmp(samples[i].name, "lookup", 6) != 0) /* whose tables are large */
            samples[i].build(b);
    build_answer(b, first_row(b));
    build_variant(b, SAMPLE_TOKENS + 3);
    build_answer(b, first_row(b));
    build_variant_batch(b, SAMPLE_TOKENS + 3, 2);
    build_answer(b, first_row(b));
    build_seal(b);
}

static uint8_t *bytes_of(const struct build *b, size_t *ret_count)
{
    struct err err = {""};
    uint8_t *bytes;

    assert_int_equal(plan_serialize(b->plan, &bytes, ret_count, &err), 0);
    return bytes;
}

/* --- reading and writing --- */

static void same_layout(const struct variant *a, const struct variant *b)
{
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->batch, b->batch);
    assert_int_equal(a->wire_count, b->wire_count);
    assert_int_equal(a->op_count, b->op_count);
    assert_int_equal(a->arena_words, b->arena_words);
    assert_int_equal(a->scratch_words, b->scratch_words);
    assert_int_equal(a->tape_bytes, b->tape_bytes);
    assert_int_equal(a->prepared_words, b->prepared_words);
    for (size_t i = 0; i < a->wire_count; i++) {
        const struct wire *x = &a->wires[i], *y = &b->wires[i];

        assert_true(x->kind == y->kind && x->ring == y->ring && x->cut == y->cut);
        assert_true(x->frac == y->frac);
        assert_true(x->rows == y->rows && x->cols == y->cols);
        assert_true(x->offset == y->offset && x->words == y->words);
    }
    for (size_t i = 0; i < a->op_count; i++) {
        const struct op *x = &a->ops[i], *y = &b->ops[i];

        assert_true(x->id == y->id && x->index == y->index && x->out == y->out);
        assert_true(x->tape_offset == y->tape_offset && x->tape_bytes == y->tape_bytes);
        assert_true(x->prepared_offset == y->prepared_offset);
    }
}

static void test_round_trip(void **state)
{
    struct plan *read = NULL;
    struct err err = {""};
    uint8_t *bytes, *again;
    size_t count, again_count;
    struct build b;

    (void)state;
    everything(&b);
    bytes = bytes_of(&b, &count);
    if (plan_parse(bytes, count, &read, &err) < 0)
        fail_msg("%s", err.text);
    assert_memory_equal(read->hash, b.plan->hash, PLAN_HASH_BYTES);
    assert_memory_equal(read->hash, bytes + count - HASH_BYTES, HASH_BYTES);
    assert_string_equal(read->name, "test");
    assert_int_equal(read->weight_count, b.plan->weight_count);
    assert_int_equal(read->table_count, 3);
    assert_int_equal(read->variant_count, 3);
    for (size_t i = 0; i < 3; i++)
        same_layout(&read->variants[i], &b.plan->variants[i]);

    assert_int_equal(plan_serialize(read, &again, &again_count, &err), 0);
    assert_int_equal(again_count, count);
    assert_memory_equal(again, bytes, count);
    plan_free(read);
    free(again);
    free(bytes);
    build_end(&b);
}

/* Two plans that differ anywhere have two hashes. */
static void test_hash_binds(void **state)
{
    struct build b[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        build_start(&b[i], 48, 2, 2);
        b[i].plan->model_id[15] = (uint8_t)i;
        build_finish(&b[i], b[i].x);
    }
    assert_memory_not_equal(b[0].plan->hash, b[1].plan->hash, PLAN_HASH_BYTES);
    build_end(&b[0]);
    build_end(&b[1]);
}

static void test_variant_for_length(void **state)
{
    struct build b;

    (void)state;
    everything(&b);
    assert_int_equal(plan_variant(b.plan, 1)->tokens, SAMPLE_TOKENS);
    assert_int_equal(plan_variant(b.plan, SAMPLE_TOKENS)->tokens, SAMPLE_TOKENS);
    assert_int_equal(plan_variant(b.plan, SAMPLE_TOKENS + 1)->tokens, SAMPLE_TOKENS + 3);
    assert_null(plan_variant(b.plan, SAMPLE_TOKENS + 4));
    assert_int_equal(plan_variant(b.plan, SAMPLE_TOKENS + 1)->batch, 1);

    /* Of several sequences the length still comes first. */
    assert_ptr_equal(plan_variant_batch(b.plan, 1, 1), &b.plan->variants[0]);
    assert_ptr_equal(plan_variant_batch(b.plan, 1, 2), &b.plan->variants[2]);
    assert_null(plan_variant_batch(b.plan, 1, 3));
    assert_ptr_equal(plan_variant_exact(b.plan, SAMPLE_TOKENS + 3, 2), &b.plan->variants[2]);
    assert_null(plan_variant_exact(b.plan, SAMPLE_TOKENS, 2));
    assert_null(plan_variant_exact(b.plan, SAMPLE_TOKENS + 3, 3));
    assert_null(plan_variant_exact(b.plan, SAMPLE_TOKENS + 4, 1));
    build_end(&b);
}

/* Parse a copy that ends where its allocation ends, so that a sanitizer sees a read past it. */
static int parse_copy(const uint8_t *bytes, size_t count, struct plan **ret, struct err *err)
{
    uint8_t *copy = malloc(count ? count : 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy, bytes, count);
    rc = plan_parse(copy, count, ret, err);
    free(copy);
    return rc;
}

static void put_digest(uint8_t *bytes, size_t count)
{
    hash_bytes(bytes, count - HASH_BYTES, bytes + count - HASH_BYTES);
}

static void check_refused(const uint8_t *bytes, size_t count, const char *what, size_t at)
{
    struct plan *plan = NULL;
    struct err err = {""};
    int rc = parse_copy(bytes, count, &plan, &err);

    if (rc >= 0)
        fail_msg("%s at %zu was taken", what, at);
    assert_null(plan);
    assert_true(err.text[0]);
    assert_true(rc == -EPROTO || rc == -EBADMSG || rc == -EINVAL || rc == -E2BIG);
}

static void test_truncated(void **state)
{
    struct build b;
    uint8_t *bytes;
    size_t count;

    (void)state;
    everything(&b);
    bytes = bytes_of(&b, &count);
    for (size_t n = 0; n < count; n++)
        check_refused(bytes, n, "truncation", n);
    /* With the digest made right again, it is the parser that must notice. */
    for (size_t n = count - 1; n >= BODY_AT + HASH_BYTES; n--) {
        put_digest(bytes, n);
        check_refused(bytes, n, "truncation with a right digest", n);
    }
    free(bytes);
    build_end(&b);
}

static void test_bits_flipped(void **state)
{
    struct build b;
    uint8_t *bytes;
    size_t count;

    (void)state;
    everything(&b);
    bytes = bytes_of(&b, &count);
    for (size_t bit = 0; bit < count * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        check_refused(bytes, count, "a flipped bit", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
    build_end(&b);
}

static void test_other_version(void **state)
{
    struct plan *plan = NULL;
    struct err err = {""};
    struct build b;
    uint8_t *bytes;
    size_t count;

    (void)state;
    everything(&b);
    bytes = bytes_of(&b, &count);
    store_le32(bytes + VERSION_AT, PLAN_VERSION + 1);
    put_digest(bytes, count);
    assert_int_equal(parse_copy(bytes, count, &plan, &err), -EPROTO);
    assert_non_null(strstr(err.text, "version 4"));
    assert_non_null(strstr(err.text, "version 3"));
    free(bytes);
    build_end(&b);
}

static void test_left_over(void **state)
{
    struct build b;
    uint8_t *bytes;
    size_t count;

    (void)state;
    everything(&b);
    bytes = bytes_of(&b, &count);
    bytes = realloc(bytes, count + 1);
    assert_non_null(bytes);
    put_digest(bytes, count + 1);
    check_refused(bytes, count + 1, "a byte too many", count);
    free(bytes);
    build_end(&b);
}

/* --- forgeries --- */

static bool small_enough(const struct plan *plan)
{
    for (size_t i = 0; i < plan->variant_count; i++) {
        const struct variant *v = &plan->variants[i];
        struct cost cost;

        cost_variant(plan, v, &cost, NULL);
        if (v->arena_words > FORGED_WORDS || v->scratch_words > FORGED_WORDS ||
            v->prepared_words > FORGED_WORDS || v->tape_bytes > FORGED_WORDS ||
            cost.macs_online > FORGED_MACS)
            return false;
    }
    return model_file_bytes(plan) < FORGED_WORDS;
}

/* Whoever forged it, dealer and parties must come through every operation inside their memory. */
static void run_forged(const struct plan *plan)
{
    uint64_t *zeros = calloc(FORGED_WORDS, sizeof(*zeros));
    const int64_t **weights = calloc(plan->weight_count + 1, sizeof(*weights));
    int64_t output[PLAN_ANSWERS_MAX];
    struct replay *r;

    assert_true(zeros && weights);
    for (size_t i = 0; i < plan->weight_count; i++)
        weights[i] = (const int64_t *)zeros;
    r = replay_new(plan, weights, kernels_here());
    for (size_t i = 0; i < plan->variant_count; i++) {
        const struct variant *v = &plan->variants[i];
        uint32_t lengths[PLAN_BATCH_MAX];

        for (size_t s = 0; s < v->batch; s++)
            lengths[s] = v->tokens;
        assert_int_equal(replay_run(r, v, lengths, zeros, output), 0);
    }
    replay_free(r);
    free(weights);
    free(zeros);
}

static void mutate(uint8_t *bytes, size_t count)
{
    static const uint64_t values[] = {
        0,   1,          2,          3,         63,        64,         127,        128,
        255, UINT32_MAX, 1ull << 31, INT32_MAX, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 1};
    size_t at = (size_t)random_in(BODY_AT, (int64_t)count - HASH_BYTES - 1);
    size_t width = MIN((size_t)1 << random_word() % 4, count - HASH_BYTES - at);

    if (random_word() % 2)
        memcpy(bytes + at, &values[random_word() % ARRAY_LENGTH(values)], width);
    else
        bytes[at] = (uint8_t)random_word();
}

static void test_forged(void **state)
{
    size_t taken = 0, run = 0, count;
    uint8_t *bytes, *forged;
    struct build b;

    (void)state;
    everything(&b);
    bytes = bytes_of(&b, &count);
    forged = malloc(count);
    assert_non_null(forged);
    for (int i = 0; i < MUTATIONS; i++) {
        struct plan *plan = NULL;
        struct err err = {""};
        int rc;

        memcpy(forged, bytes, count);
        for (uint64_t n = random_word() % 3 + 1; n > 0; n--)
            mutate(forged, count);
        put_digest(forged, count);
        rc = parse_copy(forged, count, &plan, &err);
        if (rc < 0) {
            assert_true(err.text[0]);
            assert_true(rc != -ENOMEM);
            continue;
        }
        taken++;
        if (run < FORGED_RUNS && small_enough(plan)) {
            run_forged(plan);
            run++;
        }
        plan_free(plan);
    }
    print_message("%d forged, %zu taken, %zu of them run\n", MUTATIONS, taken, run);
    assert_true(run > 0);
    free(forged);
    free(bytes);
    build_end(&b);
}

/* --- what an operation refuses, and how it says so --- */

/* Operands: */
enum { X, HAT, CUT, BITS, WIDE, SUM, WEIGHT, NARROW, BIAS, GAIN, NOTHING, BEYOND };

static const struct refusal {
    enum op_id id;
    uint8_t in_count, attr_count;
    uint8_t in[PLAN_INPUTS_MAX];
    int64_t attr[MATMUL_ATTRS_MAX];
    const char *text;
} refusals[] = {
    {OP_ID_END, 0, 0, {0}, {0}, "which this version does not know"},
    {OP_OPEN, 0, 0, {0}, {0}, "0 inputs and 0 attributes"},
    {OP_OPEN, 2, 0, {X, X}, {0}, "2 inputs"},
    {OP_OPEN, 1, 1, {X}, {0}, "1 attributes"},
    {OP_OPEN, 1, 0, {BEYOND}, {0}, "operand 0 names nothing"},
    {OP_OPEN, 1, 0, {NOTHING}, {0}, "operand 0 names nothing"},
    {OP_OPEN, 1, 0, {HAT}, {0}, "no share wire"},
    {OP_OPEN, 1, 0, {WEIGHT}, {0}, "no share wire"},
    {OP_UNMASK, 1, 0, {X}, {0}, "no masked wire"},
    {OP_INPUT, 0, 1, {0}, {12}, "an input of 12 bits"},
    {OP_INPUT, 0, 1, {0}, {INT64_MIN}, "an input of"},
    {OP_CUT, 1, 2, {HAT}, {8, 0}, "no share wire"},
    {OP_CUT, 1, 2, {X}, {0, 0}, "a shift of 0"},
    {OP_CUT, 1, 2, {X}, {41, 0}, "a shift of 41"},
    {OP_CUT, 1, 2, {X}, {8, INT64_MAX}, "more than 64"},
    {OP_CUT, 1, 2, {X}, {40, -40}, "-80 fraction bits"},
    {OP_MUL, 2, 0, {HAT, CUT}, {0}, "opened cut"},
    {OP_CUT, 1, 3, {X}, {7, 0, 1}, "no ring of 41 bits"},
    {OP_CUT, 1, 3, {X}, {40, 0, 1}, "no ring of 8 bits"},
    {OP_CUT, 1, 3, {X}, {8, 0, 2}, "no ring of 40 bits"},
    {OP_MUL, 2, 0, {X, HAT}, {0}, "no masked wire"},
    {OP_MUL, 2, 0, {HAT, X}, {0}, "no masked wire"},
    {OP_MUL, 2, 0, {HAT, WEIGHT}, {0}, "no masked wire"},
    {OP_MUL, 2, 0, {HAT, WIDE}, {0}, "do not fit elementwise"},
    {OP_SQUARE, 1, 1, {X}, {0}, "no masked wire"},
    {OP_SQUARE, 1, 1, {HAT}, {2}, "neither sums rows"},
    {OP_TRUNCATE, 1, 3, {HAT}, {8, 0}, "no share wire"},
    {OP_TRUNCATE, 1, 3, {X}, {0, 0}, "a shift of 0"},
    {OP_TRUNCATE, 1, 3, {X}, {47, 0}, "a shift of 47"},
    {OP_TRUNCATE, 1, 3, {X}, {INT64_MIN, 0}, "a shift of"},
    {OP_TRUNCATE, 1, 3, {X}, {8, INT64_MAX}, "more than 64"},
    {OP_TRUNCATE, 1, 3, {X}, {8, INT64_MIN}, "more than 64"},
    {OP_TRUNCATE, 1, 3, {X}, {8, 0, 40}, "a lift from 48 to 40"},
    {OP_TRUNCATE, 1, 3, {X}, {8, 0, 50}, "a lift from 48 to 50"},
    {OP_TRUNCATE, 1, 3, {X}, {8, 0, INT64_MAX}, "a lift from 48"},
    {OP_TRUNCATE, 1, 3, {X}, {8, 0, INT64_MIN}, "a lift from 48"},
    {OP_LENGTH_SCALE, 1, 0, {HAT}, {0}, "no share wire"},
    {OP_AFFINE, 1, 3, {X}, {1, 0, 65}, "more than 64"},
    {OP_AFFINE, 1, 3, {X}, {1, 0, INT64_MIN}, "more than 64"},
    {OP_AFFINE, 1, 3, {BITS}, {1, 0, 0}, "no share wire"},
    {OP_ADD, 2, 0, {X, SUM}, {0}, "differ in shape"},
    {OP_ADD, 2, 0, {X, HAT}, {0}, "differ in shape"},
    {OP_ADD, 2, 0, {X, WEIGHT}, {0}, "by a matrix product"},
    {OP_ROW_SUM, 1, 0, {WEIGHT}, {0}, "no share wire"},
    {OP_CENTRE, 1, 0, {BITS}, {0}, "no share wire"},
    {OP_LENGTH_MASK, 1, 0, {SUM}, {0}, "not the tokens"},
    {OP_RANGE, 1, 2, {X}, {5, 5}, "an empty range"},
    {OP_COMPARE, 1, 3, {X}, {48}, "no masked wire"},
    {OP_COMPARE, 1, 2, {HAT}, {48}, "2 attributes"},
    {OP_COMPARE, 1, 3, {HAT}, {49}, "49 bits of a wire"},
    {OP_COMPARE, 1, 3, {CUT}, {47}, "47 bits of a wire"},
    {OP_COMPARE, 1, 3, {HAT}, {1}, "1 bits of a wire"},
    {OP_COMPARE, 1, 3, {HAT}, {20, 19}, "a step of 19 bits"},
    {OP_COMPARE, 1, 3, {HAT}, {20, -1}, "a step of -1 bits"},
    {OP_COMPARE, 1, 4, {HAT}, {20, 3, 16, 12}, "threshold 12 is no whole number"},
    {OP_BIT_TO_RING, 1, 0, {X}, {0}, "holds no bits"},
    {OP_SELECT, 2, 0, {BITS, X}, {0}, "no masked wire"},
    {OP_SELECT, 2, 0, {HAT, HAT}, {0}, "holds no bits"},
    {OP_SELECT, 2, 0, {BITS, WIDE}, {0}, "not one row an element"},
    {OP_SELECT, 2, 1, {BITS, HAT}, {1}, "column 1 of 1"},
    {OP_SELECT, 2, 1, {BITS, HAT}, {-1}, "column -1 of 1"},
    {OP_LENGTH_MASK, 1, 1, {X}, {(int64_t)1 << 47}, "more than 48 bits"},
    {OP_DIFFERENCE, 2, 3, {HAT, CUT}, {6}, "opened cut"},
    {OP_DIFFERENCE, 2, 3, {X, HAT}, {6}, "no masked wire"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {0}, "0 of them"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {4, 3}, "columns 3 and 0 on"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {4, 0, 3}, "columns 0 and 3 on"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {4, -1, 0}, "columns -1 and 0 on"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {INT64_MAX, 1, 1}, "of 6 and 6"},
    {OP_DIFFERENCE, 2, 3, {HAT, WIDE}, {6}, "of 6 and 5"},
    {OP_SPLINE, 2, 10, {X, BITS}, {0, 0, 0, 48}, "no masked wire"},
    {OP_SPLINE, 2, 10, {HAT, HAT}, {0, 0, 0, 48}, "holds no bits"},
    {OP_SPLINE, 2, 10, {WIDE, BITS}, {0, 0, 0, 48}, "not one row an element"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {2, 0, 0, 48}, "table 2 of 2"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {1, 0, 0, 48}, "3 terms for 3 columns"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 43, 0, 48}, "6 bits from bit 43 on"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, INT64_MIN, 0, 48}, "6 bits from bit"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 5, 48}, "drops 5 bits of 4"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, -1, 48}, "drops -1 bits"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, 50}, "a result of 50 bits"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, -8}, "a result of"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, 48, 65}, "65 fraction bits"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, 48, 0, 1}, "columns 1 and 0 of 1"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, 48, 0, 0, -2}, "columns 0 and -2 of 1"},
    {OP_DOT, 1, 4, {X}, {0, 0, 1, 1}, "2 factors for 6 columns"},
    {OP_DOT, 1, 8, {X}, {65, 0, 1, 1, 1, 1, 1, 1}, "65 fraction bits"},
    {OP_LOOKUP, 1, 3, {HAT}, {2}, "table 2 of 2"},
    {OP_LOOKUP, 1, 3, {HAT}, {-1}, "table -1 of 2"},
    {OP_LOOKUP, 1, 3, {HAT}, {0, 0, -65}, "-65 fraction bits"},
    {OP_LOOKUP, 1, 3, {X}, {0}, "no masked wire"},
    {OP_LOOKUP, 1, 3, {HAT}, {0, 43}, "6 bits from bit 43 on"},
    {OP_LOOKUP, 1, 3, {CUT}, {0, 41}, "6 bits from bit 41 on"},
    {OP_LOOKUP, 1, 3, {HAT}, {0, -1}, "from bit -1 on"},
    {OP_LOOKUP, 1, 3, {HAT}, {0, INT64_MAX}, "from bit"},
    {OP_LOOKUP, 2, 3, {HAT, X}, {0}, "no masked wire"},
    {OP_LOOKUP, 2, 3, {HAT, WIDE}, {0}, "not one element an index"},
    {OP_LOOKUP, 2, 3, {HAT, CUT}, {1}, "an entry and a slope"},
    {OP_VIEW, 1, 8, {HAT}, {1, 1, 1, [VIEW_GROUPS] = 1}, "no share wire"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 0, [VIEW_GROUPS] = 1}, "a dimension of 0"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1, -1, [VIEW_GROUPS] = 1}, "stride of -1"},
    {OP_VIEW, 1, 8, {X}, {1, 1 << 24, 2, [VIEW_GROUPS] = 1}, "too long"},
    {OP_VIEW, 1, 8, {X}, {6, 1, 6, 1, 6, 0, [VIEW_GROUPS] = 1}, "past its input"},
    {OP_VIEW, 1, 8, {X}, {1, 2, 6, 0, 0, 31, [VIEW_GROUPS] = 1}, "past its input"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1}, "0 groups"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1, [VIEW_GROUPS] = (1 << 24) + 1}, "groups"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1, [VIEW_GROUPS] = 1, [VIEW_GROUP] = -1}, "-1 apart"},
    {OP_VIEW, 1, 8, {X}, {2, 1, 1, [VIEW_GROUPS] = 1 << 24}, "too many"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1, [VIEW_GROUPS] = 3, [VIEW_GROUP] = 18}, "past its input"},
    {OP_OUTPUT, 1, 0, {X}, {0}, "the answer is not"},
    {OP_MATMUL, 5, 15, {X, HAT, NOTHING, NOTHING, NOTHING}, {0}, "no masked wire"},
    {OP_MATMUL, 5, 15, {CUT, HAT, NOTHING, NOTHING, NOTHING}, {0}, "opened cut"},
    {OP_MATMUL, 5, 15, {HAT, CUT, NOTHING, NOTHING, NOTHING}, {0}, "opened cut"},
    {OP_MATMUL,
     5,
     15,
     {HAT, NARROW, NOTHING, NOTHING, NOTHING},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "in a ring of 24 bits"},
    {OP_MATMUL, 5, 15, {NOTHING, HAT, NOTHING, NOTHING, NOTHING}, {0}, "no masked wire"},
    {OP_MATMUL, 5, 15, {HAT, NOTHING, NOTHING, NOTHING, NOTHING}, {0}, "no masked wire"},
    {OP_MATMUL, 5, 15, {HAT, HAT, NOTHING, NOTHING, NOTHING}, {0}, "a dimension of 0"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1 << 25, 1, [MATMUL_GROUPS] = 1},
     "a dimension"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, -1, [MATMUL_GROUPS] = 1},
     "stride of -1"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2, [MATMUL_GROUPS] = 1},
     "neither stacked"},
    {OP_MATMUL,
     5,
     16,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 1, [MATMUL_ONE_SIDED] = 2},
     "neither take turns"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, 36, [MATMUL_GROUPS] = 1},
     "past its left"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 2, 1, 0, 0, 0, 0, 0, 36, 0, 0, [MATMUL_GROUPS] = 1},
     "past its right"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1 << 24, 1 << 24, 1, 1 << 24, [MATMUL_GROUPS] = 1},
     "too large"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, BIAS, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 1},
     "only a fixed product takes a bias"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, NOTHING, NOTHING, NOTHING},
     {1, 6, 5, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "is not the 5 x 6"},
    {OP_MATMUL,
     5,
     15,
     {HAT, BIAS, NOTHING, NOTHING, NOTHING},
     {1, 6, 1, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "is not the 1 x 6"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, GAIN, NOTHING, NOTHING},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "does not fit the product"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, X, NOTHING, NOTHING},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "takes a bias, and a weight"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, BIAS, HAT, NOTHING},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "with a gain weight"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, BIAS, NOTHING, GAIN},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "no masked wire"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, BIAS, WIDE, GAIN},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "do not fit the product"},
    {OP_MATMUL, 5, 15, {HAT, HAT, NOTHING, NOTHING, NOTHING}, {1, 1, 1, 1}, "0 groups"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = (1 << 24) + 1},
     "groups"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 1, [MATMUL_A_GROUP] = -1},
     "groups -1 apart"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 1, [MATMUL_B_GROUP] = INT64_MAX},
     "apart"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 3, [MATMUL_A_GROUP] = 18},
     "past its left"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 3, [MATMUL_B_GROUP] = 18},
     "past its right"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1 << 24, 1, 1, 16, [MATMUL_GROUPS] = 2},
     "too large"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, NOTHING, NOTHING, NOTHING},
     {1, 3, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 2},
     "is not the 6 x 6"},
};

static void test_refusals(void **state)
{
    const int64_t ones[3 << 6] = {1};
    uint32_t operand[BEYOND + 1];
    struct build b;

    (void)state;
    build_start(&b, 48, SAMPLE_TOKENS, SAMPLE_TOKENS);
    operand[X] = b.x;
    operand[HAT] = build_open(&b, b.x);
    operand[CUT] = build_cut(&b, b.x, 2);
    operand[BITS] = build_compare(&b, operand[HAT], ones, 1);
    operand[SUM] = build_row_sum(&b, b.x);
    operand[WIDE] =
        build_open(&b, build_linear(&b, operand[HAT], build_weight(&b, WEIGHT_PRODUCT, 6, 5, ones),
                                    NONE, NONE, NONE));
    operand[WEIGHT] = build_weight(&b, WEIGHT_PRODUCT, 6, 6, ones);
    b.narrow = 24;
    operand[NARROW] = build_weight(&b, WEIGHT_PRODUCT, 6, 6, ones);
    b.narrow = 0;
    operand[BIAS] = build_weight(&b, WEIGHT_ADDED, 1, 6, ones);
    operand[GAIN] = build_weight(&b, WEIGHT_GAIN, 1, 6, ones);
    operand[NOTHING] = NONE;
    operand[BEYOND] = 1000;
    build_lookup(&b, operand[HAT], 0, NONE, 6, 1, ones);
    build_lookup(&b, operand[HAT], 0, NONE, 6, 3, ones);
    for (size_t i = 0; i < ARRAY_LENGTH(refusals); i++) {
        const struct refusal *at = &refusals[i];
        struct op op = {
            .id = (uint8_t)at->id, .input_count = at->in_count, .attr_count = at->attr_count};
        size_t ops = b.v->op_count, wires = b.v->wire_count;
        struct err err = {""};
        uint32_t out = 12345;

        for (size_t j = 0; j < at->in_count; j++)
            op.in[j] = operand[at->in[j]];
        memcpy(op.attr, at->attr, sizeof(at->attr));
        if (plan_add_op(b.plan, b.v, &op, &out, &err) != -EINVAL || !strstr(err.text, at->text))
            fail_msg("case %zu: \"%s\" instead of \"%s\"", i, err.text, at->text);
        assert_non_null(strstr(err.text, "operation "));
        assert_int_equal(out, 12345);
        assert_true(b.v->op_count == ops && b.v->wire_count == wires);
    }
    build_end(&b);
}

static void check_finish(struct build *b, const char *text)
{
    struct err err = {""};

    assert_true(plan_finish(b->plan, &err) < 0);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" instead of \"%s\"", err.text, text);
    build_end(b);
}

static void test_finish(void **state)
{
    struct variant *v;
    struct err err = {""};
    struct build b;

    (void)state;
    build_start(&b, 33, 2, 2);
    check_finish(&b, "a ring of 33 bits");
    build_start(&b, 48, 2, 2);
    b.plan->frac = 24;
    check_finish(&b, "24 fraction bits");
    build_start(&b, 48, 2, 2);
    check_finish(&b, "labels"); /* none yet */
    build_start(&b, 48, 2, 2);
    b.plan->labels = 1;
    check_finish(&b, "no one input and output");
    build_start(&b, 48, 2, 2);
    build_answer(&b, b.x);
    b.plan->error_bound = -1;
    check_finish(&b, "error bound");
    build_start(&b, 48, 2, 2);
    build_answer(&b, b.x);
    assert_int_equal(plan_add_variant(b.plan, 3, 1, &v, &err), 0);
    check_finish(&b, "empty variant");
}

static void test_parts(void **state)
{
    const int64_t entries[4] = {0};
    struct weight w = {.name = "w", .use = WEIGHT_PRODUCT, .ring = 48, .rows = 1, .cols = 0};
    struct variant *v = NULL;
    struct err err[6] = {{""}};
    uint32_t operand = 77;
    int64_t table = 77;
    struct build b;

    (void)state;
    build_start(&b, 48, 2, 2);
    assert_int_equal(plan_add_weight(b.plan, &w, &operand, &err[0]), -EINVAL);
    assert_non_null(strstr(err[0].text, "weight w"));
    w.cols = 1;
    w.ring = 8;
    assert_int_equal(plan_add_weight(b.plan, &w, &operand, NULL), -EINVAL);
    assert_int_equal(plan_add_table(b.plan, 5, 1, entries, &table, NULL), -EINVAL);
    assert_int_equal(plan_add_table(b.plan, 17, 1, entries, &table, &err[1]), -EINVAL);
    assert_int_equal(plan_add_table(b.plan, 6, 5, entries, &table, &err[2]), -EINVAL);
    assert_int_equal(plan_add_variant(b.plan, 2, 1, &v, &err[3]), -EINVAL);
    assert_non_null(strstr(err[3].text, "order of length"));
    assert_int_equal(plan_add_variant(b.plan, 1, 2, &v, NULL), -EINVAL);
    assert_int_equal(plan_add_variant(b.plan, PLAN_TOKENS_MAX + 1, 1, &v, &err[4]), -EINVAL);
    assert_int_equal(plan_add_variant(b.plan, 2, 0, &v, NULL), -EINVAL);
    assert_int_equal(plan_add_variant(b.plan, 2, PLAN_BATCH_MAX + 1, &v, &err[5]), -EINVAL);
    assert_non_null(strstr(err[5].text, "33 sequences"));
    assert_true(operand == 77 && table == 77 && !v);
    build_end(&b);
}

/* --- layout --- */

/* Add random operations on random wires; the compiler of plans never makes such ones. */
static void random_program(struct build *b, size_t ops)
{
    const int64_t w[SAMPLE_INPUTS] = {1};
    uint32_t weight;

    build_start(b, 48, SAMPLE_TOKENS, SAMPLE_TOKENS);
    weight = build_weight(b, WEIGHT_PRODUCT, SAMPLE_TOKENS, SAMPLE_TOKENS, w);
    while (b->v->op_count < ops) {
        static const uint8_t kinds[] = {
            OP_OPEN,    OP_OPEN,   OP_CUT,     OP_MUL,         OP_SQUARE, OP_ADD,    OP_CENTRE,
            OP_ROW_SUM, OP_UNMASK, OP_COMPARE, OP_BIT_TO_RING, OP_SELECT, OP_MATMUL, OP_DIFFERENCE};
        struct op op = {.id = kinds[random_word() % ARRAY_LENGTH(kinds)]};
        const struct op_kind *kind = op_kind(op.id);
        struct err err = {""};
        uint32_t out;

        op.input_count = kind->inputs_max;
        op.attr_count = op.id == OP_COMPARE ? COMPARE_THRESHOLD + 1 : kind->attrs_max;
        op.attr[0] = op.id == OP_COMPARE      ? 20
                     : op.id == OP_CUT        ? 3
                     : op.id == OP_DIFFERENCE ? SAMPLE_TOKENS
                                              : 0;
        for (size_t i = 0; i < op.input_count; i++)
            op.in[i] = (uint32_t)random_in(0, (int64_t)b->v->wire_count - 1);
        if (op.id == OP_MATMUL) {
            const int64_t attrs[MATMUL_ATTRS] = {1, 2, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, 1};

            memcpy(op.attr, attrs, sizeof(attrs));
            op.in[MATMUL_B] = weight;
            op.in[MATMUL_BIAS] = op.in[MATMUL_RESIDUAL] = op.in[MATMUL_GAIN] = NONE;
        }
        /* What does not fit is refused, and another is tried. */
        if (plan_add_op(b->plan, b->v, &op, &out, &err) < 0)
            continue;
    }
    build_finish(b, b->x);
}

static bool uses(const struct op *op, uint32_t wire)
{
    for (size_t i = 0; i < op->input_count; i++)
        if (op->in[i] == wire)
            return true;
    return false;
}

/* First and last operation during which a wire's words must be its own. */
static void life(const struct variant *v, uint32_t wire, size_t *ret_from, size_t *ret_to)
{
    for (size_t i = 0; i < v->op_count; i++) {
        if (v->ops[i].out == wire)
            *ret_from = *ret_to = i;
        if (uses(&v->ops[i], wire))
            *ret_to = i;
    }
}

static void check_lives(const struct variant *v)
{
    for (uint32_t i = 0; i < v->wire_count; i++) {
        const struct wire *a = &v->wires[i];
        size_t a_from = 0, a_to = 0;

        life(v, i, &a_from, &a_to);
        assert_true(a->words >= wire_elements(a) * (a->kind == WIRE_MASKED ? 2 : 1) ||
                    a->kind == WIRE_BITS);
        assert_true(a->words * 64 >= wire_elements(a));
        assert_true(a->offset + a->words <= v->arena_words);
        for (uint32_t j = 0; j < i; j++) {
            const struct wire *b = &v->wires[j];
            size_t b_from = 0, b_to = 0;

            life(v, j, &b_from, &b_to);
            if (a_from <= b_to && b_from <= a_to &&
                !(a->offset + a->words <= b->offset || b->offset + b->words <= a->offset))
                fail_msg("wires %u and %u live together in one place", i, j);
        }
    }
}

static void test_lives(void **state)
{
    size_t all = 0, used = 0;

    (void)state;
    for (int i = 0; i < 60; i++) {
        struct build b;

        random_program(&b, (size_t)random_in(5, 80));
        check_lives(b.v);
        for (size_t j = 0; j < b.v->wire_count; j++)
            all += b.v->wires[j].words;
        used += b.v->arena_words;
        build_end(&b);
    }
    print_message("%zu words of wires live in %zu\n", all, used);
    assert_true(used < all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_hash_binds),
        cmocka_unit_test(test_variant_for_length),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bits_flipped),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_left_over),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_lives),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
