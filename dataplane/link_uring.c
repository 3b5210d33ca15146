/*
 * A link over TCP through io_uring, over one stream or several, in turn: the n-th record of a
 * direction goes over stream n modulo their count. Sequences, and so nonces, count the records of
 * all streams together, under one key a direction.
 *
 * Of each stream one send and one receive are under way at a time, each straight from or into its
 * arena: the send covers all that is committed, up to CHUNK_MAX, the receive all the room there is.
 * So a stream needs no reordering, and many small records share one call. All streams have one ring
 * and one thread.
 *
 * Positions count bytes of each direction's frames in a stream:
 *
 *     outgoing:  kept <= sent <= committed <= kept + ARENA_ROOM
 *     incoming:  released <= released + held <= received <= released + ARENA_ROOM
 *
 * where kept is `sent`, or the start of the first zero-copy send that the kernel still reads.
 *
 * The arenas are registered where the limit on locked memory allows, which saves looking their
 * pages up for every receive and every zero-copy send. Other sends are plain: WRITE_FIXED cannot
 * say MSG_NOSIGNAL.
 *
 * Receives are single ones. Multishot receives were measured against them (loopback, both ways at
 * once, medians): at 64 bytes there is no difference; a round of 64 KiB took 39 us with a copy from
 * provided buffers and 36 us straight into one buffer that is consumed by and by, against 29 us;
 * 1 MiB 950 and 430 us against 400. They save a system call a receive and get smaller pieces.
 *
 * Committing only notes bytes until KICK_BYTES have gathered; take and flush hand them over. Since
 * the outgoing arena alone holds a whole window, and the incoming one another, neither side's
 * window waits for the other to take.
 */
#include "dataplane/arena.h"
#include "dataplane/frame.h"
#include "dataplane/link_kind.h"
#include "dataplane/zero_copy.h"

#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_ENTRIES 64 /* completions have twice as many places: for notifications */
_Static_assert(2 * LINK_STREAMS_MAX <= RING_ENTRIES, "a send and a receive of each stream fit");
#define KICK_BYTES    ((size_t)256 << 10)
#define CHUNK_MAX     ((size_t)1 << 20)
#define SOCKET_BUFFER (8 << 20)
#define FREE_WAIT_MS  200
#define PEER_GONE     "the peer closed the connection"
#define NOT_PERMITTED_TEXT                                                                         \
    "allow the io_uring calls (SystemCallFilter= of the unit, the container's "                    \
    "seccomp profile) and set kernel.io_uring_disabled=0"

