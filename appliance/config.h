/*
 * The configuration file of mpcformerd, and of a data owner: lines `key = value`, comments after
 * '#' or ';' at the start of a line or after ' ;'. One table in config.c says of every key its
 * type, the roles that take it, its default and its help; whatever is wrong is reported with file,
 * line, key and the fix.
 *
 * Paths that are not absolute are relative to the folder of the configuration file.
 */
#ifndef APPLIANCE_CONFIG_H
#define APPLIANCE_CONFIG_H

#include "appliance/cpu_list.h"
#include "appliance/identity.h"
#include "appliance/net.h"
#include "appliance/owner_limits.h"
#include "appliance/shape.h"
#include "appliance/tls.h"
#include "base/base.h"
#include "dataplane/link.h"
#include "dataplane/port_open.h"

#include <stdio.h>

/** A larger file is none of ours. The length of a line is limited by libinih, to about 200 bytes.
 */
#define CONFIG_FILE_MAX (256u << 10)

enum config_link { CONFIG_LINK_URING, CONFIG_LINK_DPDK };
enum config_pages { CONFIG_PAGES_HUGE, CONFIG_PAGES_SMALL };

struct config_port {
    struct port_where where;
    enum config_pages pages;
    uint32_t address;                 /* IPv4 of this end; 0: 169.254.77.1 or .2 */
    uint8_t peer_mac[PORT_MAC_BYTES]; /* zeros: what the peer says */
    unsigned int vlan;                /* 0: none */
    unsigned int mtu;                 /* 0: the most */
};

/** Tapes to keep in stock of a plan variant. */
#define CONFIG_TAPES_MAX 1024

/** Room for a value of every key. */
#define CONFIG_KEYS_MAX 48

/* What a role does not take is zero: an empty host, a NULL path. */
struct config {
    enum role role;                 /* party0, party1, dealer or owner */
    struct net_address listen;      /* sessions */
    struct net_address link_listen; /* party1: the share link */
    struct net_address peer;        /* party0: party1's `listen` */
    struct net_address peer_link;   /* party0: party1's `link_listen` */
    struct net_address dealer;      /* parties: the dealer's `listen` */
    struct net_address party[2];    /* owner: the parties' `listen` */
    char *certificate, *key, *authority;
    struct tls_pins pins;       /* of all pin keys, each with its role */
    struct limits limits;       /* parties: of the owners among them */
    struct net_address metrics; /* daemons; no host: nowhere */
    char *audit;                /* a file, or NULL */
    char *state;                /* a folder */
    char *control;              /* a Unix socket; fits sockaddr_un */
    char *model;                /* owner: a folder, see model_folder.h */
    char *store_key;            /* a file; NULL: what is kept is not sealed */
    uint64_t memory;            /* bytes that models and tapes may take; 0: as the host has */
    unsigned int tapes;         /* kept in memory a plan variant */
    uint64_t tape_store;        /* bytes of disk for more of them; 0: none */
    char *tape_folder;          /* where; NULL: in `state` */
    unsigned int timeout_ms;    /* of one step of a session */
    enum config_link link;
    unsigned int streams;            /* of CONFIG_LINK_URING */
    struct config_port port;         /* parties, of CONFIG_LINK_DPDK */
    struct cpu_list workers;         /* a party online, the first its online thread; the dealer */
    struct cpu_list offline_workers; /* parties: preparation; `workers` where it is not said */
    unsigned int isa;                /* enum kernels_feature that may be used */
    struct shape shape;
    char *path;                   /* of this file, absolute */
    char *value[CONFIG_KEYS_MAX]; /* config.c's, for config_reload() */
};

/**
 * Read and check @path, an appliance's; on success every required key of the role is there and in
 * range.
 */
MUST_CHECK int config_load(const char *path, struct config **ret_config, struct err *err);

/**
 * Read @old's file again: *ret_config may differ in pins, limits and in certificate, key and
 * authority. -EBUSY, naming the key, when anything else has changed.
 */
MUST_CHECK int config_reload(const struct config *old, struct config **ret_config, struct err *err);

/** config_load() of an owner's file. */
MUST_CHECK int config_load_owner(const char *path, struct config **ret_config, struct err *err);
void config_free(struct config *config);

/** As the key `link` takes it. */
const char *config_link_name(enum config_link link);
MUST_CHECK int config_link_parse(const char *text, enum config_link *ret_link);

/** The table, for --help: every key, who takes it, its default, what it is. */
void config_help(FILE *out);

#endif
