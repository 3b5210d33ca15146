/*
 * A link of packets: opens the path, pumps the port, and lends its two halves (packet_out.c,
 * packet_in.c) to the contract of link.h.
 *
 * Everything happens in pump(): packets that came are placed, what may go is sent, what is owed is
 * told. Calls pump while they wait; between calls the service thread does, so that a party that
 * computes neither starves its peer nor seems dead.
 */
#include "base/secret.h"
#include "dataplane/packet_link.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SERVICE_NS    1000000u  /* between two looks of the service thread */
#define NAP_NS        50000u    /* of a call that waits and has spun enough */
#define HELLO_NS      5000000u  /* between two hellos */
#define LIFELINE_NS   1000000u  /* between two looks at the lifeline */
#define GONE_NS       50000000u /* from a peer's end until what is under way has come */
#define BURSTS        8         /* that one pump takes */
#define LOOKS         8u        /* at the port, of a call that waits, to one at the clock */
#define EAGER_PACKETS 8u        /* that a commit sends; fewer wait for a take or a flush */
#define CLOSE_COPIES  3
#define PEER_GONE     "the peer closed its end of the link"

static struct packet_link *packet_link_of(struct link *l)
{
    return (struct packet_link *)l;
}

struct seal *packet_seal_of(struct packet_link *p, struct packet_key *key, uint64_t epoch,
                            bool sending)
{
    struct seal_keys *keys = seal_keys_new();
    struct seal *seal = NULL;
    int rc = keys ? 0 : -ENOMEM;

    for (; rc == 0 && key->epoch < epoch; key->epoch++)
        rc = seal_advance(&key->now);
    if (rc == 0) {
        *(sending ? &keys->send : &keys->receive) = key->now;
        rc = seal_new(keys, p->link.options.seal, &seal, NULL);
    }
    seal_keys_free(keys);
    return rc < 0 ? NULL : seal;
}

int packet_fail(struct packet_link *p, int code, const char *format, ...)
{
    va_list args;

    if (p->rc < 0)
        return p->rc;
    va_start(args, format);
    vsnprintf(p->err.text, sizeof(p->err.text), format, args);
    va_end(args);
    p->rc = code;
    return code;
}

/* What the halves, or the service thread, found wrong becomes the link's error, which only its user
 * may touch. The lock is held. */
static int settle(struct packet_link *p, int rc)
{
    return p->rc < 0 ? link_fail(&p->link, p->rc, "%s", p->err.text) : rc;
}

/* --- what comes --- */

static void say_hello(struct packet_link *p)
{
    memset(p->scratch, 0, p->chunk);
    p->scratch[0] = (uint8_t)(p->hello + (p->hello && p->hello_seen));
    packet_out_control(p, PACKET_HELLO, p->scratch, p->chunk);
    p->hello_ns = p->now_ns;
    p->hello_owed = false;
}

static int take_control(struct packet_link *p, const struct packet *h, const uint8_t *head,
                        size_t body_bytes)
{
    int rc;

    if (h->number < p->in.control_min || body_bytes > p->chunk) {
        p->link.counters.strays++;
        return 0;
    }
    if (seal_open(p->control, h->number, head, PACKET_HEAD_BYTES, head + PACKET_BYTES, p->scratch,
                  body_bytes, head + PACKET_HEAD_BYTES) < 0) {
        p->link.counters.seal_failures++;
        return 0;
    }
    p->in.control_min = h->number + 1;
    rc = packet_out_heard(p, h);
    if (rc < 0)
        return rc;
    switch (h->type) {
    case PACKET_HELLO:
        if (body_bytes == 0)
            return packet_fail(p, -EPROTO, "the peer's hello is empty");
        p->hello = true;
        p->hello_seen = p->hello_seen || p->scratch[0] > 0;
        p->hello_owed = p->hello_owed || p->scratch[0] < 2;
        return 0;
    case PACKET_STATE:
        if (body_bytes != STATE_BYTES)
            return packet_fail(p, -EPROTO, "the peer's state has %zu bytes, not %d", body_bytes,
                               STATE_BYTES);
        packet_out_repair(p, h->next, p->scratch);
        return 0;
    default:
        p->closed = true;
        return 0;
    }
}

static void answer_arp(struct packet_link *p, const struct port_frame *frame)
{
    uint8_t answer[PACKET_ARP_BYTES + 4];
    struct port_send send = {.head = answer};
    size_t bytes;

    p->link.counters.strays++;
    if (!packet_answer_arp(&p->path, frame, answer, &bytes))
        return;
    send.head_bytes = (uint32_t)bytes;
    (void)p->port->ops->send(p->port, &send, 1);
}

