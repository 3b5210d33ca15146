/*
 * format: the scales and ranges of one compiled model, chosen from what its values reach.
 *
 * A product is truncated faithfully while it stays below 2^(ring-2); a weight's own fraction bits
 * are as many as leave room for the largest product that there can be (transformer/bounds.h), at
 * most FORMAT_MORE_BITS over the plan's. Where that is too much to ask, a guard watches the length
 * of the rows that come in; where even that cannot be trusted, RANGES_MARGIN_BITS above the largest
 * product seen must do. A range for an inverse is what was seen and the same margin on both sides,
 * and guarded. Where the format has not that much room the margin shrinks, down to one bit; below
 * that the model is refused with -ERANGE and the place. Each choice is noted as a promise.
 */
#ifndef TRANSFORMER_FORMAT_H
#define TRANSFORMER_FORMAT_H

#include "transformer/bounds.h"
#include "transformer/inverse.h"
#include "transformer/ranges.h"

#define FORMAT_MORE_BITS 4

/* LayerNorm over n columns, with e = floor(log2 n), c = n / 2^e:
 * d = c 2^up (z - mean), S = c^3 4^up variance, n^ = d sqrt(c) / sqrt(S). */
struct norm_format {
    int up;            /* LayerNorm does not see its input's scale: brings the variance near 1 */
    int variance_frac; /* fraction bits of S */
    int64_t epsilon;   /* at the scale of the sum of d^2, in units */
    struct inverse inverse;
};

struct layer_format {
    int qkv, attention, up, down; /* fraction bits of weights */
    struct norm_format attention_norm, output_norm;
    struct span row; /* a row of weights of attention, divided by its tokens; not of exponentials */
    double value_top; /* of values, and so of the context */

    /* Ends of guarded sums, in units; 0: none is needed. Of squares of a row of the context, and of
     * what the activation makes; of that row itself. */
    int64_t context_end, hidden_end, hidden_sum_end;
};

/* Of a layer's attention, by variant: the row sum grows with the tokens. */
struct attention_format {
    int weight_frac;  /* of (s + 5)^2, relu(s) or exp(s - max) */
    int context_frac; /* of weights times V, before the division */
    struct inverse inverse;
};

struct formats {
    int ring, frac;
    int input_ring; /* of one-hot rows and embedding tables: as narrow as holds their sum */
    int table;      /* fraction bits of the embedding tables */
    int tanh_range; /* the pooler's tanh is looked up between -2^tanh_range and 2^tanh_range */
    bool tanh_proven;
    int pooler, classifier;
    size_t hidden, head;
    struct norm_format embedding_norm;
    struct layer_format *layers;
    struct promise *promises;
    size_t promise_count;
    const struct inverse_tables *tables; /* the caller's */
};

/** @tables: of format_mantissa() bits; kept. @embedding_top: the largest magnitude of a sum of
 *  embeddings that the tables can give; @narrow: they may have a ring of their own. The caller
 * calls formats_free() on success. */
MUST_CHECK int formats_choose(const struct model_config *k, const struct ranges *seen,
                              const struct bounds *bounds, double embedding_top, unsigned int ring,
                              unsigned int frac, bool narrow, const struct inverse_tables *tables,
                              struct formats *ret, struct err *err);
void formats_free(struct formats *f);

/** Fraction bits of the inverses' mantissas in a ring: their products must fit it. */
int format_mantissa(unsigned int ring);

MUST_CHECK int format_attention(const struct formats *f, size_t layer, enum softmax_act act,
                                uint32_t tokens, struct attention_format *ret, struct err *err);

/** n / 2^e for e = floor(log2 n): what a LayerNorm's root is multiplied with, squared. */
double format_excess(size_t columns);

/** floor(log2 v) for v >= 1. */
int format_log2(size_t v);

#endif
