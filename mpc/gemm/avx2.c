/*
 * The ring product on AVX2, by multiplications of 32-bit words. Rings of at most 32 bits need no
 * more than them; above, modulo 2^64,
 *
 *     a b = lo(a) lo(b) + 2^32 (hi(a) lo(b) + lo(a) hi(b)):
 *
 * the first product in lanes of 64 bits, the others in lanes of 32, where both are one product
 * twice as deep. Up to 48 bits only the low 16 of the others matter, and an instruction that
 * multiplies pairs of 16 bits adds both. Every sum may wrap: no depth is too great.
 *
 * Left, a block: [row][DEPTH], words of 32 bits or, above that, companion and lo. Right: [panel of
 * columns][inner][lo, companion][2 vectors of 8 columns], padded with zeros. The companion of lo is
 * hi or, up to 48 bits, the pair that meets the other side's.
 *
 * A vector has columns 0..3 in the even lanes of 32 bits and 4..7 in the odd ones: so a product of
 * the even lanes is in order, and the sum of 32 bits beside it is where it is to be added.
 */
#include "mpc/kernels.h"

#include <immintrin.h>
#include <string.h>

#define ROWS       4
#define DEPTH      384 /* of a panel */
#define BLOCK_ROWS 128 /* rows by that depth, in L2 */
#define COLS       8   /* of a vector */
#define PANEL      (2 * COLS)
#define INLINE     static inline __attribute__((always_inline))

typedef uint32_t vec __attribute__((vector_size(32)));
typedef uint64_t words __attribute__((vector_size(32)));

_Static_assert(BLOCK_ROWS *DEPTH * sizeof(uint64_t) <= KERNELS_SCRATCH_BYTES,
               "a block must fit the scratch");

/* What a ring takes: its words, and how they are multiplied. */
enum form { NARROW, PAIRED, WIDE };

#define NARROW_MAX 32
#define PAIRED_MAX 48

static enum form form_of(unsigned int ring)
{
    return ring <= NARROW_MAX ? NARROW : ring <= PAIRED_MAX ? PAIRED : WIDE;
}

INLINE size_t parts(enum form form)
{
    return form == NARROW ? 1 : 2;
}

static size_t right_bytes(size_t inner, size_t cols, unsigned int ring)
{
    return (cols + PANEL - 1) / PANEL * inner * parts(form_of(ring)) * PANEL * sizeof(uint32_t);
}

/* --- packing --- */

static const words low_half = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

/* Low 16 bits below, bits 32..47 above. The left side has them the other way round. */
INLINE words pair_of(words x)
{
    return (x & 0xffff) | (x >> 16 & 0xffff0000);
}

INLINE void pack_eight(words *to, const uint64_t x[COLS], enum form form)
{
    words a, b;

    memcpy(&a, x, sizeof(a));
    memcpy(&b, x + COLS / 2, sizeof(b));
    to[0] = (a & low_half) | b << 32;
    if (form == PAIRED)
        to[2] = pair_of(a) | pair_of(b) << 32;
    else if (form == WIDE)
        to[2] = a >> 32 | (b & ~low_half);
}

INLINE void pack_panels(words *to, const uint64_t *b, size_t row_stride, size_t col_stride,
                        size_t inner, size_t cols, enum form form)
{
    for (size_t panel = 0; panel < cols; panel += PANEL) {
        size_t width = MIN(cols - panel, (size_t)PANEL);
        uint64_t x[PANEL] = {0};

        for (size_t i = 0; i < inner; i++, to += 2 * parts(form)) {
            const uint64_t *from = b + i * row_stride + panel * col_stride;

            if (col_stride == 1)
                memcpy(x, from, width * sizeof(*x));
            for (size_t j = 0; col_stride != 1 && j < width; j++)
                x[j] = from[j * col_stride];
            pack_eight(to, x, form);
            pack_eight(to + 1, x + COLS, form);
        }
    }
}

