/*
 * narrow: matrix products of numbers of bfloat16's precision, with sums in f32.
 *
 * Both factors are rounded to 8 bits of mantissa, to nearest, ties to even. oneDNN multiplies them
 * as bfloat16 where it can (AVX-512, AMX); where it cannot they stay floats, and are multiplied as
 * such: the product of two is exact in f32, so that both compute the same but for the order of
 * additions.
 */
#ifndef DISTILL_NARROW_H
#define DISTILL_NARROW_H

#include "distill/product.h"

enum precision { PRECISION_F32, PRECISION_BF16 };

struct narrow;

/** -ENOMEM. The caller frees. */
MUST_CHECK int narrow_new(struct narrow **ret, struct err *err);
void narrow_free(struct narrow *n);

/** Whether this CPU multiplies them as bfloat16. */
bool narrow_is_native(const struct narrow *n);

/** Rows that C must have room for: batches differ in tokens, and oneDNN makes code for each shape,
 *  so rows are rounded up, by a sixteenth at most or to a multiple of 16. */
size_t narrow_room(size_t rows);

/** product(), so rounded, of matrices without gaps; @beta is 0 or 1. Where A is not transposed, C
 * has room for narrow_room(rows) rows, and those beyond @rows are undefined. Not from several
 * threads. */
MUST_CHECK bool narrow_product(struct narrow *n, size_t rows, size_t columns, size_t inner,
                               struct matrix a, struct matrix b, real beta, real *c);

#endif
