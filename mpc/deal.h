/*
 * deal: the dealer as a reader of the plan. It draws every mask of a tape from the two seeds and
 * writes party 1's corrections, front to back; it sees no weight, no token and no opened value.
 */
#ifndef MPC_DEAL_H
#define MPC_DEAL_H

#include "base/workers.h"
#include "mpc/model.h"

struct dealing;

/**
 * Memory to deal tapes of any variant of the plan of @weights, with the team @workers, which stays
 * the caller's (NULL: alone); NULL when there is none.
 */
MUST_CHECK struct dealing *dealing_new(const struct mask_weights *weights, struct workers *workers);
void dealing_free(struct dealing *d);

/** Takes the next bytes of party 1's blob; a negative errno stops the dealing. */
typedef int deal_emit(void *context, const uint8_t *bytes, size_t count);

/**
 * Deal one tape of variant @v from fresh seeds, an operation at a time: @emit sees v->tape_bytes
 * bytes in all. Blocks as long as @emit does, which is the bounded window to party 1.
 * Returns 0, -ENOMEM or what @emit returned.
 */
MUST_CHECK int deal_tape(struct dealing *d, const struct variant *v,
                         const uint8_t seed[2][PRG_SEED_BYTES], deal_emit *emit, void *context);

#endif
