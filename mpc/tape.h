/*
 * tape: the correlated randomness of one job of one variant, as one party holds it.
 *
 * Party 0's tape is a seed; party 1's is a seed and a blob, which comes in chunks. A tape is used
 * once: tape_free() wipes it, and whoever numbers tapes strikes the number before the first use.
 */
#ifndef MPC_TAPE_H
#define MPC_TAPE_H

#include "base/workers.h"
#include "mpc/plan.h"
#include "mpc/prg.h"

struct model;

struct tape {
    uint64_t number; /* unique in a model over all its plans and variants */
    unsigned int party;
    const struct plan *plan;
    const struct variant *variant;
    uint8_t seed[PRG_SEED_BYTES];
    uint8_t *blob; /* party 1: variant->tape_bytes */
    size_t blob_filled;
    uint64_t *prepared; /* variant->prepared_words, after tape_prepare() */
    uint64_t prepare_ns;
};

/** An empty tape with room for its blob and preparation; NULL when there is no memory. */
MUST_CHECK struct tape *tape_new(const struct plan *plan, const struct variant *variant,
                                 unsigned int party, uint64_t number,
                                 const uint8_t seed[PRG_SEED_BYTES]);
void tape_free(struct tape *tape);

/** Bytes of memory that a tape of this variant takes at @party. */
size_t tape_memory(const struct variant *variant, unsigned int party);

/** The next bytes of the blob. -EPROTO when they are more than the plan says. */
MUST_CHECK int tape_add(struct tape *tape, const void *bytes, size_t count);

static inline bool tape_complete(const struct tape *tape)
{
    return tape->party == 0 || tape->blob_filled == tape->variant->tape_bytes;
}

/**
 * What can be done before the job comes: the products of this tape's masks with fixed weights.
 * @model is of the same plan; @workers (NULL: none) are the caller's. -EINVAL when incomplete;
 * -ENOMEM.
 */
MUST_CHECK int tape_prepare(struct tape *tape, const struct model *model, struct workers *workers);

#endif
