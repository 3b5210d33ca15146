#include "transformer/metric.h"

#include <math.h>
#include <stdlib.h>

#define Z 1.959963984540054 /* the normal distribution's 97.5 % quantile */

static const char *const names[METRICS] = {
    [METRIC_ACCURACY] = "accuracy", [METRIC_F1] = "f1",
    [METRIC_MATTHEWS] = "matthews", [METRIC_PEARSON] = "pearson",
    [METRIC_SPEARMAN] = "spearman",
};

const char *metric_name(enum metric m)
{
    return names[m];
}

/* --- the metrics --- */

static double accuracy(const double given[], const double right[], size_t count)
{
    size_t hits = 0;

    for (size_t i = 0; i < count; i++)
        hits += given[i] == right[i];
    return (double)hits / (double)count;
}

static double f1(const double given[], const double right[], size_t count)
{
    size_t both = 0, either = 0;

    for (size_t i = 0; i < count; i++) {
        both += given[i] == 1 && right[i] == 1;
        either += (size_t)(given[i] == 1) + (size_t)(right[i] == 1);
    }
    return either ? 2 * (double)both / (double)either : 0;
}

static double mean(const double values[], size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum / (double)count;
}

static double pearson(const double x[], const double y[], size_t count)
{
    double x_mean = mean(x, count), y_mean = mean(y, count), xx = 0, yy = 0, xy = 0;

    for (size_t i = 0; i < count; i++) {
        xx += (x[i] - x_mean) * (x[i] - x_mean);
        yy += (y[i] - y_mean) * (y[i] - y_mean);
        xy += (x[i] - x_mean) * (y[i] - y_mean);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx) / sqrt(yy) : 0;
}

struct placed {
    double value;
    size_t at;
};

static int compare_placed(const void *a, const void *b)
{
    double x = ((const struct placed *)a)->value, y = ((const struct placed *)b)->value;

    return (x > y) - (x < y);
}

/* From 1 on; equal values share the mean of their ranks. */
static void rank(const double values[], size_t count, struct placed order[], double ret[])
{
    for (size_t i = 0; i < count; i++)
        order[i] = (struct placed){values[i], i};
    qsort(order, count, sizeof(*order), compare_placed);
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && order[to].value == order[from].value;)
            to++;
        for (size_t i = from; i < to; i++)
            ret[order[i].at] = (double)(from + 1 + to) / 2;
    }
}

static int spearman(const double x[], const double y[], size_t count, double *ret)
{
    struct placed *order = calloc(count, sizeof(*order));
    double *ranks = calloc(2 * count, sizeof(*ranks));
    int rc = order && ranks ? 0 : -ENOMEM;

    if (rc == 0) {
        rank(x, count, order, ranks);
        rank(y, count, order, ranks + count);
        *ret = pearson(ranks, ranks + count, count);
    }
    free(order);
    free(ranks);
    return rc;
}

int metric_compute(enum metric m, const double given[], const double right[], size_t count,
                   double *ret)
{
    switch (m) {
    case METRIC_ACCURACY:
        *ret = accuracy(given, right, count);
        return 0;
    case METRIC_F1:
        *ret = f1(given, right, count);
        return 0;
    case METRIC_MATTHEWS: /* of zeros and ones it is Pearson's */
    case METRIC_PEARSON:
        *ret = pearson(given, right, count);
        return 0;
    case METRIC_SPEARMAN:
        return spearman(given, right, count, ret);
    case METRICS:
        break;
    }
    return -EINVAL;
}

/* --- intervals --- */

/* Wilson 1927: the fractions p with |hits/n - p| <= z sqrt(p (1 - p) / n). */
void metric_wilson(size_t hits, size_t count, double ret[2])
{
    double n = (double)count, p = (double)hits / n, zz = Z * Z / n;
    double middle = p + zz / 2, half = Z * sqrt(p * (1 - p) / n + zz / (4 * n));

    ret[0] = hits ? (middle - half) / (1 + zz) : 0;
    ret[1] = hits < count ? (middle + half) / (1 + zz) : 1;
}

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int compare_values(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of sorted values, between two of them linearly. */
static double quantile(const double values[], size_t count, double part)
{
    double at = part * (double)(count - 1);
    size_t below = (size_t)at;
    double more = below + 1 < count ? values[below + 1] - values[below] : 0;

    return values[below] + (at - (double)below) * more;
}

static int bootstrap(enum metric m, const double given[], const double right[], size_t count,
                     double ret[2])
{
    double *sample = calloc(2 * count, sizeof(*sample)), values[METRIC_RESAMPLES];
    uint64_t random = 1;
    int rc = sample ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < METRIC_RESAMPLES; i++) {
        for (size_t j = 0; j < count; j++) {
            size_t at = draw(&random) % count;

            sample[j] = given[at];
            sample[count + j] = right[at];
        }
        rc = metric_compute(m, sample, sample + count, count, &values[i]);
    }
    free(sample);
    if (rc < 0)
        return rc;
    qsort(values, METRIC_RESAMPLES, sizeof(*values), compare_values);
    ret[0] = quantile(values, METRIC_RESAMPLES, 0.025);
    ret[1] = quantile(values, METRIC_RESAMPLES, 0.975);
    return 0;
}

int metric_interval(enum metric m, const double given[], const double right[], size_t count,
                    double ret[2])
{
    size_t hits = 0;

    if (m != METRIC_ACCURACY)
        return bootstrap(m, given, right, count, ret);
    for (size_t i = 0; i < count; i++)
        hits += given[i] == right[i];
    metric_wilson(hits, count, ret);
    return 0;
}
