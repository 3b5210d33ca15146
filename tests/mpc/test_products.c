/*
 * Matrix products, elementwise products and squares, in every ring: dealer and both parties give
 * exactly what the clear executor gives, for random shapes and for values at the ends of what the
 * ring holds.
 */
#include "tests/mpc/samples.h"

#include <stdlib.h>
#include <string.h>

#define NONE      OPERAND_NONE
#define ROUNDS    6
#define INPUT_MAX 1024

/* Magnitudes such that sums of @terms products of two of them stay in the ring. */
static int64_t factor_top(unsigned int ring, size_t terms)
{
    unsigned int bits = 0;

    while ((size_t)1 << bits < terms)
        bits++;
    return number_top((ring - bits - 1) / 2);
}

static uint32_t noise_weight(struct build *b, enum weight_use use, uint32_t rows, uint32_t cols,
                             int64_t limit)
{
    int64_t values[INPUT_MAX];

    assert_true((size_t)rows * cols <= INPUT_MAX);
    build_noise(values, (size_t)rows * cols, -limit, limit);
    return build_weight(b, use, rows, cols, values);
}

/* x W + bias + gain n, where n is itself a product, so that it has the shape it must have. */
static void linear_once(unsigned int ring, bool bias, bool bias_rows, bool residual)
{
    uint32_t rows = (uint32_t)random_count(1, 9), inner = (uint32_t)random_count(1, 20),
             cols = (uint32_t)random_count(1, 30);
    int64_t limit = factor_top(ring, 4 * inner), input[INPUT_MAX];
    uint32_t x, w, n = NONE, gain = NONE, add = NONE;
    struct build b;

    build_start(&b, ring, rows, inner);
    x = build_open(&b, b.x);
    w = noise_weight(&b, WEIGHT_PRODUCT, inner, cols, limit);
    if (residual) {
        uint32_t small = noise_weight(&b, WEIGHT_PRODUCT, inner, cols, 0);

        n = build_linear(&b, x, small, noise_weight(&b, WEIGHT_ADDED, rows, cols, limit), NONE,
                         NONE);
        n = build_open(&b, n);
        gain = noise_weight(&b, WEIGHT_GAIN, 1, cols, limit);
    }
    if (bias)
        add = noise_weight(&b, WEIGHT_ADDED, bias_rows ? rows + 2 : 1, cols, number_top(ring - 3));
    build_finish(&b, build_linear(&b, x, w, add, n, gain));
    build_noise(input, rows * inner, -limit, limit);
    build_agree(&b, input);
    build_end(&b);
}

static void test_matmul_weight(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (int i = 0; i < 8; i++)
        linear_once(ring, i & 1, i & 2, i & 4);
}

/* A product's view need not begin at the wire's first element, nor take whole rows. */
static void test_matmul_weight_view(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    {
        int64_t limit = factor_top(ring, 5), input[7 * 9];
        int64_t attrs[MATMUL_ATTRS] = {
            [MATMUL_BATCH] = 1,    [MATMUL_ROWS] = 3,   [MATMUL_INNER] = 5,  [MATMUL_COLS] = 11,
            [MATMUL_A_OFFSET] = 2, [MATMUL_A_ROW] = 18, [MATMUL_B_ROW] = 11, [MATMUL_B_COL] = 1,
        };
        struct build b;
        uint32_t x, w;

        build_start(&b, ring, 7, 9);
        x = build_open(&b, b.x);
        w = noise_weight(&b, WEIGHT_PRODUCT, 5, 11, limit);
        build_finish(&b, build_matmul(&b, x, w, attrs));
        build_noise(input, 7 * 9, -limit, limit);
        build_agree(&b, input);
        build_end(&b);
    }
}

