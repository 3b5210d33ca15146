/* An end of what `bench link` measures, and what carries it; for the files of that bench only. */
#ifndef APPLIANCE_BENCH_LINK_H
#define APPLIANCE_BENCH_LINK_H

#include "appliance/host.h"
#include "dataplane/link.h"
#include "dataplane/port_open.h"

#include <jansson.h>
#include <stdatomic.h>

#define BENCH_PING_BYTES 64
#define BENCH_PINGS      4000
#define BENCH_LARGEST    ((size_t)8 << 20)
#define BENCH_TIMEOUT_MS 10000
#define BENCH_CELL_BYTES ((size_t)256 << 10)
#define BENCH_SIZES      4

/* Plain memory: one cell a direction, full or empty. */
struct cell {
    _Alignas(64) atomic_size_t filled;
    uint8_t bytes[BENCH_CELL_BYTES];
};

struct end {
    unsigned int side;
    int cpu; /* -1: anywhere */
    struct link *link;
    int fd, epoll;                           /* -1: none */
    int more[LINK_STREAMS_MAX];              /* (streams), from 1 on: beside fd */
    struct cell *cells;                      /* NULL: none; the one it sends in is cells[side] */
    const struct port_options *port_options; /* NULL: none */
    struct port *port;
    uint8_t peer_mac[PORT_MAC_BYTES];
    uint32_t peer_frame_max;
    uint8_t *out, *in; /* BENCH_LARGEST each */
    const struct seal_keys *keys, *control;
    const struct link_options *options;
    unsigned int streams; /* of TCP, 1 or more */
    const struct way *way;
    double ping_us[BENCH_PINGS];
    double gbit[BENCH_SIZES];
    bool misplaced; /* a block came that was another's */
    char driver[32], features[LINK_FEATURES_SIZE], nic[HOST_NIC_SIZE];
    int rc;
    struct err err;
};

/* Both block; 0 or a negative errno. */
struct way {
    int (*open)(struct end *e); /* on the thread, or in the process, that uses it */
    int (*send)(struct end *e, size_t bytes);
    int (*receive)(struct end *e, size_t bytes);
    int (*exchange)(struct end *e, size_t bytes);
    bool processes; /* each end is one */
};

/** Let the calls on the end's socket wait. */
int bench_block(struct end *e);

/* A link, whichever. */
int bench_link_send(struct end *e, size_t bytes);
int bench_link_receive(struct end *e, size_t bytes);
int bench_link_exchange(struct end *e, size_t bytes);

/* bench_ways.c: a link in memory, over TCP; plain memory that both ends share. */
extern const struct way bench_way_mem, bench_way_uring, bench_way_memory;

/* bench_socket.c: calls that wait in the kernel; that are repeated; that wait for epoll's events.
 */
extern const struct way bench_way_blocking, bench_way_spinning, bench_way_epoll;

/* bench_port.c: packets over a port of DPDK; and its bare frames, sent and received in bursts. */
extern const struct way bench_way_packets, bench_way_frames;

struct bench_remote;

/* What is measured. */
struct setting {
    const struct way *way;
    const struct seal_keys *keys[2], *control[2]; /* NULL: in the clear */
    const struct link_options *options;
    const struct port_options *port; /* (2), NULL: none */
    const char *name;                /* what is measured */
    unsigned int streams;            /* of TCP; 0: one */
    struct bench_remote *remote;     /* the other end is elsewhere; NULL: both are here */
};

/** Measure it: pingpong and exchanges, as the manual of bench link says. */
MUST_CHECK int bench_ends_run(const struct setting *s, json_t **ret, struct err *err);

#endif
