/*
 * Every operation but the products (test_products.c), in every ring: dealer and both parties give
 * exactly what the clear executor gives, for random shapes and for values at the ends of what the
 * ring holds. Truncation, which rounds as it likes, gives the floor or the ceiling.
 */
#include "tests/mpc/samples.h"

#include <stdlib.h>
#include <string.h>

#define NONE      OPERAND_NONE
#define ROUNDS    6
#define INPUT_MAX 1024

static void test_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++)
        FOR_EACH_RING(ring)
        {
            struct build b;

            sample_start(&samples[i], ring, &b);
            if (!samples[i].rounds)
                build_agree(&b, sample_input);
            build_end(&b);
        }
}

/* --- local operations, to the last number that the ring holds --- */

static uint32_t unmask(struct build *b)
{
    return build_unmask(b, build_open(b, b->x));
}

static uint32_t affine_and_back(struct build *b)
{
    return build_affine(b, build_affine(b, b->x, -1, -1), -1, -1);
}

static uint32_t add_to_minus_one(struct build *b)
{
    return build_add(b, b->x, build_affine(b, b->x, -1, -1));
}

static uint32_t length_mask(struct build *b)
{
    return build_length_mask(b, b->x);
}

static uint32_t select_positive(struct build *b)
{
    uint32_t x = build_open(b, b->x);

    return build_select(b, build_compare(b, x, (int64_t[]){0}, 1), x);
}

/* Past where the clear executor, which bounds by doubles, follows. */
static void whole_ring_once(unsigned int ring, uint32_t (*body)(struct build *b), bool relu)
{
    size_t n = random_count(1, 25);
    int64_t input[INPUT_MAX], expected[INPUT_MAX];
    struct build b;

    build_start(&b, ring, (uint32_t)n, (uint32_t)n);
    build_finish(&b, body(&b));
    build_noise(input, n * n, -number_top(ring) - 1, number_top(ring));
    for (size_t i = 0; i < n * n; i++)
        expected[i] = relu && input[i] < 0 ? 0 : input[i];
    build_expect(&b, input, expected);
    build_end(&b);
}

static void test_whole_ring(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (int i = 0; i < ROUNDS; i++) {
        whole_ring_once(ring, unmask, false);
        whole_ring_once(ring, length_mask, false);
        whole_ring_once(ring, select_positive, true);
    }
}

static uint32_t centre(struct build *b)
{
    return build_centre(b, b->x);
}

static uint32_t row_sum(struct build *b)
{
    return build_row_sum(b, b->x);
}

static uint32_t dot(struct build *b)
{
    size_t cols = b->v->wires[b->x].cols;
    int64_t factors[40];

    for (size_t i = 0; i < cols; i++)
        factors[i] = random_in(-1, 1);
    return build_dot(b, b->x, random_in(-1000, 1000), factors, cols);
}

static void test_sums(void **state)
{
    uint32_t (*const bodies[])(struct build *) = {centre, row_sum, dot, affine_and_back,
                                                  add_to_minus_one};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++)
        FOR_EACH_RING(ring)
    for (int j = 0; j < ROUNDS; j++) {
        uint32_t rows = (uint32_t)random_count(1, 20), cols = (uint32_t)random_count(1, 40);
        int64_t input[INPUT_MAX];
        struct build b;

        build_start(&b, ring, rows, cols);
        build_finish(&b, bodies[i](&b));
        build_noise(input, (size_t)rows * cols, -number_top(ring - 8), number_top(ring - 8));
        build_agree(&b, input);
        build_end(&b);
    }
}

/* Any blocks of a wire, side by side, group after group: element (g, r, b, c) is
 * x[offset + g group + r row + b block + c]. A share's, or a masked wire's, whole or cut. */
