/* reach: how far the activations of a model go on text, before and after a course. */
#ifndef APPLIANCE_REACH_H
#define APPLIANCE_REACH_H

#include "distill/corpus.h"
#include "transformer/ranges.h"

#include <jansson.h>

#define REACH_ROWS 128 /* of the development data that are looked at */

/** Of @c, by the float reference, on the first rows of @dev. The caller calls ranges_free(). */
MUST_CHECK int reach_measure(const struct checkpoint *c, const struct corpus *dev,
                             struct ranges *ret, struct err *err);

/** A row a stage and layer that --clip-range is for: the largest magnitude in both. NULL: no
 *  memory. The caller's reference. */
json_t *reach_rows(const struct ranges *before, const struct ranges *after);

#endif
