/*
 * The ring product for rings of at most 48 bits on signed limbs of 16 bits, for instructions that
 * multiply pairs of them into lanes of 32 bits. Included once by each file that has such a one,
 * which says before:
 *
 *   LANES, ROWS     32-bit lanes of a vector; rows of a left side taken at once
 *   vec             that vector
 *   dot(sum, a, b)  sum + a[2j] b[2j] + a[2j+1] b[2j+1] in each lane j, modulo 2^32
 *   spread(p)       the 32 bits at p in each lane
 *
 * x = d0 + 2^16 d1 + 2^32 d2 with limbs in -2^15 .. 2^15 - 1, the last modulo what the ring holds.
 * Limb products of one weight 2^s share a sum. Where at most 32 bits of the ring lie above 2^s a
 * sum may wrap. Below that, which is d0 d0 in rings of more than 32 bits, the left limb is taken in
 * two halves of 8 bits, so that a pair of products is at most 2^23 and DEPTH / 2 of them stay
 * exact.
 *
 * Left, a block of rows by at most DEPTH:  [row][plane][DEPTH] limbs
 * Right: [panel of columns][pair of inner][limb][column][2] limbs, padded with zeros
 */
#include "mpc/kernels.h"

#include <string.h>

#define DEPTH      256
#define BLOCK_ROWS 64
#define PANEL      (2 * LANES)
#define PLANES_MAX 5
#define INLINE     static inline __attribute__((always_inline))

_Static_assert((DEPTH / 2) * (1ull << 23) < 1ull << 31, "an exact sum must fit its lane");
_Static_assert(BLOCK_ROWS *PLANES_MAX *DEPTH * sizeof(int16_t) <= KERNELS_SCRATCH_BYTES,
               "a block must fit the scratch");

/* One product of limbs: the left plane, the right limb, the sum that gets it. */
struct term {
    unsigned char left, right, sum;
};

/* What a ring needs. Planes of three limbs: the halves of d0, then d0, d1, d2. */
static const struct term terms_1[] = {{0, 0, 0}};
static const struct term terms_2[] = {{0, 0, 0}, {0, 1, 1}, {1, 0, 1}};
static const struct term terms_3_low[] = {{0, 0, 0}, {1, 0, 1}};
static const struct term terms_3_high[] = {{2, 1, 0}, {3, 0, 0}, {2, 2, 1}, {3, 1, 1}, {4, 0, 1}};

static size_t limbs_of(unsigned int ring)
{
    return (ring + 15) / 16;
}

static size_t limbs_right_bytes(size_t inner, size_t cols, unsigned int ring)
{
    return (cols + PANEL - 1) / PANEL * ((inner + 1) / 2) * limbs_of(ring) * sizeof(vec) * 2;
}

/* Limb i of x: what the lower limbs have borrowed is added before the shift. */
INLINE uint16_t limb(uint64_t x, size_t i)
{
    static const uint64_t carry[] = {0, 0x8000, 0x80008000};

    return (uint16_t)((x + carry[i]) >> 16 * i);
}

static void gather(uint64_t to[PANEL], const uint64_t *from, size_t stride, size_t width)
{
    if (stride == 1)
        memcpy(to, from, width * sizeof(*to));
    for (size_t j = 0; stride != 1 && j < width; j++)
        to[j] = from[j * stride];
}

static void limbs_pack_right(void *right, const uint64_t *b, size_t row_stride, size_t col_stride,
                             size_t inner, size_t cols, unsigned int ring)
{
    size_t limbs = limbs_of(ring);
    uint32_t *to = right;

    for (size_t panel = 0; panel < cols; panel += PANEL) {
        uint64_t x[2][PANEL] = {{0}};

        for (size_t i = 0; i < inner; i += 2) {
            for (size_t half = 0; half < 2 && i + half < inner; half++)
                gather(x[half], b + (i + half) * row_stride + panel * col_stride, col_stride,
                       MIN(cols - panel, (size_t)PANEL));
            if (i + 1 == inner)
                memset(x[1], 0, sizeof(x[1]));
            for (size_t l = 0; l < limbs; l++, to += PANEL)
                for (size_t j = 0; j < PANEL; j++)
                    to[j] = limb(x[0][j], l) | (uint32_t)limb(x[1][j], l) << 16;
        }
    }
}

static void pack_row(uint16_t *to, const uint64_t *a, size_t depth, size_t limbs)
{
    if (limbs == 3) {
        for (size_t i = 0; i < depth; i++) {
            to[i] = (uint16_t)(int8_t)a[i];
            to[DEPTH + i] = (uint16_t)(((int16_t)a[i] - (int8_t)a[i]) >> 8);
        }
        to += 2 * DEPTH;
    }
    for (size_t l = 0; l < limbs; l++)
        for (size_t i = 0; i < depth; i++)
            to[l * DEPTH + i] = limb(a[i], l);
    if (depth % 2)
        for (size_t l = 0; l < limbs; l++)
            to[l * DEPTH + depth] = 0;
}

/* The sums of @rows x PANEL elements: sum[2] of each, sums[1] at weight 2^(@shift + @step). */
struct tile {
    vec sum[ROWS][2][2];
};

