/*
 * kernels: the passes over elements between matrix products, forward and backward.
 *
 * All matrices are row-major and without gaps. Rows or columns are shared out to the threads of
 * OpenMP in a way that leaves every sum in one thread and one order, so results do not depend on
 * the number of threads. Gradients of parameters are added to what is there; gradients of
 * activations overwrite. These files are compiled with -ffast-math, so no kernel tests for a NaN or
 * an infinity; what went wrong shows in kernel_square_sum() of the gradients.
 */
#ifndef DISTILL_KERNELS_H
#define DISTILL_KERNELS_H

#include "distill/dropout.h"
#include "transformer/config.h"

/** y = f(x + bias), and x becomes x + bias: x, y (rows, columns), bias (columns). */
void kernel_activation(enum hidden_act act, real *x, const real *bias, size_t rows, size_t columns,
                       real *ret_y);

/** dy becomes dx = dy f'(x). */
void kernel_activation_back(enum hidden_act act, const real *x, size_t count, real *dy);

/** Scores into probabilities: p (rows, n) from s (rows, n). On the calling thread. */
void kernel_normalise(enum softmax_act act, const real *s, size_t rows, size_t n, real *ret_p);

/** dp becomes ds, by s and p of kernel_normalise(). On the calling thread. */
void kernel_normalise_back(enum softmax_act act, const real *s, const real *p, size_t rows,
                           size_t n, real *dp);

/* Rows through a residual and LayerNorm: y = hat gain + bias, hat = (z - mean z) / deviation z,
 * where z = residual + dropout(x + x_bias); without a residual, z = x. */
struct norm {
    const real *gain, *bias; /* (columns) */
    real eps;
    real *hat;     /* (rows, columns) */
    real *inverse; /* (rows): 1 / deviation */
};

/** x (rows, columns), x_bias (columns) and residual (rows, columns), which may both be NULL. */
void kernel_norm(const struct norm *n, const real *x, const real *x_bias, const real *residual,
                 struct dropout drop, size_t rows, size_t columns, real *ret_y);

/** dy becomes dz; gradients of gain and bias are added at @d_gain, @d_bias. */
void kernel_norm_back(const struct norm *n, size_t rows, size_t columns, real *dy, real *d_gain,
                      real *d_bias);

/** y = dropout(x), or its gradient; y may be x. */
void kernel_dropout(struct dropout drop, const real *x, size_t count, real *ret_y);

/** x += bias in every row. */
void kernel_add_bias(real *x, const real *bias, size_t rows, size_t columns);

/** What every row of x adds to the bias's gradient. */
void kernel_bias_back(const real *dx, size_t rows, size_t columns, real *d_bias);

/** Rounded to the mantissa of bfloat16, as such or as floats. Not for a NaN or an infinity. */
void kernel_narrow(const float *x, size_t count, uint16_t *ret);
void kernel_round(const float *x, size_t count, float *ret);

/** y += x. */
void kernel_add(real *y, const real *x, size_t count);

/** d = scale (x - y). */
void kernel_difference(const real *x, const real *y, size_t count, real scale, real *ret_d);

/** Sum of squares, in blocks of fixed size: the same for any number of threads. */
double kernel_square_sum(const real *x, size_t count);

/** Sum of the squares of what of x is outside of -limit to limit, likewise; and where @d is not
 *  NULL, scale times what is outside is added to it. */
double kernel_excess(const real *x, size_t count, real limit, real scale, real *d);

/** The same of the rows that a LayerNorm was given, each less its mean; @dz is a gradient by what
 *  it was given. */
double kernel_norm_excess(const struct norm *n, size_t rows, size_t columns, real limit, real scale,
                          real *dz);

/** One step of AdamW on values with gradients @g: @m, @v are its moments. */
struct adamw {
    double rate, decay;        /* p -= rate decay p, before the step proper */
    double beta1, beta2, eps;  /* as in Loshchilov and Hutter */
    double correct1, correct2; /* 1 - beta^steps: the moments begin at zero */
    double scale;              /* of the gradient: clipping */
};
void kernel_adamw(const struct adamw *a, real *p, const real *g, real *m, real *v, size_t count);

#endif
