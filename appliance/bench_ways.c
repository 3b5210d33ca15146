/*
 * What bench link measures on one host: the link in memory and over TCP, and beside it the least
 * that two threads can do with memory that they share. (bench_socket.c and bench_port.c have the
 * others.)
 */
#include "appliance/bench_link.h"
#include "appliance/link_exchange.h"
#include "appliance/net.h"
#include "base/bytes.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

/* --- the link --- */

static int open_uring(struct end *e)
{
    int fds[LINK_STREAMS_MAX], rc;

    memcpy(fds, e->more, sizeof(fds));
    fds[0] = e->fd;
    rc = link_uring_new(fds, e->streams, e->keys, e->options, &e->link, &e->err);
    if (rc < 0)
        return rc;
    e->fd = -1;
    for (unsigned int i = 1; i < e->streams; i++)
        e->more[i] = -1;
    return 0;
}

static int open_nothing(struct end *e)
{
    (void)e;
    return 0;
}

int bench_link_send(struct end *e, size_t bytes)
{
    uint8_t *to = link_reserve(e->link, bytes);

    if (!to)
        return link_error(e->link, NULL);
    memcpy(to, e->out, bytes);
    return link_commit(e->link);
}

int bench_link_receive(struct end *e, size_t bytes)
{
    const uint8_t *from = link_take(e->link, bytes);

    if (!from)
        return link_error(e->link, NULL);
    memcpy(e->in, from, bytes);
    return 0;
}

/* Nobody copies what is exchanged, as nobody does in a job: a block that is sent holds what its
 * memory held and, in front, where it belongs. The seals say that the rest arrived as it left. */
static void fill(void *context, size_t first, size_t count, uint8_t *to)
{
    (void)context;
    if (count >= sizeof(uint64_t))
        store_le64(to, first);
}

static void use(void *context, size_t first, size_t count, const uint8_t *from)
{
    struct end *e = context;

    e->misplaced |= count >= sizeof(uint64_t) && load_le64(from) != first;
}

int bench_link_exchange(struct end *e, size_t bytes)
{
    struct link_exchange x;
    int rc;

    link_exchange_init(&x, e->link);
    rc = exchange_all(&x.exchange, bytes, 1, fill, use, e);
    if (rc == 0 && e->misplaced)
        rc = err_set(&e->err, -EBADMSG, "a block is not the one that was due");
    return rc;
}

const struct way bench_way_mem = {open_nothing, bench_link_send, bench_link_receive,
                                  bench_link_exchange, false};
const struct way bench_way_uring = {open_uring, bench_link_send, bench_link_receive,
                                    bench_link_exchange, false};

/* --- plain memory --- */

static int cell_wait(const struct cell *c, bool full)
{
    uint64_t deadline = net_deadline(BENCH_TIMEOUT_MS);

    for (unsigned int i = 1; (atomic_load_explicit(&c->filled, memory_order_acquire) != 0) != full;
         i++) {
        if (i % 1024)
            continue;
        if (time_ns() > deadline)
            return -ETIMEDOUT;
        sched_yield();
    }
    return 0;
}

static int cell_send_part(struct end *e, size_t from, size_t bytes)
{
    struct cell *c = &e->cells[e->side];
    int rc = cell_wait(c, false);

    if (rc < 0)
        return rc;
    memcpy(c->bytes, e->out + from, bytes);
    atomic_store_explicit(&c->filled, bytes, memory_order_release);
    return 0;
}

static int cell_receive_part(struct end *e, size_t to, size_t bytes)
{
    struct cell *c = &e->cells[!e->side];
    int rc = cell_wait(c, true);

    if (rc < 0)
        return rc;
    memcpy(e->in + to, c->bytes, bytes);
    atomic_store_explicit(&c->filled, 0, memory_order_release);
    return 0;
}

static int memory_send(struct end *e, size_t bytes)
{
    return cell_send_part(e, 0, bytes);
}

static int memory_receive(struct end *e, size_t bytes)
{
    return cell_receive_part(e, 0, bytes);
}

static int exchange_memory(struct end *e, size_t bytes)
{
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < bytes; at += BENCH_CELL_BYTES) {
        size_t part = MIN(bytes - at, BENCH_CELL_BYTES);

        rc = cell_send_part(e, at, part);
        if (rc == 0)
            rc = cell_receive_part(e, at, part);
    }
    return rc;
}

const struct way bench_way_memory = {open_nothing, memory_send, memory_receive, exchange_memory,
                                     false};
