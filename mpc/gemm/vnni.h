/* Limbs of 16 bits (limbs.h) on AVX-512 VNNI, whose instruction adds as it multiplies. */
#include <immintrin.h>
#include <stdint.h>

#define LANES 16
#define ROWS  4 /* sixteen sums: a product takes five cycles until its sum can be added to */

typedef int32_t vec __attribute__((vector_size(64)));

static inline vec dot(vec sum, vec a, vec b)
{
    return (vec)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}

static inline vec spread(const void *p)
{
    return (vec)_mm512_set1_epi32(*(const int32_t *)p);
}

#include "mpc/gemm/limbs.h"
