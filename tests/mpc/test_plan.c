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

/* And counts for both guards that the samples have. */
static void answer(struct build *b)
{
    uint32_t two = build_view(b, b->x, (int64_t[VIEW_ATTRS]){b->v->batch, 1, 2, 0, SAMPLE_TOKENS});

    b->outside = build_join(b, &two, 1, (int64_t[]){1, 0});
    build_answer(b, first_row(b));
}

/* Every kind of operation, weight and wire, in three variants. */
static void everything(struct build *b)
{
    build_start(b, 48, SAMPLE_TOKENS, SAMPLE_TOKENS);
    build_lookup(b, build_open(b, b->x), 3, NONE, 6, 1, (int64_t[64]){5, -5, 4, -4, 3, -3, 2, -2});
    for (size_t i = 0; i < sample_count; i++)
        if (strncmp(samples[i].name, "lookup", 6) != 0) /* whose tables are large */
            samples[i].build(b);
    answer(b);
    build_variant(b, SAMPLE_TOKENS + 3);
    answer(b);
    build_variant_batch(b, SAMPLE_TOKENS + 3, 2);
    answer(b);
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
    assert_int_equal(a->length, b->length);
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
    assert_int_equal(plan_variant(b.plan, 1, LENGTH_PUBLIC)->tokens, SAMPLE_TOKENS);
    assert_int_equal(plan_variant(b.plan, SAMPLE_TOKENS, LENGTH_PUBLIC)->tokens, SAMPLE_TOKENS);
    assert_int_equal(plan_variant(b.plan, SAMPLE_TOKENS + 1, LENGTH_PUBLIC)->tokens,
                     SAMPLE_TOKENS + 3);
    assert_null(plan_variant(b.plan, SAMPLE_TOKENS + 4, LENGTH_PUBLIC));
    assert_int_equal(plan_variant(b.plan, SAMPLE_TOKENS + 1, LENGTH_PUBLIC)->batch, 1);

    /* Of several sequences the length still comes first. */
    assert_ptr_equal(plan_variant_batch(b.plan, 1, LENGTH_PUBLIC, 1), &b.plan->variants[0]);
    assert_ptr_equal(plan_variant_batch(b.plan, 1, LENGTH_PUBLIC, 2), &b.plan->variants[2]);
    assert_null(plan_variant_batch(b.plan, 1, LENGTH_PUBLIC, 3));
    assert_ptr_equal(plan_variant_exact(b.plan, SAMPLE_TOKENS + 3, LENGTH_PUBLIC, 2),
                     &b.plan->variants[2]);
    assert_null(plan_variant_exact(b.plan, SAMPLE_TOKENS, LENGTH_PUBLIC, 2));
    assert_null(plan_variant_exact(b.plan, SAMPLE_TOKENS + 3, LENGTH_PUBLIC, 3));
    assert_null(plan_variant_exact(b.plan, SAMPLE_TOKENS + 4, LENGTH_PUBLIC, 1));
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

/* Who may know a length is part of what the parties agree on, and survives the file. */
static void test_length_modes(void **state)
{
    enum length_mode mode = LENGTH_MODES;
    struct plan *read = NULL;
    struct build b[2];
    struct err err = {""};
    uint8_t *bytes;
    size_t count;

    (void)state;
    build_start(&b[0], 48, 2, 2);
    build_start_bucket(&b[1], 48, 0, 2, 1, 2);
    for (int i = 0; i < 2; i++)
        build_finish(&b[i], b[i].x);
    assert_memory_not_equal(b[0].plan->hash, b[1].plan->hash, PLAN_HASH_BYTES);
    assert_true(plan_has_length(b[0].plan, LENGTH_PUBLIC));
    assert_false(plan_has_length(b[0].plan, LENGTH_BUCKET));
    assert_true(plan_has_length(b[1].plan, LENGTH_BUCKET));
    assert_null(plan_variant(b[1].plan, 1, LENGTH_PUBLIC));
    assert_null(plan_variant(b[1].plan, 1, LENGTH_MODES));
    assert_null(plan_variant_exact(b[0].plan, 2, LENGTH_BUCKET, 1));
    assert_ptr_equal(plan_variant_exact(b[1].plan, 2, LENGTH_BUCKET, 1), b[1].v);

    bytes = bytes_of(&b[1], &count);
    assert_int_equal(parse_copy(bytes, count, &read, &err), 0);
    same_layout(&read->variants[0], b[1].v);
    plan_free(read);
    free(bytes);

    assert_int_equal(length_mode_parse("bucket", &mode), 0);
    assert_int_equal(mode, LENGTH_BUCKET);
    assert_int_equal(length_mode_parse("public", &mode), 0);
    assert_int_equal(mode, LENGTH_PUBLIC);
    assert_int_equal(length_mode_parse("Public", &mode), -EINVAL);
    build_end(&b[0]);
    build_end(&b[1]);
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
    assert_non_null(strstr(err.text, "version 6"));
    assert_non_null(strstr(err.text, "version 5"));
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
    int64_t *output = calloc(PLAN_ANSWERS_MAX, sizeof(*output));
    struct replay *r;

    assert_true(zeros && weights && output);
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
    free(output);
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
        cmocka_unit_test(test_length_modes),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bits_flipped),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_left_over),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_lives),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
