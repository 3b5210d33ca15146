/* curves: what a course of training wrote into its log.tsv, as points of curves. */
#ifndef APPLIANCE_CURVES_H
#define APPLIANCE_CURVES_H

#include "base/base.h"

#include <stddef.h>

#define CURVES_STAGES_MAX 8
#define CURVES_NAME_MAX   32

enum curve { CURVE_LOSS, CURVE_METRIC, CURVE_RATE, CURVES };

/* Of a step, or of an epoch; NaN is what its line does not say. */
struct curve_point {
    double epochs; /* of all stages, up to here */
    double value[CURVES];
};

struct curves {
    char metric[CURVES_NAME_MAX];
    struct curve_stage {
        char name[CURVES_NAME_MAX];
        double from; /* epochs of the stages before */
    } stages[CURVES_STAGES_MAX];
    size_t stage_count, count;
    struct curve_point *points; /* (count): in the order of the log */
};

/** -EINVAL with the line for what is no log of a course. The caller calls curves_free(). */
MUST_CHECK int curves_read(const char *path, struct curves *ret, struct err *err);

/** Frees what @c owns; zeroed is nothing. */
void curves_free(struct curves *c);

#endif
