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