/* Scores Q K^T a head, stacked; context P V a head, side by side: as attention has them. */
static void attention_once(unsigned int ring, int64_t t, int64_t heads, int64_t d)
{
    int64_t width = heads * d, limit = factor_top(ring, (size_t)d) >> 1, input[INPUT_MAX];
    const int64_t scores[MATMUL_ATTRS] = {
        [MATMUL_BATCH] = heads, [MATMUL_ROWS] = t,    [MATMUL_INNER] = d,
        [MATMUL_COLS] = t,      [MATMUL_A_BATCH] = d, [MATMUL_A_ROW] = width,
        [MATMUL_B_BATCH] = d,   [MATMUL_B_ROW] = 1,   [MATMUL_B_COL] = width,
    };
    const int64_t context[MATMUL_ATTRS] = {
        [MATMUL_BATCH] = heads,   [MATMUL_ROWS] = t,   [MATMUL_INNER] = t,   [MATMUL_COLS] = d,
        [MATMUL_A_BATCH] = t * t, [MATMUL_A_ROW] = t,  [MATMUL_B_BATCH] = d, [MATMUL_B_ROW] = width,
        [MATMUL_B_COL] = 1,       [MATMUL_BESIDE] = 1,
    };
    struct build b;
    uint32_t x, s;

    build_start(&b, ring, (uint32_t)t, (uint32_t)width);
    x = build_open(&b, b.x);
    s = build_matmul(&b, x, x, scores);
    build_finish(&b, s);
    build_noise(input, (size_t)(t * width), -limit, limit);
    build_agree(&b, input);
    build_end(&b);

    build_start(&b, ring, (uint32_t)t, (uint32_t)width);
    x = build_open(&b, b.x);
    s = build_open(&b, build_matmul(&b, x, x, scores));
    build_finish(&b, build_matmul(&b, s, x, context));
    build_noise(input, (size_t)(t * width), -50, 50);
    build_agree(&b, input);
    build_end(&b);
}

static void test_matmul_attention(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (int i = 0; i < ROUNDS; i++)
        attention_once(ring, (int64_t)random_count(1, 9), (int64_t)random_count(1, 3),
                       (int64_t)random_count(1, 9));
}

/* Any view that stays inside its wire, strides of zero among them. */
static void view_once(unsigned int ring)
{
    int64_t limit = factor_top(ring, 8), input[INPUT_MAX], attrs[MATMUL_ATTRS] = {0};
    struct build b;
    uint32_t x;

    attrs[MATMUL_BATCH] = (int64_t)random_count(1, 3);
    attrs[MATMUL_ROWS] = (int64_t)random_count(1, 5);
    attrs[MATMUL_INNER] = (int64_t)random_count(1, 8);
    attrs[MATMUL_COLS] = (int64_t)random_count(1, 20);
    for (int i = MATMUL_A_OFFSET; i <= MATMUL_B_COL; i++)
        attrs[i] = (int64_t)random_count(0, 9);
    attrs[MATMUL_BESIDE] = (int64_t)random_count(0, 1);
    attrs[MATMUL_GROUPS] = (int64_t)random_count(1, 3);
    attrs[MATMUL_A_GROUP] = (int64_t)random_count(0, 9);
    attrs[MATMUL_B_GROUP] = (int64_t)random_count(0, 9);
    build_start(&b, ring, 20, 25); /* 9 * (3 + 3 + 5 + 8 + 20) < 500 */
    x = build_open(&b, b.x);
    build_finish(&b, build_matmul(&b, x, x, attrs));
    build_noise(input, 20 * 25, -limit, limit);
    build_agree(&b, input);
    build_end(&b);
}

static void test_matmul_views(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (int i = 0; i < 2 * ROUNDS; i++)
        view_once(ring);
}

