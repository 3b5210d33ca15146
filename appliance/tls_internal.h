/*
 * Inside tls, for its own files only: tls_context.c (what a process brings), tls_peer.c (whom to
 * believe), tls_socket.c (how bytes leave), tls.c (handshake and messages).
 */
#ifndef APPLIANCE_TLS_INTERNAL_H
#define APPLIANCE_TLS_INTERNAL_H

#include "appliance/net.h"
#include "appliance/tls.h"

#include <openssl/ssl.h>

struct tls_context {
    SSL_CTX *ssl;
    struct identity identity;
};

struct tls_session {
    SSL *ssl;
    int fd;
    bool dead;
    struct identity self, peer; /* @peer has no name until it is believed */
    char at[NET_TEXT_SIZE];     /* the peer's address, for messages */

    /* During the handshake only: */
    const struct tls_pins *pins;
    unsigned int expect; /* a set of roles */
    struct err refusal;  /* why this side does not believe the peer */
};

/** Room for the text below. */
#define TLS_ADVICE_SIZE 192

/** The line that must stand in @self's configuration so that it believes @peer. */
void tls_peer_advice(const struct identity *self, const struct identity *peer,
                     char ret_text[TLS_ADVICE_SIZE]);

/** libssl's callback for each certificate of the peer's chain; fills the session's @refusal. */
int tls_peer_verify(int believed, X509_STORE_CTX *chain);

/** A BIO over the socket @fd, which stays the caller's, that never raises SIGPIPE. NULL: no memory.
 */
BIO *tls_socket_new(int fd);

#endif
