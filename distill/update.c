/* What an optimiser does to every parameter. */
#include "distill/kernels.h"

#include <tgmath.h>

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
