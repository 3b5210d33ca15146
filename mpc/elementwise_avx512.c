/* By hand for AVX-512: sums under masks. */
#include "mpc/elementwise.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Eight rows are `cols` vectors. Word w of them belongs to row w / cols and to column w % cols. */
INLINE void sum_columns(uint64_t *ret, const uint64_t *table, const uint64_t *hot, size_t rows,
                        size_t cols)
{
    __m512i sum[4] = {0}, row[4];
    uint64_t word[32];

    for (size_t w = 0; w < 8 * cols; w++)
        word[w] = 1ull << w / cols;
    for (size_t v = 0; v < cols; v++)
        row[v] = _mm512_loadu_si512(word + 8 * v);
    for (; rows; rows -= 64) {
        __m512i bits = _mm512_set1_epi64((int64_t)*hot++);

        for (size_t eight = 0; eight < 8; eight++, table += 8 * cols) {
            for (size_t v = 0; v < cols; v++)
                sum[v] = _mm512_mask_add_epi64(sum[v], _mm512_test_epi64_mask(bits, row[v]), sum[v],
                                               _mm512_loadu_si512(table + 8 * v));
            bits = _mm512_srli_epi64(bits, 8);
        }
    }
    memset(ret, 0, cols * sizeof(*ret));
    for (size_t v = 0; v < cols; v++)
        _mm512_storeu_si512(word + 8 * v, sum[v]);
    for (size_t w = 0; w < 8 * cols; w++)
        ret[w % cols] += word[w];
}

static void masked_sum(uint64_t *ret, const uint64_t *table, const uint64_t *hot, size_t rows,
                       size_t cols)
{
    switch (cols) {
    case 1:
        sum_columns(ret, table, hot, rows, 1);
        return;
    case 2:
        sum_columns(ret, table, hot, rows, 2);
        return;
    case 3:
        sum_columns(ret, table, hot, rows, 3);
        return;
    default:
        sum_columns(ret, table, hot, rows, 4);
    }
}

void elementwise_fill_avx512(struct kernels *k)
{
    const struct kernels avx2 = *k;

    elementwise_loops_avx512(k);
    k->pack = fields_pack_avx512;
    k->unpack = fields_unpack_avx512;
    k->unpack_add = fields_add_avx512;
    k->masked_sum = masked_sum;
    k->look_up = avx2.look_up;
}
