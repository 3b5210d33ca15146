/*
 * kernels: every variant that this CPU can run against the textbook, bit for bit: noise and
 * extremes, ragged sizes from 0, views with strides, and guard zones that must stay as they were.
 */
#include "mpc/kernels.h"

#include "tests/mpc/build.h"

#include <stdlib.h>
#include <string.h>

#define POISON 0xdeadbeefcafef00d
#define GUARD  9 /* words on either side */
#define ROUNDS 400

/* The features to try: none, then those of this CPU. */
static unsigned int features_of(const void *state)
{
    return *(const unsigned int *)state;
}

struct zone {
    uint64_t *all, *at;
    size_t words;
};

static struct zone zone_new(size_t words)
{
    struct zone z = {.all = malloc((words + 2 * GUARD) * sizeof(uint64_t)), .words = words};

    assert_non_null(z.all);
    for (size_t i = 0; i < words + 2 * GUARD; i++)
        z.all[i] = POISON;
    z.at = z.all + GUARD;
    return z;
}

static void zone_end(struct zone *z)
{
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(z->all[i], POISON);
        assert_int_equal(z->at[z->words + i], POISON);
    }
    free(z->all);
}

static void fill(uint64_t *to, size_t count)
{
    static const uint64_t extremes[] = {
        0,          1,          UINT64_MAX,        INT64_MAX,
        1ull << 63, UINT32_MAX, 1ull << 32,        0xffffffff00000000,
        1ull << 31, INT32_MAX,  0x8000000080000000};

    for (size_t i = 0; i < count; i++)
        to[i] = random_word() % 3 ? random_word() : extremes[random_word() % 11];
}

struct shape {
    size_t rows, inner, cols, lda, ldc;
};

static void textbook(uint64_t *c, const uint64_t *a, const uint64_t *b, const struct shape *s,
                     bool add)
{
    for (size_t r = 0; r < s->rows; r++)
        for (size_t j = 0; j < s->cols; j++) {
            uint64_t sum = add ? c[r * s->ldc + j] : 0;

            for (size_t i = 0; i < s->inner; i++)
                sum += a[r * s->lda + i] * b[i * s->cols + j];
            c[r * s->ldc + j] = sum;
        }
}

static void check_product(const struct kernels *k, const struct shape *s, bool add)
{
    struct zone a = zone_new(s->rows * s->lda), b = zone_new(s->inner * s->cols);
    struct zone c = zone_new(s->rows * s->ldc), expected = zone_new(s->rows * s->ldc);
    struct zone right = zone_new(kernels_right_words(s->inner, s->cols));

    fill(a.at, a.words);
    fill(b.at, b.words);
    fill(c.at, c.words);
    memcpy(expected.at, c.at, c.words * sizeof(uint64_t));
    textbook(expected.at, a.at, b.at, s, add);
    kernels_pack_right(right.at, b.at, s->cols, 1, s->inner, s->cols);
    k->product(c.at, s->ldc, a.at, s->lda, right.at, s->rows, s->inner, s->cols, add);
    /* All of c, so that what lies between its rows is compared too. */
    if (memcmp(c.at, expected.at, c.words * sizeof(uint64_t)))
        fail_msg("%s: %zu x %zu x %zu, strides %zu and %zu, add %d", k->isa, s->rows, s->inner,
                 s->cols, s->lda, s->ldc, add);
    zone_end(&a);
    zone_end(&b);
    zone_end(&c);
    zone_end(&expected);
    zone_end(&right);
}

static void test_product_noise(void **state)
{
    struct kernels k = kernels_choose(features_of(*state));

    for (int i = 0; i < ROUNDS; i++) {
        struct shape s = {random_word() % 12, random_word() % 40, random_word() % 35, 0, 0};

        s.lda = s.inner + random_word() % 5;
        s.ldc = s.cols + random_word() % 5;
        check_product(&k, &s, i % 2);
    }
}

