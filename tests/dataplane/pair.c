#include "tests/dataplane/pair.h"

#include "dataplane/link_kind.h"
#include "dataplane/port_open.h"
#include "tests/dataplane/port_mem.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct pair_kind kinds_here[] = {
    {.name = "memory, in the clear"},
    {.name = "memory, sealed", .sealed = true},
    {.name = "io_uring", .tcp = true, .sealed = true},
    {.name = "io_uring, zero copy", .tcp = true, .sealed = true, .zero_copy = true},
    {.name = "io_uring, two streams", .tcp = true, .sealed = true, .streams = 2},
    {.name = "memory, in the clear, shaped", .shaped = true},
    {.name = "memory, sealed, shaped", .sealed = true, .shaped = true},
    {.name = "io_uring, shaped", .tcp = true, .sealed = true, .shaped = true},
    {.name = "packets", .packets = true, .frame_max = 1514},
    {.name = "jumbo packets, lossy",
     .packets = true,
     .frame_max = 9014,
     .faults = {.lose = 10000, .duplicate = 10000, .reorder = 10000}},
    {.name = "packets, very lossy",
     .packets = true,
     .frame_max = 4096,
     .faults = {50000, 50000, 50000}},
    {.name = "packets, shaped, lossy",
     .packets = true,
     .frame_max = 9014,
     .shaped = true,
     .faults = {.lose = 10000, .reorder = 10000}},
};
const struct pair_kind *pair_kinds = kinds_here;
size_t pair_kind_count = ARRAY_LENGTH(kinds_here);

static const struct pair_kind kinds_dpdk[] = {
    {.name = "DPDK", .packets = true},
    {.name = "DPDK, lossy", .packets = true, .faults = {10000, 10000, 10000}},
    {.name = "DPDK, very lossy", .packets = true, .faults = {50000, 50000, 50000}},
    {.name = "DPDK, shaped, lossy", .packets = true, .shaped = true, .faults = {.lose = 10000}},
};

static struct {
    const char *port[2], *space;
} dpdk;

void pair_use(const char *left, const char *right, const char *space)
{
    pair_kinds = kinds_dpdk;
    pair_kind_count = ARRAY_LENGTH(kinds_dpdk);
    dpdk.port[0] = left;
    dpdk.port[1] = right;
    dpdk.space = space;
}

const struct packet_path pair_paths[2] = {
    {.here = {.mac = {2, 0, 0, 0, 0, 0}, .udp = 4000, .ipv4 = 0x0a000001},
     .there = {.mac = {2, 0, 0, 0, 0, 1}, .udp = 4001, .ipv4 = 0x0a000002}},
    {.here = {.mac = {2, 0, 0, 0, 0, 1}, .udp = 4001, .ipv4 = 0x0a000002},
     .there = {.mac = {2, 0, 0, 0, 0, 0}, .udp = 4000, .ipv4 = 0x0a000001}},
};

/* Fast enough that a test need not wait for it. */
static const struct link_line line = {.bits_per_s = 20000000000, .delay_us = 50};

static const struct link_options patient = {.timeout_ms = 20000};

struct runner {
    const struct pair_kind *kind;
    struct link_options options;
    unsigned int side;
    struct link *memory;      /* an end made ahead, or */
    int fd[LINK_STREAMS_MAX]; /* sockets, of which packets have one beside them, */
    unsigned int streams;
    struct port *port; /* a port, */
    uint8_t peer_mac[PORT_MAC_BYTES];
    uint32_t session;
    struct seal_keys *keys, *control;
    pair_side run;
    void *shared;
    pthread_barrier_t *opened;
    int rc;
    struct err err;
};

/* On the thread that uses the end, as a ring requires. */
static struct link *open_end(struct runner *r)
{
    struct link *l = r->memory, *shaped;

