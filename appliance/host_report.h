/* What `mpcformer host` says: findings as JSON and for people, drop-ins as differences. */
#ifndef APPLIANCE_HOST_REPORT_H
#define APPLIANCE_HOST_REPORT_H

#include "firmware-config/drop_in.h"

#include <jansson.h>
#include <stdio.h>

/** The whole of a check; NULL when there is no memory. */
json_t *host_report(const struct profile *p, const struct check *c);

/** A table, and of what does not pass the reason, the cost and the fix. */
void host_report_print(FILE *out, const json_t *report);

/** The differences, by diff(1), on standard output; @out is flushed first. */
MUST_CHECK int host_report_changes(FILE *out, const struct drop_ins *plan, struct err *err);

/** What no drop-in sets: by hand, or for want of --cpus. */
void host_report_rest(FILE *out, const struct drop_ins *plan, const struct check *c);

/** What makes the drop-ins that were written count. */
void host_report_effects(FILE *out, const struct drop_ins *plan);

#endif
