/* What matrix product, elementwise product and square share. */
#ifndef MPC_OPS_PRODUCT_H
#define MPC_OPS_PRODUCT_H

#include "mpc/op.h"

/** 0 when @operand is a masked wire of @v, else -EINVAL and why. */
MUST_CHECK int product_need_masked(const struct variant *v, uint32_t operand, struct err *err);

/** The fraction bits of a product of two scales, or -EINVAL past what a wire can say. */
MUST_CHECK int product_frac(int a, int b, int8_t *ret, struct err *err);

#endif