static int take_frame(struct packet_link *p, const struct port_frame *frame)
{
    const uint8_t *head;
    struct packet h;
    size_t body_bytes;

    if (!packet_parse(&p->path, frame, &h, &head, &body_bytes) || h.session != p->session) {
        answer_arp(p, frame);
        return 0;
    }
    p->link.counters.received_frames++;
    p->link.counters.received_wire_bytes += frame->bytes;
    if (h.type != PACKET_DATA)
        return take_control(p, &h, head, body_bytes);
    p->hello_seen = true; /* who sends data has opened */
    return packet_in_data(p, &h, head, body_bytes);
}

static int receive(struct packet_link *p)
{
    struct port_frame frames[PORT_BURST];
    unsigned int count = PORT_BURST;
    bool news = false;

    for (int burst = 0; burst < BURSTS && count == PORT_BURST; burst++) {
        count = p->port->ops->receive(p->port, frames, PORT_BURST);
        if (count > 0 && !news)
            p->now_ns = time_ns();
        for (unsigned int i = 0; i < count; i++) {
            int rc = take_frame(p, &frames[i]);

            if (rc < 0)
                return rc;
        }
        news = news || count > 0;
    }
    if (news)
        p->link.counters.polls_busy++;
    else
        p->link.counters.polls_empty++;
    return news;
}

/* The lock is held, and now_ns is of late. Returns 1 when something came, 0, or the link's error.
 */
static int pump(struct packet_link *p)
{
    int news = receive(p);

    if (news < 0)
        return news;
    packet_out_send(p);
    packet_out_guard_tail(p);
    if (p->open)
        packet_in_tell(p);
    if (p->hello_owed && p->now_ns - p->hello_ns >= SERVICE_NS)
        say_hello(p);
    p->pumped_ns = p->now_ns;
    return p->rc < 0 ? p->rc : news;
}

/* --- waiting --- */

static void nap(uint64_t ns)
{
    const struct timespec t = {.tv_nsec = (long)ns};

    nanosleep(&t, NULL);
}

