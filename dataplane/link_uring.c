/*
 * A link over TCP through io_uring. One send and one receive are under way at a time, each straight
 * from or into its arena: the send covers all that is committed, up to CHUNK_MAX, the receive all
 * the room there is. So a stream needs no reordering, and many small records share one call.
 *
 * Positions count bytes of each direction's stream of frames:
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

#define RING_ENTRIES  64 /* completions have twice as many places: for notifications */
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

/* What an entry is, in the low bits of its data; the number of a zero-copy send is above. */
enum transfer { SEND = 1, RECEIVE = 2, SEND_ZERO_COPY = 3 };
#define TRANSFER_BITS 2

enum fixed { INCOMING = 0, OUTGOING = 1 }; /* registered buffers */

struct uring {
    struct link link;
    struct framer framer;
    struct io_uring ring;
    struct arena outgoing, incoming;
    struct zero_copy zero_copy;
    uint64_t sent, committed;
    uint64_t released, received;
    size_t held;             /* frame bytes of the record that was taken last */
    bool sending, receiving; /* a transfer is with the kernel */
    bool ring_made, fixed_file, fixed_incoming;
    bool napi; /* waiting looks at the port */
    const char *ring_kind;
    bool send_gone, receive_gone; /* the peer's end of that direction */
    int fd;
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

static int sent_some(struct uring *u, int rc)
{
    u->sending = false;
    if (rc > 0) {
        u->sent += (uint64_t)rc;
        u->link.counters.sent_wire_bytes += (uint64_t)rc;
    } else if (gone(rc)) {
        u->send_gone = true;
    } else if (rc < 0 && rc != -EAGAIN && rc != -EINTR) {
        return link_fail(&u->link, rc, "sending to the peer failed: %s", strerror(-rc));
    }
    return 0;
}

static int received_some(struct uring *u, int rc)
{
    u->receiving = false;
    if (rc > 0) {
        u->received += (uint64_t)rc;
        u->link.counters.received_wire_bytes += (uint64_t)rc;
    } else if (rc == 0 || gone(rc)) {
        u->receive_gone = true;
    } else if (rc != -EAGAIN && rc != -EINTR) {
        return link_fail(&u->link, rc, "receiving from the peer failed: %s", strerror(-rc));
    }
    return 0;
}

/* Note one completion. */
static int completed(struct uring *u, const struct io_uring_cqe *cqe)
{
    uint64_t data = io_uring_cqe_get_data64(cqe);
    enum transfer t = (enum transfer)(data & ((1u << TRANSFER_BITS) - 1));
    unsigned int number = (unsigned int)(data >> TRANSFER_BITS);

    if (t == RECEIVE)
        return received_some(u, cqe->res);
    if (t == SEND_ZERO_COPY && cqe->flags & IORING_CQE_F_NOTIF) {
        zero_copy_notified(&u->zero_copy, number,
                           (unsigned int)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED);
        return 0;
    }
    if (t == SEND_ZERO_COPY &&
        zero_copy_queued(&u->zero_copy, number, cqe->res, cqe->flags & IORING_CQE_F_MORE))
        return sent_some(u, -EAGAIN);
    return sent_some(u, cqe->res);
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

/* At most two entries are in use, so there always is one. */
static void start_send(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    const uint8_t *from = arena_at(&u->outgoing, u->sent);
    size_t bytes = MIN(u->committed - u->sent, CHUNK_MAX);
    int fd = u->fixed_file ? 0 : u->fd, flags = MSG_NOSIGNAL | MSG_WAITALL;
    int number = zero_copy_start(&u->zero_copy, u->sent, bytes);

    if (number >= 0) {
        io_uring_prep_send_zc_fixed(sqe, fd, from, bytes, flags, IORING_SEND_ZC_REPORT_USAGE,
                                    OUTGOING);
        io_uring_sqe_set_data64(sqe, SEND_ZERO_COPY | (uint64_t)number << TRANSFER_BITS);
    } else {
        io_uring_prep_send(sqe, fd, from, bytes, flags);
        io_uring_sqe_set_data64(sqe, SEND);
    }
    io_uring_sqe_set_flags(sqe, u->fixed_file ? IOSQE_FIXED_FILE : 0);
    u->sending = true;
}

static void start_receive(struct uring *u, size_t room)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (u->fixed_incoming)
        io_uring_prep_read_fixed(sqe, u->fixed_file ? 0 : u->fd,
                                 arena_at(&u->incoming, u->received), (unsigned int)room, 0,
                                 INCOMING);
    else
        io_uring_prep_recv(sqe, u->fixed_file ? 0 : u->fd, arena_at(&u->incoming, u->received),
                           room, 0);
    io_uring_sqe_set_flags(sqe, u->fixed_file ? IOSQE_FIXED_FILE : 0);
    io_uring_sqe_set_data64(sqe, RECEIVE);
    u->receiving = true;
}

/* Hand to the kernel what it can work on. Returns 1 when there was something, 0, or an error. */
static int start(struct uring *u)
{
    size_t room = ARENA_ROOM - (u->received - u->released);
    int rc;

    if (!pthread_equal(pthread_self(), u->owner))
        return link_fail(&u->link, -EINVAL, "a link was used by a thread that did not create it");
    if (!u->sending && !u->send_gone && u->committed > u->sent)
        start_send(u);
    if (!u->receiving && !u->receive_gone && room > 0)
        start_receive(u, room);
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

/* Hand over all that the kernel takes at once. */
static int push(struct uring *u)
{
    int rc;

    do {
        rc = harvest(u);
        if (rc >= 0)
            rc = start(u);
    } while (rc > 0 && u->committed > u->sent);
    return MIN(rc, 0);
}

/* Where the outgoing bytes start that must stay as they are. */
static uint64_t kept(const struct uring *u)
{
    return zero_copy_held(&u->zero_copy, u->sent);
}

/* Advance until the peer has let @bytes more than now into the outgoing arena. */
static int make_room(struct uring *u, size_t bytes, const char *what)
{
    uint64_t deadline_ns = link_deadline_ns(&u->link);
    int rc = 0;

    for (;;) {
        if (u->send_gone || u->receive_gone)
            return link_fail(&u->link, -ECONNRESET, PEER_GONE);
        if (u->committed + bytes - kept(u) <= ARENA_ROOM)
            return 0;
        rc = advance_or_fail(u, deadline_ns, what);
        if (rc < 0)
            return rc;
    }
}

static uint8_t *uring_reserve(struct link *l, size_t bytes)
{
    struct uring *u = uring_of(l);

    /* From the start again where possible: those pages are still in the cache. */
    if (kept(u) == u->committed && !u->sending)
        u->sent = u->committed = 0;
    if (make_room(u, frame_bytes(bytes), "the peer took nothing and the window is full") < 0)
        return NULL;
    return arena_at(&u->outgoing, u->committed) + FRAME_HEAD_BYTES;
}

static int uring_commit(struct link *l, size_t bytes)
{
    struct uring *u = uring_of(l);
    int rc = frame_seal(&u->framer, arena_at(&u->outgoing, u->committed), bytes, &l->err);

    if (rc < 0)
        return link_fail(l, rc, "a record could not be framed");
    u->committed += frame_bytes(bytes);
    return u->committed - u->sent >= KICK_BYTES ? push(u) : 0;
}

/* Advance until the next frame is there, whole; its header is checked as soon as it is. */
static int await_frame(struct uring *u, size_t bytes)
{
    uint64_t deadline_ns = link_deadline_ns(&u->link);
    bool checked = false;
    int rc = 0;

    for (;;) {
        size_t have = u->received - u->released;

        if (!checked && have >= FRAME_PARSE_BYTES) {
            rc = frame_check(&u->framer, arena_at(&u->incoming, u->released), bytes, &u->link.err);
            checked = true;
        }
        if (rc < 0 || have >= frame_bytes(bytes))
            return rc;
        if (u->receive_gone)
            return link_fail(&u->link, -ECONNRESET, "%s%s", PEER_GONE,
                             have > 0 ? " in the middle of a record" : "");
        rc = advance_or_fail(u, deadline_ns, "the peer sent no whole record");
    }
}

static const uint8_t *uring_take(struct link *l, size_t bytes)
{
    struct uring *u = uring_of(l);
    uint8_t *frame;
    int rc;

    u->released += u->held;
    u->held = 0;
    rc = push(u);
    if (rc == 0)
        rc = await_frame(u, bytes);
    frame = arena_at(&u->incoming, u->released);
    if (rc == 0)
        rc = frame_open(&u->framer, frame, bytes, &l->err);
    if (rc < 0) {
        link_fail(l, rc, "the peer's frame was refused");
        return NULL;
    }
    u->held = frame_bytes(bytes);
    return frame + FRAME_HEAD_BYTES;
}

static int uring_flush(struct link *l)
{
    struct uring *u = uring_of(l);
    uint64_t deadline_ns = link_deadline_ns(l);
    int rc = 0;

    /* What the kernel still reads from the arena is not yet its own. */
    while (rc == 0 && kept(u) != u->committed) {
        if (u->send_gone)
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

static bool busy(const struct uring *u)
{
    return u->sending || u->receiving || kept(u) != u->sent;
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

/* Nothing may be under way when the arenas go: shutdown() ends both transfers. What the peer has
 * not acknowledged then was not flushed either: to disconnect empties the socket's queue, so that
 * it is not sent again from memory that was wiped. */
static void drain(struct uring *u)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    shutdown(u->fd, SHUT_RDWR);
    await_completions(u);
    if (kept(u) != u->sent && connect(u->fd, &nobody, sizeof(nobody)) == 0)
        await_completions(u);
}

static void uring_free(struct link *l)
{
    struct uring *u = uring_of(l);

    if (u->ring_made && u->fd >= 0)
        drain(u);
    if (u->ring_made)
        io_uring_queue_exit(&u->ring);
    if (u->fd >= 0)
        close(u->fd);
    arena_clear(&u->outgoing);
    arena_clear(&u->incoming);
    framer_clear(&u->framer);
    free(u);
}

static void uring_features(const struct link *l, char *ret, size_t bytes)
{
    const struct uring *u = (const struct uring *)l;
    const char *plain = u->zero_copy.plain;

    snprintf(ret, bytes, "%s%s%s%s, %s%s%s", u->ring_kind, u->fixed_file ? ", fixed file" : "",
             u->fixed_incoming ? ", fixed buffer" : "", u->napi ? ", NAPI busy polling" : "",
             plain ? "plain sends (" : "zero-copy sends", plain ? plain : "", plain ? ")" : "");
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
           getsockopt(u->fd, SOL_SOCKET, SO_INCOMING_NAPI_ID, &queue, &size) == 0 && queue > 0 &&
           syscall(SYS_io_uring_register, u->ring.ring_fd, REGISTER_NAPI, &napi, 1) == 0;
}

/* What saves time where the kernel and the limits allow it. */
static void add_features(struct uring *u)
{
    const struct iovec arenas[] = {
        [INCOMING] = {u->incoming.at, 2 * ARENA_BYTES},
        [OUTGOING] = {u->outgoing.at, 2 * ARENA_BYTES},
    };
    enum link_zero_copy wanted = u->link.options.zero_copy;
    bool both = wanted != LINK_ZERO_COPY_NEVER &&
                io_uring_register_buffers(&u->ring, arenas, ARRAY_LENGTH(arenas)) == 0;

    u->fixed_incoming = both || io_uring_register_buffers(&u->ring, arenas, 1) == 0;
    zero_copy_init(&u->zero_copy, wanted, both ? NULL : "too little memory may be locked");
    u->fixed_file = io_uring_register_files(&u->ring, &u->fd, 1) == 0;
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

    if (rc == 0)
        rc = prepare_socket(u->fd, err);
    if (rc == 0)
        rc = framer_init(&u->framer, keys, options->seal, err);
    if (rc == 0)
        rc = arena_init(&u->outgoing, err);
    if (rc == 0)
        rc = arena_init(&u->incoming, err);
    if (rc == 0)
        rc = make_ring(u, err);
    return rc;
}

int link_uring_new(int fd, const struct seal_keys *keys, const struct link_options *options,
                   struct link **ret, struct err *err)
{
    struct uring *u;
    int rc;

    if (!keys)
        return err_set(err, -EINVAL, "a link over TCP needs keys");
    u = calloc(1, sizeof(*u));
    if (!u)
        return err_set(err, -ENOMEM, "no memory for a link");
    u->fd = fd;
    u->owner = pthread_self();
    rc = set_up(u, keys, options, err);
    if (rc < 0) {
        u->fd = -1; /* stays the caller's */
        uring_free(&u->link);
        return rc;
    }
    *ret = &u->link;
    return 0;
}
