#include "appliance/tls.h"

#include "appliance/tls_internal.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_BYTES 5

/* The plaintext of one TLS record: a message that fits goes out as one. */
#define RECORD_BYTES 16384

/* "mpcf" and the version, as the payload of the first message each way. */
#define GREETING_TYPE  0xff
#define GREETING_MAGIC 0x6663706du
#define GREETING_BYTES 8

/* What is read, at most, of a peer that was turned away, so that its alert is not lost to a reset.
 */
#define DRAIN_BYTES_MAX (64u << 10)

/* One step of libssl's, and waiting for the next */

/* The peer's alert, when that is what ended the session; 0 otherwise. */
static int alert_of(unsigned long code)
{
    int reason = ERR_GET_REASON(code);

    return ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET
               ? reason - SSL_AD_REASON_OFFSET
               : 0;
}

static bool alert_refuses(int alert)
{
    return alert == SSL_AD_HANDSHAKE_FAILURE || alert == SSL_AD_CERTIFICATE_REQUIRED ||
           (alert >= SSL_AD_BAD_CERTIFICATE && alert <= SSL_AD_CERTIFICATE_UNKNOWN) ||
           alert == SSL_AD_UNKNOWN_CA || alert == SSL_AD_ACCESS_DENIED;
}

static int told_off(struct tls_session *s, unsigned long code, struct err *err)
{
    char advice[TLS_ADVICE_SIZE];
    int alert = alert_of(code);

    if (!alert_refuses(alert))
        return err_set(err, -EPROTO, "peer at %s ended the session: %s", s->at,
                       ERR_reason_error_string(code));
    tls_peer_advice(&s->peer, &s->self, advice);
    return err_set(
        err, -EACCES,
        "peer at %s does not believe this side's certificate (%s): it must know the same "
        "authority and have `%s`; its log says more",
        s->at, SSL_alert_desc_string_long(alert), advice);
}

static int broken(struct tls_session *s, int error, struct err *err)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code);

    if (s->refusal.text[0])
        return err_set(err, -EACCES, "%s", s->refusal.text);
    if (error == SSL_ERROR_ZERO_RETURN)
        return err_set(err, -EPIPE, "peer at %s ended the session", s->at);
    if (error == SSL_ERROR_SYSCALL)
        return err_set(err, -ECONNRESET, "peer at %s: connection lost: %s", s->at,
                       errno ? strerror(errno) : "closed");
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return err_set(err, -ECONNRESET, "peer at %s: connection lost: closed", s->at);
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return err_set(err, -EACCES, "peer at %s shows no certificate", s->at);
    if (alert_of(code))
        return told_off(s, code, err);
    return err_set(err, -EPROTO, "peer at %s does not speak TLS 1.3 as it should: %s", s->at,
                   code ? ERR_reason_error_string(code) : "protocol error");
}

/*
 * After a libssl call on @s returned @result <= 0: 0 when it is to be tried again, or why not. The
 * deadline is looked at even when bytes are there, so that a trickle of them does not extend it.
 */
static int step(struct tls_session *s, int result, uint64_t deadline, struct err *err)
{
    int error = SSL_get_error(s->ssl, result), rc = 0;

    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        s->dead = true;
        rc = broken(s, error, err);
        ERR_clear_error();
        return rc;
    }
    if (time_ns() >= deadline)
        rc = -ETIMEDOUT;
    else if (error == SSL_ERROR_WANT_WRITE)
        rc = net_wait(s->fd, POLLOUT, deadline);
    else if (!SSL_has_pending(s->ssl))
        rc = net_wait(s->fd, POLLIN, deadline);
    if (rc < 0)
        err_set(err, rc, "peer at %s: %s", s->at,
                rc == -ETIMEDOUT ? "no answer in time" : strerror(-rc));
    return rc;
}

/* Send all of it; any failure is the session's end, since half a message may be out. */
static int write_all(struct tls_session *s, const uint8_t *bytes, size_t count, uint64_t deadline,
                     struct err *err)
{
    int rc = 0;

