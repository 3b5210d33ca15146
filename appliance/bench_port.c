/*
 * What bench link needs of DPDK's ports: the link of packets between two of them, and beside it the
 * least that a program can do with a port, frames of its largest size in bursts, unsealed, with
 * nothing to repair a loss.
 */
#include "appliance/bench_link.h"
#include "appliance/net.h"
#include "appliance/plugin.h"
#include "dataplane/packet.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESS 0x0a000001u
#define UDP     7199

static const uint8_t experimental_type[2] = {0x88, 0xb5}; /* IEEE 802, local */

struct word {
    uint8_t mac[PORT_MAC_BYTES];
    uint32_t frame_max;
};

static int tell_each_other(struct end *e)
{
    struct word here = {.frame_max = e->port->frame_max}, there;

    memcpy(here.mac, e->port->mac, PORT_MAC_BYTES);
    if (send(e->fd, &here, sizeof(here), MSG_NOSIGNAL) != sizeof(here) ||
        recv(e->fd, &there, sizeof(there), MSG_WAITALL) != sizeof(there))
        return err_set(&e->err, -EIO, "the other end did not open its port");
    memcpy(e->peer_mac, there.mac, PORT_MAC_BYTES);
    e->peer_frame_max = there.frame_max;
    return 0;
}

static int open_port(struct end *e)
{
    uint64_t deadline = net_deadline(BENCH_TIMEOUT_MS);
    int rc = bench_block(e);

    if (rc == 0)
        rc = plugin_open(e->port_options, &e->port, &e->err);
    if (rc < 0)
        return rc;
    memcpy(e->driver, e->port->driver, sizeof(e->driver));
    host_nic_of_port(&e->port_options->where, e->driver, e->nic);
    while (!e->port->ops->up(e->port)) {
        if (time_ns() > deadline)
            return err_set(&e->err, -ENETDOWN, "the port's line is down");
        usleep(1000);
    }
    return tell_each_other(e);
}

static int open_packets(struct end *e)
{
    struct packet_path path = {.here = {.udp = UDP, .ipv4 = ADDRESS + e->side},
                               .there = {.udp = UDP, .ipv4 = ADDRESS + !e->side}};
    struct link_packet_options where = {.path = &path, .session = 1, .lifeline = e->fd};
    int rc = open_port(e);

    if (rc < 0)
        return rc;
    memcpy(path.here.mac, e->port->mac, PORT_MAC_BYTES);
    memcpy(path.there.mac, e->peer_mac, PORT_MAC_BYTES);
    where.port = e->port;
    where.peer_frame_max = e->peer_frame_max;
    return link_packet_new(&where, e->keys, e->control, e->options, &e->link, &e->err);
}

const struct way bench_way_packets = {open_packets, bench_link_send, bench_link_receive,
                                      bench_link_exchange, true};

/* --- bare frames --- */

static size_t body_max(const struct end *e)
{
    return MIN(e->port->frame_max, e->peer_frame_max) - PORT_ETHERNET_BYTES;
}

/* Up to PORT_BURST frames with what is in @out from @from to @end; returns how many were taken. */
static unsigned int send_burst(struct end *e, size_t from, size_t end, unsigned int count)
{
    uint8_t head[PORT_ETHERNET_BYTES];
    struct port_send frames[PORT_BURST];
    unsigned int n;

    memcpy(head, e->peer_mac, PORT_MAC_BYTES);
    memcpy(head + PORT_MAC_BYTES, e->port->mac, PORT_MAC_BYTES);
    memcpy(head + PORT_ETHERNET_BYTES - 2, experimental_type, 2);
    for (n = 0; n < MIN(count, PORT_BURST) && from < end; n++) {
        uint32_t bytes = (uint32_t)MIN(body_max(e), end - from);

        frames[n] = (struct port_send){head, e->out + from, PORT_ETHERNET_BYTES, bytes, false};
        from += bytes;
    }
    return n > 0 ? e->port->ops->send(e->port, frames, n) : 0;
}

/* Ours among the frames that came go to @in from *@at on; the count of them. */
static unsigned int receive_burst(struct end *e, size_t *at, size_t end)
{
    struct port_frame frames[PORT_BURST];
    size_t due =
        (end - *at + body_max(e) - 1) / body_max(e); /* what comes behind is not ours yet */
    unsigned int count = e->port->ops->receive(e->port, frames, (unsigned int)MIN(due, PORT_BURST));
    unsigned int ours = 0;

    for (unsigned int i = 0; i < count; i++) {
        const uint8_t *f = frames[i].at;
        size_t bytes = MIN(body_max(e), end - *at);

        if (frames[i].bytes < PORT_ETHERNET_BYTES + bytes ||
            memcmp(f + PORT_ETHERNET_BYTES - 2, experimental_type, 2))
            continue;
        memcpy(e->in + *at, f + PORT_ETHERNET_BYTES, bytes);
        *at += bytes;
        ours++;
    }
    return ours;
}

static int lost(struct end *e)
{
    return err_set(&e->err, -ETIMEDOUT, "a bare frame was lost: there is nothing to compare with");
}

static int frames_send(struct end *e, size_t bytes)
{
    return send_burst(e, 0, bytes, 1) == 1 ? 0 : lost(e);
}

static int frames_receive(struct end *e, size_t bytes)
{
    uint64_t deadline = net_deadline(BENCH_TIMEOUT_MS);
    size_t at = 0;

    for (unsigned int i = 0; at < bytes; i++)
        if (receive_burst(e, &at, bytes) == 0 && i % 1024 == 0 && time_ns() > deadline)
            return lost(e);
    return 0;
}

/* As much under way as has come, and half a ring: both ends send alike. */
static int frames_exchange(struct end *e, size_t bytes)
{
    uint64_t deadline = net_deadline(BENCH_TIMEOUT_MS);
    size_t sent = 0, got = 0, ahead = e->port->ring / 2 * body_max(e);

    for (unsigned int i = 0; sent < bytes || got < bytes; i++) {
        if (sent < bytes && sent < got + ahead) {
            unsigned int n = send_burst(e, sent, bytes, PORT_BURST);

            sent = MIN(bytes, sent + n * body_max(e));
        }
        if (got < bytes && receive_burst(e, &got, bytes) == 0 && i % 1024 == 0 &&
            time_ns() > deadline)
            return lost(e);
    }
    return 0;
}

const struct way bench_way_frames = {open_port, frames_send, frames_receive, frames_exchange, true};
