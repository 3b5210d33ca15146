/* Sums over many elements, in blocks of fixed size: the same for any number of threads. */
#include "distill/kernels.h"

#include <tgmath.h>

#define BLOCK 8192 /* elements */

/* One pass over values; where there is @d, it also adds to a gradient. */
struct pass {
    const real *x;
    const struct norm *norm; /* of rows of @columns, else NULL */
    size_t columns;
    real limit, scale;
    real *d;
};

typedef real (*block_sum)(const struct pass *p, size_t at, size_t count);

static double sum_blocks(block_sum sum_of, const struct pass *p, size_t count, size_t block)
{
    enum { GROUP = 256 };
    double part[GROUP], sum = 0;

    for (size_t first = 0; first < count; first += (size_t)GROUP * block) {
        size_t blocks = MIN((count - first + block - 1) / block, (size_t)GROUP);

#pragma omp parallel for schedule(static)
        for (size_t b = 0; b < blocks; b++) {
            size_t at = first + b * block;

            part[b] = (double)sum_of(p, at, MIN(count - at, block));
        }
        for (size_t b = 0; b < blocks; b++)
            sum += part[b];
    }
    return sum;
}

static real squares(const struct pass *p, size_t at, size_t count)
{
    const real *x = p->x + at;
    real sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    return sum;
}

double kernel_square_sum(const real *x, size_t count)
{
    const struct pass p = {.x = x};

    return sum_blocks(squares, &p, count, BLOCK);
}

/* By how much x is outside of -limit to limit. */
static inline real excess(real x, real limit)
{
    real inside = x > limit ? limit : x;

    return x - (inside < -limit ? -limit : inside);
}

static real excesses(const struct pass *p, size_t at, size_t count)
{
    const real *x = p->x + at;
    real sum = 0;

    for (size_t i = 0; i < count; i++) {
        real e = excess(x[i], p->limit);

        sum += e * e;
    }
    for (size_t i = 0; p->d && i < count; i++)
        p->d[at + i] += p->scale * excess(x[i], p->limit);
    return sum;
}

double kernel_excess(const real *x, size_t count, real limit, real scale, real *d)
{
    const struct pass p = {.x = x, .limit = limit, .scale = scale, .d = d};

    return sum_blocks(excesses, &p, count, BLOCK);
}

/* Of one row, z less its mean, which is hat times the deviation. */
static real row_excess(const struct pass *p, size_t at, size_t count)
{
    const real *hat = p->norm->hat + at;
    real deviation = 1 / p->norm->inverse[at / p->columns], sum = 0, mean = 0;

    for (size_t i = 0; i < count; i++) {
        real e = excess(hat[i] * deviation, p->limit);

        sum += e * e;
        mean += e;
    }
    mean /= (real)count;
    for (size_t i = 0; p->d && i < count; i++)
        p->d[at + i] += p->scale * (excess(hat[i] * deviation, p->limit) - mean);
    return sum;
}

double kernel_norm_excess(const struct norm *n, size_t rows, size_t columns, real limit, real scale,
                          real *dz)
{
    const struct pass p = {.norm = n, .columns = columns, .limit = limit, .scale = scale, .d = dz};

    return sum_blocks(row_excess, &p, rows * columns, columns);
}
