/*
 * What functions by pieces are made of: comparisons over every value of a small ring, whole cuts,
 * differences of masked wires, selections by a column, lookups and splines over every value that
 * their table tells apart. Dealer and both parties give what the definition says.
 */
#include "tests/mpc/samples.h"

#define ROUNDS 6

/* --- comparisons --- */

/* Every value of a small ring against every threshold of it, modulo no more than they need. */
static void test_compare_every_value(void **state)
{
    enum { AT_ONCE = 3 };

    (void)state;
    for (unsigned int bits = 2; bits <= 9; bits++) {
        int64_t end = (int64_t)1 << (bits - 2), input[256], expected[AT_ONCE * 256];
        size_t count = (size_t)(2 * end);

        for (int64_t first = -end; first < end; first += AT_ONCE) {
            struct build b;

            for (size_t i = 0; i < AT_ONCE * count; i++) {
                input[i / AT_ONCE] = (int64_t)(i / AT_ONCE) - end;
                expected[i] = input[i / AT_ONCE] >= MIN(first + (int64_t)i % AT_ONCE, end - 1);
            }
            build_start(&b, 32, 1, (uint32_t)count);
            build_finish(&b, build_bit_to_ring(&b, build_compare_narrow(
                                                       &b, build_open(&b, b.x), bits,
                                                       (int64_t[]){first, MIN(first + 1, end - 1),
                                                                   MIN(first + 2, end - 1)},
                                                       AT_ONCE)));
            build_expect(&b, input, expected);
            build_end(&b);
        }
    }
}

/* Every value of a small ring, in steps: at and above a threshold it counts, a step below and less
 * it does not, and between as chance has it. */
static void test_compare_coarse(void **state)
{
    const int64_t thresholds[] = {-96, 0, 48};

    (void)state;
    for (unsigned int shift = 0; shift <= 4; shift++) {
        int64_t input[256], got[3 * 256], step = (int64_t)1 << shift;
        size_t up = 0, down = 0;
        struct replay *r;
        struct build b;

        for (int64_t i = 0; i < 256; i++)
            input[i] = i - 128;
        build_start(&b, 48, 1, 256);
        build_finish(&b, build_bit_to_ring(&b, build_compare_coarse(&b, build_open(&b, b.x), 10,
                                                                    shift, thresholds, 3)));
        r = build_replay(&b, kernels_here());
        for (int job = 0; job < ROUNDS; job++) {
            build_run(&b, r, 1, input, got);
            for (size_t i = 0; i < ARRAY_LENGTH(got); i++) {
                int64_t over = input[i / 3] - thresholds[i % 3];

                if (over >= 0 || over <= -step)
                    assert_int_equal(got[i], over >= 0);
                else
                    *(got[i] ? &up : &down) += 1;
            }
        }
        assert_true(shift < 2 || (up > 0 && down > 0));
        replay_free(r);
        build_end(&b);
    }
}

/* --- wires --- */

/* One column of the bits, of a whole wire and of a cut one: on all of what it holds. */
static void test_select_column(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (int i = 0; i < 2 * ROUNDS; i++) {
        unsigned int shift = i % 2 ? 1 + (unsigned int)i : 0;
        int64_t reach = number_top(ring - 1 - shift), t[3] = {-reach / 3, 0, reach / 3};
        int64_t input[90], expected[90];
        size_t rows = random_count(1, 9), cols = random_count(1, 10), column = random_count(0, 2);
        struct build b;
        uint32_t x, bits;

        build_noise(input, rows * cols, -reach, reach);
        for (size_t j = 0; j < rows * cols; j++)
            expected[j] = input[j] >= t[column] ? input[j] : 0;
        build_start(&b, ring, (uint32_t)rows, (uint32_t)cols);
        x = shift ? build_cut(&b, build_affine(&b, b.x, (int64_t)1 << shift, 0), shift)
                  : build_open(&b, b.x);
        bits = build_compare_narrow(&b, x, ring - shift, t, 3);
        build_finish(&b, build_select_column(&b, bits, (int64_t)column, x));
        build_expect(&b, input, expected);
        build_end(&b);
    }
}

/* A wire that was cut whole, in a ring of its own: on all of what it holds; and the difference of
 * any two columns of it, or from one of another. */
static void test_cut_whole(void **state)
{
    (void)state;
    FOR_EACH_RING(ring)
    for (unsigned int shift = 8; shift <= ring - 16; shift += 8) {
        int64_t reach = number_top(ring - 1 - shift), input[60];
        struct build b;

        build_noise(input, 60, -reach - 1, reach);
        build_start(&b, ring, 6, 10);
        build_finish(
            &b, build_lift(
                    &b,
                    build_unmask(&b, build_cut_whole(
                                         &b, build_affine(&b, b.x, (int64_t)1 << shift, 0), shift)),
                    0));
        build_expect(&b, input, input);
        build_end(&b);
    }
}

