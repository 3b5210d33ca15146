/*
 * The ring product on AMX-INT8: n = ring / 8 unsigned limbs of a byte, and the pairs (i, j) of them
 * with i + j < n. Pairs of one shift s = i + j share an accumulator tile, which holds 16 x 16 sums
 * of 32 bits; their combination, sum of 2^(8s) times each, is what vectors do.
 *
 * Tiles.  Four accumulators take the shifts s .. s + 3, one tile the left limb i, three the right
 * ones: as i goes up by one the window of j that it needs goes down by one, so that a limb that was
 * loaded serves four products. The window has four places but three tiles, for the product with the
 * limb that leaves it comes first, the one with the limb that enters last.
 *
 * Depth.  STEPS_L1 / n steps of 64 let the right side of eight tiles' products stay in L1, while
 * the left side comes from L2 and the right side of the next eight is asked for. Then a tile's sums
 * are stored, and made words while the next tile is multiplied: a few rows after each limb, so that
 * vectors and tiles work at the same time and nothing reads what a tile store has just written. The
 * words wait, packed, for the last steps of the inner dimension: rows of c a multiple of 4 KB apart
 * push each other out of L1. A sum is of at most 8 pairs, 24 steps: 8 x 1536 x 255^2 < 2^32, exact.
 *
 * Left:  [row tile][step][limb][row][64 bytes of inner]     both: 1 KB a tile, padded with zeros
 * Right: [column tile][step][limb][inner / 4][16 columns x 4 bytes]
 *
 * Everything but the tiles is written with vector types, so that the file can be compiled for less
 * than it is meant for, and tested where tiles are emulated.
 */
#include "mpc/kernels.h"

#include <string.h>

#define INLINE     static inline __attribute__((always_inline))
#define SIDE       16   /* rows and columns of a result tile */
#define STEP       64   /* of the inner dimension: bytes of a tile's row */
#define TILE       1024 /* bytes */
#define LIMBS_MAX  8
#define BLOCK_ROWS 128
#define ROW_TILES  (BLOCK_ROWS / SIDE)
#define STEPS_L1   24 /* steps x limbs */
#define LINE       64

/* Rows of a pending result that are combined after each limb. */
#define ROWS_AT_ONCE 4

typedef uint8_t bytes __attribute__((vector_size(64)));
typedef uint64_t words __attribute__((vector_size(64)));
typedef uint32_t lanes __attribute__((vector_size(64)));

/* --- tiles: 0-3 accumulators, 4 left, 5-7 right --- */

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static void tiles_begin(uint8_t left_rows)
{
    struct tile_config config = {.palette = 1};

    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = STEP;
        config.rows[i] = i < 5 ? left_rows : SIDE;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

static void tiles_end(void)
{
    __asm__ volatile("tilerelease");
}

#define LOAD(tile)                                                                                 \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile                                            \
                     :                                                                             \
                     : "r"(from), "r"((size_t)STEP)                                                \
                     : "memor"                                                                     \
                       "y")
#define STORE(tile)                                                                                \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)"                                        \
                     :                                                                             \
                     : "r"(to), "r"((size_t)STEP)                                                  \
                     : "memory")
