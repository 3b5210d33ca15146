/*
 * kept: the files of models in an appliance's state folder, models/ID.WHAT: ID.plan at every role,
 * ID.open or ID.unloaded at a party, ID.mask at the dealer, ID.destroyed where it was one.
 */
#ifndef APPLIANCE_KEPT_H
#define APPLIANCE_KEPT_H

#include "base/sealed.h"
#include "mpc/plan.h"

#include <limits.h>

/** Hexadecimal digits of a model id, and a NUL. */
#define KEPT_ID_SIZE (2 * PLAN_ID_BYTES + 1)

MUST_CHECK int kept_path(const char *state, const char *id, const char *what, char ret[PATH_MAX]);

/** Write ID.plan durably. */
MUST_CHECK int kept_write_plan(const char *state, const char *id, struct plan *plan,
                               struct err *err);

/** Told of the model @id; a negative errno ends the visits. */
typedef int kept_visit(void *context, const char *id, struct err *err);

/** Call @visit for every model that has a file @what; the folder is made when it is not there. */
MUST_CHECK int kept_each(const char *state, const char *what, kept_visit *visit, void *context,
                         struct err *err);

/**
 * Seal every ID.@what that lies there as it is, beginning with @magic: from before there was a
 * store key. What cannot be is logged, and refused when it is to be read. Without a key nothing is
 * done.
 */
MUST_CHECK int kept_seal_all(const char *state, const char *what, const struct sealed_key *key,
                             const char magic[8], struct err *err);

/** Load the model of @plan_path; what went wrong is logged, and the next one tried. */
typedef int kept_load(void *context, const char *plan_path, struct err *err);

/** Call @load for every model that has a file @what and a plan. One damaged model does not keep the
 *  others from being served. */
MUST_CHECK int kept_load_all(const char *state, const char *what, kept_load *load, void *context,
                             struct err *err);

#endif
