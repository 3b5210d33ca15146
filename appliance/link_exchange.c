#include "appliance/link_exchange.h"

_Static_assert(EXCHANGE_BLOCK_BYTES <= LINK_RECORD_MAX, "a block is one record");
_Static_assert(EXCHANGE_WINDOW *LINK_RECORD_COST(EXCHANGE_BLOCK_BYTES) <= LINK_WINDOW,
               "a window of blocks fits the link's");

static struct link *link_of(struct exchange *x)
{
    return ((struct link_exchange *)x)->link;
}

static void progress(struct exchange *x)
{
    const struct link_exchange *l = (struct link_exchange *)x;

    if (l->progress)
        l->progress();
}

static uint8_t *reserve(struct exchange *x, size_t bytes)
{
    return link_reserve(link_of(x), bytes);
}

static int commit(struct exchange *x)
{
    progress(x);
    return link_commit(link_of(x));
}

static const uint8_t *take(struct exchange *x, size_t bytes)
{
    progress(x);
    return link_take(link_of(x), bytes);
}

static int error(struct exchange *x)
{
    return link_error(link_of(x), NULL);
}

void link_exchange_init(struct link_exchange *x, struct link *link)
{
    *x = (struct link_exchange){
        .exchange = {.reserve = reserve, .commit = commit, .take = take, .error = error},
        .link = link,
    };
}
