/*
 * Packets: how a piece of a record, or a word about pieces, looks in an Ethernet frame. AGREEMENT:
 * any change here is a new PACKET_VERSION. docs/link.md has the whole format.
 *
 *     Ethernet 14 [802.1Q tag 4] | IPv4 20 | UDP 8 | head 52 | tag 16 | body
 *
 * UDP's checksum is 0, "none": the seal covers more. Head, little-endian:
 *
 *     offset  bytes
 *          0      2  magic, 'M' 'P'
 *          2      1  version, 1
 *          3      1  type
 *          4      4  session: drawn anew for each
 *          8      8  number, the nonce: data packets count 0, 1, 2 in the order of what they carry,
 *                    all others count by themselves, under other keys
 *         16      8  next: the lowest number of a data packet that the sender of this lacks
 *         24      8  released: up to where in the other stream the sender of this has taken
 *         32      4  credit: data packets from `next` on that it can hold
 *         36      8  position: where in its stream the record starts, a multiple of 64   (data)
 *         44      4  record: the record's bytes                                          (data)
 *         48      4  offset: where in the record the body belongs, a multiple of 64      (data)
 *
 * The tag seals body and head. A packet that is sent again is the same bytes again: its nonce never
 * meets another text.
 */
#ifndef DATAPLANE_PACKET_H
#define DATAPLANE_PACKET_H

#include "dataplane/port.h"

#define PACKET_VERSION     1
#define PACKET_OUTER_BYTES 42 /* Ethernet, IPv4, UDP; 4 more with a VLAN */
#define PACKET_OUTER_MAX   46
#define PACKET_HEAD_BYTES  52
#define PACKET_TAG_BYTES   16
#define PACKET_BYTES       (PACKET_HEAD_BYTES + PACKET_TAG_BYTES) /* what goes before a body */
#define PACKET_ALIGN       64u

enum packet_type {
    PACKET_DATA = 1,
    PACKET_HELLO, /* body: 0, 1 if the other's was seen, 2 if that one said the same, and no answer
                     is asked for; then zeros up to a data packet's size */
    PACKET_STATE, /* body: struct of PACKET_STATE_BYTES, see packet_link.c */
    PACKET_CLOSE, /* no body */
};

/** Where an end is on the network. */
struct packet_address {
    uint8_t mac[PORT_MAC_BYTES];
    uint16_t udp;  /* port */
    uint32_t ipv4; /* 0x7f000001 is 127.0.0.1 */
};

/** One end's view. */
struct packet_path {
    struct packet_address here, there;
    uint16_t vlan; /* 1..4094; 0: none */
};

struct packet {
    enum packet_type type;
    uint32_t session;
    uint64_t number, next, released;
    uint32_t credit;
    uint64_t position;
    uint32_t record_bytes, offset;
};

/** Bytes before the head in frames on @path. */
static inline size_t packet_outer_bytes(const struct packet_path *path)
{
    return path->vlan ? PACKET_OUTER_MAX : PACKET_OUTER_BYTES;
}

/** Write the head of @p. */
void packet_write(const struct packet *p, uint8_t ret[PACKET_HEAD_BYTES]);

/** Write what goes before it, for @body_bytes behind the tag. */
void packet_write_outer(const struct packet_path *path, size_t body_bytes,
                        uint8_t ret[PACKET_OUTER_MAX]);

/**
 * Take @frame apart: true when it is a packet from `there` to `here` of @path, well formed; then
 * *@ret_head is where head, tag and body stand, and *@ret_body_bytes the body's size. Nothing of it
 * is proven yet.
 */
bool packet_parse(const struct packet_path *path, const struct port_frame *frame,
                  struct packet *ret, const uint8_t **ret_head, size_t *ret_body_bytes);

#define PACKET_ARP_BYTES 42

/**
 * True when @frame is an ARP question for `here`; then @ret is the answer, *@ret_bytes of it, so
 * that switches, routers and people find the port.
 */
bool packet_answer_arp(const struct packet_path *path, const struct port_frame *frame,
                       uint8_t ret[PACKET_ARP_BYTES + 4], size_t *ret_bytes);

#endif
