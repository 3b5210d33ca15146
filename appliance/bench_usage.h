/* bench_usage: what a lab's processes have used so far: CPU time and memory. For bench bert. */
#ifndef APPLIANCE_BENCH_USAGE_H
#define APPLIANCE_BENCH_USAGE_H

#include "appliance/lab.h"

/** By role: party0, party1, dealer. */
struct bench_usage {
    uint64_t cpu_ns[ROLE_DEALER + 1];
    uint64_t resident_bytes[ROLE_DEALER + 1]; /* huge pages included */
};

/** -ECHILD when one of the three is gone. */
MUST_CHECK int bench_usage_read(const struct lab *lab, struct bench_usage *ret, struct err *err);

/** What a query and its preparation took, the larger of both parties'. */
struct bench_spent {
    double online_cpu_ms, prepare_cpu_ms, deal_cpu_ms;
    uint64_t party_bytes, tape_bytes; /* resident with a tape in stock; and what a tape has of it */
};

/**
 * From three readings, all of them at rest: before a query that takes the tape in stock while the
 * dealer is stopped; after it; and after a second query, for which the dealer made a tape, with a
 * new one in stock.
 */
void bench_usage_spent(const struct bench_usage *before, const struct bench_usage *between,
                       const struct bench_usage *after, struct bench_spent *ret);

#endif
