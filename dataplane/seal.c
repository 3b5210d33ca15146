#include "base/secret.h"
#include "dataplane/seal_engine.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

struct seal {
    const struct seal_cipher *cipher;
    void *send, *receive; /* contexts of the cipher */
    uint8_t send_iv[SEAL_IV_BYTES], receive_iv[SEAL_IV_BYTES];
    uint64_t sequence_min; /* the smallest that was not sealed yet */
};

struct seal_keys *seal_keys_new(void)
{
    return secret_alloc(sizeof(struct seal_keys));
}

struct seal_keys *seal_keys_mirror(const struct seal_keys *keys)
{
    struct seal_keys *m = seal_keys_new();

    if (!m)
        return NULL;
    m->send = keys->receive;
    m->receive = keys->send;
    return m;
}

void seal_keys_free(struct seal_keys *keys)
{
    secret_free(keys, sizeof(*keys));
}

int seal_advance(struct seal_direction *d)
{
    static char info[] = "mpcformer link keys, next";
    struct seal_direction next;
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *c = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, d, sizeof(*d)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof(info) - 1),
        OSSL_PARAM_construct_end(),
    };
    bool ok = c && EVP_KDF_derive(c, (uint8_t *)&next, sizeof(next), parameters) == 1;

    EVP_KDF_CTX_free(c);
    EVP_KDF_free(kdf);
    if (ok)
        *d = next;
    secret_wipe(&next, sizeof(next));
    return ok ? 0 : -EIO;
}

static const struct seal_cipher *cipher_of(enum seal_engine engine)
{
    if (engine == SEAL_OPENSSL)
        return &seal_openssl;
    return engine == SEAL_IPSEC_MB || seal_ipsec_mb.here() ? &seal_ipsec_mb : &seal_openssl;
}

const char *seal_engine_name(enum seal_engine engine)
{
    return cipher_of(engine)->name;
}

bool seal_engine_here(enum seal_engine engine)
{
    return cipher_of(engine)->here();
}

int seal_new(const struct seal_keys *keys, enum seal_engine engine, struct seal **ret,
             struct err *err)
{
    const struct seal_cipher *cipher = cipher_of(engine);
    struct seal *s;

    if (secret_equal(keys->send.key, keys->receive.key, SEAL_KEY_BYTES))
        return err_set(err, -EINVAL,
                       "the two directions of a link have the same key: derive one for each");
    if (!cipher->here())
        return err_set(err, -ENOTSUP, "this CPU cannot run the seals of %s: choose openssl",
                       cipher->name);
    s = secret_alloc(sizeof(*s));
    if (!s)
        return err_set(err, -ENOMEM, "no memory for a link's seals");
    s->cipher = cipher;
    s->send = cipher->context_new(keys->send.key, true);
    s->receive = cipher->context_new(keys->receive.key, false);
    if (!s->send || !s->receive) {
        seal_free(s);
        return err_set(err, -EIO, "%s offers no AES-256-GCM: check its installation", cipher->name);
    }
    memcpy(s->send_iv, keys->send.iv, SEAL_IV_BYTES);
    memcpy(s->receive_iv, keys->receive.iv, SEAL_IV_BYTES);
    *ret = s;
    return 0;
}

void seal_free(struct seal *s)
{
    if (!s)
        return;
    s->cipher->context_free(s->send);
    s->cipher->context_free(s->receive);
    secret_free(s, sizeof(*s));
}

static void nonce(const uint8_t iv[SEAL_IV_BYTES], uint64_t sequence, uint8_t ret[SEAL_IV_BYTES])
{
    memcpy(ret, iv, SEAL_IV_BYTES);
    for (unsigned int i = 0; i < 8; i++)
        ret[SEAL_IV_BYTES - 1 - i] ^= (uint8_t)(sequence >> (8 * i));
}

int seal_apply(struct seal *s, uint64_t sequence, const uint8_t *extra, size_t extra_bytes,
               uint8_t *data, size_t bytes, uint8_t ret_tag[SEAL_TAG_BYTES])
{
    uint8_t n[SEAL_IV_BYTES];

    if (sequence < s->sequence_min)
        return -EINVAL;
    if (sequence >= SEAL_RECORDS_MAX)
        return -EOVERFLOW;
    s->sequence_min = sequence + 1;
    nonce(s->send_iv, sequence, n);
    if (s->cipher->encrypt(s->send, n, extra, extra_bytes, data, bytes, ret_tag))
        return 0;
    secret_wipe(data, bytes);
    return -EIO;
}

int seal_open(struct seal *s, uint64_t sequence, const uint8_t *extra, size_t extra_bytes,
              const uint8_t *from, uint8_t *ret, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
    uint8_t n[SEAL_IV_BYTES];

    nonce(s->receive_iv, sequence, n);
    if (s->cipher->decrypt(s->receive, n, extra, extra_bytes, from, ret, bytes, tag))
        return 0;
    secret_wipe(ret, bytes);
    return -EBADMSG;
}
