/*
 * kernels: every variant that can run here against the textbook, bit for bit: noise and extremes,
 * ragged sizes from 0, views with strides, every ring, inner dimensions longer than any bound
 * inside, and guard zones that must stay as they were.
 *
 * `test_kernels --list` names the variants; `--isa NAME` checks one of them.
 */
#include "tests/mpc/build.h"
#include "tests/mpc/variants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POISON 0xdeadbeefcafef00d
#define GUARD  8 /* words on either side: a packed right-hand side is aligned */
#define ROUNDS 300

struct zone {
    uint64_t *all, *at;
    size_t words;
};

static struct zone zone_new(size_t words)
{
    size_t total = (words + 3 * GUARD) / GUARD * GUARD;
    struct zone z = {.all = aligned_alloc(KERNELS_ALIGN, total * sizeof(uint64_t)), .words = words};

    assert_non_null(z.all);
    for (size_t i = 0; i < total; i++)
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

/* Limbs at their ends: of bytes, of 16 bits signed and balanced, of 32 and 52 bits. */
static const uint64_t extremes[] = {
    0,
    1,
    UINT64_MAX,
    INT64_MAX,
    1ull << 63,
    UINT32_MAX,
    1ull << 32,
    0xffffffff00000000,
    1ull << 31,
    INT32_MAX,
    0x8000000080000000,
    0x8000800080008000,
    0x7fff7fff7fff8000, /* balanced limbs of -2^15 each */
    0x7fff7fff7fff7fff,
    0x7f807f807f807f80,
    (1ull << 52) - 1,
    0xfff0000000000000,
    0x8080808080808080,
};

enum pattern { NOISE, MIXED, CONSTANT, PATTERNS };

static void fill(uint64_t *to, size_t count, enum pattern pattern)
{
    uint64_t constant = extremes[random_word() % ARRAY_LENGTH(extremes)];

    for (size_t i = 0; i < count; i++)
        if (pattern == NOISE || (pattern == MIXED && random_word() % 3))
            to[i] = random_word();
        else
            to[i] =
                pattern == CONSTANT ? constant : extremes[random_word() % ARRAY_LENGTH(extremes)];
}

struct shape {
    size_t rows, inner, cols, lda, ldc;
};

static struct shape dense(size_t rows, size_t inner, size_t cols)
{
    return (struct shape){rows, inner, cols, inner, cols};
}

static void textbook(uint64_t *c, const uint64_t *a, const uint64_t *b, const struct shape *s,
                     bool add)
{
    for (size_t r = 0; r < s->rows; r++) {
        uint64_t *row = c + r * s->ldc;

        for (size_t j = 0; j < s->cols && !add; j++)
            row[j] = 0;
        for (size_t i = 0; i < s->inner; i++)
            for (size_t j = 0; j < s->cols; j++)
                row[j] += a[r * s->lda + i] * b[i * s->cols + j];
    }
}

/* Equal modulo 2^ring in the result, and everywhere else as before. */
static bool same(const uint64_t *c, const uint64_t *expected, const struct shape *s,
                 unsigned int ring)
{
    uint64_t wrong = 0;

    for (size_t r = 0; r < s->rows; r++)
        for (size_t j = 0; j < s->ldc; j++)
            wrong |= (c[r * s->ldc + j] ^ expected[r * s->ldc + j]) &
                     (j < s->cols ? ring_mask(ring) : UINT64_MAX);
    return !wrong;
}

static void check_product(const struct kernels *k, const struct shape *s, unsigned int ring,
                          bool add, enum pattern pattern)
{
    struct zone a = zone_new(s->rows * s->lda), b = zone_new(s->inner * s->cols);
    struct zone c = zone_new(s->rows * s->ldc), expected = zone_new(s->rows * s->ldc);
    struct zone scratch = zone_new(KERNELS_SCRATCH_BYTES / sizeof(uint64_t));
    size_t bytes = k->right_bytes(s->inner, s->cols, ring);
    struct zone right = zone_new(bytes / sizeof(uint64_t));

    assert_int_equal(bytes % sizeof(uint64_t), 0);
    assert_true(bytes <= kernels_right_bytes_max(s->inner, s->cols));
    fill(a.at, a.words, pattern);
    fill(b.at, b.words, pattern);
    fill(c.at, c.words, pattern);
    memcpy(expected.at, c.at, c.words * sizeof(uint64_t));
    textbook(expected.at, a.at, b.at, s, add);
    k->pack_right(right.at, b.at, s->cols, 1, s->inner, s->cols, ring);
    k->product(c.at, s->ldc, a.at, s->lda, right.at, s->rows, s->inner, s->cols, ring, add,
               scratch.at);
    if (!same(c.at, expected.at, s, ring))
        fail_msg("%s: ring %u, %zu x %zu x %zu, strides %zu and %zu, add %d, pattern %d", k->isa,
                 ring, s->rows, s->inner, s->cols, s->lda, s->ldc, add, pattern);
    zone_end(&a);
    zone_end(&b);
    zone_end(&c);
    zone_end(&expected);
    zone_end(&scratch);
    zone_end(&right);
}

static void test_product_noise(void **state)
{
    const struct kernels *k = *state;

    for (unsigned int i = 0; i < ROUNDS; i++) {
        struct shape s = dense(random_word() % 40, random_word() % 150, random_word() % 70);

        s.lda += random_word() % 5;
        s.ldc += random_word() % 5;
        check_product(k, &s, 1 + (unsigned int)(random_word() % 64), i % 2, i % PATTERNS);
    }
}

static void test_product_rings(void **state)
{
    const struct kernels *k = *state;

    for (unsigned int ring = 1; ring <= 64; ring++)
        for (enum pattern pattern = NOISE; pattern < PATTERNS; pattern++) {
            struct shape s = dense(5, 67, 35);

            check_product(k, &s, ring, false, pattern);
            s = dense(18, 131, 19);
            check_product(k, &s, ring, true, pattern);
        }
}

/* Around the steps in which a kernel takes rows, columns and the inner dimension. */
static void test_product_edges(void **state)
{
    static const size_t inner[] = {0, 1, 2, 3, 63, 64, 65, 255, 256, 257, 513};
    static const size_t cols[] = {0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65};
    static const size_t rows[] = {0, 1, 2, 3, 4, 5, 15, 16, 17, 33};
    const struct kernels *k = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(inner); i++)
        for (size_t j = 0; j < ARRAY_LENGTH(cols); j++)
            for (size_t r = 0; r < ARRAY_LENGTH(rows); r++) {
                struct shape s = dense(rows[r], inner[i], cols[j]);

                check_product(k, &s, 8 * (unsigned int)(1 + random_word() % 8), r % 2, MIXED);
            }
}

