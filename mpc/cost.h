/* cost: what a variant costs, from the plan alone. The counters of a run agree to the byte. */
#ifndef MPC_COST_H
#define MPC_COST_H

#include "mpc/op.h"

struct cost {
    uint64_t bytes_online; /* payload one party sends */
    uint64_t rounds_online;
    uint64_t bytes_tape;     /* party 1's; party 0's tape is a seed */
    uint64_t prepared_words; /* kept from preparation until use, of the party that keeps more */
    uint64_t macs_online;    /* ring multiply-adds of products, of the party that has more */
    double work;             /* macs_online times (ring / 64)^2; of operations without, elements */
    uint64_t ops;
};

/** What one operation of @v costs. */
struct cost cost_op(const struct plan *plan, const struct variant *v, const struct op *op);

/** @ret_total, and by operation kind in @ret_kinds (OP_ID_END of them) unless NULL. */
void cost_variant(const struct plan *plan, const struct variant *v, struct cost *ret_total,
                  struct cost *ret_kinds);

#endif
