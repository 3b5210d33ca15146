#include "appliance/net.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A peer that answers nothing for IDLE + COUNT * STEP seconds is gone. */
#define KEEPALIVE_IDLE_S 5
#define KEEPALIVE_STEP_S 2
#define KEEPALIVE_COUNT  3

#define BACKLOG 64

uint64_t net_deadline(int timeout_ms)
{
    return timeout_ms < 0 ? UINT64_MAX : time_ns() + (uint64_t)timeout_ms * 1000000u;
}

int net_wait(int fd, short events, uint64_t deadline)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        int wait_ms = -1, n;

        if (deadline != UINT64_MAX) {
            uint64_t now = time_ns();
            uint64_t left_ms = now < deadline ? (deadline - now + 999999u) / 1000000u : 0;

            wait_ms = (int)MIN(left_ms, (uint64_t)INT32_MAX);
        }
        n = poll(&p, 1, wait_ms);
        if (n > 0)
            return 0;
        if (n == 0 && wait_ms != INT32_MAX)
            return -ETIMEDOUT;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int parse_port(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;

    if (!*text || strlen(text) > 5)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        port = port * 10 + (unsigned long)(*text - '0');
    }
    if (port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

/* A name or a literal: nothing that could end up elsewhere in a message or a resolver. */
static bool host_ok(const char *host, size_t count, bool bracketed)
{
    if (count == 0 || count >= NET_HOST_SIZE)
        return false;
    for (size_t i = 0; i < count; i++) {
        char c = host[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!letter && c != '.' && c != '-' && c != '_' && !(bracketed && (c == ':' || c == '%')))
            return false;
    }
    return true;
}

int net_parse(const char *text, struct net_address *ret_address, struct err *err)
{
    struct net_address address = {.port = 0};
    const char *colon = strrchr(text, ':');
    bool bracketed = text[0] == '[';
    const char *host = text + bracketed;
    size_t count;

    if (!colon || (bracketed && (colon == text || colon[-1] != ']')))
        return err_set(err, -EINVAL, "\"%.80s\" is no address: write host:port or [IPv6]:port",
                       text);
    count = (size_t)(colon - host) - bracketed;
    if (!host_ok(host, count, bracketed))
        return err_set(err, -EINVAL,
                       "\"%.80s\" has no usable host: write host:port, an IPv6 address in brackets",
                       text);
    if (parse_port(colon + 1, &address.port) < 0)
        return err_set(err, -EINVAL, "\"%.80s\" has no usable port: it is a number up to 65535",
                       text);
    memcpy(address.host, host, count);
    *ret_address = address;
    return 0;
}

static bool is_private_v4(uint32_t a)
{
    return a >> 24 == 127 || a >> 24 == 10 || a >> 20 == 0xac1 || a >> 16 == 0xc0a8 ||
           a >> 16 == 0xa9fe;
}

bool net_is_private(const struct net_address *address)
{
    struct in6_addr v6;
    struct in_addr v4;

    if (inet_pton(AF_INET, address->host, &v4) == 1)
        return is_private_v4(ntohl(v4.s_addr));
    if (inet_pton(AF_INET6, address->host, &v6) != 1)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_LINKLOCAL(&v6) ||
           (v6.s6_addr[0] & 0xfe) == 0xfc;
}

void net_format(const struct net_address *address, char ret_text[NET_TEXT_SIZE])
{
    bool brackets = strchr(address->host, ':') != NULL;

    snprintf(ret_text, NET_TEXT_SIZE, "%s%s%s:%u", brackets ? "[" : "", address->host,
             brackets ? "]" : "", address->port);
}

static int resolve(const struct net_address *address, int flags, struct addrinfo **ret_list,
                   struct err *err)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    char port[8];
    int rc;

    snprintf(port, sizeof(port), "%u", address->port);
    rc = getaddrinfo(address->host, port, &hints, ret_list);
    if (rc == 0)
        return 0;
    return err_set(err, -EHOSTUNREACH, "cannot resolve \"%s\": %s", address->host,
                   gai_strerror(rc));
}

void net_prepare(const struct net_address *address)
{
    struct addrinfo *list;

    if (address->host[0] && resolve(address, 0, &list, NULL) == 0)
        freeaddrinfo(list);
}

/* Messages leave at once, and a peer whose host is gone is noticed also where nobody sends. */
static int set_options(int fd)
{
    const int on = 1, idle_s = KEEPALIVE_IDLE_S, step_s = KEEPALIVE_STEP_S, count = KEEPALIVE_COUNT;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &step_s, sizeof(step_s)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count)) < 0)
        return -errno;
    return 0;
}

