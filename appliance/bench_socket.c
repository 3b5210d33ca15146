/*
 * Plain sockets for bench link: what the link over TCP is measured against. Blocking ones wait in
 * the call; the others try both directions, and wait only when neither moved: by trying again, or
 * in epoll.
 */
#include "appliance/bench_link.h"
#include "appliance/net.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static int socket_send(struct end *e, size_t bytes)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = send(e->fd, e->out + done, bytes - done, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int socket_receive(struct end *e, size_t bytes)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = recv(e->fd, e->in + done, bytes - done, 0);

        if (n == 0)
            return -ECONNRESET;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int exchange_socket(struct end *e, size_t bytes)
{
    size_t sent = 0, got = 0;

    while (sent < bytes || got < bytes) {
        struct pollfd p = {.fd = e->fd,
                           .events =
                               (short)((sent < bytes ? POLLOUT : 0) | (got < bytes ? POLLIN : 0))};
        ssize_t n;

        if (poll(&p, 1, BENCH_TIMEOUT_MS) < 1)
            return -ETIMEDOUT;
        if (p.revents & POLLOUT) {
            n = send(e->fd, e->out + sent, bytes - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN)
                return -errno;
            sent += n > 0 ? (size_t)n : 0;
        }
        if (p.revents & ~POLLOUT) {
            n = recv(e->fd, e->in + got, bytes - got, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN))
                return n ? -errno : -ECONNRESET;
            got += n > 0 ? (size_t)n : 0;
        }
    }
    return 0;
}

int bench_block(struct end *e)
{
    return fcntl(e->fd, F_SETFL, fcntl(e->fd, F_GETFL) & ~O_NONBLOCK) < 0 ? -errno : 0;
}

const struct way bench_way_blocking = {bench_block, socket_send, socket_receive, exchange_socket,
                                       false};

/* --- sockets that do not block --- */

/* Send @out and receive @in bytes. */
static int move(struct end *e, size_t out, size_t in, int (*pause)(struct end *e))
{
    uint64_t deadline = net_deadline(BENCH_TIMEOUT_MS);
    size_t sent = 0, got = 0;
    int rc = 0;

    for (unsigned int idle = 0; rc == 0 && (sent < out || got < in);) {
        ssize_t put = 0, taken = 0;

        if (sent < out)
            put = send(e->fd, e->out + sent, out - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN)
            return -errno;
        if (got < in) {
            taken = recv(e->fd, e->in + got, in - got, MSG_DONTWAIT);
            if (taken == 0 || (taken < 0 && errno != EAGAIN))
                return taken ? -errno : -ECONNRESET;
        }
        sent += put > 0 ? (size_t)put : 0;
        got += taken > 0 ? (size_t)taken : 0;
        if (put > 0 || taken > 0)
            continue;
        if (++idle % 1024 == 0 && time_ns() > deadline)
            return -ETIMEDOUT;
        rc = pause(e);
    }
    return rc;
}

static int pause_not(struct end *e)
{
    (void)e;
    return 0;
}

static int open_spinning(struct end *e)
{
    return fcntl(e->fd, F_SETFL, fcntl(e->fd, F_GETFL) | O_NONBLOCK) < 0 ? -errno : 0;
}

static int spinning_send(struct end *e, size_t bytes)
{
    return move(e, bytes, 0, pause_not);
}

static int spinning_receive(struct end *e, size_t bytes)
{
    return move(e, 0, bytes, pause_not);
}

static int spinning_exchange(struct end *e, size_t bytes)
{
    return move(e, bytes, bytes, pause_not);
}

const struct way bench_way_spinning = {open_spinning, spinning_send, spinning_receive,
                                       spinning_exchange, false};

/* An event says that there is news, once: the calls are tried until they would block. */
static int open_epoll(struct end *e)
{
    struct epoll_event both = {.events = EPOLLIN | EPOLLOUT | EPOLLET};

    e->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (e->epoll < 0 || epoll_ctl(e->epoll, EPOLL_CTL_ADD, e->fd, &both) < 0)
        return -errno;
    return open_spinning(e);
}

static int pause_epoll(struct end *e)
{
    struct epoll_event event;
    int rc = epoll_wait(e->epoll, &event, 1, BENCH_TIMEOUT_MS);

    if (rc == 0)
        return -ETIMEDOUT;
    return rc > 0 ? 0 : -errno;
}

static int epoll_send(struct end *e, size_t bytes)
{
    return move(e, bytes, 0, pause_epoll);
}

static int epoll_receive(struct end *e, size_t bytes)
{
    return move(e, 0, bytes, pause_epoll);
}

static int epoll_exchange(struct end *e, size_t bytes)
{
    return move(e, bytes, bytes, pause_epoll);
}

const struct way bench_way_epoll = {open_epoll, epoll_send, epoll_receive, epoll_exchange, false};