/* Scores of two heads in each of three sequences, by the definition: group after group. */
static void test_matmul_groups(void **state)
{
    enum { SEQUENCES = 3, T = 4, HEADS = 2, D = 3, WIDTH = HEADS * D };
    const int64_t attrs[MATMUL_ATTRS] = {
        [MATMUL_GROUPS] = SEQUENCES, [MATMUL_BATCH] = HEADS, [MATMUL_ROWS] = T,
        [MATMUL_INNER] = D,          [MATMUL_COLS] = T,      [MATMUL_A_GROUP] = T * WIDTH,
        [MATMUL_A_BATCH] = D,        [MATMUL_A_ROW] = WIDTH, [MATMUL_B_GROUP] = T * WIDTH,
        [MATMUL_B_BATCH] = D,        [MATMUL_B_COL] = WIDTH, [MATMUL_B_ROW] = 1,
    };
    int64_t input[SEQUENCES][T][HEADS][D], expected[2][SEQUENCES * HEADS * T * T];

    (void)state;
    build_noise(input[0][0][0], sizeof(input) / sizeof(int64_t), -99, 99);
    for (size_t i = 0; i < SEQUENCES * HEADS * T * T; i++) {
        size_t s = i / (HEADS * T * T), h = i / (T * T) % HEADS, q = i / T % T, k = i % T;
        int64_t sum = 0;

        for (size_t d = 0; d < D; d++)
            sum += input[s][q][h][d] * input[s][k][h][d];
        expected[0][i] = sum;
        expected[1][((s * T + q) * HEADS + h) * T + k] = sum;
    }
    for (size_t beside = 0; beside < 2; beside++) {
        int64_t with[MATMUL_ATTRS];
        struct build b;
        uint32_t x;

        memcpy(with, attrs, sizeof(with));
        with[MATMUL_BESIDE] = (int64_t)beside;
        build_start_batch(&b, 48, T, SEQUENCES, WIDTH);
        x = build_open(&b, b.x);
        build_finish(&b, build_matmul(&b, x, x, with));
        build_expect(&b, input[0][0][0], expected[beside]);
        build_end(&b);
    }
}

/* A bias of a row a token comes again for every sequence; what it has beyond the tokens does not.
 */
static void test_matmul_bias_of_a_batch(void **state)
{
    enum { SEQUENCES = 3, T = 4, COLS = 5 };
    const int64_t identity[COLS * COLS] = {[0] = 1, [6] = 1, [12] = 1, [18] = 1, [24] = 1};
    int64_t input[SEQUENCES * T * COLS], bias[(T + 2) * COLS], expected[SEQUENCES * T * COLS];
    struct build b;
    uint32_t x, w;

    (void)state;
    build_noise(input, ARRAY_LENGTH(input), -99, 99);
    build_noise(bias, ARRAY_LENGTH(bias), -9999, 9999);
    for (size_t i = 0; i < ARRAY_LENGTH(input); i++)
        expected[i] = input[i] + bias[i % (T * COLS)];
    build_start_batch(&b, 40, T, SEQUENCES, COLS);
    x = build_open(&b, b.x);
    w = build_weight(&b, WEIGHT_PRODUCT, COLS, COLS, identity);
    build_finish(
        &b, build_linear(&b, x, w, build_weight(&b, WEIGHT_ADDED, T + 2, COLS, bias), NONE, NONE));
    build_expect(&b, input, expected);
    build_end(&b);
}

/* Longer than one slice of a kernel, and than one block of the link. */
static void test_matmul_large(void **state)
{
    int64_t *input = malloc((size_t)40 * 1100 * sizeof(*input));

    (void)state;
    assert_non_null(input);
    FOR_EACH_RING(ring)
    {
        int64_t limit = factor_top(ring, 1100), w[1100 * 9];
        struct build b;
        uint32_t x;

        build_start(&b, ring, 40, 1100);
        x = build_open(&b, b.x);
        build_noise(w, ARRAY_LENGTH(w), -limit, limit);
        build_finish(&b, build_linear(&b, x, build_weight(&b, WEIGHT_PRODUCT, 1100, 9, w), NONE,
                                      NONE, NONE));
        build_noise(input, (size_t)40 * 1100, -limit, limit);
        build_agree(&b, input);
        build_end(&b);
    }
    free(input);
}

/* mul and square: of a wire with itself, with one of a row's elements, summed or not. */
static void elementwise_once(unsigned int ring, uint32_t (*body)(struct build *b))
{
    uint32_t rows = (uint32_t)random_count(1, 20), cols = (uint32_t)random_count(1, 40);
    int64_t limit = factor_top(ring, 2 * (size_t)cols), input[INPUT_MAX];
    struct build b;

    build_start(&b, ring, rows, cols);
    build_finish(&b, body(&b));
    build_noise(input, (size_t)rows * cols, -limit, limit);
    build_agree(&b, input);
    build_end(&b);
}

static uint32_t mul_same(struct build *b)
{
    return build_mul(b, build_open(b, b->x), build_open(b, build_affine(b, b->x, -1, 3)));
}

static uint32_t mul_broadcast(struct build *b)
{
    int64_t first[40] = {1}; /* the row's first element: as large as any */

    return build_mul(b, build_open(b, b->x),
                     build_open(b, build_dot(b, b->x, -1, first, b->v->wires[b->x].cols)));
}

