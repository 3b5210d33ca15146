/*
 * Histograms of durations: buckets whose bounds grow by an eighth, from 1 ns to 2^40 ns (18
 * minutes), so that a quantile is at most an eighth too large. Fixed in size; no lock.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include "base/base.h"

#define HISTOGRAM_BUCKETS (8 * 38 + 8)

struct histogram {
    uint64_t count, sum_ns;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);

/** Add all of @from to @to. */
void histogram_merge(struct histogram *to, const struct histogram *from);

/** The upper bound of the bucket in which the @permille-th of 1000 lies; 0 of nothing. */
uint64_t histogram_quantile(const struct histogram *h, unsigned int permille);

/** How many of them were below 2^@power ns, exactly; @power is 3 to 40. */
uint64_t histogram_below(const struct histogram *h, unsigned int power);

#endif
