/*
 * party: what the threads of a party share. One lock guards all of it, and nothing slow happens
 * under it: no file, no socket, no arithmetic.
 *
 *   control   the operator's commands                               party_control.c
 *   sessions  a fixed number, each serves one owner at a time       party_sessions.c
 *   dealer    takes tapes from the dealer and prepares them         party_dealer.c
 *   store     reads tapes from the disk and prepares them           party_store.c
 *   online    the one that talks to the other party and runs jobs   party_online.c
 *   desk      keeps answers until they are fetched, or writes them  party_desk.c
 *
 * All are made at start. A model that any of them works with is held by a reference, so that
 * unloading one never pulls it from under a job.
 */
#ifndef APPLIANCE_PARTY_H
#define APPLIANCE_PARTY_H

#include "appliance/audit.h"
#include "appliance/commands.h"
#include "appliance/config.h"
#include "appliance/control.h"
#include "appliance/host.h"
#include "appliance/input.h"
#include "appliance/ledger.h"
#include "appliance/messages.h"
#include "appliance/trust.h"
#include "appliance/turns.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#define PARTY_MODELS_MAX      16
#define PARTY_JOBS_MAX        64
#define PARTY_INPUT_BYTES_MAX (4 * INPUT_BYTES_MAX) /* of all jobs */
#define PARTY_OWNER_SHARE     2                     /* one owner may have a half of either */
#define PARTY_SESSION_THREADS 18
#define PARTY_OWNERS_MAX      16 /* at once, of those threads */
#define PARTY_STOCK_MAX       4096
#define PARTY_DESK_MAX        64

enum served_state {
    SERVED_SEED,  /* waits for the dealer's seed of its mask */
    SERVED_PEER,  /* waits for the other party, to open the weights */
    SERVED_READY, /* takes jobs */
    SERVED_FAILED,
};

/* A model that is loaded. */
struct served {
    struct plan *plan;
    struct model *model;
    struct party *party; /* online memory, when ready */
    struct input *input; /* the same */
    enum served_state state;
    struct err error;
    char id[2 * PLAN_ID_BYTES + 1];
    unsigned int users; /* references; the list's own is one */
    bool gone;          /* unloaded: no new use */
    unsigned int tapes; /* an operator's word on how many to keep of each variant; 0: none */
    uint64_t jobs_done;
    struct need {           /* of memory, in bytes: party_memory.c */
        size_t model, most; /* of its weights when it is ready, and until then */
        size_t arenas;      /* of a job, and of a preparation */
        size_t tapes;       /* of the stock of the largest variant */
    } need;

    /* By variant. */
    bool wanted[PLAN_VARIANTS_MAX];    /* a job came: keep tapes in stock */
    uint64_t taken[PLAN_VARIANTS_MAX]; /* tapes that came, in all, in this dealer session */
    uint64_t granted[PLAN_VARIANTS_MAX];
    bool none_told[PLAN_VARIANTS_MAX]; /* party 0: party 1 knows that it holds none */
    uint64_t tape_max;                 /* highest number that came */
    bool subscribed;                   /* the dealer answered, in this session */
    uint64_t asked_ns;                 /* when it was asked last; 0: not yet */
    uint64_t proposed_ns;              /* party 0: when the weights' opening was; 0: not yet */

    /* Of tapes on the disk: party_reserve.c. */
    bool compared;   /* with the batch that the dealer remembers, since the start */
    uint64_t batch;  /* party 0: the last that was struck with such a tape in it */
    uint64_t marked; /* the last that the dealer has written down */
    uint64_t batch_asked, mark_asked_ns; /* of the dealer; 0: not in this session */
    uint64_t reserve_not_ns;             /* nothing is reserved before */
};

/*
 * A tape in stock: in memory, on the disk or, for a moment, in both. Of a party with a tape_store
 * only those that are reserved are used.
 */
struct held {
    struct served *served;
    const struct variant *variant;
    uint64_t number;
    struct tape *tape; /* NULL: on the disk only */
    uint64_t deal_ns;
    uint64_t batch; /* in which it was reserved, and so is struck off; 0: in none */
    bool ready;     /* in memory and prepared */
    bool stored;    /* a file has it */
    bool writing;   /* a file of it is being written */
    bool kept;      /* party 1: the dealer said that party 0 has its half */
};

/* Nobody is working on it: it may be destroyed. */
static inline bool stock_idle(const struct held *h)
{
    return h->ready || h->stored;
}