    while (count && rc == 0) {
        size_t n = 0;
        int result;

        ERR_clear_error();
        errno = 0;
        result = SSL_write_ex(s->ssl, bytes, count, &n);
        if (result <= 0) {
            rc = step(s, result, deadline, err);
            continue;
        }
        bytes += n;
        count -= n;
        if (count && time_ns() >= deadline)
            rc = err_set(err, -ETIMEDOUT, "peer at %s: does not take a message in time", s->at);
    }
    if (rc < 0)
        s->dead = true;
    return rc;
}

/* Receive exactly @count bytes; *ret_done says how many came when it fails. */
static int read_all(struct tls_session *s, uint8_t *bytes, size_t count, uint64_t deadline,
                    size_t *ret_done, struct err *err)
{
    size_t done = 0;
    int rc = 0;

    while (done < count && rc == 0) {
        size_t n = 0;
        int result;

        ERR_clear_error();
        errno = 0;
        result = SSL_read_ex(s->ssl, bytes + done, count - done, &n);
        if (result <= 0) {
            rc = step(s, result, deadline, err);
            continue;
        }
        done += n;
        if (done < count && time_ns() >= deadline)
            rc = err_set(err, -ETIMEDOUT, "peer at %s: sends too slowly", s->at);
    }
    *ret_done = done;
    return rc;
}

/* Messages */

int tls_send(struct tls_session *s, uint8_t type, const void *bytes, size_t count, int timeout_ms,
             struct err *err)
{
    uint64_t deadline = net_deadline(timeout_ms);
    uint8_t first[RECORD_BYTES];
    size_t fits = MIN(count, sizeof(first) - HEADER_BYTES);
    int rc;

    if (s->dead)
        return err_set(err, -ENOTCONN, "the session with %s has ended", s->at);
    if (count > TLS_MESSAGE_MAX)
        return err_set(err, -EMSGSIZE, "a message of %zu bytes: at most %u are sent", count,
                       TLS_MESSAGE_MAX);
    store_le32(first, (uint32_t)count);
    first[4] = type;
    if (fits)
        memcpy(first + HEADER_BYTES, bytes, fits);
    rc = write_all(s, first, HEADER_BYTES + fits, deadline, err);
    if (rc == 0 && fits < count)
        rc = write_all(s, (const uint8_t *)bytes + fits, count - fits, deadline, err);
    secret_wipe(first, HEADER_BYTES + fits);
    return rc;
}

/* The header of the next message. Before its first byte the session survives a timeout. */
static int receive_header(struct tls_session *s, uint8_t *ret_type, size_t count_max,
                          size_t *ret_count, uint64_t deadline, struct err *err)
{
    uint8_t header[HEADER_BYTES];
    size_t done, count;
    int rc;

    if (s->dead)
        return err_set(err, -ENOTCONN, "the session with %s has ended", s->at);
    rc = read_all(s, header, sizeof(header), deadline, &done, err);
    if (rc == -ETIMEDOUT && done == 0)
        return rc;
    if (rc < 0) {
        s->dead = true;
        return done == 0 ? rc : rc == -EPIPE ? -ECONNRESET : rc == -ETIMEDOUT ? -EIO : rc;
    }
    count = load_le32(header);
    if (count > count_max) {
        s->dead = true;
        return err_set(err, -EMSGSIZE,
                       "peer at %s: announces a message of %zu bytes where at most %zu are taken",
                       s->at, count, count_max);
    }
    *ret_type = header[4];
    *ret_count = count;
    return 0;
}

static int receive_payload(struct tls_session *s, uint8_t *bytes, size_t count, uint64_t deadline,
                           struct err *err)
{
    size_t done;
    int rc = read_all(s, bytes, count, deadline, &done, err);

    if (rc < 0)
        s->dead = true;
    return rc == -EPIPE ? -ECONNRESET : rc == -ETIMEDOUT ? -EIO : rc;
}

