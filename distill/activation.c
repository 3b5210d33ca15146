/* Activations, and scores into probabilities. */
#include "distill/kernels.h"

#include <math.h>
#include <tgmath.h>

#define BLOCK       2048 /* elements: of x, y and the code between them in the first cache */
#define SCORE_SHIFT 5    /* c of 2quad's (s + c)^2 */
#define RELU_EPS    1e-12

#define GELU_SLOPE ((real)(M_2_SQRTPI * M_SQRT1_2)) /* sqrt(2 / pi) */
#define GELU_CUBE  ((real)0.044715)

/* Each function and its derivative on one block: a loop without a branch, for the vectoriser. */
#define EACH(i, count) for (size_t i = 0; i < (count); i++)

static void forward(enum hidden_act act, const real *restrict x, size_t count, real *restrict y)
{
    switch (act) {
    case HIDDEN_GELU:
        EACH(i, count)
        y[i] = x[i] * (real)0.5 * (1 + erf(x[i] * (real)M_SQRT1_2));
        return;
    case HIDDEN_GELU_NEW:
        EACH(i, count)
        y[i] = x[i] * (real)0.5 * (1 + tanh(GELU_SLOPE * (x[i] + GELU_CUBE * x[i] * x[i] * x[i])));
        return;
    case HIDDEN_RELU:
        EACH(i, count)
        y[i] = x[i] > 0 ? x[i] : 0;
        return;
    case HIDDEN_QUAD:
        EACH(i, count)
        y[i] = (real)0.5 + x[i] * ((real)0.25 + x[i] * (real)0.125);
        return;
    case HIDDEN_TANH:
        EACH(i, count)
        y[i] = tanh(x[i]);
        return;
    case HIDDEN_ACTS:
        return;
    }
}

static void gelu_back(const real *restrict x, size_t count, real *restrict dy)
{
    const real density = (real)(0.5 * M_2_SQRTPI * M_SQRT1_2); /* 1 / sqrt(2 pi) */

    EACH(i, count)
    dy[i] *= (real)0.5 * (1 + erf(x[i] * (real)M_SQRT1_2)) +
             x[i] * density * exp((real)-0.5 * x[i] * x[i]);
}

static void gelu_new_back(const real *restrict x, size_t count, real *restrict dy)
{
    EACH(i, count)
    {
        real t = tanh(GELU_SLOPE * (x[i] + GELU_CUBE * x[i] * x[i] * x[i]));
        real slope = GELU_SLOPE * (1 + 3 * GELU_CUBE * x[i] * x[i]);

        dy[i] *= (real)0.5 * (1 + t + x[i] * (1 - t * t) * slope);
    }
}

static void tanh_back(const real *restrict x, size_t count, real *restrict dy)
{
    EACH(i, count)
    {
        real t = tanh(x[i]);

        dy[i] *= 1 - t * t;
    }
}

static void backward(enum hidden_act act, const real *restrict x, size_t count, real *restrict dy)
{
    switch (act) {
    case HIDDEN_GELU:
        gelu_back(x, count, dy);
        return;
    case HIDDEN_GELU_NEW:
        gelu_new_back(x, count, dy);
        return;
    case HIDDEN_RELU:
        EACH(i, count)
        dy[i] = x[i] > 0 ? dy[i] : 0;
        return;
    case HIDDEN_QUAD:
        EACH(i, count)
        dy[i] *= (real)0.25 * (x[i] + 1);
        return;
    case HIDDEN_TANH:
        tanh_back(x, count, dy);
        return;
    case HIDDEN_ACTS:
        return;
    }
}

void kernel_activation(enum hidden_act act, real *x, const real *bias, size_t rows, size_t columns,
                       real *ret_y)
{
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        real *row = x + r * columns;

        EACH(i, columns)
        row[i] += bias[i];
        forward(act, row, columns, ret_y + r * columns);
    }
}

void kernel_activation_back(enum hidden_act act, const real *x, size_t count, real *dy)
{
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < count; at += BLOCK)
        backward(act, x + at, MIN(count - at, (size_t)BLOCK), dy + at);
}

static void softmax_row(const real *restrict s, size_t n, real *restrict p)
{
    real most = s[0], sum = 0;

    EACH(i, n)
    most = s[i] > most ? s[i] : most;
    EACH(i, n)
    p[i] = exp(s[i] - most);
    EACH(i, n)
    sum += p[i];
    EACH(i, n)
    p[i] *= 1 / sum;
}

/* relu(s) + eps / n and (s + c)^2, over their sums. The sums are found again where the backward
 * pass wants them. */
static real relu_row_sum(const real *s, size_t n)
{
    real sum = (real)RELU_EPS;

    EACH(i, n)
    sum += s[i] > 0 ? s[i] : 0;
    return sum;
}

static real quad_row_sum(const real *s, size_t n)
{
    real sum = 0;

    EACH(i, n)
    sum += (s[i] + SCORE_SHIFT) * (s[i] + SCORE_SHIFT);
    return sum;
}

void kernel_normalise(enum softmax_act act, const real *s, size_t rows, size_t n, real *ret_p)
{
    for (size_t r = 0; r < rows; r++, s += n, ret_p += n) {
        if (act == SOFTMAX_EXP) {
            softmax_row(s, n, ret_p);
        } else if (act == SOFTMAX_2RELU) {
            real scale = 1 / relu_row_sum(s, n), floor = (real)(RELU_EPS / (double)n);

            EACH(i, n)
            ret_p[i] = ((s[i] > 0 ? s[i] : 0) + floor) * scale;
        } else {
            real scale = 1 / quad_row_sum(s, n);

            EACH(i, n)
            ret_p[i] = (s[i] + SCORE_SHIFT) * (s[i] + SCORE_SHIFT) * scale;
        }
    }
}

/* With p_i = f(s_i) / S: ds_i = f'(s_i) / S (dp_i - sum_j dp_j p_j); for exp, f' / S is p. */
void kernel_normalise_back(enum softmax_act act, const real *s, const real *p, size_t rows,
                           size_t n, real *dp)
{
    for (size_t r = 0; r < rows; r++, s += n, p += n, dp += n) {
        real mean = 0;

        EACH(i, n)
        mean += dp[i] * p[i];
        if (act == SOFTMAX_EXP) {
            EACH(i, n)
            dp[i] = (dp[i] - mean) * p[i];
        } else if (act == SOFTMAX_2RELU) {
            real scale = 1 / relu_row_sum(s, n);

            EACH(i, n)
            dp[i] = s[i] > 0 ? (dp[i] - mean) * scale : 0;
        } else {
            real scale = 2 / quad_row_sum(s, n);

            EACH(i, n)
            dp[i] = (dp[i] - mean) * (s[i] + SCORE_SHIFT) * scale;
        }
    }
}
