/*
 * bounds: what a model's values can reach at most, whatever the text.
 *
 * A row that comes out of a LayerNorm has a known length: |n|^2 <= hidden. So what a linear layer
 * makes of it is bounded by the weights alone, an element by its row of weights, a whole row by the
 * largest singular value; a score by the lengths of query and key; a context, which is a mean of
 * values, by theirs. The embedding's tables are finite, tanh is below 1. The compiler compares what
 * follows with what a number format holds (transformer/format.h): most of what a plan promises is
 * then certain, and no run needs to look.
 *
 * It holds as long as every LayerNorm and every row of weights of attention is in its range: those
 * are guarded. Bounds count in BOUNDS_SLACK for the rounding of what they are made from, and the
 * rounding of weights to two bits fewer than the plan's fraction.
 */
#ifndef TRANSFORMER_BOUNDS_H
#define TRANSFORMER_BOUNDS_H

#include "transformer/checkpoint.h"

#define BOUNDS_SLACK (1.0 / 16)

/* z - mean z of a sublayer's output z = y W + residual, of a row y that has length |y|. */
struct sublayer_bounds {
    double input;                 /* |y| */
    double element, element_rest; /* of one column: element |y| + element_rest */
    double length, length_rest;   /* of the row: length |y| + length_rest */
};

struct layer_bounds {
    double query, key, value; /* elements */
    double score;             /* q k^T / sqrt(head) */
    double inner;             /* an element of what the activation reads, and the row's length */
    double inner_length;
    struct sublayer_bounds attention, output;
};

struct bounds {
    double embedding, embedding_length; /* less their mean: an element, a row's length */
    double pooler, logits;              /* elements */
    struct layer_bounds *layers;
};

/** @frac: the plan's. The caller calls bounds_free() on success. Takes about 2 hidden^2
 *  intermediate multiplications a layer. */
MUST_CHECK int bounds_prove(const struct checkpoint *c, unsigned int frac, struct bounds *ret,
                            struct err *err);

/** Frees what @b owns; zeroed is nothing. */
void bounds_free(struct bounds *b);

/**
 * No less than the largest singular value of @m, (@rows, @cols); NaN: no memory. The rows' length
 * of the Gram matrix, or of its square (its 16th power where it is small), in the maximum norm.
 */
double bounds_singular(const float *m, size_t rows, size_t cols);

#endif