static void test_view(void **state)
{
    (void)state;
    for (int i = 0; i < 12 * ROUNDS; i++) {
        int64_t a[VIEW_ATTRS] = {(int64_t)random_count(1, 6),  (int64_t)random_count(1, 5),
                                 (int64_t)random_count(1, 7),  (int64_t)random_count(0, 9),
                                 (int64_t)random_count(0, 20), (int64_t)random_count(0, 20),
                                 (int64_t)random_count(1, 3),  (int64_t)random_count(0, 20)};
        int64_t input[250], expected[INPUT_MAX], *to = expected;
        struct build b;
        uint32_t x;

        build_noise(input, 250, -number_top(36), number_top(36));
        for (int64_t gr = 0; gr < a[VIEW_GROUPS] * a[VIEW_ROWS]; gr++)
            for (int64_t k = 0; k < a[VIEW_BLOCKS]; k++)
                for (int64_t c = 0; c < a[VIEW_COLS]; c++)
                    *to++ = input[a[VIEW_OFFSET] + gr / a[VIEW_ROWS] * a[VIEW_GROUP] +
                                  gr % a[VIEW_ROWS] * a[VIEW_ROW] + k * a[VIEW_BLOCK] + c];
        build_start(&b, 40, 10, 25);
        x = i % 3 == 0   ? b.x
            : i % 3 == 1 ? build_open(&b, b.x)
                         : build_cut(&b, build_affine(&b, b.x, 4, 0), 2);
        x = build_view(&b, x, a);
        build_finish(&b, i % 3 ? build_unmask(&b, x) : x);
        build_expect(&b, input, expected);
        build_end(&b);
    }
}

/* Columns past the length are zero, those before it are not touched. */
static void test_length(void **state)
{
    (void)state;
    for (uint32_t length = 1; length <= SAMPLE_TOKENS; length++) {
        int64_t got[SAMPLE_INPUTS], expected[SAMPLE_INPUTS];
        struct replay *r;
        struct build b;

        build_start(&b, 48, SAMPLE_TOKENS, SAMPLE_TOKENS);
        build_finish(&b, build_length_mask(&b, b.x));
        r = build_replay(&b, kernels_here());
        build_clear(&b, length, sample_input, expected);
        build_run(&b, r, length, sample_input, got);
        for (size_t i = 0; i < SAMPLE_INPUTS; i++) {
            assert_int_equal(got[i], i % SAMPLE_TOKENS < length ? sample_input[i] : 0);
            assert_int_equal(got[i], expected[i]);
        }
        replay_free(r);
        build_end(&b);
    }
}

static void test_length_fill(void **state)
{
    (void)state;
    for (uint32_t length = 1; length <= SAMPLE_TOKENS; length++) {
        int64_t got[SAMPLE_INPUTS], clear[SAMPLE_INPUTS];
        struct replay *r;
        struct build b;

        build_start(&b, 40, SAMPLE_TOKENS, SAMPLE_TOKENS);
        build_finish(&b, build_length_fill(&b, b.x, -number_top(39)));
        r = build_replay(&b, kernels_here());
        build_clear(&b, length, sample_input, clear);
        build_run(&b, r, length, sample_input, got);
        for (size_t i = 0; i < SAMPLE_INPUTS; i++) {
            assert_int_equal(got[i],
                             i % SAMPLE_TOKENS < length ? sample_input[i] : -number_top(39));
            assert_int_equal(clear[i], got[i]);
        }
        replay_free(r);
        build_end(&b);
    }
}

/* --- comparisons --- */

/* @count inputs against @thresholds, all differences in signed range: bit (e, k) is x_e >= T_k. */
static void compare_once(unsigned int ring, const int64_t *input, size_t count,
                         const int64_t *thresholds, size_t threshold_count)
{
    int64_t got[PLAN_LABELS_MAX];
    struct replay *r;
    struct build b;

    build_start(&b, ring, 1, (uint32_t)count);
    build_finish(&b, build_bit_to_ring(
                         &b, build_compare(&b, build_open(&b, b.x), thresholds, threshold_count)));
    r = build_replay(&b, kernels_here());
    /* Several times: what decides is where the mask's digits fall. */
    for (int i = 0; i < ROUNDS; i++) {
        build_run(&b, r, 1, input, got);
        for (size_t e = 0; e < count; e++)
            for (size_t k = 0; k < threshold_count; k++)
                if (got[e * threshold_count + k] != (input[e] >= thresholds[k]))
                    fail_msg("ring %u: %" PRId64 " >= %" PRId64 " gave %" PRId64, ring, input[e],
                             thresholds[k], got[e * threshold_count + k]);
    }
    replay_free(r);
    build_end(&b);
}

