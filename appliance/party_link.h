/* party_link: one session with the other party: TLS for proposals, the share link for shares. */
#ifndef APPLIANCE_PARTY_LINK_H
#define APPLIANCE_PARTY_LINK_H

#include "appliance/link_exchange.h"
#include "appliance/party.h"

struct party_link {
    struct party_state *p;
    struct tls_session *tls;
    struct link *link;
    char nic[HOST_NIC_SIZE]; /* what the link is over */
    struct link_exchange exchange;
    int timeout_ms;
};

/**
 * Take @tls (freed on failure), check that both were configured with the same link and `shape`, and
 * open the share link beside it, under keys that the session exports: over a connection that party
 * 0 makes and that shows the session's token, or in packets between the ports of which each has
 * told the other. Then both say which tapes they hold, and destroy what
 * the other lacks.
 */
MUST_CHECK int party_link_open(struct party_state *p, struct tls_session *tls,
                               struct party_link *ret, struct err *err);

/** Let `status` know what the link has counted. Takes the lock. */
void party_link_note(struct party_link *l);

void party_link_close(struct party_link *l);

/* party_reserve.c */

/** Party 0: a model with tapes to reserve and which, with a reference; NULL when there is nothing
 * to do. The lock is held. */
struct served *party_next_reserve(struct party_state *p, struct message_reserve *ret);

/** Reserve them at both. 0, also when it failed and will be tried again; negative: the session is
 *  over. Takes the lock. */
MUST_CHECK int party_reserve(struct party_link *l, struct served *s, struct message_reserve *m);

/** Party 1: answer a RESERVE. As above. */
MUST_CHECK int party_answer_reserve(struct party_link *l, const uint8_t *bytes, size_t count);

/** The other party's last batch is @peer: discard what is in stock if either ledger is an old copy.
 *  Takes the lock. */
void party_compare(struct party_state *p, struct served *s, uint64_t peer);

#endif
