/*
 * checkpoint: a model folder in the HF layout (config.json, and the weights in one file or in
 * shards), in memory.
 *
 * Every tensor that the model has is looked up by its HF name, with or without the "bert." in
 * front, its shape is checked against the config, and its values are widened to F32 and checked to
 * be finite.  A tensor that the config does not account for is refused, since ignoring it would
 * compute another model; but for the few that HF ignores too (the constant position_ids).
 *
 * All kinds come in one form: what they call their tensors is forgotten here.
 *
 * The weights are the owner's secret: they lie in one block of secret memory, wiped when freed.
 * A Linear's weight is (out, in), as HF stores it: y = x W^T + b. The weights of query, key and
 * value lie end to end in that block, as one of (3 hidden, hidden), and so do their biases; a
 * layer's tensors lie together.
 */
#ifndef TRANSFORMER_CHECKPOINT_H
#define TRANSFORMER_CHECKPOINT_H

#include "transformer/config.h"

struct layer_weights {
    const float *query_w,
        *query_b; /* (hidden, hidden), (hidden); heads lie side by side in `out` */
    const float *key_w, *key_b;
    const float *value_w, *value_b;
    const float *attention_w, *attention_b;       /* (hidden, hidden), (hidden) */
    const float *attention_gain, *attention_bias; /* LayerNorm: (hidden), (hidden) */
    const float *intermediate_w, *intermediate_b; /* (intermediate, hidden), (intermediate) */
    const float *output_w, *output_b;             /* (hidden, intermediate), (hidden) */
    const float *output_gain, *output_bias;       /* LayerNorm: (hidden), (hidden) */
};

struct checkpoint {
    struct model_config config;
    const float *word_embeddings;                 /* (vocab, hidden) */
    const float *position_embeddings;             /* (positions_max, hidden), of tokens alone */
    const float *type_embeddings;                 /* (types, hidden) */
    const float *embedding_gain, *embedding_bias; /* LayerNorm: (hidden), (hidden) */
    struct layer_weights *layers;                 /* (layers) */
    const float *pooler_w, *pooler_b; /* (hidden, hidden), (hidden); before model_head_act() */
    const float *classifier_w, *classifier_b; /* (labels, hidden), (labels) */
    float *values;                            /* all of the above, @bytes of secret memory */
    size_t bytes;
};

/**
 * Load the model in @folder. -EINVAL for a file that is wrong, -ENOTSUP for a model of a kind that
 * is not supported, -EFBIG over a limit; the text names file and tensor. The caller frees.
 * CT: runs at the owner of the weights alone; time depends on shapes only.
 */
MUST_CHECK int checkpoint_load(const char *folder, struct checkpoint **ret_checkpoint,
                               struct err *err);

/**
 * The same of a checkpoint to be trained, which may lack a classifier (BertModel) or have another
 * head (BertForMaskedLM), which is left out: what of the head is not there is made up by @seed, as
 * checkpoint_random() does it, and *ret_made says so.
 */
MUST_CHECK int checkpoint_load_bare(const char *folder, uint64_t seed,
                                    struct checkpoint **ret_checkpoint, bool *ret_made,
                                    struct err *err);

/**
 * A checkpoint of this shape with made-up weights, for benchmarks: gains 1, biases 0, all else
 * N(0, 0.02). The same @seed gives the same weights. @config's label names are not taken over:
 * they are "LABEL_0" and so on. -ENOMEM. The caller frees.
 */
MUST_CHECK int checkpoint_random(const struct model_config *config, uint64_t seed,
                                 struct checkpoint **ret_checkpoint, struct err *err);

/** One tensor, row-major, under HF's full name ("bert.pooler.dense.weight"). */
struct checkpoint_tensor {
    const char *name;
    size_t rank, shape[2], count; /* count: the shape's product */
    const float *values;          /* (count) */
};

typedef int (*checkpoint_visit)(void *ctx, const struct checkpoint_tensor *tensor, struct err *err);

/** @visit every tensor, in the order in which they lie in @c->values, until one says no. */
MUST_CHECK int checkpoint_each(const struct checkpoint *c, checkpoint_visit visit, void *ctx,
                               struct err *err);

/**
 * Write @c to @folder, which is there: config.json and model.safetensors (F32), as
 * checkpoint_load() and HF read them, each whole or not at all. The values are secret: mode 0600.
 */
MUST_CHECK int checkpoint_save(const struct checkpoint *c, const char *folder, struct err *err);

/** NULL is nothing. Every pointer above dies with it. */
void checkpoint_free(struct checkpoint *c);

#endif