static uint32_t square(struct build *b)
{
    return build_square(b, build_open(b, b->x), false);
}

static uint32_t square_rows(struct build *b)
{
    return build_square(b, build_open(b, b->x), true);
}

/* One mask, read by three products. */
static uint32_t square_and_mul(struct build *b)
{
    uint32_t x = build_open(b, b->x);

    return build_add(b, build_mul(b, x, x), build_affine(b, build_square(b, x, false), -1, 9));
}

static void test_elementwise(void **state)
{
    uint32_t (*const bodies[])(struct build *) = {mul_same, mul_broadcast, square, square_rows,
                                                  square_and_mul};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++)
        FOR_EACH_RING(ring)
    for (int j = 0; j < ROUNDS; j++)
        elementwise_once(ring, bodies[i]);
}

/* Products of a cut wire, exact where nothing was cut off: as large as they may be, any count, so
 * that the last group of eight is of every size. */
static uint32_t square_of_cut(struct build *b, uint32_t x)
{
    return build_square(b, x, false);
}

static uint32_t sums_of_cut(struct build *b, uint32_t x)
{
    return build_square(b, x, true);
}

static uint32_t mul_of_cut(struct build *b, uint32_t x)
{
    return build_mul(b, x, build_open(b, build_affine(b, b->x, -1, 2)));
}

static uint32_t mul_rows_of_cut(struct build *b, uint32_t x)
{
    int64_t factors[40] = {1};

    return build_mul(b, x, build_open(b, build_dot(b, b->x, 1, factors, b->v->wires[b->x].cols)));
}

static void test_cut_products(void **state)
{
    uint32_t (*const bodies[])(struct build *, uint32_t) = {square_of_cut, sums_of_cut, mul_of_cut,
                                                            mul_rows_of_cut};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bodies); i++)
        FOR_EACH_RING(ring)
    for (unsigned int shift = 1; shift <= ring - 8; shift += 1 + random_word() % 7) {
        uint32_t rows = (uint32_t)random_count(1, 9), cols = (uint32_t)random_count(1, 9);
        int64_t limit = MIN(factor_top(ring, 2 * (size_t)cols), number_top(ring - 1 - shift));
        int64_t input[INPUT_MAX];
        struct build b;

        build_start(&b, ring, rows, cols);
        build_finish(
            &b, bodies[i](&b, build_cut(&b, build_affine(&b, b.x, (int64_t)1 << shift, 0), shift)));
        build_noise(input, (size_t)rows * cols, -limit, limit);
        build_agree(&b, input);
        build_end(&b);
    }
}

/* A product in a narrow ring, lifted: over the whole of the narrow ring's range. */
static void test_lift(void **state)
{
    (void)state;
    for (unsigned int narrow = 16; narrow <= 32; narrow += 8)
        FOR_EACH_RING(ring)
    for (int64_t shift = ring > narrow ? 0 : 1; shift < 6; shift++) {
        uint32_t inner = (uint32_t)random_count(1, 20);
        int64_t limit = factor_top(narrow - 1 - (unsigned int)shift, inner), input[INPUT_MAX];
        int64_t w[20 * 7];
        struct build b;
        uint32_t x;

        build_start_narrow(&b, ring, narrow, 5, inner);
        build_noise(w, (size_t)inner * 7, -limit, limit);
        x = build_linear(&b, build_open(&b, b.x), build_weight(&b, WEIGHT_PRODUCT, inner, 7, w),
                         NONE, NONE, NONE);
        x = build_affine(&b, x, (int64_t)1 << shift, 0);
        build_finish(&b, build_lift(&b, x, shift));
        build_noise(input, (size_t)5 * inner, -limit, limit);
        build_agree(&b, input);
        build_end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul_weight),    cmocka_unit_test(test_matmul_weight_view),
        cmocka_unit_test(test_matmul_attention), cmocka_unit_test(test_matmul_views),
        cmocka_unit_test(test_matmul_groups),    cmocka_unit_test(test_matmul_bias_of_a_batch),
        cmocka_unit_test(test_matmul_large),     cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_cut_products),     cmocka_unit_test(test_lift),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
