/*
 * recommend: the number format for a checkpoint, and what speaks for it.
 *
 * Every ring is tried with the fraction bits that suit it, the narrowest first, since bytes go with
 * its width and products with its square. The first one will do of which
 *
 *   - the model fits, and no promise rests on sample text alone (transformer/ranges.h);
 *   - every sample keeps the float model's label, and would with RECOMMEND_LABEL_ROOM times the
 *     error (trial.h: label_room);
 *   - RECOMMEND_HEADROOM_BITS are left in the range that sample text comes nearest to leaving.
 */
#ifndef APPLIANCE_RECOMMEND_H
#define APPLIANCE_RECOMMEND_H

#include "transformer/trial.h"

#define RECOMMEND_LABEL_ROOM    2
#define RECOMMEND_HEADROOM_BITS 3
#define RECOMMEND_RINGS         (RING_BITS_MAX / 8 - RING_BITS_MIN / 8 + 1)

struct candidate {
    unsigned int ring, frac;
    struct compiled *compiled; /* NULL: it could not be made, or was not tried */
    struct trial trial;
    bool tried, fits;
    struct err why; /* not, of one that was tried */
};

/** Fraction bits that suit a ring: where accuracy and headroom are in balance. */
unsigned int recommend_frac(unsigned int ring);

/** Compile and try one format; @c->ring and @c->frac are set. Returns what went wrong, which is in
 *  c->why too; else 0, and c->fits and c->why say whether it will do. */
MUST_CHECK int candidate_try(struct candidate *c, const struct compile_options *options,
                             const struct trial_options *trial);

/** Try rings until one will do, or @all of them. @ret: RECOMMEND_RINGS of them, narrowest first;
 *  the caller calls candidates_free() whatever comes. @ret_best: -ERANGE where none will do. */
MUST_CHECK int recommend(const struct compile_options *options, const struct trial_options *trial,
                         bool all, struct candidate ret[RECOMMEND_RINGS], size_t *ret_best,
                         struct err *err);
void candidates_free(struct candidate c[RECOMMEND_RINGS]);

/** Bits left in the range that sample text comes nearest to leaving, and where, or NULL. */
double candidate_headroom(const struct candidate *c, const struct trial_row **ret_at);

/** Promises of one kind. */
size_t candidate_promises(const struct candidate *c, enum promise_kind kind);

#endif