/* Linux 6.2: whether a zero-copy send was one. Older headers lack the names. */
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE  (1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

/* What an entry is, in the low bits of its data, and of which stream; the number of a zero-copy
 * send is above. */
enum transfer { SEND = 1, RECEIVE = 2, SEND_ZERO_COPY = 3 };
#define TRANSFER_BITS 2
#define STREAM_BITS   3
_Static_assert(LINK_STREAMS_MAX <= 1 << STREAM_BITS, "a stream's number fits");

struct stream {
    struct uring *uring;
    unsigned int number;
    int fd;
    struct arena outgoing, incoming;
    struct zero_copy zero_copy;
    uint64_t sent, committed;
    uint64_t released, received;
    size_t held;             /* frame bytes of the record that was taken last, if it was here */
    bool sending, receiving; /* a transfer is with the kernel */
    bool send_gone, receive_gone; /* the peer's end of that direction */
};

struct uring {
    struct link link;
    struct framer framer;
    struct io_uring ring;
    struct stream streams[LINK_STREAMS_MAX];
    unsigned int count;
    bool ring_made, fixed_file, fixed_incoming;
    bool napi; /* waiting looks at the port */
    const char *ring_kind;
    pthread_t owner; /* whose ring it is; not every kernel checks */
};

static struct uring *uring_of(struct link *l)
{
    return (struct uring *)l;
}

static int call_failed(struct uring *u, int rc, const char *what)
{
    return link_fail(&u->link, rc, "io_uring: %s: %s", what, strerror(-rc));
}

static bool gone(int rc)
{
    return rc == -ECONNRESET || rc == -EPIPE || rc == -ECONNABORTED || rc == -ENOTCONN;
}

static int sent_some(struct stream *s, int rc)
{
    s->sending = false;
    if (rc > 0) {
        s->sent += (uint64_t)rc;
        s->uring->link.counters.sent_wire_bytes += (uint64_t)rc;
    } else if (gone(rc)) {
        s->send_gone = true;
    } else if (rc < 0 && rc != -EAGAIN && rc != -EINTR) {
        return link_fail(&s->uring->link, rc, "sending to the peer failed: %s", strerror(-rc));
    }
    return 0;
}

static int received_some(struct stream *s, int rc)
{
    s->receiving = false;
    if (rc > 0) {
        s->received += (uint64_t)rc;
        s->uring->link.counters.received_wire_bytes += (uint64_t)rc;
    } else if (rc == 0 || gone(rc)) {
        s->receive_gone = true;
    } else if (rc != -EAGAIN && rc != -EINTR) {
        return link_fail(&s->uring->link, rc, "receiving from the peer failed: %s", strerror(-rc));
    }
    return 0;
}

/* Note one completion. */
static int completed(struct uring *u, const struct io_uring_cqe *cqe)
{
    uint64_t data = io_uring_cqe_get_data64(cqe);
    enum transfer t = (enum transfer)(data & ((1u << TRANSFER_BITS) - 1));
    struct stream *s = &u->streams[data >> TRANSFER_BITS & ((1u << STREAM_BITS) - 1)];
    unsigned int number = (unsigned int)(data >> (TRANSFER_BITS + STREAM_BITS));

    if (t == RECEIVE)
        return received_some(s, cqe->res);
    if (t == SEND_ZERO_COPY && cqe->flags & IORING_CQE_F_NOTIF) {
        zero_copy_notified(&s->zero_copy, number,
                           (unsigned int)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED);
        return 0;
    }
    if (t == SEND_ZERO_COPY &&
        zero_copy_queued(&s->zero_copy, number, cqe->res, cqe->flags & IORING_CQE_F_MORE))
        return sent_some(s, -EAGAIN);
    return sent_some(s, cqe->res);
}

/* Note what the kernel has finished. Returns how many transfers, or an error. */
static int harvest(struct uring *u)
{
    struct io_uring_cqe *cqe;
    int count = 0, rc;

    while ((rc = io_uring_peek_cqe(&u->ring, &cqe)) == 0) {
        rc = completed(u, cqe);
        io_uring_cqe_seen(&u->ring, cqe);
        if (rc < 0)
            return rc;
        count++;
    }
    if (rc != -EAGAIN && rc != -EINTR)
        return call_failed(u, rc, "looking for completions");
    if (count > 0)
        u->link.counters.polls_busy++;
    else
        u->link.counters.polls_empty++;
    return count;
}

/* An entry of @s, of which there always is one: at most two a stream are in use. */
static void submit(struct stream *s, struct io_uring_sqe *sqe, enum transfer t, unsigned int number)
{
    io_uring_sqe_set_data64(sqe, t | (uint64_t)s->number << TRANSFER_BITS |
                                     (uint64_t)number << (TRANSFER_BITS + STREAM_BITS));
    io_uring_sqe_set_flags(sqe, s->uring->fixed_file ? IOSQE_FIXED_FILE : 0);
}

/* Registered: the incoming arenas first, then the outgoing ones. */
static void start_send(struct stream *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->uring->ring);
    const uint8_t *from = arena_at(&s->outgoing, s->sent);
    size_t bytes = MIN(s->committed - s->sent, CHUNK_MAX);
    int fd = s->uring->fixed_file ? (int)s->number : s->fd, flags = MSG_NOSIGNAL | MSG_WAITALL;
    int number = zero_copy_start(&s->zero_copy, s->sent, bytes);

    if (number >= 0) {
        io_uring_prep_send_zc_fixed(sqe, fd, from, bytes, flags, IORING_SEND_ZC_REPORT_USAGE,
                                    s->uring->count + s->number);
        submit(s, sqe, SEND_ZERO_COPY, (unsigned int)number);
    } else {
        io_uring_prep_send(sqe, fd, from, bytes, flags);
        submit(s, sqe, SEND, 0);
    }
    s->sending = true;
}

