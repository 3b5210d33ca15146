/*
 * TCP addresses and connected sockets, before TLS. Every socket is non-blocking, close-on-exec and
 * sends without delay (TCP_NODELAY); every wait has a deadline. Keep-alives end a connection whose
 * peer's host has vanished within seconds, also where this side only waits.
 */
#ifndef APPLIANCE_NET_H
#define APPLIANCE_NET_H

#include "base/base.h"

/** As a timeout in milliseconds: wait as long as it takes. */
#define NET_FOREVER (-1)

/** Longest host name or literal, with its NUL (RFC 1035: 253 and a dot). */
#define NET_HOST_SIZE 256

/** "[host]:port" with its NUL. */
#define NET_TEXT_SIZE (NET_HOST_SIZE + 9)

struct net_address {
    char host[NET_HOST_SIZE]; /* a name, an IPv4 or an IPv6 literal without brackets */
    uint16_t port;            /* 0: the system chooses (listening only) */
};

/** "host:port" or "[v6]:port"; -EINVAL with the fix in @err. Looks nothing up. */
MUST_CHECK int net_parse(const char *text, struct net_address *ret_address, struct err *err);

/** The text that net_parse() takes. */
void net_format(const struct net_address *address, char ret_text[NET_TEXT_SIZE]);

/** Whether it is an address, no name, that only this host or a private network reaches: loopback,
 *  link-local, RFC 1918 or RFC 4193. */
bool net_is_private(const struct net_address *address);

/**
 * Listen on the first address that @address resolves to. *ret_fd is the caller's to close.
 * Name look-ups may block for as long as the resolver does; literals never do.
 */
/** Look a peer's name up once, so that the library code that this takes here is loaded: a process
 * that is bound by a filter can load none. What fails is for later to tell. A number takes nothing.
 */
void net_prepare(const struct net_address *address);

MUST_CHECK int net_listen(const struct net_address *address, int *ret_fd, struct err *err);

/** The port that a listening or connected socket has. */
MUST_CHECK int net_port(int fd, uint16_t *ret_port);

/**
 * Connect to @address, trying every address that it resolves to, @timeout_ms in all (the look-up
 * aside). -ETIMEDOUT, -ECONNREFUSED and the like.
 */
MUST_CHECK int net_connect(const struct net_address *address, int timeout_ms, int *ret_fd,
                           struct err *err);

/**
 * The next connection of @listen_fd. -ETIMEDOUT when none came; a connection that died before it
 * was taken is skipped.
 */
MUST_CHECK int net_accept(int listen_fd, int timeout_ms, int *ret_fd, struct err *err);

/** The numeric address of the other end of @fd, "?" when it has none. */
void net_peer(int fd, char ret_text[NET_TEXT_SIZE]);

/** The instant @timeout_ms from now on time_ns()'s clock, never for NET_FOREVER. */
uint64_t net_deadline(int timeout_ms);

/** Wait until @fd has one of poll()'s @events (or an error or hang-up): 0 or -ETIMEDOUT. */
MUST_CHECK int net_wait(int fd, short events, uint64_t deadline);

#endif