static void pack_right(void *to, const uint64_t *b, size_t row_stride, size_t col_stride,
                       size_t inner, size_t cols, unsigned int ring)
{
    switch (form_of(ring)) {
    case NARROW:
        pack_panels(to, b, row_stride, col_stride, inner, cols, NARROW);
        return;
    case PAIRED:
        pack_panels(to, b, row_stride, col_stride, inner, cols, PAIRED);
        return;
    case WIDE:
        pack_panels(to, b, row_stride, col_stride, inner, cols, WIDE);
        return;
    }
}

INLINE void pack_left(uint32_t *to, const uint64_t *a, size_t depth, enum form form)
{
    for (size_t i = 0; i < depth; i++) {
        uint64_t x = a[i];

        if (form == NARROW) {
            to[i] = (uint32_t)x;
            continue;
        }
        to[2 * i] = form == WIDE ? (uint32_t)(x >> 32) : (x >> 32 & 0xffff) | (uint32_t)x << 16;
        to[2 * i + 1] = (uint32_t)x;
    }
}

/* --- the product --- */

/* How lanes are multiplied: 32 bits modulo 2^32; two of 16 bits, summed; the even 32 to 64. */
enum step { MODULO, PAIRS, EXACT };

INLINE vec multiply(vec a, vec b, enum step step)
{
    if (step == MODULO)
        return (vec)_mm256_mullo_epi32((__m256i)a, (__m256i)b);
    if (step == PAIRS)
        return (vec)_mm256_madd_epi16((__m256i)a, (__m256i)b);
    return (vec)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}

INLINE vec sum(vec a, vec b, enum step step)
{
    return step == EXACT ? (vec)((words)a + (words)b) : a + b;
}

/* @sums += a left word by two right vectors. */
INLINE void add_products(vec sums[2], const uint32_t *a, vec b0, vec b1, enum step step)
{
    vec left = (vec)_mm256_set1_epi32((int32_t)*a);

    sums[0] = sum(sums[0], multiply(left, b0, step), step);
    sums[1] = sum(sums[1], multiply(left, b1, step), step);
}

_Static_assert(ROWS == 4, "sum_up() writes its rows out");

/*
 * @sums of ROWS rows, or of one: each two vectors by @depth left words, @a_step apart. EXACT: the
 * two are the even and the odd lanes of one right vector; else there are two.
 */
INLINE void sum_up(vec sums[ROWS][2], size_t rows, const uint32_t *a, size_t a_row, size_t a_step,
                   const vec *b, size_t b_step, size_t depth, enum step step)
{
    vec s[ROWS][2] = {0};

    for (size_t i = 0; i < depth; i++, a += a_step, b += b_step) {
        vec b0 = b[0], b1 = step == EXACT ? (vec)((words)b0 >> 32) : b[1];

        add_products(s[0], a, b0, b1, step);
        if (rows < ROWS)
            continue;
        /* Not a loop: not every compiler keeps its sums in registers. */
        add_products(s[1], a + a_row, b0, b1, step);
        add_products(s[2], a + 2 * a_row, b0, b1, step);
        add_products(s[3], a + 3 * a_row, b0, b1, step);
    }
    memcpy(sums, s, rows * sizeof(*sums));
}

/* Where a product goes. */
struct place {
    uint64_t *c;
    size_t ldc, width;
    bool add;
};

INLINE void store_words(uint64_t *c, words first, words second, size_t width, bool add)
{
    uint64_t v[COLS];

    memcpy(v, &first, sizeof(first));
    memcpy(v + COLS / 2, &second, sizeof(second));
    for (size_t j = 0; j < width; j++)
        c[j] = v[j] + (add ? c[j] : 0);
}

/* Columns @at .. @at + 7 of row @r. */
INLINE void store(const struct place *to, size_t r, size_t at, words first, words second)
{
    uint64_t *c = to->c + r * to->ldc + at;

    if (to->width >= at + COLS && to->add)
        store_words(c, first, second, COLS, true);
    else if (to->width >= at + COLS)
        store_words(c, first, second, COLS, false);
    else if (to->width > at)
        store_words(c, first, second, to->width - at, to->add);
}

