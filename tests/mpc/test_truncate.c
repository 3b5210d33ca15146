/*
 * Truncation by the million: every result is the floor or the ceiling, and their mean is the exact
 * mean. Beside it, on the same values, what a party gets that shifts its share alone, as CrypTen
 * and SecureML do: wrong by 2^(l-s) as soon as the shares wrap, with probability |x| / 2^(l-1).
 */
#include "tests/mpc/build.h"

#include <math.h>

#define TRUNCATIONS 2000000
#define BATCH       PLAN_LABELS_MAX /* a job: as many answers as there can be */
#define ROWS        8
#define MEAN_ERROR  0.01

struct counts {
    size_t all, ceilings, wrong, wrong_local;
    double error; /* summed, in units of the result */
};

/* Both shares shifted as signed numbers, from a sharing of its own. */
static int64_t shift_locally(int64_t x, unsigned int ring, unsigned int s)
{
    uint64_t share = random_word(), other = (uint64_t)x - share;

    return ring_signed((uint64_t)(ring_signed(share, ring) >> s) +
                           (uint64_t)(ring_signed(other, ring) >> s),
                       ring);
}

static void count_one(struct counts *c, int64_t x, int64_t got, unsigned int ring, unsigned int s)
{
    int64_t floor = x >> s, rest = x - (int64_t)((uint64_t)floor << s);
    int64_t local = shift_locally(x, ring, s);

    c->all++;
    c->ceilings += got == floor + 1;
    c->wrong += got != floor && !(rest && got == floor + 1);
    c->wrong_local += local < floor - 1 || local > floor + 1;
    c->error += (double)(got - floor) - ldexp((double)rest, -(int)s);
}

/* Magnitudes of every size up to the bound -2^(l-2) <= x <= 2^(l-2) - 2^s. */
static void draw(int64_t *x, unsigned int ring, unsigned int s)
{
    const int64_t low = -((int64_t)1 << (ring - 2)), high = -low - ((int64_t)1 << s);

    for (size_t i = 0; i < BATCH; i++) {
        unsigned int bits = (unsigned int)random_in(1, ring - 1);
        int64_t v = ring_signed(random_word(), bits);

        x[i] = random_word() % 2 ? random_in(low, high) : MIN(MAX(v, low), high);
    }
}

static void truncate_many(unsigned int ring, unsigned int s)
{
    struct counts c = {0};
    struct replay *r;
    struct build b;

    build_start(&b, ring, ROWS, BATCH / ROWS);
    build_finish(&b, build_truncate(&b, b.x, s));
    r = build_replay(&b, kernels_here());
    while (c.all < TRUNCATIONS) {
        int64_t x[BATCH], got[BATCH];

        draw(x, ring, s);
        build_run(&b, r, ROWS, x, got);
        for (size_t i = 0; i < BATCH; i++)
            count_one(&c, x[i], got[i], ring, s);
    }
    print_message("%4u %6u %9zu %9zu %7zu %+12.6f %14zu\n", ring, s, c.all, c.ceilings, c.wrong,
                  c.error / (double)c.all, c.wrong_local);
    assert_int_equal(c.wrong, 0);
    assert_true(fabs(c.error / (double)c.all) < MEAN_ERROR);
    assert_true(c.wrong_local > 0); /* else the values were too small to tell the two apart */
    replay_free(r);
    build_end(&b);
}

/* The shifts of the fraction bits that go with each ring. */
static void test_statistics(void **state)
{
    (void)state;
    print_message("ring  shift  elements  ceilings   wrong   mean error  wrong if local\n");
    truncate_many(64, 16);
    truncate_many(56, 14);
    truncate_many(48, 12);
    truncate_many(40, 11);
    truncate_many(32, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_statistics)};

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
