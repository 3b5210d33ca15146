/*
 * What an engine of seal.h does, for their own files only. An engine knows keys, nonces and bytes;
 * which nonce is due, and what becomes of bytes that do not open, is seal.c's.
 */
#ifndef DATAPLANE_SEAL_ENGINE_H
#define DATAPLANE_SEAL_ENGINE_H

#include "dataplane/seal.h"

/* A context serves one direction, and one thread at a time. */
struct seal_cipher {
    const char *name;
    bool (*here)(void);
    void *(*context_new)(const uint8_t key[SEAL_KEY_BYTES], bool encrypt); /* NULL: failed */
    void (*context_free)(void *context);                                   /* NULL is nothing */
    bool (*encrypt)(void *context, const uint8_t nonce[SEAL_IV_BYTES], const uint8_t *extra,
                    size_t extra_bytes, uint8_t *data, size_t bytes,
                    uint8_t ret_tag[SEAL_TAG_BYTES]);
    /* Whether @tag holds; @from is decrypted to @ret either way. */
    bool (*decrypt)(void *context, const uint8_t nonce[SEAL_IV_BYTES], const uint8_t *extra,
                    size_t extra_bytes, const uint8_t *from, uint8_t *ret, size_t bytes,
                    const uint8_t tag[SEAL_TAG_BYTES]);
};

extern const struct seal_cipher seal_openssl, seal_ipsec_mb;

#endif
