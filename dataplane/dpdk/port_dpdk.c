/*
 * Ports of DPDK: one queue each way of an Ethernet device, of whatever driver.
 *
 * What is sent is copied behind its head into one buffer; where the driver is known to send from
 * several buffers that are not its own, the body is attached to the head's buffer instead. What
 * comes is read where the driver put it. One user at a time means that the pool of buffers needs no
 * atomics.
 */
#include "dataplane/dpdk/eal.h"

#include <net/if.h>
#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RING        1024
#define BUFFERS     (4 * RING - 1)
#define XDP_BUFFERS (8 * RING - 1) /* most of them are in rings of its own */
#define PAGE        4096u
#define JUMBO       9014u /* what is asked of a device that names no limit */
#define MEMIF_FRAME 9216u /* a memif buffer */
#define XDP_FRAME   3300u /* a page of af_xdp holds it, and what the kernel keeps before it: */
#define XDP_OWN     512u
#define CALL_NS     500000000u /* between two tries of a memif client */
#define TPACKET_OWN 128u       /* what of a frame of af_packet's ring is no frame, at the most */

/* Drivers that were read or tried to send from several buffers of any memory: the first are
 * physical ports by their documentation, the rest were tried. memif's crashes the peer. */
static const char *const lending[] = {"net_mlx5",  "mlx5_pci", "net_ice",       "net_i40e",
                                      "net_ixgbe", "net_ena",  "net_af_packet", "net_tap"};

struct dpdk {
    struct port port;
    uint16_t id;
    char vdev[32]; /* of a device that was made; "": it was there */
    char socket[PORT_WHERE_MAX];
    struct rte_mempool *pool;
    struct rte_mbuf *received[PORT_BURST];
    unsigned int received_count;
    bool may_lend, memif_client;
    uint64_t called_ns;
    struct rte_mbuf_ext_shared_info lent; /* counts the buffers that borrow; never reaches 0 */
};

static struct dpdk *dpdk_of(struct port *p)
{
    return (struct dpdk *)p;
}

/* --- frames --- */

static unsigned int dpdk_receive(struct port *p, struct port_frame *ret, unsigned int count)
{
    struct dpdk *d = dpdk_of(p);
    unsigned int n = 0;

    rte_pktmbuf_free_bulk(d->received, d->received_count);
    d->received_count = rte_eth_rx_burst(d->id, 0, d->received, (uint16_t)count);
    for (unsigned int i = 0; i < d->received_count; i++) {
        struct rte_mbuf *m = d->received[i];

        if (m->nb_segs == 1 || rte_pktmbuf_linearize(m) == 0)
            ret[n++] = (struct port_frame){rte_pktmbuf_mtod(m, const uint8_t *), m->data_len};
    }
    return n;
}

static void nothing_to_free(void *address, void *port)
{
    (void)address, (void)port;
}

static struct rte_mbuf *lent_body(struct dpdk *d, const struct port_send *f)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(d->pool);
    void *body = (void *)(uintptr_t)f->body; /* a driver only reads it */

    if (!m)
        return NULL;
    rte_mbuf_ext_refcnt_update(&d->lent, 1);
    rte_pktmbuf_attach_extbuf(m, body, (rte_iova_t)(uintptr_t)body, (uint16_t)f->body_bytes,
                              &d->lent);
    m->data_off = 0;
    m->data_len = (uint16_t)f->body_bytes;
    m->pkt_len = f->body_bytes;
    return m;
}

static bool fill(struct dpdk *d, struct rte_mbuf *m, const struct port_send *f)
{
    bool lent = f->lent && f->body_bytes > 0 && d->may_lend;
    char *to = rte_pktmbuf_append(m, (uint16_t)(f->head_bytes + (lent ? 0 : f->body_bytes)));
    struct rte_mbuf *body;

    if (!to)
        return false;
    memcpy(to, f->head, f->head_bytes);
    if (!lent) {
        if (f->body_bytes > 0)
            memcpy(to + f->head_bytes, f->body, f->body_bytes);
        return true;
    }
    body = lent_body(d, f);
    if (body && rte_pktmbuf_chain(m, body) == 0)
        return true;
    rte_pktmbuf_free(body);
    return false;
}

