/* SHA-256, through libcrypto. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/base.h"

#define HASH_BYTES 32

struct hash;

/** Digest of one byte string. Ends the process when libcrypto has no SHA-256. */
void hash_bytes(const void *bytes, size_t count, uint8_t ret[HASH_BYTES]);

/** The same in pieces: NULL when there is no memory. */
MUST_CHECK struct hash *hash_new(void);
void hash_add(struct hash *h, const void *bytes, size_t count);

/** The digest; @h is freed. */
void hash_end(struct hash *h, uint8_t ret[HASH_BYTES]);

/** Give up a hash without its digest; NULL is nothing. */
void hash_free(struct hash *h);

#endif