/* Owned by the thread that admitted it, or by the desk. */
struct job {
    struct job *next;
    uint8_t id[MESSAGE_ID_BYTES];
    char name[2 * MESSAGE_ID_BYTES + 1];
    struct served *served;
    const struct variant *variant;
    uint32_t length[PLAN_BATCH_MAX]; /* (batch) */
    struct identity owner;
    enum job_state state;
    uint32_t limit_ms; /* its owner's; 0: the patience of whoever queues it */
    struct turn turn;  /* while it is queued or runs; its owner is NULL before and after */
    uint64_t queued_ns, begun_ns;
    uint64_t retry_ns;       /* party 1 was not ready for it: not to be proposed before */
    uint64_t stuck_since_ns; /* the other party or the dealer was there */
    size_t input_bytes;
    uint8_t *input;   /* as it came: keys, which are expanded when the job runs */
    uint64_t *output; /* plan_answers() of them */
    struct message_result result;
    enum refusal why;
    struct err error;
};

/* A job that came as a file or that stays, and what became of it. */
struct desk_job {
    struct job *job; /* NULL when it has ended and its answer is written, fetched or too old */
    uint8_t id[MESSAGE_ID_BYTES];
    char name[2 * MESSAGE_ID_BYTES + 1];
    char model[2 * PLAN_ID_BYTES + 1];
    struct identity owner;
    char *output;           /* where the answer goes; NULL: it is kept for its owner */
    uint64_t kept_until_ns; /* 0: has not ended, or is not to be kept any longer */
    unsigned int readers;   /* sessions that send it */
    enum job_state state;
    struct err error;
};

/* How a job can end. */
enum ending {
    ENDING_ANSWERED,
    ENDING_CANCELLED, /* by its owner, who may just have gone, or by an operator */
    ENDING_IN_VAIN,   /* it waited for a tape, a turn or a peer until its time was over */
    ENDING_FAILED,
    ENDINGS,
};

extern const char *const ending_names[ENDINGS];

/* Of one that sessions come and go with: when it came or went, and how often it came. */
struct peer_seen {
    uint64_t since_ns, sessions;
};

struct party_state {
    const struct config *config;
    unsigned int party; /* 0 or 1 */
    struct keeper *keeper;
    struct trust *trust;
    struct audit *audit; /* or NULL */
    struct ledger *ledger;
    struct workers *workers;         /* the online thread's */
    struct workers *offline_workers; /* of who holds the next: the dealer or the store thread */
    pthread_mutex_t offline_lock;    /* taken before the other one, and held for long */
    struct sealed_key *store_key;    /* of kept models and tapes; NULL: nothing is sealed */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* jobs, stock, models, sessions: whatever anybody waits for */
    int dealer_wake;        /* eventfd: wants or models changed */
    atomic_bool stopping;

    struct served *served[PARTY_MODELS_MAX];
    size_t served_count;
    struct held stock[PARTY_STOCK_MAX];
    size_t stock_count, stock_bytes, stock_bytes_max; /* bytes: in memory */
    char tape_folder[PATH_MAX];
    uint64_t store_not_ns; /* nothing is written there before: it failed */
    bool store_sweep;      /* files are there that no tape in stock has */
    struct job *jobs;      /* oldest first */
    size_t job_count;
    struct turns turns;
    struct budgets budgets;
    bool draining; /* no job is admitted */

    /* Party 0: jobs that ended before they began, of which party 1 does not know yet. */
    uint8_t dropped[PARTY_JOBS_MAX][MESSAGE_ID_BYTES];
    size_t dropped_count;

    struct desk_job desk[PARTY_DESK_MAX];
    size_t desk_next;

    struct tls_session *peer_arrived; /* party 1: authenticated, not yet taken by online */
    bool peer_up, dealer_up;
    struct peer_seen peer_seen, dealer_seen;
    uint64_t jobs_done, jobs_failed, tapes_destroyed;
    uint64_t jobs_ended[ENDINGS], jobs_refused[REFUSAL_END];
    uint64_t jobs_bytes, jobs_rounds; /* online, of those that were answered */
    struct histogram online;  /* of jobs that were done: from the proposal to the output share */
    struct histogram queued;  /* of the same: from being queued to the proposal */
    struct histogram offline; /* of tapes: this party's preparation */
    atomic_uint owners;       /* connected */
    int listen_fd, link_listen_fd;
    struct port *port;         /* of link = dpdk; the online thread's */
    struct link_counters link; /* of the session with the peer that is, or was */
    char link_features[LINK_FEATURES_SIZE], link_nic[HOST_NIC_SIZE];
};

/* --- party.c: what the threads do with the shared state --- */

#define PARTY_TEXT_SIZE 160

/** Whether jobs are taken and can be run, and how things stand; the lock is held. */
bool party_ready(const struct party_state *p, char ret_text[PARTY_TEXT_SIZE]);

