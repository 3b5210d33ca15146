/*
 * The share link: two processes exchange records whose lengths both know in advance, because both
 * walk the same plan. This header is the whole contract; what moves the bytes (memory, io_uring
 * over TCP, packets over a port) cannot be told from here.
 *
 * Order.  Records arrive in the order in which they were committed, whole, unchanged and once. The
 * n-th record that one side takes is the n-th that the other side committed, and its size must be
 * the size asked for.
 *
 * Window.  Each side may commit up to LINK_WINDOW before it takes anything, both sides at once,
 * without a deadlock. A record counts as LINK_RECORD_COST(bytes). Past the window link_reserve()
 * waits for the peer to take.
 *
 * Memory.  A record is written once, where link_reserve() says, sealed there and sent from there;
 * the peer's is received, opened and read in one place. Both places start at a multiple of 64
 * bytes and lie in arenas (dataplane/arena.h) made with the link: no call after creation allocates.
 *
 * Errors.  The first error kills the link for good: from then on every call fails, and link_error()
 * tells why. Each call waits at most `timeout_ms` in all.
 *   -ECONNRESET  the peer's end is gone: closed, killed, or its process died
 *   -ETIMEDOUT   the peer was silent, or too slow, for timeout_ms
 *   -EPROTO      what came is no frame, out of sequence, or not of the size that was due
 *   -EBADMSG     a seal did not hold: the bytes were changed under way, or the keys differ
 *   -EINVAL      a call out of contract (size out of bounds, commit without reserve)
 *   -EOVERFLOW   the keys are used up
 *
 * Threads.  A link is used by one thread, the one that created it, from creation to link_free().
 * The two ends of link_mem_new() may belong to two threads.
 *
 * CT: sizes, numbers and times of records are public; their contents are not looked at except by
 * the cipher, which is constant-time.
 */
#ifndef DATAPLANE_LINK_H
#define DATAPLANE_LINK_H

#include "base/histogram.h"
#include "dataplane/port.h"
#include "dataplane/seal.h"

#define LINK_RECORD_MAX ((size_t)1 << 20) /* bytes in a record; AGREEMENT */
#define LINK_WINDOW     ((size_t)8 << 20) /* what may be under way in each direction; LOCAL */
#define LINK_ALIGN      ((size_t)64)      /* of what reserve and take return */

/** What a record of @bytes takes from the window: header, tag and padding included. */
#define LINK_RECORD_COST_MIN ((size_t)512)
#define LINK_RECORD_COST(bytes)                                                                    \
    MAX(((bytes) + LINK_ALIGN - 1) / LINK_ALIGN * LINK_ALIGN + LINK_ALIGN, LINK_RECORD_COST_MIN)

struct link;

/** Whether large sends over TCP are taken from the arena itself, not from a copy of the kernel's.
 */
enum link_zero_copy {
    LINK_ZERO_COPY_TRY = 0, /* at first; further on, while the kernel reports that it copies none */
    LINK_ZERO_COPY_NEVER,
    LINK_ZERO_COPY_ALWAYS, /* where the kernel can, whatever it reports: for tests */
};

/** All LOCAL: the two sides may differ. */
struct link_options {
    uint32_t timeout_ms;       /* the longest that one call waits; at least 1 */
    uint32_t busy_poll_us_max; /* spin this long before sleeping; LINK_BUSY_POLL_US is a good one */
    enum seal_engine seal;     /* 0: the fastest */
    enum link_zero_copy zero_copy;
};

#define LINK_BUSY_POLL_US        50
#define LINK_BUSY_POLL_PACKET_US 1000 /* a port wakes nobody */

struct link_counters {
    uint64_t sent_records, received_records; /* committed and taken */
    uint64_t sent_bytes, received_bytes;     /* payload of those records */
    uint64_t sent_wire_bytes;                /* what the transport took, framing and seals included;
                                                TCP's and IP's own headers are not */
    uint64_t received_wire_bytes;            /* what the transport gave, taken or not */
    uint64_t seal_failures, frame_failures;  /* -EBADMSG, -EPROTO: either ends the link; but
                                                packets whose seal fails are only dropped */
    uint64_t polls_busy, polls_empty;        /* looks at the transport that found news, or none */
    uint64_t waits;                          /* times the thread went to sleep */
    uint64_t submits;                        /* system calls that started transfers */
    struct histogram rounds; /* from the last commit before a take until that has its record */
    /* Of packets only: */
    uint64_t sent_frames, received_frames;
    uint64_t retransmissions;
    uint64_t duplicates;    /* came although they were there */
    uint64_t strays;        /* were not this session's, or nothing that may come */
    uint64_t credit_stalls; /* times that the peer had no room for what was to be sent */
};

/**
 * Where my next record of @bytes (1..LINK_RECORD_MAX) goes, in the outgoing arena. Waits, receiving
 * meanwhile, until there is room. Valid until link_commit(); a second reserve before that takes the
 * place of the first. What the memory holds is unspecified. NULL on error.
 */
MUST_CHECK uint8_t *link_reserve(struct link *l, size_t bytes);

/**
 * Seal the reserved record in place; it is on its way. Does not wait: small records may stay
 * together until the next take, flush, or until enough of them has gathered. 0 or an error.
 */
MUST_CHECK int link_commit(struct link *l);

