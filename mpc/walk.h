/* walk: the memory that one reader needs to go through one variant. Secret, wiped when freed. */
#ifndef MPC_WALK_H
#define MPC_WALK_H

#include "mpc/op.h"

/**
 * Arena and scratch large enough for every variant of @plan, for the team @workers (NULL: none),
 * which stays the caller's. Pages are touched as used, so they lie near who uses them first.
 */
MUST_CHECK int walk_init(struct walk *w, const struct plan *plan, struct workers *workers);

/** Bytes of memory that it takes. */
size_t walk_memory(const struct plan *plan, struct workers *workers);

/** The same for one variant only. */
MUST_CHECK int walk_init_variant(struct walk *w, const struct plan *plan, const struct variant *v,
                                 struct workers *workers);

/** Wipe what one walk through its variant has left. */
void walk_wipe(struct walk *w);

void walk_free(struct walk *w);

#endif