/** Wait for a change for at most @ms; the lock is held. */
void party_wait(struct party_state *p, unsigned int ms);

/** Tell every waiter, and the dealer thread, that something changed; the lock is held. */
void party_changed(struct party_state *p);

/** By id, with a reference, or NULL; the lock is held. */
struct served *served_find(struct party_state *p, const uint8_t id[PLAN_ID_BYTES]);

/** Give a reference back; the last one frees. Takes the lock. */
void served_put(struct party_state *p, struct served *s);

/** Takes the lock. */
enum served_state served_state_of(struct party_state *p, const struct served *s);

/** Note that a peer came or went; the lock is held. */
void party_seen(struct peer_seen *seen, bool up);

/** The number of a variant in its plan. */
size_t served_variant(const struct served *s, const struct variant *v);

/**
 * Put a model in the list: a share file that is to be opened, or an opened one that was kept.
 * Reads files; takes the lock. @share_path may be NULL when the model was opened here before.
 */
MUST_CHECK int party_load(struct party_state *p, const char *plan_path, const char *share_path,
                          char ret_id[2 * PLAN_ID_BYTES + 1], struct err *err);

/**
 * Whether a model whose plan is there has room in `memory`, and in what the host has to give: what
 * it needs is noted, and counts once it is in the list. -ENOMEM with the figures. Nothing was
 * taken. Takes the lock.
 */
MUST_CHECK int party_admit_model(struct party_state *p, struct served *s, struct err *err);

/** Bytes that tapes in memory may take beside the models; the lock is held. */
size_t party_stock_most(const struct party_state *p);

/** Take it out, wipe its tapes, fail its jobs. Takes the lock. -ENOENT. */
MUST_CHECK int party_unload(struct party_state *p, const char *id, struct err *err);

/** At start: every model that was opened here and not unloaded. */
MUST_CHECK int party_load_kept(struct party_state *p, struct err *err);

/** The model has been opened: keep it, make its online memory. -ESTALE: it was unloaded or failed
 *  meanwhile. Takes the lock. */
MUST_CHECK int party_opened(struct party_state *p, struct served *s, struct err *err);

/** Whether tapes are kept on the disk, and used only when reserved. */
bool party_stores(const struct party_state *p);

/* Stock; the lock is held. A tape that is taken is the caller's. */
MUST_CHECK int stock_add(struct party_state *p, struct served *s, struct tape *tape,
                         uint64_t deal_ns);
struct held *stock_find(struct party_state *p, const struct served *s, uint64_t number);
/** What the next job takes; NULL while there is none, or it is not ready. */
struct held *stock_lowest(struct party_state *p, const struct served *s, const struct variant *v);
/** Of those in memory, or on their way there. */
size_t stock_count(const struct party_state *p, const struct served *s, const struct variant *v);
/** Of the others. */
size_t stock_on_disk(const struct party_state *p, const struct served *s, const struct variant *v);
/** How many of this variant are to be in memory. */
size_t stock_want(const struct party_state *p, const struct served *s, const struct variant *v);
struct held stock_take(struct party_state *p, struct held *h);
void stock_put_back(struct party_state *p, struct held h);
void stock_destroy(struct party_state *p, struct held *h);

/** Destroy all of a model that nobody is working on: how many. */
size_t stock_discard(struct party_state *p, const struct served *s);

/** Wait until the offline team is this thread's, and prepare: tape_prepare(). Without the lock. */
MUST_CHECK int party_prepare(struct party_state *p, struct tape *tape, const struct model *model);

/* Tapes on the disk. */

/** At start, when the models are there: find the tapes that may still be used, remove others. */
MUST_CHECK int party_store_open(struct party_state *p, struct err *err);

/** Bytes of the files there; the lock is held. */
uint64_t party_store_used(const struct party_state *p);

/** How many more tapes of a variant have room there; the lock is held. */
size_t party_store_room(const struct party_state *p, const struct served *s,
                        const struct variant *v);

/**
 * Put a tape that is in stock, complete and not ready, on the disk, durably, and out of memory.
 * False when it cannot be: it is as before, and why is logged. Takes the lock.
 */
bool party_store_put(struct party_state *p, struct served *s, struct tape *tape, uint64_t deal_ns);

/**
 * This ledger, or the other party's, is an old copy: what is in stock of the model may have been
 * used. All of it is struck off and destroyed; @batch is the highest that anybody knows of. Takes
 * the lock.
 */
void party_discard(struct party_state *p, struct served *s, uint64_t batch, const char *why);

/*
 * A job, from admission to its end. Whoever admits it discards it.
 */

