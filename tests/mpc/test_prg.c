/* prg: the streams are those of the header's formula, and no two are alike. */
#include "mpc/prg.h"

#include "base/bytes.h"
#include "tests/mpc/build.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN_BYTES 40

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

static struct prg *prg_of(bool ones)
{
    uint8_t seed[PRG_SEED_BYTES];
    struct prg *prg;

    for (size_t i = 0; i < sizeof(seed); i++)
        seed[i] = ones ? 0xff : (uint8_t)i;
    prg = prg_new(seed);
    assert_non_null(prg);
    return prg;
}

static void test_known_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        struct prg *prg = prg_of(known[i].ones);
        uint8_t got[KNOWN_BYTES];
        char hex[2 * KNOWN_BYTES + 1];

        prg_bytes(prg, known[i].index, known[i].purpose, got, sizeof(got));
        hex_encode(got, sizeof(got), hex);
        assert_string_equal(hex, known[i].stream);
        prg_free(prg);
    }
}

/* A party that needs fewer bytes sees the beginning of what another sees; no byte past is touched.
 */
static void test_prefix(void **state)
{
    struct prg *prg = prg_of(false);
    uint8_t whole[300], part[300];

    (void)state;
    prg_bytes(prg, 5, 2, whole, sizeof(whole));
    for (size_t n = 0; n < sizeof(whole); n++) {
        memset(part, 0x5a, sizeof(part));
        prg_bytes(prg, 5, 2, part, n);
        assert_memory_equal(part, whole, n);
        for (size_t i = n; i < sizeof(part); i++)
            assert_int_equal(part[i], 0x5a);
    }
    prg_free(prg);
}

/* What stood in the buffer before does not show, and words are little endian. */
static void test_words(void **state)
{
    struct prg *prg = prg_of(true);
    uint8_t bytes[KNOWN_BYTES];
    uint64_t words[KNOWN_BYTES / 8] = {1, 2, 3, 4, 5};

    (void)state;
    prg_bytes(prg, 1, 1, bytes, sizeof(bytes));
    prg_words(prg, 1, 1, words, ARRAY_LENGTH(words));
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++)
        assert_int_equal(words[i], load_le64(bytes + 8 * i));
    prg_free(prg);
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, PRG_BLOCK_BYTES);
}

/* Every block of many streams of two seeds is there once: streams do not overlap. */
static void test_streams_differ(void **state)
{
    enum { STREAMS = 12, BLOCKS = 50, ALL = 2 * STREAMS * STREAMS * BLOCKS };
    uint8_t(*block)[PRG_BLOCK_BYTES] = malloc(ALL * sizeof(*block)), *to = block[0];

    (void)state;
    assert_non_null(block);
    for (int seed = 0; seed < 2; seed++) {
        struct prg *prg = prg_of(seed);

        for (uint32_t index = 0; index < STREAMS; index++)
            for (uint32_t purpose = 0; purpose < STREAMS; purpose++) {
                prg_bytes(prg, index, purpose, to, BLOCKS * PRG_BLOCK_BYTES);
                to += BLOCKS * PRG_BLOCK_BYTES;
            }
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
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_streams_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
