/*
 * Sealing: AES-256-GCM in place, one key a direction. A link's two directions never share a key, a
 * key serves one link, and within a direction the nonce is the IV base with the record's 64-bit
 * sequence XORed into its last eight bytes, big-endian (as in TLS 1.3, RFC 8446 section 5.3). A
 * sequence is sealed at most once and ends at SEAL_RECORDS_MAX, so no nonce ever comes back.
 *
 * Two engines do the same arithmetic: libipsec-mb where the CPU has AES-NI, PCLMULQDQ and AVX2, and
 * OpenSSL anywhere. Which one is LOCAL: the bytes are the same.
 *
 * The cipher contexts are made and keyed once, here; sealing and opening allocate nothing.
 */
#ifndef DATAPLANE_SEAL_H
#define DATAPLANE_SEAL_H

#include "base/base.h"

#define SEAL_KEY_BYTES   32
#define SEAL_IV_BYTES    12
#define SEAL_TAG_BYTES   16
#define SEAL_RECORDS_MAX ((uint64_t)1 << 48)

enum seal_engine { SEAL_FASTEST, SEAL_IPSEC_MB, SEAL_OPENSSL };

struct seal_direction {
    uint8_t key[SEAL_KEY_BYTES];
    uint8_t iv[SEAL_IV_BYTES];
};

/** The keys of one end; the peer's are the same with the directions exchanged. */
struct seal_keys {
    struct seal_direction send, receive;
};

/** Zeroed keys in secret memory, for the caller to fill; NULL when there is no memory. */
MUST_CHECK struct seal_keys *seal_keys_new(void);

/** The keys of the other end; NULL when there is no memory. */
MUST_CHECK struct seal_keys *seal_keys_mirror(const struct seal_keys *keys);

/** Wipe and release; NULL is nothing. */
void seal_keys_free(struct seal_keys *keys);

/**
 * Replace @d by the key and IV that follow it: HKDF-Expand (RFC 5869, SHA-256) of both, as TLS 1.3
 * updates its keys. Who has the new ones cannot tell the old ones. -EIO when OpenSSL fails.
 */
MUST_CHECK int seal_advance(struct seal_direction *d);

/** "ipsec-mb" or "openssl"; of SEAL_FASTEST, the one that it stands for on this CPU. */
const char *seal_engine_name(enum seal_engine engine);

/** Whether this CPU can run it. */
bool seal_engine_here(enum seal_engine engine);

struct seal;

/**
 * Contexts for both directions of @keys, which may be freed afterwards. -EINVAL when both
 * directions have the same key: every nonce would be used twice. -ENOTSUP when @engine is not here.
 */
MUST_CHECK int seal_new(const struct seal_keys *keys, enum seal_engine engine, struct seal **ret,
                        struct err *err);

/** Wipe and release; NULL is nothing. */
void seal_free(struct seal *s);

/**
 * Encrypt the @bytes (0 is fine) of @data in place, authenticate them and the @extra_bytes of
 * @extra, and put the tag in @ret_tag. @sequence must be larger than every one sealed before:
 * -EINVAL if not, -EOVERFLOW from SEAL_RECORDS_MAX on; @data is untouched in both cases. -EIO when
 * the cipher fails: @data is then wiped.
 * CT: @bytes and @sequence are public, the contents are not.
 */
MUST_CHECK int seal_apply(struct seal *s, uint64_t sequence, const uint8_t *extra,
                          size_t extra_bytes, uint8_t *data, size_t bytes,
                          uint8_t ret_tag[SEAL_TAG_BYTES]);

/**
 * Undo seal_apply() of the peer: @bytes of @from are decrypted to @ret, which is @from or does not
 * overlap it. -EBADMSG when anything differs, key and sequence included: @ret is then wiped, so
 * that nothing unproven can be read. That @sequence is the one due is the caller's to check.
 * CT: as above; whether the tag holds is public.
 */
MUST_CHECK int seal_open(struct seal *s, uint64_t sequence, const uint8_t *extra,
                         size_t extra_bytes, const uint8_t *from, uint8_t *ret, size_t bytes,
                         const uint8_t tag[SEAL_TAG_BYTES]);

#endif
