/*
 * network: a classifier of BERT's family in float, forward and backward, on a batch of sequences.
 *
 * The sequences of a batch lie end to end, without padding: matrix products and passes run over
 * all their tokens, attention runs within each sequence. That is what a multiplicative mask on a
 * padded batch computes, exactly, for every softmax_act: a masked score weighs 0 and counts in no
 * sum.
 *
 * Parameters are those of a checkpoint, in its one block of values; gradients lie in a block of the
 * same layout, that of a weight as far from its start as the weight from the start of the values.
 *
 * Dropout sits where BERT has it: after the embeddings, on the probabilities of attention, after
 * both outputs of a layer, before the classifier.
 */
#ifndef DISTILL_NETWORK_H
#define DISTILL_NETWORK_H

#include "distill/kernels.h"
#include "distill/narrow.h"
#include "transformer/checkpoint.h"

/* How much a batch is: what means are over. */
struct extent {
    size_t sequences, tokens;
    size_t squares; /* of the sequences' lengths: the scores of a head */
    size_t longest; /* sequence */
};

/* Sequences end to end. Every id, type and length is one that the model has. */
struct batch {
    size_t sequences, tokens;
    const uint32_t *ids;    /* (tokens) */
    const uint8_t *types;   /* (tokens) */
    const uint32_t *starts; /* (sequences + 1): sequence s has tokens starts[s] to starts[s + 1] */
    struct extent whole;    /* the batch that this is a part of; zeros: this is all of it */
    struct extent before;   /* what of it is before this part */
    const uint32_t *words;  /* (word_count): the ids of the whole, each once, ascending */
    size_t word_count;
};

/* Dropout of one forward pass. */
struct network_dropout {
    double hidden, attention; /* probabilities; 0 for none */
    uint64_t seed, step;
};

/* What of each layer a range is for: queries, keys and values; scores; contexts; what LayerNorms
 * are given, less its mean; what activations read and make. */
enum network_stage {
    STAGE_QKV,
    STAGE_SCORES,
    STAGE_CONTEXT,
    STAGE_ATTENDED,
    STAGE_INNER,
    STAGE_ACTIVATED,
    STAGE_OUT,
    STAGES,
};

/* A penalty on what is outside of a range: its square, as a mean over each stage of each layer. */
struct network_range {
    double limit;  /* from -limit to limit costs nothing */
    double weight; /* 0: no penalty */
};

/* Parameters that lie together. */
struct network_part {
    size_t number;       /* 0: embeddings; 1 + i: layer i; last: pooler and classifier */
    size_t first, count; /* from the start of the values */
};

/* What the loss says of each thing that it looks at: the gradient by it, or NULL. */
struct network_gradient {
    const real *logits;                       /* (sequence, label) */
    const real *hidden[MODEL_LAYERS_MAX + 1]; /* as network_hidden() */
    const real *scores[MODEL_LAYERS_MAX];     /* as network_scores() */
    struct network_range range;               /* whose penalty is a part of the loss */
    /* Told of each part as soon as its gradients are done, on the calling thread: the head, the
     * layers from the last, the embeddings; and of none (NULL) halfway through each layer. */
    void (*done)(void *ctx, const struct network_part *part);
    void *ctx;
};

struct network;

/** Embeddings, layers, head: how many parts, and part @number. */
size_t network_parts(const struct network *n);
struct network_part network_part(const struct network *n, size_t number);

/**
 * Of part 0, which is rows of (hidden), the numbers of those that the whole of @batch has a
 * gradient by: its words', positions' and types', and the norm's; ascending. Returns how many, and
 * at most network_rows_max().
 */
size_t network_rows(const struct network *n, const struct batch *batch, uint32_t *ret);
size_t network_rows_max(const struct network *n, const struct batch *batch);

/**
 * A network of @c's shape and functions; keeps a copy of what it needs of @c, and no values.
 * The caller frees.
 */
MUST_CHECK int network_new(const struct checkpoint *c, struct network **ret, struct err *err);
void network_free(struct network *n);

/** The precision of products with weights; those of attention, and all else, stay f32. -ENOMEM. */
MUST_CHECK int network_set_precision(struct network *n, enum precision precision, struct err *err);

/**
 * Compute @batch with parameters @values (laid out as c->values). @drop NULL: evaluation. What it
 * computed is kept for the backward pass and the functions below, until the next call. -ENOMEM.
 */
MUST_CHECK int network_forward(struct network *n, const real *values, const struct batch *batch,
                               const struct network_dropout *drop, struct err *err);

/**
 * Add to @gradients the gradient by every parameter, given those by what came out. To be called
 * after network_forward() with the same @values and batch, once. -ENOMEM.
 */
MUST_CHECK int network_backward(struct network *n, const real *values,
                                const struct network_gradient *from, real *gradients,
                                struct err *err);

/** The penalty; of a part of a batch, its part. */
double network_outside(const struct network *n, const struct network_range *range);

/** The batch, or what it is a part of. */
struct extent network_whole(const struct network *n);

/** (sequence, label) */
const real *network_logits(const struct network *n);

/** (token, hidden): what comes out of the embeddings (@layer 0) or of layer @layer - 1. */
const real *network_hidden(const struct network *n, size_t layer);

/** Attention's scaled scores, before they become probabilities: for each sequence (head, t, t), one
 *  sequence after the other; and how many they are. */
const real *network_scores(const struct network *n, size_t layer);
size_t network_score_count(const struct network *n);

#endif
