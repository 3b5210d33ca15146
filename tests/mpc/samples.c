#include "tests/mpc/samples.h"

#include <stdlib.h>

#define N SAMPLE_TOKENS

const int64_t sample_input[SAMPLE_WORDS] = {
    17,
    -3,
    0,
    44,
    -50,
    8,
    -21,
    33,
    5,
    -9,
    12,
    -1,
    2,
    -37,
    28,
    49,
    -14,
    6,
    -8,
    -26,
    31,
    1,
    -45,
    19,
    40,
    -5,
    -11,
    22,
    -2,
    7,
    -30,
    14,
    3,
    -48,
    25,
    -16,
    [SAMPLE_AT] = 1,
    2,
    1,
    2,
    1,
    2,
};

static uint32_t input(struct build *b)
{
    return b->x;
}

static uint32_t unmask(struct build *b)
{
    return build_unmask(b, build_open(b, b->x));
}

static uint32_t weight(struct build *b, enum weight_use use, uint32_t rows)
{
    int64_t w[N * N];

    for (size_t i = 0; i < rows * N; i++)
        w[i] = sample_input[SAMPLE_INPUTS - 1 - i];
    return build_weight(b, use, rows, N, w);
}

static uint32_t matmul_weight(struct build *b)
{
    uint32_t x = build_open(b, b->x);
    uint32_t w = weight(b, WEIGHT_PRODUCT, N), bias = weight(b, WEIGHT_ADDED, 1);
    uint32_t gain = weight(b, WEIGHT_GAIN, 1);

    return build_linear(b, x, w, bias, x, gain);
}

/* Two heads of three columns: the scores of queries and keys that are one wire. */
static uint32_t matmul_wires(struct build *b)
{
    const int64_t scores[MATMUL_ATTRS] = {
        [MATMUL_BATCH] = 2,   [MATMUL_ROWS] = N,   [MATMUL_INNER] = 3,   [MATMUL_COLS] = N,
        [MATMUL_A_BATCH] = 3, [MATMUL_A_ROW] = N,  [MATMUL_B_BATCH] = 3, [MATMUL_B_ROW] = 1,
        [MATMUL_B_COL] = N,   [MATMUL_BESIDE] = 1,
    };
    uint32_t x = build_open(b, b->x);

    return build_matmul(b, x, x, scores);
}

static uint32_t mul(struct build *b)
{
    uint32_t x = build_open(b, b->x), rows = build_open(b, build_row_sum(b, b->x));

    return build_mul(b, x, rows);
}

static uint32_t square(struct build *b)
{
    return build_square(b, build_open(b, b->x), false);
}

static uint32_t square_sum(struct build *b)
{
    return build_square(b, build_open(b, b->x), true);
}

static uint32_t truncate_some(struct build *b)
{
    return build_truncate(b, build_affine(b, b->x, 1000, 0), 7);
}

static uint32_t affine(struct build *b)
{
    return build_affine(b, b->x, -3, 11);
}

static uint32_t add(struct build *b)
{
    return build_add(b, b->x, build_affine(b, b->x, 5, 0));
}

static uint32_t centre(struct build *b)
{
    return build_centre(b, b->x);
}

static uint32_t row_sum(struct build *b)
{
    return build_row_sum(b, b->x);
}

static uint32_t length_mask(struct build *b)
{
    return build_length_mask(b, b->x);
}

static uint32_t range(struct build *b)
{
    build_range(b, b->x, -50, 50);
    return b->x;
}

static uint32_t bit_to_ring(struct build *b)
{
    return build_bit_to_ring(b, build_compare(b, build_open(b, b->x), (int64_t[]){-9, 7}, 2));
}

static uint32_t compare_select(struct build *b)
{
    uint32_t x = build_open(b, b->x);

    return build_select(b, build_compare_narrow(b, x, 9, (int64_t[]){0, 20}, 2), x);
}

static uint32_t dot(struct build *b)
{
    return build_dot(b, b->x, 100, (int64_t[]){1, -2, 3, -4, 5, -6}, N);
}

/* Opened with the truncation, read by every product that takes it so. */
static uint32_t cut(struct build *b)
{
    uint32_t x = build_cut(b, build_affine(b, b->x, 64, 0), 5);

    uint32_t square_x = build_square(b, x, false);

    return build_add(b, square_x, build_mul(b, x, build_open(b, build_affine(b, b->x, -3, 1))));
}

static uint32_t cut_rows(struct build *b)
{
    uint32_t x = build_cut(b, build_affine(b, b->x, 24, 0), 3);

    uint32_t squares = build_square(b, x, true);

    return build_add(b, squares, build_row_sum(b, build_unmask(b, x)));
}

