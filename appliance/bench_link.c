/*
 * mpcformer bench link: the share link between two pinned threads of this machine, and beside it
 * the same over what carries it: plain blocking sockets, or plain memory.
 *
 * Both ends do the same steps in the same order: round trips of a small message, then exchanges, in
 * which each sends some bytes to the other at once. End 0 holds the watch.
 */
#include "appliance/bench_link.h"
#include "appliance/bench.h"
#include "appliance/bench_remote.h"
#include "appliance/exit.h"
#include "appliance/link_exchange.h"
#include "appliance/net.h"
#include "appliance/tool.h"
#include "base/random.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WARM_UP     200
#define REPEAT      15
#define SOCKET_ROOM (4 << 20)

static const size_t sizes[BENCH_SIZES] = {4096, 65536, 1 << 20, BENCH_LARGEST};

enum driver_kind { DRIVER_MEM, DRIVER_URING, DRIVER_DPDK };

struct options {
    enum driver_kind driver;
    struct port_options port[2]; /* of DRIVER_DPDK */
    char folder[32];             /* of a memif that is made; "": none */
    enum seal_engine seal;
    struct bench_remote remote; /* no host: both ends are here */
    enum link_zero_copy zero_copy;
    unsigned int streams; /* of DRIVER_URING */
    bool json;
};

enum { OPTION_SMALL = 256, OPTION_STREAMS, OPTION_LISTEN, OPTION_PEER, OPTION_ZERO_COPY };

