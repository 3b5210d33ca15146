/*
 * The emulated CPU, before anything is concluded from it: one instruction of each extension that
 * kernels use, on whole registers of 64 bytes, against plain C.
 */
#include "tests/random_fixed.h"

#include <immintrin.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 100
#define LOW52  (((uint64_t)1 << 52) - 1)

__extension__ typedef unsigned __int128 uint128;

union reg {
    uint8_t b[64];
    int16_t w[32];
    uint32_t d[16];
    uint64_t q[8];
};

/* to = instruction(to, a, b) */
typedef void instruction(union reg *to, const union reg *a, const union reg *b);

static uint128 product52(uint64_t a, uint64_t b)
{
    return (uint128)(a & LOW52) * (b & LOW52);
}

/* clang-format off */
#define RUN(name, isa, expression)                                                                 \
    __attribute__((target(isa))) static void                                                       \
    name(union reg *to, const union reg *from_a, const union reg *from_b)                          \
    {                                                                                              \
        __m512i c = _mm512_loadu_si512(to), a = _mm512_loadu_si512(from_a);                        \
        __m512i b = _mm512_loadu_si512(from_b);                                                    \
                                                                                                   \
        _mm512_storeu_si512(to, expression);                                                       \
        (void)c;                                                                                   \
    }
#define EACH(name, count, statement)                                                               \
    static void name##_c(union reg *to, const union reg *a, const union reg *b)                    \
    {                                                                                              \
        for (unsigned int i = 0; i < (count); i++)                                                 \
            statement;                                                                             \
    }

RUN(vpsubq, "avx512f", _mm512_mask_sub_epi64(c, 0x5a, a, b))
EACH(vpsubq, 8, if (0x5a >> i & 1) to->q[i] = a->q[i] - b->q[i])

RUN(vpmullq, "avx512dq", _mm512_mullo_epi64(a, b))
EACH(vpmullq, 8, to->q[i] = a->q[i] * b->q[i])

RUN(vpaddb, "avx512bw", _mm512_mask_add_epi8(c, 0x123456789abcdef0, a, b))
EACH(vpaddb, 64, if (0x123456789abcdef0 >> i & 1) to->b[i] = (uint8_t)(a->b[i] + b->b[i]))

RUN(vpermb, "avx512vbmi", _mm512_permutexvar_epi8(a, b))
EACH(vpermb, 64, to->b[i] = b->b[a->b[i] & 63])

RUN(vpshrdvq, "avx512vbmi2", _mm512_shrdv_epi64(c, a, b))
EACH(vpshrdvq, 8, to->q[i] = to->q[i] >> (b->q[i] & 63) | a->q[i] << 1 << (~b->q[i] & 63))

RUN(vpmadd52luq, "avx512ifma", _mm512_madd52lo_epu64(c, a, b))
EACH(vpmadd52luq, 8, to->q[i] += (uint64_t)product52(a->q[i], b->q[i]) & LOW52)

RUN(vpmadd52huq, "avx512ifma", _mm512_madd52hi_epu64(c, a, b))
EACH(vpmadd52huq, 8, to->q[i] += (uint64_t)(product52(a->q[i], b->q[i]) >> 52))

RUN(vpdpwssd, "avx512vnni", _mm512_dpwssd_epi32(c, a, b))
EACH(vpdpwssd, 32, to->d[i / 2] += (uint32_t)(a->w[i] * b->w[i]))

RUN(vaesenc, "avx512f,vaes", _mm512_aesenc_epi128(a, b))
/* clang-format on */

/** x * 2 in the field of AES. */
static uint8_t twice(uint8_t x)
{
    return (uint8_t)(x << 1 ^ (x >> 7) * 0x1b);
}

static uint8_t times(uint8_t x, uint8_t y)
{
    uint8_t sum = 0;

    for (; y; y >>= 1, x = twice(x))
        sum ^= y & 1 ? x : 0;
    return sum;
}

/** The inverse (x^254), then the affine map: FIPS 197, section 5.1.1. */
static uint8_t s_box(uint8_t x)
{
    uint8_t inverse = 1;
    unsigned int wide;

    for (int i = 0; i < 254; i++)
        inverse = times(inverse, x);
    wide = inverse * 0x101u;
    return (uint8_t)(0x63 ^ wide ^ wide >> 4 ^ wide >> 5 ^ wide >> 6 ^ wide >> 7);
}

/** One round on each block of 16 bytes, columns of four: FIPS 197, section 5.1. */
static void vaesenc_c(union reg *to, const union reg *a, const union reg *b)
{
    for (unsigned int i = 0; i < 64; i++) {
        uint8_t s[4]; /* this column after SubBytes and ShiftRows, from this row down */

        for (unsigned int k = 0; k < 4; k++) {
            unsigned int row = (i + k) % 4, column = (i / 4 + row) % 4;

            s[k] = s_box(a->b[i / 16 * 16 + 4 * column + row]);
        }
        to->b[i] = (uint8_t)(twice(s[0]) ^ twice(s[1]) ^ s[1] ^ s[2] ^ s[3] ^ b->b[i]);
    }
}

static const struct {
    const char *name;
    instruction *run, *expect;
} instructions[] = {
#define BOTH(name)                                                                                 \
    {                                                                                              \
#name, name, name##_c                                                                      \
    }
    BOTH(vpsubq),      BOTH(vpmullq),     BOTH(vpaddb),   BOTH(vpermb),  BOTH(vpshrdvq),
    BOTH(vpmadd52luq), BOTH(vpmadd52huq), BOTH(vpdpwssd), BOTH(vaesenc),
};

static void fill(union reg *r)
{
    for (unsigned int i = 0; i < 8; i++)
        r->q[i] = random_word() % 4 ? random_word() : -(random_word() % 2);
}

static void test_instructions(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof(instructions) / sizeof(instructions[0]); k++)
        for (int round = 0; round < ROUNDS; round++) {
            union reg a, b, to, expected;

            fill(&a);
            fill(&b);
            fill(&to);
            expected = to;
            instructions[k].run(&to, &a, &b);
            instructions[k].expect(&expected, &a, &b);
            if (memcmp(&to, &expected, sizeof(to)))
                fail_msg("%s, round %d", instructions[k].name, round);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_instructions)};

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