static uint32_t lift(struct build *b)
{
    uint32_t x = build_open(b, b->x), cut_x;
    uint32_t w = weight(b, WEIGHT_PRODUCT, N), bias = weight(b, WEIGHT_ADDED, 1);

    x = build_linear(b, x, w, bias, OPERAND_NONE, OPERAND_NONE);
    x = build_lift(b, build_affine(b, x, 16, 0), 4);
    cut_x = build_cut(b, build_affine(b, x, 2, 0), 1);
    return build_mul(b, cut_x, build_open(b, x));
}

static uint32_t length_scale(struct build *b)
{
    return build_length_scale(b, b->x);
}

/* Negative indices are the upper half of a table. */
static const int64_t *entries(size_t count)
{
    static int64_t all[4 << 8];

    for (size_t i = 0; i < count; i++)
        all[i] = i % 2 ? (int64_t)i : -3 * (int64_t)i;
    return all;
}

static uint32_t lookup(struct build *b)
{
    uint32_t x = build_open(b, build_affine(b, b->x, 4, 0));

    return build_lookup(b, x, 2, OPERAND_NONE, 8, 2, entries(2 << 8));
}

static uint32_t lookup_line(struct build *b)
{
    uint32_t x = build_cut(b, build_affine(b, b->x, 8, 0), 1);

    return build_lookup(b, x, 2, x, 8, 2, entries(2 << 8));
}

static uint32_t lookup_times(struct build *b)
{
    uint32_t x = build_open(b, b->x);

    return build_lookup(b, x, 0, build_open(b, build_affine(b, b->x, 5, 5)), 7, 1, entries(1 << 7));
}

/* Opened in a ring of its own, or of few bits, and by one column of many. */
static uint32_t select_column(struct build *b)
{
    uint32_t x = build_cut(b, build_affine(b, b->x, 64, 0), 6), bits;

    bits = build_compare_narrow(b, x, 9, (int64_t[]){-20, 0, 20}, 3);
    return build_select_column(b, bits, 1, x);
}

static uint32_t compare_coarse(struct build *b)
{
    uint32_t x = build_open(b, build_affine(b, b->x, 16, 0));

    return build_bit_to_ring(b, build_compare_coarse(b, x, 30, 4, (int64_t[]){-160, 320}, 2));
}

/* Every element less the last of its row, and that of two columns, in 24 bits. */
static uint32_t difference(struct build *b)
{
    uint32_t x = build_cut_whole(b, build_affine(b, b->x, 1 << 8, 0), 8);
    const int64_t pairs[DIFFERENCE_ATTRS] = {3, 3, 0}, last[DIFFERENCE_ATTRS] = {N, 0, 0};
    const int64_t column[VIEW_ATTRS] = {N, 1, 1, N - 1, N};
    uint32_t y = build_open(b, build_view(b, build_unmask(b, x), column)), d, bits;

    d = build_difference(b, build_difference(b, x, y, last), y, last);
    d = build_difference(b, d, x, pairs);
    bits = build_compare_narrow(b, d, 12, (int64_t[]){0}, 1);
    return build_lift(b, build_select_column(b, bits, 0, d), 0);
}

static uint32_t length_fill(struct build *b)
{
    return build_length_fill(b, b->x, -77);
}

/* Parabolas, of rows that are met exactly, in 24 bits. */
static uint32_t spline(struct build *b)
{
    const int64_t attrs[SPLINE_ATTRS_MAX] = {
        [SPLINE_SHIFT] = 3, [SPLINE_RING] = 24,        [SPLINE_FROM] = 0,         [SPLINE_TO] = 1,
        [SPLINE_TERM] = 1,  [SPLINE_TERM + 3 + 1] = 1, [SPLINE_TERM + 6 + 2] = 1,
    };
    uint32_t x = build_cut(b, build_affine(b, b->x, 64, 0), 3), bits;

    bits = build_compare_narrow(b, x, 12, (int64_t[]){-240, 160}, 2);
    return build_lift(b, build_spline(b, x, bits, 7, 3, entries(3 << 7), attrs), 0);
}