/** Check a submission and make room for it; its input is the caller's to fill. Takes the lock. */
MUST_CHECK int job_admit(struct party_state *p, const struct message_submit *m,
                         const struct identity *owner, struct job **ret_job, enum refusal *ret_why,
                         struct err *err);

/** Its input is complete: it may be run, until its deadline or for @patience_ms. Takes the lock. */
void job_queue(struct party_state *p, struct job *job, uint64_t patience_ms);

/** The job that is next and has a tape, or NULL; the lock is held. */
struct job *job_next(struct party_state *p);

/** Whose it is, as its certificate says; @owner NULL is the operator, whose every job is. */
bool job_is_of(const struct identity *of, const struct identity *owner);

/**
 * End a job of @owner's (as job_is_of()) that has not begun, or have the answer of one that stays
 * forgotten. -ENOENT; -EBUSY: it runs. Takes the lock.
 */
MUST_CHECK int job_cancel(struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES],
                          const struct identity *owner, struct err *err);

/** Why a job that is queued should not wait longer, or NULL; the lock is held. */
const char *job_hopeless(struct party_state *p, struct job *job);

/** Wait until nobody works on it, wipe it, free it. Takes the lock. */
void job_discard(struct party_state *p, struct job *job);

/** The job ends, of -ECANCELED or -ETIMEDOUT as a job that was cancelled or waited in vain: whoever
 *  waits for it is told. The lock is held. */
void job_end(struct party_state *p, struct job *job, enum refusal why, int rc,
             const struct err *err);

/* The desk: jobs as files, and jobs that stay. All take the lock. */

/** Queue the job in file @input, its answer to be written to @output; returns at once. */
MUST_CHECK int desk_submit(struct party_state *p, const char *input, const char *output,
                           char ret_name[2 * MESSAGE_ID_BYTES + 1], struct err *err);

/** A job that stays is the desk's from here on. -EAGAIN: no room, it is still the caller's. */
MUST_CHECK int desk_take(struct party_state *p, struct job *job, struct err *err);

/**
 * The answer of @owner's job @id in *ret_job, the caller's to read until desk_release(), or NULL
 * when it has not ended within @ms or until @gone(@context) says that nobody wants it any more.
 * -ENOENT: it has none, or none any more; -EREMOTEIO: it failed, @err says why.
 */
MUST_CHECK int desk_wait(struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES],
                         const struct identity *owner, unsigned int ms, bool (*gone)(void *),
                         void *context, const struct job **ret_job, struct err *err);
void desk_release(struct party_state *p, const struct job *job);

/** Forget an answer that is kept; the lock is held. False when @owner has no such. */
bool desk_forget(struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES],
                 const struct identity *owner);

/** Told of every job that is here, in order of arrival, then of those that the desk remembers. */
struct job_note {
    struct message_job job;
    char name[2 * MESSAGE_ID_BYTES + 1];
    const char *model, *owner,
        *output; /* output: NULL where it is no file; good until it returns */
};

/** @owner as of job_is_of(). @tell runs under the lock. */
void job_list(struct party_state *p, const struct identity *owner,
              void (*tell)(void *context, const struct job_note *note), void *context);

/* What an owner asks in a session about its jobs: party_requests.c. 0, or the session is over. */
struct tls_session;
MUST_CHECK int request_wait(struct party_state *p, struct tls_session *tls, const uint8_t *bytes,
                            size_t count, struct err *err);
MUST_CHECK int request_drop(struct party_state *p, struct tls_session *tls, const uint8_t *bytes,
                            size_t count, struct err *err);
MUST_CHECK int request_list(struct party_state *p, struct tls_session *tls, struct err *err);

/** RESULT of a job that is done. */
MUST_CHECK int request_send_result(struct party_state *p, struct tls_session *tls,
                                   const struct job *job, struct err *err);

/* --- the threads: each runs until p->stopping --- */

void *party_session_thread(void *state);
void *party_dealer_thread(void *state);
void *party_store_thread(void *state);
void *party_online_thread(void *state);
void *party_desk_thread(void *state);

/** Once its thread has ended: what it still held is gone. */
void desk_clear(struct party_state *p);

/** The appliance of a party, from start until @stop_fd (a signalfd) is readable: an exit code. */
int party_main(const struct config *config, struct keeper *keeper, struct trust *trust,
               struct audit *audit, int stop_fd);

/** The command `status`, also what is published as metrics. Any thread. */
int party_status(void *context, json_t *request, json_t *reply, struct err *err);

extern const struct command_handler party_handlers[];
extern const size_t party_handler_count;

#endif