int tls_receive(struct tls_session *s, uint8_t *ret_type, void *buffer, size_t size,
                size_t *ret_count, int timeout_ms, struct err *err)
{
    uint64_t deadline = net_deadline(timeout_ms);
    size_t count = 0;
    uint8_t type = 0;
    int rc;

    rc = receive_header(s, &type, size, &count, deadline, err);
    if (rc < 0)
        return rc;
    rc = receive_payload(s, buffer, count, deadline, err);
    if (rc < 0)
        return rc;
    *ret_type = type;
    *ret_count = count;
    return 0;
}

int tls_receive_alloc(struct tls_session *s, uint8_t *ret_type, size_t count_max,
                      uint8_t **ret_bytes, size_t *ret_count, int timeout_ms, struct err *err)
{
    uint64_t deadline = net_deadline(timeout_ms);
    uint8_t type = 0, *bytes;
    size_t count = 0;
    int rc;

    rc = receive_header(s, &type, MIN(count_max, TLS_MESSAGE_MAX), &count, deadline, err);
    if (rc < 0)
        return rc;
    bytes = secret_alloc(count);
    if (!bytes) {
        s->dead = true;
        return err_set(err, -ENOMEM, "no memory for a message of %zu bytes", count);
    }
    rc = receive_payload(s, bytes, count, deadline, err);
    if (rc < 0) {
        secret_free(bytes, count);
        return rc;
    }
    *ret_type = type;
    *ret_bytes = bytes;
    *ret_count = count;
    return 0;
}

int tls_poll(const struct tls_session *s, int timeout_ms)
{
    if (s->dead || SSL_has_pending(s->ssl))
        return 0;
    return net_wait(s->fd, POLLIN, net_deadline(timeout_ms));
}

int tls_fd(const struct tls_session *s)
{
    return s->fd;
}

const struct identity *tls_peer(const struct tls_session *s)
{
    return &s->peer;
}

int tls_export(struct tls_session *s, const char *label, const void *context, size_t context_count,
               void *ret, size_t count)
{
    if (SSL_export_keying_material(s->ssl, ret, count, label, strlen(label), context, context_count,
                                   1) == 1)
        return 0;
    ERR_clear_error();
    return -EIO;
}

/* Beginning and end */

static int handshake(struct tls_session *s, uint64_t deadline, struct err *err)
{
    int rc = 0, result;

    for (;;) {
        ERR_clear_error();
        errno = 0;
        result = SSL_do_handshake(s->ssl);
        if (result == 1)
            return 0;
        rc = step(s, result, deadline, err);
        if (rc < 0)
            return rc;
    }
}

static int send_greeting(struct tls_session *s, int timeout_ms, struct err *err)
{
    uint8_t greeting[GREETING_BYTES];

    store_le32(greeting, GREETING_MAGIC);
    store_le32(greeting + 4, TLS_PROTOCOL_VERSION);
    return tls_send(s, GREETING_TYPE, greeting, sizeof(greeting), timeout_ms, err);
}

static int receive_greeting(struct tls_session *s, int timeout_ms, struct err *err)
{
    uint8_t greeting[GREETING_BYTES], type;
    size_t count;
    int rc;

    rc = tls_receive(s, &type, greeting, sizeof(greeting), &count, timeout_ms, err);
    if (rc < 0)
        return rc;
    if (type != GREETING_TYPE || count != sizeof(greeting) || load_le32(greeting) != GREETING_MAGIC)
        return err_set(err, -EPROTO, "peer at %s is no mpcformer program: is the address right?",
                       s->at);
    if (load_le32(greeting + 4) != TLS_PROTOCOL_VERSION)
        return err_set(
            err, -EPROTO,
            "peer at %s speaks version %u of the sessions, this side version %u: install "
            "the same release on both",
            s->at, load_le32(greeting + 4), TLS_PROTOCOL_VERSION);
    return 0;
}

