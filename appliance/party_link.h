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

#endif
