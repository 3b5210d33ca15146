/*
 * The reference of the ring product: modulo 2^64, whatever the ring. A packed right-hand side is
 * [panel of columns][inner][PANEL] words, the last panel padded with zeros.
 */
#include "mpc/kernels.h"

#define PANEL 8

static size_t right_bytes(size_t inner, size_t cols, unsigned int ring)
{
    (void)ring;
    return (cols + PANEL - 1) / PANEL * PANEL * inner * sizeof(uint64_t);
}

static void pack_right(void *right, const uint64_t *b, size_t row_stride, size_t col_stride,
                       size_t inner, size_t cols, unsigned int ring)
{
    uint64_t *to = right;

    (void)ring;
    for (size_t panel = 0; panel < cols; panel += PANEL) {
        size_t width = MIN(cols - panel, (size_t)PANEL);

        for (size_t i = 0; i < inner; i++, to += PANEL) {
            const uint64_t *row = b + i * row_stride + panel * col_stride;

            for (size_t j = 0; j < width; j++)
                to[j] = row[j * col_stride];
            for (size_t j = width; j < PANEL; j++)
                to[j] = 0;
        }
    }
}

static void product_row(uint64_t sum[PANEL], const uint64_t *a, const uint64_t *b, size_t inner)
{
    for (size_t i = 0; i < inner; i++)
        for (size_t j = 0; j < PANEL; j++)
            sum[j] += a[i] * b[i * PANEL + j];
}

static void product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                    size_t rows, size_t inner, size_t cols, unsigned int ring, bool add,
                    void *scratch)
{
    const uint64_t *b = right;

    (void)ring, (void)scratch;
    for (size_t panel = 0; panel < cols; panel += PANEL) {
        size_t width = MIN(cols - panel, (size_t)PANEL);

        for (size_t r = 0; r < rows; r++) {
            uint64_t *to = c + r * ldc + panel;
            uint64_t sum[PANEL] = {0};

            product_row(sum, a + r * lda, b + panel * inner, inner);
            for (size_t j = 0; j < width; j++)
                to[j] = sum[j] + (add ? to[j] : 0);
        }
    }
}

void kernels_fill_gemm_c(struct kernels *k)
{
    k->right_bytes = right_bytes;
    k->pack_right = pack_right;
    k->product = product;
}