INLINE void rows_by_panel(const struct place *to, size_t rows, const uint32_t *a, const vec *b,
                          size_t depth, enum form form)
{
    const size_t a_row = parts(form) * DEPTH;
    vec cross[ROWS][2], low[ROWS][2]; /* NARROW: cross is all there is */

    if (form == PAIRED)
        sum_up(cross, rows, a, a_row, 2, b + 2, 4, depth, PAIRS);
    else
        sum_up(cross, rows, a, a_row, 1, b, 2, parts(form) * depth, MODULO);
#pragma GCC unroll 2
    for (size_t h = 0; h < 2; h++) {
        if (form == NARROW) {
            for (size_t r = 0; r < rows; r++)
                store(to, r, h * COLS, (words)cross[r][h], (words)cross[r][h] >> 32);
            continue;
        }
        sum_up(low, rows, a + 1, a_row, 2, b + h, 4, depth, EXACT);
        for (size_t r = 0; r < rows; r++)
            store(to, r, h * COLS, (words)low[r][0] + ((words)cross[r][h] << 32),
                  (words)low[r][1] + ((words)cross[r][h] & ~low_half));
    }
}

/* From L3 to L2 while there is something to multiply: without it a new panel is waited for. */
INLINE void fetch(const vec *from, const vec *end)
{
    for (; from < end; from += 2)
        __builtin_prefetch(from, 0, 2);
}

/* @next: the panel to be taken after this one. */
INLINE void block_by_panel(struct place to, size_t rows, const uint32_t *a, const vec *b,
                           const vec *next, size_t depth, enum form form)
{
    const size_t a_row = parts(form) * DEPTH, vectors = depth * 2 * parts(form);
    size_t r = 0;

    for (; r + ROWS <= rows; r += ROWS, a += ROWS * a_row, to.c += ROWS * to.ldc) {
        fetch(next + vectors * r / rows, next + vectors * (r + ROWS) / rows);
        rows_by_panel(&to, ROWS, a, b, depth, form);
    }
    for (; r < rows; r++, a += a_row, to.c += to.ldc)
        rows_by_panel(&to, 1, a, b, depth, form);
}

/* A block of the left side, packed, by all columns; @all: where the first panel's go. */
INLINE void block(const struct place *all, size_t rows, const uint32_t *a, const vec *right,
                  size_t inner, size_t depth, size_t cols, enum form form)
{
    const size_t panel = inner * 2 * parts(form);

    for (size_t j = 0; j < cols; j += PANEL, right += panel) {
        bool last = cols - j <= PANEL;
        struct place to = *all;

        to.c += j;
        to.width = MIN(cols - j, (size_t)PANEL);
        block_by_panel(to, rows, a, right, last ? right : right + panel, depth, form);
    }
}

INLINE void multiply_all(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const vec *right,
                         size_t rows, size_t inner, size_t cols, enum form form, bool add,
                         uint32_t *packed)
{
    for (size_t row = 0; row < rows; row += BLOCK_ROWS)
        for (size_t at = 0; at == 0 || at < inner; at += DEPTH) {
            struct place to = {.c = c + row * ldc, .ldc = ldc, .add = add || at > 0};
            size_t some = MIN(rows - row, (size_t)BLOCK_ROWS);
            size_t depth = MIN(inner - at, (size_t)DEPTH);

            for (size_t r = 0; r < some; r++)
                pack_left(packed + r * parts(form) * DEPTH, a + (row + r) * lda + at, depth, form);
            block(&to, some, packed, right + at * 2 * parts(form), inner, depth, cols, form);
        }
}

static void product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                    size_t rows, size_t inner, size_t cols, unsigned int ring, bool add,
                    void *scratch)
{
    switch (form_of(ring)) {
    case NARROW:
        multiply_all(c, ldc, a, lda, right, rows, inner, cols, NARROW, add, scratch);
        return;
    case PAIRED:
        multiply_all(c, ldc, a, lda, right, rows, inner, cols, PAIRED, add, scratch);
        return;
    case WIDE:
        multiply_all(c, ldc, a, lda, right, rows, inner, cols, WIDE, add, scratch);
        return;
    }
}

void kernels_fill_gemm_avx2(struct kernels *k)
{
    k->right_bytes = right_bytes;
    k->pack_right = pack_right;
    k->product = product;
}