static unsigned int dpdk_send(struct port *p, const struct port_send *frames, unsigned int count)
{
    struct dpdk *d = dpdk_of(p);
    struct rte_mbuf *m[PORT_BURST];
    unsigned int filled = 0, sent;

    if (rte_pktmbuf_alloc_bulk(d->pool, m, count) != 0) {
        (void)!rte_eth_tx_burst(d->id, 0, m, 0); /* which gives back what was sent */
        return 0;
    }
    while (filled < count && fill(d, m[filled], &frames[filled]))
        filled++;
    sent = rte_eth_tx_burst(d->id, 0, m, (uint16_t)filled);
    rte_pktmbuf_free_bulk(m + sent, count - sent);
    return sent;
}

/* --- memory --- */

static bool dpdk_lend(struct port *p, void *at, size_t bytes)
{
    struct dpdk *d = dpdk_of(p);
    struct rte_eth_dev_info info;

    if (!d->may_lend || rte_eth_dev_info_get(d->id, &info) < 0 ||
        rte_extmem_register(at, bytes, NULL, 0, PAGE) < 0)
        return false;
    if (d->vdev[0] || rte_dev_dma_map(info.device, at, (uint64_t)(uintptr_t)at, bytes) == 0)
        return true;
    rte_extmem_unregister(at, bytes);
    return false;
}

static void dpdk_take_back(struct port *p, void *at, size_t bytes)
{
    struct dpdk *d = dpdk_of(p);
    struct rte_eth_dev_info info;

    /* Nothing of it may be on its way any more. */
    rte_eth_tx_done_cleanup(d->id, 0, 0);
    if (!d->vdev[0] && rte_eth_dev_info_get(d->id, &info) == 0)
        rte_dev_dma_unmap(info.device, at, (uint64_t)(uintptr_t)at, bytes);
    rte_extmem_unregister(at, bytes);
}

/* --- devices --- */

/* memif's client tries once, when it is started. Not while a try is under way: closing a connection
 * that DPDK's interrupt thread is about to watch makes it panic. */
static void call_again(struct dpdk *d)
{
    uint64_t now = time_ns();

    if (!d->memif_client || now - d->called_ns < CALL_NS)
        return;
    d->called_ns = now;
    (void)!rte_eth_dev_stop(d->id);
    (void)!rte_eth_dev_start(d->id); /* fails while nobody listens */
}