    if (r->kind->tcp)
        r->rc = link_uring_new(r->fd, r->streams, r->keys, &r->options, &l, &r->err);
    if (r->port) {
        struct link_packet_options o = pair_packets(r->port, r->side, r->fd[0], UINT32_MAX);
        struct packet_path path = *o.path;

        o.path = &path;
        o.session = r->session; /* what an earlier pair left on the line is not this one's */
        memcpy(path.here.mac, r->port->mac, PORT_MAC_BYTES);
        memcpy(path.there.mac, r->peer_mac, PORT_MAC_BYTES);

        /* An opening waits for the other thread, however short what is tested is to wait. */
        r->rc = link_packet_new(&o, r->keys, r->control, &patient, &l, &r->err);
        if (r->rc == 0)
            l->options = r->options;
    }
    if (r->rc < 0)
        return NULL;
    if (!r->kind->shaped)
        return l;
    r->rc = link_shape_new(l, &r->options, &line, &shaped, &r->err);
    return r->rc < 0 ? NULL : shaped;
}

static void *run_side(void *runner)
{
    struct runner *r = runner;
    struct link *l = open_end(r);

    /* Neither end goes before the other is there. So no address serves both rings in turn, which
     * the thread sanitizer would take for a race: it does not see liburing's mappings. */
    pthread_barrier_wait(r->opened);
    if (l) {
        r->rc = r->run(l, r->side, r->shared);
        link_error(l, &r->err);
    }
    link_free(l);
    if (r->port)
        close(r->fd[0]);
    return NULL;
}

struct link_packet_options pair_packets(struct port *port, unsigned int side, int lifeline,
                                        uint32_t peer_frame_max)
{
    return (struct link_packet_options){
        .port = port,
        .path = &pair_paths[side],
        .session = 7,
        .peer_frame_max = peer_frame_max,
        .lifeline = lifeline,
    };
}

/* Returns the namespace that this thread was in. */
static int enter(const char *space)
{
    int before = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int fd = open(space, O_RDONLY | O_CLOEXEC);

    assert_true(before >= 0 && fd >= 0);
    assert_int_equal(setns(fd, CLONE_NEWNET), 0);
    close(fd);
    return before;
}

static void go_back(int before)
{
    assert_int_equal(setns(before, CLONE_NEWNET), 0);
    close(before);
}

static void open_dpdk(unsigned int side, struct port **ret)
{
    struct port_options o = {.memif_server = side == 1};
    int before = -1;
    struct err err = {""};

    assert_int_equal(port_parse(dpdk.port[side], &o.where, NULL), 0);
    o.small_pages = o.where.kind != PORT_AF_XDP;
    if (side == 1 && dpdk.space) /* a port's sockets stay where they were opened */
        before = enter(dpdk.space);
    if (port_open(PLUGIN, &o, ret, &err) < 0)
        fail_msg("%s: %s", dpdk.port[side], err.text);
    if (before >= 0)
        go_back(before);
}

static void await_up(struct port *p)
{
    uint64_t end_ns = time_ns() + 10000000000u;

    while (!p->ops->up(p)) {
        assert_true(time_ns() < end_ns);
        usleep(1000);
    }
}

/* Once: memif does not survive it often. Stays open, like what is made of it below. */
static struct port *dpdk_port(unsigned int side)
{
    static struct port *ports[2];

    if (!ports[0]) {
        open_dpdk(1, &ports[1]);
        open_dpdk(0, &ports[0]);
        await_up(ports[0]);
        await_up(ports[1]);
    }
    return ports[side];
}

static void add_faults(const struct pair_kind *kind, struct port *ports[2])
{
    for (unsigned int side = 0; side < 2; side++)
        assert_int_equal(
            port_faulty_new(ports[side], &kind->faults, 4711 + side, &ports[side], NULL), 0);
}

static void open_ports(const struct pair_kind *kind, struct port *ret[2])
{
    static struct port *dpdk_ports[ARRAY_LENGTH(kinds_dpdk)][2];
    size_t k = (size_t)(kind - kinds_dpdk);

    if (kind->frame_max) {
        port_mem_new(kind->frame_max, ret);
        add_faults(kind, ret);
        return;
    }
    if (!dpdk_ports[k][0]) {
        for (unsigned int side = 0; side < 2; side++)
            dpdk_ports[k][side] = dpdk_port(side);
        add_faults(kind, dpdk_ports[k]);
    }
    memcpy(ret, dpdk_ports[k], sizeof(dpdk_ports[k]));
}

