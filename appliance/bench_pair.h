/*
 * bench_pair: both parties of a compiled model in this process, each on a thread of its own that is
 * pinned to a core, over the sealed in-memory link; and the dealer before them. For bench bert:
 * what a query costs where no kernel carries it.
 */
#ifndef APPLIANCE_BENCH_PAIR_H
#define APPLIANCE_BENCH_PAIR_H

#include "appliance/client.h"
#include "appliance/shape.h"
#include "dataplane/link.h"
#include "transformer/compile.h"

struct bench_pair;

/**
 * Split the weights of @m, draw their masks, open them over a link that has the line @shape (zeros:
 * none). @m stays the caller's and outlives the pair.
 */
MUST_CHECK int bench_pair_new(const struct compiled *m, const struct shape *shape,
                              struct bench_pair **ret, struct err *err);
void bench_pair_free(struct bench_pair *b);

/**
 * One job on @v, which is filled, as client_run(): deal a tape, prepare it at both parties at once,
 * run both. The times are taken in place, one after the other; wall_ns is their sum: the dealing,
 * the slower party's preparation, the slower party's run.
 */
MUST_CHECK int bench_pair_run(struct bench_pair *b, const struct variant *v,
                              const struct encoding e[], double ret_logits[],
                              struct client_figures *ret_figures, struct err *err);

#endif
