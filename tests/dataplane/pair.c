#include "tests/dataplane/pair.h"

#include "tests/dataplane/port_mem.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const struct pair_kind pair_kinds[PAIR_KINDS] = {
    {.name = "memory, in the clear"},
    {.name = "memory, sealed", .sealed = true},
    {.name = "io_uring", .tcp = true, .sealed = true},
    {.name = "memory, in the clear, shaped", .shaped = true},
    {.name = "memory, sealed, shaped", .sealed = true, .shaped = true},
    {.name = "io_uring, shaped", .tcp = true, .sealed = true, .shaped = true},
    {.name = "packets", .frame_max = 1514},
    {.name = "jumbo packets, lossy",
     .frame_max = 9014,
     .faults = {.lose = 10000, .duplicate = 10000, .reorder = 10000}},
    {.name = "packets, very lossy", .frame_max = 4096, .faults = {50000, 50000, 50000}},
    {.name = "packets, shaped, lossy",
     .frame_max = 9014,
     .shaped = true,
     .faults = {.lose = 10000, .reorder = 10000}},
};

const struct packet_path pair_paths[2] = {
    {.here = {.mac = {2, 0, 0, 0, 0, 0}, .udp = 4000, .ipv4 = 0x0a000001},
     .there = {.mac = {2, 0, 0, 0, 0, 1}, .udp = 4001, .ipv4 = 0x0a000002}},
    {.here = {.mac = {2, 0, 0, 0, 0, 1}, .udp = 4001, .ipv4 = 0x0a000002},
     .there = {.mac = {2, 0, 0, 0, 0, 0}, .udp = 4000, .ipv4 = 0x0a000001}},
};

/* Fast enough that a test need not wait for it. */
static const struct link_line line = {.bits_per_s = 20000000000, .delay_us = 50};

struct runner {
    const struct pair_kind *kind;
    struct link_options options;
    unsigned int side;
    struct link *memory; /* an end made ahead, or */
    int fd;              /* a socket, that packets only have beside them, */
    struct port *port;   /* a port */
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
        r->rc = link_uring_new(r->fd, r->keys, &r->options, &l, &r->err);
    if (r->port) {
        const struct link_packet_options o = pair_packets(r->port, r->side, r->fd, UINT32_MAX);

        r->rc = link_packet_new(&o, r->keys, r->control, &r->options, &l, &r->err);
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
    if (r->port) {
        close(r->fd);
        port_free(r->port);
    }
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

static void open_ports(const struct pair_kind *kind, struct port *ret[2])
{
    port_mem_new(kind->frame_max, ret);
    for (unsigned int side = 0; side < 2; side++)
        assert_int_equal(port_faulty_new(ret[side], &kind->faults, 4711 + side, &ret[side], NULL),
                         0);
}

void pair_run(const struct pair_kind *kind, uint32_t timeout_ms, pair_side left, pair_side right,
              void *shared)
{
    struct seal_keys *keys = pair_keys(), *mirror = seal_keys_mirror(keys);
    struct seal_keys *control[2] = {pair_keys(), NULL};
    struct link *memory[2] = {NULL, NULL};
    struct port *ports[2] = {NULL, NULL};
    struct runner r[2];
    pthread_barrier_t opened;
    int fd[2] = {-1, -1};
    pthread_t thread;

    assert_non_null(mirror);
    control[0]->send.key[0] ^= 1; /* as far as the ciphers know, others */
    control[0]->receive.key[0] ^= 1;
    control[1] = seal_keys_mirror(control[0]);
    assert_non_null(control[1]);
    assert_int_equal(pthread_barrier_init(&opened, NULL, 2), 0);
    for (unsigned int side = 0; side < 2; side++)
        r[side] = (struct runner){.kind = kind,
                                  .options = {timeout_ms, LINK_BUSY_POLL_US},
                                  .side = side,
                                  .keys = side == 0 ? keys : mirror,
                                  .control = control[side],
                                  .run = side == 0 ? left : right,
                                  .shared = shared,
                                  .opened = &opened};
    if (kind->tcp || kind->frame_max)
        pair_sockets(fd);
    if (kind->frame_max)
        open_ports(kind, ports);
    else if (!kind->tcp)
        assert_int_equal(link_mem_new(kind->sealed ? keys : NULL, &r[0].options, memory, &r[0].err),
                         0);
    for (unsigned int side = 0; side < 2; side++) {
        r[side].fd = fd[side];
        r[side].port = ports[side];
        r[side].memory = memory[side];
    }
    assert_int_equal(pthread_create(&thread, NULL, run_side, &r[1]), 0);
    run_side(&r[0]);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&opened);
    for (unsigned int side = 0; side < 2; side++)
        if (r[side].rc != 0)
            fail_msg("%s: side %u: line or code %d; the link says: %s", kind->name, side,
                     r[side].rc, r[side].err.text);
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