/* What is left for the greetings; 0 is then a timeout. */
static int left_ms(uint64_t deadline)
{
    uint64_t now = time_ns();

    if (deadline == UINT64_MAX)
        return NET_FOREVER;
    return now < deadline ? (int)((deadline - now) / 1000000u) : 0;
}

/* The side that accepted speaks first: what the other reads is its welcome or the alert. */
static int greet(struct tls_session *s, bool accepted, uint64_t deadline, struct err *err)
{
    int rc, sent;

    if (accepted) {
        rc = send_greeting(s, left_ms(deadline), err);
        return rc < 0 ? rc : receive_greeting(s, left_ms(deadline), err);
    }
    rc = receive_greeting(s, left_ms(deadline), err);
    if (rc < 0 && rc != -EPROTO)
        return rc;
    /* Where the versions differ too, so that both sides can say which they are. */
    sent = send_greeting(s, left_ms(deadline), err);
    return rc < 0 ? rc : sent;
}

static int session_new(struct tls_context *context, int fd, struct tls_session **ret_session)
{
    struct tls_session *s = calloc(1, sizeof(*s));
    BIO *bio = tls_socket_new(fd);

    if (s && bio)
        s->ssl = SSL_new(context->ssl);
    if (!s || !s->ssl) {
        BIO_free(bio);
        free(s);
        close(fd);
        ERR_clear_error();
        return -ENOMEM;
    }
    s->fd = fd;
    net_peer(fd, s->at);
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_app_data(s->ssl, s);
    SSL_set_verify(s->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_peer_verify);
    *ret_session = s;
    return 0;
}

/* Closing over unread bytes resets the connection, and the peer may lose the alert in its way. */
static void drain(int fd)
{
    char bytes[4096];
    size_t left = DRAIN_BYTES_MAX;

    shutdown(fd, SHUT_WR);
    while (left && recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        left -= sizeof(bytes);
}

static int begin(struct tls_context *context, int fd, bool accepted, unsigned int expect,
                 const struct tls_pins *pins, int timeout_ms, struct tls_session **ret_session,
                 struct err *err)
{
    uint64_t deadline = net_deadline(timeout_ms);
    struct tls_session *s = NULL;
    int rc;

    rc = session_new(context, fd, &s);
    if (rc < 0)
        return rc;
    s->self = context->identity;
    s->pins = pins;
    s->expect = expect;
    if (accepted)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    rc = handshake(s, deadline, err);
    if (rc == 0)
        rc = greet(s, accepted, deadline, err);
    if (rc < 0) {
        drain(s->fd);
        s->dead = true;
        tls_free(s);
        return rc == -EIO ? -ETIMEDOUT : rc;
    }
    s->pins = NULL;
    *ret_session = s;
    return 0;
}

int tls_connect(struct tls_context *context, int fd, enum role expect, const struct tls_pins *pins,
                int timeout_ms, struct tls_session **ret_session, struct err *err)
{
    return begin(context, fd, false, ROLE_BIT(expect), pins, timeout_ms, ret_session, err);
}

int tls_accept(struct tls_context *context, int fd, const struct tls_pins *pins, int timeout_ms,
               struct tls_session **ret_session, struct err *err)
{
    unsigned int any = ROLE_BIT(ROLE_PARTY0) | ROLE_BIT(ROLE_PARTY1) | ROLE_BIT(ROLE_DEALER) |
                       ROLE_BIT(ROLE_OWNER);

    return begin(context, fd, true, any, pins, timeout_ms, ret_session, err);
}

void tls_shutdown(struct tls_session *s)
{
    if (!s || s->dead)
        return;
    s->dead = true;
    ERR_clear_error();
    (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
}

void tls_free(struct tls_session *s)
{
    if (!s)
        return;
    SSL_free(s->ssl);
    close(s->fd);
    secret_wipe(s, sizeof(*s));
    free(s);
}