static void start_receive(struct stream *s, size_t room)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->uring->ring);
    int fd = s->uring->fixed_file ? (int)s->number : s->fd;
    uint8_t *to = arena_at(&s->incoming, s->received);

    if (s->uring->fixed_incoming)
        io_uring_prep_read_fixed(sqe, fd, to, (unsigned int)room, 0, (int)s->number);
    else
        io_uring_prep_recv(sqe, fd, to, room, 0);
    submit(s, sqe, RECEIVE, 0);
    s->receiving = true;
}

/* Hand to the kernel what it can work on. Returns 1 when there was something, 0, or an error. */
static int start(struct uring *u)
{
    int rc;

    if (!pthread_equal(pthread_self(), u->owner))
        return link_fail(&u->link, -EINVAL, "a link was used by a thread that did not create it");
    for (struct stream *s = u->streams; s < u->streams + u->count; s++) {
        size_t room = ARENA_ROOM - (s->received - s->released);

        if (!s->sending && !s->send_gone && s->committed > s->sent)
            start_send(s);
        if (!s->receiving && !s->receive_gone && room > 0)
            start_receive(s, room);
    }
    if (io_uring_sq_ready(&u->ring) == 0)
        return 0;
    u->link.counters.submits++;
    rc = io_uring_submit(&u->ring);
    if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
        return call_failed(u, rc, "submitting");
    return rc > 0 ? 1 : 0;
}

/* Sleep until a transfer is finished, or @until_ns; spin for a little first, unless the kernel
 * does. */
static int pause_until(struct uring *u, uint64_t until_ns)
{
    uint64_t now_ns = time_ns();
    uint64_t spin_us = u->napi ? 0 : u->link.options.busy_poll_us_max;
    uint64_t spin_ns = MIN(until_ns, now_ns + spin_us * 1000u);
    struct __kernel_timespec t;
    struct io_uring_cqe *cqe;
    int rc;

    for (; now_ns < spin_ns; now_ns = time_ns()) {
        rc = harvest(u);
        if (rc != 0)
            return MIN(rc, 0);
    }
    if (now_ns >= until_ns)
        return 0;
    t.tv_sec = (long long)((until_ns - now_ns) / 1000000000u);
    t.tv_nsec = (long long)((until_ns - now_ns) % 1000000000u);
    u->link.counters.waits++;
    rc = io_uring_wait_cqe_timeout(&u->ring, &cqe, &t);
    if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EAGAIN)
        return call_failed(u, rc, "waiting");
    return 0;
}

/* One move: note what is finished, else start what can start, else wait. */
static int advance(struct uring *u, uint64_t until_ns)
{
    int rc = harvest(u);

    if (rc == 0)
        rc = start(u);
    return rc == 0 ? pause_until(u, until_ns) : MIN(rc, 0);
}

static int advance_or_fail(struct uring *u, uint64_t deadline_ns, const char *what)
{
    return time_ns() < deadline_ns ? advance(u, deadline_ns) : link_fail_timeout(&u->link, what);
}

/* Bytes that are committed and not with the kernel yet. */
static uint64_t pending(const struct uring *u)
{
    uint64_t bytes = 0;

    for (const struct stream *s = u->streams; s < u->streams + u->count; s++)
        bytes += s->committed - s->sent;
    return bytes;
}

/* Hand over all that the kernel takes at once. */
static int push(struct uring *u)
{
    int rc;

    do {
        rc = harvest(u);
        if (rc >= 0)
            rc = start(u);
    } while (rc > 0 && pending(u) > 0);
    return MIN(rc, 0);
}

/* Where the outgoing bytes start that must stay as they are. */
static uint64_t kept(const struct stream *s)
{
    return zero_copy_held(&s->zero_copy, s->sent);
}

/* Advance until the peer has let @bytes more than now into the outgoing arena. */
static int make_room(struct stream *s, size_t bytes, const char *what)
{
    struct uring *u = s->uring;
    uint64_t deadline_ns = link_deadline_ns(&u->link);
    int rc = 0;

    for (;;) {
        if (s->send_gone || s->receive_gone)
            return link_fail(&u->link, -ECONNRESET, PEER_GONE);
        if (s->committed + bytes - kept(s) <= ARENA_ROOM)
            return 0;
        rc = advance_or_fail(u, deadline_ns, what);
        if (rc < 0)
            return rc;
    }
}

