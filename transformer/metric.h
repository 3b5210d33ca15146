/*
 * metric: how well answers fit the right ones, as GLUE counts it: accuracy, F1 of label 1,
 * Matthews' correlation, Pearson's, Spearman's with ties; each with a 95 % interval.
 *
 * Answers are numbers of labels or scores, as doubles. All is as scikit-learn and SciPy define it
 * (tests/data/metric.tsv), their degenerate cases included: F1 without a positive is 0, and so is a
 * correlation of which a side is constant (SciPy says NaN there).
 */
#ifndef TRANSFORMER_METRIC_H
#define TRANSFORMER_METRIC_H

#include "base/base.h"

enum metric {
    METRIC_ACCURACY,
    METRIC_F1,
    METRIC_MATTHEWS, /* of two labels, 0 and 1 */
    METRIC_PEARSON,
    METRIC_SPEARMAN,
    METRICS,
};

/** "accuracy", "f1", "matthews", "pearson", "spearman". */
const char *metric_name(enum metric m);

/** Of @count >= 1 answers @given where @right was right. -ENOMEM (Spearman alone allocates). */
MUST_CHECK int metric_compute(enum metric m, const double given[], const double right[],
                              size_t count, double *ret);

/**
 * A 95 % interval about it: Wilson's for accuracy; else the 2.5 % and 97.5 % quantiles of
 * METRIC_RESAMPLES resamples of the rows with replacement (bootstrap), the same in every run.
 * -ENOMEM.
 */
#define METRIC_RESAMPLES 1000
MUST_CHECK int metric_interval(enum metric m, const double given[], const double right[],
                               size_t count, double ret[2]);

/** Wilson's 95 % interval of a fraction @hits of @count >= 1. */
void metric_wilson(size_t hits, size_t count, double ret[2]);

#endif
