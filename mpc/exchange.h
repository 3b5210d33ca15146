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

    /* Counted by exchange_all(), for the owner to read. */
    uint64_t bytes_sent; /* payload of this side */
    uint64_t rounds;
};

/** Write @count units from @first on to @to. */
typedef void exchange_fill(void *context, size_t first, size_t count, uint8_t *to);

/** Use the peer's @count units from @first on. */
typedef void exchange_use(void *context, size_t first, size_t count, const uint8_t *from);

/**
 * One round: send @count units of @unit_bytes each and use as many of the peer's, block by block,
 * at most EXCHANGE_WINDOW blocks ahead, so that neither side can block the other. What fill() has
 * written leaves this party: the caller has masked it.
 *
 * Returns 0 or the link's negative errno; use() may then have seen a part.
 */
MUST_CHECK int exchange_all(struct exchange *x, size_t count, size_t unit_bytes,
                            exchange_fill *fill, exchange_use *use, void *context);

#endif
