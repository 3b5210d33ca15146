/*
 * online: a party as a reader of the plan while a job runs: the hot path. It allocates nothing
 * but the tape's key schedule, and everything it sends is masked by the tape it is given.
 */
#ifndef MPC_ONLINE_H
#define MPC_ONLINE_H

#include "mpc/model.h"
#include "mpc/op.h"
#include "mpc/tape.h"

struct party;

/** Wipe what the last job left: masked values and masks. Not on the way of its answer. */
void party_wipe(struct party *p);

/**
 * Memory to run jobs of any variant of the plan of @model, which is packed, with the team @workers,
 * which stays the caller's (NULL: alone); NULL when there is none.
 */
MUST_CHECK struct party *party_new(const struct model *model, struct workers *workers);
void party_free(struct party *p);

/**
 * Where a job of @v reads its input: batch tokens x columns, and where lengths are secret its
 * presence at variant_presence_at(). What is made there need not be copied; it is good for the next
 * party_run(), and wiped by party_wipe() with or without one.
 */
uint64_t *party_input(struct party *p, const struct variant *v);

/**
 * Run one job: @input is this party's share of the input, variant_input_words() of the tape's
 * variant; of sequence s the first @lengths[s] rows are tokens, all of them where that is secret.
 * @ret_output gets this party's share
 * of plan_answers() values, cut to l bits. @tape is complete, prepared, struck off, and useless
 * afterwards, whatever comes back.
 *
 * Both parties call it for the same tape number, lengths and plan. Blocks for its rounds.
 * Returns 0 or the exchange's negative errno. CT: timing depends on variant and lengths.
 */
MUST_CHECK int party_run(struct party *p, const struct tape *tape, struct exchange *x,
                         const uint32_t lengths[], const uint64_t *input, uint64_t *ret_output,
                         struct online_stats *stats);

#endif