INLINE void multiply(struct tile *t, size_t rows, const uint16_t *a, size_t a_row, const vec *b,
                     size_t pairs, size_t limbs, const struct term *terms, size_t term_count)
{
    struct tile s = {0};

    for (size_t p = 0; p < pairs; p++, a += 2, b += 2 * limbs)
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (size_t i = 0; i < term_count; i++) {
                vec left = spread(a + r * a_row + terms[i].left * DEPTH);
                vec *sum = s.sum[r][terms[i].sum];

                sum[0] = dot(sum[0], left, b[2 * terms[i].right]);
                sum[1] = dot(sum[1], left, b[2 * terms[i].right + 1]);
            }
    *t = s;
}

INLINE void combine(uint64_t *c, const vec low[2], const vec high[2], unsigned int shift,
                    unsigned int step, size_t width, bool add)
{
    int32_t l[PANEL], h[PANEL];

    memcpy(l, low, sizeof(l));
    memcpy(h, high, sizeof(h));
    for (size_t j = 0; j < width; j++) {
        uint64_t v = ((uint64_t)l[j] + ((uint64_t)h[j] << step)) << shift;

        c[j] = v + (add ? c[j] : 0);
    }
}

/* Where a product of a block goes and how far. */
struct place {
    uint64_t *c;
    size_t ldc, width;
    bool add;
};

INLINE void store(const struct place *to, const struct tile *t, size_t rows, unsigned int shift,
                  unsigned int step, bool add)
{
    for (size_t r = 0; r < rows; r++) {
        const vec *low = t->sum[r][0], *high = t->sum[r][1];
        uint64_t *c = to->c + r * to->ldc;

        if (to->width < PANEL)
            combine(c, low, high, shift, step, to->width, add);
        else if (add)
            combine(c, low, high, shift, step, PANEL, true);
        else
            combine(c, low, high, shift, step, PANEL, false);
    }
}

INLINE void rows_by_panel(const struct place *to, size_t rows, const uint16_t *a, const void *b,
                          size_t pairs, size_t limbs)
{
    struct tile t;

    if (limbs == 1) {
        multiply(&t, rows, a, DEPTH, b, pairs, 1, terms_1, ARRAY_LENGTH(terms_1));
        store(to, &t, rows, 0, 16, to->add);
    } else if (limbs == 2) {
        multiply(&t, rows, a, 2 * DEPTH, b, pairs, 2, terms_2, ARRAY_LENGTH(terms_2));
        store(to, &t, rows, 0, 16, to->add);
    } else {
        multiply(&t, rows, a, 5 * DEPTH, b, pairs, 3, terms_3_low, ARRAY_LENGTH(terms_3_low));
        store(to, &t, rows, 0, 8, to->add);
        multiply(&t, rows, a, 5 * DEPTH, b, pairs, 3, terms_3_high, ARRAY_LENGTH(terms_3_high));
        store(to, &t, rows, 16, 16, true);
    }
}

static void block_by_panel(struct place to, size_t rows, const uint16_t *a, const void *b,
                           size_t pairs, size_t limbs)
{
    size_t a_row = (limbs == 3 ? 5 : limbs) * DEPTH, r = 0;

    for (; r + ROWS <= rows; r += ROWS, a += ROWS * a_row, to.c += ROWS * to.ldc)
        rows_by_panel(&to, ROWS, a, b, pairs, limbs);
    for (; r < rows; r++, a += a_row, to.c += to.ldc)
        rows_by_panel(&to, 1, a, b, pairs, limbs);
}

/* A block of the left side, packed, by all columns. */
static void block(const struct place *all, size_t rows, const uint16_t *a, const uint8_t *right,
                  size_t inner, size_t at, size_t depth, size_t cols, size_t limbs)
{
    size_t pair_bytes = limbs * 2 * sizeof(vec), panel_bytes = (inner + 1) / 2 * pair_bytes;

    right += at / 2 * pair_bytes;
    for (size_t j = 0; j < cols; j += PANEL, right += panel_bytes) {
        struct place to = *all;

        to.c += j;
        to.width = MIN(cols - j, (size_t)PANEL);
        block_by_panel(to, rows, a, right, (depth + 1) / 2, limbs);
    }
}

static void limbs_product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                          size_t rows, size_t inner, size_t cols, unsigned int ring, bool add,
                          void *scratch)
{
    size_t limbs = limbs_of(ring), planes = limbs == 3 ? 5 : limbs;
    uint16_t *packed = scratch;

    for (size_t row = 0; row < rows; row += BLOCK_ROWS) {
        size_t some = MIN(rows - row, (size_t)BLOCK_ROWS);

        for (size_t at = 0; at == 0 || at < inner; at += DEPTH) {
            struct place to = {.c = c + row * ldc, .ldc = ldc, .add = add || at > 0};
            size_t depth = MIN(inner - at, (size_t)DEPTH);

            for (size_t r = 0; r < some; r++)
                pack_row(packed + r * planes * DEPTH, a + (row + r) * lda + at, depth, limbs);
            block(&to, some, packed, right, inner, at, depth, cols, limbs);
        }
    }
}
