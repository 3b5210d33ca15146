/*
 * mpcformer bench link: the share link between two pinned threads of this machine, and beside it
 * the same over what carries it: plain blocking sockets, or plain memory.
 *
 * Both ends do the same steps in the same order: round trips of a small message, then exchanges, in
 * which each sends some bytes to the other at once. End 0 holds the watch.
 */
#include "appliance/bench.h"
#include "appliance/exit.h"
#include "appliance/link_exchange.h"
#include "appliance/net.h"
#include "appliance/tool.h"
#include "base/random.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PING_BYTES  64
#define PINGS       4000
#define PINGS_WARM  200
#define REPEAT      15
#define TIMEOUT_MS  10000
#define LARGEST     ((size_t)8 << 20)
#define SOCKET_ROOM (4 << 20)
#define CELL_BYTES  ((size_t)256 << 10)

static const size_t sizes[] = {4096, 65536, 1 << 20, LARGEST};

struct options {
    bool uring;
    enum seal_engine seal;
    bool json;
};

static const struct argp_option option_table[] = {
    {"link", 'l', "DRIVER", 0, "mem or uring", 0},
    {"seal", 's', "ENGINE", 0, "ipsec-mb or openssl (the faster one that this CPU can run)", 0},
    {"json", 'j', NULL, 0, "Print one JSON object on one line", 0},
    {0},
};

static enum seal_engine take_engine(struct argp_state *state, const char *text)
{
    static const enum seal_engine engines[] = {SEAL_IPSEC_MB, SEAL_OPENSSL};

