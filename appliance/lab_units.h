/*
 * lab_units: the three appliances of a lab as units of this host: instances of the shipped
 * mpcformerd@.service, with its sandbox, slice, credentials and watchdog. It takes root.
 *
 * The lab's folder is /run/mpcformer-lab-ID; outside of it is only what the units look for or make:
 *
 *     /etc/mpcformer/lab-ID-NAME.conf      a link to NAME.conf in the folder
 *     /run/systemd/system/mpcformerd@lab-ID-NAME.service.d/      says that its keys are there too
 *     /run/mpcformer/lab-ID-NAME.sock      NAME.control in the folder is a link to it
 *     /var/{lib,cache,log}/mpcformer/lab-ID-NAME
 *
 * The process that made the folder holds a lock on it. The unit mpcformer-lab@ID waits for that
 * lock, then stops the three and removes all of this: so it goes when the process goes, even one
 * that is killed outright.
 */
#ifndef APPLIANCE_LAB_UNITS_H
#define APPLIANCE_LAB_UNITS_H

#include "base/bytes.h"

#include <limits.h>
#include <sched.h>

struct lab_units;

/**
 * Make the folder, start mpcformer-lab@ID. -EPERM to anybody but root, -ENOTSUP on a host that
 * systemd does not run, -ENOENT where the units are not installed.
 */
MUST_CHECK int lab_units_new(struct lab_units **ret, struct err *err);

/** Let go of the lock, and wait until everything is removed. NULL is nothing. */
void lab_units_free(struct lab_units *units);

/** Absolute. */
const char *lab_units_folder(const struct lab_units *units);

/** The CPUs that the slice leaves to the three. */
MUST_CHECK int lab_units_cpus(const struct lab_units *units, cpu_set_t *ret, struct err *err);

/** What the configuration of the appliance @name says of its unit: where keys, state, control
 *  socket and audit log are. */
void lab_units_lines(const struct lab_units *units, const char *name, struct writer *w);

/** Start the three, whose configurations and keys are in the folder. */
MUST_CHECK int lab_units_start(struct lab_units *units, struct err *err);

/** Whether that appliance has ended since, though it may run again; then how, in words. */
bool lab_units_ended(const struct lab_units *units, const char *name, char ret_how[64]);

/** Give the file @path of root's to that appliance, which runs and is to read it. */
MUST_CHECK int lab_units_give(const struct lab_units *units, const char *name, const char *path,
                              struct err *err);

/** The end of its journal, malloced; NULL: it cannot be read. */
char *lab_units_log(const struct lab_units *units, const char *name);

#endif
