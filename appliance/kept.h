/*
 * kept: the files of models in an appliance's state folder, models/ID.WHAT: ID.plan at every role,
 * ID.open or ID.unloaded at a party, ID.mask at the dealer.
 */
#ifndef APPLIANCE_KEPT_H
#define APPLIANCE_KEPT_H

#include "mpc/plan.h"

#include <limits.h>

/** Hexadecimal digits of a model id, and a NUL. */
#define KEPT_ID_SIZE (2 * PLAN_ID_BYTES + 1)

MUST_CHECK int kept_path(const char *state, const char *id, const char *what, char ret[PATH_MAX]);

/** Write ID.plan durably. */
MUST_CHECK int kept_write_plan(const char *state, const char *id, struct plan *plan,
                               struct err *err);

/** Load the model of @plan_path; what went wrong is logged, and the next one tried. */
typedef int kept_load(void *context, const char *plan_path, struct err *err);

/**
 * Call @load for every model that has a file @what and a plan; the folder is made when it is not
 * there. One damaged model does not keep the others from being served.
 */
MUST_CHECK int kept_load_all(const char *state, const char *what, kept_load *load, void *context,
                             struct err *err);

#endif
