/*
 * reference: the model in floating point and in the clear.
 *
 * What a checkpoint computes as its author meant it: exact functions, true LayerNorm, no fixed
 * point.  The owner of the weights runs it to choose number ranges and to check a compiled plan;
 * the tests hold it against an independent implementation.
 *
 * Every token of an encoding is attended to: there is no padding.
 */
#ifndef TRANSFORMER_REFERENCE_H
#define TRANSFORMER_REFERENCE_H

#include "transformer/checkpoint.h"
#include "transformer/tokenizer.h"

/*
 * Where an observer looks. VARIANCE is a LayerNorm's, of each row, without epsilon; CENTRED is its
 * input less the row's mean. Points between EMBEDDING and POOLER are seen once a layer.
 */
enum reference_point {
    REFERENCE_EMBEDDING_VARIANCE,
    REFERENCE_EMBEDDING_CENTRED,
    REFERENCE_QUERY, /* x W^T + b, before the score's 1/sqrt(head) */
    REFERENCE_KEY,
    REFERENCE_VALUE,
    REFERENCE_SCORE,   /* q k^T / sqrt(hidden / heads) */
    REFERENCE_ROW_SUM, /* 2quad: sum of (s + 5)^2; 2relu: of relu(s), plus eps; softmax: not seen */
    REFERENCE_CONTEXT, /* probabilities times values */
    REFERENCE_ATTENTION_VARIANCE,
    REFERENCE_ATTENTION_CENTRED,
    REFERENCE_FFN_INPUT,  /* before the activation */
    REFERENCE_FFN_OUTPUT, /* after it */
    REFERENCE_OUTPUT_VARIANCE,
    REFERENCE_OUTPUT_CENTRED,
    REFERENCE_POOLER, /* before model_head_act() */
    REFERENCE_LOGITS,
    REFERENCE_POINTS,
};

/**
 * @see is called with the least and the largest value at a point; @layer is 0 outside the layers. A
 * point may be seen in pieces (scores: a head at a time), so a range is the union of all calls.
 */
struct reference_observer {
    void (*see)(void *ctx, enum reference_point point, size_t layer, double value_min,
                double value_max);
    void *ctx;
};

/**
 * Logits of @e, (labels) of them, at @ret_logits; @obs may be NULL. Sums are of floats, in fixed
 * order; the same input gives the same bits on one build.
 * -EINVAL when @e has no token, more than positions_max, or an id or type that the model lacks;
 * -ERANGE when the result is not finite; -ENOMEM. Activations are wiped.
 * CT: not constant time; runs where both weights and text are known.
 */
MUST_CHECK int reference_classify(const struct checkpoint *c, const struct encoding *e,
                                  double ret_logits[], const struct reference_observer *obs,
                                  struct err *err);

#endif
