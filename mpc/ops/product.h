/* What matrix product, elementwise product and square share. */
#ifndef MPC_OPS_PRODUCT_H
#define MPC_OPS_PRODUCT_H

#include "mpc/op.h"

/** 0 when @operand is a masked wire of @v, else -EINVAL and why. */
MUST_CHECK int product_need_masked(const struct variant *v, uint32_t operand, struct err *err);

/** And a whole one. */
MUST_CHECK int product_need_whole(const struct variant *v, uint32_t operand, struct err *err);

/** Add a correction's second half, which counts where the carry of cut wire @w is 1, c q 2^cut: of
 *  @width elements of @hat and @q to one of @z. */
void product_add_carried(uint64_t *z, const struct wire *w, const uint64_t *hat, const uint64_t *q,
                         size_t count, size_t width);

/** The fraction bits of a product of two scales, or -EINVAL past what a wire can say. */
MUST_CHECK int product_frac(int a, int b, int8_t *ret, struct err *err);

#endif
