/*
 * Sessions: mutually authenticated TLS 1.3 over a TCP socket, and messages over it.
 *
 * Nothing older than TLS 1.3, no tickets, no resumption, no early data, no compression. A peer is
 * believed when its certificate chains to the one configured authority, is within its dates,
 * carries a role and a name (identity.h), AND its key is pinned for that role. All of that is
 * decided inside the handshake, so a peer that is turned away is told by an alert and never sees a
 * message. Before they return, tls_connect() and tls_accept() exchange a greeting with the protocol
 * version; therefore the side that connects learns here, not later, that it was refused.
 *
 * A message is u32 payload length (little endian), u8 type, payload. The receiver states the
 * longest payload that it is prepared for; anything longer is refused before memory is taken.
 *
 * Every call has one deadline for all it does: a peer that trickles bytes does not extend it. Any
 * error but -ETIMEDOUT between two messages leaves the session dead: later calls return -ENOTCONN.
 * A session is used by one thread at a time and is half-duplex: when both sides send more than the
 * sockets buffer and neither receives, both time out. Data in flight never raises SIGPIPE.
 */
#ifndef APPLIANCE_TLS_H
#define APPLIANCE_TLS_H

#include "appliance/identity.h"
#include "base/base.h"

/** Longest payload of a message; more goes as several. */
#define TLS_MESSAGE_MAX (64u << 20)

/** Both ends of a session must have the same. */
#define TLS_PROTOCOL_VERSION 7

/** Keys that one process pins. */
#define TLS_PINS_MAX 256

/** A key that is believed in one role; with a name, only in a certificate of that name. */
struct tls_pin {
    enum role role;
    char name[IDENTITY_NAME_SIZE]; /* "": any */
    uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES];
};

struct tls_pins {
    struct tls_pin *pin;
    size_t count;
};

/** Add "HEX" or "NAME=HEX" for @role. -EEXIST when that key is pinned already, in any role. */
MUST_CHECK int tls_pins_add(struct tls_pins *pins, enum role role, const char *text,
                            struct err *err);
void tls_pins_free(struct tls_pins *pins);

/** Whether @peer's key is pinned in its role and under its name. */
bool tls_pins_believe(const struct tls_pins *pins, const struct identity *peer);

/*
 * What a process brings to every session: its certificate, its key, its authority. Threads may
 * share it; sessions may outlive it.
 */
struct tls_context;

struct evp_pkey_st;

/** Who reads the key at @path, where this process does not: *ret_key, OpenSSL's EVP_PKEY, signs. */
typedef int tls_key_reader(void *context, const char *path, struct evp_pkey_st **ret_key,
                           struct err *err);

/**
 * Load three PEM files, the key's through @read if it is not NULL. Refuses a key that others may
 * read or that is not the certificate's, and a certificate that the authority did not sign or that
 * is out of its dates.
 */
MUST_CHECK int tls_context_new(const char *certificate_path, const char *key_path,
                               const char *authority_path, tls_key_reader *read, void *reader,
                               struct tls_context **ret_context, struct err *err);
void tls_context_free(struct tls_context *context);

/** Who this process is, by its own certificate. */
const struct identity *tls_context_identity(const struct tls_context *context);

struct tls_session;

/**
 * Open a session as the side that connected, to a peer that must be @expect and pinned.
 * Takes @fd: on failure it is closed, after success tls_free() closes it. @pins is not kept.
 * -ETIMEDOUT; -EACCES when either side does not believe the other (@err says which, and what to
 * add); -EPROTO when the peer speaks something else.
 */
MUST_CHECK int tls_connect(struct tls_context *context, int fd, enum role expect,
                           const struct tls_pins *pins, int timeout_ms,
                           struct tls_session **ret_session, struct err *err);

/** The same as the side that accepted, for any peer that is pinned; ask tls_peer() who came. */
MUST_CHECK int tls_accept(struct tls_context *context, int fd, const struct tls_pins *pins,
                          int timeout_ms, struct tls_session **ret_session, struct err *err);

/** Role, name, fingerprint of the other side, all verified. */
const struct identity *tls_peer(const struct tls_session *session);

/**
 * Send one message; @bytes may be NULL when @count is 0. Returns when all of it is handed to the
 * kernel. -EMSGSIZE above TLS_MESSAGE_MAX (nothing was sent, the session lives).
 * CT: @type, @count and the timing are public; the payload is sealed as it is.
 */
MUST_CHECK int tls_send(struct tls_session *session, uint8_t type, const void *bytes, size_t count,
                        int timeout_ms, struct err *err);

/**
 * Receive one message of at most @size bytes into @buffer. The outputs are untouched on failure
 * (the buffer may not be). -ETIMEDOUT: nothing had come, call again; or a message had begun, then
 * the session is dead (-EIO). -EPIPE: the peer ended the session between two messages. -ECONNRESET:
 * it vanished. -EMSGSIZE: the message is longer than @size; the session is dead. CT: as tls_send().
 */
MUST_CHECK int tls_receive(struct tls_session *session, uint8_t *ret_type, void *buffer,
                           size_t size, size_t *ret_count, int timeout_ms, struct err *err);

/** The same into fresh memory of secret_alloc(): the caller frees it, secret_free(bytes, count). */
MUST_CHECK int tls_receive_alloc(struct tls_session *session, uint8_t *ret_type, size_t count_max,
                                 uint8_t **ret_bytes, size_t *ret_count, int timeout_ms,
                                 struct err *err);

/**
 * 0 when something is there to receive (or the peer has gone, which tls_receive() then tells);
 * -ETIMEDOUT. Part of a message is enough.
 */
MUST_CHECK int tls_poll(const struct tls_session *session, int timeout_ms);

/** The socket, for poll() over several sessions: trust it only after tls_poll(session, 0). */
int tls_fd(const struct tls_session *session);

/**
 * @count bytes of keying material bound to this session (RFC 8446, 7.5): the same on both sides
 * under the same @label and @context, which may be NULL when @context_count is 0.
 * CT: secret; the caller wipes it.
 */
MUST_CHECK int tls_export(struct tls_session *session, const char *label, const void *context,
                          size_t context_count, void *ret, size_t count);

/** Tell the peer that no more is sent, if the session still lives. Never blocks; NULL is nothing.
 */
void tls_shutdown(struct tls_session *session);

/** Close the socket and wipe the keys; NULL is nothing. */
void tls_free(struct tls_session *session);

#endif
