/* AES-256-GCM by OpenSSL's EVP: wherever libcrypto runs. */
#include "dataplane/seal_engine.h"

#include <openssl/evp.h>
#include <string.h>

static bool here(void)
{
    return true;
}

static void *context_new(const uint8_t key[SEAL_KEY_BYTES], bool encrypt)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

    if (!c)
        return NULL;
    if (EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, NULL, encrypt) == 1)
        return c;
    EVP_CIPHER_CTX_free(c);
    return NULL;
}

static void context_free(void *context)
{
    EVP_CIPHER_CTX_free(context); /* which wipes the keys */
}

/* @from through the cipher of @c to @ret, after @extra; the tag stays in the context. */
static bool run(EVP_CIPHER_CTX *c, const uint8_t nonce[SEAL_IV_BYTES], const uint8_t *extra,
                size_t extra_bytes, const uint8_t *from, uint8_t *ret, size_t bytes)
{
    int done;

    if (bytes > INT32_MAX || extra_bytes > INT32_MAX)
        return false;
    return EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, -1) == 1 &&
           (!extra_bytes || EVP_CipherUpdate(c, NULL, &done, extra, (int)extra_bytes) == 1) &&
           (!bytes || EVP_CipherUpdate(c, ret, &done, from, (int)bytes) == 1);
}

static bool encrypt(void *context, const uint8_t nonce[SEAL_IV_BYTES], const uint8_t *extra,
                    size_t extra_bytes, uint8_t *data, size_t bytes,
                    uint8_t ret_tag[SEAL_TAG_BYTES])
{
    int done;

    return run(context, nonce, extra, extra_bytes, data, data, bytes) &&
           EVP_CipherFinal_ex(context, data + bytes, &done) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, ret_tag) == 1;
}

static bool decrypt(void *context, const uint8_t nonce[SEAL_IV_BYTES], const uint8_t *extra,
                    size_t extra_bytes, const uint8_t *from, uint8_t *ret, size_t bytes,
                    const uint8_t tag[SEAL_TAG_BYTES])
{
    uint8_t t[SEAL_TAG_BYTES]; /* the control call takes no const */
    int done;

    memcpy(t, tag, sizeof(t));
    return run(context, nonce, extra, extra_bytes, from, ret, bytes) &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, t) == 1 &&
           EVP_CipherFinal_ex(context, ret + bytes, &done) == 1;
}

const struct seal_cipher seal_openssl = {
    .name = "openssl",
    .here = here,
    .context_new = context_new,
    .context_free = context_free,
    .encrypt = encrypt,
    .decrypt = decrypt,
};
