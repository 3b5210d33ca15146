/* The reference of every kernel. */
#include "mpc/kernels.h"

#include <string.h>

static void pack(uint8_t *to, const uint64_t *from, size_t count, unsigned int ring)
{
    size_t bytes = ring / 8;

    for (size_t i = 0; i < count; i++, to += bytes)
        memcpy(to, &from[i], bytes);
}

static void unpack(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring)
{
    size_t bytes = ring / 8;

    for (size_t i = 0; i < count; i++, from += bytes) {
        to[i] = 0;
        memcpy(&to[i], from, bytes);
    }
}

static void unpack_add(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring)
{
    size_t bytes = ring / 8;

    for (size_t i = 0; i < count; i++, from += bytes) {
        uint64_t v = 0;

        memcpy(&v, from, bytes);
        to[i] += v;
    }
}

static void product_row(uint64_t sum[KERNELS_PANEL], const uint64_t *a, const uint64_t *b,
                        size_t inner)
{
    for (size_t i = 0; i < inner; i++)
        for (size_t j = 0; j < KERNELS_PANEL; j++)
            sum[j] += a[i] * b[i * KERNELS_PANEL + j];
}

static void product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const uint64_t *b,
                    size_t rows, size_t inner, size_t cols, bool add)
{
    for (size_t panel = 0; panel < cols; panel += KERNELS_PANEL) {
        size_t width = MIN(cols - panel, (size_t)KERNELS_PANEL);

        for (size_t r = 0; r < rows; r++) {
            uint64_t *to = c + r * ldc + panel;
            uint64_t sum[KERNELS_PANEL] = {0};

            product_row(sum, a + r * lda, b + panel * inner, inner);
            for (size_t j = 0; j < width; j++)
                to[j] = sum[j] + (add ? to[j] : 0);
        }
    }
}

void kernels_fill_c(struct kernels *k)
{
    *k = (struct kernels){
        .isa = "c",
        .pack = pack,
        .unpack = unpack,
        .unpack_add = unpack_add,
        .product = product,
    };
}
