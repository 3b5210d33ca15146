/*
 * A port: Ethernet frames out of and into one network interface, by polling, with no kernel between
 * where the driver has none. It knows nothing of what is in a frame. DPDK's ports are a plug-in
 * (dataplane/dpdk); the tests have one in memory.
 *
 * A port has one user at a time, who may call from several threads but never from two at once.
 * Frames may get lost, come twice and out of order; a frame that comes is whole, or is not what was
 * sent.
 */
#ifndef DATAPLANE_PORT_H
#define DATAPLANE_PORT_H

#include "base/base.h"

#define PORT_MAC_BYTES      6
#define PORT_ETHERNET_BYTES 14u /* of a frame, before what an MTU counts */
#define PORT_BURST          32  /* frames in a call at the most */
#define PORT_FRAME_MIN      1514
#define PORT_FRAME_MAX      16384

struct port;

/** A frame that came, without its check sequence. */
struct port_frame {
    const uint8_t *at;
    uint32_t bytes;
};

/** A frame to send: @head, then @body. */
struct port_send {
    const uint8_t *head, *body;
    uint32_t head_bytes, body_bytes; /* together at most frame_max; at least 1 of head */
    bool lent; /* @body lies in memory that was lent, and stays as it is until the frame was sent */
};

struct port_ops {
    /* Up to @count (PORT_BURST) frames that came, which stay until the next call. */
    unsigned int (*receive)(struct port *p, struct port_frame *ret, unsigned int count);
    /* Queue up to @count (PORT_BURST) frames, in order; returns how many of them were taken. What
     * was queued before is sent before. */
    unsigned int (*send)(struct port *p, const struct port_send *frames, unsigned int count);
    /* Whether @bytes at @at may be sent from where they are, rather than copied, from now until
     * take_back(). NULL: never. */
    bool (*lend)(struct port *p, void *at, size_t bytes);
    void (*take_back)(struct port *p, void *at, size_t bytes);
    bool (*up)(struct port *p); /* whether somebody is at the other end of the line */
    void (*free)(struct port *p);
};

struct port {
    const struct port_ops *ops;
    uint8_t mac[PORT_MAC_BYTES];
    uint32_t frame_max; /* bytes in a frame, PORT_FRAME_MIN..PORT_FRAME_MAX */
    uint32_t ring;      /* frames that it keeps while nobody looks */
    char driver[32];    /* "net_memif" */
};

/** How often a port on purpose does what lines do by accident, in millionths, each on its own. */
struct port_faults {
    uint32_t lose, duplicate, reorder;
};

/**
 * @inner, with @faults done to what is sent through it, as @seed draws them. @inner becomes the new
 * port's. -ENOMEM.
 */
MUST_CHECK int port_faulty_new(struct port *inner, const struct port_faults *faults, uint64_t seed,
                               struct port **ret, struct err *err);

/** Close; NULL is nothing. */
void port_free(struct port *p);

#endif
