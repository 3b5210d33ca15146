/*
 * The ring product on AVX2: limbs of 16 bits up to 48 bits; above, a 64-bit product from an exact
 * one of the low halves and, modulo 2^32, both cross products by one instruction:
 *
 *     a b = lo(a) lo(b) + 2^32 (hi(a) lo(b) + lo(a) hi(b)).
 */
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define LANES 8
#define ROWS  2

typedef int32_t vec __attribute__((vector_size(32)));

static inline vec dot(vec sum, vec a, vec b)
{
    return (vec)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16((__m256i)a, (__m256i)b));
}

static inline vec spread(const void *p)
{
    return (vec)_mm256_set1_epi32(*(const int32_t *)p);
}

#include "mpc/gemm/limbs.h"

#define WORDS           4
#define WORD_ROWS(wide) 2

typedef uint64_t words __attribute__((vector_size(32)));

struct word_sum {
    words low, cross; /* cross: two halves, to be added */
};

static inline words words_of(const uint64_t *p)
{
    return (words)_mm256_set1_epi64x((int64_t)*p);
}

static inline uint64_t word_companion(uint64_t a)
{
    return a << 32 | a >> 32;
}

static inline void word_add(struct word_sum *s, const words a[2], words b, bool wide)
{
    (void)wide;
    s->low += (words)_mm256_mul_epu32((__m256i)a[0], (__m256i)b);
    s->cross =
        (words)_mm256_add_epi32((__m256i)s->cross, _mm256_mullo_epi32((__m256i)a[1], (__m256i)b));
}

static inline words word_value(const struct word_sum *s, bool wide)
{
    (void)wide;
    return s->low + (s->cross << 32) + (s->cross >> 32 << 32);
}

#include "mpc/gemm/words.h"

#define LIMBS_RING_MAX 48

static size_t right_bytes(size_t inner, size_t cols, unsigned int ring)
{
    return ring <= LIMBS_RING_MAX ? limbs_right_bytes(inner, cols, ring)
                                  : words_right_bytes(inner, cols);
}

static void pack_right(void *to, const uint64_t *b, size_t row_stride, size_t col_stride,
                       size_t inner, size_t cols, unsigned int ring)
{
    if (ring <= LIMBS_RING_MAX)
        limbs_pack_right(to, b, row_stride, col_stride, inner, cols, ring);
    else
        words_pack_right(to, b, row_stride, col_stride, inner, cols);
}

static void product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                    size_t rows, size_t inner, size_t cols, unsigned int ring, bool add,
                    void *scratch)
{
    if (ring <= LIMBS_RING_MAX)
        limbs_product(c, ldc, a, lda, right, rows, inner, cols, ring, add, scratch);
    else
        words_product(c, ldc, a, lda, right, rows, inner, cols, add, true, scratch);
}

void kernels_fill_gemm_avx2(struct kernels *k)
{
    k->right_bytes = right_bytes;
    k->pack_right = pack_right;
    k->product = product;
}