/* One parabola for all rows, of a whole wire, with a bit that is dropped. */
static uint32_t spline_times(struct build *b)
{
    const int64_t attrs[SPLINE_ATTRS_MAX] = {
        [SPLINE_SHIFT] = 4,    [SPLINE_DROP] = 1,   [SPLINE_RING] = b->plan->ring,
        [SPLINE_TO] = -1,      [SPLINE_TERM] = 128, [SPLINE_TERM + 1] = 17,
        [SPLINE_TERM + 2] = 2,
    };
    uint32_t x = build_open(b, build_affine(b, b->x, 16, 0)), bits;

    bits = build_compare_narrow(b, x, 14, (int64_t[]){-320}, 1);
    return build_spline(b, x, bits, 7, 1, entries(1 << 7), attrs);
}

/* Of rows 1 and 3 the columns 4 and 5, and beside them 0 and 1 of the rows after. */
static uint32_t view(struct build *b)
{
    return build_view(b, b->x, (int64_t[VIEW_ATTRS]){2, 2, 2, 10, 12, 2});
}

static uint32_t presence(struct build *b)
{
    return b->presence;
}

static uint32_t add_presence(struct build *b)
{
    return build_add_presence(b, b->x, 100, -100);
}

/* Rows of tokens that are there, by a column of the opened wire; their sums over the columns of
 * those that are, by the other as it stands. */
static uint32_t presence_opened(struct build *b)
{
    const int64_t one[VIEW_ATTRS] = {N, 1, 1, PRESENCE_ONE, PRESENCE_COLS};
    const int64_t sums[MATMUL_ATTRS] = {
        [MATMUL_BATCH] = 1,
        [MATMUL_ROWS] = N,
        [MATMUL_INNER] = N,
        [MATMUL_COLS] = 1,
        [MATMUL_A_ROW] = N,
        [MATMUL_B_OFFSET] = PRESENCE_SCALED,
        [MATMUL_B_ROW] = PRESENCE_COLS,
        [MATMUL_B_COL] = 1,
    };
    uint32_t x = build_open(b, b->x), p = build_open(b, b->presence), there;

    there = build_view(b, p, one);
    x = build_open(b, build_mul(b, x, there));
    return build_matmul(b, x, p, sums);
}

/* Counts of what is below -3, and of what is above 6. */
static uint32_t outside(struct build *b)
{
    uint32_t x = build_join(b, (uint32_t[]){b->x, b->x}, 2, (int64_t[]){1, 3, -1, 6}), sums[2];
    uint32_t bits = build_compare(b, build_open(b, x), (int64_t[]){0}, 1);

    bits = build_bit_to_ring(b, bits);
    for (size_t i = 0; i < 2; i++)
        sums[i] = build_row_sum(
            b, build_view(b, bits, (int64_t[VIEW_ATTRS]){1, 1, N * N, (int64_t)i * N * N}));
    build_guard(b, "low");
    build_guard(b, "high");
    b->outside = build_join(b, sums, 2, (int64_t[]){-1, N * N, -1, N * N});
    return x;
}

const struct sample samples[] = {
    {"input", input},
    {"open, unmask", unmask},
    {"matmul, weight", matmul_weight},
    {"matmul, wires", matmul_wires},
    {"mul", mul},
    {"square", square},
    {"square, row sums", square_sum},
    {"truncate", truncate_some, .rounds = true},
    {"cut", cut},
    {"cut, row sums", cut_rows},
    {"lift", lift, .narrow = true},
    {"affine", affine},
    {"add", add},
    {"centre", centre},
    {"row sum", row_sum},
    {"length mask", length_mask},
    {"length scale", length_scale},
    {"range", range},
    {"compare, bit to ring", bit_to_ring},
    {"compare, select", compare_select},
    {"dot", dot},
    {"lookup", lookup},
    {"lookup, line", lookup_line},
    {"lookup, times", lookup_times},
    {"view", view},
    {"select, column", select_column},
    {"compare, coarse", compare_coarse},
    {"difference", difference},
    {"length fill", length_fill},
    {"spline", spline},
    {"spline, times", spline_times},
    {"join, outside", outside},
    {"presence", presence, .length = LENGTH_BUCKET},
    {"presence, opened", presence_opened, .length = LENGTH_BUCKET},
    {"add presence", add_presence, .length = LENGTH_BUCKET},
};

const size_t sample_count = ARRAY_LENGTH(samples);

void sample_start(const struct sample *s, unsigned int ring, struct build *b)
{
    unsigned int narrow = s->narrow ? 24 : 0;

    if (s->length == LENGTH_BUCKET)
        build_start_bucket(b, ring, narrow, SAMPLE_TOKENS, 1, SAMPLE_TOKENS);
    else
        build_start_narrow(b, ring, narrow, SAMPLE_TOKENS, SAMPLE_TOKENS);
    build_finish(b, s->build(b));
}
