/* encoder: the operations of one variant of a classifier, from tokens to logits. */
#ifndef TRANSFORMER_ENCODER_H
#define TRANSFORMER_ENCODER_H

#include "transformer/fold.h"
#include "transformer/functions.h"

/** The lines of tanh between -2^range and 2^range, for x and results of @frac fraction bits. */
MUST_CHECK int encoder_add_tanh(struct plan *plan, int frac, int range, int64_t *ret,
                                struct err *err);

/* What the operations of every variant are made from. */
struct encoder_parts {
    const struct model_config *config;
    const struct formats *formats;
    const struct operands *operands;
    const struct functions *functions;
    int64_t tanh_table; /* the head's, where it has tanh */
    bool labels_only;
};

/** Append everything to b->variant; b->rc says whether it worked. */
void encoder_build(struct builder *b, const struct encoder_parts *parts);

#endif