/**
 * The peer's next record, which must be exactly @bytes (1..LINK_RECORD_MAX), opened in place. Mine
 * until the next take. Sends what is committed while it waits; when it returns, a part of that may
 * be here still, and leaves with the next call. A peer that has sent something made of all that I
 * committed has it all; else flush before a pause. Records that came in full before the peer left
 * can still be taken. NULL on error.
 */
MUST_CHECK const uint8_t *link_take(struct link *l, size_t bytes);

/**
 * Wait until the transport has taken everything committed: the peer's memory for the in-memory
 * link, the kernel for TCP, which delivers it even if this process ends next, provided that
 * everything the peer sent was taken (else TCP resets the connection). Of zero-copy sends the
 * kernel has nothing but the arena, so for those it is the peer's kernel. 0 or an error.
 */
MUST_CHECK int link_flush(struct link *l);

/** The error that killed @l, its text in @err; 0 while it lives. */
int link_error(const struct link *l, struct err *err);

void link_counters(const struct link *l, struct link_counters *ret);

/** What of the kernel's offers is in use, now: a short text; "" for a kind that needs none. */
#define LINK_FEATURES_SIZE 160
void link_features(const struct link *l, char *ret, size_t bytes);

/** Close my end, wipe its arenas. What was not flushed is lost. NULL is nothing. */
void link_free(struct link *l);

/**
 * Both ends of a link in this process's memory, @ret[0] and @ret[1], each for one thread. @keys
 * are those of end 0, end 1 has them mirrored; with NULL the records are framed but not sealed. For
 * tests and for a replay of both parties in one process.
 */
MUST_CHECK int link_mem_new(const struct seal_keys *keys, const struct link_options *options,
                            struct link *ret[2], struct err *err);

/* Streams of a link over TCP; AGREEMENT. */
#define LINK_STREAMS_MAX 8

/**
 * A link over the @count (1..LINK_STREAMS_MAX) @fds, connected TCP sockets on which nothing is left
 * to read or write from before, in the same order at both ends: records take turns. It has an
 * io_uring of its own. Call it on the thread that will use the link: the ring is bound
 * to that thread, and transfers from another one are refused with -EINVAL. Takes some 30 ms a
 * stream with small pages. On success the link owns the sockets, makes them blocking
 * and raises their buffers; on failure they stay the caller's. @keys are used for this link only
 * and may be freed afterwards.
 *
 * Older kernels give fewer ring features, which costs speed only: link_features() tells. -EPERM or
 * -ENOSYS, with what to change in @err, when io_uring is not allowed at all; -ENOTSOCK, -ENOTCONN,
 * -EPROTONOSUPPORT for a wrong socket.
 */
MUST_CHECK int link_uring_new(const int fds[], unsigned int count, const struct seal_keys *keys,
                              const struct link_options *options, struct link **ret,
                              struct err *err);

struct packet_path; /* dataplane/packet.h */

/** What a link of packets is between. */
struct link_packet_options {
    struct port *port;              /* lent to the link until it is freed */
    const struct packet_path *path; /* the same at the peer, mirrored */
    uint32_t session;               /* the same at the peer; new in each session */
    uint32_t peer_frame_max;        /* the smaller frame_max of both ports decides */
    int lifeline;                   /* a connected stream socket to the peer's process, which only
                                       tells when that is gone; -1: silence alone does */
    unsigned int epoch_bits;        /* the key changes every 2^this packets, 16..32; the same at
                                       the peer; 0: LINK_EPOCH_BITS */
};

/* 2^22 packets of a jumbo frame are 36 GB, a tenth of what TLS allows AES-GCM under one key. */
#define LINK_EPOCH_BITS 22

/**
 * A link of packets over a port (docs/link.md): pieces of records, placed by number, repeated when
 * they get lost. @data and @control are two pairs of keys that nothing else uses. Both ends must
 * call this at about the same time: it returns when packets of full size have passed both ways.
 *
 * While nobody calls, a thread of the link's own looks at the port every millisecond, so that the
 * peer is answered. Waiting is spinning, for busy_poll_us_max, then a look every 50 us.
 *
 * Packets that do not belong or whose seal does not hold are counted and dropped, not errors.
 * -ETIMEDOUT when no packet comes through, with what to look at in @err.
 */
MUST_CHECK int link_packet_new(const struct link_packet_options *where,
                               const struct seal_keys *data, const struct seal_keys *control,
                               const struct link_options *options, struct link **ret,
                               struct err *err);

/** A line: how many bits a second it takes, how long each then travels. */
struct link_line {
    uint64_t bits_per_s; /* 0: no bound */
    uint32_t delay_us;   /* one way */
};

/**
 * Impose @line on @inner: a record can be taken no earlier than it would have come over such a line
 * that carries one frame after the other (frame bytes as the inner link has them, no TCP or IP
 * headers, no loss). @inner becomes the new link's, also its thread. On failure it stays the
 * caller's.
 *
 * The sender puts the time of arrival, 8 bytes of CLOCK_MONOTONIC, behind each record, so both ends
 * must be shaped and on one machine, where that clock is common: this is for benchmarks and tests.
 * The stamps count as wire bytes. -EINVAL when @inner is shaped already.
 */
MUST_CHECK int link_shape_new(struct link *inner, const struct link_options *options,
                              const struct link_line *line, struct link **ret, struct err *err);

#endif
