/*
 * keeper: the process that has the long-lived keys, beside the daemon, which parses what comes from
 * outside and has none of them.
 *
 * It is forked before the first thread, reads the certificate's private key and the store key
 * itself, and does two things with them for the daemon, over a socket pair: it signs what a side of
 * TLS 1.3 signs in its CertificateVerify (RFC 8446, 4.4.3) and nothing else, and derives the key of
 * one sealed file from the store key (sealed.h). Whoever takes the daemon over can have both done
 * as long as that lasts, and takes neither key away.
 *
 * Either process ends with the other one: the keeper when the daemon's end of the socket is closed,
 * the daemon when keeper_fd() says so (daemon_wait()). Neither can be dumped or traced.
 */
#ifndef APPLIANCE_KEEPER_H
#define APPLIANCE_KEEPER_H

#include "base/base.h"
#include "base/sealed.h"

struct evp_pkey_st;

/** Private keys at once: of sessions that are being opened while certificates are renewed. */
#define KEEPER_KEYS_MAX 8

struct keeper;

/** Fork. Before any thread, with signals blocked as they are to be in the keeper. */
MUST_CHECK int keeper_start(struct keeper **ret_keeper, struct err *err);

/** End it, and wait for its end; keys that it gave must be freed before. NULL is nothing. */
void keeper_stop(struct keeper *keeper);

/** For poll(), without events: POLLHUP says that the keeper is gone. */
int keeper_fd(const struct keeper *keeper);

/** How a keeper that is gone ended, such as "killed by signal 9". */
#define KEEPER_END_SIZE 64
void keeper_end(struct keeper *keeper, char ret_text[KEEPER_END_SIZE]);

/**
 * Have it read the Ed25519 key at @path. *ret_key, OpenSSL's EVP_PKEY, has the public half and
 * signs through the keeper, which forgets the private half when the last reference goes. Errors are
 * those of pem_read_key(); -EINVAL for another kind of key; -EBUSY when it has KEEPER_KEYS_MAX;
 * -EPIPE when it is gone. Any thread.
 */
MUST_CHECK int keeper_load(struct keeper *keeper, const char *path, struct evp_pkey_st **ret_key,
                           struct err *err);

/** Have it read the store key at @path, once: then -EEXIST. Errors of sealed_key_load(); *ret_key
 *  asks the keeper, from any thread, and must be freed before it is stopped. */
MUST_CHECK int keeper_load_store(struct keeper *keeper, const char *path,
                                 struct sealed_key **ret_key, struct err *err);

#endif