    for (size_t i = 0; i < ARRAY_LENGTH(engines); i++)
        if (strcmp(text, seal_engine_name(engines[i])) == 0) {
            if (!seal_engine_here(engines[i]))
                argp_error(state, "--seal %s: this CPU cannot run it", text);
            return engines[i];
        }
    argp_error(state, "--seal %s: ipsec-mb or openssl", text);
    return SEAL_FASTEST;
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'l':
        o->uring = strcmp(text, "uring") == 0;
        if (!o->uring && strcmp(text, "mem") != 0)
            argp_error(state, "--link %s: this version has mem and uring", text);
        return 0;
    case 's':
        o->seal = take_engine(state, text);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": options only", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- an end, over whatever carries --- */

/* Plain memory: one cell a direction, full or empty. */
struct cell {
    _Alignas(64) atomic_size_t filled;
    uint8_t bytes[CELL_BYTES];
};

struct end {
    unsigned int side;
    int cpu; /* -1: anywhere */
    struct link *link;
    int fd;             /* -1: none */
    struct cell *cells; /* NULL: none; the one it sends in is cells[side] */
    uint8_t *out, *in;  /* LARGEST each */
    const struct seal_keys *keys;
    const struct link_options *options;
    const struct way *way;
    double *ping_us; /* (PINGS) */
    double gbit[ARRAY_LENGTH(sizes)];
    int rc;
};

/* Both block; 0 or a negative errno. */
struct way {
    int (*open)(struct end *e); /* on the thread that uses it */
    int (*send)(struct end *e, size_t bytes);
    int (*receive)(struct end *e, size_t bytes);
    int (*exchange)(struct end *e, size_t bytes);
};

/* --- the link --- */

static int open_uring(struct end *e)
{
    int rc = link_uring_new(e->fd, e->keys, e->options, &e->link, NULL);

    if (rc == 0)
        e->fd = -1;
    return rc;
}

static int open_nothing(struct end *e)
{
    (void)e;
    return 0;
}

static int link_send(struct end *e, size_t bytes)
{
    uint8_t *to = link_reserve(e->link, bytes);

    if (!to)
        return link_error(e->link, NULL);
    memcpy(to, e->out, bytes);
    return link_commit(e->link);
}

static int link_receive(struct end *e, size_t bytes)
{
    const uint8_t *from = link_take(e->link, bytes);

    if (!from)
        return link_error(e->link, NULL);
    memcpy(e->in, from, bytes);
    return 0;
}

static void fill(void *context, size_t first, size_t count, uint8_t *to)
{
    memcpy(to, ((struct end *)context)->out + first, count);
}

static void use(void *context, size_t first, size_t count, const uint8_t *from)
{
    memcpy(((struct end *)context)->in + first, from, count);
}

static int exchange_link(struct end *e, size_t bytes)
{
    struct link_exchange x;

    link_exchange_init(&x, e->link);
    return exchange_all(&x.exchange, bytes, 1, fill, use, e);
}

static const struct way way_mem = {open_nothing, link_send, link_receive, exchange_link};
static const struct way way_uring = {open_uring, link_send, link_receive, exchange_link};

/* --- plain sockets --- */

static int socket_send(struct end *e, size_t bytes)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = send(e->fd, e->out + done, bytes - done, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int socket_receive(struct end *e, size_t bytes)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = recv(e->fd, e->in + done, bytes - done, 0);

        if (n == 0)
            return -ECONNRESET;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int exchange_socket(struct end *e, size_t bytes)
{
    size_t sent = 0, got = 0;

    while (sent < bytes || got < bytes) {
        struct pollfd p = {.fd = e->fd,
                           .events =
                               (short)((sent < bytes ? POLLOUT : 0) | (got < bytes ? POLLIN : 0))};
        ssize_t n;

        if (poll(&p, 1, TIMEOUT_MS) < 1)
            return -ETIMEDOUT;
        if (p.revents & POLLOUT) {
            n = send(e->fd, e->out + sent, bytes - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN)
                return -errno;
            sent += n > 0 ? (size_t)n : 0;
        }
        if (p.revents & ~POLLOUT) {
            n = recv(e->fd, e->in + got, bytes - got, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN))
                return n ? -errno : -ECONNRESET;
            got += n > 0 ? (size_t)n : 0;
        }
    }
    return 0;
}

static int open_socket(struct end *e)
{
    return fcntl(e->fd, F_SETFL, fcntl(e->fd, F_GETFL) & ~O_NONBLOCK) < 0 ? -errno : 0;
}

static const struct way way_socket = {open_socket, socket_send, socket_receive, exchange_socket};

/* --- plain memory --- */

static int cell_wait(const struct cell *c, bool full)
{
    uint64_t deadline = net_deadline(TIMEOUT_MS);

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

    for (size_t at = 0; rc == 0 && at < bytes; at += CELL_BYTES) {
        size_t part = MIN(bytes - at, CELL_BYTES);

        rc = cell_send_part(e, at, part);
        if (rc == 0)
            rc = cell_receive_part(e, at, part);
    }
    return rc;
}

static const struct way way_memory = {open_nothing, memory_send, memory_receive, exchange_memory};

/* --- the steps --- */

static int ping(struct end *e)
{
    for (size_t i = 0; i < PINGS_WARM + PINGS; i++) {
        uint64_t start = time_ns();
        int rc = e->side ? e->way->receive(e, PING_BYTES) : e->way->send(e, PING_BYTES);

        if (rc == 0)
            rc = e->side ? e->way->send(e, PING_BYTES) : e->way->receive(e, PING_BYTES);
        if (rc < 0)
            return rc;
        if (i >= PINGS_WARM)
            e->ping_us[i - PINGS_WARM] = (double)(time_ns() - start) / 1e3;
    }
    return 0;
}

static int exchange_size(struct end *e, size_t size)
{
    double rates[REPEAT];

    for (size_t i = 0; i <= REPEAT; i++) {
        uint64_t start = time_ns();
        int rc = e->way->exchange(e, sizes[size]);

        if (rc < 0)
            return rc;
        if (i) /* the first is to warm up */
            rates[i - 1] = (double)sizes[size] * 8 / (double)(time_ns() - start);
    }
    e->gbit[size] = tool_median(rates, REPEAT);
    return 0;
}

static void *run_end(void *context)
{
    struct end *e = context;

    bench_pin(e->cpu);
    e->rc = e->way->open(e);
    if (e->rc == 0)
        e->rc = ping(e);
    for (size_t i = 0; e->rc == 0 && i < ARRAY_LENGTH(sizes); i++)
        e->rc = exchange_size(e, i);
    if (e->way->exchange == exchange_link)
        link_free(e->link);
    return NULL;
}

/* --- a pair of ends --- */

static int connect_pair(int ret[2], struct err *err)
{
    struct net_address at = {.host = "127.0.0.1"};
    int listener, rc = net_listen(&at, &listener, err);

    if (rc < 0)
        return rc;
    rc = net_port(listener, &at.port);
    if (rc == 0)
        rc = net_connect(&at, TIMEOUT_MS, &ret[0], err);
    if (rc == 0 && (rc = net_accept(listener, TIMEOUT_MS, &ret[1], err)) < 0) {
        close(ret[0]);
        ret[0] = -1;
    }
    close(listener);
    return rc;
}

static int prepare(struct end ends[2], const struct seal_keys *keys[2],
                   const struct link_options *options, struct err *err)
{
    const struct way *way = ends[0].way;
    struct link *links[2];
    int fds[2] = {-1, -1}, rc = 0;

    if (way == &way_uring || way == &way_socket) {
        rc = connect_pair(fds, err);
    } else if (way == &way_memory) {
        ends[0].cells = ends[1].cells = aligned_alloc(64, 2 * sizeof(struct cell));
        if (!ends[0].cells)
            return -ENOMEM;
        memset(ends[0].cells, 0, 2 * sizeof(struct cell));
    } else {
        rc = link_mem_new(keys[0], options, links, err);
        for (size_t i = 0; rc == 0 && i < 2; i++)
            ends[i].link = links[i];
    }
    for (size_t i = 0; i < 2; i++) {
        ends[i].fd = fds[i];
        ends[i].keys = keys[i];
        ends[i].options = options;
        if (fds[i] >= 0) {
            const int room = SOCKET_ROOM;

            (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
            (void)setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
        }
        ends[i].out = malloc(LARGEST);
        ends[i].in = malloc(LARGEST);
        ends[i].ping_us = calloc(PINGS, sizeof(double));
        if (!ends[i].out || !ends[i].in || !ends[i].ping_us)
            return -ENOMEM;
        memset(ends[i].out, (int)i + 1, LARGEST);
        memset(ends[i].in, 0, LARGEST);
    }
    return rc;
}

static void release(struct end ends[2])
{
    free(ends[0].cells);
    for (size_t i = 0; i < 2; i++) {
        if (ends[i].fd >= 0)
            close(ends[i].fd);
        free(ends[i].out);
        free(ends[i].in);
        free(ends[i].ping_us);
    }
}

/* Whether each end holds what the other sent last. */
static bool arrived(const struct end ends[2])
{
    return memcmp(ends[0].in, ends[1].out, LARGEST) == 0 &&
           memcmp(ends[1].in, ends[0].out, LARGEST) == 0;
}

static json_t *describe(struct end *e)
{
    json_t *list = json_array();
    double median = tool_median(e->ping_us, PINGS);

    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
        json_array_append_new(list, json_pack("{s:I, s:f}", "bytes", (json_int_t)sizes[i],
                                              "gbit_per_s_median", e->gbit[i]));
    return json_pack("{s:f, s:f, s:o}", "pingpong_us_p50", median, "pingpong_us_p99",
                     e->ping_us[PINGS * 99 / 100], "exchange", list);
}

static int run_pair(const struct way *way, const struct seal_keys *keys[2],
                    const struct link_options *options, json_t **ret, struct err *err)
{
    struct end ends[2] = {{.side = 0, .fd = -1, .way = way}, {.side = 1, .fd = -1, .way = way}};
    pthread_t threads[2];
    int cpus[2], rc = prepare(ends, keys, options, err);
    size_t count = 0;

    bench_cpus(cpus);
    for (; rc == 0 && count < 2; count++) {
        ends[count].cpu = cpus[count];
        rc = -pthread_create(&threads[count], NULL, run_end, &ends[count]);
        if (rc < 0)
            break;
    }
    /* A lone first end gives up after TIMEOUT_MS. */
    while (count)
        pthread_join(threads[--count], NULL);
    for (size_t i = 0; rc == 0 && i < 2; i++)
        rc = ends[i].rc;
    if (rc == 0 && !arrived(ends))
        rc = err_set(err, -EBADMSG, "what arrived is not what was sent");
    if (rc == 0)
        *ret = describe(&ends[0]);
    release(ends);
    return rc;
}

static int run(const struct options *o, json_t **ret, struct err *err)
{
    const struct link_options options = {
        .timeout_ms = TIMEOUT_MS, .busy_poll_us_max = LINK_BUSY_POLL_US, .seal = o->seal};
    struct seal_keys *keys[2] = {seal_keys_new(), NULL};
    json_t *raw = NULL, *seals = NULL;
    int rc = keys[0] ? 0 : -ENOMEM;

    if (rc == 0) {
        random_bytes(keys[0], sizeof(*keys[0]));
        keys[1] = seal_keys_mirror(keys[0]);
        rc = keys[1] ? 0 : -ENOMEM;
    }
    if (rc == 0)
        rc = run_pair(o->uring ? &way_uring : &way_mem,
                      (const struct seal_keys *[2]){keys[0], keys[1]}, &options, ret, err);
    if (rc == 0)
        rc = run_pair(o->uring ? &way_socket : &way_memory,
                      (const struct seal_keys *[2]){NULL, NULL}, &options, &raw, err);
    if (rc == 0)
        rc = bench_seal(&seals, err);
    if (rc == 0) {
        json_object_set_new(*ret, "link", json_string(o->uring ? "uring" : "mem"));
        json_object_set_new(*ret, "seal", json_string(seal_engine_name(o->seal)));
        json_object_set(*ret, "raw", raw);
        json_object_set_new(*ret, "seal_gb_per_s", seals);
    }
    json_decref(raw);
    seal_keys_free(keys[0]);
    seal_keys_free(keys[1]);
    return rc;
}

static const char doc[] =
    "Measure the share link between two pinned threads of this machine.\v"
    "pingpong is a message of 64 bytes there and back; exchange is both ends sending that many "
    "bytes at once, a direction's rate. raw is the same without frames and seals: over blocking "
    "sockets for uring, by copying for mem (in turns, where the link sends ahead). seal is the "
    "engine that sealed the link's records, seal_gb_per_s what each engine does on one core.\n\n"
    "Exit status: 0 measured; 2 the command line is wrong; 3 failed.";

int bench_link(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options o = {.uring = true};
    struct err err = {""};
    json_t *figures = NULL;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rc = run(&o, &figures, &err);
    if (rc < 0) {
        json_decref(figures);
        return tool_fail(&err, rc);
    }
    if (o.json)
        tool_print_json(stdout, figures);
    else
        tool_print_people(stdout, figures);
    json_decref(figures);
    return EXIT_OK;
}
