/*
 * ranges: what a model's values reach on sample text, as the float reference computes them.
 *
 * The compiler picks scales and ranges from these with a margin on both sides, RANGES_MARGIN_BITS
 * powers of two, or what the number format has room for. A value outside a plan's range at run time
 * would be silently wrong, and no party can see it: sample text should be like the text to come,
 * and hold the longest of it.
 */
#ifndef TRANSFORMER_RANGES_H
#define TRANSFORMER_RANGES_H

#include "transformer/reference.h"

#define RANGES_MARGIN_BITS 4

struct span {
    double least, most;
};

/* A 2quad row sum is kept divided by the tokens it sums over, so that it speaks for any length. */
struct ranges {
    size_t layers;
    struct span (
        *seen)[REFERENCE_POINTS]; /* (layers); points outside the layers are in the first */
};

/**
 * Run the reference over @count >= 1 encodings. The caller calls ranges_free() on success.
 */
MUST_CHECK int ranges_measure(const struct checkpoint *c, const struct encoding *samples,
                              size_t count, struct ranges *ret, struct err *err);

/** Frees what @r owns; zeroed is nothing. */
void ranges_free(struct ranges *r);

/** The largest magnitude at a point. */
double ranges_top(const struct ranges *r, enum reference_point point, size_t layer);

#endif