static void close_ports(const struct pair_kind *kind, struct port *ports[2])
{
    for (unsigned int side = 0; kind->frame_max && side < 2; side++)
        port_free(ports[side]);
}

void pair_run(const struct pair_kind *kind, uint32_t timeout_ms, pair_side left, pair_side right,
              void *shared)
{
    struct seal_keys *keys = pair_keys(), *mirror = seal_keys_mirror(keys);
    struct seal_keys *control[2] = {pair_keys(), NULL};
    struct link *memory[2] = {NULL, NULL};
    struct port *ports[2] = {NULL, NULL};
    static uint32_t session;
    struct runner r[2];
    pthread_barrier_t opened;
    int fd[2];
    pthread_t thread;

    assert_non_null(mirror);
    control[0]->send.key[0] ^= 1; /* as far as the ciphers know, others */
    control[0]->receive.key[0] ^= 1;
    control[1] = seal_keys_mirror(control[0]);
    assert_non_null(control[1]);
    assert_int_equal(pthread_barrier_init(&opened, NULL, 2), 0);
    for (unsigned int side = 0; side < 2; side++)
        r[side] = (struct runner){
            .kind = kind,
            .options = {.timeout_ms = timeout_ms,
                        .busy_poll_us_max = LINK_BUSY_POLL_US,
                        .zero_copy = kind->zero_copy ? LINK_ZERO_COPY_ALWAYS : LINK_ZERO_COPY_TRY},
            .side = side,
            .keys = side == 0 ? keys : mirror,
            .control = control[side],
            .streams = MAX(kind->streams, 1),
            .run = side == 0 ? left : right,
            .shared = shared,
            .opened = &opened};
    for (unsigned int i = 0; (kind->tcp || kind->packets) && i < r[0].streams; i++) {
        pair_sockets(fd);
        r[0].fd[i] = fd[0];
        r[1].fd[i] = fd[1];
    }
    session++;
    if (kind->packets)
        open_ports(kind, ports);
    else if (!kind->tcp)
        assert_int_equal(link_mem_new(kind->sealed ? keys : NULL, &r[0].options, memory, &r[0].err),
                         0);
    for (unsigned int side = 0; side < 2; side++) {
        r[side].port = ports[side];
        r[side].session = session;
        if (ports[!side])
            memcpy(r[side].peer_mac, ports[!side]->mac, PORT_MAC_BYTES);
        r[side].memory = memory[side];
    }
    assert_int_equal(pthread_create(&thread, NULL, run_side, &r[1]), 0);
    run_side(&r[0]);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&opened);
    close_ports(kind, ports);
    for (unsigned int side = 0; side < 2; side++)
        if (r[side].rc != 0)
            print_error("%s: side %u: line or code %d; the link says: %s\n", kind->name, side,
                        r[side].rc, r[side].err.text);
    assert_true(r[0].rc == 0 && r[1].rc == 0);
    seal_keys_free(keys);
    seal_keys_free(mirror);
    seal_keys_free(control[0]);
    seal_keys_free(control[1]);
}

void pair_sockets(int ret[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &size), 0);
    ret[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(ret[0], (struct sockaddr *)&a, size), 0);
    ret[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(ret[1] >= 0);
    close(listener);
}

struct seal_keys *pair_keys(void)
{
    struct seal_keys *keys = seal_keys_new();

    assert_non_null(keys);
    pair_fill((uint8_t *)keys, sizeof(*keys), 1);
    return keys;
}

uint64_t pair_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

void pair_fill(uint8_t *at, size_t bytes, uint64_t seed)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = pair_random(&seed);

        memcpy(at + i, &word, MIN(bytes - i, 8));
    }
}

bool pair_filled(const uint8_t *at, size_t bytes, uint64_t seed)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = pair_random(&seed);

        if (memcmp(at + i, &word, MIN(bytes - i, 8)) != 0)
            return false;
    }
    return true;
}
