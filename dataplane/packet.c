#include "dataplane/packet.h"

#include "base/bytes.h"

#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

#define TTL        64
#define VLAN_BYTES 4
#define VLAN_MASK  0x0fff /* of a tag; the rest is priority */

static const uint8_t magic[2] = {'M', 'P'};

static void put16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static void put32(uint8_t *at, uint32_t v)
{
    put16(at, (uint16_t)(v >> 16));
    put16(at + 2, (uint16_t)v);
}

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

void packet_write(const struct packet *p, uint8_t ret[PACKET_HEAD_BYTES])
{
    memcpy(ret, magic, sizeof(magic));
    ret[2] = PACKET_VERSION;
    ret[3] = (uint8_t)p->type;
    store_le32(ret + 4, p->session);
    store_le64(ret + 8, p->number);
    store_le64(ret + 16, p->next);
    store_le64(ret + 24, p->released);
    store_le32(ret + 32, p->credit);
    store_le64(ret + 36, p->position);
    store_le32(ret + 44, p->record_bytes);
    store_le32(ret + 48, p->offset);
}

static bool read_head(const uint8_t *at, struct packet *ret)
{
    *ret = (struct packet){
        .type = (enum packet_type)at[3],
        .session = load_le32(at + 4),
        .number = load_le64(at + 8),
        .next = load_le64(at + 16),
        .released = load_le64(at + 24),
        .credit = load_le32(at + 32),
        .position = load_le64(at + 36),
        .record_bytes = load_le32(at + 44),
        .offset = load_le32(at + 48),
    };
    return memcmp(at, magic, sizeof(magic)) == 0 && at[2] == PACKET_VERSION &&
           at[3] >= PACKET_DATA && at[3] <= PACKET_CLOSE;
}

/* RFC 1071, of a header without options whose checksum is zero, or right. */
static uint16_t ip_checksum(const uint8_t *header)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < sizeof(struct iphdr); i += 2)
        sum += get16(header + i);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* Addresses, tag and type; returns where the payload begins. */
static uint8_t *write_ethernet(const struct packet_path *path, const uint8_t to[PORT_MAC_BYTES],
                               uint16_t type, uint8_t *at)
{
    memcpy(at, to, PORT_MAC_BYTES);
    memcpy(at + PORT_MAC_BYTES, path->here.mac, PORT_MAC_BYTES);
    at += (size_t)2 * PORT_MAC_BYTES;
    if (path->vlan) {
        put16(at, ETH_P_8021Q);
        put16(at + 2, path->vlan);
        at += VLAN_BYTES;
    }
    put16(at, type);
    return at + 2;
}

/* Where the payload of a frame for this port starts, its type in *@ret_type; NULL: not for it. */
static const uint8_t *read_ethernet(const struct packet_path *path, const struct port_frame *frame,
                                    uint16_t *ret_type)
{
    size_t outer = ETH_HLEN + (path->vlan ? VLAN_BYTES : 0);
    const uint8_t *tag = frame->at + (size_t)2 * PORT_MAC_BYTES;

    if (frame->bytes < outer)
        return NULL;
    if (path->vlan && (get16(tag) != ETH_P_8021Q || (get16(tag + 2) & VLAN_MASK) != path->vlan))
        return NULL;
    *ret_type = get16(frame->at + outer - 2);
    return frame->at + outer;
}

void packet_write_outer(const struct packet_path *path, size_t body_bytes,
                        uint8_t ret[PACKET_OUTER_MAX])
{
    size_t payload = PACKET_BYTES + body_bytes;
    uint8_t *ip = write_ethernet(path, path->there.mac, ETH_P_IP, ret);
    uint8_t *udp = ip + sizeof(struct iphdr);

    memset(ip, 0, sizeof(struct iphdr) + sizeof(struct udphdr));
    ip[0] = IPVERSION << 4 | sizeof(struct iphdr) / 4;
    put16(ip + 2, (uint16_t)(sizeof(struct iphdr) + sizeof(struct udphdr) + payload));
    put16(ip + 6, IP_DF);
    ip[8] = TTL;
    ip[9] = IPPROTO_UDP;
    put32(ip + 12, path->here.ipv4);
    put32(ip + 16, path->there.ipv4);
    put16(ip + 10, ip_checksum(ip));
    put16(udp, path->here.udp);
    put16(udp + 2, path->there.udp);
    put16(udp + 4, (uint16_t)(sizeof(struct udphdr) + payload));
}

