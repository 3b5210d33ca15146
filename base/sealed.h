/*
 * sealed: secrets in files, under a key that is kept elsewhere.
 *
 * A *store key* is 32 random bytes in a file of its own. Every file is sealed with AES-256-GCM
 * under a key of its own, HKDF (RFC 5869, SHA-256) of the store key and of 32 fresh random bytes,
 * the salt, which stand at its beginning. A file's key seals once, so no nonce can come twice,
 * whatever crashes and whichever backup comes back; and it is lost with the salt, the file's first
 * bytes: what a removed file leaves on a disk elsewhere cannot be opened without them.
 *
 *     "MPCFSEAL"   u32 version 1   32 bytes salt   16 bytes proof   the bytes   16 bytes tag
 *
 * The proof is the rest of what HKDF gave: it tells another store key from damage. All before the
 * bytes is authenticated with them. Where the store key is NULL a file is written and read as it
 * is.
 */
#ifndef BASE_SEALED_H
#define BASE_SEALED_H

#include "base/base.h"
#include "base/file.h"

#define SEALED_KEY_BYTES      32
#define SEALED_SALT_BYTES     32
#define SEALED_FILE_KEY_BYTES (SEALED_KEY_BYTES + 16) /* what HKDF gives: a key, and the proof */
#define SEALED_EXTRA_BYTES    ((size_t)8 + 4 + 32 + 16 + 16) /* of a file, besides what it holds */

struct sealed_key;

/** A new store key in a new file, 0600. -EEXIST when there is one. */
MUST_CHECK int sealed_key_make(const char *path, struct err *err);

/** Read one. -EPERM when others than owner and group may read it; -EINVAL when it is none. */
MUST_CHECK int sealed_key_load(const char *path, struct sealed_key **ret_key, struct err *err);

/** How the files' keys are had of a store key that another process keeps: 0 or a negative errno. */
typedef int sealed_derive(void *context, const uint8_t salt[SEALED_SALT_BYTES],
                          uint8_t ret_file_key[SEALED_FILE_KEY_BYTES]);

/** A store key that is not in this process: @derive is asked for each file. */
MUST_CHECK int sealed_key_elsewhere(sealed_derive *derive, void *context,
                                    struct sealed_key **ret_key);

/**
 * The key of the file that begins with @salt, which the caller wipes. -EIO when OpenSSL fails, or
 * what the other process says. CT: all but the salt is secret.
 */
MUST_CHECK int sealed_key_derive(const struct sealed_key *key,
                                 const uint8_t salt[SEALED_SALT_BYTES],
                                 uint8_t ret_file_key[SEALED_FILE_KEY_BYTES]);

/** Wipe and release; NULL is nothing. */
void sealed_key_free(struct sealed_key *key);

/** Write @path as file_write_parts() does, 0600. -EIO when OpenSSL fails. */
MUST_CHECK int sealed_write(const char *path, const struct sealed_key *key,
                            const struct file_part parts[], size_t count, struct err *err);

/**
 * What sealed_write() wrote, at most @bytes_max bytes of it; the caller gives *ret_bytes to
 * secret_free(). -EFBIG; -EBADMSG, damaged or cut off; -EPERM: sealed, and @key is NULL or another;
 * -EINVAL: not sealed, and @key is not NULL.
 * CT: sizes and whether it opens are public, the contents are not.
 */
MUST_CHECK int sealed_read(const char *path, const struct sealed_key *key, size_t bytes_max,
                           uint8_t **ret_bytes, size_t *ret_count, struct err *err);

/**
 * Seal @path, if it is a file that begins with the 8 bytes of @magic as it lies there: from before
 * there was a store key. 1 when it was sealed now, 0 when there was nothing to do.
 */
MUST_CHECK int sealed_adopt(const char *path, const struct sealed_key *key, const char magic[8],
                            struct err *err);

#endif
