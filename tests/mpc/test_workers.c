/*
 * Teams: what a party sends and what comes out is the same, to the byte, however many workers the
 * dealer and the parties have. The products are large enough to be shared out, with a number of
 * rows that no block divides.
 */
#include "tests/mpc/build.h"

#include <stdlib.h>

#define TOKENS 67
#define WIDTH  192
#define HEADS  2

struct outcome {
    int64_t output[PLAN_LABELS_MAX];
    uint8_t *sent[2];
    size_t sent_count[2];
};

/* A linear layer with all that it may add, then the products of two of its outcomes, in two heads,
 * and a square so that the last products are sent as well. */
static void build_products(struct build *b, unsigned int ring)
{
    static int64_t weight[WIDTH * WIDTH], row[WIDTH];
    const int64_t attrs[MATMUL_ATTRS] = {
        [MATMUL_BATCH] = HEADS, [MATMUL_ROWS] = TOKENS,           [MATMUL_INNER] = WIDTH / HEADS,
        [MATMUL_COLS] = TOKENS, [MATMUL_A_BATCH] = WIDTH / HEADS, [MATMUL_A_ROW] = WIDTH,
        [MATMUL_B_COL] = WIDTH, [MATMUL_B_BATCH] = WIDTH / HEADS, [MATMUL_B_ROW] = 1,
    };
    const int64_t first[VIEW_ATTRS] = {[VIEW_ROWS] = 1, [VIEW_BLOCKS] = 1, [VIEW_COLS] = 1};
    uint32_t x, y, scores;

    build_noise(weight, ARRAY_LENGTH(weight), -9, 9);
    build_noise(row, WIDTH, -9, 9);
    build_start(b, ring, TOKENS, WIDTH);
    x = build_open(b, b->x);
    y = build_linear(b, x, build_weight(b, WEIGHT_PRODUCT, WIDTH, WIDTH, weight),
                     build_weight(b, WEIGHT_ADDED, 1, WIDTH, row), x,
                     build_weight(b, WEIGHT_GAIN, 1, WIDTH, row));
    y = build_open(b, y);
    scores = build_open(b, build_matmul(b, y, y, attrs));
    build_finish(b, build_view(b, build_square(b, scores, true), first));
}

/* The same randomness each time; what was sent is the caller's. */
static struct outcome run(const struct build *b, unsigned int workers, const int64_t *input)
{
    struct outcome o = {.sent = {NULL}};
    struct replay *r;

    random_fixed_restart(5);
    replay_set_workers(workers);
    r = build_replay(b, kernels_here());
    replay_set_workers(1);
    build_run(b, r, TOKENS, input, o.output);
    for (unsigned int p = 0; p < 2; p++) {
        o.sent[p] = r->sent[p].bytes;
        o.sent_count[p] = r->sent[p].count;
        r->sent[p].bytes = NULL;
    }
    replay_free(r);
    return o;
}

static void test_same_bytes(void **state)
{
    static const unsigned int teams[] = {2, 3, 8};
    static int64_t input[TOKENS * WIDTH];

    (void)state;
    build_noise(input, ARRAY_LENGTH(input), -5, 5);
    for (unsigned int ring = 40; ring <= 64; ring += 24) {
        struct outcome alone;
        struct build b;

        build_products(&b, ring);
        alone = run(&b, 1, input);
        for (size_t i = 0; i < ARRAY_LENGTH(teams); i++) {
            struct outcome o = run(&b, teams[i], input);

            assert_memory_equal(o.output, alone.output, b.plan->labels * sizeof(*o.output));
            for (unsigned int p = 0; p < 2; p++) {
                assert_int_equal(o.sent_count[p], alone.sent_count[p]);
                assert_memory_equal(o.sent[p], alone.sent[p], alone.sent_count[p]);
                free(o.sent[p]);
            }
        }
        free(alone.sent[0]);
        free(alone.sent[1]);
        build_end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