bool packet_parse(const struct packet_path *path, const struct port_frame *frame,
                  struct packet *ret, const uint8_t **ret_head, size_t *ret_body_bytes)
{
    uint16_t type = 0;
    const uint8_t *ip = read_ethernet(path, frame, &type), *udp;
    size_t outer = packet_outer_bytes(path), ip_bytes;

    /* Behind a short frame may stand padding. */
    if (!ip || type != ETH_P_IP || frame->bytes < outer + PACKET_BYTES ||
        memcmp(frame->at, path->here.mac, PORT_MAC_BYTES) != 0)
        return false;
    udp = ip + sizeof(struct iphdr);
    ip_bytes = get16(ip + 2);
    if (ip[0] != (IPVERSION << 4 | sizeof(struct iphdr) / 4) || ip[9] != IPPROTO_UDP ||
        (get16(ip + 6) & (IP_MF | IP_OFFMASK)) != 0 || ip_checksum(ip) != 0 ||
        get32(ip + 12) != path->there.ipv4 || get32(ip + 16) != path->here.ipv4 ||
        get16(udp) != path->there.udp || get16(udp + 2) != path->here.udp)
        return false;
    if (ip_bytes < sizeof(struct iphdr) + sizeof(struct udphdr) + PACKET_BYTES ||
        ip_bytes > frame->bytes - (size_t)(ip - frame->at) ||
        get16(udp + 4) != ip_bytes - sizeof(struct iphdr))
        return false;
    *ret_head = udp + sizeof(struct udphdr);
    *ret_body_bytes = ip_bytes - sizeof(struct iphdr) - sizeof(struct udphdr) - PACKET_BYTES;
    return read_head(*ret_head, ret);
}

/* An ARP message for IPv4 over Ethernet: kinds and sizes, the operation, sender, target. */
#define ARP_SENDER 8
#define ARP_TARGET 18
#define ARP_BYTES  28

bool packet_answer_arp(const struct packet_path *path, const struct port_frame *frame,
                       uint8_t ret[PACKET_ARP_BYTES + 4], size_t *ret_bytes)
{
    static const uint8_t ethernet_ipv4[] = {0, ARPHRD_ETHER, 8, 0, PORT_MAC_BYTES, 4};
    uint16_t type = 0;
    const uint8_t *question = read_ethernet(path, frame, &type);
    uint8_t *answer;

    if (!question || type != ETH_P_ARP ||
        frame->bytes - (size_t)(question - frame->at) < ARP_BYTES ||
        memcmp(question, ethernet_ipv4, sizeof(ethernet_ipv4)) != 0 ||
        get16(question + 6) != ARPOP_REQUEST ||
        get32(question + ARP_TARGET + PORT_MAC_BYTES) != path->here.ipv4)
        return false;
    answer = write_ethernet(path, question + ARP_SENDER, ETH_P_ARP, ret);
    memcpy(answer, ethernet_ipv4, sizeof(ethernet_ipv4));
    put16(answer + 6, ARPOP_REPLY);
    memcpy(answer + ARP_SENDER, path->here.mac, PORT_MAC_BYTES);
    put32(answer + ARP_SENDER + PORT_MAC_BYTES, path->here.ipv4);
    memcpy(answer + ARP_TARGET, question + ARP_SENDER, PORT_MAC_BYTES + 4);
    *ret_bytes = (size_t)(answer + ARP_BYTES - ret);
    return true;
}
