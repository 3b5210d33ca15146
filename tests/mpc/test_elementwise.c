/*
 * The elementwise kernels: every variant that this CPU can run against plain C, bit for bit, on
 * noise and extremes, from ragged sizes and misaligned wires, between guard zones that must stay as
 * they were; and plain C against what the slots are said to do.
 */
#include "mpc/kernels.h"

#include "tests/mpc/build.h"

#include <stdlib.h>
#include <string.h>

#define POISON    0xa5
#define GUARD     80 /* bytes on either side: more than a vector */
#define ALIGNMENT 64

/* The features of a variant: those that a test was started with. */
static unsigned int features_of(const void *state)
{
    return *(const unsigned int *)state;
}

/* Around the lanes of a vector, the bits of a word and the blocks of a pass. */
static const size_t counts[] = {0,  1,  2,  3,  4,  5,  7,   8,   9,   11,  15,  16,  17,  31,
                                32, 33, 63, 64, 65, 95, 127, 128, 129, 200, 511, 512, 513, 1100};

#define FOR_EACH_COUNT(count)                                                                      \
    for (size_t c_ = 0, count = 0; c_ < ARRAY_LENGTH(counts) && (count = counts[c_], true); c_++)

/* The same bytes twice: one for plain C, one for the variant. */
struct twin {
    uint8_t *all[2], *at[2];
    size_t bytes;
};

static void noise(uint8_t *to, size_t bytes)
{
    static const uint64_t extremes[] = {
        0,          1,          UINT64_MAX,        INT64_MAX,
        1ull << 63, UINT32_MAX, 1ull << 32,        0xffffffff00000000,
        1ull << 31, INT32_MAX,  0x8000000080000000};

    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t v =
            random_word() % 3 ? random_word() : extremes[random_word() % ARRAY_LENGTH(extremes)];

        memcpy(to + i, &v, MIN(bytes - i, sizeof(v)));
    }
}

static struct twin twin_at(size_t bytes, size_t misaligned)
{
    struct twin t = {.bytes = bytes};

    for (int i = 0; i < 2; i++) {
        t.all[i] = malloc(bytes + 2 * GUARD + ALIGNMENT);
        assert_non_null(t.all[i]);
        memset(t.all[i], POISON, bytes + 2 * GUARD + ALIGNMENT);
        t.at[i] = t.all[i] + GUARD + misaligned;
    }
    noise(t.at[0], bytes);
    memcpy(t.at[1], t.at[0], bytes);
    return t;
}

static struct twin twin_words(size_t words)
{
    return twin_at(words * sizeof(uint64_t), 0);
}

static struct twin twin_wire(size_t bytes)
{
    return twin_at(bytes, random_word() % ALIGNMENT);
}

static uint64_t *words_of(const struct twin *t, int which)
{
    return (uint64_t *)(void *)t->at[which];
}

/* Equal, and poison all around. */
static void twin_end(struct twin *t, const char *slot, size_t count, unsigned int bits)
{
    size_t all = t->bytes + 2 * GUARD + ALIGNMENT;
    const uint8_t *end = t->all[0] + all;

    if (memcmp(t->all[0], t->all[1], all))
        fail_msg("%s differs from plain C: %zu elements, %u bits", slot, count, bits);
    for (const uint8_t *p = t->all[0]; p < end; p += p + 1 == t->at[0] ? t->bytes + 1 : 1)
        assert_int_equal(*p, POISON);
    free(t->all[0]);
    free(t->all[1]);
}

/* kernels[0] is plain C, kernels[1] the variant. */
struct both {
    struct kernels kernels[2];
};

static struct both both_of(const void *state)
{
    return (struct both){{kernels_choose(0), kernels_choose(features_of(state))}};
}

#define FOR_BOTH(b, k, i)                                                                          \
    for (int i = 0; i < 2; i++)                                                                    \
        for (const struct kernels *k = &(b)->kernels[i]; k; k = NULL)

/* --- packing --- */

