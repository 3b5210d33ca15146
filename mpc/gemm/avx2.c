/*
 * Ring product on AVX2: a 64-bit product modulo 2^64 from three 32-bit ones,
 *
 *     a b = lo(a) lo(b) + 2^32 (hi(a) lo(b) + lo(a) hi(b)),
 *
 * with the two sums kept apart until the inner dimension is done, so that the shift is paid once.
 * Rows are taken two at a time: eight accumulators and the panel fit the sixteen registers.
 */
#include "mpc/kernels.h"

#include <immintrin.h>

/* Steps of the inner dimension a panel slice takes: 8 columns x 512 x 8 bytes fit in half of L1. */
#define INNER_BLOCK 512

#define ROWS  2
#define PANEL 8

struct sums {
    __m256i low[2], cross[2]; /* 8 columns */
};

static inline void step(struct sums *s, uint64_t a, __m256i b0, __m256i b1, __m256i h0, __m256i h1)
{
    __m256i al = _mm256_set1_epi64x((int64_t)a);
    __m256i ah = _mm256_srli_epi64(al, 32);

    s->low[0] = _mm256_add_epi64(s->low[0], _mm256_mul_epu32(al, b0));
    s->low[1] = _mm256_add_epi64(s->low[1], _mm256_mul_epu32(al, b1));
    s->cross[0] = _mm256_add_epi64(s->cross[0], _mm256_mul_epu32(ah, b0));
    s->cross[1] = _mm256_add_epi64(s->cross[1], _mm256_mul_epu32(ah, b1));
    s->cross[0] = _mm256_add_epi64(s->cross[0], _mm256_mul_epu32(al, h0));
    s->cross[1] = _mm256_add_epi64(s->cross[1], _mm256_mul_epu32(al, h1));
}

static inline void finish(uint64_t *to, const struct sums *s, size_t width, bool add)
{
    uint64_t sum[PANEL];

    for (int half = 0; half < 2; half++) {
        __m256i v = _mm256_add_epi64(s->low[half], _mm256_slli_epi64(s->cross[half], 32));

        _mm256_storeu_si256((__m256i *)(void *)(sum + 4 * half), v);
    }
    for (size_t j = 0; j < width; j++)
        to[j] = sum[j] + (add ? to[j] : 0);
}

static inline void rows_by_panel(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda,
                                 const uint64_t *b, size_t rows, size_t inner, size_t width,
                                 bool add)
{
    struct sums s[ROWS] = {0};

    for (size_t i = 0; i < inner; i++) {
        const __m256i *at = (const __m256i *)(const void *)(b + i * PANEL);
        __m256i b0 = _mm256_loadu_si256(at), b1 = _mm256_loadu_si256(at + 1);
        __m256i h0 = _mm256_srli_epi64(b0, 32), h1 = _mm256_srli_epi64(b1, 32);

        for (size_t r = 0; r < rows; r++)
            step(&s[r], a[r * lda + i], b0, b1, h0, h1);
    }
    for (size_t r = 0; r < rows; r++)
        finish(c + r * ldc, &s[r], width, add);
}

static void product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                    size_t rows, size_t inner, size_t cols, unsigned int ring, bool add,
                    void *scratch)
{
    const uint64_t *b = right;

    (void)ring, (void)scratch;
    for (size_t at = 0; at == 0 || at < inner; at += INNER_BLOCK) {
        size_t depth = MIN(inner - at, (size_t)INNER_BLOCK);
        bool more = add || at > 0;

        for (size_t panel = 0; panel < cols; panel += PANEL) {
            const uint64_t *from = b + panel * inner + at * PANEL;
            size_t width = MIN(cols - panel, (size_t)PANEL), r = 0;

            for (; r + ROWS <= rows; r += ROWS)
                rows_by_panel(c + r * ldc + panel, ldc, a + r * lda + at, lda, from, ROWS, depth,
                              width, more);
            for (; r < rows; r++)
                rows_by_panel(c + r * ldc + panel, ldc, a + r * lda + at, lda, from, 1, depth,
                              width, more);
        }
    }
}

/* The right-hand side is the reference's. */
void kernels_fill_gemm_avx2(struct kernels *k)
{
    kernels_fill_gemm_c(k);
    k->product = product;
}
