/*
 * replay: dealer and both parties of one plan in one process, over the in-memory link: the whole
 * protocol with nothing left out but the network.
 *
 * What each party sends is written down before the link frames it. In a build with -DCT_CHECK every
 * share, seed and mask is poisoned, so that Valgrind finds a branch or an address that depends on
 * one.
 */
#ifndef TESTS_MPC_REPLAY_H
#define TESTS_MPC_REPLAY_H

#include "mpc/deal.h"
#include "mpc/online.h"

/* What one party has sent since replay_new(), or since @count was set to 0. */
struct replay_transcript {
    uint8_t *bytes;
    size_t count, capacity;
};

struct replay {
    struct workers *team[3]; /* of the parties; of the dealer and of preparation */
    const struct plan *plan;
    struct mask_weights *masks;
    struct dealing *dealing;
    struct model *model[2];
    struct party *party[2];
    uint64_t tapes;
    size_t dealt_bytes;               /* by the dealer, of the last tape */
    struct online_stats stats[2];     /* of the last run */
    struct replay_transcript sent[2]; /* by party */
    bool input_plain;                 /* party 0's share of the input is zero, so that only masks
                                         can hide it */
};

/**
 * Split @weights (by number, may be NULL for a plan without), draw masks, open the model. @plan
 * stays the caller's. @kernels: of the parties online. Ends the process when the protocol itself
 * fails, which no test expects.
 */
struct replay *replay_new(const struct plan *plan, const int64_t *const *weights,
                          const struct kernels *kernels);

/** Replays made from now on have teams of @count; 1 at first. */
void replay_set_workers(unsigned int count);

void replay_free(struct replay *r);

/**
 * Both parties' model_open() of two models; @ret_rc by party. With @flip_block > 0, the first bit
 * of the block of that number that party 1 takes is flipped on its way.
 */
void replay_open(struct model *model[2], struct replay_transcript sent[2], size_t flip_block,
                 int ret_rc[2]);

/** Deal a tape of @v and prepare it at both parties; tape_free() both. */
void replay_deal(struct replay *r, const struct variant *v, struct tape *ret_tape[2]);

/**
 * Share @input (variant_input_words() of the variant), deal a tape, run both parties, add their
 * answers: @ret_output holds plan_answers() values. 0 or the first party's error.
 */
int replay_run(struct replay *r, const struct variant *v, const uint32_t lengths[],
               const uint64_t *input, int64_t *ret_output);

#endif
