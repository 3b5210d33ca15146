#include "distill/loss.h"

#include <math.h>

/* log of the sum of exp of a row, and the probabilities. */
static double log_sum(const real *logits, size_t labels, double *ret_p)
{
    double most = -INFINITY, sum = 0;

    for (size_t i = 0; i < labels; i++)
        most = fmax(most, logits[i]);
    for (size_t i = 0; i < labels; i++)
        sum += ret_p[i] = exp((double)logits[i] - most);
    for (size_t i = 0; i < labels; i++)
        ret_p[i] /= sum;
    return most + log(sum);
}

double loss_labels(const real *logits, const double *right, size_t sequences, size_t labels,
                   size_t all, real *ret_gradient)
{
    double p[MODEL_LABELS_MAX], n = (double)all, loss = 0;

    for (size_t s = 0; s < sequences; s++, logits += labels, ret_gradient += labels) {
        size_t label = (size_t)right[s];

        loss += log_sum(logits, labels, p) - (double)logits[label];
        for (size_t i = 0; i < labels; i++)
            ret_gradient[i] = (real)((p[i] - (i == label)) / n);
    }
    return loss / n;
}

double loss_scores(const real *logits, const double *right, size_t sequences, size_t all,
                   real *ret_gradient)
{
    double n = (double)all, loss = 0;

    for (size_t s = 0; s < sequences; s++) {
        double off = (double)logits[s] - right[s];

        loss += off * off;
        ret_gradient[s] = (real)(2 * off / n);
    }
    return loss / n;
}

double loss_teacher(const real *logits, const real *teacher, size_t sequences, size_t labels,
                    size_t all, real *ret_gradient)
{
    double p[MODEL_LABELS_MAX], q[MODEL_LABELS_MAX], n = (double)all, loss = 0;

    for (size_t s = 0; s < sequences; s++) {
        double sum = log_sum(logits, labels, p);

        log_sum(teacher, labels, q);
        for (size_t i = 0; i < labels; i++) {
            loss += q[i] * (sum - (double)logits[i]);
            ret_gradient[i] = (real)((p[i] - q[i]) / n);
        }
        logits += labels;
        teacher += labels;
        ret_gradient += labels;
    }
    return loss / n;
}

double loss_square(const real *x, const real *y, size_t count, size_t all, real *ret_gradient)
{
    double n = (double)all;

    kernel_difference(x, y, count, (real)(2 / n), ret_gradient);
    return kernel_square_sum(ret_gradient, count) * n / 4;
}
