/*
 * dpf: two keys expand to shares of a unit vector, at every place of every shape; each key alone is
 * noise, and so are both under a tweak that is not theirs. Every table that this CPU can run is
 * held against the header's formula, and against plain C bit for bit.
 */
#include "mpc/dpf.h"

#include "base/bytes.h"
#include "mpc/ring.h"
#include "tests/mpc/build.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define POISON 0xdeadbeefcafef00d
#define GUARD  16

/* A table, by the features that choose it. */
static const struct dpf_kernels *tables[3];
static size_t table_count;

static int find_tables(void **state)
{
    static const unsigned int sets[] = {0, DPF_AESNI, DPF_AESNI | DPF_VAES};
    unsigned int here = dpf_cpu_features();

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(sets); i++)
        if ((sets[i] & here) == sets[i])
            tables[table_count++] = dpf_kernels_choose(sets[i]);
    print_message("tables:");
    for (size_t i = 0; i < table_count; i++)
        print_message(" %s", tables[i]->isa);
    print_message("\n");
    return 0;
}

/* A pair of keys and both expansions, with guard zones behind everything. */
struct pair {
    uint32_t domain;
    unsigned int ring;
    uint8_t tweak[DPF_TWEAK_BYTES], seeds[2 * DPF_SEED_BYTES];
    size_t key_bytes;
    uint8_t key[2][DPF_KEY_BYTES_MAX + GUARD];
    uint64_t *share[2]; /* (domain + GUARD) */
};

static void pair_start(struct pair *p, uint32_t domain, unsigned int ring)
{
    *p = (struct pair){.domain = domain, .ring = ring, .key_bytes = dpf_key_bytes(domain, ring)};
    for (unsigned int party = 0; party < 2; party++) {
        p->share[party] = malloc((domain + GUARD) * sizeof(uint64_t));
        assert_non_null(p->share[party]);
    }
    random_bytes(p->tweak, sizeof(p->tweak));
    random_bytes(p->seeds, sizeof(p->seeds));
}

static void pair_end(struct pair *p)
{
    free(p->share[0]);
    free(p->share[1]);
}

static struct dpf *dpf_of(const struct pair *p, const struct dpf_kernels *kernels)
{
    struct dpf *d = dpf_new(p->domain, kernels);

    assert_non_null(d);
    return d;
}

static void make_keys(struct pair *p, struct dpf *d, uint32_t id)
{
    uint8_t *const keys[2] = {p->key[0], p->key[1]};

    memset(p->key, 0x5a, sizeof(p->key));
    dpf_generate(d, p->ring, p->tweak, id, p->seeds, keys);
    for (size_t i = p->key_bytes; i < sizeof(p->key[0]); i++)
        assert_true(p->key[0][i] == 0x5a && p->key[1][i] == 0x5a);
}

static void expand(struct pair *p, struct dpf *d)
{
    for (unsigned int party = 0; party < 2; party++) {
        for (size_t i = 0; i < p->domain + GUARD; i++)
            p->share[party][i] = POISON;
        assert_int_equal(
            dpf_expand(d, p->ring, p->tweak, party, p->key[party], p->key_bytes, p->share[party]),
            0);
        for (size_t i = p->domain; i < p->domain + GUARD; i++)
            assert_int_equal(p->share[party][i], POISON);
    }
}

static uint64_t sum_at(const struct pair *p, size_t i)
{
    return (p->share[0][i] + p->share[1][i]) & ring_mask(p->ring);
}

static void check_unit(const struct pair *p, uint32_t id)
{
    uint64_t wrong = 0;

    for (size_t i = 0; i < p->domain; i++)
        wrong |= sum_at(p, i) ^ (i == id);
    if (wrong)
        fail_msg("domain %u, ring %u: no unit vector at %u", p->domain, p->ring, id);
}