/* More rows than one block of the scratch holds. */
static void test_product_rows(void **state)
{
    static const size_t rows[] = {63, 64, 65, 127, 128, 129, 257};

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++)
        for (unsigned int ring = 16; ring <= 64; ring += 16) {
            struct shape s = dense(rows[i], 259, 17);

            check_product(*state, &s, ring, true, MIXED);
        }
}

/* Longer than any sum that an accumulator inside holds, with every product at its largest. */
static void test_product_long(void **state)
{
    static const size_t inner[] = {1023, 2048, 4097, 16513, 70001};

    for (size_t i = 0; i < ARRAY_LENGTH(inner); i++)
        for (unsigned int ring = 8; ring <= 64; ring += 8) {
            struct shape s = dense(2, inner[i], 3);

            check_product(*state, &s, ring, false, NOISE);
            for (int times = 0; times < 3; times++)
                check_product(*state, &s, ring, true, CONSTANT);
        }
}

/* The right-hand side may be any view: a transpose reads columns with a row's stride. */
static void test_pack_right(void **state)
{
    const struct kernels *k = *state;

    for (unsigned int ring = 8; ring <= 64; ring += 8)
        for (size_t cols = 0; cols < 40; cols += 3) {
            size_t inner = 1 + random_word() % 80, row = 1 + random_word() % 3;
            size_t col = inner * row + random_word() % 3;
            struct zone b = zone_new((inner - 1) * row + cols * col + 1);
            struct zone gathered = zone_new(inner * cols);
            struct zone to[2];

            for (int i = 0; i < 2; i++)
                to[i] = zone_new(k->right_bytes(inner, cols, ring) / sizeof(uint64_t));
            fill(b.at, b.words, MIXED);
            for (size_t i = 0; i < inner; i++)
                for (size_t j = 0; j < cols; j++)
                    gathered.at[i * cols + j] = b.at[i * row + j * col];
            k->pack_right(to[0].at, b.at, row, col, inner, cols, ring);
            k->pack_right(to[1].at, gathered.at, cols, 1, inner, cols, ring);
            assert_memory_equal(to[0].at, to[1].at, to[0].words * sizeof(uint64_t));
            zone_end(&b);
            zone_end(&gathered);
            zone_end(&to[0]);
            zone_end(&to[1]);
        }
}

