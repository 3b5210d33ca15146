#include "appliance/party_link.h"

#include "appliance/log.h"
#include "appliance/net.h"
#include "appliance/shape.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOKEN_BYTES 32
#define HELLO_MS    1000 /* for a stranger to show a token */

static const char label_keys[] = "EXPORTER-mpcformer-link-keys";
static const char label_token[] = "EXPORTER-mpcformer-link-token";

/* --- the connection --- */

static int receive_token(int fd, uint8_t token[TOKEN_BYTES])
{
    uint64_t deadline = net_deadline(HELLO_MS);
    size_t got = 0;

    while (got < TOKEN_BYTES) {
        ssize_t n = recv(fd, token + got, TOKEN_BYTES - got, 0);

        if (n == 0)
            return -ECONNRESET;
        if (n > 0)
            got += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return -errno;
        else if (net_wait(fd, POLLIN, deadline) < 0)
            return -ETIMEDOUT;
    }
    return 0;
}

static int accept_link(struct party_state *p, const uint8_t token[TOKEN_BYTES], int *ret_fd,
                       struct err *err)
{
    uint64_t deadline = net_deadline((int)p->config->timeout_ms);

    while (time_ns() < deadline && !p->stopping) {
        uint8_t shown[TOKEN_BYTES];
        int fd, rc = net_accept(p->link_listen_fd, HELLO_MS, &fd, NULL);

        if (rc < 0)
            continue;
        if (receive_token(fd, shown) == 0 && secret_equal(shown, token, TOKEN_BYTES)) {
            *ret_fd = fd;
            return 0;
        }
        log_warning("link-refused", log_text("error", "no token of this session"));
        close(fd);
    }
    return err_set(err, -ETIMEDOUT, "party 0 opened no share link");
}

static int connect_link(struct party_state *p, const uint8_t token[TOKEN_BYTES], int *ret_fd,
                        struct err *err)
{
    int fd, rc = net_connect(&p->config->peer_link, (int)p->config->timeout_ms, &fd, err);

    if (rc < 0)
        return rc;
    /* A fresh socket has room for it. */
    if (send(fd, token, TOKEN_BYTES, MSG_NOSIGNAL) != TOKEN_BYTES) {
        close(fd);
        return err_set(err, -EIO, "the share link took no token");
    }
    *ret_fd = fd;
    return 0;
}

/* Party 0's sending half comes first in what the session exports. */
static int export_keys(struct party_link *l, struct seal_keys *keys)
{
    struct seal_direction *first = l->p->party == 0 ? &keys->send : &keys->receive;
    struct seal_direction *second = l->p->party == 0 ? &keys->receive : &keys->send;
    int rc = tls_export(l->tls, label_keys, "0", 1, first, sizeof(*first));

    return rc < 0 ? rc : tls_export(l->tls, label_keys, "1", 1, second, sizeof(*second));
}

/* A link over @fd, shaped if the configuration says so. @fd is gone when it fails. */
static int make_link(struct party_link *l, int fd, const struct seal_keys *keys, struct err *err)
{
    const struct config *config = l->p->config;
    const struct link_options options = {.timeout_ms = config->timeout_ms,
                                         .busy_poll_us_max = LINK_BUSY_POLL_US};
    int rc = link_uring_new(fd, keys, &options, &l->link, err);

    if (rc < 0)
        close(fd);
    else if (shape_set(&config->shape))
        rc = link_shape_new(l->link, &options, &config->shape, &l->link, err);
    return rc;
}

static int open_link(struct party_link *l, struct err *err)
{
    struct seal_keys *keys = seal_keys_new();
    uint8_t token[TOKEN_BYTES];
    int fd = -1, rc = keys ? export_keys(l, keys) : -ENOMEM;

    if (rc == 0)
        rc = tls_export(l->tls, label_token, NULL, 0, token, sizeof(token));
    if (rc < 0)
        err_set(err, rc, "no keys for the share link");
    if (rc == 0)
        rc = l->p->party == 0 ? connect_link(l->p, token, &fd, err)
                              : accept_link(l->p, token, &fd, err);
    if (rc == 0)
        rc = make_link(l, fd, keys, err);
    seal_keys_free(keys);
    secret_wipe(token, sizeof(token));
    return rc;
}

/* --- what both must have alike --- */

#define LINE_BYTES (sizeof(uint64_t) + sizeof(uint32_t))

static int send_line(struct party_link *l, struct err *err)
{
    const struct link_line *line = &l->p->config->shape;
    struct writer w = {0};

    write_u64(&w, line->bits_per_s);
    write_u32(&w, line->delay_us);
    return message_send(l->tls, MESSAGE_LINE, &w, l->timeout_ms, err);
}

