#include "dataplane/seal.h"

#include "base/secret.h"

#include <openssl/evp.h>
#include <string.h>

struct seal {
    EVP_CIPHER_CTX *send, *receive;
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

static EVP_CIPHER_CTX *keyed(const struct seal_direction *d, int encrypt)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

    if (!c)
        return NULL;
    if (EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, d->key, d->iv, encrypt) == 1)
        return c;
    EVP_CIPHER_CTX_free(c);
    return NULL;
}

int seal_new(const struct seal_keys *keys, struct seal **ret, struct err *err)
{
    struct seal *s;

    if (secret_equal(keys->send.key, keys->receive.key, SEAL_KEY_BYTES))
        return err_set(err, -EINVAL,
                       "the two directions of a link have the same key: derive one for each");
    s = secret_alloc(sizeof(*s));
    if (!s)
        return err_set(err, -ENOMEM, "no memory for a link's seals");
    s->send = keyed(&keys->send, 1);
    s->receive = keyed(&keys->receive, 0);
    if (!s->send || !s->receive) {
        seal_free(s);
        return err_set(err, -EIO, "libcrypto offers no AES-256-GCM: check its providers");
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
    EVP_CIPHER_CTX_free(s->send);
    EVP_CIPHER_CTX_free(s->receive);
    secret_free(s, sizeof(*s));
}

static void nonce(const uint8_t iv[SEAL_IV_BYTES], uint64_t sequence, uint8_t ret[SEAL_IV_BYTES])
{
    memcpy(ret, iv, SEAL_IV_BYTES);
    for (unsigned int i = 0; i < 8; i++)
        ret[SEAL_IV_BYTES - 1 - i] ^= (uint8_t)(sequence >> (8 * i));
}

/* @data through the cipher of @c, after @extra; the tag stays in the context. */
static bool run(EVP_CIPHER_CTX *c, const uint8_t iv[SEAL_IV_BYTES], uint64_t sequence,
                const uint8_t *extra, size_t extra_bytes, uint8_t *data, size_t bytes)
{
    uint8_t n[SEAL_IV_BYTES];
    int done;

    if (bytes > INT32_MAX || extra_bytes > INT32_MAX)
        return false;
    nonce(iv, sequence, n);
    return EVP_CipherInit_ex(c, NULL, NULL, NULL, n, -1) == 1 &&
           EVP_CipherUpdate(c, NULL, &done, extra, (int)extra_bytes) == 1 &&
           EVP_CipherUpdate(c, data, &done, data, (int)bytes) == 1;
}

int seal_apply(struct seal *s, uint64_t sequence, const uint8_t *extra, size_t extra_bytes,
               uint8_t *data, size_t bytes, uint8_t ret_tag[SEAL_TAG_BYTES])
{
    int done;

    if (sequence < s->sequence_min)
        return -EINVAL;
    if (sequence >= SEAL_RECORDS_MAX)
        return -EOVERFLOW;
    s->sequence_min = sequence + 1;
    if (run(s->send, s->send_iv, sequence, extra, extra_bytes, data, bytes) &&
        EVP_CipherFinal_ex(s->send, data + bytes, &done) == 1 &&
        EVP_CIPHER_CTX_ctrl(s->send, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, ret_tag) == 1)
        return 0;
    secret_wipe(data, bytes);
    return -EIO;
}

int seal_open(struct seal *s, uint64_t sequence, const uint8_t *extra, size_t extra_bytes,
              uint8_t *data, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
    uint8_t t[SEAL_TAG_BYTES]; /* the control call takes no const */
    int done;

    memcpy(t, tag, sizeof(t));
    if (run(s->receive, s->receive_iv, sequence, extra, extra_bytes, data, bytes) &&
        EVP_CIPHER_CTX_ctrl(s->receive, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, t) == 1 &&
        EVP_CipherFinal_ex(s->receive, data + bytes, &done) == 1)
        return 0;
    secret_wipe(data, bytes);
    return -EBADMSG;
}
