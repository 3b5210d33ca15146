#include "appliance/bench_remote.h"

#include "base/random.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* until the other end is started */

/* Both send one. A bench between builds that differ in this fails by its size or by `what`. */
struct greeting {
    char magic[8];
    char what[32], host[HOST_TEXT_SIZE];
    struct seal_keys data, control; /* of end 0, from end 0 */
};

static const char magic[8] = "MPCFBL1";

static int transfer(int fd, void *at, size_t bytes, bool send_it)
{
    uint64_t deadline = net_deadline(BENCH_TIMEOUT_MS);
    size_t done = 0;

    while (done < bytes) {
        char *p = (char *)at + done;
        ssize_t n =
            send_it ? send(fd, p, bytes - done, MSG_NOSIGNAL) : recv(fd, p, bytes - done, 0);

        if (n == 0)
            return -ECONNRESET;
        if (n > 0)
            done += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return -errno;
        else if (net_wait(fd, send_it ? POLLOUT : POLLIN, deadline) < 0)
            return -ETIMEDOUT;
    }
    return 0;
}

static int greet(int fd, struct greeting *here, struct greeting *there, struct err *err)
{
    int rc = transfer(fd, here, sizeof(*here), true);

    if (rc == 0)
        rc = transfer(fd, there, sizeof(*there), false);
    if (rc < 0)
        return err_set(err, rc, "the other end does not answer as a bench: %s", strerror(-rc));
    there->what[sizeof(there->what) - 1] = there->host[sizeof(there->host) - 1] = '\0';
    if (memcmp(there->magic, magic, sizeof(magic)) != 0 || strcmp(here->what, there->what) != 0)
        return err_set(
            err, -EPROTO,
            "the other end measures %.32s, this one %s: give both the same --link, --streams",
            memcmp(there->magic, magic, sizeof(magic)) ? "nothing known" : there->what, here->what);
    return 0;
}

static int meet(struct bench_remote *r, int *ret_fd, struct err *err)
{
    uint64_t deadline = net_deadline(PATIENCE_MS);
    int rc;

    if (r->listen && r->listen_fd < 0) {
        rc = net_listen(&r->at, &r->listen_fd, err);
        if (rc < 0)
            return rc;
    }
    if (r->listen)
        return net_accept(r->listen_fd, PATIENCE_MS, ret_fd, err);
    do {
        struct err why = {""};

        rc = net_connect(&r->at, BENCH_TIMEOUT_MS, ret_fd, &why);
        if (rc == 0 || time_ns() > deadline)
            return rc < 0 ? err_set(err, rc, "%s", why.text) : 0;
        usleep(100000);
    } while (true);
}

int bench_remote_join(struct bench_remote *r, const char *what, struct seal_keys *data,
                      struct seal_keys *control, int *ret_fd, struct err *err)
{
    struct greeting here = {{0}}, there;
    int rc = meet(r, ret_fd, err);

    if (rc < 0)
        return rc;
    memcpy(here.magic, magic, sizeof(magic));
    snprintf(here.what, sizeof(here.what), "%s", what);
    host_text(here.host);
    if (!r->listen) {
        random_bytes(&here.data, sizeof(here.data));
        random_bytes(&here.control, sizeof(here.control));
    }
    rc = greet(*ret_fd, &here, &there, err);
    if (rc < 0) {
        close(*ret_fd);
        return rc;
    }
    memcpy(r->peer, there.host, sizeof(r->peer));
    *data = r->listen ? (struct seal_keys){there.data.receive, there.data.send} : here.data;
    *control =
        r->listen ? (struct seal_keys){there.control.receive, there.control.send} : here.control;
    return 0;
}

int bench_remote_agree(struct bench_remote *r, const char *what, bool here, bool *ret_both,
                       struct err *err)
{
    struct seal_keys unused[2];
    uint8_t mine = here, theirs = 0;
    int fd, rc = bench_remote_join(r, what, &unused[0], &unused[1], &fd, err);

    if (rc < 0)
        return rc;
    rc = transfer(fd, &mine, 1, true);
    if (rc == 0)
        rc = transfer(fd, &theirs, 1, false);
    close(fd);
    if (rc < 0)
        return err_set(err, rc, "the other end went away: %s", strerror(-rc));
    *ret_both = here && theirs;
    return 0;
}

/* In the order in which they are counted, each once the one before it is there at both ends. */
int bench_remote_join_more(struct bench_remote *r, int ret_fd[], unsigned int count,
                           struct err *err)
{
    uint8_t word = 0;
    int rc = 0;

    for (unsigned int i = 1; rc == 0 && i < count; i++) {
        rc = meet(r, &ret_fd[i], err);
        if (rc == 0)
            rc = transfer(ret_fd[i], &word, 1, r->listen);
    }
    return rc;
}