static void check_pack(const struct kernels *k, size_t count, unsigned int ring)
{
    size_t bytes = ring_bytes(count, ring);
    struct zone v = zone_new(count), back = zone_new(count), packed = zone_new(bytes / 8 + 1);
    uint8_t *at = (uint8_t *)packed.at;

    fill(v.at, count, MIXED);
    k->pack(at, v.at, count, ring);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(at[i], v.at[i / (ring / 8)] >> 8 * (i % (ring / 8)) & 0xff);
    for (size_t i = bytes; i < 8 * packed.words; i++)
        assert_int_equal(at[i], (uint8_t)(POISON >> 8 * (i % 8)));
    k->unpack(back.at, at, count, ring);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(back.at[i], v.at[i] & ring_mask(ring));
    fill(back.at, count, MIXED);
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
    FOR_EACH_RING(ring)
    for (size_t count = 0; count < 70; count++)
        check_pack(*state, count, ring);
}

static int check_variant(struct kernels *k)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_product_noise, k),
        cmocka_unit_test_prestate(test_product_rings, k),
        cmocka_unit_test_prestate(test_product_edges, k),
        cmocka_unit_test_prestate(test_product_rows, k),
        cmocka_unit_test_prestate(test_product_long, k),
        cmocka_unit_test_prestate(test_pack_right, k),
        cmocka_unit_test_prestate(test_pack, k),
    };

    print_message("variant: %s\n", k->isa);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A feature that is masked is not used, and one that the CPU lacks is never offered. */
static void test_choice(void **state)
{
    unsigned int cpu = kernels_cpu_features(), features;

    (void)state;
    assert_string_equal(kernels_choose(0).isa, "c");
    assert_int_equal(kernels_isa_features("sse9", &features), -EINVAL);
    for (unsigned int mask = 0; mask <= cpu; mask++) {
        struct kernels k = kernels_choose(cpu & mask);

        assert_null(k.refused);
        assert_int_equal(kernels_isa_features(k.isa, &features), 0);
        assert_int_equal(features & ~(cpu & mask), 0);
    }
    kernels_mask(KERNELS_AVX2);
    assert_string_equal(kernels_here()->isa, kernels_choose(cpu & KERNELS_AVX2).isa);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice)};
    const char *isa = argc == 3 && strcmp(argv[1], "--isa") == 0 ? argv[2] : NULL;
    bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
    struct kernels variants[VARIANTS_MAX];
    size_t count = variants_here(variants), checked = 0;
    int failed = 0;

    random_fixed_seed();
    for (size_t i = 0; list && i < count; i++)
        puts(variants[i].isa);
    if (list)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (!isa || strcmp(isa, variants[i].isa) == 0) {
            failed += check_variant(&variants[i]);
            checked++;
        }
    if (!isa)
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    return failed || !checked;
}
