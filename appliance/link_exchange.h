/* link_exchange: the online reader's exchange, over a share link. */
#ifndef APPLIANCE_LINK_EXCHANGE_H
#define APPLIANCE_LINK_EXCHANGE_H

#include "dataplane/link.h"
#include "mpc/exchange.h"

struct link_exchange {
    struct exchange exchange;
    struct link *link;
    void (*progress)(void); /* called at each block, may be NULL */
};

/** @x borrows @link, without a @progress yet, and is used on the thread that may use the link. */
void link_exchange_init(struct link_exchange *x, struct link *link);

#endif
