/*
 * The one-hot vector h of a masked index's mask p, XOR-shared: what lookups in a public table have
 * in common. At the public v = index + p, a party's sum over all rows j of T[v - j], where its
 * share of h[j] is one, is up to a sign half of T[index] (mpc/ops/lookup.c).
 */
#ifndef MPC_OPS_HOT_H
#define MPC_OPS_HOT_H

#include "mpc/op.h"

/** 0 when @plan has table @number, and its rows fit the bits of @x from bit @shift on; else -EINVAL
 *  and why. */
MUST_CHECK int hot_need_rows(const struct plan *plan, const struct wire *x, int64_t number,
                             int64_t shift, struct err *err);

/** XOR the vector of @p into @hot, @words of party 0's share, which becomes party 1's. @return sg,
 * 1 or -1. CT: reads and writes all of @hot. */
uint64_t hot_deal(uint64_t *hot, size_t words, uint64_t p);

/** A party's sums of @table's columns at @v, modulo its rows, to every @stride of @ret; right in a
 *  ring of @ring bits. CT: reads every row; secret bits only mask what is added. */
void hot_sum(const struct walk *w, const struct table *table, const uint64_t *hot, uint64_t v,
             unsigned int party, unsigned int ring, uint64_t *ret, size_t stride);

#endif
