/*
 * product: matrix products, by oneDNN, on the threads of OpenMP.
 *
 * Called from within a parallel region a product runs on the calling thread alone. The same
 * product on the same number of threads gives the same bits.
 */
#ifndef DISTILL_PRODUCT_H
#define DISTILL_PRODUCT_H

#include "base/base.h"
#include "distill/real.h"

/* A row-major matrix as a product reads it: @stride elements from row to row; where @transposed,
 * its rows are the columns of what is multiplied. */
struct matrix {
    const real *at;
    size_t stride;
    bool transposed;
};

/**
 * C = alpha A B + beta C: A (rows, inner), B (inner, columns), C (rows, columns) with @stride
 * elements from row to row. False when oneDNN has no memory; C is then undefined.
 */
MUST_CHECK bool product(size_t rows, size_t columns, size_t inner, real alpha, struct matrix a,
                        struct matrix b, real beta, real *c, size_t stride);

#endif