static const struct argp_option option_table[] = {
    {"link", 'l', "DRIVER", 0,
     "mem, uring or dpdk, which is dpdk:memif; dpdk:PORT,PORT names both ends of a line, as the "
     "key "
     "`port` takes them (uring)",
     0},
    {"listen", OPTION_LISTEN, "HOST:PORT", 0, "Be the end of two hosts that is called, there", 0},
    {"peer", OPTION_PEER, "HOST:PORT", 0,
     "Be the other end, which calls, and prints; of dpdk give each its own port, dpdk:PORT", 0},
    {"small-pages", OPTION_SMALL, NULL, 0, "Of dpdk: no huge pages", 0},
    {"zero-copy", OPTION_ZERO_COPY, "WHEN", 0,
     "Of uring: try, while the kernel reports that large sends are not copied; never; always (try)",
     0},
    {"streams", OPTION_STREAMS, "N", 0, "Of uring: TCP connections that records take turns on (1)",
     0},
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

static enum link_zero_copy take_zero_copy(struct argp_state *state, const char *text)
{
    static const char *const names[] = {[LINK_ZERO_COPY_TRY] = "try",
                                        [LINK_ZERO_COPY_NEVER] = "never",
                                        [LINK_ZERO_COPY_ALWAYS] = "always"};

    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (strcmp(text, names[i]) == 0)
            return (enum link_zero_copy)i;
    argp_error(state, "--zero-copy %s: try, never or always", text);
    return LINK_ZERO_COPY_TRY;
}

static void take_ports(struct argp_state *state, struct options *o, const char *text)
{
    char copy[2 * PORT_WHERE_MAX], *second;
    struct err err = {""};

    snprintf(copy, sizeof(copy), "%s", text);
    second = strchr(copy, ',');
    if (second)
        *second++ = '\0';
    else
        second = copy; /* of two hosts */
    if (port_parse(copy, &o->port[0].where, &err) < 0 ||
        port_parse(second, &o->port[1].where, &err) < 0)
        argp_error(state, "--link dpdk:%s: %s", text, err.text);
}

/* A socket in a folder of its own. */
static void make_memif(struct argp_state *state, struct options *o)
{
    struct port_where where = {.kind = PORT_MEMIF};

    snprintf(o->folder, sizeof(o->folder), "/tmp/mpcformer-XXXXXX");
    if (!mkdtemp(o->folder))
        argp_error(state, "%s: %s", o->folder, strerror(errno));
    snprintf(where.name, sizeof(where.name), "%s/port.sock", o->folder);
    o->port[0].where = o->port[1].where = where;
}

static void take_link(struct argp_state *state, struct options *o, const char *text)
{
    if (!strcmp(text, "mem")) {
        o->driver = DRIVER_MEM;
    } else if (!strcmp(text, "uring")) {
        o->driver = DRIVER_URING;
    } else if (!strcmp(text, "dpdk") || !strcmp(text, "dpdk:memif")) {
        o->driver = DRIVER_DPDK;
        make_memif(state, o);
    } else if (!strncmp(text, "dpdk:", 5)) {
        o->driver = DRIVER_DPDK;
        take_ports(state, o, text + 5);
    } else {
        argp_error(state, "--link %s: there are mem, uring and dpdk", text);
    }
}

static void take_remote(struct argp_state *state, struct options *o, const char *text, bool listen)
{
    struct err err = {""};

    if (net_parse(text, &o->remote.at, &err) < 0)
        argp_error(state, "--%s %s: %s", listen ? "listen" : "peer", text, err.text);
    o->remote.listen = listen;
    o->remote.listen_fd = -1;
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'l':
        take_link(state, o, text);
        return 0;
    case OPTION_LISTEN:
    case OPTION_PEER:
        take_remote(state, o, text, key == OPTION_LISTEN);
        return 0;
    case ARGP_KEY_END:
        if (!o->remote.at.host[0] && o->driver == DRIVER_DPDK && !o->folder[0] &&
            !memcmp(&o->port[0].where, &o->port[1].where, sizeof(o->port[0].where)))
            argp_error(state, "write both ends, as in dpdk:af_packet:eth1,af_packet:eth2");
        if (o->remote.at.host[0] && (o->driver == DRIVER_MEM || o->folder[0]))
            argp_error(state, "two hosts have no memory in common: --link uring, or dpdk:PORT");
        if (o->driver != DRIVER_URING && o->streams > 1)
            argp_error(state, "--streams %u: only --link uring has TCP's", o->streams);
        return 0;
    case OPTION_SMALL:
        o->port[0].small_pages = o->port[1].small_pages = true;
        return 0;
    case OPTION_ZERO_COPY:
        o->zero_copy = take_zero_copy(state, text);
        return 0;
    case OPTION_STREAMS:
        o->streams = (unsigned int)bench_number(state, "streams", text, 1, LINK_STREAMS_MAX);
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

static void fill(void *context, size_t first, size_t count, uint8_t *to)
{
    memcpy(to, ((struct end *)context)->out + first, count);
}

static void use(void *context, size_t first, size_t count, const uint8_t *from)
{
    memcpy(((struct end *)context)->in + first, from, count);
}

int bench_link_exchange(struct end *e, size_t bytes)
{
    struct link_exchange x;

    link_exchange_init(&x, e->link);
    return exchange_all(&x.exchange, bytes, 1, fill, use, e);
}

static const struct way way_mem = {open_nothing, bench_link_send, bench_link_receive,
                                   bench_link_exchange, false};
static const struct way way_uring = {open_uring, bench_link_send, bench_link_receive,
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

static const struct way way_memory = {open_nothing, memory_send, memory_receive, exchange_memory,
                                      false};

/* --- the steps --- */

static int ping(struct end *e)
{
    for (size_t i = 0; i < WARM_UP + BENCH_PINGS; i++) {
        uint64_t start = time_ns();
        int rc = e->side ? e->way->receive(e, BENCH_PING_BYTES) : e->way->send(e, BENCH_PING_BYTES);

        if (rc == 0)
            rc = e->side ? e->way->send(e, BENCH_PING_BYTES) : e->way->receive(e, BENCH_PING_BYTES);
        if (rc < 0)
            return rc;
        if (i >= WARM_UP)
            e->ping_us[i - WARM_UP] = (double)(time_ns() - start) / 1e3;
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
    if (e->fd >= 0)
        host_nic_of_socket(e->fd, e->nic);
    e->rc = e->way->open(e);
    if (e->rc == 0)
        e->rc = ping(e);
    for (size_t i = 0; e->rc == 0 && i < ARRAY_LENGTH(sizes); i++)
        e->rc = exchange_size(e, i);
    if (e->link) {
        link_error(e->link, &e->err);
        link_features(e->link, e->features, sizeof(e->features));
        if (e->rc == 0)
            e->rc = link_flush(e->link);
    }
    link_free(e->link);
    port_free(e->port);
    return NULL;
}

/* --- a pair of ends --- */

/* Ends that may be processes, and all that they read and write. */
struct pair {
    struct end end[2];
    struct port_options port[2];
    struct seal_keys keys[2],
        control[2]; /* secret memory does not pass a fork; these are no secret */
    uint8_t data[2][2][BENCH_LARGEST];
};

static int connect_pair(int ret[2], struct err *err)
{
    struct net_address at = {.host = "127.0.0.1"};
    int listener, rc = net_listen(&at, &listener, err);

    if (rc < 0)
        return rc;
    rc = net_port(listener, &at.port);
    if (rc == 0)
        rc = net_connect(&at, BENCH_TIMEOUT_MS, &ret[0], err);
    if (rc == 0 && (rc = net_accept(listener, BENCH_TIMEOUT_MS, &ret[1], err)) < 0) {
        close(ret[0]);
        ret[0] = -1;
    }
    close(listener);
    return rc;
}

static int connect_streams(struct end ends[2], struct err *err)
{
    static const int room = SOCKET_ROOM;
    int fds[2], rc = 0;

    for (unsigned int s = 0; rc == 0 && s < ends[0].streams; s++) {
        rc = connect_pair(fds, err);
        for (size_t i = 0; rc == 0 && i < 2; i++) {
            *(s ? &ends[i].more[s] : &ends[i].fd) = fds[i];
            (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
            (void)setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
        }
    }
    return rc;
}

/* What the ends have between them. */
static int join(struct end ends[2], const struct way *way, struct err *err)
{
    struct link *links[2];
    int rc = 0;

    if (way == &way_memory) {
        ends[0].cells = ends[1].cells = aligned_alloc(64, 2 * sizeof(struct cell));
        if (!ends[0].cells)
            return -ENOMEM;
        memset(ends[0].cells, 0, 2 * sizeof(struct cell));
    } else if (way == &way_mem) {
        rc = link_mem_new(ends[0].keys, ends[0].options, links, err);
        for (size_t i = 0; rc == 0 && i < 2; i++)
            ends[i].link = links[i];
    } else {
        rc = connect_streams(ends, err);
    }
    return rc;
}

static void close_sockets(struct end *e)
{
    if (e->fd >= 0)
        close(e->fd);
    for (unsigned int s = 1; s < e->streams; s++)
        if (e->more[s] >= 0)
            close(e->more[s]);
}

static void part(struct end ends[2])
{
    free(ends[0].cells);
    for (size_t i = 0; i < 2; i++) {
        if (ends[i].epoll >= 0)
            close(ends[i].epoll);
        close_sockets(&ends[i]);
    }
}

/* Whether each end holds what the other sent last. */
static bool arrived(const struct end ends[2])
{
    return memcmp(ends[0].in, ends[1].out, BENCH_LARGEST) == 0 &&
           memcmp(ends[1].in, ends[0].out, BENCH_LARGEST) == 0;
}

static json_t *describe(struct end *e)
{
    json_t *list = json_array();
    json_t *figures;
    double median = tool_median(e->ping_us, BENCH_PINGS);

    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
        json_array_append_new(list, json_pack("{s:I, s:f}", "bytes", (json_int_t)sizes[i],
                                              "gbit_per_s_median", e->gbit[i]));
    figures = json_pack("{s:f, s:f, s:f, s:o}", "pingpong_us_p50", median, "pingpong_us_p99",
                        e->ping_us[BENCH_PINGS * 99 / 100], "pingpong_us_min", e->ping_us[0],
                        "exchange", list);
    if (e->driver[0])
        json_object_set_new(figures, "driver", json_string(e->driver));
    if (e->nic[0])
        json_object_set_new(figures, "nic", json_string(e->nic));
    if (e->features[0])
        json_object_set_new(figures, "features", json_string(e->features));
    return figures;
}

/* A lone end gives up after BENCH_TIMEOUT_MS. */
static int run_threads(struct end ends[2])
{
    pthread_t threads[2];
    size_t count = 0;
    int rc = 0;

    for (; rc == 0 && count < 2; count++) {
        rc = -pthread_create(&threads[count], NULL, run_end, &ends[count]);
        if (rc < 0)
            break;
    }
    while (count)
        pthread_join(threads[--count], NULL);
    return rc;
}

static int run_processes(struct end ends[2], struct err *err)
{
    pid_t child[2];
    int rc = 0;

    for (size_t i = 0; i < 2; i++) {
        ends[i].rc = -ECHILD; /* of one that does not come back */
        child[i] = fork();
        if (child[i] == 0) {
            close(ends[!i].fd); /* so that an end notices when the other is gone */
            run_end(&ends[i]);
            _exit(0);
        }
        if (child[i] < 0)
            rc = err_set(err, -errno, "no process for an end: %s", strerror(errno));
    }
    /* The ends' own numbers, in memory that they share, stay as they are until they are done. */
    for (size_t i = 0; i < 2; i++)
        close(ends[i].fd);
    for (size_t i = 0; i < 2; i++) {
        while (child[i] > 0 && waitpid(child[i], NULL, 0) < 0 && errno == EINTR)
            ;
        ends[i].fd = -1;
    }
    return rc;
}

struct setting {
    const struct way *way;
    const struct seal_keys *keys[2], *control[2]; /* NULL: in the clear */
    const struct link_options *options;
    const struct port_options *port; /* (2), NULL: none */
    const char *name;                /* what is measured */
    unsigned int streams;            /* of TCP; 0: one */
    struct bench_remote *remote;     /* the other end is elsewhere; NULL: both are here */
};

static void end_init(struct end *e, unsigned int side, const struct setting *s, struct pair *p)
{
    int cpus[2];

    bench_cpus(cpus);
    *e = (struct end){.side = side,
                      .cpu = cpus[side],
                      .fd = -1,
                      .epoll = -1,
                      .way = s->way,
                      .control = &p->control[side],
                      .options = s->options,
                      .streams = MAX(s->streams, 1),
                      .out = p->data[side][0],
                      .in = p->data[side][1]};
    memset(e->more, 0xff, sizeof(e->more)); /* -1 each */
    memset(e->out, (int)side + 1, BENCH_LARGEST);
}

/* The end that is here of two hosts' ends, in a process of its own, so that its port closes. */
static int run_remote(struct pair *p, const struct setting *s, json_t **ret, struct err *err)
{
    unsigned int side = s->remote->listen;
    struct end *e = &p->end[side];
    char host[HOST_TEXT_SIZE];
    pid_t child;
    int rc;

    end_init(e, side, s, p);
    e->port_options = s->port;
    e->keys = &p->keys[side];
    e->rc = -ECHILD; /* of one that does not come back */
    rc = bench_remote_join(s->remote, s->name, &p->keys[side], &p->control[side], &e->fd, err);
    if (rc == 0)
        rc = bench_remote_join_more(s->remote, e->more, e->streams, err);
    if (rc < 0) {
        close_sockets(e);
        return rc;
    }
    child = fork();
    if (child == 0) {
        run_end(e);
        _exit(0);
    }
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    close_sockets(e);
    if (e->rc < 0)
        return err_set(err, e->rc, "%s", err_text(&e->err, e->rc));
    for (size_t i = 0; i < BENCH_LARGEST; i++)
        if (e->in[i] != !side + 1)
            return err_set(err, -EBADMSG, "what arrived is not what was sent");
    host_text(host);
    *ret = describe(e);
    json_object_set_new(*ret, "host", json_string(host));
    json_object_set_new(*ret, "peer", json_string(s->remote->peer));
    return 0;
}

static int run_in(struct pair *p, const struct setting *s, json_t **ret, struct err *err)
{
    struct end *ends = p->end;
    int rc;

    for (unsigned int i = 0; i < 2; i++) {
        end_init(&ends[i], i, s, p);
        ends[i].port_options = &p->port[i];
        ends[i].keys = s->keys[i] ? &p->keys[i] : NULL;
        memset(ends[i].in, 0, BENCH_LARGEST);
        if (s->port) {
            p->port[i] = s->port[i];
            p->port[i].memif_server = i == 1;
        }
        if (s->keys[i]) {
            p->keys[i] = *s->keys[i];
            p->control[i] = *s->control[i];
        }
    }
    rc = join(ends, s->way, err);
    if (rc == 0)
        rc = s->way->processes ? run_processes(ends, err) : run_threads(ends);
    for (size_t i = 0; rc == 0 && i < 2; i++)
        if (ends[i].rc < 0)
            rc = err_set(err, ends[i].rc, "%s", err_text(&ends[i].err, ends[i].rc));
    if (rc == 0 && !arrived(ends))
        rc = err_set(err, -EBADMSG, "what arrived is not what was sent");
    if (rc == 0)
        *ret = describe(&ends[0]);
    part(ends);
    return rc;
}

static int run_pair(const struct setting *s, json_t **ret, struct err *err)
{
    struct pair *p =
        mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int rc;

    if (p == MAP_FAILED)
        return err_set(err, -ENOMEM, "no memory for two ends");
    rc = s->remote ? run_remote(p, s, ret, err) : run_in(p, s, ret, err);
    munmap(p, sizeof(*p));
    return rc;
}

/* @keys[1] is @keys[0] at the other end. */
static int make_keys(struct seal_keys *keys[2])
{
    keys[0] = seal_keys_new();
    if (!keys[0])
        return -ENOMEM;
    random_bytes(keys[0], sizeof(*keys[0]));
    keys[1] = seal_keys_mirror(keys[0]);
    return keys[1] ? 0 : -ENOMEM;
}

static const struct driver {
    const char *name, *raw_name;
    const struct way *link, *raw;
    uint32_t busy_poll_us_max;
    bool tcp; /* the peers below are its */
} drivers[] = {
    [DRIVER_MEM] = {"mem", "memory", &way_mem, &way_memory, LINK_BUSY_POLL_US, false},
    [DRIVER_URING] = {"uring", "sockets", &way_uring, &bench_way_blocking, LINK_BUSY_POLL_US, true},
    [DRIVER_DPDK] = {"dpdk", "frames", &bench_way_packets, &bench_way_frames,
                     LINK_BUSY_POLL_PACKET_US, false},
};

static const struct {
    const char *name;
    const struct way *way;
} tcp_peers[] = {{"spinning", &bench_way_spinning}, {"epoll", &bench_way_epoll}};

/* On one core. */
static int measure_memcpy(double *ret_gbit_per_s)
{
    /* So that no copy is left out for being the same as the next. */
    static void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    uint8_t *from = malloc(BENCH_LARGEST), *to = malloc(BENCH_LARGEST);
    double rates[REPEAT];
    int rc = from && to ? 0 : -ENOMEM;

    if (rc == 0)
        memset(from, 1, BENCH_LARGEST);
    for (size_t i = 0; rc == 0 && i <= REPEAT; i++) {
        uint64_t start = time_ns();

        copy(to, from, BENCH_LARGEST);
        if (i) /* the first touches the pages */
            rates[i - 1] = (double)BENCH_LARGEST * 8 / (double)(time_ns() - start);
    }
    if (rc == 0)
        *ret_gbit_per_s = tool_median(rates, REPEAT);
    free(from);
    free(to);
    return rc;
}

/* What else could carry the same bytes, measured in the same run. */
static int run_peers(const struct driver *d, const struct setting *s, json_t **ret, struct err *err)
{
    json_t *peers = json_object(), *iperf = NULL;
    double gbit_per_s;
    int rc = measure_memcpy(&gbit_per_s);

    for (size_t i = 0; rc == 0 && d->tcp && i < ARRAY_LENGTH(tcp_peers); i++) {
        struct setting peer = *s;
        json_t *figures;

        peer.way = tcp_peers[i].way;
        peer.name = tcp_peers[i].name;
        rc = run_pair(&peer, &figures, err);
        if (rc == 0)
            json_object_set_new(peers, tcp_peers[i].name, figures);
    }
    if (rc == 0 && d->tcp)
        rc = bench_iperf(s->remote, &iperf, err);
    if (rc < 0) {
        json_decref(peers);
        return rc;
    }
    if (iperf)
        json_object_set_new(peers, "iperf3", iperf);
    json_object_set_new(peers, "memcpy_gbit_per_s", json_real(gbit_per_s));
    *ret = peers;
    return 0;
}

static int run(const struct options *o, json_t **ret, struct err *err)
{
    const struct driver *d = &drivers[o->driver];
    const struct link_options options = {.timeout_ms = BENCH_TIMEOUT_MS,
                                         .busy_poll_us_max = d->busy_poll_us_max,
                                         .seal = o->seal,
                                         .zero_copy = o->zero_copy};
    struct seal_keys *keys[2] = {NULL, NULL}, *control[2] = {NULL, NULL};
    struct bench_remote remote = o->remote, *there = remote.at.host[0] ? &remote : NULL;
    char name[32];
    struct setting s = {.way = d->link,
                        .options = &options,
                        .port = o->port,
                        .name = name,
                        .streams = o->streams,
                        .remote = there};
    json_t *raw = NULL, *peers = NULL, *seals = NULL;
    int rc = make_keys(keys);

    snprintf(name, sizeof(name), "%s, %u streams", d->name, o->streams);
    if (rc == 0)
        rc = make_keys(control);
    for (size_t i = 0; i < 2; i++) {
        s.keys[i] = keys[i];
        s.control[i] = control[i];
    }
    if (rc == 0)
        rc = run_pair(&s, ret, err);
    s = (struct setting){
        .way = d->raw, .options = &options, .port = o->port, .name = d->raw_name, .remote = there};
    if (rc == 0)
        rc = run_pair(&s, &raw, err);
    if (rc == 0)
        rc = run_peers(d, &s, &peers, err);
    if (rc == 0)
        rc = bench_seal(&seals, err);
    if (rc == 0) {
        json_object_set_new(*ret, "link", json_string(d->name));
        json_object_set_new(*ret, "streams", json_integer((json_int_t)o->streams));
        json_object_set_new(*ret, "seal", json_string(seal_engine_name(o->seal)));
        json_object_set(*ret, "raw", raw);
        json_object_set(*ret, "peers", peers);
        json_object_set_new(*ret, "seal_gb_per_s", seals);
    }
    json_decref(raw);
    json_decref(peers);
    for (size_t i = 0; i < 2; i++) {
        seal_keys_free(keys[i]);
        seal_keys_free(control[i]);
    }
    return rc;
}

static const char doc[] =
    "Measure the share link between two pinned threads of this machine, of dpdk two processes.\v"
    "pingpong is a message of 64 bytes there and back; exchange is both ends sending that many "
    "bytes at once, a direction's rate. features is what of the kernel's offers the link used at "
    "its end. raw is the same without frames and seals: over blocking sockets for uring, by "
    "copying for mem (in turns, where the link sends ahead), frames in bursts for dpdk. peers are "
    "others without frames and seals: for uring, sockets that are tried without a pause, "
    "sockets behind epoll, and iperf3 where it is installed (both ways at once; between hosts over "
    "the port above, too); for all, what one core copies. seal is the engine that sealed the "
    "link's records, seal_gb_per_s what each engine does on one core.\n\n"
    "Exit status: 0 measured; 2 the command line is wrong; 3 failed.";

int bench_link(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options o = {.driver = DRIVER_URING, .streams = 1};
    struct err err = {""};
    json_t *figures = NULL;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rc = run(&o, &figures, &err);
    if (o.folder[0])
        (void)!rmdir(o.folder);
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
