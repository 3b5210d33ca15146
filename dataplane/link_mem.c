/*
 * The in-memory link: one arena a direction, which the sender seals into and the receiver opens in.
 * Only the positions are shared, under one lock; the bytes between them belong to one side each.
 * Whoever waits looks at a count of changes for a while, without the lock, and sleeps then.
 */
#include "dataplane/arena.h"
#include "dataplane/frame.h"
#include "dataplane/link_kind.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct direction {
    struct arena arena;
    uint64_t committed, released; /* positions: written up to, and read and done with up to */
};

struct shared {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_uint changes;      /* counts what `changed` tells */
    struct direction from[2]; /* by the end that sends */
    bool gone[2];
};

struct end {
    struct link link;
    struct shared *shared;
    unsigned int side;
    struct framer framer;
    size_t held; /* frame bytes of the record that was taken last */
};

static struct end *end_of(struct link *l)
{
    return (struct end *)l;
}

static void monotonic(uint64_t ns, struct timespec *ret)
{
    ret->tv_sec = (time_t)(ns / 1000000000u);
    ret->tv_nsec = (long)(ns % 1000000000u);
}

/* The lock is held. */
static void tell(struct shared *s)
{
    atomic_fetch_add_explicit(&s->changes, 1, memory_order_release);
    pthread_cond_broadcast(&s->changed);
}

/* Whether something changed since @seen, after a look of busy_poll_us_max at the most. */
static bool spin(struct end *e, unsigned int seen, uint64_t deadline_ns)
{
    uint64_t spin_ns = time_ns() + (uint64_t)e->link.options.busy_poll_us_max * 1000u;
    uint64_t until_ns = MIN(spin_ns, deadline_ns);
    bool news = false;

    while (!news && time_ns() < until_ns)
        news = atomic_load_explicit(&e->shared->changes, memory_order_acquire) != seen;
    if (news)
        e->link.counters.polls_busy++;
    else
        e->link.counters.polls_empty++;
    return news;
}

/* Wait until the other end changes something; the lock is held, and given up meanwhile. */
static int wait_change(struct end *e, uint64_t deadline_ns, const char *what)
{
    struct shared *s = e->shared;
    unsigned int seen = atomic_load_explicit(&s->changes, memory_order_relaxed);
    struct timespec t;
    bool news;

    if (s->gone[!e->side])
        return link_fail(&e->link, -ECONNRESET, "the peer closed its end of the link");
    pthread_mutex_unlock(&s->lock);
    news = spin(e, seen, deadline_ns);
    pthread_mutex_lock(&s->lock);
    if (news || atomic_load_explicit(&s->changes, memory_order_relaxed) != seen)
        return 0;
    monotonic(deadline_ns, &t);
    e->link.counters.waits++;
    if (pthread_cond_timedwait(&s->changed, &s->lock, &t) == ETIMEDOUT)
        return link_fail_timeout(&e->link, what);
    return 0;
}

static uint8_t *mem_reserve(struct link *l, size_t bytes)
{
    struct end *e = end_of(l);
    struct direction *d = &e->shared->from[e->side];
    uint64_t deadline_ns = link_deadline_ns(l);
    int rc = 0;

    pthread_mutex_lock(&e->shared->lock);
    if (e->shared->gone[!e->side])
        rc = link_fail(l, -ECONNRESET, "the peer closed its end of the link");
    while (rc == 0 && d->committed + frame_bytes(bytes) - d->released > ARENA_ROOM)
        rc = wait_change(e, deadline_ns, "the peer took nothing and the window is full");
    pthread_mutex_unlock(&e->shared->lock);
    return rc < 0 ? NULL : arena_at(&d->arena, d->committed) + FRAME_HEAD_BYTES;
}

static int mem_commit(struct link *l, size_t bytes)
{
    struct end *e = end_of(l);
    struct direction *d = &e->shared->from[e->side];
    int rc = frame_seal(&e->framer, arena_at(&d->arena, d->committed), bytes, &l->err);

    if (rc < 0)
        return link_fail(l, rc, "a record could not be framed");
    pthread_mutex_lock(&e->shared->lock);
    d->committed += frame_bytes(bytes);
    tell(e->shared);
    pthread_mutex_unlock(&e->shared->lock);
    l->counters.sent_wire_bytes += frame_bytes(bytes);
    return 0;
}

