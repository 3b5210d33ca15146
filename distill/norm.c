/* Residual, dropout and LayerNorm in one pass over a row, and sums along columns. */
#include "distill/kernels.h"

#include <tgmath.h>

#define COLUMN_BLOCK 64 /* columns that one thread sums: four cache lines of float */

/* z = residual + dropout(x + x_bias), into @z; its first element is number @index. */
static void gather_row(const real *x, const real *x_bias, const real *residual, struct dropout drop,
                       uint32_t index, size_t columns, real *restrict z)
{
    if (!residual)
        for (size_t i = 0; i < columns; i++)
            z[i] = x[i];
    else if (!drop.threshold)
        for (size_t i = 0; i < columns; i++)
            z[i] = residual[i] + x[i] + x_bias[i];
    else
        for (size_t i = 0; i < columns; i++)
            z[i] = residual[i] + (x[i] + x_bias[i]) * dropout_factor(drop, index + (uint32_t)i);
}

void kernel_norm(const struct norm *n, const real *x, const real *x_bias, const real *residual,
                 struct dropout drop, size_t rows, size_t columns, real *ret_y)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        size_t at = r * columns;
        real *restrict hat = n->hat + at, *restrict y = ret_y + at;
        real sum = 0, squares = 0, mean, inverse;

        gather_row(x + at, x_bias, residual ? residual + at : NULL, drop, (uint32_t)at, columns,
                   hat);
        for (size_t i = 0; i < columns; i++)
            sum += hat[i];
        mean = sum / (real)columns;
        for (size_t i = 0; i < columns; i++)
            squares += (hat[i] - mean) * (hat[i] - mean);
        inverse = 1 / sqrt(squares / (real)columns + n->eps);
        n->inverse[r] = inverse;
        for (size_t i = 0; i < columns; i++) {
            hat[i] = (hat[i] - mean) * inverse;
            y[i] = hat[i] * n->gain[i] + n->bias[i];
        }
    }
}

/* Sums of dy hat and of dy along the columns from @first to before @end. */
static void column_sums(const real *dy, const real *hat, size_t rows, size_t columns, size_t first,
                        size_t end, real *d_gain, real *d_bias)
{
    real gain[COLUMN_BLOCK] = {0}, bias[COLUMN_BLOCK] = {0};
    size_t count = end - first;

    for (size_t r = 0; r < rows; r++) {
        const real *d = dy + r * columns + first;
        const real *h = hat ? hat + r * columns + first : NULL;

        for (size_t i = 0; i < count; i++)
            bias[i] += d[i];
        for (size_t i = 0; h && i < count; i++)
            gain[i] += d[i] * h[i];
    }
    for (size_t i = 0; i < count; i++)
        d_bias[first + i] += bias[i];
    for (size_t i = 0; hat && i < count; i++)
        d_gain[first + i] += gain[i];
}

void kernel_norm_back(const struct norm *n, size_t rows, size_t columns, real *dy, real *d_gain,
                      real *d_bias)
{
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < columns; first += COLUMN_BLOCK)
        column_sums(dy, n->hat, rows, columns, first, MIN(first + COLUMN_BLOCK, columns), d_gain,
                    d_bias);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        const real *restrict hat = n->hat + r * columns;
        real *restrict d = dy + r * columns;
        real sum = 0, along = 0;

        for (size_t i = 0; i < columns; i++) {
            d[i] *= n->gain[i];
            sum += d[i];
            along += d[i] * hat[i];
        }
        sum /= (real)columns;
        along /= (real)columns;
        for (size_t i = 0; i < columns; i++)
            d[i] = (d[i] - sum - hat[i] * along) * n->inverse[r];
    }
}

void kernel_dropout(struct dropout drop, const real *x, size_t count, real *ret_y)
{
    if (!drop.threshold && x == ret_y)
        return;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        ret_y[i] = x[i] * dropout_factor(drop, (uint32_t)i);
}

void kernel_add_bias(real *x, const real *bias, size_t rows, size_t columns)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++)
            x[r * columns + i] += bias[i];
}

void kernel_bias_back(const real *dx, size_t rows, size_t columns, real *d_bias)
{
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < columns; first += COLUMN_BLOCK)
        column_sums(dx, NULL, rows, columns, first, MIN(first + COLUMN_BLOCK, columns), NULL,
                    d_bias);
}

void kernel_add(real *y, const real *x, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        y[i] += x[i];
}

void kernel_difference(const real *x, const real *y, size_t count, real scale, real *ret_d)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        ret_d[i] = scale * (x[i] - y[i]);
}
