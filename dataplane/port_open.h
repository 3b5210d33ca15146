/*
 * Ports by name. What drives them, DPDK, is a plug-in that is loaded when the first port is asked
 * for, so that nothing else pays its start-up or needs its packages.
 */
#ifndef DATAPLANE_PORT_OPEN_H
#define DATAPLANE_PORT_OPEN_H

#include "dataplane/port.h"

#define PORT_WHERE_MAX 200 /* bytes of a port's name, its end included */

enum port_kind {
    PORT_PCI,       /* 0000:3b:00.0: a device that vfio-pci, or its own kernel driver, holds */
    PORT_MEMIF,     /* memif:/run/x.sock: another process of this host, which is trusted */
    PORT_AF_PACKET, /* af_packet:eth1: a network interface, by its ring */
    PORT_AF_XDP,    /* af_xdp:eth1: likewise, before the kernel looks at frames */
    PORT_TAP,       /* tap:dtap0: an interface that is made */
};

struct port_where {
    enum port_kind kind;
    char name[PORT_WHERE_MAX]; /* device, path or interface */
};

struct port_options {
    struct port_where where;
    bool small_pages;   /* for tests: no huge pages needed, slower */
    bool memif_server;  /* one side is, the other is not */
    uint32_t frame_max; /* of the frames; 0: the most that the port can do */
};

/** Read "memif:PATH" and the like; -EINVAL, and what there is, when @text is none. */
MUST_CHECK int port_parse(const char *text, struct port_where *ret, struct err *err);

/** Whether this host has what @where names: -ENODEV, -ENOENT, -EINVAL with the reason. */
MUST_CHECK int port_here(const struct port_where *where, struct err *err);

/** As port_parse() reads it. */
void port_format(const struct port_where *where, char ret[PORT_WHERE_MAX + 16]);

/**
 * Open a port through the plug-in at @plugin, an absolute path. Once a process has opened one, all
 * have the same kind of pages. Takes some 0.3 s the first time. -ENOENT without the plug-in; -EPERM
 * without the privilege, -ENOMEM without the pages, -ENODEV without the device: @err says which.
 */
MUST_CHECK int port_open(const char *plugin, const struct port_options *options, struct port **ret,
                         struct err *err);

/** 2 MiB and 1 GiB pages that are reserved and free, in bytes. */
uint64_t port_huge_bytes(void);

/* --- the plug-in's side --- */

#define PORT_PLUGIN_VERSION 1
#define PORT_PLUGIN_SYMBOL  "mpcformer_port_plugin"

struct port_plugin {
    uint32_t version;
    int (*open)(const struct port_options *options, struct port **ret, struct err *err);
};

#endif