/* Whole frames are published, so a header that is there has its payload behind it. */
static int await_frame(struct end *e, struct direction *d)
{
    uint64_t deadline_ns = link_deadline_ns(&e->link);
    int rc = 0;

    pthread_mutex_lock(&e->shared->lock);
    if (e->held > 0) {
        d->released += e->held;
        e->held = 0;
        tell(e->shared);
    }
    while (rc == 0 && d->committed == d->released)
        rc = wait_change(e, deadline_ns, "the peer sent nothing");
    pthread_mutex_unlock(&e->shared->lock);
    return rc;
}

static const uint8_t *mem_take(struct link *l, size_t bytes)
{
    struct end *e = end_of(l);
    struct direction *d = &e->shared->from[!e->side];
    uint8_t *frame;
    int rc = await_frame(e, d);

    if (rc < 0)
        return NULL;
    frame = arena_at(&d->arena, d->released);
    rc = frame_check(&e->framer, frame, bytes, &l->err);
    if (rc == 0)
        rc = frame_open(&e->framer, frame, bytes, &l->err);
    if (rc < 0) {
        link_fail(l, rc, "the peer's frame was refused");
        return NULL;
    }
    e->held = frame_bytes(bytes);
    l->counters.received_wire_bytes += e->held;
    return frame + FRAME_HEAD_BYTES;
}

static int mem_flush(struct link *l)
{
    (void)l; /* a commit has arrived */
    return 0;
}

/* A sleep ends late by more than such waits may take, so the end of it is spun. */
static int mem_idle(struct link *l, uint64_t until_ns)
{
    uint64_t spin_ns = (uint64_t)l->options.busy_poll_us_max * 2000u;
    struct timespec t;

    monotonic(until_ns - MIN(spin_ns, until_ns), &t);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
    while (time_ns() < until_ns)
        ;
    return 0;
}

static void shared_free(struct shared *s)
{
    arena_clear(&s->from[0].arena);
    arena_clear(&s->from[1].arena);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void mem_free(struct link *l)
{
    struct end *e = end_of(l);
    struct shared *s = e->shared;
    bool last;

    pthread_mutex_lock(&s->lock);
    s->gone[e->side] = true;
    last = s->gone[!e->side];
    tell(s);
    pthread_mutex_unlock(&s->lock);
    if (last)
        shared_free(s);
    framer_clear(&e->framer);
    free(e);
}

static const struct link_kind mem_kind = {
    .reserve = mem_reserve,
    .commit = mem_commit,
    .take = mem_take,
    .flush = mem_flush,
    .idle = mem_idle,
    .free = mem_free,
};

static int shared_new(struct shared **ret, struct err *err)
{
    struct shared *s = calloc(1, sizeof(*s));
    pthread_condattr_t attributes;
    int rc;

    if (!s)
        return err_set(err, -ENOMEM, "no memory for a link");
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    rc = arena_init(&s->from[0].arena, err);
    if (rc == 0)
        rc = arena_init(&s->from[1].arena, err);
    if (rc < 0) {
        shared_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

static int end_new(struct shared *s, unsigned int side, const struct seal_keys *keys,
                   const struct link_options *options, struct end **ret, struct err *err)
{
    struct end *e = calloc(1, sizeof(*e));
    int rc;

    if (!e)
        return err_set(err, -ENOMEM, "no memory for a link");
    e->shared = s;
    e->side = side;
    rc = link_init(&e->link, &mem_kind, options, err);
    if (rc == 0)
        rc = framer_init(&e->framer, keys, options->seal, err);
    if (rc < 0) {
        free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

int link_mem_new(const struct seal_keys *keys, const struct link_options *options,
                 struct link *ret[2], struct err *err)
{
    struct seal_keys *mirror = keys ? seal_keys_mirror(keys) : NULL;
    struct shared *s = NULL;
    struct end *end[2] = {NULL, NULL};
    int rc;

    if (keys && !mirror)
        return err_set(err, -ENOMEM, "no memory for a link's keys");
    rc = shared_new(&s, err);
    if (rc < 0)
        goto out;
    rc = end_new(s, 0, keys, options, &end[0], err);
    if (rc == 0)
        rc = end_new(s, 1, mirror, options, &end[1], err);
    if (rc < 0) {
        if (end[0])
            framer_clear(&end[0]->framer);
        free(end[0]);
        shared_free(s);
        goto out;
    }
    ret[0] = &end[0]->link;
    ret[1] = &end[1]->link;
out:
    seal_keys_free(mirror);
    return rc;
}
