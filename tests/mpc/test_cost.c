/* cost: what the plan says before is what the counters say after. build_run() compares them in
 * every test of this room; here every kind of operation has its own line, printed. */
#include "mpc/cost.h"

#include "tests/mpc/samples.h"

static void test_samples(void **state)
{
    (void)state;
    print_message("%-24s %4s %8s %7s %8s %8s\n", "", "ring", "bytes", "rounds", "tape", "products");
    for (size_t i = 0; i < sample_count; i++)
        FOR_EACH_RING(ring)
        {
            int64_t output[PLAN_LABELS_MAX];
            struct cost total;
            struct replay *r;
            struct build b;

            sample_start(&samples[i], ring, &b);
            r = build_replay(&b, kernels_here());
            build_run(&b, r, SAMPLE_TOKENS, sample_input, output);
            cost_variant(b.plan, b.v, &total, NULL);
            print_message("%-24s %4u %8" PRIu64 " %7" PRIu64 " %8" PRIu64 " %8" PRIu64 "\n",
                          samples[i].name, ring, total.bytes_online, total.rounds_online,
                          total.bytes_tape, total.macs_online);
            replay_free(r);
            build_end(&b);
        }
}

/* What the formulas at the head of each operation come to, by hand, at l = 48. */
static void test_by_hand(void **state)
{
    uint32_t x, bits;
    struct cost total, kinds[OP_ID_END];
    struct build b;

    (void)state;
    build_start(&b, 48, 4, 25);
    x = build_unmask(&b, build_open(&b, b.x));
    x = build_open(&b, build_truncate(&b, x, 12));
    bits = build_compare(&b, x, (int64_t[]){0}, 1);
    build_finish(&b, build_select(&b, bits, x));
    cost_variant(b.plan, b.v, &total, kinds);

    /* Two openings of 100 elements of 6 bytes. */
    assert_int_equal(kinds[OP_OPEN].bytes_online, 2 * 100 * 6);
    assert_int_equal(kinds[OP_OPEN].rounds_online, 2);
    assert_int_equal(kinds[OP_OPEN].bytes_tape, 0);

    /* A bit an element, in two words; 12 bits an element on the tape. */
    assert_int_equal(kinds[OP_TRUNCATE].bytes_online, 2 * 8);
    assert_int_equal(kinds[OP_TRUNCATE].bytes_tape, 100 * 12 / 8);

    /* 12 digits join in 2 levels: three nodes of four, of which the lowest opens 6 bits an element
     * and the others 7, and one of three, which opens 4. The tape has 12 + 11 tables of 16 bits an
     * element, and 15, 22, 22 and 5 products of the nodes' masks. */
    assert_int_equal(kinds[OP_COMPARE].rounds_online, 2);
    assert_int_equal(kinds[OP_COMPARE].bytes_online, (6 + 7 + 7 + 4) * 2 * 8);
    assert_int_equal(kinds[OP_COMPARE].bytes_tape, 23 * 100 * 2 + (15 + 22 + 22 + 5) * 2 * 8);

    /* The planes of B and B r are whole groups of eight. */
    assert_int_equal(kinds[OP_SELECT].rounds_online, 1);
    assert_int_equal(kinds[OP_SELECT].bytes_tape, 2 * 104 * 6);
    assert_int_equal(total.rounds_online, 2 + 1 + 2 + 1);
    build_end(&b);
}

/* A comparison of all of 48 bits opens 24 bits an element: three bytes. */
static void test_comparison_is_small(void **state)
{
    enum { COUNT = 640 };
    struct cost kinds[OP_ID_END], total;
    struct build b;

    (void)state;
    build_start(&b, 48, 1, COUNT);
    build_finish(&b,
                 build_bit_to_ring(&b, build_compare(&b, build_open(&b, b.x), (int64_t[]){0}, 1)));
    cost_variant(b.plan, b.v, &total, kinds);
    assert_int_equal(kinds[OP_COMPARE].bytes_online, 3 * COUNT);
    assert_int_equal(kinds[OP_COMPARE].rounds_online, 2);
    build_end(&b);
}

/* What a link carries a job, of a model that is large enough to matter. */
static void test_many_blocks(void **state)
{
    enum { ROWS = 512, COLS = 3000 };
    int64_t *input = test_calloc((size_t)ROWS * COLS, sizeof(*input)), output[ROWS];
    struct replay *r;
    struct build b;

    (void)state;
    build_start(&b, 56, ROWS, COLS);
    build_finish(&b, build_square(&b, build_open(&b, b.x), true));
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++)
        input[i] = random_in(-9, 9);
    r = build_replay(&b, kernels_here());
    build_run(&b, r, ROWS, input, output);
    assert_int_equal(r->stats[0].bytes, (size_t)ROWS * COLS * 7);
    for (size_t i = 0; i < ROWS; i++) {
        int64_t sum = 0;

        for (size_t j = 0; j < COLS; j++)
            sum += input[i * COLS + j] * input[i * COLS + j];
        assert_int_equal(output[i], sum);
    }
    replay_free(r);
    build_end(&b);
    test_free(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_comparison_is_small),
        cmocka_unit_test(test_many_blocks),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