static void *serve(void *link)
{
    struct packet_link *p = link;

    while (!atomic_load_explicit(&p->stopping, memory_order_relaxed)) {
        nap(SERVICE_NS);
        if (pthread_mutex_trylock(&p->lock) != 0)
            continue;
        p->now_ns = time_ns();
        if (p->rc == 0 && p->now_ns - p->pumped_ns >= SERVICE_NS)
            (void)!pump(p);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

/* The peer's process is gone, or said so, and what it sent before has had time to come. */
static bool peer_gone(struct packet_link *p)
{
    struct pollfd f = {.fd = p->lifeline, .events = POLLRDHUP};

    if (p->closed)
        return true;
    if (p->lifeline < 0 || p->now_ns - p->lifeline_ns < LIFELINE_NS)
        return false;
    p->lifeline_ns = p->now_ns;
    if (poll(&f, 1, 0) <= 0 || !(f.revents & (POLLRDHUP | POLLHUP | POLLERR)))
        return false;
    p->gone_ns = p->gone_ns ? p->gone_ns : p->now_ns;
    return p->now_ns - p->gone_ns >= GONE_NS;
}

struct wait {
    uint64_t deadline_ns, spin_ns;
    const char *what;
    unsigned int looks;
};

/* From now on; the lock is held. What is sent from here on goes by this time. */
static struct wait begin_wait(struct packet_link *p, const char *what)
{
    p->now_ns = time_ns();
    return (struct wait){p->now_ns + (uint64_t)p->link.options.timeout_ms * 1000000u,
                         p->now_ns + (uint64_t)p->link.options.busy_poll_us_max * 1000u, what, 0};
}

/* Takes the lock. */
static struct wait begin(struct packet_link *p, const char *what)
{
    pthread_mutex_lock(&p->lock);
    return begin_wait(p, what);
}

/* One more look; the lock is held, and given up for a nap. What the caller waits for may have come,
 * also when this is an error. */
static int wait_on(struct packet_link *p, struct wait *w)
{
    int rc;

    if (w->looks++ % LOOKS == LOOKS - 1)
        p->now_ns = time_ns();
    rc = settle(p, pump(p));
    if (rc != 0)
        return MIN(rc, 0);
    if (p->now_ns >= w->deadline_ns)
        return link_fail_timeout(&p->link, w->what);
    if (p->now_ns >= w->spin_ns) {
        p->link.counters.waits++;
        pthread_mutex_unlock(&p->lock);
        nap(NAP_NS);
        pthread_mutex_lock(&p->lock);
        p->now_ns = time_ns();
    }
    return 0;
}

/* --- the contract --- */

static bool has_room(const struct packet_link *p, size_t bytes)
{
    return p->out.committed + packet_step(bytes) - p->out.released <= ARENA_ROOM;
}

static uint8_t *packet_reserve(struct link *l, size_t bytes)
{
    struct packet_link *p = packet_link_of(l);
    uint8_t *place = NULL;
    struct wait w = {0};
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    if (!has_room(p, bytes))
        w = begin_wait(p, "the peer took nothing and the window is full");
    while (rc == 0 && !place) {
        if (peer_gone(p))
            rc = link_fail(l, -ECONNRESET, PEER_GONE);
        else if (has_room(p, bytes))
            place = packet_place(&p->out.arena, p->out.committed);
        else
            rc = wait_on(p, &w);
    }
    pthread_mutex_unlock(&p->lock);
    return place;
}

static int packet_commit(struct link *l, size_t bytes)
{
    struct packet_link *p = packet_link_of(l);
    int rc;

    pthread_mutex_lock(&p->lock);
    p->now_ns = MAX(p->now_ns, l->now_ns);
    rc = packet_out_commit(p, bytes);
    if (rc == 0 && p->out.made - p->out.sent >= EAGER_PACKETS)
        rc = MIN(pump(p), 0);
    rc = settle(p, rc);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static const uint8_t *packet_take(struct link *l, size_t bytes)
{
    struct packet_link *p = packet_link_of(l);
    struct wait w = begin(p, "the peer sent no whole record");
    const uint8_t *place = NULL;
    int rc = 0;

    p->in.released += p->in.held;
    p->in.held = 0;
    packet_out_send(p);
    while (rc == 0 && !place) {
        rc = settle(p, packet_in_ready(p, bytes));
        if (rc == 1)
            place = packet_place(&p->in.arena, p->in.released);
        else if (rc == 0 && peer_gone(p))
            rc = link_fail(l, -ECONNRESET, PEER_GONE);
        else if (rc == 0)
            rc = wait_on(p, &w);
    }
    l->now_ns = p->now_ns;
    pthread_mutex_unlock(&p->lock);
    return place;
}

static int packet_flush(struct link *l)
{
    struct packet_link *p = packet_link_of(l);
    struct wait w = begin(p, "the peer acknowledged nothing");
    int rc = 0;

    while (rc == 0 && p->out.acked < p->out.made)
        rc = peer_gone(p) ? link_fail(l, -ECONNRESET, PEER_GONE) : wait_on(p, &w);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static int packet_idle(struct link *l, uint64_t until_ns)
{
    struct packet_link *p = packet_link_of(l);
    struct wait w = begin(p, "");
    int rc = 0;

    w.deadline_ns = UINT64_MAX;
    while (rc == 0 && time_ns() < until_ns)
        rc = wait_on(p, &w);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static void packet_counters(const struct link *l, struct link_counters *ret)
{
    struct packet_link *p = (struct packet_link *)l; /* the lock is not part of the value */

    pthread_mutex_lock(&p->lock);
    *ret = l->counters;
    pthread_mutex_unlock(&p->lock);
}

static void packet_free(struct link *l)
{
    struct packet_link *p = packet_link_of(l);

    if (p->service_runs) {
        atomic_store_explicit(&p->stopping, true, memory_order_relaxed);
        pthread_join(p->service, NULL);
    }
    for (int i = 0; p->open && i < CLOSE_COPIES; i++)
        packet_out_control(p, PACKET_CLOSE, NULL, 0);
    if (p->lent)
        p->port->ops->take_back(p->port, p->out.arena.at, 2 * ARENA_BYTES);
    seal_free(p->control);
    seal_free(p->out.seal);
    seal_free(p->in.seal[0]);
    seal_free(p->in.seal[1]);
    arena_clear(&p->out.arena);
    arena_clear(&p->in.arena);
    free(p->out.pieces);
    free(p->in.claims);
    free(p->in.map);
    pthread_mutex_destroy(&p->lock);
    secret_free(p, sizeof(*p));
}

static const struct link_kind packet_kind = {
    .reserve = packet_reserve,
    .commit = packet_commit,
    .take = packet_take,
    .flush = packet_flush,
    .idle = packet_idle,
    .counters = packet_counters,
    .free = packet_free,
};

/* --- opening --- */

/* Packets of full size must pass both ways, and both must know. */
static int open_path(struct packet_link *p, struct err *err)
{
    struct wait w = begin(p, "no hello came");
    const struct link_counters *c = &p->link.counters;
    int rc = 0;

    while (rc == 0 && !(p->hello && p->hello_seen)) {
        if (time_ns() - p->hello_ns >= HELLO_NS)
            say_hello(p);
        rc = peer_gone(p) ? link_fail(&p->link, -ECONNRESET, PEER_GONE) : wait_on(p, &w);
    }
    if (rc == 0)
        say_hello(p);
    p->open = rc == 0;
    pthread_mutex_unlock(&p->lock);
    if (rc == -ETIMEDOUT)
        return err_set(err, rc,
                       "no packets of %" PRIu32 " bytes pass between the ports (%" PRIu64
                       " came, %" PRIu64 " with a wrong seal, %" PRIu64 " of others): look at "
                       "the cable, the VLAN, and whether switches pass frames of that size",
                       p->chunk + PACKET_BYTES, c->received_frames, c->seal_failures, c->strays);
    return rc < 0 ? err_set(err, rc, "%s", p->link.err.text) : 0;
}

static int make_halves(struct packet_link *p, const struct seal_keys *data,
                       const struct seal_keys *control, struct err *err)
{
    int rc = arena_init(&p->out.arena, err);

    if (rc == 0)
        rc = arena_init(&p->in.arena, err);
    if (rc < 0)
        return rc;
    p->out.pieces = calloc(PACKETS, sizeof(*p->out.pieces));
    p->in.claims = calloc(PACKETS, sizeof(*p->in.claims));
    p->in.map = calloc(PACKETS / 64, sizeof(*p->in.map));
    p->out.key.now = data->send;
    p->in.key.now = data->receive;
    rc = seal_new(control, p->link.options.seal, &p->control, err);
    if (rc < 0)
        return rc;
    p->out.seal = packet_seal_of(p, &p->out.key, 0, true);
    p->in.seal[0] = packet_seal_of(p, &p->in.key, 0, false);
    if (!p->out.seal || !p->in.seal[0] || !p->out.pieces || !p->in.claims || !p->in.map)
        return err_set(err, -ENOMEM, "no memory for a link of packets");
    return 0;
}

int link_packet_new(const struct link_packet_options *where, const struct seal_keys *data,
                    const struct seal_keys *control, const struct link_options *options,
                    struct link **ret, struct err *err)
{
    uint32_t frame = MIN(where->port->frame_max, where->peer_frame_max);
    size_t heads = packet_outer_bytes(where->path) + PACKET_BYTES;
    struct packet_link *p;
    int rc;

    if (!data || !control)
        return err_set(err, -EINVAL, "a link of packets needs keys");
    if (frame < PORT_FRAME_MIN || where->epoch_bits > 32 ||
        (where->epoch_bits > 0 && (uint64_t)1 << where->epoch_bits < (uint64_t)2 * PACKETS))
        return err_set(err, -EINVAL, "frames of %" PRIu32 " bytes, keys for 2^%u packets: too few",
                       frame, where->epoch_bits);
    p = secret_alloc(sizeof(*p));
    if (!p)
        return err_set(err, -ENOMEM, "no memory for a link");
    pthread_mutex_init(&p->lock, NULL);
    p->port = where->port;
    p->path = *where->path;
    p->session = where->session;
    p->lifeline = where->lifeline;
    p->epoch_bits = where->epoch_bits ? where->epoch_bits : LINK_EPOCH_BITS;
    p->chunk = (uint32_t)((MIN(frame, PORT_FRAME_MAX) - heads) & ~(size_t)(PACKET_ALIGN - 1));
    p->credit = MIN(MIN(CREDIT_MAX, where->port->ring / 2), CREDIT_BYTES / p->chunk);
    rc = link_init(&p->link, &packet_kind, options, err);
    if (rc == 0)
        rc = make_halves(p, data, control, err);
    if (rc == 0) {
        p->lent =
            p->port->ops->lend && p->port->ops->lend(p->port, p->out.arena.at, 2 * ARENA_BYTES);
        rc = open_path(p, err);
    }
    if (rc == 0 && pthread_create(&p->service, NULL, serve, p) != 0)
        rc = err_set(err, -EAGAIN, "no thread for a link of packets");
    if (rc < 0) {
        packet_free(&p->link);
        return rc;
    }
    p->service_runs = true;
    *ret = &p->link;
    return 0;
}
