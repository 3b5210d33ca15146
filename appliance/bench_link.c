/*
 * mpcformer bench link: the share link between two pinned threads of this machine, or between two
 * hosts, and beside it the same over what carries it, others that carry bytes, and the seals.
 */
#include "appliance/bench_link.h"
#include "appliance/bench.h"
#include "appliance/bench_remote.h"
#include "appliance/exit.h"
#include "appliance/net.h"
#include "appliance/tool.h"
#include "base/random.h"
#include "mpc/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPIES    15 /* that memcpy is timed */
#define RAW_TRIES 3

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
    TOOL_OPTION_JSON,
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
    default:
        return bench_option_none(key, text, state);
    }
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
    size_t sealed_max; /* at once */
    bool tcp;          /* the peers below are its */
} drivers[] = {
    [DRIVER_MEM] = {"mem", "memory", &bench_way_mem, &bench_way_memory, LINK_BUSY_POLL_US,
                    EXCHANGE_BLOCK_BYTES, false},
    [DRIVER_URING] = {"uring", "sockets", &bench_way_uring, &bench_way_blocking, LINK_BUSY_POLL_US,
                      EXCHANGE_BLOCK_BYTES, true},
    [DRIVER_DPDK] = {"dpdk", "frames", &bench_way_packets, &bench_way_frames,
                     LINK_BUSY_POLL_PACKET_US, 4096, false},
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
    double rates[COPIES];
    int rc = from && to ? 0 : -ENOMEM;

    if (rc == 0)
        memset(from, 1, BENCH_LARGEST);
    for (size_t i = 0; rc == 0 && i <= COPIES; i++) {
        uint64_t start = time_ns();

        copy(to, from, BENCH_LARGEST);
        if (i) /* the first touches the pages */
            rates[i - 1] = (double)BENCH_LARGEST * 8 / (double)(time_ns() - start);
    }
    if (rc == 0)
        *ret_gbit_per_s = tool_median(rates, COPIES);
    free(from);
    free(to);
    return rc;
}

/* Again where a bare frame was lost: nothing repairs that. */
static int run_raw(const struct setting *s, json_t **ret, struct err *err)
{
    int rc = -ETIMEDOUT;

    for (int i = 0; rc == -ETIMEDOUT && i < RAW_TRIES; i++) {
        *err = (struct err){""};
        rc = bench_ends_run(s, ret, err);
    }
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
        rc = bench_ends_run(&peer, &figures, err);
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

/* In Gbit/s, sealed as a record of @bytes is, or one that is smaller. */
static double seal_rate(const json_t *seals, const char *engine, size_t bytes, const char *what)
{
    double rate = 0;
    json_t *row;
    size_t i;

    json_array_foreach(
        seals, i, row) if (strcmp(json_string_value(json_object_get(row, "engine")), engine) == 0 &&
                           (size_t)json_integer_value(json_object_get(row, "bytes")) <= bytes)
        rate = 8 * json_real_value(json_object_get(row, what));
    return rate;
}

/* Beside each exchange the rate at which one core would carry its bytes as @raw does, seal its own
 * and open the peer's, one after the other. */
static void add_limits(const struct driver *d, const char *engine, json_t *figures,
                       const json_t *raw, const json_t *seals)
{
    json_t *row;
    size_t i;

    json_array_foreach(json_object_get(figures, "exchange"), i, row)
    {
        const json_t *bare = json_array_get(json_object_get(raw, "exchange"), i);
        size_t sealed =
            MIN((size_t)json_integer_value(json_object_get(row, "bytes")), d->sealed_max);
        double limit = 1 / (1 / json_real_value(json_object_get(bare, "gbit_per_s_median")) +
                            1 / seal_rate(seals, engine, sealed, "seal") +
                            1 / seal_rate(seals, engine, sealed, "open"));

        json_object_set_new(row, "limit_gbit_per_s", json_real(limit));
        json_object_set_new(
            row, "of_limit",
            json_real(json_real_value(json_object_get(row, "gbit_per_s_median")) / limit));
    }
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
        rc = bench_ends_run(&s, ret, err);
    s = (struct setting){
        .way = d->raw, .options = &options, .port = o->port, .name = d->raw_name, .remote = there};
    if (rc == 0)
        rc = run_raw(&s, &raw, err);
    if (rc == 0)
        rc = run_peers(d, &s, &peers, err);
    if (rc == 0)
        rc = bench_seal(&seals, err);
    if (rc == 0) {
        add_limits(d, seal_engine_name(o->seal), *ret, raw, seals);
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
    "bytes at once, a direction's rate; of_limit is that over limit, at which one core could carry "
    "them as raw does, seal its own and open the other's, one after the other. features is what of "
    "the kernel's offers the link used at "
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
