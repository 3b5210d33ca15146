/*
 * lab: party0, party1 and the dealer on this machine, in a folder of their own, for the demo, the
 * tests and the benchmarks. The three are real `mpcformerd` processes with real certificates; only
 * the administrators are not separate, so a lab protects nothing. They are child processes, which
 * needs no privilege; or units of this host (lab_units.h).
 *
 * The folder, which only its user may enter:
 *
 *     authority.key .pem                    signs the others
 *     NAME.key .csr .pem .conf              NAME: party0, party1, dealer, owner
 *     NAME.control NAME.log NAME/           of an appliance: control socket, log, state
 *     model/plan.mpcf party0.share party1.share client/    what `mpcformer share` writes
 *
 * Whoever uses a lab fills model/ between lab_new() and lab_start(). The appliances listen on free
 * ports of 127.0.0.1; they are told to end, and made to, when the process that started them goes,
 * however it goes.
 */
#ifndef APPLIANCE_LAB_H
#define APPLIANCE_LAB_H

#include "appliance/config.h"
#include "appliance/identity.h"
#include "base/base.h"

#include <limits.h>
#include <sys/types.h>

/** What the environment of a command in a lab says besides TOOL_SOCKET_VARIABLE. */
#define LAB_FOLDER_VARIABLE "MPCFORMER_LAB"

struct lab_options {
    unsigned int tapes;      /* kept in stock; 0: the appliances' default */
    unsigned int timeout_ms; /* of a step of a session; 0: the appliances' default */
    unsigned int workers;    /* of each party; 0: the appliances' default. On CPUs of their own when
                                there are enough for both parties */
    enum config_link link;   /* of dpdk: memif, in huge pages where enough are free */
    const char *shape;       /* of the share link, as the key takes it; NULL: none */
};

struct lab;

/**
 * A lab in @state, which is made when it is not there and kept at the end; or, with NULL, in a
 * folder under $TMPDIR (or /tmp) that lab_free() removes with all that is in it (and that stays
 * when this process is killed outright). A lab in a kept
 * folder goes on with the certificates, the model and the state that it finds.
 *
 * From here on SIGINT, SIGTERM, SIGHUP and SIGCHLD are blocked in this process: lab_start() and
 * lab_run() look at them. Call it before any thread is made, and one lab at a time.
 */
MUST_CHECK int lab_new(const char *state, struct lab **ret_lab, struct err *err);

/** A lab whose appliances are units, in a folder that lab_free() removes; errors as those of
 *  lab_units_new(). Otherwise the same. */
MUST_CHECK int lab_new_units(struct lab **ret_lab, struct err *err);

/** End the appliances, remove a folder that is not to be kept. NULL is nothing. */
void lab_free(struct lab *lab);

/** Absolute. */
const char *lab_folder(const struct lab *lab);

/** "FOLDER/@name". */
MUST_CHECK int lab_path(const struct lab *lab, const char *name, char ret_path[PATH_MAX],
                        struct err *err);

/** Whether model/ holds a plan already. */
bool lab_has_model(const struct lab *lab);

/**
 * Start the three, load the model, wait until all of them are ready for jobs. -EINTR after a signal
 * to end; on other errors the last lines of the log that matters go to stderr.
 */
MUST_CHECK int lab_start(struct lab *lab, const struct lab_options *options, struct err *err);

/** The child process that an appliance is. */
pid_t lab_pid(const struct lab *lab, enum role role);

/**
 * Wait until the three have nothing left to do: no tape to deal or prepare. -ETIMEDOUT when that
 * does not come; -ECHILD when one of them is gone. For a benchmark, in lab_run()'s child, of child
 * processes.
 */
MUST_CHECK int lab_settle(const struct lab *lab, struct err *err);

/**
 * Run @main in a child process whose environment names the lab, with signals as they are by
 * default, and return its exit code (128 and the signal's number when a signal ended it). @main may
 * exec. Signals to end are handed on to it; an appliance that ends meanwhile is reported on stderr,
 * a unit at the end.
 * With a NULL @main it waits for a signal to end, and returns 0.
 */
int lab_run(struct lab *lab, int (*main)(void *context), void *context);

#endif