#define ZERO(tile) __asm__ volatile("tilezero %tmm" #tile)
#define DOT(sum, right)                                                                            \
    case (sum)*3 + (right)-5:                                                                      \
        __asm__ volatile("tdpbuud %tmm" #right ", %tmm4, %tmm" #sum);                              \
        break

INLINE void load_left(const uint8_t *from)
{
    LOAD(4);
}

INLINE void load_right(int slot, const uint8_t *from)
{
    switch (slot) {
    case 0:
        LOAD(5);
        break;
    case 1:
        LOAD(6);
        break;
    default:
        LOAD(7);
    }
}

INLINE void dot(int sum, int slot)
{
    switch (sum * 3 + slot) {
        DOT(0, 5);
        DOT(0, 6);
        DOT(0, 7);
        DOT(1, 5);
        DOT(1, 6);
        DOT(1, 7);
        DOT(2, 5);
        DOT(2, 6);
        DOT(2, 7);
        DOT(3, 5);
        DOT(3, 6);
        DOT(3, 7);
    }
}

INLINE void zero_sums(void)
{
    ZERO(0);
    ZERO(1);
    ZERO(2);
    ZERO(3);
}

INLINE void store_sum(int sum, uint32_t to[SIDE][SIDE])
{
    switch (sum) {
    case 0:
        STORE(0);
        break;
    case 1:
        STORE(1);
        break;
    case 2:
        STORE(2);
        break;
    default:
        STORE(3);
    }
}

/* --- packing: 64 elements into a row of 64 bytes for each limb --- */

#define EIGHT(m, b)                                                                                \
    m(b), m((b) + 1), m((b) + 2), m((b) + 3), m((b) + 4), m((b) + 5), m((b) + 6), m((b) + 7)
#define SIXTY_FOUR(m)                                                                              \
    EIGHT(m, 0), EIGHT(m, 8), EIGHT(m, 16), EIGHT(m, 24), EIGHT(m, 32), EIGHT(m, 40),              \
        EIGHT(m, 48), EIGHT(m, 56)

/* Bytes of eight elements, from [element][limb] to [limb][element]. */
#define BY_LIMB(i) ((i) % 8 * 8 + (i) / 8)

/* Bytes of four rows of 16 columns, from [inner][column] to [column][inner]. */
#define BY_COLUMN(i) ((i) % 4 * 16 + (i) / 4)

/* Exchange the blocks of @d x @d words beside the diagonal. */
#define KEEP(d, i) (((i) & (d)) ? 8 + (i) - (d) : (i))
#define TAKE(d, i) (((i) & (d)) ? 8 + (i) : (i) + (d))
#define K1(i)      KEEP(1, i)
#define K2(i)      KEEP(2, i)
#define K4(i)      KEEP(4, i)
#define T1(i)      TAKE(1, i)
#define T2(i)      TAKE(2, i)
#define T4(i)      TAKE(4, i)
#define EXCHANGE(x, y, keep, take)                                                                 \
    do {                                                                                           \
        words kept = __builtin_shufflevector(x, y, EIGHT(keep, 0));                                \
        y = __builtin_shufflevector(x, y, EIGHT(take, 0));                                         \
        x = kept;                                                                                  \
    } while (0)

/* x: 64 elements; then the 64 bytes of limb i in x[i]. */
INLINE void split(words x[8])
{
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        bytes b = (bytes)x[i];

        x[i] = (words)__builtin_shufflevector(b, b, SIXTY_FOUR(BY_LIMB));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2)
        EXCHANGE(x[i], x[i + 1], K1, T1);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        EXCHANGE(x[i + i / 2 * 2], x[i + i / 2 * 2 + 2], K2, T2);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        EXCHANGE(x[i], x[i + 4], K4, T4);
}

static void pack_left_row(uint8_t *to, const uint64_t *a, size_t depth, size_t limbs)
{
    words x[8] = {0};

    if (depth >= STEP)
        memcpy(x, a, sizeof(x));
    else
        memcpy(x, a, depth * sizeof(*a));
    split(x);
    for (size_t i = 0; i < limbs; i++)
        memcpy(to + i * TILE, &x[i], sizeof(x[i]));
}

/* Up to four rows of up to 16 columns: a row of each limb's tile. */
static void pack_right_row(uint8_t *to, const uint64_t *b, size_t row_stride, size_t col_stride,
                           size_t depth, size_t width, size_t limbs)
{
    uint64_t rows[4][SIDE] = {0};
    words x[8];

    for (size_t i = 0; i < MIN(depth, (size_t)4); i++, b += row_stride)
        if (col_stride == 1 && width >= SIDE)
            memcpy(rows[i], b, sizeof(rows[i]));
        else
            for (size_t j = 0; j < MIN(width, (size_t)SIDE); j++)
                rows[i][j] = b[j * col_stride];
    memcpy(x, rows, sizeof(x));
    split(x);
    for (size_t i = 0; i < limbs; i++) {
        bytes v = (bytes)x[i];

        v = __builtin_shufflevector(v, v, SIXTY_FOUR(BY_COLUMN));
        memcpy(to + i * TILE, &v, sizeof(v));
    }
}