static uint8_t *uring_reserve(struct link *l, size_t bytes)
{
    struct uring *u = uring_of(l);
    struct stream *s = &u->streams[u->framer.send_sequence % u->count];

    /* From the start again where possible: those pages are still in the cache. */
    if (kept(s) == s->committed && !s->sending)
        s->sent = s->committed = 0;
    if (make_room(s, frame_bytes(bytes), "the peer took nothing and the window is full") < 0)
        return NULL;
    return arena_at(&s->outgoing, s->committed) + FRAME_HEAD_BYTES;
}

static int uring_commit(struct link *l, size_t bytes)
{
    struct uring *u = uring_of(l);
    struct stream *s = &u->streams[u->framer.send_sequence % u->count];
    int rc = frame_seal(&u->framer, arena_at(&s->outgoing, s->committed), bytes, &l->err);

    if (rc < 0)
        return link_fail(l, rc, "a record could not be framed");
    s->committed += frame_bytes(bytes);
    return pending(u) >= KICK_BYTES ? push(u) : 0;
}

/* Advance until the next frame is there, whole; its header is checked as soon as it is. */
static int await_frame(struct stream *s, size_t bytes)
{
    struct uring *u = s->uring;
    uint64_t deadline_ns = link_deadline_ns(&u->link);
    bool checked = false;
    int rc = 0;

    for (;;) {
        size_t have = s->received - s->released;

        if (!checked && have >= FRAME_PARSE_BYTES) {
            rc = frame_check(&u->framer, arena_at(&s->incoming, s->released), bytes, &u->link.err);
            checked = true;
        }
        if (rc < 0 || have >= frame_bytes(bytes))
            return rc;
        if (s->receive_gone)
            return link_fail(&u->link, -ECONNRESET, "%s%s", PEER_GONE,
                             have > 0 ? " in the middle of a record" : "");
        rc = advance_or_fail(u, deadline_ns, "the peer sent no whole record");
    }
}

static void release(struct uring *u)
{
    struct stream *last = &u->streams[(u->framer.receive_sequence + u->count - 1) % u->count];

    last->released += last->held;
    last->held = 0;
}

static const uint8_t *uring_take(struct link *l, size_t bytes)
{
    struct uring *u = uring_of(l);
    struct stream *s = &u->streams[u->framer.receive_sequence % u->count];
    uint8_t *frame;
    int rc;

    release(u);
    rc = push(u);
    if (rc == 0)
        rc = await_frame(s, bytes);
    frame = arena_at(&s->incoming, s->released);
    if (rc == 0)
        rc = frame_open(&u->framer, frame, bytes, &l->err);
    if (rc < 0) {
        link_fail(l, rc, "the peer's frame was refused");
        return NULL;
    }
    s->held = frame_bytes(bytes);
    return frame + FRAME_HEAD_BYTES;
}

static int uring_flush(struct link *l)
{
    struct uring *u = uring_of(l);
    uint64_t deadline_ns = link_deadline_ns(l);
    int rc = 0;

    /* What the kernel still reads from an arena is not yet its own. */
    for (struct stream *s = u->streams; s < u->streams + u->count; s++)
        while (rc == 0 && kept(s) != s->committed) {
            if (s->send_gone)
                return link_fail(l, -ECONNRESET, PEER_GONE);
            rc = advance_or_fail(u, deadline_ns, "the peer took nothing");
        }
    return rc;
}

static int uring_idle(struct link *l, uint64_t until_ns)
{
    int rc = 0;

    while (rc == 0 && time_ns() < until_ns)
        rc = advance(uring_of(l), until_ns);
    return rc;
}

static bool unacknowledged(const struct stream *s)
{
    return kept(s) != s->sent;
}

static bool busy(const struct uring *u)
{
    for (const struct stream *s = u->streams; s < u->streams + u->count; s++)
        if (s->sending || s->receiving || unacknowledged(s))
            return true;
    return false;
}

static void await_completions(struct uring *u)
{
    struct __kernel_timespec t = {.tv_nsec = FREE_WAIT_MS * 1000000};
    struct io_uring_cqe *cqe;

    while (busy(u) && io_uring_wait_cqe_timeout(&u->ring, &cqe, &t) == 0) {
        (void)!completed(u, cqe);
        io_uring_cqe_seen(&u->ring, cqe);
    }
}

