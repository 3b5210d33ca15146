/*
 * The passes over elements, as plain loops: the reference, and compiled again for every CPU feature
 * whose compiler flags make vectors of them. NAME() gives a function the feature's suffix.
 */
#include "mpc/elementwise.h"

#include <string.h>

#define JOIN2(a, b) a##b
#define JOIN(a, b)  JOIN2(a, b)
#define NAME(verb)  JOIN(verb, ELEMENTWISE)
#define TEXT2(a)    #a
#define TEXT(a)     TEXT2(a)

/* No element of a loop depends on another, though outputs may be inputs. */
#ifdef __clang__
#define EACH _Pragma("clang loop vectorize(assume_safety)")
#else
#define EACH _Pragma("GCC ivdep")
#endif

/* Elements between arithmetic and packing: they stay in L1. A multiple of 8: whole bytes. */
#define BLOCK 512

static void hide(uint64_t *hat, uint8_t *wire, const uint64_t *share, const uint64_t *mask,
                 size_t count, unsigned int ring)
{
    for (size_t at = 0, n; at < count; at += n) {
        n = MIN(count - at, (size_t)BLOCK);
        EACH for (size_t i = at; i < at + n; i++) hat[i] = share[i] + mask[i];
        NAME(fields_pack)(wire + ring_bytes(at, ring), hat + at, n, ring);
    }
}

static void hide_cut(uint64_t *hat, uint8_t *wire, const uint64_t *share, const uint64_t *mask,
                     size_t count, uint64_t add, unsigned int shift, unsigned int ring,
                     unsigned int bits)
{
    uint64_t whole = ring_mask(ring), cut = ring_mask(bits);

    for (size_t at = 0, n; at < count; at += n) {
        n = MIN(count - at, (size_t)BLOCK);
        EACH for (size_t i = at; i < at + n; i++) hat[i] =
            ((((share[i] + add) & whole) >> shift) + mask[i]) & cut;
        NAME(fields_pack)(wire + ring_field_bytes(at, bits), hat + at, n, bits);
    }
}

static void reveal_cut(uint64_t *hat, uint64_t *mask, const uint8_t *wire, const uint64_t *b,
                       const uint64_t *m, size_t count, unsigned int bits)
{
    uint64_t cut = ring_mask(bits), offset = 1ull << (bits - 2), theirs[BLOCK];

    for (size_t at = 0, n; at < count;
         at += n, hat += BLOCK, mask += BLOCK, b += BLOCK, m += BLOCK) {
        n = MIN(count - at, (size_t)BLOCK);
        NAME(fields_unpack)(theirs, wire + ring_field_bytes(at, bits), n, bits);
        EACH for (size_t i = 0; i < n; i++)
        {
            uint64_t y = (hat[i] + theirs[i]) & cut, carried = (y >> (bits - 1)) - 1;

            hat[i] = y - offset;
            mask[i] = (mask[i] & cut) - ((b[i] + (carried & m[i])) << bits);
        }
    }
}

static void add_carried(uint64_t *z, const uint64_t *hat, const uint64_t *q, size_t count,
                        unsigned int bits)
{
    uint64_t offset = 1ull << (bits - 2);

    EACH for (size_t i = 0; i < count; i++)
    {
        uint64_t carried = ((hat[i] + offset) >> (bits - 1) & 1) - 1;

        z[i] += (carried & q[i]) << bits;
    }
}

static uint64_t signs(const uint64_t *x, size_t count, uint64_t add, unsigned int ring)
{
    uint64_t word = 0;

    for (size_t i = 0; i < count; i++)
        word |= ((x[i] + add) >> (ring - 1) & 1) << i;
    return word;
}

static void wrap_bits(uint64_t *e, const uint64_t *x, const uint64_t *a, size_t count, uint64_t add,
                      unsigned int ring)
{
    for (; count >= 64; count -= 64, x += 64)
        *e++ = *a++ ^ ~signs(x, 64, add, ring);
    if (count)
        *e = *a ^ (~signs(x, count, add, ring) & ring_mask((unsigned int)count));
}

/* What the bits of 64 elements make of c: v_0 v_1 = plus - minus + (flip ? -c : c). */
struct wrapped {
    uint64_t plus, minus, flip;
};

static struct wrapped wrapped_of(uint64_t mine, uint64_t sum, uint64_t a, unsigned int first)
{
    uint64_t other = sum ^ mine;

    return (struct wrapped){
        .plus = (mine & other & (0 - (uint64_t)first)) | (other & a & ~mine),
        .minus = mine & other & a,
        .flip = sum,
    };
}

struct cut {
    uint64_t add, whole, taken;
    unsigned int shift, lift;
};

static inline void truncate_word(uint64_t *y, const uint64_t *x, const uint64_t *c, size_t count,
                                 struct wrapped w, const struct cut *t)
{
    EACH for (size_t i = 0; i < count; i++)
    {
        uint64_t flip = 0 - (w.flip >> i & 1);
        uint64_t both = (w.plus >> i & 1) - (w.minus >> i & 1) + ((c[i] ^ flip) - flip);

        y[i] = (((x[i] + t->add) & t->whole) >> t->shift) + (both << t->lift) - t->taken;
    }
}