static bool dpdk_up(struct port *p)
{
    struct dpdk *d = dpdk_of(p);
    struct rte_eth_link link = {0};

    if (rte_eth_link_get_nowait(d->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP)
        return true;
    call_again(d);
    return false;
}

static void dpdk_free(struct port *p)
{
    struct dpdk *d = dpdk_of(p);

    rte_pktmbuf_free_bulk(d->received, d->received_count);
    if (d->id != RTE_MAX_ETHPORTS) {
        (void)!rte_eth_dev_stop(d->id);
        if (d->vdev[0])
            rte_vdev_uninit(d->vdev);
        else
            rte_eth_dev_close(d->id);
    }
    if (d->socket[0])
        unlink(d->socket);
    rte_mempool_free(d->pool);
    free(d);
}

static const struct port_ops dpdk_ops = {
    .receive = dpdk_receive,
    .send = dpdk_send,
    .lend = dpdk_lend,
    .take_back = dpdk_take_back,
    .up = dpdk_up,
    .free = dpdk_free,
};

/* The most that the interface lets through, its own header included; 0 when it cannot be asked. */
static uint32_t interface_frame(const char *name)
{
    struct ifreq r = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok;

    memcpy(r.ifr_name, name, strnlen(name, sizeof(r.ifr_name) - 1));
    ok = fd >= 0 && ioctl(fd, SIOCGIFMTU, &r) == 0 && r.ifr_mtu > 0;
    if (fd >= 0)
        close(fd);
    return ok ? (uint32_t)r.ifr_mtu + PORT_ETHERNET_BYTES : 0;
}

/* What a frame takes of af_packet's ring: a power of 2. */
static uint32_t ring_frame(const char *name)
{
    uint32_t bytes = 2048;

    while (bytes < PORT_FRAME_MAX && bytes < interface_frame(name) + TPACKET_OWN)
        bytes *= 2;
    return bytes;
}

/* @what went wrong with the port, and DPDK's last words about it. */
static int refused(const struct port_options *o, int rc, const char *what, struct err *err)
{
    char words[EAL_WORDS];

    eal_last_words(words);
    return err_set(err, rc, "%s: %s: %s%s", o->where.name, what, strerror(-rc), words);
}

/* A virtual device's arguments in DPDK's words. */
static void vdev_arguments(const struct port_options *o, char *ret, size_t bytes)
{
    const char *name = o->where.name;

    switch (o->where.kind) {
    case PORT_MEMIF:
        snprintf(ret, bytes, "role=%s,id=0,socket=%s,socket-abstract=no,bsize=%u,rsize=10",
                 o->memif_server ? "server" : "client", name, MEMIF_FRAME);
        return;
    case PORT_AF_PACKET:
        snprintf(ret, bytes, "iface=%s,framesz=%u,blocksz=%u,framecnt=%u,qdisc_bypass=1", name,
                 ring_frame(name), MAX(ring_frame(name), PAGE), RING);
        return;
    case PORT_AF_XDP:
        snprintf(ret, bytes, "iface=%s,busy_budget=0", name);
        return;
    default:
        snprintf(ret, bytes, "iface=%s", name);
        return;
    }
}

static const char *vdev_driver(enum port_kind kind)
{
    static const char *const drivers[] = {[PORT_MEMIF] = "net_memif",
                                          [PORT_AF_PACKET] = "net_af_packet",
                                          [PORT_AF_XDP] = "net_af_xdp",
                                          [PORT_TAP] = "net_tap"};

    return drivers[kind];
}

static int make_vdev(struct dpdk *d, const struct port_options *o, struct err *err)
{
    static atomic_uint numbers;
    unsigned int number = atomic_fetch_add(&numbers, 1);
    char arguments[PORT_WHERE_MAX + 128];
    int rc;

    snprintf(d->vdev, sizeof(d->vdev), "%s%u", vdev_driver(o->where.kind), number);
    if (o->where.kind == PORT_MEMIF && o->memif_server) {
        snprintf(d->socket, sizeof(d->socket), "%s", o->where.name);
        unlink(d->socket); /* one that a killed process left */
    }
    vdev_arguments(o, arguments, sizeof(arguments));
    rc = rte_vdev_init(d->vdev, arguments);
    if (rc < 0) {
        d->vdev[0] = '\0';
        /* -1 is no errno: DPDK found no driver that takes it. */
        return rc == -1
                   ? refused(
                         o, -ENODEV,
                         "DPDK has no driver for it (is its package, librte-net-..., installed?) "
                         "or the driver refuses it",
                         err)
                   : refused(o, rc, "DPDK's driver refuses it", err);
    }
    rc = rte_eth_dev_get_port_by_name(d->vdev, &d->id);
    return rc < 0 ? err_set(err, -ENODEV, "%s: DPDK made no port of it", o->where.name) : 0;
}

static int find_pci(struct dpdk *d, const struct port_options *o, struct err *err)
{
    if (rte_eth_dev_get_port_by_name(o->where.name, &d->id) < 0)
        return refused(o, -ENODEV,
                       "it is not DPDK's to use: bind it (dpdk-devbind.py -b vfio-pci), with the "
                       "IOMMU on, and let this user open /dev/vfio",
                       err);
    return 0;
}

static uint32_t most(const struct port_options *o, const struct rte_eth_dev_info *info)
{
    uint32_t asked = o->frame_max ? o->frame_max : PORT_FRAME_MAX;

    switch (o->where.kind) {
    case PORT_PCI:
        return MIN(asked, MIN(info->max_mtu ? info->max_mtu + PORT_ETHERNET_BYTES : JUMBO, JUMBO));
    case PORT_MEMIF:
        return MIN(asked, MEMIF_FRAME);
    case PORT_AF_XDP:
        return MIN(asked, MIN(interface_frame(o->where.name), XDP_FRAME));
    default:
        return MIN(asked, MIN(interface_frame(o->where.name), PORT_FRAME_MAX - TPACKET_OWN));
    }
}

/* Of a driver that moves buffers to and from the kernel whole, the kernel's idea of a frame. */
static uint32_t buffer_room(const struct dpdk *d, const struct port_options *o)
{
    switch (o->where.kind) {
    case PORT_AF_PACKET:
        return ring_frame(o->where.name);
    case PORT_AF_XDP:
        return MAX(d->port.frame_max + XDP_OWN, 2048);
    default:
        return d->port.frame_max;
    }
}

static int make_pool(struct dpdk *d, const struct port_options *o, struct err *err)
{
    unsigned int count = o->where.kind == PORT_AF_XDP ? XDP_BUFFERS : BUFFERS;
    uint32_t room = buffer_room(d, o);
    char name[32];

    snprintf(name, sizeof(name), "mpcformer%u", d->id);
    d->pool =
        rte_pktmbuf_pool_create_by_ops(name, count, 0, 0, (uint16_t)(RTE_PKTMBUF_HEADROOM + room),
                                       rte_eth_dev_socket_id(d->id), "ring_sp_sc");
    if (!d->pool)
        return err_set(err, -ENOMEM,
                       "no memory for %u frames of %" PRIu32 " bytes: %s: reserve more huge pages "
                       "(sysctl vm.nr_hugepages)",
                       count, room, rte_strerror(rte_errno));
    return 0;
}

static int start(struct dpdk *d, const struct port_options *o, struct err *err)
{
    struct rte_eth_conf conf = {0};
    struct rte_eth_dev_info info;
    uint16_t receive = RING, send = RING;
    int rc = rte_eth_dev_info_get(d->id, &info);

    if (rc < 0)
        return err_set(err, rc, "%s: DPDK knows nothing of it", o->where.name);
    d->port.frame_max = most(o, &info);
    if (d->port.frame_max < PORT_FRAME_MIN)
        return err_set(err, -EINVAL, "%s: its MTU is below 1500: raise it (ip link set mtu)",
                       o->where.name);
    snprintf(d->port.driver, sizeof(d->port.driver), "%s", info.driver_name);
    for (size_t i = 0; i < ARRAY_LENGTH(lending); i++)
        d->may_lend = d->may_lend || (!strcmp(info.driver_name, lending[i]) &&
                                      info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
    if (d->may_lend)
        conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    /* Virtual drivers claim less than they pass. */
    if (o->where.kind == PORT_PCI)
        conf.rxmode.mtu = d->port.frame_max - PORT_ETHERNET_BYTES;
    rc = rte_eth_dev_configure(d->id, 1, 1, &conf);
    if (rc == 0)
        rc = rte_eth_dev_adjust_nb_rx_tx_desc(d->id, &receive, &send);
    if (rc < 0)
        return refused(o, rc, "it cannot be configured", err);
    d->port.ring = MIN(receive, RING);
    rc = make_pool(d, o, err);
    if (rc < 0)
        return rc;
    rc = rte_eth_rx_queue_setup(d->id, 0, receive, rte_eth_dev_socket_id(d->id), NULL, d->pool);
    if (rc == 0)
        rc = rte_eth_tx_queue_setup(d->id, 0, send, rte_eth_dev_socket_id(d->id), NULL);
    if (rc < 0)
        return refused(o, rc, "its queues cannot be had", err);
    d->memif_client = o->where.kind == PORT_MEMIF && !o->memif_server;
    d->called_ns = time_ns();
    rc = rte_eth_dev_start(d->id);
    if (rc < 0 && !d->memif_client) /* whose server may come later */
        return refused(o, rc, "it does not start", err);
    return rte_eth_macaddr_get(d->id, (struct rte_ether_addr *)d->port.mac);
}

static int dpdk_open(const struct port_options *o, struct port **ret, struct err *err)
{
    struct dpdk *d;
    int rc;

    if (o->where.kind == PORT_AF_XDP && o->small_pages)
        return err_set(err, -EINVAL,
                       "%s: af_xdp needs huge pages, of which a frame never touches two: set "
                       "port_pages = huge, or take af_packet",
                       o->where.name);
    rc = eal_start(o, err);
    if (rc < 0)
        return rc;
    d = calloc(1, sizeof(*d));
    if (!d)
        return err_set(err, -ENOMEM, "no memory for a port");
    d->port.ops = &dpdk_ops;
    d->id = RTE_MAX_ETHPORTS;
    d->lent.free_cb = nothing_to_free;
    rte_mbuf_ext_refcnt_set(&d->lent, 1);
    rc = o->where.kind == PORT_PCI ? find_pci(d, o, err) : make_vdev(d, o, err);
    if (rc == 0)
        rc = start(d, o, err);
    if (rc < 0) {
        dpdk_free(&d->port);
        return rc;
    }
    *ret = &d->port;
    return 0;
}

/* For dlsym(), so nobody declares it. */
extern const struct port_plugin mpcformer_port_plugin;
const struct port_plugin mpcformer_port_plugin = {PORT_PLUGIN_VERSION, dpdk_open};