/* Nothing may be under way when the arenas go: shutdown() ends all transfers. What the peer has
 * not acknowledged then was not flushed either: to disconnect empties a socket's queue, so that
 * it is not sent again from memory that was wiped. */
static void drain(struct uring *u)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    for (struct stream *s = u->streams; s < u->streams + u->count; s++)
        shutdown(s->fd, SHUT_RDWR);
    await_completions(u);
    for (struct stream *s = u->streams; s < u->streams + u->count; s++)
        if (unacknowledged(s) && connect(s->fd, &nobody, sizeof(nobody)) < 0)
            return;
    await_completions(u);
}

static void uring_free(struct link *l)
{
    struct uring *u = uring_of(l);

    if (u->ring_made && u->streams[0].fd >= 0)
        drain(u);
    if (u->ring_made)
        io_uring_queue_exit(&u->ring);
    for (struct stream *s = u->streams; s < u->streams + u->count; s++) {
        if (s->fd >= 0)
            close(s->fd);
        arena_clear(&s->outgoing);
        arena_clear(&s->incoming);
    }
    framer_clear(&u->framer);
    free(u);
}

static void uring_features(const struct link *l, char *ret, size_t bytes)
{
    const struct uring *u = (const struct uring *)l;
    const char *plain = u->streams[0].zero_copy.plain;
    char streams[24] = "";

    if (u->count > 1)
        snprintf(streams, sizeof(streams), ", %u streams", u->count);
    snprintf(ret, bytes, "%s%s%s%s, %s%s%s%s", u->ring_kind, u->fixed_file ? ", fixed file" : "",
             u->fixed_incoming ? ", fixed buffer" : "", u->napi ? ", NAPI busy polling" : "",
             plain ? "plain sends (" : "zero-copy sends", plain ? plain : "", plain ? ")" : "",
             streams);
}

static const struct link_kind uring_kind = {
    .reserve = uring_reserve,
    .commit = uring_commit,
    .take = uring_take,
    .flush = uring_flush,
    .idle = uring_idle,
    .features = uring_features,
    .free = uring_free,
};

/* As large as the host lets: beyond its limits for the privileged, else up to them and from there
 * on by the kernel's own growth, which a fixed size would have ended. */
static void raise_buffers(int fd)
{
    static const int size = SOCKET_BUFFER, grow = 0;

    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) == 0)
        return;
    (void)!setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void)!setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    (void)!setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &grow, sizeof(grow));
}

static int prepare_socket(int fd, struct err *err)
{
    static const int on = 1;
    struct sockaddr_storage peer;
    socklen_t peer_bytes = sizeof(peer), size = sizeof(int);
    int protocol = 0, flags;

    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0)
        return err_set(err, -errno, "a link needs a socket: %s", strerror(errno));
    if (protocol != IPPROTO_TCP)
        return err_set(err, -EPROTONOSUPPORT, "a link needs a TCP socket, this one has protocol %d",
                       protocol);
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_bytes) < 0)
        return err_set(err, -errno, "a link needs a connected socket: %s", strerror(errno));
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        return err_set(err, -errno, "setting TCP_NODELAY: %s", strerror(errno));
    /* io_uring returns EAGAIN instead of waiting where a socket says O_NONBLOCK. */
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return err_set(err, -errno, "making a socket blocking: %s", strerror(errno));
    raise_buffers(fd);
    return 0;
}

/* Linux 6.9: while the ring waits, it looks at the port's queue itself, instead of waiting for an
 * interrupt. Only where packets of this connection came through such a queue, so not on loopback.
 * liburing 2.3 lacks the call. */
static bool poll_port(struct uring *u)
{
    enum { REGISTER_NAPI = 27 };
    struct {
        uint32_t busy_poll_us;
        uint8_t prefer_busy_poll, pad[3];
        uint64_t reserved;
    } napi = {.busy_poll_us = u->link.options.busy_poll_us_max};
    unsigned int queue = 0;
    socklen_t size = sizeof(queue);

    return napi.busy_poll_us > 0 &&
           getsockopt(u->streams[0].fd, SOL_SOCKET, SO_INCOMING_NAPI_ID, &queue, &size) == 0 &&
           queue > 0 &&
           syscall(SYS_io_uring_register, u->ring.ring_fd, REGISTER_NAPI, &napi, 1) == 0;
}

