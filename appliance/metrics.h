/*
 * metrics: what `status` says, as Prometheus reads it (text format 0.0.4). One table in metrics.c
 * says of every metric where in the status it stands, its type and its help; what an appliance does
 * not have (a dealer has no link) is left out.
 *
 * Prometheus' units: seconds and bytes. Counters of the link are of the session with the peer that
 * is, or was last: they start again with each, as counters may.
 */
#ifndef APPLIANCE_METRICS_H
#define APPLIANCE_METRICS_H

#include <jansson.h>
#include <stdio.h>

/** Write @status, the answer of a party or dealer, to @out. */
void metrics_print(FILE *out, const json_t *status);

#endif
