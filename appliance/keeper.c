#include "appliance/keeper_internal.h"

#include "base/secret.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct keeper {
    pthread_mutex_t lock; /* a request and its reply */
    pid_t pid;            /* 0: it was waited for */
    int fd;
};

int keeper_start(struct keeper **ret_keeper, struct err *err)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    int fd[2], rc;

    if (!keeper)
        return err_set(err, -ENOMEM, "no memory");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0) {
        rc = err_set(err, -errno, "no socket to the keeper of keys: %s", strerror(errno));
        free(keeper);
        return rc;
    }
    keeper->pid = fork();
    if (keeper->pid == 0) {
        close(fd[0]);
        free(keeper);
        keeper_process(fd[1]);
    }
    close(fd[1]);
    if (keeper->pid < 0) {
        rc = err_set(err, -errno, "no process for the keeper of keys: %s", strerror(errno));
        close(fd[0]);
        free(keeper);
        return rc;
    }
    keeper->fd = fd[0];
    pthread_mutex_init(&keeper->lock, NULL);
    *ret_keeper = keeper;
    return 0;
}

void keeper_stop(struct keeper *keeper)
{
    if (!keeper)
        return;
    close(keeper->fd);
    if (keeper->pid)
        waitpid(keeper->pid, NULL, 0);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}

int keeper_fd(const struct keeper *keeper)
{
    return keeper->fd;
}

pid_t keeper_pid(const struct keeper *keeper)
{
    return keeper->pid;
}

void keeper_end(struct keeper *keeper, char ret_text[KEEPER_END_SIZE])
{
    int status = 0;

    if (!keeper->pid || waitpid(keeper->pid, &status, 0) != keeper->pid)
        snprintf(ret_text, KEEPER_END_SIZE, "ended, nobody knows how");
    else if (WIFSIGNALED(status))
        snprintf(ret_text, KEEPER_END_SIZE, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(ret_text, KEEPER_END_SIZE, "ended with exit code %d", WEXITSTATUS(status));
    keeper->pid = 0;
}

/* --- asking --- */

static ssize_t send_request(int fd, enum keeper_what what, uint32_t key, const void *bytes,
                            size_t count)
{
    struct keeper_request request = {.what = what, .key = key, .count = (uint32_t)count};
    ssize_t n;

    if (count)
        memcpy(request.bytes, bytes, count);
    do
        n = send(fd, &request, KEEPER_REQUEST_BYTES(count), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

static ssize_t receive_reply(int fd, struct keeper_reply *reply)
{
    ssize_t n;

    do
        n = recv(fd, reply, sizeof(*reply), 0);
    while (n < 0 && errno == EINTR);
    return n;
}

static bool is_whole(const struct keeper_reply *reply, ssize_t n)
{
    return n >= (ssize_t)KEEPER_REPLY_BYTES(0) && reply->count <= sizeof(reply->bytes) &&
           (size_t)n == KEEPER_REPLY_BYTES(reply->count);
}

int keeper_ask(struct keeper *keeper, enum keeper_what what, uint32_t key, const void *bytes,
               size_t count, uint32_t *ret_key, void *ret, size_t ret_count, struct err *err)
{
    struct keeper_reply reply;
    ssize_t n;
    int rc = 0;

    if (count > sizeof(((struct keeper_request *)NULL)->bytes))
        return err_set(err, -ENAMETOOLONG, "%zu bytes are more than the keeper of keys takes",
                       count);
    pthread_mutex_lock(&keeper->lock);
    n = send_request(keeper->fd, what, key, bytes, count);
    if (n > 0)
        n = receive_reply(keeper->fd, &reply);
    pthread_mutex_unlock(&keeper->lock);
    if (n <= 0)
        return err_set(err, -EPIPE, "the keeper of keys is gone");
    if (!is_whole(&reply, n))
        rc = err_set(err, -EPROTO, "the keeper of keys sends what is no reply");
    else if (reply.rc < 0)
        rc = err_set(err, reply.rc, "%.*s", (int)reply.count, (const char *)reply.bytes);
    else if (reply.count != ret_count)
        rc = err_set(err, -EPROTO, "the keeper of keys replies %u bytes, not %zu", reply.count,
                     ret_count);
    else {
        if (ret_count)
            memcpy(ret, reply.bytes, ret_count);
        if (ret_key)
            *ret_key = reply.key;
    }
    secret_wipe(&reply, sizeof(reply));
    return rc;
}

/* --- keys --- */

int keeper_load(struct keeper *keeper, const char *path, struct evp_pkey_st **ret_key,
                struct err *err)
{
    uint8_t public_key[KEEPER_PUBLIC_BYTES];
    uint32_t number = 0;
    int rc = keeper_ask(keeper, KEEPER_LOAD, 0, path, strlen(path), &number, public_key,
                        sizeof(public_key), err);

    return rc < 0 ? rc : keeper_key_new(keeper, number, public_key, ret_key, err);
}

static int derive(void *context, const uint8_t salt[SEALED_SALT_BYTES],
                  uint8_t ret_file_key[SEALED_FILE_KEY_BYTES])
{
    return keeper_ask(context, KEEPER_DERIVE, 0, salt, SEALED_SALT_BYTES, NULL, ret_file_key,
                      SEALED_FILE_KEY_BYTES, NULL);
}

int keeper_load_store(struct keeper *keeper, const char *path, struct sealed_key **ret_key,
                      struct err *err)
{
    int rc = keeper_ask(keeper, KEEPER_STORE, 0, path, strlen(path), NULL, NULL, 0, err);

    if (rc < 0)
        return rc;
    rc = sealed_key_elsewhere(derive, keeper, ret_key);
    return rc < 0 ? err_set(err, rc, "no memory") : 0;
}