/* Every place of every small domain, around the whole leaves of each lane. */
static void test_small_domains(void **state)
{
    static const unsigned int rings[] = {1, 8, 16, 24, 32, 40, 48, 64};

    (void)state;
    for (size_t t = 0; t < table_count; t++)
        for (size_t r = 0; r < ARRAY_LENGTH(rings); r++)
            for (uint32_t domain = 1; domain <= 80; domain += 1 + domain / 20) {
                struct dpf *d;
                struct pair p;

                pair_start(&p, domain, rings[r]);
                d = dpf_of(&p, tables[t]);
                for (uint32_t id = 0; id < domain; id++) {
                    random_bytes(p.seeds, sizeof(p.seeds));
                    make_keys(&p, d, id);
                    expand(&p, d);
                    check_unit(&p, id);
                }
                dpf_free(d);
                pair_end(&p);
            }
}

/* BERT's vocabulary, and sizes at which a level is ragged; the first and last places too. */
static void test_large_domains(void **state)
{
    static const uint32_t domains[] = {30522, 28996, 4096, 4097, 65535};
    static const unsigned int rings[] = {8, 16, 24, 48, 64};

    (void)state;
    for (size_t t = 0; t < table_count; t++)
        for (size_t n = 0; n < ARRAY_LENGTH(domains); n++)
            for (size_t r = 0; r < ARRAY_LENGTH(rings); r++) {
                struct dpf *d;
                struct pair p;

                pair_start(&p, domains[n], rings[r]);
                d = dpf_of(&p, tables[t]);
                for (size_t i = 0; i < 6; i++) {
                    uint32_t id = i == 0   ? 0
                                  : i == 1 ? domains[n] - 1
                                           : (uint32_t)(random_word() % domains[n]);

                    random_bytes(p.seeds, sizeof(p.seeds));
                    make_keys(&p, d, id);
                    expand(&p, d);
                    check_unit(&p, id);
                }
                dpf_free(d);
                pair_end(&p);
            }
}

/* One object serves one key after another, with nothing left of the last. */
static void test_tables_agree(void **state)
{
    (void)state;
    for (size_t round = 0; round < 60; round++) {
        uint32_t domain = (uint32_t)random_in(1, round % 2 ? 3000 : 300);
        unsigned int ring = (unsigned int)random_in(1, 64);
        uint32_t id = (uint32_t)(random_word() % domain);
        struct pair p, reference;

        pair_start(&p, domain, ring);
        pair_start(&reference, domain, ring);
        memcpy(reference.tweak, p.tweak, sizeof(p.tweak));
        memcpy(reference.seeds, p.seeds, sizeof(p.seeds));
        for (size_t t = 0; t < table_count; t++) {
            struct pair *at = t ? &p : &reference;
            struct dpf *d = dpf_of(at, tables[t]);

            make_keys(at, d, id ? id - 1 : 0);
            make_keys(at, d, id);
            expand(at, d);
            dpf_free(d);
            if (!t)
                continue;
            assert_memory_equal(p.key, reference.key, sizeof(p.key));
            for (unsigned int party = 0; party < 2; party++)
                assert_memory_equal(p.share[party], reference.share[party],
                                    domain * sizeof(uint64_t));
        }
        pair_end(&p);
        pair_end(&reference);
    }
}

/* --- the header's formula, for one element --- */