static size_t limbs_of(unsigned int ring)
{
    return (ring + 7) / 8;
}

static size_t steps_of(size_t inner)
{
    return (inner + STEP - 1) / STEP;
}

static size_t right_bytes(size_t inner, size_t cols, unsigned int ring)
{
    return (cols + SIDE - 1) / SIDE * steps_of(inner) * limbs_of(ring) * TILE;
}

static void pack_right(void *right, const uint64_t *b, size_t row_stride, size_t col_stride,
                       size_t inner, size_t cols, unsigned int ring)
{
    size_t limbs = limbs_of(ring), depth = steps_of(inner) * STEP;
    uint8_t *to = right;

    for (size_t j = 0; j < cols; j += SIDE)
        for (size_t k = 0; k < depth; k += 4) {
            const uint64_t *from = b + MIN(k, inner) * row_stride + j * col_stride;

            pack_right_row(to + k % STEP / 4 * STEP, from, row_stride, col_stride,
                           inner - MIN(k, inner), cols - j, limbs);
            to += (k + 4) % STEP ? 0 : limbs * TILE;
        }
}

/* A block of at most BLOCK_ROWS rows; rows that are not there are zero. */
static void pack_left(uint8_t *to, const uint64_t *a, size_t lda, size_t rows, size_t depth,
                      size_t limbs)
{
    for (size_t r = 0; r < rows; r += SIDE)
        for (size_t k = 0; k < depth; k += STEP, to += limbs * TILE) {
            size_t some = MIN(rows - r, (size_t)SIDE);

            for (size_t i = 0; i < some; i++)
                pack_left_row(to + i * STEP, a + (r + i) * lda + k, depth - k, limbs);
            for (size_t l = 0; l < limbs && some < SIDE; l++)
                memset(to + l * TILE + some * STEP, 0, (SIDE - some) * STEP);
        }
}

/* --- a result tile --- */

typedef uint32_t sums[LIMBS_MAX][SIDE][SIDE];

/* Rows of words of a tile; at @width columns, where not all are there. */
struct place {
    uint64_t *at; /* NULL: nothing, zeros to read */
    size_t stride, width;
};

/* Sums that still have to go to where they belong: @to = @from + sums. */
struct pending {
    uint32_t (*sum)[SIDE][SIDE];
    struct place from, to;
    size_t row, rows;
};

/* The shifts from here on lie in the upper 32 bits of the ring, where a sum may wrap. */
INLINE int upper(int limbs)
{
    return limbs > 4 ? limbs - 4 : 0;
}

/*
 * One row. The upper shifts fit 32 bits; then words, of the even and of the odd columns apart,
 * which spares a shuffle for each shift.
 */
INLINE void combine_row(uint64_t to[SIDE], const uint64_t from[SIDE], const struct pending *p,
                        int limbs)
{
    lanes h, l;
    words even, odd;

    memcpy(&h, p->sum[limbs - 1][p->row], sizeof(h));
    for (int s = limbs - 2; s >= upper(limbs); s--) {
        memcpy(&l, p->sum[s][p->row], sizeof(l));
        h = (h << 8) + l;
    }
    even = (words)h & UINT32_MAX;
    odd = (words)h >> 32;
    for (int s = upper(limbs) - 1; s >= 0; s--) {
        memcpy(&l, p->sum[s][p->row], sizeof(l));
        even = (even << 8) + ((words)l & UINT32_MAX);
        odd = (odd << 8) + ((words)l >> 32);
    }
    for (size_t half = 0; half < 2; half++) {
        words v = half ? __builtin_shufflevector(even, odd, 4, 12, 5, 13, 6, 14, 7, 15)
                       : __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
        words old = {0};

        if (from)
            memcpy(&old, from + half * 8, sizeof(old));
        v += old;
        memcpy(to + half * 8, &v, sizeof(v));
    }
}