static void check_fields(const struct both *b, size_t count, unsigned int bits)
{
    struct twin v = twin_words(count), wire = twin_wire(ring_field_bytes(count, bits));
    struct twin back = twin_words(count);

    FOR_BOTH(b, k, i)
    {
        k->pack_fields(wire.at[i], words_of(&v, i), count, bits);
        k->unpack_fields(words_of(&back, i), wire.at[i], count, bits);
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(words_of(&back, 0)[i], words_of(&v, 0)[i] & ring_mask(bits));
    twin_end(&v, "pack_fields, its input", count, bits);
    twin_end(&wire, "pack_fields", count, bits);
    twin_end(&back, "unpack_fields", count, bits);
}

static void test_fields(void **state)
{
    struct both b = both_of(*state);

    for (unsigned int bits = 1; bits <= 64; bits++) {
        for (size_t count = 0; count < 70; count++)
            check_fields(&b, count, bits);
        check_fields(&b, 1100, bits);
    }
}

/* Plain C puts the bits where it says. */
static void test_fields_by_bits(void **state)
{
    struct kernels k = kernels_choose(0);

    (void)state;
    for (unsigned int bits = 1; bits <= 64; bits++) {
        uint64_t v[67];
        uint8_t packed[67 * 8];
        size_t bytes = ring_field_bytes(ARRAY_LENGTH(v), bits);

        noise((uint8_t *)v, sizeof(v));
        k.pack_fields(packed, v, ARRAY_LENGTH(v), bits);
        for (size_t i = 0; i < 8 * bytes; i++) {
            size_t at = i / bits;
            uint64_t bit = at < ARRAY_LENGTH(v) ? v[at] >> i % bits & 1 : 0;

            assert_int_equal(packed[i / 8] >> i % 8 & 1, bit);
        }
    }
}

static void check_elements(const struct both *b, size_t count, unsigned int ring)
{
    struct twin v = twin_words(count), wire = twin_wire(ring_bytes(count, ring));
    struct twin back = twin_words(count), sum = twin_words(count);

    FOR_BOTH(b, k, i)
    {
        k->pack(wire.at[i], words_of(&v, i), count, ring);
        k->unpack(words_of(&back, i), wire.at[i], count, ring);
        k->unpack_add(words_of(&sum, i), wire.at[i], count, ring);
    }
    twin_end(&v, "pack, its input", count, ring);
    twin_end(&wire, "pack", count, ring);
    twin_end(&back, "unpack", count, ring);
    twin_end(&sum, "unpack_add", count, ring);
}

static void check_hide(const struct both *b, size_t count, unsigned int ring)
{
    struct twin share = twin_words(count), mask = twin_words(count), hat = twin_words(count);
    struct twin wire = twin_wire(ring_bytes(count, ring));

    FOR_BOTH(b, k, i)
    k->hide(words_of(&hat, i), wire.at[i], words_of(&share, i), words_of(&mask, i), count, ring);
    twin_end(&share, "hide, its share", count, ring);
    twin_end(&mask, "hide, its mask", count, ring);
    twin_end(&hat, "hide", count, ring);
    twin_end(&wire, "hide, the wire", count, ring);
}

static void test_elements(void **state)
{
    struct both b = both_of(*state);

    FOR_EACH_RING(ring)
    FOR_EACH_COUNT(count)
    {
        check_elements(&b, count, ring);
        check_hide(&b, count, ring);
    }
}

/* --- cut openings --- */

static void check_hide_cut(const struct both *b, size_t count, unsigned int shift,
                           unsigned int ring, unsigned int bits)
{
    struct twin share = twin_words(count), hat = twin_words(count);
    struct twin wire = twin_wire(ring_field_bytes(count, bits));
    uint64_t add = random_word();

    /* The mask lies where hat goes. */
    FOR_BOTH(b, k, i)
    k->hide_cut(words_of(&hat, i), wire.at[i], words_of(&share, i), words_of(&hat, i), count, add,
                shift, ring, bits);
    twin_end(&share, "hide_cut, its share", count, bits);
    twin_end(&hat, "hide_cut", count, bits);
    twin_end(&wire, "hide_cut, the wire", count, bits);
}

static void check_reveal_cut(const struct both *b, size_t count, unsigned int bits)
{
    struct twin hat = twin_words(count), mask = twin_words(count), z = twin_words(count);
    struct twin wrap = twin_words(count), m = twin_words(count);
    struct twin wire = twin_wire(ring_field_bytes(count, bits));

    FOR_BOTH(b, k, i)
    {
        k->reveal_cut(words_of(&hat, i), words_of(&mask, i), wire.at[i], words_of(&wrap, i),
                      words_of(&m, i), count, bits);
        k->add_carried(words_of(&z, i), words_of(&hat, i), words_of(&m, i), count, bits);
    }
    twin_end(&hat, "reveal_cut", count, bits);
    twin_end(&mask, "reveal_cut, the mask", count, bits);
    twin_end(&wrap, "reveal_cut, its wraps", count, bits);
    twin_end(&m, "reveal_cut, its top bits", count, bits);
    twin_end(&wire, "reveal_cut, its wire", count, bits);
    twin_end(&z, "add_carried", count, bits);
}

static void test_cut(void **state)
{
    struct both b = both_of(*state);

    for (unsigned int bits = 1; bits <= 64; bits++)
        FOR_EACH_COUNT(count)
        {
            unsigned int ring = 64 - 8 * (unsigned int)(random_word() % 5);

            check_hide_cut(&b, count, ring > bits ? ring - bits : 0, ring, bits);
            if (bits >= 2 && bits <= 63)
                check_reveal_cut(&b, count, bits);
        }
}

/* Two parties: the opened value is the sum that was hidden, less the offset, and each mask loses
 * what its wraps say, one element at a time. */
static void test_cut_meaning(void **state)
{
    enum { COUNT = 50, RING = 48, SHIFT = 12, BITS = 36 };
    struct kernels k = kernels_choose(0);
    uint64_t share[2][COUNT], mask[2][COUNT], hat[2][COUNT], b[COUNT], m[COUNT], z[COUNT] = {0};
    uint8_t wire[2][COUNT * 8];

    (void)state;
    noise((uint8_t *)b, sizeof(b));
    noise((uint8_t *)m, sizeof(m));
    for (int i = 0; i < 2; i++) {
        noise((uint8_t *)share[i], sizeof(share[i]));
        noise((uint8_t *)mask[i], sizeof(mask[i]));
        k.hide_cut(hat[i], wire[i], share[i], mask[i], COUNT, 77, SHIFT, RING, BITS);
    }
    for (size_t e = 0; e < COUNT; e++) {
        uint64_t sum = mask[0][e] + mask[1][e], before = mask[0][e], y, c;

        for (int i = 0; i < 2; i++)
            sum += ((share[i][e] + 77) & ring_mask(RING)) >> SHIFT;
        y = sum & ring_mask(BITS);
        c = 1 - (y >> (BITS - 1));
        z[e] = (before & ring_mask(BITS)) - (b[e] << BITS) - c * (m[e] << BITS);
        hat[1][e] = y - (1ull << (BITS - 2));
    }
    k.reveal_cut(hat[0], mask[0], wire[1], b, m, COUNT, BITS);
    assert_memory_equal(hat[0], hat[1], sizeof(hat[0]));
    assert_memory_equal(mask[0], z, sizeof(z));
    k.add_carried(z, hat[0], m, COUNT, BITS);
    for (size_t e = 0; e < COUNT; e++) {
        uint64_t c = 1 - ((hat[0][e] + (1ull << (BITS - 2))) >> (BITS - 1) & 1);

        assert_int_equal(z[e], mask[0][e] + c * (m[e] << BITS));
    }
}

/* --- truncation --- */

static void check_wrap_bits(const struct both *b, size_t count, unsigned int ring)
{
    struct twin x = twin_words(count), a = twin_words(ring_bit_words(count));
    struct twin e = twin_words(ring_bit_words(count));
    uint64_t add = random_word();

    FOR_BOTH(b, k, i)
    k->wrap_bits(words_of(&e, i), words_of(&x, i), words_of(&a, i), count, add, ring);
    for (size_t i = 0; i < 64 * ring_bit_words(count); i++) {
        uint64_t bit = i < count ? ~(words_of(&x, 0)[i] + add) >> (ring - 1) & 1 : 0;

        assert_int_equal(words_of(&e, 0)[i / 64] >> i % 64 & 1,
                         (words_of(&a, 0)[i / 64] >> i % 64 & 1) ^ bit);
    }
    twin_end(&x, "wrap_bits, its input", count, ring);
    twin_end(&a, "wrap_bits, its mask", count, ring);
    twin_end(&e, "wrap_bits", count, ring);
}

static void check_truncate(const struct both *b, size_t count, unsigned int ring,
                           unsigned int shift)
{
    size_t words = ring_bit_words(count);
    struct twin x = twin_words(count), mine = twin_words(words), sum = twin_words(words);
    struct twin a = twin_words(words), c = twin_words(count), y = twin_words(count);
    uint64_t add = random_word();
    unsigned int first = random_word() % 2;

    FOR_BOTH(b, k, i)
    k->truncate(words_of(&y, i), words_of(&x, i), words_of(&mine, i), words_of(&sum, i),
                words_of(&a, i), words_of(&c, i), count, add, shift, ring, first);
    twin_end(&x, "truncate, its input", count, ring);
    twin_end(&mine, "truncate, its bits", count, ring);
    twin_end(&sum, "truncate, its opened bits", count, ring);
    twin_end(&a, "truncate, its mask", count, ring);
    twin_end(&c, "truncate, its correction", count, ring);
    twin_end(&y, "truncate", count, ring);
}

static void test_truncate(void **state)
{
    struct both b = both_of(*state);

    FOR_EACH_RING(ring)
    FOR_EACH_COUNT(count)
    {
        check_wrap_bits(&b, count, ring);
        check_truncate(&b, count, ring, 1 + (unsigned int)(random_word() % (ring - 2)));
    }
}

struct party {
    uint64_t x[100], a[2], mine[2], sum[2], c[100], y[100];
};

/* Two parties and a dealer: floor or ceiling, right in a wider ring than the one it came from. */
static void test_truncate_meaning(void **state)
{
    enum { COUNT = 100, RING = 40, SHIFT = 13, WIDE = 56 };
    struct kernels k = kernels_choose(0);
    struct party p[2];
    uint64_t add = (1ull << (RING - 2)) + (1ull << SHIFT) - 1;

    (void)state;
    noise((uint8_t *)p, sizeof(p));
    for (int i = 0; i < 2; i++)
        k.wrap_bits(p[i].mine, p[i].x, p[i].a, COUNT, i == 0 ? add : 0, RING);
    for (size_t e = 0; e < COUNT; e++) {
        int64_t x = random_in(-(1ll << (RING - 2)), (1ll << (RING - 2)) - (1ll << SHIFT));

        p[1].x[e] = (uint64_t)x - p[0].x[e];
        p[1].c[e] = (p[0].a[e / 64] & p[1].a[e / 64]) >> e % 64 & 1;
        p[1].c[e] -= p[0].c[e];
    }
    k.wrap_bits(p[1].mine, p[1].x, p[1].a, COUNT, 0, RING);
    for (unsigned int i = 0; i < 2; i++) {
        for (size_t w = 0; w < 2; w++)
            p[i].sum[w] = p[0].mine[w] ^ p[1].mine[w];
        k.truncate(p[i].y, p[i].x, p[i].mine, p[i].sum, p[i].a, p[i].c, COUNT, i == 0 ? add : 0,
                   SHIFT, RING, i == 0);
    }
    for (size_t e = 0; e < COUNT; e++) {
        int64_t x = ring_signed(p[0].x[e] + p[1].x[e], RING);
        int64_t y = ring_signed(p[0].y[e] + p[1].y[e], WIDE);

        assert_in_range(y - (x >> SHIFT) + 1, 1, 2);
    }
}

/* --- products and sums --- */

static void check_products(const struct both *b, size_t rows, size_t cols)
{
    size_t count = rows * cols;
    struct twin x = twin_words(count), rx = twin_words(count), corr = twin_words(count);
    struct twin y = twin_words(rows), ry = twin_words(rows), z = twin_words(count);
    struct twin q = twin_words(count), s = twin_words(rows);
    unsigned int party = random_word() % 2;

    FOR_BOTH(b, k, i)
    {
        k->square(words_of(&q, i), words_of(&corr, i), words_of(&x, i), words_of(&rx, i), count,
                  party);
        k->square_sum(words_of(&s, i), words_of(&ry, i), words_of(&x, i), words_of(&rx, i), rows,
                      cols, party);
        k->mul_rows(words_of(&z, i), words_of(&corr, i), words_of(&x, i), words_of(&rx, i),
                    words_of(&y, i), words_of(&ry, i), rows, cols, party);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t xi = words_of(&x, 0)[i], r = words_of(&rx, 0)[i], c = words_of(&corr, 0)[i];
        uint64_t by = words_of(&y, 0)[i / cols], rby = words_of(&ry, 0)[i / cols];

        assert_int_equal(words_of(&q, 0)[i], c + xi * (party * xi - 2 * r));
        assert_int_equal(words_of(&z, 0)[i], c + xi * (party * by - rby) - r * by);
    }
    twin_end(&x, "square, its input", count, 64);
    twin_end(&rx, "square, its mask", count, 64);
    twin_end(&corr, "square, its correction", count, 64);
    twin_end(&y, "mul_rows, its y", count, 64);
    twin_end(&ry, "mul_rows, its mask", count, 64);
    twin_end(&q, "square", count, 64);
    twin_end(&s, "square_sum", count, 64);
    twin_end(&z, "mul_rows", count, 64);
}

static void check_sums(const struct both *b, size_t rows, size_t cols)
{
    struct twin x = twin_words(rows * cols), s = twin_words(rows), y = twin_words(rows * cols);

    FOR_BOTH(b, k, i)
    {
        k->row_sum(words_of(&s, i), words_of(&x, i), rows, cols);
        k->centre(words_of(&y, i), words_of(&x, i), rows, cols);
    }
    for (size_t r = 0; r < rows; r++) {
        uint64_t sum = 0;

        for (size_t c = 0; c < cols; c++)
            sum += words_of(&x, 0)[r * cols + c];
        assert_int_equal(words_of(&s, 0)[r], sum);
        for (size_t c = 0; c < cols; c++)
            assert_int_equal(words_of(&y, 0)[r * cols + c],
                             cols * words_of(&x, 0)[r * cols + c] - sum);
    }
    twin_end(&x, "centre, its input", rows * cols, 64);
    twin_end(&s, "row_sum", rows * cols, 64);
    twin_end(&y, "centre", rows * cols, 64);
}

static void test_rows(void **state)
{
    struct both b = both_of(*state);

    FOR_EACH_COUNT(count)
    for (size_t rows = 0; rows < 5; rows++) {
        check_products(&b, rows, count);
        check_products(&b, count, rows);
        check_sums(&b, rows, count);
    }
}

/* A correction may be turned into the result where it stands. */
static void test_in_place(void **state)
{
    enum { COUNT = 333 };
    struct both b = both_of(*state);
    struct twin x = twin_words(COUNT), r = twin_words(COUNT), z = twin_words(COUNT);
    struct twin wire = twin_wire(ring_bytes(COUNT, 48));

    FOR_BOTH(&b, k, i)
    {
        k->square(words_of(&z, i), words_of(&z, i), words_of(&x, i), words_of(&r, i), COUNT, 1);
        k->mul_rows(words_of(&z, i), words_of(&z, i), words_of(&x, i), words_of(&r, i),
                    words_of(&x, i), words_of(&r, i), COUNT, 1, 1);
        k->hide(words_of(&z, i), wire.at[i], words_of(&z, i), words_of(&r, i), COUNT, 48);
        k->centre(words_of(&z, i), words_of(&z, i), 3, COUNT / 3);
    }
    twin_end(&x, "in place, an input", COUNT, 48);
    twin_end(&r, "in place, a mask", COUNT, 48);
    twin_end(&wire, "in place, the wire", COUNT, 48);
    twin_end(&z, "in place", COUNT, 48);
}

/* --- tables --- */

static void test_masked_sum(void **state)
{
    struct both b = both_of(*state);

    for (size_t rows = 0; rows <= 1024; rows += 64)
        for (size_t cols = 1; cols <= 4; cols++) {
            struct twin table = twin_words(rows * cols), hot = twin_words(rows / 64);
            struct twin ret = twin_words(cols);

            FOR_BOTH(&b, k, i)
            k->masked_sum(words_of(&ret, i), words_of(&table, i), words_of(&hot, i), rows, cols);
            twin_end(&table, "masked_sum, its table", rows, 64);
            twin_end(&hot, "masked_sum, its bits", rows, 64);
            twin_end(&ret, "masked_sum", rows, 64);
        }
}

static void check_look_up(const struct both *b, size_t count, unsigned int first,
                          unsigned int digits, size_t spread)
{
    size_t words = ring_bit_words(count), entries = (count + spread - 1) / spread;
    struct twin x = twin_words(count), bits = twin_words(digits * (words + 1));
    struct twin tables = twin_at((digits * (entries + 3)) * sizeof(uint16_t), 0);

    FOR_BOTH(b, k, i)
    k->look_up(words_of(&bits, i), words + 1, (const uint16_t *)(const void *)tables.at[i],
               entries + 3, words_of(&x, i), count, first, digits, spread);
    twin_end(&x, "look_up, its digits", count, digits);
    twin_end(&tables, "look_up, its tables", count, digits);
    twin_end(&bits, "look_up", count, digits);
}

static void test_look_up(void **state)
{
    struct both b = both_of(*state);

    FOR_EACH_COUNT(count)
    for (size_t spread = 1; spread <= 5; spread++)
        for (unsigned int first = 0; first < 3; first++) {
            check_look_up(&b, count, first, 16 - first, spread);
            check_look_up(&b, count, first, 1, spread);
        }
}

static int run_variant(unsigned int features)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_fields, &features),
        cmocka_unit_test_prestate(test_elements, &features),
        cmocka_unit_test_prestate(test_cut, &features),
        cmocka_unit_test_prestate(test_truncate, &features),
        cmocka_unit_test_prestate(test_rows, &features),
        cmocka_unit_test_prestate(test_in_place, &features),
        cmocka_unit_test_prestate(test_masked_sum, &features),
        cmocka_unit_test_prestate(test_look_up, &features),
    };

    print_message("features 0x%x\n", features);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The variants that can differ. */
static const unsigned int variants[] = {
    0,
    KERNELS_AVX2,
    KERNELS_AVX2 | KERNELS_AVX512 | KERNELS_VBMI,
};

int main(void)
{
    const struct CMUnitTest meanings[] = {
        cmocka_unit_test(test_fields_by_bits),
        cmocka_unit_test(test_cut_meaning),
        cmocka_unit_test(test_truncate_meaning),
    };
    unsigned int here = kernels_cpu_features();
    int failed;

    random_fixed_seed();
    failed = cmocka_run_group_tests(meanings, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(variants); i++)
        if ((variants[i] & here) == variants[i])
            failed += run_variant(variants[i]);
    return failed;
}
