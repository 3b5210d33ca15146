/* encoder: the operations of one variant of a BERT classifier, from tokens to logits. */
#ifndef TRANSFORMER_ENCODER_H
#define TRANSFORMER_ENCODER_H

#include "transformer/fold.h"

/** The lines of tanh between -2^range and 2^range, for x and results of @frac fraction bits. */
MUST_CHECK int encoder_add_tanh(struct plan *plan, int frac, int range, int64_t *ret,
                                struct err *err);

/** Append everything to b->variant; b->rc says whether it worked. */
void encoder_build(struct builder *b, const struct model_config *k, const struct formats *f,
                   const struct operands *w, int64_t tanh_table);

#endif
