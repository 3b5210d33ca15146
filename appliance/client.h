/*
 * client: a data owner's way to an answer. It holds a session with each party, splits every input
 * between them, gives each its share, takes a share of the logits back from each, and adds the two.
 *
 * Both parties must serve the plan that the owner has, by its hash, before they are sent anything.
 * Every job has a fresh id and a fresh split. After any error both sessions are closed, which ends
 * what the parties still hold of the job; the next job opens new ones.
 */
#ifndef APPLIANCE_CLIENT_H
#define APPLIANCE_CLIENT_H

#include "appliance/config.h"
#include "appliance/messages.h"
#include "appliance/turns.h"
#include "transformer/tokenizer.h"

struct client;

/* What one job took, from what the parties measured. */
struct client_figures {
    /* Of each text: the guard that saw a value leave the plan's range, or NULL. */
    const struct guard *outside[PLAN_BATCH_MAX];
    double online_ms;         /* the slower party, from the proposal to its output share */
    double offline_party_ms;  /* the slower party's preparation of the tape */
    double offline_dealer_ms; /* the dealer's making of it */
    uint64_t bytes_online;    /* sent by the party that sends more */
    uint64_t bytes_upload;    /* the input, to one party */
    uint64_t rounds_online;
    uint64_t wall_ns;          /* here, from the first byte sent until the answer is whole */
    struct online_stats stats; /* of party 0 */
};

/* What an owner says of its jobs; all zero but the priority is what is usual. */
struct client_terms {
    unsigned int priority; /* among its own: 0 to TURNS_PRIORITY_MAX, which goes first */
    uint32_t deadline_ms;  /* begin within it, or refuse; 0: within the parties' patience */
};

#define CLIENT_TERMS_USUAL                                                                         \
    {                                                                                              \
        .priority = TURNS_PRIORITY_DEFAULT                                                         \
    }

/**
 * @config of an owner and @plan stay the caller's and outlive the client. Connects to nobody yet.
 */
MUST_CHECK int client_new(const struct config *config, const struct plan *plan,
                          struct client **ret_client, struct err *err);
void client_free(struct client *client);

/** Of the jobs from now on; CLIENT_TERMS_USUAL until called. */
void client_set_terms(struct client *client, const struct client_terms *terms);

/**
 * Ask both parties whether they serve the plan. Blocks for timeout_ms a step. -ENOENT: a party does
 * not, -EAGAIN: not yet; errors name the party.
 */
MUST_CHECK int client_connect(struct client *client, struct err *err);

/** The socket of the session with @party; -1 without one. */
int client_socket(const struct client *client, unsigned int party);

/**
 * Run one job on the @count texts at @e, of any lengths, in the smallest variant of @mode that
 * holds them, connecting where necessary. @ret_logits: plan->labels for each text, NaN where
 * ret_figures->outside is set. Blocks, a few times timeout_ms at the most; a party that dies is
 * noticed at once. -EREMOTEIO: a party refuses, its reason in @err; -ETIMEDOUT, -ECONNRESET,
 * -EPROTO. CT: what is sent depends on the variant and, where they are public, on the lengths.
 */
MUST_CHECK int client_run(struct client *client, const struct encoding e[], size_t count,
                          enum length_mode mode, double ret_logits[],
                          struct client_figures *ret_figures, struct err *err);

/*
 * Jobs that stay at the parties when their owner goes. Each of these connects where it must; an
 * owner has no other owner's jobs.
 */

/** Leave a job of one text at both parties; errors as of client_run(), and then neither keeps it
 *  for longer than its deadline. */
MUST_CHECK int client_submit(struct client *client, const struct encoding *e, enum length_mode mode,
                             uint8_t ret_job[MESSAGE_ID_BYTES], struct err *err);

/**
 * Wait for @job's answer, as client_run() gives it, for at most @wait_ms, and have both parties
 * forget it. -EREMOTEIO: it failed, or no such job is there; -ETIMEDOUT: it has not ended.
 */
MUST_CHECK int client_wait(struct client *client, const uint8_t job[MESSAGE_ID_BYTES],
                           uint64_t wait_ms, double ret_logits[],
                           struct client_figures *ret_figures, struct err *err);

/** End a job that has not begun, or have its answer forgotten. -EREMOTEIO: as party 0 says; at
 *  party 1 it may be gone already. */
MUST_CHECK int client_drop(struct client *client, const uint8_t job[MESSAGE_ID_BYTES],
                           struct err *err);

/** The owner's jobs at party 0, and those that it remembers: the caller's to free(). */
MUST_CHECK int client_list(struct client *client, struct message_job **ret_jobs, size_t *ret_count,
                           struct err *err);

#endif