static int make_socket(const struct addrinfo *a, int *ret_fd)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

    if (fd < 0)
        return -errno;
    rc = set_options(fd);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

static int listen_on(const struct addrinfo *a, int *ret_fd)
{
    int on = 1, fd = -1, rc;

    rc = make_socket(a, &fd);
    if (rc < 0)
        return rc;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int net_listen(const struct net_address *address, int *ret_fd, struct err *err)
{
    char text[NET_TEXT_SIZE];
    struct addrinfo *list;
    int rc;

    rc = resolve(address, AI_PASSIVE, &list, err);
    if (rc < 0)
        return rc;
    rc = listen_on(list, ret_fd);
    freeaddrinfo(list);
    if (rc == 0)
        return 0;
    net_format(address, text);
    return err_set(err, rc, "cannot listen at %s: %s", text, strerror(-rc));
}

int net_port(int fd, uint16_t *ret_port)
{
    struct sockaddr_storage a;
    socklen_t count = sizeof(a);

    if (getsockname(fd, (struct sockaddr *)&a, &count) < 0)
        return -errno;
    if (a.ss_family == AF_INET)
        *ret_port = ntohs(((struct sockaddr_in *)&a)->sin_port);
    else if (a.ss_family == AF_INET6)
        *ret_port = ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    else
        return -EAFNOSUPPORT;
    return 0;
}

static int connect_to(const struct addrinfo *a, uint64_t deadline, int *ret_fd)
{
    socklen_t size = sizeof(int);
    int fd = -1, rc, failed = 0;

    rc = make_socket(a, &fd);
    if (rc < 0)
        return rc;
    rc = connect(fd, a->ai_addr, a->ai_addrlen) < 0 ? -errno : 0;
    /* Interrupted, the attempt goes on in the kernel just as when it is in progress. */
    if (rc == -EINPROGRESS || rc == -EINTR) {
        rc = net_wait(fd, POLLOUT, deadline);
        if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) < 0)
            rc = -errno;
        if (rc == 0)
            rc = -failed;
    }
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int net_connect(const struct net_address *address, int timeout_ms, int *ret_fd, struct err *err)
{
    char text[NET_TEXT_SIZE];
    struct addrinfo *list;
    uint64_t deadline;
    int rc;

    rc = resolve(address, 0, &list, err);
    if (rc < 0)
        return rc;
    deadline = net_deadline(timeout_ms);
    rc = -EHOSTUNREACH;
    for (const struct addrinfo *a = list; a && rc < 0 && rc != -ETIMEDOUT; a = a->ai_next)
        rc = connect_to(a, deadline, ret_fd);
    freeaddrinfo(list);
    if (rc == 0)
        return 0;
    net_format(address, text);
    return err_set(err, rc, "cannot connect to %s: %s", text, strerror(-rc));
}

static bool accept_again(int code)
{
    /* accept(2): a pending error of the new socket is passed on; it is not the listener's. */
    return code == EINTR || code == EAGAIN || code == ECONNABORTED || code == EPROTO ||
           code == ENETDOWN || code == ENETUNREACH || code == EHOSTDOWN || code == EHOSTUNREACH ||
           code == ENOPROTOOPT || code == ENONET || code == EOPNOTSUPP;
}

int net_accept(int listen_fd, int timeout_ms, int *ret_fd, struct err *err)
{
    uint64_t deadline = net_deadline(timeout_ms);

    for (;;) {
        int rc = net_wait(listen_fd, POLLIN, deadline), fd;

        if (rc < 0)
            return err_set(err, rc, "nobody connected: %s", strerror(-rc));
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && accept_again(errno))
            continue;
        if (fd < 0)
            return err_set(err, -errno, "cannot accept a connection: %s", strerror(errno));
        /* Fails only on a connection that is dead already. */
        if (set_options(fd) < 0) {
            close(fd);
            continue;
        }
        *ret_fd = fd;
        return 0;
    }
}

void net_peer(int fd, char ret_text[NET_TEXT_SIZE])
{
    struct net_address address = {.port = 0};
    struct sockaddr_storage a;
    socklen_t count = sizeof(a);
    char port[8];

    snprintf(ret_text, NET_TEXT_SIZE, "?");
    if (getpeername(fd, (struct sockaddr *)&a, &count) < 0 ||
        getnameinfo((struct sockaddr *)&a, count, address.host, sizeof(address.host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0 ||
        parse_port(port, &address.port) < 0)
        return;
    net_format(&address, ret_text);
}
