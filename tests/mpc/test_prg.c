/*
 * prg: the streams are those of the header's formula whatever the cipher, from any place on, and no
 * two are alike.
 */
#include "mpc/prg.h"

#include "base/bytes.h"
#include "tests/mpc/build.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN_WORDS 5
#define POISON      0x5a5a5a5a5a5a5a5a

/*
 * With K || N || ... = SHA-256("mpcformer prg 1" || seed), by the openssl command:
 *   head -c 40 /dev/zero | openssl enc -aes-128-ctr -K K -iv be64(le64(N) ^ (index << 32 |
 * purpose))0000000000000000
 */
static const struct known {
    bool ones; /* the seed is 32 bytes 0xff; else 00 01 02 .. 1f */
    uint32_t index, purpose;
    const char *stream;
} known[] = {
    {false, 0, 1,
     "d05fdb2d313430e8305d661b653d4df345a3f3430a946db4ae31fee36c9cba9739858544d4bd9e47"},
    {false, 7, 3,
     "9d4a5d1077f0310eeadfb2b60a3654fa61ef666ddcd3668c1625707d7f3313d4946182055cb12121"},
    {false, UINT32_MAX, 8,
     "9a2d013368007891bcc8641724fe2b266b048a548004bd2c37e89922aa665d02976c5ef8436e5a9f"},
    {true, 0, 1,
     "7bc75df2d39460be7f8b44c98da770d4658f545c1ad5e65efeebd2ffe99855a5b4ab6077dab93edb"},
    {true, 7, 3,
     "6a7a5f73e0ada8e6b2eac92ed9ba9c189760e77d054d24009c7b098d64ec094ceb1840b5d88041be"},
    {true, UINT32_MAX, 8,
     "adfa9164e2785b2d93f73e03fc8fc644310dd9dd44dc8eebb27c2db15997239efbf8256a0eb57d77"},
};

static struct prg *prg_of(bool ones, enum prg_cipher cipher)
{
    uint8_t seed[PRG_SEED_BYTES];
    struct prg *prg;

    for (size_t i = 0; i < sizeof(seed); i++)
        seed[i] = ones ? 0xff : (uint8_t)i;
    prg = prg_new_with(seed, cipher);
    assert_non_null(prg);
    return prg;
}

#define FOR_EACH_CIPHER(cipher)                                                                    \
    for (enum prg_cipher cipher = 0; cipher < PRG_CIPHERS; cipher++)                               \
        if (prg_cipher_here(cipher))

static void check_known(const struct known *k, enum prg_cipher cipher)
{
    struct prg *prg = prg_of(k->ones, cipher);
    uint64_t got[KNOWN_WORDS];
    char hex[2 * sizeof(got) + 1];

    memset(got, 0xff, sizeof(got));
    prg_words(prg, k->index, k->purpose, 0, got, KNOWN_WORDS);
    hex_encode((const uint8_t *)got, sizeof(got), hex);
    assert_string_equal(hex, k->stream);
    prg_free(prg);
}

static void test_known_answers(void **state)
{
    (void)state;
    FOR_EACH_CIPHER(cipher)
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++)
        check_known(&known[i], cipher);
}

/* Any part of a stream is what stands there in the whole, and no byte past it is touched; the
 * buffer may lie anywhere. */
static void check_part(const struct prg *prg, const uint64_t *whole, size_t first, size_t count)
{
    uint64_t part[400];
    uint64_t *at = (uint64_t *)(void *)((uint8_t *)part + 8 * (count % 8));

    memset(part, 0x5a, sizeof(part));
    prg_words(prg, 5, 2, first, at, count);
    assert_memory_equal(at, whole + first, count * sizeof(*at));
    for (uint64_t *p = part; p < at; p++)
        assert_int_equal(*p, POISON);
    for (uint64_t *p = at + count; p < part + ARRAY_LENGTH(part); p++)
        assert_int_equal(*p, POISON);
}

static void test_parts(void **state)
{
    struct prg *reference = prg_of(false, PRG_EVP);
    uint64_t whole[600];

    (void)state;
    prg_words(reference, 5, 2, 0, whole, ARRAY_LENGTH(whole));
    FOR_EACH_CIPHER(cipher)
    {
        struct prg *prg = prg_of(false, cipher);

        for (size_t count = 0; count < 300; count++)
            for (size_t first = 0; first < 300; first += first < 8 ? 2 : 98)
                check_part(prg, whole, first, count);
        prg_free(prg);
    }
    prg_free(reference);
}

/* Block numbers take more than 32 bits. */
static void test_far(void **state)
{
    static const size_t far[] = {0x1fffffffe, 0x1fffffff0, (size_t)1 << 40, ((size_t)1 << 60) - 2};
    struct prg *reference = prg_of(true, PRG_EVP);

    (void)state;
    FOR_EACH_CIPHER(cipher)
    for (size_t i = 0; i < ARRAY_LENGTH(far); i++) {
        struct prg *prg = prg_of(true, cipher);
        uint64_t expected[200], got[200];

        prg_words(reference, 1, 1, far[i], expected, 200);
        prg_words(prg, 1, 1, far[i], got, 200);
        assert_memory_equal(got, expected, sizeof(got));
        prg_free(prg);
    }
    prg_free(reference);
}

/* prg_new() takes the best that this CPU has. */
static void test_choice(void **state)
{
    uint8_t seed[PRG_SEED_BYTES] = {0};
    struct prg *prg = prg_new(seed);

    (void)state;
    assert_non_null(prg);
    assert_true(prg_cipher_here(PRG_EVP));
    assert_true(prg_cipher_here(prg_cipher_best()));
    print_message("this CPU: %s\n", prg_cipher_name(prg_cipher_best()));
    prg_free(prg);
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, PRG_BLOCK_BYTES);
}

/* Every block of many streams of two seeds is there once: streams do not overlap. */
static void test_streams_differ(void **state)
{
    enum { STREAMS = 12, BLOCKS = 50, WORDS = BLOCKS * 2, ALL = 2 * STREAMS * STREAMS * BLOCKS };
    uint64_t(*block)[2] = malloc(ALL * sizeof(*block)), *to = block[0];

    (void)state;
    assert_non_null(block);
    for (int seed = 0; seed < 2; seed++) {
        struct prg *prg = prg_of(seed, prg_cipher_best());

        for (uint32_t index = 0; index < STREAMS; index++)
            for (uint32_t purpose = 0; purpose < STREAMS; purpose++, to += WORDS)
                prg_words(prg, index, purpose, 0, to, WORDS);
        prg_free(prg);
    }
    qsort(block, ALL, sizeof(*block), by_bytes);
    for (size_t i = 1; i < ALL; i++)
        assert_int_not_equal(by_bytes(block[i - 1], block[i]), 0);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),         cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_parts),          cmocka_unit_test(test_far),
        cmocka_unit_test(test_streams_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
