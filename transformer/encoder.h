/* encoder: the operations of one variant of a BERT classifier, from tokens to logits. */
#ifndef TRANSFORMER_ENCODER_H
#define TRANSFORMER_ENCODER_H

#include "transformer/fold.h"

/* The clamp of tanh: beyond it tanh is 1 to 1e-6. Its table covers the rest in steps of 1/64. */
#define TANH_TABLE_BITS 10
#define TANH_STEP_BITS  6

/** The table of tanh and of its slope, for results of @frac fraction bits. */
MUST_CHECK int encoder_add_tanh(struct plan *plan, int frac, int64_t *ret, struct err *err);

/** Append everything to b->variant; b->rc says whether it worked. */
void encoder_build(struct builder *b, const struct model_config *k, const struct formats *f,
                   const struct operands *w, int64_t tanh_table);

#endif