/* What saves time where the kernel and the limits allow it. */
static void add_features(struct uring *u)
{
    struct iovec arenas[2 * LINK_STREAMS_MAX];
    int fds[LINK_STREAMS_MAX];
    enum link_zero_copy wanted = u->link.options.zero_copy;
    bool both;

    for (unsigned int i = 0; i < u->count; i++) {
        arenas[i] = (struct iovec){u->streams[i].incoming.at, 2 * ARENA_BYTES};
        arenas[u->count + i] = (struct iovec){u->streams[i].outgoing.at, 2 * ARENA_BYTES};
        fds[i] = u->streams[i].fd;
    }
    both = wanted != LINK_ZERO_COPY_NEVER &&
           io_uring_register_buffers(&u->ring, arenas, 2 * u->count) == 0;
    u->fixed_incoming = both || io_uring_register_buffers(&u->ring, arenas, u->count) == 0;
    for (unsigned int i = 0; i < u->count; i++)
        zero_copy_init(&u->streams[i].zero_copy, wanted,
                       both ? NULL : "too little memory may be locked");
    u->fixed_file = io_uring_register_files(&u->ring, fds, u->count) == 0;
    u->napi = poll_port(u);
}

/* The best ring that the kernel knows: newest flags first. */
static int make_ring(struct uring *u, struct err *err)
{
    static const struct {
        unsigned int flags;
        const char *name;
    } kinds[] = {
        {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
         "single issuer, deferred task run"},
        {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, "cooperative task run"},
        {0, "plain ring"},
    };
    int rc = -EINVAL;

    for (size_t i = 0; rc == -EINVAL && i < ARRAY_LENGTH(kinds); i++) {
        rc = io_uring_queue_init(RING_ENTRIES, &u->ring, kinds[i].flags);
        u->ring_kind = kinds[i].name;
    }
    if (rc == -ENOSYS || rc == -EPERM || rc == -EACCES)
        return err_set(err, rc == -ENOSYS ? rc : -EPERM,
                       "io_uring is not permitted here (%s): " NOT_PERMITTED_TEXT, strerror(-rc));
    if (rc < 0)
        return err_set(err, rc, "making an io_uring: %s", strerror(-rc));
    u->ring_made = true;
    add_features(u);
    return 0;
}

static int set_up(struct uring *u, const struct seal_keys *keys, const struct link_options *options,
                  struct err *err)
{
    int rc = link_init(&u->link, &uring_kind, options, err);

    for (struct stream *s = u->streams; rc == 0 && s < u->streams + u->count; s++) {
        rc = prepare_socket(s->fd, err);
        if (rc == 0)
            rc = arena_init(&s->outgoing, err);
        if (rc == 0)
            rc = arena_init(&s->incoming, err);
    }
    if (rc == 0)
        rc = framer_init(&u->framer, keys, options->seal, err);
    if (rc == 0)
        rc = make_ring(u, err);
    return rc;
}

int link_uring_new(const int fds[], unsigned int count, const struct seal_keys *keys,
                   const struct link_options *options, struct link **ret, struct err *err)
{
    struct uring *u;
    int rc;

    if (!keys)
        return err_set(err, -EINVAL, "a link over TCP needs keys");
    if (count < 1 || count > LINK_STREAMS_MAX)
        return err_set(err, -EINVAL, "a link over %u streams: 1 to %d are allowed", count,
                       LINK_STREAMS_MAX);
    u = calloc(1, sizeof(*u));
    if (!u)
        return err_set(err, -ENOMEM, "no memory for a link");
    u->count = count;
    for (unsigned int i = 0; i < count; i++)
        u->streams[i] = (struct stream){.uring = u, .number = i, .fd = fds[i]};
    u->owner = pthread_self();
    rc = set_up(u, keys, options, err);
    if (rc < 0) {
        for (unsigned int i = 0; i < count; i++)
            u->streams[i].fd = -1; /* stays the caller's */
        uring_free(&u->link);
        return rc;
    }
    *ret = &u->link;
    return 0;
}
