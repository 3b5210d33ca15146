/*
 * kernels: the inner loops, one implementation a CPU feature, behind one table.
 *
 * Plain C fills every slot and is the truth; a CPU feature overwrites slots. All are bit-exact
 * modulo 2^64. CT: timing and addresses depend on shapes only.
 */
#ifndef MPC_KERNELS_H
#define MPC_KERNELS_H

#include "mpc/ring.h"

enum kernels_feature {
    KERNELS_AVX2 = 1u << 0,
    KERNELS_AVX512 = 1u << 1, /* F, BW, DQ, VL */
    KERNELS_VBMI = 1u << 2,   /* VBMI, of AVX-512 */
};

/* Columns of a packed right-hand side that one panel holds: [panel][inner][KERNELS_PANEL]. */
#define KERNELS_PANEL 8

struct kernels {
    const char *isa; /* of the product: "c", "avx2" */

    /** @to: ring_bytes(@count) bytes; @from: @count elements. */
    void (*pack)(uint8_t *to, const uint64_t *from, size_t count, unsigned int ring);

    void (*unpack)(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring);

    /** Add the unpacked elements to @to. */
    void (*unpack_add)(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring);

    /**
     * c (rows x cols, row stride @ldc) = or += a (rows x inner, row stride @lda) * b, where b
     * (inner x cols) stands in panels as kernels_pack_right() makes them.
     */
    void (*product)(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const uint64_t *b,
                    size_t rows, size_t inner, size_t cols, bool add);

    /*
     * Passes over elements. An output may be one of the inputs in the same place; else they lie
     * apart. A wire (packed elements or fields) may lie anywhere and no byte past it is touched.
     * Work is shared at multiples of 64 elements: whole words of bits, whole bytes of fields.
     */

    const char *passes; /* of what follows: "c", "avx2", "avx512" */

    /** Fields of 1..64 bits without gaps, least significant bit first: ring_field_bytes(). */
    void (*pack_fields)(uint8_t *to, const uint64_t *from, size_t count, unsigned int bits);
    void (*unpack_fields)(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits);

    /** hat = share + mask, and packed to @wire. */
    void (*hide)(uint64_t *hat, uint8_t *wire, const uint64_t *share, const uint64_t *mask,
                 size_t count, unsigned int ring);

    /**
     * hat = ((share + add) mod 2^ring >> shift) + mask modulo 2^bits, and packed to @wire in fields
     * of @bits; ring and bits in 1..64.
     */
    void (*hide_cut)(uint64_t *hat, uint8_t *wire, const uint64_t *share, const uint64_t *mask,
                     size_t count, uint64_t add, unsigned int shift, unsigned int ring,
                     unsigned int bits);

    /**
     * Open what hide_cut() hid, with the peer's @wire: y = hat + theirs modulo 2^bits has wrapped
     * unless c = 1 - msb(y). hat = y - 2^(bits-2);
     * mask = mask mod 2^bits - 2^bits b - c 2^bits m. bits in 2..63.
     */
    void (*reveal_cut)(uint64_t *hat, uint64_t *mask, const uint8_t *wire, const uint64_t *b,
                       const uint64_t *m, size_t count, unsigned int bits);

    /** z += 2^bits c q, with the c of a @hat from reveal_cut(). */
    void (*add_carried)(uint64_t *z, const uint64_t *hat, const uint64_t *q, size_t count,
                        unsigned int bits);

    /**
     * Bit i of e = bit i of a XOR NOT bit (ring - 1) of x[i] + add: ring_bit_words() each. Bits
     * past @count are those of a.
     */
    void (*wrap_bits)(uint64_t *e, const uint64_t *x, const uint64_t *a, size_t count, uint64_t add,
                      unsigned int ring);

    /**
     * The end of a truncation (ops/truncate.c): y of x, of the bits @mine, @sum and @a and of the
     * correction @c. @first: 1 at party 0, else 0. Right modulo 2^(ring - shift + k) where c is
     * right modulo 2^k.
     */
    void (*truncate)(uint64_t *y, const uint64_t *x, const uint64_t *mine, const uint64_t *sum,
                     const uint64_t *a, const uint64_t *c, size_t count, uint64_t add,
                     unsigned int shift, unsigned int ring, unsigned int first);

    /** z = corr + x (party x - 2 r). */
    void (*square)(uint64_t *z, const uint64_t *corr, const uint64_t *x, const uint64_t *r,
                   size_t count, unsigned int party);

    /** The same, summed over each of @rows rows of @cols: one z and one corr a row. */
    void (*square_sum)(uint64_t *z, const uint64_t *corr, const uint64_t *x, const uint64_t *r,
                       size_t rows, size_t cols, unsigned int party);

    /** z = corr + x (party y - ry) - rx y, with one y a row of @cols. */
    void (*mul_rows)(uint64_t *z, const uint64_t *corr, const uint64_t *x, const uint64_t *rx,
                     const uint64_t *y, const uint64_t *ry, size_t rows, size_t cols,
                     unsigned int party);

    /** y = cols x - the sum of the row. */
    void (*centre)(uint64_t *y, const uint64_t *x, size_t rows, size_t cols);

    /** One y a row. */
    void (*row_sum)(uint64_t *y, const uint64_t *x, size_t rows, size_t cols);

    /**
     * ret[c] = the sum of table[j * cols + c] where bit j of @hot is one. @rows is a multiple of
     * 64, @cols 1..4. CT: the whole table is read; hot bits only mask.
     */
    void (*masked_sum)(uint64_t *ret, const uint64_t *table, const uint64_t *hot, size_t rows,
                       size_t cols);

    /**
     * Bit i of bits[d * bit_stride ..] = bit v of tables[d * table_stride + i / spread], where v is
     * the digit (4 bits) @first + d of x[i]; d < @digits, i < @count; bits past @count are 0.
     */
    void (*look_up)(uint64_t *bits, size_t bit_stride, const uint16_t *tables, size_t table_stride,
                    const uint64_t *x, size_t count, unsigned int first, unsigned int digits,
                    size_t spread);
};

/** What this CPU has, as a set of enum kernels_feature. */
unsigned int kernels_cpu_features(void);

/** The table for a set of features (masked for tests; kernels_cpu_features() otherwise). */
struct kernels kernels_choose(unsigned int features);

/** The table for this CPU, made once. */
const struct kernels *kernels_here(void);

/** Words of a packed right-hand side of @inner x @cols. */
size_t kernels_right_words(size_t inner, size_t cols);

/** Pack b[i * @row_stride + j * @col_stride], the last panel padded with zeros. */
void kernels_pack_right(uint64_t *to, const uint64_t *b, size_t row_stride, size_t col_stride,
                        size_t inner, size_t cols);

/* One entry a file; called by kernels_choose() only. */
void kernels_fill_c(struct kernels *k);
void kernels_fill_avx2(struct kernels *k);

#endif