static void truncate(uint64_t *y, const uint64_t *x, const uint64_t *mine, const uint64_t *sum,
                     const uint64_t *a, const uint64_t *c, size_t count, uint64_t add,
                     unsigned int shift, unsigned int ring, unsigned int first)
{
    struct cut t = {
        .add = add,
        .whole = ring_mask(ring),
        .taken = ((uint64_t)first << (ring - shift)) + ((uint64_t)first << (ring - 2 - shift)),
        .shift = shift,
        .lift = ring - shift,
    };

    for (; count >= 64; count -= 64, y += 64, x += 64, c += 64)
        truncate_word(y, x, c, 64, wrapped_of(*mine++, *sum++, *a++, first), &t);
    if (count)
        truncate_word(y, x, c, count, wrapped_of(*mine, *sum, *a, first), &t);
}

static void square(uint64_t *z, const uint64_t *corr, const uint64_t *x, const uint64_t *r,
                   size_t count, unsigned int party)
{
    uint64_t mine = 0 - (uint64_t)party;

    EACH for (size_t i = 0; i < count; i++) z[i] = corr[i] + x[i] * ((x[i] & mine) - 2 * r[i]);
}

static void square_sum(uint64_t *z, const uint64_t *corr, const uint64_t *x, const uint64_t *r,
                       size_t rows, size_t cols, unsigned int party)
{
    uint64_t mine = 0 - (uint64_t)party;

    for (size_t row = 0; row < rows; row++, x += cols, r += cols) {
        uint64_t sum = corr[row];

        for (size_t i = 0; i < cols; i++)
            sum += x[i] * ((x[i] & mine) - 2 * r[i]);
        z[row] = sum;
    }
}

static void mul(uint64_t *z, const uint64_t *corr, const uint64_t *x, const uint64_t *rx,
                const uint64_t *y, const uint64_t *ry, size_t count, unsigned int party)
{
    uint64_t mine = 0 - (uint64_t)party;

    EACH for (size_t i = 0; i < count; i++) z[i] =
        corr[i] + x[i] * ((y[i] & mine) - ry[i]) - rx[i] * y[i];
}

static void mul_rows(uint64_t *z, const uint64_t *corr, const uint64_t *x, const uint64_t *rx,
                     const uint64_t *y, const uint64_t *ry, size_t rows, size_t cols,
                     unsigned int party)
{
    if (cols == 1) {
        mul(z, corr, x, rx, y, ry, rows, party);
        return;
    }
    for (size_t row = 0; row < rows; row++, z += cols, corr += cols, x += cols, rx += cols) {
        uint64_t by = y[row], w = party * by - ry[row];

        EACH for (size_t i = 0; i < cols; i++) z[i] = corr[i] + x[i] * w - rx[i] * by;
    }
}

static uint64_t sum_of(const uint64_t *x, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += x[i];
    return sum;
}

static void centre(uint64_t *y, const uint64_t *x, size_t rows, size_t cols)
{
    for (size_t row = 0; row < rows; row++, x += cols, y += cols) {
        uint64_t sum = sum_of(x, cols);

        EACH for (size_t i = 0; i < cols; i++) y[i] = cols * x[i] - sum;
    }
}

static void row_sum(uint64_t *y, const uint64_t *x, size_t rows, size_t cols)
{
    for (size_t row = 0; row < rows; row++)
        y[row] = sum_of(x + row * cols, cols);
}

static void masked_sum(uint64_t *ret, const uint64_t *table, const uint64_t *hot, size_t rows,
                       size_t cols)
{
    memset(ret, 0, cols * sizeof(*ret));
    for (size_t j = 0; j < rows; j++) {
        uint64_t mask = 0 - (hot[j / 64] >> j % 64 & 1);

        for (size_t c = 0; c < cols; c++)
            ret[c] += mask & *table++;
    }
}

static void look_up(uint64_t *bits, size_t bit_stride, const uint16_t *tables, size_t table_stride,
                    const uint64_t *x, size_t count, unsigned int first, unsigned int digits,
                    size_t spread)
{
    for (unsigned int d = 0; d < digits; d++, bits += bit_stride, tables += table_stride) {
        memset(bits, 0, ring_bit_words(count) * sizeof(*bits));
        for (size_t i = 0; i < count; i++) {
            unsigned int digit = x[i] >> 4 * (first + d) & 15;

            bits[i / 64] |= (uint64_t)(tables[i / spread] >> digit & 1) << i % 64;
        }
    }
}

void NAME(elementwise_loops)(struct kernels *k)
{
    k->passes = &TEXT(ELEMENTWISE)[1]; /* without the underscore */
    k->pack_fields = NAME(fields_pack);
    k->unpack_fields = NAME(fields_unpack);
    k->hide = hide;
    k->hide_cut = hide_cut;
    k->reveal_cut = reveal_cut;
    k->add_carried = add_carried;
    k->wrap_bits = wrap_bits;
    k->truncate = truncate;
    k->square = square;
    k->square_sum = square_sum;
    k->mul_rows = mul_rows;
    k->centre = centre;
    k->row_sum = row_sum;
    k->masked_sum = masked_sum;
    k->look_up = look_up;
}
