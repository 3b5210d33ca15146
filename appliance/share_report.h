/* share_report: what `mpcformer share` says of the number formats that it tried. */
#ifndef APPLIANCE_SHARE_REPORT_H
#define APPLIANCE_SHARE_REPORT_H

#include "appliance/recommend.h"

#include <jansson.h>

/**
 * All of @tried, and in full the one at @best, unless NULL; @out: where it was written, or NULL.
 * NULL: no memory. The caller's reference.
 */
json_t *share_report(const struct candidate tried[RECOMMEND_RINGS], const struct candidate *best,
                     const char *out);

#endif
