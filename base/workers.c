#include "base/workers.h"

#include <assert.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CACHE_LINE      64
#define SPINS_A_LOOK    32 /* at the clock */
#define BACKGROUND_NICE 19

/* The parts of one worker that nobody has taken: the next one in the upper half, the end below. */
struct range {
    _Alignas(CACHE_LINE) _Atomic uint64_t parts;
};

struct seat {
    struct workers *team;
    unsigned int worker;
    pthread_t thread;
};

/*
 * A part is taken by moving its range's word on. Only while a run has parts that were not taken can
 * that succeed, and a run with such a part has not ended: so whoever took one may read @task and
 * @context, and a worker that comes late finds empty ranges, or those of the next run.
 */
struct workers {
    unsigned int count, spin_us;
    bool background;
    bool pinned;
    uint16_t cpu[WORKERS_MAX];
    char name[16];
    workers_task *task;
    void *context;
    atomic_bool running;
    atomic_bool stopping;
    _Alignas(CACHE_LINE) _Atomic uint32_t round; /* futex of those who wait for work */
    _Atomic uint32_t sleepers;
    _Alignas(CACHE_LINE) _Atomic uint32_t left; /* parts that are not done: futex of worker 0 */
    atomic_bool lead_sleeps;
    struct range range[WORKERS_MAX];
    struct seat seat[WORKERS_MAX];
};

/* --- sleep --- */

