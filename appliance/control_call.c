#include "appliance/control.h"
#include "appliance/net.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How much the reply's buffer grows at a time. */
#define CHUNK_BYTES (16u << 10)

static const char *advice(int rc)
{
    switch (-rc) {
    case ENOENT:
    case ECONNREFUSED:
        return "no appliance listens there: start it, or name its socket";
    case EACCES:
        return "no right to connect: run as its user, as root, or as a member of its group";
    default:
        return strerror(-rc);
    }
}

static int open_socket(const char *path, uint64_t deadline, int *ret_fd, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, rc;

    if (strlen(path) >= sizeof(address.sun_path))
        return err_set(err, -ENAMETOOLONG, "%s: too long for a Unix socket", path);
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, -errno, "socket: %s", strerror(errno));
    rc = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    /* On a Unix socket EAGAIN says that the backlog is full, and there is no event for its end. */
    while (rc == -EAGAIN && time_ns() < deadline) {
        usleep(10000);
        rc = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    }
    if (rc < 0) {
        close(fd);
        rc = rc == -EAGAIN ? -ETIMEDOUT : rc;
        return err_set(err, rc, "%s: %s", path, advice(rc));
    }
    *ret_fd = fd;
    return 0;
}

static int send_line(int fd, const char *text, size_t count, uint64_t deadline)
{
    int rc = 0;

    while (count && rc == 0) {
        ssize_t n = send(fd, text, count, MSG_NOSIGNAL);

        if (n >= 0) {
            text += n;
            count -= (size_t)n;
        } else if (errno == EAGAIN) {
            rc = net_wait(fd, POLLOUT, deadline);
        } else if (errno != EINTR) {
            rc = -errno;
        }
    }
    return rc;
}

/* One line, without its end; the caller frees. */
static int receive_line(int fd, uint64_t deadline, char **ret_text, size_t *ret_count)
{
    size_t count = 0, size = 0;
    char *text = NULL, *grown;
    int rc = 0;

    while (rc == 0) {
        ssize_t n;

        if (count == size && size >= CONTROL_REPLY_MAX) {
            rc = -EMSGSIZE;
            break;
        }
        if (count == size) {
            grown = realloc(text, size + CHUNK_BYTES);
            if (!grown) {
                rc = -ENOMEM;
                break;
            }
            text = grown;
            size += CHUNK_BYTES;
        }
        n = recv(fd, text + count, size - count, 0);
        if (n > 0 && memchr(text + count, '\n', (size_t)n)) {
            *ret_count = (size_t)((char *)memchr(text + count, '\n', (size_t)n) - text);
            *ret_text = text;
            return 0;
        }
        if (n > 0)
            count += (size_t)n;
        else if (n == 0)
            rc = -ECONNRESET;
        else if (errno == EAGAIN)
            rc = time_ns() < deadline ? net_wait(fd, POLLIN, deadline) : -ETIMEDOUT;
        else if (errno != EINTR)
            rc = -errno;
    }
    free(text);
    return rc;
}

static int read_reply(const char *path, const char *text, size_t count, json_t **ret_reply,
                      struct err *err)
{
    json_t *reply = json_loadb(text, count, JSON_REJECT_DUPLICATES, NULL);
    const char *refusal = json_string_value(json_object_get(reply, "error"));
    int rc = 0;

    if (json_is_true(json_object_get(reply, "ok")))
        *ret_reply = reply;
    else if (refusal)
        rc = err_set(err, -EREMOTEIO, "%s", refusal);
    else
        rc = err_set(err, -EPROTO, "%s: answers with something that is no reply", path);
    if (rc < 0)
        json_decref(reply);
    return rc;
}

static char *format_request(json_t *request)
{
    json_t *copy = json_copy(request);
    char *text = NULL;

    if (copy && json_object_set_new(copy, "version", json_integer(CONTROL_VERSION)) == 0)
        text = json_dumps(copy, JSON_COMPACT);
    json_decref(copy);
    return text;
}

int control_call(const char *path, json_t *request, json_t **ret_reply, int timeout_ms,
                 struct err *err)
{
    uint64_t deadline = net_deadline(timeout_ms);
    char *text = format_request(request), *reply = NULL;
    size_t count = 0;
    int fd = -1, rc;

    if (!text)
        return err_set(err, -EINVAL, "the request is no JSON object, or there is no memory");
    if (strlen(text) + 1 > CONTROL_LINE_MAX) {
        rc = err_set(err, -EMSGSIZE, "a request of %zu bytes: at most %u are taken", strlen(text),
                     CONTROL_LINE_MAX);
        goto out;
    }
    rc = open_socket(path, deadline, &fd, err);
    if (rc < 0)
        goto out;
    rc = send_line(fd, text, strlen(text), deadline);
    if (rc == 0)
        rc = send_line(fd, "\n", 1, deadline);
    /* One that was turned away has its reason waiting, whatever became of the request. */
    if (rc == 0 || rc == -EPIPE || rc == -ECONNRESET)
        rc = receive_line(fd, deadline, &reply, &count);
    if (rc < 0)
        err_set(err, rc, "%s: %s", path,
                rc == -ETIMEDOUT ? "the appliance does not answer in time" : strerror(-rc));
    else
        rc = read_reply(path, reply, count, ret_reply, err);
out:
    free(reply);
    free(text);
    if (fd >= 0)
        close(fd);
    return rc;
}
