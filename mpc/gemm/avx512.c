/*
 * The ring product on AVX-512 with VNNI and without IFMA: limbs of 16 bits up to 48 bits; above,
 * whole words by vpmullq. (Exact limbs would take 13 vpdpwssd for 32 products, vpmullq and its
 * addition 16 such steps: not worth a third way.)
 */
#include "mpc/gemm/vnni.h"

#define WORDS           8
#define WORD_ROWS(wide) 4

typedef uint64_t words __attribute__((vector_size(64)));

struct word_sum {
    words sum;
};

static inline words words_of(const uint64_t *p)
{
    return (words)_mm512_set1_epi64((int64_t)*p);
}

static inline uint64_t word_companion(uint64_t a)
{
    return a;
}

static inline void word_add(struct word_sum *s, const words a[2], words b, bool wide)
{
    (void)wide;
    s->sum += a[0] * b;
}

static inline words word_value(const struct word_sum *s, bool wide)
{
    (void)wide;
    return s->sum;
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
        words_product(c, ldc, a, lda, right, rows, inner, cols, add, false, scratch);
}

void kernels_fill_gemm_avx512(struct kernels *k)
{
    k->right_bytes = right_bytes;
    k->pack_right = pack_right;
    k->product = product;
}