static void test_compare_edges(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    {
        const int64_t m = number_top(ring), t = m / 3;
        const int64_t zero[] = {-m - 1, -m, -m + 1, -2, -1, 0, 1, 2, 15, 16, 17, m - 1, m};
        const int64_t positive[] = {t - 1, t, t + 1, t - m, 0, -1, m, m - 1, 2 * t};
        const int64_t negative[] = {-t - 1, -t, -t + 1, m - t, -m - 1, 0, 1, -m, -2 * t};
        const int64_t thresholds[] = {-t, -t + 1, -1, 0, 1, t - 1, t};
        const int64_t near[] = {-t - 1, -t,    -t + 1, -2, -1,    0,     1,
                                2,      t - 2, t - 1,  t,  t + 1, 2 * t, -2 * t};

        compare_once(ring, zero, ARRAY_LENGTH(zero), (int64_t[]){0}, 1);
        compare_once(ring, positive, ARRAY_LENGTH(positive), (int64_t[]){t}, 1);
        compare_once(ring, negative, ARRAY_LENGTH(negative), (int64_t[]){-t}, 1);
        compare_once(ring, near, ARRAY_LENGTH(near), thresholds, ARRAY_LENGTH(thresholds));
        /* The farthest there are: both signs of a difference of 2^(l-1) - 1. */
        compare_once(ring, (int64_t[]){m, 0}, 2, (int64_t[]){0, m}, 2);
        compare_once(ring, (int64_t[]){-m - 1, -1}, 2, (int64_t[]){-1, -m - 1}, 2);
    }
}

/* As many lanes as make whole words, one more and one less; up to the most thresholds there are. */
static void test_compare_noise(void **state)
{
    static const size_t lanes[][2] = {{1, 1},  {63, 1},  {64, 1},
                                      {65, 1}, {9, 7},   {8, 8},
                                      {13, 5}, {128, 1}, {13, PLAN_ATTRS_MAX - COMPARE_THRESHOLD}};

    (void)state;
    FOR_EACH_RING(ring)
    for (size_t i = 0; i < ARRAY_LENGTH(lanes); i++) {
        int64_t input[128], thresholds[PLAN_ATTRS_MAX], reach = number_top(ring) / 2;

        build_noise(thresholds, lanes[i][1], -reach, reach);
        for (size_t j = 0; j < lanes[i][0]; j++)
            input[j] = j % 3 ? random_in(-reach, reach)
                             : thresholds[j % lanes[i][1]] / 2 * 2 + random_in(-1, 1);
        compare_once(ring, input, lanes[i][0], thresholds, lanes[i][1]);
    }
}

/* Every bit of a row picks its own copy of the element, or zero. */
static void test_select(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t count = (uint32_t)random_count(1, 90);
        size_t thresholds = random_count(1, 9);
        int64_t input[90], t[9], reach = number_top(ring - 2);
        struct build b;
        uint32_t x;

        build_noise(t, thresholds, -reach, reach);
        build_noise(input, count, -reach, reach);
        build_start(&b, ring, 1, count);
        x = build_open(&b, b.x);
        build_finish(&b, build_select(&b, build_compare(&b, x, t, thresholds), x));
        build_agree(&b, input);
        build_end(&b);
    }
}

/* --- lookup --- */

/* Indices from a bit @shift on, of both signs: negative ones find the upper half of the table. The
 * bits below are zero, so that the index is exact. */
static void lookup_once(unsigned int ring, unsigned int bits, unsigned int cols, unsigned int shift)
{
    size_t rows = (size_t)1 << bits, count = 1 + random_word() % 200;
    int64_t *entries = malloc(rows * cols * sizeof(*entries));
    int64_t input[200], expected[200 * PLAN_TABLE_COLS_MAX];
    struct build b;
    uint32_t x;

    assert_non_null(entries);
    build_noise(entries, rows * cols, -number_top(ring) - 1, number_top(ring));
    build_noise(input, count, -(int64_t)rows / 2, (int64_t)rows / 2 - 1);
    for (size_t i = 0; i < count * cols; i++)
        expected[i] = entries[((uint64_t)input[i / cols] & (rows - 1)) * cols + i % cols];
    build_start(&b, ring, 1, (uint32_t)count);
    x = build_affine(&b, b.x, (int64_t)1 << shift, 0);
    x = shift > 1 ? build_cut(&b, build_affine(&b, x, 2, 0), 1) : build_open(&b, x);
    build_finish(&b, build_lookup(&b, x, shift, NONE, bits, cols, entries));
    build_expect(&b, input, expected);
    build_end(&b);
    free(entries);
}

static void test_lookup(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (unsigned int bits = 6; bits <= 10; bits++)
        lookup_once(ring, bits, 1 + (bits + ring / 8) % PLAN_TABLE_COLS_MAX, bits % 4);
}

