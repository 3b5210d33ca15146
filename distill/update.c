/* What an optimiser does to every parameter. */
#include "distill/kernels.h"

#include <tgmath.h>

#define BLOCK 8192 /* elements: a partial sum each, so that the order of additions is fixed */

static double block_square_sum(const real *x, size_t count)
{
    real sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    return (double)sum;
}

double kernel_square_sum(const real *x, size_t count)
{
    enum { GROUP = 256 };
    double part[GROUP], sum = 0;

    for (size_t first = 0; first < count; first += (size_t)GROUP * BLOCK) {
        size_t blocks = MIN((count - first + BLOCK - 1) / BLOCK, (size_t)GROUP);

#pragma omp parallel for schedule(static)
        for (size_t b = 0; b < blocks; b++) {
            size_t at = first + b * BLOCK;

            part[b] = block_square_sum(x + at, MIN(count - at, (size_t)BLOCK));
        }
        for (size_t b = 0; b < blocks; b++)
            sum += part[b];
    }
    return sum;
}

void kernel_adamw(const struct adamw *a, real *p, const real *g, real *m, real *v, size_t count)
{
    real beta1 = (real)a->beta1, beta2 = (real)a->beta2, scale = (real)a->scale;
    real keep = (real)(1 - a->rate * a->decay), eps = (real)a->eps;
    real step = (real)(a->rate / a->correct1), root = (real)(1 / sqrt(a->correct2));

#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) {
        real d = g[i] * scale;

        m[i] = beta1 * m[i] + (1 - beta1) * d;
        v[i] = beta2 * v[i] + (1 - beta2) * d * d;
        p[i] = p[i] * keep - step * m[i] / (sqrt(v[i]) * root + eps);
    }
}
