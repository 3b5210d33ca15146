/*
 * The ring product on AVX-512 IFMA, which adds the low or the high 52 bits of a product of two
 * numbers of 52 bits to a lane of 64.
 *
 * Up to 32 bits limbs of 16 are faster. Up to 52 the low halves are the product: each is right
 * modulo 2^52, and a sum that wraps at 2^64 stays so, so nothing is ever folded.
 *
 * Above, with x = x' + 2^52 x'' and y likewise, modulo 2^64,
 *
 *     x y = low(x' y') + 2^52 (high(x' y') + x'' y' + x' y''),
 *
 * where the bracket matters modulo 2^12 only, that is 2^52 times it as 2^48 times 16 bits: both
 * cross products come from one vpdpwssd of the outer limbs of y, (y & 0xffff) and the upper 12 bits
 * in place, by x's exchanged, which is the companion.
 */
#include "mpc/gemm/vnni.h"

#define WORDS           8
#define WORD_ROWS(wide) ((wide) ? 4 : 8)

typedef uint64_t words __attribute__((vector_size(64)));

struct word_sum {
    words low, high, cross; /* cross: two halves, to be added */
};

#define OUTER_LIMBS 0xfff000000000ffff

static inline words words_of(const uint64_t *p)
{
    return (words)_mm512_set1_epi64((int64_t)*p);
}

static inline uint64_t word_companion(uint64_t a)
{
    return a << 48 | (a >> 52 << 4);
}

static inline void word_add(struct word_sum *s, const words a[2], words b, bool wide)
{
    s->low = (words)_mm512_madd52lo_epu64((__m512i)s->low, (__m512i)a[0], (__m512i)b);
    if (!wide)
        return;
    s->high = (words)_mm512_madd52hi_epu64((__m512i)s->high, (__m512i)a[0], (__m512i)b);
    s->cross =
        (words)_mm512_dpwssd_epi32((__m512i)s->cross, (__m512i)a[1], (__m512i)(b & OUTER_LIMBS));
}

static inline words word_value(const struct word_sum *s, bool wide)
{
    return wide ? s->low + (s->high << 52) + (s->cross << 48) + (s->cross >> 32 << 48) : s->low;
}

#include "mpc/gemm/words.h"

#define LIMBS_RING_MAX 32
#define LOW_RING_MAX   52

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
    else if (ring <= LOW_RING_MAX)
        words_product(c, ldc, a, lda, right, rows, inner, cols, add, false, scratch);
    else
        words_product(c, ldc, a, lda, right, rows, inner, cols, add, true, scratch);
}

void kernels_fill_gemm_ifma(struct kernels *k)
{
    k->right_bytes = right_bytes;
    k->pack_right = pack_right;
    k->product = product;
}