static void hash(const uint8_t tweak[16], const uint8_t node[16], uint8_t add, uint8_t ret[16])
{
    EVP_CIPHER_CTX *aes = EVP_CIPHER_CTX_new();
    uint8_t x[16];
    int done;

    memcpy(x, node, sizeof(x));
    x[0] = (uint8_t)((x[0] & ~1u) ^ add);
    assert_int_equal(EVP_EncryptInit_ex(aes, EVP_aes_128_ecb(), NULL, tweak, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(aes, ret, &done, x, sizeof(x)), 1);
    for (size_t i = 0; i < sizeof(x); i++)
        ret[i] ^= x[i];
    EVP_CIPHER_CTX_free(aes);
}

static uint64_t element(const struct pair *p, unsigned int party, uint32_t at)
{
    unsigned int lane = p->ring > 32 ? 64 : p->ring > 16 ? 32 : p->ring > 8 ? 16 : 8;
    unsigned int lanes = 512 / lane, depth = 0;
    const uint8_t *key = p->key[party], *controls, *output;
    uint8_t node[16], child[16], leaf[64];
    uint64_t value = 0, correction = 0;

    while ((1u << depth) * lanes < p->domain)
        depth++;
    controls = key + 16 + 16 * depth;
    output = controls + 4;
    assert_int_equal(p->key_bytes, 16 + 16 * depth + 4 + 64);
    memcpy(node, key, sizeof(node));
    assert_int_equal(node[0] & 1, 0);
    node[0] |= (uint8_t)party;
    for (unsigned int level = 0; level < depth; level++) {
        uint8_t side = at / lanes >> (depth - 1 - level) & 1, cw[16];

        memcpy(cw, key + 16 + 16 * level, sizeof(cw));
        if (side)
            cw[0] = (uint8_t)((cw[0] & ~1u) | (controls[level / 8] >> level % 8 & 1));
        hash(p->tweak, node, side, child);
        for (size_t i = 0; i < sizeof(node); i++)
            child[i] ^= node[0] & 1 ? cw[i] : 0;
        memcpy(node, child, sizeof(node));
    }
    for (uint8_t i = 0; i < 4; i++)
        hash(p->tweak, node, (uint8_t)(2 + i), leaf + 16 * i);
    memcpy(&value, leaf + at % lanes * lane / 8, lane / 8);
    memcpy(&correction, output + at % lanes * lane / 8, lane / 8);
    if (node[0] & 1)
        value += correction;
    return (party ? -value : value) & ring_mask(lane);
}

static void test_formula(void **state)
{
    (void)state;
    for (size_t round = 0; round < 40; round++) {
        uint32_t domain = (uint32_t)random_in(1, 5000);
        uint32_t id = (uint32_t)(random_word() % domain);
        struct dpf *d;
        struct pair p;

        pair_start(&p, domain, (unsigned int)random_in(1, 64));
        d = dpf_of(&p, dpf_kernels_here());
        make_keys(&p, d, id);
        expand(&p, d);
        for (size_t i = 0; i < 20; i++) {
            uint32_t at = i ? (uint32_t)(random_word() % domain) : id;

            for (unsigned int party = 0; party < 2; party++)
                assert_int_equal(p.share[party][at], element(&p, party, at));
        }
        dpf_free(d);
        pair_end(&p);
    }
}

/* The parts differ in the root alone, and the lengths in nothing but the shape. */
static void test_lengths(void **state)
{
    static const struct {
        uint32_t domain;
        unsigned int ring;
        size_t bytes;
    } known[] = {
        {1, 64, 84},
        {8, 64, 84},
        {9, 64, 100},
        {64, 8, 84},
        {30522, 64, 276},
        {30522, 48, 276},
        {30522, 32, 260},
        {30522, 24, 260},
        {30522, 16, 244},
        {30522, 8, 228},
        {DPF_DOMAIN_MAX, 64, DPF_KEY_BYTES_MAX},
    };
    uint64_t untouched[8] = {POISON};
    struct dpf *d;
    struct pair p;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++)
        assert_int_equal(dpf_key_bytes(known[i].domain, known[i].ring), known[i].bytes);
    pair_start(&p, 8, 64);
    d = dpf_of(&p, dpf_kernels_here());
    make_keys(&p, d, 5);
    assert_memory_equal(p.key[0] + DPF_SEED_BYTES, p.key[1] + DPF_SEED_BYTES,
                        p.key_bytes - DPF_SEED_BYTES);
    for (size_t n = 0; n < p.key_bytes + GUARD; n++)
        if (n != p.key_bytes)
            assert_int_equal(dpf_expand(d, p.ring, p.tweak, 0, p.key[0], n, untouched), -EINVAL);
    assert_int_equal(untouched[0], POISON);
    dpf_free(d);
    dpf_free(NULL);
    pair_end(&p);
}

/* --- what must not work, and what must not show --- */

static void check_noise(const struct pair *p)
{
    size_t zeros = 0, ones = 0;

    for (size_t i = 0; i < p->domain; i++) {
        zeros += sum_at(p, i) == 0;
        ones += sum_at(p, i) == 1;
    }
    /* Of 4000 elements in Z_2^24 the expected number of either is 0.0002. */
    assert_int_equal(zeros + ones, 0);
}

