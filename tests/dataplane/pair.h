/*
 * Two ends of a link in one test, each on a thread of its own, over every transport there is.
 */
#ifndef TESTS_DATAPLANE_PAIR_H
#define TESTS_DATAPLANE_PAIR_H

#include "dataplane/link.h"
#include "dataplane/packet.h"
#include "dataplane/port.h"

#include <setjmp.h>

#include <cmocka.h>

/** One way to make a link. The tests of the contract run over each of them. */
struct pair_kind {
    const char *name;
    bool tcp, sealed, shaped;
    bool zero_copy;            /* of TCP, whether or not it pays */
    unsigned int streams;      /* of TCP; 0: one */
    bool packets;              /* over two ports, */
    uint32_t frame_max;        /* in memory with frames of that size; 0: those of pair_use() */
    struct port_faults faults; /* of both directions */
};

extern const struct pair_kind *pair_kinds;
extern size_t pair_kind_count;

/**
 * From now on pair_kinds are links over the ports of DPDK that are named @left and @right, of which
 * the second is opened in the network namespace at the path @space (NULL: this one).
 */
void pair_use(const char *left, const char *right, const char *space);

/** What one side does with its end; 0, or the line number of what went wrong (see EXPECT). */
typedef int (*pair_side)(struct link *l, unsigned int side, void *shared);

/** In a pair_side, where cmocka's own assertions must not be used: they belong to one thread. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__;                                                                       \
    } while (0)

/**
 * Open both ends, run @left on one and @right on the other, free the ends. Fails the test, with the
 * line and the link's error, when a side did not return 0.
 */
void pair_run(const struct pair_kind *kind, uint32_t timeout_ms, pair_side left, pair_side right,
              void *shared);

/** The options of one side of a link of packets; both ends of a line have the addresses below. */
struct link_packet_options pair_packets(struct port *port, unsigned int side, int lifeline,
                                        uint32_t peer_frame_max);
extern const struct packet_path pair_paths[2];

/** Two connected TCP sockets on 127.0.0.1. */
void pair_sockets(int ret[2]);

/** Keys that are the same in every run. The caller frees them. */
struct seal_keys *pair_keys(void);

/** A generator for sizes and patterns: splitmix64, any seed. */
uint64_t pair_random(uint64_t *state);

/** Fill @bytes with what @seed says; true when they are that. */
void pair_fill(uint8_t *at, size_t bytes, uint64_t seed);
bool pair_filled(const uint8_t *at, size_t bytes, uint64_t seed);

#endif
