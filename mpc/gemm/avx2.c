/*
 * The ring product on AVX2: limbs of 16 bits up to 48 bits; above, a 64-bit product from an exact
 * one of the low halves and, modulo 2^32, both cross products by one instruction:
 *
 *     a b = lo(a) lo(b) + 2^32 (hi(a) lo(b) + lo(a) hi(b)).
 */
#include <immintrin.h>
#include <stdint.h>

#define LANES 8
#define ROWS  2

typedef int32_t vec __attribute__((vector_size(32)));

static inline vec dot(vec sum, vec a, vec b)
{
    return sum + (vec)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}

static inline vec spread(const void *p)
{
    return (vec)_mm256_set1_epi32(*(const int32_t *)p);
}

#include "mpc/gemm/limbs.h"

#define WORDS     4
#define WORD_ROWS 2

typedef uint64_t words __attribute__((vector_size(32)));

struct word_sum {
    words low, cross; /* cross: two halves, to be added */
};

struct word_left {
    words word, swapped;
};

static inline struct word_left word_left(const uint64_t *p)
{
    __m256i v = _mm256_set1_epi64x((int64_t)*p);

    return (struct word_left){(words)v, (words)_mm256_shuffle_epi32(v, 0xb1)};
}

static inline void word_add(struct word_sum *s, const struct word_left *a, words b)
{
    __m256i cross =
        _mm256_add_epi32((__m256i)s->cross, _mm256_mullo_epi32((__m256i)a->swapped, (__m256i)b));

    s->low += (words)_mm256_mul_epu32((__m256i)a->word, (__m256i)b);
    s->cross = (words)cross;
}

static inline words word_value(const struct word_sum *s)
{
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
        words_product(c, ldc, a, lda, right, rows, inner, cols, add, scratch);
}

void kernels_fill_gemm_avx2(struct kernels *k)
{
    k->right_bytes = right_bytes;
    k->pack_right = pack_right;
    k->product = product;
}