/* An index between two rows is the lower or the upper one, each now and then. */
static void test_lookup_faithful(void **state)
{
    const int64_t input[3] = {8 * 3 + 4, 8 * 63 + 1, -3};
    int64_t entries[64];
    size_t seen[64] = {0};
    struct replay *r;
    struct build b;

    (void)state;
    for (int i = 0; i < 64; i++)
        entries[i] = i;
    build_start(&b, 48, 1, 3);
    build_finish(&b, build_lookup(&b, build_open(&b, b.x), 3, NONE, 6, 1, entries));
    r = build_replay(&b, kernels_here());
    for (int i = 0; i < 100; i++) {
        int64_t got[3];

        build_run(&b, r, 1, input, got);
        assert_true(got[0] == 3 || got[0] == 4);
        assert_true(got[1] == 63 || got[1] == 0);
        assert_true(got[2] == 63 || got[2] == 0);
        seen[got[0]]++;
    }
    assert_true(seen[3] > 20 && seen[4] > 20);
    replay_free(r);
    build_end(&b);
}

/* a + b t with the line that x finds, for every kind of x and t; t as large as the ring takes. */
static void line_once(unsigned int ring, unsigned int cols, bool cut_x, bool cut_t)
{
    int64_t entries[2 << 6], input[2 * 40], reach = number_top(ring - 12);
    const int64_t first[2] = {1, 0}, second[2] = {0, 4};
    struct build b;
    uint32_t x, t;

    build_noise(entries, ARRAY_LENGTH(entries), -31, 31);
    for (size_t i = 0; i < 40; i++) {
        input[2 * i] = random_in(-32, 31);
        input[2 * i + 1] = random_in(0, 7) ? random_in(-reach, reach) : reach;
    }
    build_start(&b, ring, 40, 2);
    x = build_dot(&b, b.x, 0, first, 2);
    t = build_dot(&b, b.x, 0, second, 2);
    x = cut_x ? build_cut(&b, build_affine(&b, x, 16, 0), 4) : build_open(&b, x);
    t = cut_t ? build_cut(&b, t, 2) : build_open(&b, build_affine(&b, t, -1, 0));
    build_finish(&b, build_lookup(&b, x, 0, t, 6, cols, entries));
    for (int i = 0; i < ROUNDS; i++)
        build_agree(&b, input);
    build_end(&b);
}

static void test_lookup_line(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (unsigned int i = 0; i < 8; i++)
        line_once(ring, 1 + i % 2, i & 2, i & 4);
}

/* --- truncation --- */

/* Every shift at the extremes of the stated bound -2^(l-2) <= x <= 2^(l-2) - 2^s. */
static void truncate_once(unsigned int ring, int64_t shift,
                          uint32_t (*body)(struct build *b, int64_t shift))
{
    const int64_t low = -((int64_t)1 << (ring - 2)), unit = (int64_t)1 << shift;
    const int64_t high = -low - unit;
    int64_t input[64] = {low, low + 1, low + unit - 1, low + unit, high,      high - 1, 0,
                         -1,  -unit,   1 - unit,       unit / 2,   -unit / 2, high / 2, low / 2};
    int64_t got[64];
    struct replay *r;
    struct build b;

    build_noise(input + 14, 50, low, high);
    for (size_t i = 0; i < 14; i++)
        input[i] = MIN(MAX(input[i], low), high);
    build_start(&b, ring, 1, 64);
    build_finish(&b, body(&b, shift));
    r = build_replay(&b, kernels_here());
    for (int i = 0; i < ROUNDS; i++) {
        build_run(&b, r, 1, input, got);
        for (size_t j = 0; j < 64; j++) {
            int64_t floor = input[j] >> shift, ceiling = floor + (input[j] != floor * unit);

            if (got[j] != floor && got[j] != ceiling)
                fail_msg("ring %u: %" PRId64 " >> %" PRId64 " gave %" PRId64, ring, input[j], shift,
                         got[j]);
        }
    }
    replay_free(r);
    build_end(&b);
}

static uint32_t truncate_bit(struct build *b, int64_t shift)
{
    return build_truncate(b, b->x, shift);
}

/* What a cut wire stands for: Y less its shares of R. */
static uint32_t truncate_cut(struct build *b, int64_t shift)
{
    return build_unmask(b, build_cut(b, b->x, shift));
}

static void test_truncate(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (int64_t shift = 1; shift <= (int64_t)ring - 2; shift++)
        truncate_once(ring, shift, truncate_bit);
    FOR_EACH_RING(ring)
    for (int64_t shift = 1; shift <= (int64_t)ring - 8; shift++)
        truncate_once(ring, shift, truncate_cut);
}

