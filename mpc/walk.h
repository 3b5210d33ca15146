/* walk: the memory that one reader needs to go through one variant. Secret, wiped when freed. */
#ifndef MPC_WALK_H
#define MPC_WALK_H

#include "mpc/op.h"

/** Arena and scratch large enough for every variant of @plan; pages are touched as used. */
MUST_CHECK int walk_init(struct walk *w, const struct plan *plan);

/** The same for one variant only. */
MUST_CHECK int walk_init_variant(struct walk *w, const struct plan *plan, const struct variant *v);

/** Wipe what one walk through its variant has left. */
void walk_wipe(struct walk *w);

void walk_free(struct walk *w);

#endif
