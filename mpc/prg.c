#include "mpc/prg.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/secret.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct prg {
    EVP_CIPHER_CTX *aes;
    uint64_t nonce;
};

struct prg *prg_new(const uint8_t seed[PRG_SEED_BYTES])
{
    static const char label[] = "mpcformer prg 1";
    uint8_t text[sizeof(label) - 1 + PRG_SEED_BYTES], derived[HASH_BYTES];
    struct prg *prg = calloc(1, sizeof(*prg));

    if (!prg)
        return NULL;
    memcpy(text, label, sizeof(label) - 1);
    memcpy(text + sizeof(label) - 1, seed, PRG_SEED_BYTES);
    hash_bytes(text, sizeof(text), derived);
    prg->nonce = load_le64(derived + 16);
    prg->aes = EVP_CIPHER_CTX_new();
    if (!prg->aes || EVP_EncryptInit_ex(prg->aes, EVP_aes_128_ctr(), NULL, derived, NULL) != 1) {
        prg_free(prg);
        prg = NULL;
    }
    secret_wipe(text, sizeof(text));
    secret_wipe(derived, sizeof(derived));
    return prg;
}

void prg_free(struct prg *prg)
{
    if (!prg)
        return;
    EVP_CIPHER_CTX_free(prg->aes);
    secret_wipe(prg, sizeof(*prg));
    free(prg);
}

/* A cipher that was keyed cannot fail later; going on without its output would send a bare share.
 */
static void must(int ok)
{
    if (ok != 1)
        abort();
}

void prg_bytes(struct prg *prg, uint32_t index, uint32_t purpose, void *ret, size_t bytes)
{
    uint64_t high = prg->nonce ^ ((uint64_t)index << 32 | purpose);
    uint8_t counter[PRG_BLOCK_BYTES] = {0}, *at = ret;

    store_le64(counter, __builtin_bswap64(high));
    must(EVP_EncryptInit_ex(prg->aes, NULL, NULL, NULL, counter));
    memset(ret, 0, bytes);
    while (bytes) {
        int n = (int)MIN(bytes, (size_t)1 << 30), done;

        must(EVP_EncryptUpdate(prg->aes, at, &done, at, n));
        at += n;
        bytes -= (size_t)n;
    }
}

void prg_words(struct prg *prg, uint32_t index, uint32_t purpose, uint64_t *ret, size_t count)
{
    prg_bytes(prg, index, purpose, ret, count * sizeof(*ret));
}