INLINE void combine_rows(struct pending *p, int limbs, size_t rows)
{
    for (; rows && p->row < p->rows; rows--, p->row++) {
        const uint64_t *from = p->from.at ? p->from.at + p->row * p->from.stride : NULL;
        uint64_t *to = p->to.at + p->row * p->to.stride, edge[SIDE] = {0};

        if (p->from.width == SIDE && p->to.width == SIDE) {
            combine_row(to, from, p, limbs);
        } else {
            if (from)
                memcpy(edge, from, p->from.width * sizeof(*from));
            combine_row(edge, edge, p, limbs);
            memcpy(to, edge, p->to.width * sizeof(*to));
        }
    }
}

/* For each number of limbs, out of the way of the tiles' loop. */
#define COMBINE(limbs)                                                                             \
    static void __attribute__((noinline)) combine_##limbs(struct pending *p, size_t rows)          \
    {                                                                                              \
        combine_rows(p, limbs, rows);                                                              \
    }
COMBINE(1)
COMBINE(2)
COMBINE(3)
COMBINE(4)
COMBINE(5)
COMBINE(6)
COMBINE(7)
COMBINE(8)

INLINE void combine(struct pending *p, int limbs, size_t rows)
{
    static void (*const of[LIMBS_MAX + 1])(struct pending *, size_t) = {
        NULL,      combine_1, combine_2, combine_3, combine_4,
        combine_5, combine_6, combine_7, combine_8};

    of[limbs](p, rows);
}

/* Shifts @first .. @end - 1 of a tile over @steps, and meanwhile what is pending. Of the bytes from
 * @ahead on, those are asked for that are as many as an eighth of @b. */
INLINE void multiply(uint32_t (*to)[SIDE][SIDE], const uint8_t *a, const uint8_t *b, size_t steps,
                     int first, int end, int limbs, struct pending *p, const uint8_t *ahead)
{
    zero_sums();
    for (size_t k = 0; k < steps; k++, a += limbs * TILE, b += limbs * TILE)
#pragma GCC unroll 8
        for (int i = 0; i < end; i++) {
            load_left(a + i * TILE);
            if (end == limbs) {
                __builtin_prefetch(ahead, 0, 2);
                __builtin_prefetch(ahead + LINE, 0, 2);
                ahead += TILE / ROW_TILES;
            }
#pragma GCC unroll 4
            for (int s = end - 1; s >= first && s >= i; s--) {
                int j = s - i;

                if (i == 0 || s == first)
                    load_right(j % 3, b + j * TILE);
                dot(s - first, j % 3);
            }
            if (p->row < p->rows)
                combine(p, limbs, ROWS_AT_ONCE);
        }
    if (p->row < p->rows)
        combine(p, limbs, SIDE);
    for (int s = first; s < end; s++)
        store_sum(s - first, to[s]);
}

/* What a product is about, as far as a block sees it. */
struct block {
    uint64_t *c;
    size_t ldc, rows, cols;
    const uint8_t *left, *right;
    size_t steps;       /* of the left block */
    size_t right_steps; /* of the whole right side */
    bool add;
    sums *sum;
    uint64_t (*kept)[SIDE][SIDE]; /* (row tiles): words so far, until the last steps */
};

INLINE void tile(const struct block *b, struct pending *p, size_t row, size_t col, size_t step,
                 size_t steps, int limbs)
{
    const uint8_t *left = b->left + (row / SIDE * b->steps + step) * (size_t)limbs * TILE;
    const uint8_t *right = b->right + (col / SIDE * b->right_steps + step) * (size_t)limbs * TILE;
    size_t chunk = steps * (size_t)limbs * TILE; /* of the right side that all row tiles take */
    const uint8_t *ahead = right + chunk + row / SIDE * (chunk / ROW_TILES);
    const struct place c = {b->c + row * b->ldc + col, b->ldc, MIN(b->cols - col, (size_t)SIDE)};
    const struct place kept = {b->kept[row / SIDE][0], SIDE, SIDE};

    if (limbs > 4)
        multiply(*b->sum, left, right, steps, 0, upper(limbs), limbs, p, NULL);
    multiply(*b->sum, left, right, steps, upper(limbs), limbs, limbs, p, ahead);
    *p = (struct pending){
        .sum = *b->sum,
        .from = step     ? kept
                : b->add ? c
                         : (struct place){NULL, 0, SIDE},
        .to = step + steps < b->steps ? kept : c,
        .rows = MIN(b->rows - row, (size_t)SIDE),
    };
    for (size_t r = 0; r < p->rows && p->to.at == c.at; r++)
        __builtin_prefetch(c.at + r * c.stride, 1);
}