static int receive_line(struct party_link *l, struct link_line *ret, struct err *err)
{
    uint8_t bytes[LINE_BYTES], type;
    struct reader r;
    size_t count;
    int rc = tls_receive(l->tls, &type, bytes, sizeof(bytes), &count, l->timeout_ms, err);

    if (rc < 0)
        return rc;
    reader_init(&r, bytes, count);
    ret->bits_per_s = read_u64(&r);
    ret->delay_us = read_u32(&r);
    return type == MESSAGE_LINE && reader_done(&r)
               ? 0
               : err_set(err, -EPROTO, "message %u where the link's line was due", type);
}

/* Both say theirs before either judges, so that both know. */
static int compare_line(struct party_link *l, struct err *err)
{
    const struct link_line *mine = &l->p->config->shape;
    struct link_line theirs = {0};
    char here[SHAPE_TEXT_SIZE], there[SHAPE_TEXT_SIZE];
    int rc = send_line(l, err);

    if (rc == 0)
        rc = receive_line(l, &theirs, err);
    if (rc < 0 || (mine->bits_per_s == theirs.bits_per_s && mine->delay_us == theirs.delay_us))
        return rc;
    shape_format(mine, here);
    shape_format(&theirs, there);
    return err_set(err, -EPROTO,
                   "`shape` is %s here and %s at the other party: write the same line in both "
                   "configurations, or none",
                   here, there);
}

/* --- what both hold --- */

static int send_held(struct party_link *l, struct err *err)
{
    struct party_state *p = l->p;
    struct writer w = {0};
    uint32_t count = 0;

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->stock_count; i++)
        count += p->stock[i].ready;
    write_u32(&w, count);
    for (size_t i = 0; i < p->stock_count; i++)
        if (p->stock[i].ready) {
            write_bytes(&w, p->stock[i].served->plan->model_id, PLAN_ID_BYTES);
            write_u64(&w, p->stock[i].tape->number);
        }
    pthread_mutex_unlock(&p->lock);
    return message_send(l->tls, MESSAGE_HELD, &w, l->timeout_ms, err);
}

#define HELD_BYTES (PLAN_ID_BYTES + sizeof(uint64_t))

static bool names(const uint8_t *list, size_t count, const struct held *h)
{
    for (size_t i = 0; i < count; i++, list += HELD_BYTES)
        if (!memcmp(list, h->served->plan->model_id, PLAN_ID_BYTES) &&
            load_le64(list + PLAN_ID_BYTES) == h->tape->number)
            return true;
    return false;
}

static int receive_held(struct party_link *l, struct err *err)
{
    struct party_state *p = l->p;
    uint8_t type, *bytes;
    const uint8_t *list;
    struct reader r;
    size_t count;
    uint32_t held;
    int rc = tls_receive_alloc(l->tls, &type, 4 + MESSAGE_HELD_MAX * HELD_BYTES, &bytes, &count,
                               l->timeout_ms, err);

    if (rc < 0)
        return rc;
    reader_init(&r, bytes, count);
    held = read_u32(&r);
    list = read_bytes(&r, (size_t)held * HELD_BYTES);
    if (type != MESSAGE_HELD || !reader_done(&r)) {
        rc = err_set(err, -EPROTO, "message %u where the tapes held were due", type);
    } else {
        pthread_mutex_lock(&p->lock);
        for (size_t i = p->stock_count; i-- > 0;)
            if (p->stock[i].ready && !names(list, held, &p->stock[i]))
                stock_destroy(p, &p->stock[i]);
        party_changed(p);
        pthread_mutex_unlock(&p->lock);
    }
    secret_free(bytes, count);
    return rc;
}

static int compare_held(struct party_link *l, struct err *err)
{
    int rc = l->p->party == 0 ? send_held(l, err) : receive_held(l, err);

    if (rc < 0)
        return rc;
    return l->p->party == 0 ? receive_held(l, err) : send_held(l, err);
}

int party_link_open(struct party_state *p, struct tls_session *tls, struct party_link *ret,
                    struct err *err)
{
    int rc;

    *ret = (struct party_link){.p = p, .tls = tls, .timeout_ms = (int)p->config->timeout_ms};
    rc = compare_line(ret, err);
    if (rc == 0)
        rc = open_link(ret, err);
    if (rc == 0)
        rc = compare_held(ret, err);
    if (rc < 0) {
        party_link_close(ret);
        return rc;
    }
    link_exchange_init(&ret->exchange, ret->link);
    return 0;
}

void party_link_close(struct party_link *l)
{
    link_free(l->link);
    tls_shutdown(l->tls);
    tls_free(l->tls);
    l->link = NULL;
    l->tls = NULL;
}
