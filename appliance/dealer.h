/*
 * dealer: the appliance that deals tapes. It holds plans and masks, never a weight or a token, and
 * forgets the seeds of a tape when both parties have it.
 *
 * One thread accepts the parties' sessions, one talks to both and deals, one serves the control
 * socket. A model's two files in the state folder: ID.plan, and ID.mask (mask_file.h).
 */
#ifndef APPLIANCE_DEALER_H
#define APPLIANCE_DEALER_H

#include "appliance/audit.h"
#include "appliance/commands.h"
#include "appliance/config.h"
#include "appliance/control.h"
#include "appliance/ledger.h"
#include "appliance/mask_file.h"
#include "appliance/messages.h"
#include "appliance/trust.h"
#include "base/histogram.h"
#include "mpc/deal.h"

#include <pthread.h>
#include <stdatomic.h>

#define DEALER_MODELS_MAX 16

/* What one party has been told and has asked for, in its present session. */
struct dealt_to {
    bool subscribed;
    uint64_t granted[PLAN_VARIANTS_MAX], dealt[PLAN_VARIANTS_MAX];
};

struct dealt_model {
    struct plan *plan;
    struct mask_weights *masks;
    struct dealing *dealing;
    struct mask_record mask; /* as it lies on the disk */
    char id[2 * PLAN_ID_BYTES + 1];
    uint64_t next; /* tape number */
    struct dealt_to party[2];
    uint64_t tapes_dealt;
    unsigned int users;
};

struct dealer_state {
    const struct config *config;
    struct keeper *keeper;
    struct trust *trust;
    struct audit *audit;          /* or NULL */
    struct sealed_key *store_key; /* of mask files; NULL: they are not sealed */
    struct workers *workers;      /* the dealing thread's */
    struct ledger *ledger;        /* empty: its lock keeps a second dealer out of the folder */
    pthread_mutex_t lock;
    struct dealt_model *models[DEALER_MODELS_MAX];
    size_t model_count;
    struct tls_session *arrived[2]; /* not yet taken by the dealing thread */
    bool party_up[2];
    atomic_bool renew; /* a model went: the parties are to subscribe anew */
    int wake;          /* eventfd */
    int listen_fd;
    struct histogram offline; /* of tapes: until both parties have theirs */
    atomic_bool stopping;
};

/** By id, with a reference, or NULL. Takes the lock. */
struct dealt_model *dealer_find(struct dealer_state *d, const uint8_t id[PLAN_ID_BYTES]);
void dealer_put(struct dealer_state *d, struct dealt_model *m);

/** Load a plan; its masks are drawn now, or read when this id was here before. */
MUST_CHECK int dealer_load(struct dealer_state *d, const char *plan_path,
                           char ret_id[2 * PLAN_ID_BYTES + 1], struct err *err);
MUST_CHECK int dealer_load_kept(struct dealer_state *d, struct err *err);
MUST_CHECK int dealer_unload(struct dealer_state *d, const char *id, struct err *err);

/** The next tape number, above @above, durably out of use before it returns. */
MUST_CHECK int dealer_number(struct dealer_state *d, struct dealt_model *m, uint64_t *ret_number,
                             struct err *err);

/** Both parties have struck batch @batch off: to be remembered, durably, before it returns. */
MUST_CHECK int dealer_mark(struct dealer_state *d, struct dealt_model *m, uint64_t batch,
                           struct err *err);

/** A party has seen numbers up to @max: never deal one of those again. */
void dealer_skip_to(struct dealer_state *d, struct dealt_model *m, uint64_t max);

#define DEALER_TEXT_SIZE 96

/** Whether there is a plan and somebody to deal for, and how things stand; the lock is held. */
bool dealer_ready(const struct dealer_state *d, char ret_text[DEALER_TEXT_SIZE]);

void *dealer_session_thread(void *state);
void *dealer_thread(void *state);

/** The appliance of the dealer, from start until @stop_fd is readable: an exit code. */
int dealer_main(const struct config *config, struct keeper *keeper, struct trust *trust,
                struct audit *audit, int stop_fd);

/** The command `status`, also what is published as metrics. Any thread. */
int dealer_status(void *context, json_t *request, json_t *reply, struct err *err);

extern const struct command_handler dealer_handlers[];
extern const size_t dealer_handler_count;

#endif