static void test_other_tweak(void **state)
{
    struct dpf *d;
    struct pair p;

    (void)state;
    pair_start(&p, 4000, 24);
    d = dpf_of(&p, dpf_kernels_here());
    make_keys(&p, d, 1234);
    for (size_t bit = 0; bit < 8 * DPF_TWEAK_BYTES; bit += 9) {
        p.tweak[bit / 8] ^= (uint8_t)(1 << bit % 8);
        expand(&p, d);
        check_noise(&p);
        p.tweak[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    expand(&p, d);
    check_unit(&p, 1234);
    dpf_free(d);
    pair_end(&p);
}

/* A half of one pair and a half of another. */
static void test_other_half(void **state)
{
    uint8_t kept[DPF_KEY_BYTES_MAX];
    struct dpf *d;
    struct pair p;

    (void)state;
    pair_start(&p, 4000, 24);
    d = dpf_of(&p, dpf_kernels_here());
    make_keys(&p, d, 1234);
    memcpy(kept, p.key[0], sizeof(kept));
    random_bytes(p.seeds, sizeof(p.seeds));
    make_keys(&p, d, 1234);
    memcpy(p.key[0], kept, sizeof(kept));
    expand(&p, d);
    check_noise(&p);
    dpf_free(d);
    pair_end(&p);
}

#define KEYS       4096
#define BINS       16
#define CHI_MAX    60 /* of 15 degrees of freedom: exceeded once in 4 million */
#define CHI_DOMAIN 128
#define CHI_DEPTH  4

static void check_uniform(const uint32_t bins[BINS], const char *what, size_t at)
{
    double chi = 0, expected = (double)KEYS / BINS;

    for (size_t i = 0; i < BINS; i++)
        chi += (bins[i] - expected) * (bins[i] - expected) / expected;
    if (chi > CHI_MAX)
        fail_msg("%s %zu: chi-square %.1f", what, at, chi);
}

/* Of a key, nibbles that the format fixes: the root's bit 0, controls of levels that are not. */
static bool fixed_nibble(size_t nibble)
{
    size_t controls = 2 * (DPF_SEED_BYTES + 16 * CHI_DEPTH);

    return nibble == 0 || (nibble > controls && nibble < controls + 8);
}

/* Over many keys of one place, every part of one party's key, and of what it expands to, is noise.
 */
static void test_one_key_is_noise(void **state)
{
    static uint32_t key_bins[2][2 * DPF_KEY_BYTES_MAX][BINS], share_bins[2][CHI_DOMAIN][BINS];
    struct dpf *d;
    struct pair p;

    (void)state;
    pair_start(&p, CHI_DOMAIN, 64);
    d = dpf_of(&p, dpf_kernels_here());
    assert_int_equal(p.key_bytes, 16 + 16 * CHI_DEPTH + 4 + 64);
    for (size_t n = 0; n < KEYS; n++) {
        random_bytes(p.seeds, sizeof(p.seeds));
        make_keys(&p, d, 77);
        expand(&p, d);
        for (unsigned int party = 0; party < 2; party++) {
            for (size_t i = 0; i < 2 * p.key_bytes; i++)
                key_bins[party][i][p.key[party][i / 2] >> i % 2 * 4 & 15]++;
            for (size_t i = 0; i < CHI_DOMAIN; i++)
                share_bins[party][i][p.share[party][i] & 15]++;
        }
    }
    for (unsigned int party = 0; party < 2; party++) {
        for (size_t i = 0; i < 2 * p.key_bytes; i++)
            if (!fixed_nibble(i))
                check_uniform(key_bins[party][i], "half byte of a key", i);
        for (size_t i = 0; i < CHI_DOMAIN; i++)
            check_uniform(share_bins[party][i], "element", i);
    }
    dpf_free(d);
    pair_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_domains), cmocka_unit_test(test_large_domains),
        cmocka_unit_test(test_tables_agree),  cmocka_unit_test(test_formula),
        cmocka_unit_test(test_lengths),       cmocka_unit_test(test_other_tweak),
        cmocka_unit_test(test_other_half),    cmocka_unit_test(test_one_key_is_noise),
    };

    return cmocka_run_group_tests_name("dpf", tests, find_tables, NULL);
}
