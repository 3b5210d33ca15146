/*
 * filter: the system calls that a process of the appliance may make once it has started, a list a
 * kind of process (seccomp). What is not on it ends the process, SIGSYS: no program is run, nobody
 * else is traced, nothing is mounted, no memory becomes executable, no other kind of socket is
 * opened.
 *
 * The process is killed, not told by a signal that it could handle: whoever runs code in it could
 * install the handler. So it cannot log its own end. The kernel does, with the number of the call
 * (audit type 1326 in the journal), as do systemd (status=31/SYS) and, of the keeper, the daemon.
 */
#ifndef APPLIANCE_FILTER_H
#define APPLIANCE_FILTER_H

#include "appliance/config.h"

enum filter_kind {
    FILTER_KEEPER,
    FILTER_DEALER,
    FILTER_URING, /* a party, and how its link moves bytes */
    FILTER_MEMIF,
    FILTER_AF_PACKET,
    FILTER_AF_XDP,
    FILTER_TAP,
    FILTER_PCI,
    FILTER_KINDS,
};

/** Of the daemon that @config says. */
enum filter_kind filter_kind(const struct config *config);

/**
 * Bind every thread of this process, those to come too, for good. Before it: whatever takes more,
 * and the library code of resolving names (net_prepare()), since none can be loaded after it.
 * -ENOSYS and the like where the kernel has no such filters.
 */
MUST_CHECK int filter_install(enum filter_kind kind, struct err *err);

/* --- the table, for its test --- */

/** Calls from here on came after Linux 6.1: they fail with ENOSYS, as they do there, so that a C
 *  library that tries them first goes on as it did. */
#define FILTER_YOUNGER 451
#define FILTER_CALLS   512

#define FILTER_BIT(kind) (1u << (kind))

struct filter_rule {
    int call;
    unsigned int kinds;
    int error; /* 0: allowed; else the call is not made, and fails so */
    unsigned int argument;
    uint64_t mask, value; /* only where (argument & mask) == value */
};

extern const struct filter_rule filter_rules[];
extern const size_t filter_rule_count;

#endif
