/*
 * The ring product on words of 64 bits as they stand, for instructions that multiply them or parts
 * of them. Included once by each file that has such ones, which says before:
 *
 *   WORDS, WORD_ROWS     words of a vector; rows of a left side taken at once
 *   words                that vector
 *   struct word_sum      what a lane's sum is kept in
 *   word_add(s, a, b)    add a product to it
 *   word_value(s)        the sum
 *   struct word_left, word_left(p)  the word at p in each lane, as word_add() takes it
 *
 * Nothing is packed on the left. Right: [panel of columns][inner][WORD_PANEL], padded with zeros.
 */
#include "mpc/kernels.h"

#include <string.h>

#define WORD_PANEL (2 * WORDS)
#define WORD_DEPTH 256 /* of a panel, in L1 */
#define WORD_BLOCK 64  /* rows by that depth, in L2 */
#define INLINE     static inline __attribute__((always_inline))

static size_t words_right_bytes(size_t inner, size_t cols)
{
    return (cols + WORD_PANEL - 1) / WORD_PANEL * WORD_PANEL * inner * sizeof(uint64_t);
}

static void words_pack_right(void *right, const uint64_t *b, size_t row_stride, size_t col_stride,
                             size_t inner, size_t cols)
{
    uint64_t *to = right;

    for (size_t panel = 0; panel < cols; panel += WORD_PANEL) {
        size_t width = MIN(cols - panel, (size_t)WORD_PANEL);

        for (size_t i = 0; i < inner; i++, to += WORD_PANEL) {
            const uint64_t *row = b + i * row_stride + panel * col_stride;

            for (size_t j = 0; j < width; j++)
                to[j] = row[j * col_stride];
            for (size_t j = width; j < WORD_PANEL; j++)
                to[j] = 0;
        }
    }
}

INLINE void word_store(uint64_t *c, const struct word_sum s[2], size_t width, bool add)
{
    uint64_t sum[WORD_PANEL];
    words v[2] = {word_value(&s[0]), word_value(&s[1])};

    memcpy(sum, v, sizeof(sum));
    for (size_t j = 0; j < width; j++)
        c[j] = sum[j] + (add ? c[j] : 0);
}

INLINE void words_by_panel(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const words *b,
                           size_t rows, size_t depth, size_t width, bool add)
{
    struct word_sum s[WORD_ROWS][2] = {0};

    for (size_t i = 0; i < depth; i++, b += 2)
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; r++) {
            struct word_left left = word_left(a + r * lda + i);

            word_add(&s[r][0], &left, b[0]);
            word_add(&s[r][1], &left, b[1]);
        }
    for (size_t r = 0; r < rows; r++)
        if (width == WORD_PANEL)
            word_store(c + r * ldc, s[r], WORD_PANEL, add);
        else
            word_store(c + r * ldc, s[r], width, add);
}

static void words_block(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const uint64_t *b,
                        size_t rows, size_t inner, size_t depth, size_t cols, bool add)
{
    for (size_t j = 0; j < cols; j += WORD_PANEL, b += inner * WORD_PANEL) {
        const words *panel = (const void *)b;
        size_t width = MIN(cols - j, (size_t)WORD_PANEL), r = 0;

        for (; r + WORD_ROWS <= rows; r += WORD_ROWS)
            words_by_panel(c + r * ldc + j, ldc, a + r * lda, lda, panel, WORD_ROWS, depth, width,
                           add);
        for (; r < rows; r++)
            words_by_panel(c + r * ldc + j, ldc, a + r * lda, lda, panel, 1, depth, width, add);
    }
}

static void words_product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                          size_t rows, size_t inner, size_t cols, bool add, void *scratch)
{
    const uint64_t *b = right;
    uint64_t *packed = scratch;

    for (size_t row = 0; row < rows; row += WORD_BLOCK)
        for (size_t at = 0; at == 0 || at < inner; at += WORD_DEPTH) {
            size_t some = MIN(rows - row, (size_t)WORD_BLOCK);
            size_t depth = MIN(inner - at, (size_t)WORD_DEPTH);

            for (size_t r = 0; r < some; r++)
                memcpy(packed + r * WORD_DEPTH, a + (row + r) * lda + at, depth * sizeof(*a));
            words_block(c + row * ldc, ldc, packed, WORD_DEPTH, b + at * WORD_PANEL, some, inner,
                        depth, cols, add || at > 0);
        }
}