static void test_difference(void **state)
{
    enum { ROWS = 5, COLS = 9 };

    (void)state;
    for (int i = 0; i < 4 * ROUNDS; i++) {
        int64_t cols = (int64_t)random_count(1, COLS);
        const int64_t attrs[DIFFERENCE_ATTRS] = {cols,
                                                 (int64_t)random_count(0, (size_t)(COLS - cols)),
                                                 (int64_t)random_count(0, (size_t)(COLS - cols))};
        const int64_t first[DIFFERENCE_ATTRS] = {cols, attrs[1], 0};
        const int64_t column[VIEW_ATTRS] = {ROWS, 1, 1, attrs[2], COLS};
        int64_t input[ROWS * COLS], expected[ROWS * COLS];
        bool one = i % 2;
        struct build b;
        uint32_t x, y;

        build_noise(input, ROWS * COLS, -number_top(39), number_top(39));
        for (int64_t j = 0; j < ROWS * cols; j++) {
            int64_t row = j / cols * COLS, c = j % cols;

            expected[j] = input[row + attrs[1] + c] - input[row + attrs[2] + (one ? 0 : c)];
        }
        build_start(&b, 40, ROWS, COLS);
        x = build_open(&b, b.x);
        y = one ? build_open(&b, build_view(&b, b.x, column)) : x;
        build_finish(&b, build_unmask(&b, build_difference(&b, x, y, one ? first : attrs)));
        build_expect(&b, input, expected);
        build_end(&b);
    }
}

/* A matrix product may read both. */
static void test_products_of_differences(void **state)
{
    const int64_t attrs[DIFFERENCE_ATTRS] = {3, 1, 0};
    const int64_t square_of[MATMUL_ATTRS] = {
        [MATMUL_BATCH] = 1, [MATMUL_ROWS] = 4,  [MATMUL_INNER] = 3, [MATMUL_COLS] = 4,
        [MATMUL_A_ROW] = 3, [MATMUL_B_ROW] = 1, [MATMUL_B_COL] = 3,
    };
    int64_t input[16];
    struct build b;
    uint32_t x, d;

    (void)state;
    build_noise(input, 16, -500, 500);
    build_start(&b, 64, 4, 4);
    x = build_cut_whole(&b, build_affine(&b, b.x, 256, 0), 8);
    d = build_difference(&b, x, x, attrs);
    build_finish(&b, build_lift(&b, build_matmul(&b, d, d, square_of), 0));
    build_agree(&b, input);
    build_end(&b);
}

/* --- lookups --- */

/* Every value that a table of 64 rows tells apart, in every step that it may have: the row below,
 * or that above where there is something between. */
static void test_lookup_every_value(void **state)
{
    enum { BITS = 6, ROWS = 1 << BITS };

    (void)state;
    for (unsigned int i = 0; i < 8; i++) {
        unsigned int shift = i % 4, count = ROWS << shift;
        int64_t entries[ROWS], input[ROWS << 3], got[ROWS << 3];
        struct replay *r;
        struct build b;
        uint32_t x;

        build_noise(entries, ROWS, -number_top(40), number_top(40));
        for (unsigned int j = 0; j < count; j++)
            input[j] = (int64_t)j - count / 2;
        build_start(&b, 48, 1, count);
        x = i < 4 ? build_open(&b, b.x) : build_cut(&b, build_affine(&b, b.x, 4, 0), 2);
        build_finish(&b, build_lookup(&b, x, shift, OPERAND_NONE, BITS, 1, entries));
        r = build_replay(&b, kernels_here());
        for (int job = 0; job < ROUNDS; job++) {
            build_run(&b, r, 1, input, got);
            for (unsigned int j = 0; j < count; j++) {
                int64_t row = input[j] >> shift;
                bool between = input[j] & ((1 << shift) - 1);

                assert_true(got[j] == entries[row & (ROWS - 1)] ||
                            (between && got[j] == entries[(row + 1) & (ROWS - 1)]));
            }
        }
        replay_free(r);
        build_end(&b);
    }
}

/* --- splines --- */

/* The piece of row @row at distance @d, as the table and the terms say. */
static int64_t piece(const int64_t *entries, unsigned int cols, const int64_t *attrs, int64_t row,
                     int64_t d)
{
    int64_t sum = 0;

    for (unsigned int c = 0; c < cols; c++) {
        const int64_t *q = attrs + SPLINE_TERM + SPLINE_TERMS * c;

        sum += entries[row * cols + c] * (q[0] + q[1] * d + q[2] * d * d);
    }
    return sum;
}

/* Every value that a small table tells apart: of the row below it, or of that above, at the
 * distance from there, where it lies between the thresholds, else 0. What comes out lies in @ring.
 */
