/*
 * kernels: the inner loops, one implementation a CPU feature, behind one table.
 *
 * Plain C fills every slot and is the truth; a CPU feature overwrites slots. CT: timing and
 * addresses depend on shapes only.
 *
 * The ring product is the one that matters (mpc/gemm/): each variant has a form of its own for the
 * packed right-hand side, so a matrix is multiplied by the table that packed it.
 */
#ifndef MPC_KERNELS_H
#define MPC_KERNELS_H

#include "mpc/ring.h"

enum kernels_feature {
    KERNELS_AVX2 = 1u << 0,
    KERNELS_AVX512 = 1u << 1, /* F, BW, DQ and VL */
    KERNELS_VBMI = 1u << 2,
    KERNELS_IFMA = 1u << 3,
    KERNELS_VNNI = 1u << 4,
    KERNELS_AMX_INT8 = 1u << 5, /* with AMX-TILE, and the kernel's leave to use tiles */
};

/* What a product needs besides its operands, whatever the shape: each thread has one, 64-byte
 * aligned. Left-hand sides are packed there, block by block. */
#define KERNELS_SCRATCH_BYTES ((size_t)1 << 20)

/* A packed right-hand side starts at a multiple of this. */
#define KERNELS_ALIGN 64

struct kernels {
    const char *isa;     /* of the product: "c", "avx2", "avx512", "ifma", "amx" */
    const char *refused; /* the best variant that gave a wrong product here; NULL: none did */

    /** @to: ring_bytes(@count) bytes; @from: @count elements. */
    void (*pack)(uint8_t *to, const uint64_t *from, size_t count, unsigned int ring);

    void (*unpack)(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring);

    /** Add the unpacked elements to @to. */
    void (*unpack_add)(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring);

    /** Bytes of a packed right-hand side of @inner x @cols in a ring of @ring bits, 1..64. */
    size_t (*right_bytes)(size_t inner, size_t cols, unsigned int ring);

    /** Pack b[i * @row_stride + j * @col_stride] into all right_bytes() of @to. */
    void (*pack_right)(void *to, const uint64_t *b, size_t row_stride, size_t col_stride,
                       size_t inner, size_t cols, unsigned int ring);

    /**
     * c (rows x cols, row stride @ldc) = or += a (rows x inner, row stride @lda) * b modulo
     * 2^@ring, where @right is b (inner x cols) as pack_right() makes it for the same ring. The
     * bits of c above the ring are unspecified, those of a and b ignored. Any size from 0 on.
     */
    void (*product)(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, const void *right,
                    size_t rows, size_t inner, size_t cols, unsigned int ring, bool add,
                    void *scratch);

    /** Multiply @count pairs of tiles without a load (16 x 64 x 16 bytes each): what the product
     *  could reach at best. NULL but for "amx". */
    void (*dots)(size_t count);

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

/** What this CPU and its operating system have, as a set of enum kernels_feature. */
unsigned int kernels_cpu_features(void);

/**
 * The table for a set of features, which this CPU must have: the best variant of the product whose
 * features are all there, and which multiplies as C does in a trial made now.
 */
struct kernels kernels_choose(unsigned int features);

/** Leave out what is not in @features from kernels_here(), before its first call. */
void kernels_mask(unsigned int features);

/** The table for this CPU, made once. */
const struct kernels *kernels_here(void);

/** The features with which kernels_choose() takes the variant @isa, and no better one; -EINVAL for
 *  a name that is none. */
MUST_CHECK int kernels_isa_features(const char *isa, unsigned int *ret_features);

/** No variant needs more for a packed right-hand side, in any ring. */
size_t kernels_right_bytes_max(size_t inner, size_t cols);

/* One entry a file, each overwrites slots; called by kernels_choose() only. */
void kernels_fill_c(struct kernels *k);
void kernels_fill_gemm_c(struct kernels *k);
void kernels_fill_gemm_avx2(struct kernels *k);
void kernels_fill_gemm_avx512(struct kernels *k);
void kernels_fill_gemm_ifma(struct kernels *k);
void kernels_fill_gemm_amx(struct kernels *k);

#endif