/* Around the steps in which a kernel takes rows, columns and the inner dimension. */
static void test_product_edges(void **state)
{
    static const size_t edges[] = {0, 1, 7, 8, 9, 511, 512, 513, 1025};
    struct kernels k = kernels_choose(features_of(*state));

    for (size_t i = 0; i < ARRAY_LENGTH(edges); i++)
        for (size_t rows = 0; rows <= 5; rows++)
            for (size_t cols = 0; cols <= 17; cols += cols % 8 == 1 ? 6 : 1) {
                struct shape s = {rows, edges[i], cols, edges[i], cols};

                check_product(&k, &s, false);
                check_product(&k, &s, true);
            }
}

/* The right-hand side may be any view: a transpose reads columns with a row's stride. */
static void test_pack_right(void **state)
{
    (void)state;
    for (size_t inner = 0; inner < 7; inner++)
        for (size_t cols = 0; cols < 19; cols++) {
            struct zone b = zone_new(inner * cols), to = zone_new(kernels_right_words(inner, cols));

            fill(b.at, b.words);
            kernels_pack_right(to.at, b.at, 1, inner, inner, cols);
            for (size_t i = 0; i < inner; i++)
                for (size_t j = 0; j < to.words / inner; j++) {
                    size_t panel = j / KERNELS_PANEL;
                    uint64_t v = to.at[(panel * inner + i) * KERNELS_PANEL + j % KERNELS_PANEL];

                    assert_int_equal(v, j < cols ? b.at[j * inner + i] : 0);
                }
            zone_end(&b);
            zone_end(&to);
        }
}

static void check_pack(const struct kernels *k, size_t count, unsigned int ring)
{
    size_t bytes = ring_bytes(count, ring);
    struct zone v = zone_new(count), back = zone_new(count), packed = zone_new(bytes / 8 + 1);
    uint8_t *at = (uint8_t *)packed.at;

    fill(v.at, count);
    k->pack(at, v.at, count, ring);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(at[i], v.at[i / (ring / 8)] >> 8 * (i % (ring / 8)) & 0xff);
    for (size_t i = bytes; i < 8 * packed.words; i++)
        assert_int_equal(at[i], (uint8_t)(POISON >> 8 * (i % 8)));
    k->unpack(back.at, at, count, ring);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(back.at[i], v.at[i] & ring_mask(ring));
    fill(back.at, count);
    for (size_t i = 0; i < count; i++)
        v.at[i] = back.at[i] + (v.at[i] & ring_mask(ring));
    k->unpack_add(back.at, at, count, ring);
    assert_memory_equal(back.at, v.at, count * sizeof(uint64_t));
    zone_end(&v);
    zone_end(&back);
    zone_end(&packed);
}

static void test_pack(void **state)
{
    struct kernels k = kernels_choose(features_of(*state));

    FOR_EACH_RING(ring)
    for (size_t count = 0; count < 70; count++)
        check_pack(&k, count, ring);
}

/* A feature that is masked is not used, and one that the CPU lacks is never offered. */
static void test_choice(void **state)
{
    unsigned int cpu = kernels_cpu_features();

    (void)state;
    assert_string_equal(kernels_choose(0).isa, "c");
    assert_string_equal(kernels_here()->isa, kernels_choose(cpu).isa);
    print_message("this CPU: %s\n", kernels_here()->isa);
}

int main(void)
{
    static unsigned int none = 0, here;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_pack_right),
        cmocka_unit_test_prestate(test_product_noise, &none),
        cmocka_unit_test_prestate(test_product_edges, &none),
        cmocka_unit_test_prestate(test_pack, &none),
        cmocka_unit_test_prestate(test_product_noise, &here),
        cmocka_unit_test_prestate(test_product_edges, &here),
        cmocka_unit_test_prestate(test_pack, &here),
    };

    random_fixed_seed();
    here = kernels_cpu_features();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