/* The largest power of two that brings the length no further than the bucket. */
static void test_length_scale(void **state)
{
    static const int64_t times[12] = {8, 4, 4, 2, 2, 2, 1, 1, 1, 1, 1, 1};

    (void)state;
    for (uint32_t length = 1; length <= 12; length++) {
        int64_t input[12] = {length}, got[12];
        struct replay *r;
        struct build b;

        build_start(&b, 48, 12, 1);
        build_finish(&b, build_length_scale(&b, b.x));
        r = build_replay(&b, kernels_here());
        build_run(&b, r, length, input, got);
        assert_int_equal(got[0], times[length - 1] * (int64_t)length);
        replay_free(r);
        build_end(&b);
    }
}

/* Each sequence of a batch has its own length, whatever rows a sequence has. */
static void test_lengths_of_a_batch(void **state)
{
    enum { SEQUENCES = 3, T = 5, ROWS = 2 };
    static const uint32_t lengths[SEQUENCES] = {5, 1, 2};
    static const int64_t times[SEQUENCES] = {1, 4, 2};
    const int64_t some[VIEW_ATTRS] = {
        [VIEW_ROWS] = ROWS, [VIEW_BLOCKS] = 1,         [VIEW_COLS] = T,
        [VIEW_ROW] = T,     [VIEW_GROUPS] = SEQUENCES, [VIEW_GROUP] = T * T};
    int64_t input[SEQUENCES * T * T], got[SEQUENCES * ROWS * T], clear[SEQUENCES * ROWS * T];
    struct replay *r;
    struct build b;

    (void)state;
    build_noise(input, ARRAY_LENGTH(input), -999, 999);
    build_start_batch(&b, 48, T, SEQUENCES, T);
    build_finish(&b, build_length_scale(&b, build_length_mask(&b, build_view(&b, b.x, some))));
    r = build_replay(&b, kernels_here());
    build_run_lengths(&b, r, lengths, input, got);
    build_clear_lengths(&b, lengths, input, clear);
    for (size_t i = 0; i < ARRAY_LENGTH(got); i++) {
        size_t s = i / (ROWS * T), c = i % T;
        int64_t x = input[s * T * T + i % (ROWS * T)];

        assert_int_equal(got[i], c < lengths[s] ? times[s] * x : 0);
        assert_int_equal(clear[i], got[i]);
    }
    replay_free(r);
    build_end(&b);
}

/* A batch of every length: what is added goes by each sequence's own presence, which is exact in
 * every ring, and the parties are told nothing but the bucket. */
static void test_add_presence(void **state)
{
    enum { T = 5, BATCH = 3 };

    (void)state;
    FOR_EACH_RING(ring)
    for (size_t length = 1; length <= T; length++) {
        int64_t far = number_top(ring - 2), *input, expected[BATCH * T * T];
        struct build b;

        build_start_bucket(&b, ring, 0, T, BATCH, T);
        build_finish(&b, build_add_presence(&b, b.x, far, -far));
        input = test_calloc(variant_input_words(b.v), sizeof(*input));
        build_noise(input, ARRAY_LENGTH(expected), -far / 2, far / 2);
        for (size_t i = 0; i < BATCH * T; i++)
            input[variant_presence_at(b.v) + i * PRESENCE_COLS + PRESENCE_ONE] =
                i % T < (length + i / T) % T + 1;
        for (size_t i = 0; i < ARRAY_LENGTH(expected); i++) {
            size_t s = i / (T * T);

            expected[i] = input[i] - (i % T < (length + s) % T + 1 ? 0 : far);
        }
        build_expect(&b, input, expected);
        test_free(input);
        build_end(&b);
    }
}

/* Where lengths are secret a job says the bucket's, and is refused with any other. */
static void test_secret_lengths_are_not_told(void **state)
{
    int64_t input[SAMPLE_WORDS] = {0}, got[SAMPLE_TOKENS * PRESENCE_COLS];
    struct replay *r;
    struct build b;

    (void)state;
    build_start_bucket(&b, 48, 0, SAMPLE_TOKENS, 1, SAMPLE_TOKENS);
    build_finish(&b, b.presence);
    r = build_replay(&b, kernels_here());
    for (uint32_t length = 0; length <= SAMPLE_TOKENS + 1; length++)
        assert_int_equal(replay_run(r, b.v, &length, (const uint64_t *)input, got),
                         length == SAMPLE_TOKENS ? 0 : -EINVAL);
    replay_free(r);
    build_end(&b);
}

