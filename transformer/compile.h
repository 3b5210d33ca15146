/*
 * compile: a checkpoint into a plan and integer weights.
 *
 * The plan computes what the checkpoint does, with the algebra that saves openings (exact): gain
 * and bias of a LayerNorm go into the next linear layer, a polynomial activation is one square, the
 * powers of two of 1/sqrt(head) and of the activation go into truncations, and of the last
 * layer only the first token's row is computed, which is all that the pooler reads. Its formats
 * come from what the float reference reaches on sample text (transformer/ranges.h, format.h).
 * The functions of each layer are those of the checkpoint (transformer/functions.h).
 */
#ifndef TRANSFORMER_COMPILE_H
#define TRANSFORMER_COMPILE_H

#include "mpc/plan.h"
#include "transformer/builder.h"
#include "transformer/checkpoint.h"
#include "transformer/ranges.h"
#include "transformer/tokenizer.h"

struct compile_options {
    unsigned int ring, frac;
    const char *name;       /* of the model, for people; at most PLAN_NAME_MAX - 1 bytes are kept */
    const uint32_t *tokens; /* length buckets in rising order; NULL: 16, 32, 64 and so on */
    size_t token_count;
    unsigned int lengths;    /* bit i: variants of length mode i; 0: public lengths alone */
    const uint32_t *batches; /* queries at once, rising from 1, in each bucket; NULL: 1 */
    size_t batch_count;
    const struct encoding *samples; /* the text that ranges are taken from */
    size_t sample_count;
    const struct ranges *seen; /* what they reach; NULL: it is measured */
    bool labels_only;          /* answers are labels, label.h: not of a regression */
    unsigned int without;      /* bit i: leave out the cheaper form i (enum form) */
};

struct compiled {
    struct plan *plan;     /* error_bound is 0 until trial_run() has found one */
    int64_t **weights;     /* by number, at each weight's scale; secret memory */
    struct place **places; /* (variant, operation): where in the model each operation stands */
    struct promise *promises;
    size_t promise_count;
};

/**
 * Compile with a fresh model id. -ERANGE: the format
 * does not hold what the sample text reaches, the text names the place; -EINVAL: options; -ENOMEM.
 * The caller frees. Takes as long as the reference takes on the samples.
 * CT: runs at the owner of the weights alone.
 */
MUST_CHECK int compile_model(const struct checkpoint *c, const struct compile_options *o,
                             struct compiled **ret, struct err *err);

/** NULL is nothing. The weights are wiped. */
void compiled_free(struct compiled *m);

/** Ring, fraction bits, buckets and batches, before the samples are looked at: -EINVAL and why. */
MUST_CHECK int compile_options_check(const struct model_config *k, const struct compile_options *o,
                                     struct err *err);

/**
 * The default length buckets of a model of @positions_max positions: 16 and doubling, the last one
 * as long as the model or a plan allows. Returns how many, at most PLAN_VARIANTS_MAX.
 */
size_t compile_buckets(size_t positions_max, uint32_t ret[PLAN_VARIANTS_MAX]);

/**
 * The one-hot rows for @v of v->batch encodings at @e: v->tokens rows of vocabulary + types columns
 * of each, with a one for the token and one for its type where the model has types. Rows past an
 * encoding's repeat its last token: they are masked out of every answer, but go through the same
 * arithmetic and should be as ordinary as the others. Behind them, where lengths are secret, the
 * presence of each row: variant_input_words() in all. An encoding has 1 to v->tokens tokens, with
 * ids and types below the plan's (of a plan without types 0): else -EINVAL. CT: not constant time;
 * runs at the owner of the text.
 */
MUST_CHECK int compile_input(const struct plan *plan, const struct variant *v,
                             const struct encoding e[], uint64_t *ret, struct err *err);

/** The presence of one sequence of @v with @count tokens, at least 1: v->tokens rows of
 *  PRESENCE_COLS. CT: not constant time, likewise. */
void compile_presence(const struct variant *v, size_t count, uint64_t *ret);

#endif
