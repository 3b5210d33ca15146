/*
 * Streams: a product with a weight and what opens it work side by side. The answers are those of
 * any other order (test_ops and all that is above), so here it is the order that is looked at: a
 * party's products and the blocks that it packs for the link, as the kernels see them.
 */
#include "tests/mpc/build.h"

#include <stdatomic.h>
#include <string.h>

#define ROWS    200 /* three times as many as are computed at once, and some */
#define COLS    96
#define LOG_MAX 256

/* One letter a call: P a product, B bits of a truncation, O an opening, D a take of one. */
static char logs[2][LOG_MAX];
static atomic_uint log_count;
static _Thread_local char *my_log;

static void note(char what)
{
    size_t at;

    if (!my_log)
        my_log = logs[atomic_fetch_add(&log_count, 1) % 2];
    at = strlen(my_log);
    assert_true(at + 1 < LOG_MAX);
    my_log[at] = what;
}

static void product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                    size_t rows, size_t inner, size_t cols, unsigned int ring, bool add,
                    void *scratch)
{
    if (add) /* online, not in advance */
        note('P');
    kernels_here()->product(c, ldc, a, lda, right, rows, inner, cols, ring, add, scratch);
}

static void wrap_bits(uint64_t *e, const uint64_t *x, const uint64_t *a, size_t count, uint64_t add,
                      unsigned int ring)
{
    note('B');
    kernels_here()->wrap_bits(e, x, a, count, add, ring);
}

static void hide(uint64_t *hat, uint8_t *wire, const uint64_t *share, const uint64_t *mask,
                 size_t count, unsigned int ring)
{
    note('O');
    kernels_here()->hide(hat, wire, share, mask, count, ring);
}

static void unpack_add(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring)
{
    note('D');
    kernels_here()->unpack_add(to, from, count, ring);
}

/* x W, truncated, opened, times W again, truncated: exact, since W is even. */
static void make(struct build *b, int64_t *input)
{
    int64_t w[COLS * COLS];
    uint32_t x, weight;

    build_start(b, 48, ROWS, COLS);
    for (size_t i = 0; i < COLS * COLS; i++)
        w[i] = 2 * random_in(-3, 3);
    weight = build_weight(b, WEIGHT_PRODUCT, COLS, COLS, w);
    x = build_linear(b, build_open(b, b->x), weight, OPERAND_NONE, OPERAND_NONE, OPERAND_NONE);
    x = build_open(b, build_truncate(b, x, 1));
    x = build_linear(b, x, weight, OPERAND_NONE, OPERAND_NONE, OPERAND_NONE);
    x = build_truncate(b, x, 1);
    /* An answer of few elements. */
    build_finish(b, build_row_sum(b, x));
    for (size_t i = 0; i < ROWS * COLS; i++)
        input[i] = random_in(-1000, 1000);
}

static void test_sends_between_products(void **state)
{
    struct kernels kernels = *kernels_here();
    int64_t *input = test_calloc((size_t)ROWS * COLS, sizeof(*input));
    int64_t got[PLAN_LABELS_MAX], expected[PLAN_LABELS_MAX];
    struct replay *r;
    struct build b;

    (void)state;
    kernels.product = product;
    kernels.wrap_bits = wrap_bits;
    kernels.hide = hide;
    kernels.unpack_add = unpack_add;
    make(&b, input);
    r = build_replay(&b, &kernels);
    memset(logs, 0, sizeof(logs)); /* the model was opened with them, too */
    my_log = NULL;
    build_clear(&b, ROWS, input, expected);
    build_run(&b, r, ROWS, input, got);
    for (size_t i = 0; i < b.plan->labels; i++)
        assert_int_equal(got[i], expected[i]);
    print_message("%s\n%s\n", logs[0], logs[1]);
    for (int p = 0; p < 2; p++) {
        /* Rows are taken right before a product, its bits leave right after it: four times the rows
         * that are computed at once, in each of both products. */
        assert_string_equal(logs[p], "OOOODPBDPBDPBDPBOOOODPBDPBDPBDPB");
    }
    replay_free(r);
    build_end(&b);
    test_free(input);
}

/* What is read twice, or by what does not ask for rows, is made at once. */
static void test_what_streams(void **state)
{
    const int64_t w[16] = {1};
    uint32_t x, once, twice, summed, centred;
    struct build b;

    (void)state;
    build_start(&b, 48, 4, 4);
    x = build_open(&b, b.x);
    once = build_linear(&b, x, build_weight(&b, WEIGHT_PRODUCT, 4, 4, w), OPERAND_NONE,
                        OPERAND_NONE, OPERAND_NONE);
    build_truncate(&b, once, 3);
    twice = build_linear(&b, x, build_weight(&b, WEIGHT_PRODUCT, 4, 4, w), OPERAND_NONE,
                         OPERAND_NONE, OPERAND_NONE);
    build_truncate(&b, twice, 3);
    build_truncate(&b, twice, 4);
    summed = build_linear(&b, x, build_weight(&b, WEIGHT_PRODUCT, 4, 4, w), OPERAND_NONE,
                          OPERAND_NONE, OPERAND_NONE);
    build_row_sum(&b, summed);
    centred = build_centre(&b, build_linear(&b, x, build_weight(&b, WEIGHT_PRODUCT, 4, 4, w),
                                            OPERAND_NONE, OPERAND_NONE, OPERAND_NONE));
    build_finish(&b, build_unmask(&b, build_cut(&b, centred, 3)));
    assert_true(b.v->wires[once].streamed);
    assert_false(b.v->wires[twice].streamed);
    assert_false(b.v->wires[summed].streamed);
    assert_true(b.v->wires[centred].streamed);
    assert_true(b.v->wires[centred - 1].streamed);
    build_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sends_between_products),
        cmocka_unit_test(test_what_streams),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
