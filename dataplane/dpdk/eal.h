/* eal: DPDK's environment, once a process. */
#ifndef DATAPLANE_DPDK_EAL_H
#define DATAPLANE_DPDK_EAL_H

#include "dataplane/port_open.h"

/**
 * Start DPDK as the first port needs it, or check that it was started so. The calling thread keeps
 * the CPUs that it may run on.
 */
MUST_CHECK int eal_start(const struct port_options *options, struct err *err);

#define EAL_WORDS 216

/** What DPDK said last, to end a message with; "" when nothing. */
void eal_last_words(char ret[EAL_WORDS]);

#endif
