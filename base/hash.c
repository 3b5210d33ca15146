#include "base/hash.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct hash {
    EVP_MD_CTX *context;
};

static void must(int ok)
{
    if (ok != 1)
        abort();
}

void hash_bytes(const void *bytes, size_t count, uint8_t ret[HASH_BYTES])
{
    must(EVP_Digest(bytes, count, ret, NULL, EVP_sha256(), NULL));
}

struct hash *hash_new(void)
{
    struct hash *h = calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->context = EVP_MD_CTX_new();
    if (!h->context) {
        free(h);
        return NULL;
    }
    must(EVP_DigestInit_ex(h->context, EVP_sha256(), NULL));
    return h;
}

void hash_add(struct hash *h, const void *bytes, size_t count)
{
    must(EVP_DigestUpdate(h->context, bytes, count));
}

void hash_end(struct hash *h, uint8_t ret[HASH_BYTES])
{
    must(EVP_DigestFinal_ex(h->context, ret, NULL));
    hash_free(h);
}

void hash_free(struct hash *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->context);
    free(h);
}
