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

/**
 * @config of an owner and @plan stay the caller's and outlive the client. Connects to nobody yet.
 */
MUST_CHECK int client_new(const struct config *config, const struct plan *plan,
                          struct client **ret_client, struct err *err);
void client_free(struct client *client);

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

#endif