/* No length of a sequence is taken on trust: nothing is sent for one that does not fit. */
static void test_lengths_are_checked(void **state)
{
    static const uint32_t wrong[][2] = {{3, 0}, {0, 3}, {3, 4}};
    const int64_t input[6] = {0};
    int64_t got[6];
    struct replay *r;
    struct build b;

    (void)state;
    build_start_batch(&b, 48, 3, 2, 1);
    build_finish(&b, build_unmask(&b, build_open(&b, b.x)));
    r = build_replay(&b, kernels_here());
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++)
        assert_int_equal(replay_run(r, b.v, wrong[i], (const uint64_t *)input, got), -EINVAL);
    replay_free(r);
    build_end(&b);
}

/* What is per sequence needs as many rows for each. */
static void test_rows_that_are_no_sequences(void **state)
{
    const int64_t three[VIEW_ATTRS] = {[VIEW_ROWS] = 3, [VIEW_BLOCKS] = 1, [VIEW_COLS] = 3};
    const uint8_t ids[] = {OP_LENGTH_MASK, OP_LENGTH_SCALE};
    struct build b;

    (void)state;
    build_start_batch(&b, 48, 3, 2, 3);
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++) {
        struct op op = {.id = ids[i], .input_count = 1, .in = {build_view(&b, b.x, three)}};
        struct err err = {""};
        uint32_t out;

        assert_int_equal(plan_add_op(b.plan, b.v, &op, &out, &err), -EINVAL);
        assert_non_null(strstr(err.text, "3 rows are not 2 sequences"));
    }
    build_end(&b);
}

/* Fewer bits say the same where the distances fit them. */
static void test_compare_narrow(void **state)
{
    (void)state;
    for (unsigned int bits = 2; bits <= 32; bits++)
        for (int cut = 0; cut < 2; cut++) {
            int64_t reach = number_top(bits) / 2, t[3] = {-reach / 2, 0, reach}, input[40],
                    expected[120];
            struct build b;
            uint32_t x;

            build_noise(input, 40, -reach, reach);
            for (size_t i = 0; i < 120; i++)
                expected[i] = input[i / 3] >= t[i % 3];
            build_start(&b, 48, 1, 40);
            x = cut ? build_cut(&b, build_affine(&b, b.x, 8, 0), 3) : build_open(&b, b.x);
            build_finish(&b, build_bit_to_ring(&b, build_compare_narrow(&b, x, bits, t, 3)));
            for (int i = 0; i < ROUNDS; i++)
                build_expect(&b, input, expected);
            build_end(&b);
        }
}

/* The reference kernels and this CPU's give the same answer and the same bytes on the link. */
static void test_kernels_agree(void **state)
{
    struct kernels reference = kernels_choose(0);

    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        int64_t got[2][PLAN_LABELS_MAX];
        struct replay *r[2];
        struct build b;

        sample_start(&samples[i], 48, &b);
        for (int j = 0; j < 2; j++) {
            random_fixed_restart(77);
            r[j] = build_replay(&b, j ? kernels_here() : &reference);
            build_run(&b, r[j], SAMPLE_TOKENS, sample_input, got[j]);
        }
        assert_memory_equal(got[0], got[1], b.plan->labels * sizeof(int64_t));
        for (unsigned int p = 0; p < 2; p++) {
            assert_int_equal(r[0]->sent[p].count, r[1]->sent[p].count);
            if (r[0]->sent[p].count)
                assert_memory_equal(r[0]->sent[p].bytes, r[1]->sent[p].bytes, r[0]->sent[p].count);
        }
        replay_free(r[0]);
        replay_free(r[1]);
        build_end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_whole_ring),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_view),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_length_fill),
        cmocka_unit_test(test_compare_edges),
        cmocka_unit_test(test_compare_noise),
        cmocka_unit_test(test_select),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_compare_narrow),
        cmocka_unit_test(test_lookup_faithful),
        cmocka_unit_test(test_lookup_line),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_length_scale),
        cmocka_unit_test(test_lengths_of_a_batch),
        cmocka_unit_test(test_lengths_are_checked),
        cmocka_unit_test(test_add_presence),
        cmocka_unit_test(test_secret_lengths_are_not_told),
        cmocka_unit_test(test_rows_that_are_no_sequences),
        cmocka_unit_test(test_kernels_agree),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
