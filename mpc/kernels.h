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
