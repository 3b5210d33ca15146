/*
 * The two halves of a packet link, for link_packet.c and their own files only: what goes out and
 * waits to be acknowledged (packet_out.c), what comes in and where it belongs (packet_in.c).
 *
 * Records are cut at multiples of `chunk` and their pieces numbered in order, so a number is the
 * nonce of its piece, its place in the receiver's bitmap and its name in an acknowledgement, all in
 * one. Each half places records in its arena by their position, which advances by packet_step();
 * both count the same, so a piece goes straight to where the record will be read.
 */
#ifndef DATAPLANE_PACKET_LINK_H
#define DATAPLANE_PACKET_LINK_H

#include "dataplane/arena.h"
#include "dataplane/link_kind.h"
#include "dataplane/packet.h"

#include <pthread.h>
#include <stdatomic.h>

#define PACKETS      32768u /* numbers that a half keeps, so in flight at the most */
#define CREDIT_MAX   512u   /* packets; the bits of a state's map */
#define CREDIT_BYTES (512u << 10)

/* A state's body: the highest number that is waited for, then the map from `next` on. */
#define STATE_BYTES (8 + CREDIT_MAX / 8)

/** How far a record of @bytes moves the position: what is in a window has numbers enough. */
static inline size_t packet_step(size_t bytes)
{
    return MAX((bytes + LINK_ALIGN - 1) & ~(LINK_ALIGN - 1), LINK_RECORD_COST_MIN);
}

_Static_assert(ARENA_ROOM / LINK_RECORD_COST_MIN <= PACKETS, "a number for every small record");

static inline uint8_t *packet_place(const struct arena *a, uint64_t position)
{
    return a->at + position % ARENA_BYTES;
}

/** A key that changes every 2^epoch_bits packets. */
struct packet_key {
    struct seal_direction now; /* of `epoch` */
    uint64_t epoch;
};

/** A piece that was sealed. */
struct packet_piece {
    uint64_t at; /* its position */
    uint64_t sent_ns;
    uint32_t bytes;
    bool again; /* sent more than once: tells nothing of round trips */
    uint8_t head[PACKET_BYTES];
};

/* acked <= sent <= made; released <= committed <= released + ARENA_ROOM */
struct packet_out {
    struct arena arena;
    struct packet_piece *pieces; /* PACKETS of them, by number */
    struct packet_key key;
    struct seal *seal;
    uint64_t committed, released;      /* positions */
    uint64_t made, sent, acked, limit; /* numbers; up to `limit` the peer has room */
    uint64_t control;                  /* the next number of the other kind */
    uint64_t progress_ns, tail_ns;     /* when `acked` last grew; how long that may last */
    uint64_t rtt_ns;                   /* smoothed; 0: not known yet */
    bool stalled;                      /* for want of credit */
};

/** What an incoming piece says about itself. */
struct packet_claim {
    uint64_t position;
    uint32_t record_bytes, offset;
};

/* first <= next <= beyond; released <= released + held <= positions that come */
struct packet_in {
    struct arena arena;
    struct packet_claim *claims; /* PACKETS of them, by number */
    uint64_t *map;               /* a bit a number from `next` on: it is there */
    struct packet_key key;       /* of the newest epoch seen */
    struct seal *seal[2];        /* of that epoch and the one before, by the last bit */
    uint64_t released, held;
    uint64_t first, next, beyond; /* of the next record; that lacks; one more than the highest */
    uint64_t control_min;         /* the least number of the other kind that is new */
    uint64_t awaited;             /* a take waits for the numbers below */
    uint64_t told_next, told_released, told_ns; /* what the peer heard last, and when in a state */
    uint64_t came_ns, gap_ns;   /* when a piece last came; since when one is missing, 0: none is */
    uint64_t nag_ns, nag_at_ns; /* how long a take waits until it asks, and when it does next */
    bool repeat;                /* the peer seems not to know what I have */
};

struct packet_link {
    struct link link;
    struct port *port;
    struct packet_path path;
    uint32_t session;
    uint32_t chunk, credit;
    unsigned int epoch_bits;
    int lifeline;
    pthread_mutex_t lock; /* all of this struct but `stopping`, and of `link` the counters here */
    pthread_t service;
    bool service_runs, lent;
    atomic_bool stopping;
    struct seal *control;
    struct packet_out out;
    struct packet_in in;
    int rc; /* what is wrong, whoever found it */
    struct err err;
    uint64_t now_ns; /* as of late: reading it costs as much as looking at the port */
    uint64_t pumped_ns, lifeline_ns, gone_ns;
    bool open, hello, hello_seen, hello_owed, closed;
    uint64_t hello_ns;
    uint8_t scratch[PORT_FRAME_MAX];
};

/* --- link_packet.c --- */

/** Nothing goes on from here: the next call on the link fails with @code. Returns what was first.
 */
int packet_fail(struct packet_link *p, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/** The seal of @epoch under @key, which is moved on to it. NULL when there is no memory. */
struct seal *packet_seal_of(struct packet_link *p, struct packet_key *key, uint64_t epoch,
                            bool sending);

/* --- packet_out.c --- */

/** Cut and seal the record of @bytes that stands at `committed`. */
MUST_CHECK int packet_out_commit(struct packet_link *p, size_t bytes);

/** Send what there is credit for. */
void packet_out_send(struct packet_link *p);

/** What a packet of the peer's says about what it has. -EPROTO if that cannot be. */
MUST_CHECK int packet_out_heard(struct packet_link *p, const struct packet *said);

/** Send again what a state's @body says is missing, and what nothing was heard of for long. */
void packet_out_repair(struct packet_link *p, uint64_t next, const uint8_t body[STATE_BYTES]);
void packet_out_guard_tail(struct packet_link *p);

/** Send a packet of another kind: @body_bytes of @body are sealed in place. */
void packet_out_control(struct packet_link *p, enum packet_type type, uint8_t *body,
                        size_t body_bytes);

/** The head of a packet from here: type, session, number and what I have. */
struct packet packet_head(struct packet_link *p, enum packet_type type, uint64_t number);

/* --- packet_in.c --- */

/** A data packet: put its body in place, if it is new and true. An error kills the link. */
MUST_CHECK int packet_in_data(struct packet_link *p, const struct packet *packet,
                              const uint8_t *head, size_t body_bytes);

/** Tell the peer what I have, if it is time to. */
void packet_in_tell(struct packet_link *p);

/** 1 when the next record, which must have @bytes, is whole; 0 when not yet; -EPROTO. */
MUST_CHECK int packet_in_ready(struct packet_link *p, size_t bytes);

#endif
