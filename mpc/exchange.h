/*
 * exchange: what the online reader sees of the way to the other party.
 *
 * Both parties walk the same plan, so both know the size of every block before it comes. A block is
 * reserved in the outgoing arena, filled, committed; the peer's block of the same size is then
 * taken. The owner of the daemon's links implements it over a link; nothing here knows which.
 */
#ifndef MPC_EXCHANGE_H
#define MPC_EXCHANGE_H

#include "base/base.h"

/* A block is at most this long, and this many may be committed before the first is taken. */
#define EXCHANGE_BLOCK_BYTES ((size_t)64 << 10)
#define EXCHANGE_WINDOW      32

/* Every block but the last of a round is a multiple of as many units. */
#define EXCHANGE_UNITS 8

struct exchange {
    /** Where the next block of 1..EXCHANGE_BLOCK_BYTES bytes goes; NULL: the link is dead. */
    uint8_t *(*reserve)(struct exchange *x, size_t bytes);

    /** Seal it in place and send it. 0 or a negative errno. */
    int (*commit)(struct exchange *x);

    /** The peer's next block, which has @bytes bytes, valid until the next take; NULL: dead. */
    const uint8_t *(*take)(struct exchange *x, size_t bytes);

    /** Why a reserve or a take gave NULL: a negative errno. */
    int (*error)(struct exchange *x);

    size_t ahead; /* blocks that were sent, less those that were taken */

    /* Counted, for the owner to read. */
    uint64_t bytes_sent; /* payload of this side */
    uint64_t rounds;
};

/** Write @count units from @first on to @to. */
typedef void exchange_fill(void *context, size_t first, size_t count, uint8_t *to);

/** See to it that @count units from @first on can be filled. 0 or a negative errno. */
typedef int exchange_ready(void *context, size_t first, size_t count);

/** Use the peer's @count units from @first on. */
typedef void exchange_use(void *context, size_t first, size_t count, const uint8_t *from);

/* One round: both sides send @count units of @unit_bytes each, block by block. */
struct round {
    size_t count, unit_bytes;
    size_t block; /* units that are sent at once at the most; 0: as many as a block can hold */
    exchange_ready *ready; /* NULL: they all can */
    exchange_fill *fill;
    exchange_use *use;
    void *context; /* of all three, until everything is taken */
    size_t sent, taken;
};

/**
 * Send all units of @r, whose counters are zero. What fill() has written leaves this party: the
 * caller has masked it. Never more than EXCHANGE_WINDOW blocks ahead of what was taken, so that
 * neither side can block the other: when it comes to that, units of @before are taken (NULL: none
 * is under way), else of @r itself. ready() may take units of @before, too.
 * Returns 0 or the link's negative errno.
 */
MUST_CHECK int exchange_send(struct exchange *x, struct round *r, struct round *before);

/** Take units until @count of @r are taken (all of any round before it were). */
MUST_CHECK int exchange_take(struct exchange *x, struct round *r, size_t count);

/** Both, for one round alone. use() may have seen a part when it fails. */
MUST_CHECK int exchange_all(struct exchange *x, size_t count, size_t unit_bytes,
                            exchange_fill *fill, exchange_use *use, void *context);

#endif
