/*
 * What the AVX-512 products use of its instructions, in C, included before their files when those
 * are compiled for a CPU without it: their arithmetic and their addresses are tested everywhere,
 * their encoding where there is AVX-512.
 */
#ifndef TESTS_MPC_EMULATE_AVX512_H
#define TESTS_MPC_EMULATE_AVX512_H

#include <immintrin.h>
#include <stdint.h>

typedef union {
    __m512i v;
    uint64_t word[8];
    int32_t lane[16];
    int16_t limb[32];
} emulated;

#define LOW_52 ((1ull << 52) - 1)

static inline __m512i emulate_dpwssd(__m512i sum, __m512i a, __m512i b)
{
    emulated s = {.v = sum}, x = {.v = a}, y = {.v = b};

    for (int i = 0; i < 16; i++)
        s.lane[i] = (int32_t)((uint32_t)s.lane[i] + (uint32_t)(x.limb[2 * i] * y.limb[2 * i]) +
                              (uint32_t)(x.limb[2 * i + 1] * y.limb[2 * i + 1]));
    return s.v;
}

static inline __m512i emulate_madd52(__m512i sum, __m512i a, __m512i b, int shift)
{
    emulated s = {.v = sum}, x = {.v = a}, y = {.v = b};

    for (int i = 0; i < 8; i++) {
        __extension__ unsigned __int128 p = x.word[i] & LOW_52;

        p *= y.word[i] & LOW_52;
        s.word[i] += (uint64_t)(p >> shift) & LOW_52;
    }
    return s.v;
}

static inline __m512i emulate_set1(uint64_t even, uint64_t odd)
{
    emulated s;

    for (int i = 0; i < 8; i++)
        s.word[i] = even | odd << 32;
    return s.v;
}

#define _mm512_dpwssd_epi32(s, a, b)   emulate_dpwssd(s, a, b)
#define _mm512_madd52lo_epu64(s, a, b) emulate_madd52(s, a, b, 0)
#define _mm512_madd52hi_epu64(s, a, b) emulate_madd52(s, a, b, 52)
#define _mm512_set1_epi64(v)           emulate_set1((uint64_t)(v), 0)
#define _mm512_set1_epi32(v)           emulate_set1((uint32_t)(v), (uint32_t)(v))

#endif