INLINE void block(const struct block *b, int limbs)
{
    size_t together = (size_t)(STEPS_L1 / limbs);
    struct pending p = {0};

    for (size_t col = 0; col < b->cols; col += SIDE)
        for (size_t step = 0; step < b->steps; step += together)
            for (size_t row = 0; row < b->rows; row += SIDE)
                tile(b, &p, row, col, step, MIN(b->steps - step, together), limbs);
    combine(&p, limbs, SIDE);
}

static void block_of(const struct block *b, size_t limbs)
{
    switch (limbs) {
    case 1:
        block(b, 1);
        break;
    case 2:
        block(b, 2);
        break;
    case 3:
        block(b, 3);
        break;
    case 4:
        block(b, 4);
        break;
    case 5:
        block(b, 5);
        break;
    case 6:
        block(b, 6);
        break;
    case 7:
        block(b, 7);
        break;
    default:
        block(b, 8);
    }
}

#define KEPT_BYTES (BLOCK_ROWS * SIDE * sizeof(uint64_t))
#define LEFT_BYTES (KERNELS_SCRATCH_BYTES - sizeof(sums) - KEPT_BYTES)

static void product_rows(struct block *b, const uint64_t *a, size_t lda, size_t inner, size_t limbs,
                         uint8_t *left)
{
    size_t steps_max = LEFT_BYTES / (BLOCK_ROWS * STEP * limbs);

    for (size_t step = 0; step < b->right_steps; step += b->steps) {
        b->steps = MIN(b->right_steps - step, steps_max);
        pack_left(left, a + step * STEP, lda, b->rows, MIN(inner - step * STEP, b->steps * STEP),
                  limbs);
        block_of(b, limbs);
        b->right += b->steps * limbs * TILE;
        b->add = true;
    }
}

static void product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                    size_t rows, size_t inner, size_t cols, unsigned int ring, bool add,
                    void *scratch)
{
    size_t limbs = limbs_of(ring);

    if (!inner || !rows || !cols) {
        for (size_t r = 0; r < rows && !add; r++)
            memset(c + r * ldc, 0, cols * sizeof(*c));
        return;
    }
    tiles_begin((uint8_t)MIN(rows, (size_t)SIDE));
    for (size_t row = 0; row < rows; row += BLOCK_ROWS) {
        struct block b = {
            .c = c + row * ldc,
            .ldc = ldc,
            .rows = MIN(rows - row, (size_t)BLOCK_ROWS),
            .cols = cols,
            .left = scratch,
            .right = right,
            .right_steps = steps_of(inner),
            .add = add,
            .sum = (sums *)(void *)((uint8_t *)scratch + LEFT_BYTES),
            .kept = (uint64_t(*)[SIDE][SIDE])(void *)((uint8_t *)scratch + KERNELS_SCRATCH_BYTES -
                                                      KEPT_BYTES),
        };

        product_rows(&b, a + row * lda, lda, inner, limbs, scratch);
    }
    tiles_end();
}

static void dots(size_t count)
{
    static const uint8_t zero[TILE];

    tiles_begin(SIDE);
    zero_sums();
    load_left(zero);
    for (int slot = 0; slot < 3; slot++)
        load_right(slot, zero);
    for (size_t i = 0; i < count; i += 4)
#pragma GCC unroll 4
        for (int sum = 0; sum < 4; sum++)
            dot(sum, sum % 3);
    tiles_end();
}

void kernels_fill_gemm_amx(struct kernels *k)
{
    k->dots = dots;
    k->right_bytes = right_bytes;
    k->pack_right = pack_right;
    k->product = product;
}
