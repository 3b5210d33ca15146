/*
 * knapsack: which of some things to take where each has a price and a worth, both add up, and what
 * may be spent is limited. Exact, by lists of undominated states (Nemhauser and Ullmann 1969):
 * their number is bounded by that of different sums of prices, which are few where layers repeat.
 */
#ifndef DISTILL_KNAPSACK_H
#define DISTILL_KNAPSACK_H

#include "base/base.h"

#define KNAPSACK_STATES_MAX ((size_t)1 << 22) /* over all things */

struct thing {
    uint64_t price;
    double worth;
};

/**
 * @ret_taken (count): the set of the largest worth whose prices are at most @most; of sets of one
 * worth the cheapest, of those always the same. What is worth 0 or less is not taken. -E2BIG: too
 * many different sums; -ENOMEM.
 */
MUST_CHECK int knapsack(const struct thing things[], size_t count, uint64_t most, bool ret_taken[],
                        struct err *err);

#endif
