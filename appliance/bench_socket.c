/* Plain sockets for bench link: what the link over TCP is measured against. */
#include "appliance/bench_link.h"

#include <fcntl.h>
#include <poll.h>
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
