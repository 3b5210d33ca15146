/*
 * Inside keeper, for its own files only: keeper.c (the daemon's side), keeper_key.c (its key as
 * OpenSSL sees it), keeper_process.c (the keeper).
 *
 * A request and its reply are one packet each, of a SOCK_SEQPACKET pair, as the structures below up
 * to the @count bytes that are there. Both ends are one program, so the machine's byte order is
 * the protocol's.
 *
 *     what            key      bytes                       reply: key, bytes
 *     KEEPER_LOAD     0        a path                      number, 32 bytes: the public key
 *     KEEPER_FORGET   number   none                        0, none
 *     KEEPER_SIGN     number   a CertificateVerify         0, 64 bytes: the signature
 *     KEEPER_STORE    0        a path                      0, none
 *     KEEPER_DERIVE   0        32 bytes: a file's salt     0, 48 bytes: its key and proof
 *
 * A reply with a negative errno has the reason as text. -EPROTO: no such request; -EPERM: it is not
 * for signing. The keeper goes on after either.
 */
#ifndef APPLIANCE_KEEPER_INTERNAL_H
#define APPLIANCE_KEEPER_INTERNAL_H

#include "appliance/keeper.h"

#include <limits.h>
#include <sys/types.h>

#define KEEPER_PUBLIC_BYTES    32
#define KEEPER_SIGNATURE_BYTES 64

enum keeper_what { KEEPER_LOAD = 1, KEEPER_FORGET, KEEPER_SIGN, KEEPER_STORE, KEEPER_DERIVE };

struct keeper_request {
    uint32_t what, key, count;
    uint8_t bytes[PATH_MAX];
};

struct keeper_reply {
    int32_t rc;
    uint32_t key, count;
    uint8_t bytes[ERR_TEXT_MAX];
};

/** All but the bytes that are not there. */
#define KEEPER_REQUEST_BYTES(count) (offsetof(struct keeper_request, bytes) + (count))
#define KEEPER_REPLY_BYTES(count)   (offsetof(struct keeper_reply, bytes) + (count))

/**
 * 64 spaces, "TLS 1.3, server CertificateVerify" or client, NUL, SHA-256 or SHA-384 of what was
 * said: whether @bytes are that.
 */
bool keeper_may_sign(const uint8_t *bytes, size_t count);

/** For tests that kill it. */
pid_t keeper_pid(const struct keeper *keeper);

/** Answer what comes on @fd until its other end is closed: the keeper's life. */
_Noreturn void keeper_process(int fd);

/** Ask, and wait: @count bytes, and exactly @ret_count to come. Any thread. */
MUST_CHECK int keeper_ask(struct keeper *keeper, enum keeper_what what, uint32_t key,
                          const void *bytes, size_t count, uint32_t *ret_key, void *ret,
                          size_t ret_count, struct err *err);

/** The EVP_PKEY of the keeper's key @number; -EIO. Freeing it makes the keeper forget. */
MUST_CHECK int keeper_key_new(struct keeper *keeper, uint32_t number,
                              const uint8_t public_key[KEEPER_PUBLIC_BYTES],
                              struct evp_pkey_st **ret_key, struct err *err);

#endif
