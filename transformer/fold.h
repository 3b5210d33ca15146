/*
 * fold: the checkpoint's tensors as the integer weights of a plan, with everything folded in that
 * is linear and known at compile time.
 */
#ifndef TRANSFORMER_FOLD_H
#define TRANSFORMER_FOLD_H

#include "transformer/compile.h"
#include "transformer/format.h"

/*
 * Operands of one layer. In the last layer queries come from the first row alone: @query is a
 * weight of its own there, and @qkv holds keys and values only.
 */
struct layer_operands {
    uint32_t query, query_bias;
    uint32_t qkv, qkv_bias;
    uint32_t attention, attention_bias, attention_gain;
    uint32_t up, up_bias;
    uint32_t down, down_bias, down_gain;
};

struct operands {
    uint32_t embedding, position;
    struct layer_operands *layers;
    uint32_t pooler, pooler_bias, classifier, classifier_bias;
};

/**
 * What every value of column @j has, whatever n^ it comes from: its bias, and that of the LayerNorm
 * before. A row of attention sums up to one, so it goes into the bias after, and values are n^ W
 * alone: 0 where n^ is.
 */
double fold_value_constant(const struct checkpoint *c, size_t layer, size_t j);

/** Add every weight to @m's plan, with its values. @positions: rows of the longest variant. The
 *  caller frees ret->layers. -ERANGE for a weight that its scale cannot hold. */
MUST_CHECK int fold_weights(struct compiled *m, const struct checkpoint *c, const struct formats *f,
                            size_t positions, struct operands *ret, struct err *err);

#endif