static void spline_once(unsigned int ring, unsigned int cols, bool cut, unsigned int drop,
                        bool both)
{
    enum { BITS = 6, SHIFT = 4, COUNT = 1 << (BITS + SHIFT), ROWS = 1 << BITS };
    int64_t attrs[SPLINE_ATTRS_MAX] = {[SPLINE_SHIFT] = SHIFT,
                                       [SPLINE_DROP] = drop,
                                       [SPLINE_RING] = ring,
                                       [SPLINE_TO] = both ? 1 : -1};
    int64_t entries[4 * ROWS], input[COUNT], got[COUNT], low = -300, end = 411;
    size_t up = 0, down = 0;
    struct replay *r;
    struct build b;
    uint32_t x, bits;

    build_noise(entries, cols * ROWS, -100, 100);
    for (unsigned int c = 0; c < cols; c++)
        for (unsigned int k = 0; k <= (c + 1) % SPLINE_TERMS; k++)
            attrs[SPLINE_TERM + SPLINE_TERMS * c + k] = random_in(-9, 9);
    build_start(&b, 48, 1, 1000);
    x = cut ? build_cut(&b, build_affine(&b, b.x, 32, 0), 5) : build_open(&b, b.x);
    bits = build_compare_narrow(&b, x, 14, (int64_t[]){low, end}, 2);
    x = build_spline(&b, x, bits, BITS, cols, entries, attrs);
    build_finish(&b, ring < 48 ? build_lift(&b, x, 0) : x);
    r = build_replay(&b, kernels_here());
    for (int job = 0; job < 2; job++) {
        for (int64_t i = 0; i < 1000; i++)
            input[i] = i - COUNT / 2 + (job ? COUNT - 1000 : 0);
        build_run(&b, r, 1, input, got);
        for (size_t i = 0; i < 1000; i++) {
            int64_t row = input[i] >> SHIFT, d = input[i] & ((1 << SHIFT) - 1), near, far;
            bool counts = input[i] >= low && (!both || input[i] < end), seen = false;

            /* What is dropped may round it up. */
            for (int64_t more = 0; counts && more <= (drop > 0); more++) {
                near = piece(entries, cols, attrs, row & (ROWS - 1), (d >> drop) + more);
                far = piece(entries, cols, attrs, (row + 1) & (ROWS - 1),
                            ((d - (1 << SHIFT)) >> drop) + more);
                seen |= got[i] == near || (d && got[i] == far);
                down += got[i] == near;
                up += got[i] == far;
            }
            if (counts ? !seen : got[i] != 0)
                fail_msg("ring %u, %u columns: at %" PRId64 " it is %" PRId64, ring, cols, input[i],
                         got[i]);
        }
    }
    assert_true(up > 100 && down > 100);
    replay_free(r);
    build_end(&b);
}

static void test_spline(void **state)
{
    (void)state;
    for (unsigned int cols = 1; cols <= PLAN_TABLE_COLS_MAX; cols++)
        for (int i = 0; i < 12; i++)
            spline_once(24 + 8 * (unsigned int)(i % 4), cols, i & 1, i % 3, i & 2);
}

/* What no bit selects does not show, however far it is from what the table is for. */
static void test_spline_leaves_out_the_rest(void **state)
{
    const int64_t attrs[SPLINE_ATTRS_MAX] = {[SPLINE_SHIFT] = 8,
                                             [SPLINE_RING] = 32,
                                             [SPLINE_TO] = 1,
                                             [SPLINE_TERM] = 1,
                                             [SPLINE_TERM + 4] = 1};
    const int64_t far = (int64_t)1 << 44;
    int64_t entries[2 << 6], input[200], expected[200] = {0};
    struct build b;
    uint32_t x, bits;

    (void)state;
    build_noise(entries, 2 << 6, -1000, 1000);
    for (size_t i = 0; i < 200; i++)
        input[i] = i % 2 ? random_in(-far, -5000) : random_in(5000, far);
    build_start(&b, 48, 1, 200);
    x = build_open(&b, b.x);
    bits = build_compare(&b, x, (int64_t[]){-5000, 5000}, 2);
    build_finish(&b, build_lift(&b, build_spline(&b, x, bits, 6, 2, entries, attrs), 0));
    build_expect(&b, input, expected);
    build_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare_every_value),
        cmocka_unit_test(test_compare_coarse),
        cmocka_unit_test(test_select_column),
        cmocka_unit_test(test_cut_whole),
        cmocka_unit_test(test_difference),
        cmocka_unit_test(test_products_of_differences),
        cmocka_unit_test(test_lookup_every_value),
        cmocka_unit_test(test_spline),
        cmocka_unit_test(test_spline_leaves_out_the_rest),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