static void futex_wait(_Atomic uint32_t *at, uint32_t value)
{
    syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *at, int count)
{
    syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void relax(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

/* Whether *@at is, or with @other is not, @value, now or within the time for spinning. */
static bool spin(const struct workers *w, _Atomic uint32_t *at, uint32_t value, bool other)
{
    uint64_t end = w->spin_us ? time_ns() + w->spin_us * UINT64_C(1000) : 0;

    do {
        for (int i = 0; i < SPINS_A_LOOK; i++) {
            if ((atomic_load_explicit(at, memory_order_acquire) == value) != other)
                return true;
            relax();
        }
    } while (end && time_ns() < end);
    return false;
}

/* --- work --- */

static bool take_part(struct range *r, size_t *ret_part)
{
    uint64_t parts = atomic_load_explicit(&r->parts, memory_order_relaxed);

    do {
        if (parts >> 32 == (uint32_t)parts)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&r->parts, &parts, parts + (UINT64_C(1) << 32),
                                                    memory_order_acquire, memory_order_relaxed));
    *ret_part = parts >> 32;
    return true;
}

/* First what is its own, then what others have left. */
static void work(struct workers *w, unsigned int worker)
{
    for (unsigned int i = 0; i < w->count; i++) {
        size_t part;

        while (take_part(&w->range[(worker + i) % w->count], &part)) {
            w->task(w->context, part, worker);
            /* Sequentially consistent, here and in await_all(): one of the two sees the other. */
            if (atomic_fetch_sub(&w->left, 1) == 1 && atomic_load(&w->lead_sleeps))
                futex_wake(&w->left, 1);
        }
    }
}

static void await_all(struct workers *w)
{
    uint32_t left;

    if (spin(w, &w->left, 0, false))
        return;
    atomic_store(&w->lead_sleeps, true);
    while ((left = atomic_load(&w->left)) != 0)
        futex_wait(&w->left, left);
    atomic_store(&w->lead_sleeps, false);
}

static void await_round(struct workers *w, uint32_t seen)
{
    if (spin(w, &w->round, seen, true))
        return;
    atomic_fetch_add(&w->sleepers, 1);
    while (atomic_load(&w->round) == seen)
        futex_wait(&w->round, seen);
    atomic_fetch_sub(&w->sleepers, 1);
}

static void call_workers(struct workers *w, int count)
{
    atomic_fetch_add(&w->round, 1);
    if (atomic_load(&w->sleepers))
        futex_wake(&w->round, count);
}

static void share_out(struct workers *w, size_t parts)
{
    atomic_store_explicit(&w->left, (uint32_t)parts, memory_order_relaxed);
    for (unsigned int i = 0; i < w->count; i++)
        atomic_store_explicit(&w->range[i].parts,
                              ((uint64_t)parts * i / w->count) << 32 |
                                  (uint64_t)parts * (i + 1) / w->count,
                              memory_order_release);
}

void workers_run(struct workers *w, workers_task *task, void *context, size_t parts)
{
    bool running;

    if (!w || w->count == 1 || parts < 2) {
        for (size_t i = 0; i < parts; i++)
            task(context, i, 0);
        return;
    }
    running = atomic_exchange_explicit(&w->running, true, memory_order_acquire);
    assert(!running && parts <= UINT32_MAX);
    (void)running;
    w->task = task;
    w->context = context;
    share_out(w, parts);
    call_workers(w, (int)MIN(parts - 1, (size_t)WORKERS_MAX));
    work(w, 0);
    await_all(w);
    atomic_store_explicit(&w->running, false, memory_order_release);
}

/* --- the threads --- */

/* SCHED_BATCH and nice 19: gives way, and yet is never starved for good. */
static int give_way(struct err *err)
{
    static const struct sched_param param = {0};

    if (sched_setscheduler(0, SCHED_BATCH, &param) < 0 ||
        setpriority(PRIO_PROCESS, 0, BACKGROUND_NICE) < 0)
        return err_set(err, -errno, "lowering a thread's priority: %s", strerror(errno));
    return 0;
}

static void *worker_thread(void *context)
{
    const struct seat *seat = context;
    struct workers *w = seat->team;
    uint32_t round = 0;

    if (w->background)
        (void)!give_way(NULL);
    for (;;) {
        await_round(w, round);
        round = atomic_load(&w->round);
        if (atomic_load(&w->stopping))
            return NULL;
        work(w, seat->worker);
    }
}

static int cpu_failed(unsigned int cpu, int rc, struct err *err)
{
    return err_set(err, rc, "CPU %u cannot be had: does it exist, may this process use it?", cpu);
}

static int start(struct workers *w, unsigned int worker, struct err *err)
{
    struct seat *seat = &w->seat[worker];
    pthread_attr_t attr;
    char name[32]; /* of which 15 bytes are used, as the system allows */
    cpu_set_t set;
    int rc;

    *seat = (struct seat){.team = w, .worker = worker};
    CPU_ZERO(&set);
    CPU_SET(w->cpu[worker], &set);
    pthread_attr_init(&attr);
    if (w->pinned)
        pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
    rc = pthread_create(&seat->thread, &attr, worker_thread, seat);
    pthread_attr_destroy(&attr);
    if (rc == EINVAL && w->pinned)
        return cpu_failed(w->cpu[worker], -rc, err);
    if (rc)
        return err_set(err, -rc, "thread %s-%u: %s", w->name, worker, strerror(rc));
    snprintf(name, sizeof(name), "%.12s-%u", w->name, worker);
    pthread_setname_np(seat->thread, name);
    return 0;
}

static void stop(struct workers *w, unsigned int count)
{
    atomic_store(&w->stopping, true);
    call_workers(w, INT_MAX);
    for (unsigned int i = 1; i < count; i++)
        pthread_join(w->seat[i].thread, NULL);
    free(w);
}

int workers_new(const struct workers_options *o, struct workers **ret, struct err *err)
{
    struct workers *w;
    sigset_t all, before;
    int rc = 0;

    if (o->count < 1 || o->count > WORKERS_MAX)
        return err_set(err, -EINVAL, "%u workers: 1 to %d", o->count, WORKERS_MAX);
    w = aligned_alloc(CACHE_LINE, sizeof(*w));
    if (!w)
        return err_set(err, -ENOMEM, "no memory for workers");
    memset(w, 0, sizeof(*w));
    w->count = o->count;
    w->spin_us = o->spin_us;
    w->background = o->background;
    w->pinned = o->cpus != NULL;
    if (w->pinned)
        memcpy(w->cpu, o->cpus, o->count * sizeof(*o->cpus));
    snprintf(w->name, sizeof(w->name), "%s", o->name);
    /* Signals are for other threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned int i = 1; rc == 0 && i < w->count; i++) {
        rc = start(w, i, err);
        if (rc < 0)
            stop(w, i);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        *ret = w;
    return rc;
}

void workers_free(struct workers *w)
{
    if (w)
        stop(w, w->count);
}

unsigned int workers_count(const struct workers *w)
{
    return w ? w->count : 1;
}

int workers_lead(struct workers *w, struct err *err)
{
    cpu_set_t set;
    int rc;

    if (w->pinned) {
        CPU_ZERO(&set);
        CPU_SET(w->cpu[0], &set);
        rc = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
        if (rc)
            return cpu_failed(w->cpu[0], -rc, err);
    }
    return w->background ? give_way(err) : 0;
}
