/* daemon: what a party and a dealer share of being a daemon: start, serve, stop. */
#ifndef APPLIANCE_DAEMON_H
#define APPLIANCE_DAEMON_H

#include "appliance/audit.h"
#include "appliance/config.h"
#include "appliance/keeper.h"
#include "appliance/trust.h"
#include "appliance/web.h"
#include "base/histogram.h"
#include "base/sealed.h"

#include <jansson.h>
#include <pthread.h>

/** Run the role that @config names, its keys with @keeper, until @stop_fd is readable. An exit code
 *  of exit.h. */
int daemon_run(const struct config *config, struct keeper *keeper, int stop_fd);

/** Threads of one daemon, each running until its state says stop. */
#define DAEMON_THREADS_MAX 32

struct daemon_threads {
    pthread_t thread[DAEMON_THREADS_MAX];
    size_t count;
};

MUST_CHECK int daemon_thread(struct daemon_threads *t, const char *name, void *(*body)(void *),
                             void *state, struct err *err);

/** The calling thread takes its place as worker 0; a place that is lost since the start costs only
 *  speed, and a warning. */
void daemon_lead(struct workers *workers);

#define DAEMON_WARNING_DAYS 28

/** The end of start-up: from here on the filter binds all threads (filter.h). What comes from
 * outside is looked at after it, and the sockets that listen are opened before. */
MUST_CHECK int daemon_confine(const struct config *config, struct err *err);

/** Wait until @stop_fd is readable; warn once a day that @trust's certificate ends within weeks. A
 *  daemon whose @keeper is gone can open no session: it logs that, and ends the process. */
void daemon_wait(int stop_fd, struct keeper *keeper, struct trust *trust, struct audit *audit);

/**
 * Wait for the threads; one that is in the middle of a wait for a peer is given a moment, then the
 * process ends as it stands, which every file it writes is made for; @audit is closed then.
 */
void daemon_join(struct daemon_threads *t, struct audit *audit);

/** Read the configuration's file again, and the certificates; open the audit log anew if it was
 *  moved away: the command `reload` of all roles. */
MUST_CHECK int daemon_reload(const struct config *config, struct trust *trust, struct audit *audit,
                             struct err *err);

/** The store key that @config names, as @keeper has it; NULL, and a warning of what lies unsealed,
 * where it names none. The caller frees it. */
MUST_CHECK int daemon_store_key(const struct config *config, struct keeper *keeper,
                                struct sealed_key **ret_key, struct err *err);

/**
 * Listen where the key `metrics` says; -1 when it is not there, or for what failed, which is
 * logged: nobody's job depends on it. Then serve @status, the command's handler, on that; NULL
 * likewise.
 */
int daemon_publish_at(const struct config *config);
struct web *daemon_publish(const struct config *config, int listen_fd, web_status *status,
                           void *context);

/**
 * What `status` says of any daemon: when its certificate ends, in seconds since 1970; the audit
 * log, which may be NULL; memory for secrets in bytes by kind of page, page faults by kind, and the
 * CPU time of its threads by their name, without the number of each.
 */
void daemon_describe(json_t *reply, struct audit *audit, struct trust *trust);

/** The same of durations: how many took less than each power of two ns from @first to @last. */
json_t *daemon_histogram(const struct histogram *h, unsigned int first, unsigned int last);

/** The command "log level". */
int daemon_log_level(void *context, json_t *request, json_t *reply, struct err *err);

/** A mutex, and a condition on the monotonic clock. */
void daemon_lock_init(pthread_mutex_t *lock, pthread_cond_t *changed);

#endif
