/*
 * ranges: what a model's values reach on sample text, as the float reference computes them.
 *
 * The compiler picks scales and ranges from these with a margin on both sides, RANGES_MARGIN_BITS
 * powers of two, or what the number format has room for. Where it cannot prove that every text
 * keeps to a range (transformer/bounds.h) a guard watches it at run time (transformer/guard.h), and
 * a text that leaves it has no answer: sample text should be like the text to come, and hold the
 * longest of it.
 */
#ifndef TRANSFORMER_RANGES_H
#define TRANSFORMER_RANGES_H

#include "transformer/reference.h"

#define RANGES_MARGIN_BITS 4

/* Why no value that a plan computes with is ever out of its format without its owner's knowing. */
enum promise_kind {
    PROMISE_PROVEN,  /* by the weights, for every text */
    PROMISE_GUARDED, /* the run counts what breaks it */
    PROMISE_SAMPLED, /* it was kept on sample text, which is all that is known */
    PROMISE_KINDS,
};
struct promise {
    const char *what;
    int layer; /* -1 outside the layers */
    enum promise_kind kind;
    double most, holds; /* what any text can reach, or INFINITY; what the format holds */
};

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
