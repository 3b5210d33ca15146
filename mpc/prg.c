#include "mpc/prg.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/secret.h"
#include "mpc/prg_aes.h"

#include <assert.h>
#include <cpuid.h>
#include <openssl/evp.h>
#include <stdlib.h>

struct prg {
    struct prg_aes_key key;
    uint64_t nonce;
    const struct prg_aes *aes;
};

/* --- OpenSSL's --- */

static void evp_expand(struct prg_aes_key *key)
{
    (void)key;
}

/* Going on without the cipher's output would send a bare share. */
static void must(bool ok)
{
    if (!ok)
        abort();
}

static void evp_fill(const struct prg_aes_key *key, uint64_t high, uint64_t block, uint8_t *ret,
                     size_t bytes)
{
    EVP_CIPHER_CTX *aes = EVP_CIPHER_CTX_new();
    uint8_t counter[PRG_BLOCK_BYTES];

    store_le64(counter, __builtin_bswap64(high));
    store_le64(counter + 8, __builtin_bswap64(block));
    must(aes && EVP_EncryptInit_ex(aes, EVP_aes_128_ctr(), NULL, key->round[0], counter) == 1);
    memset(ret, 0, bytes);
    while (bytes) {
        int n = (int)MIN(bytes, (size_t)1 << 30), done;

        must(EVP_EncryptUpdate(aes, ret, &done, ret, n) == 1);
        ret += n;
        bytes -= (size_t)n;
    }
    EVP_CIPHER_CTX_free(aes);
}

static const struct prg_aes evp = {.name = "evp", .expand = evp_expand, .fill = evp_fill};

/* --- choice --- */

static const struct prg_aes *const ciphers[] = {
    [PRG_EVP] = &evp,
    [PRG_AESNI] = &prg_aesni,
    [PRG_VAES256] = &prg_vaes256,
    [PRG_VAES512] = &prg_vaes512,
};

/* clang 14 does not know the name for __builtin_cpu_supports(). */
static bool cpu_has_vaes(void)
{
    unsigned int a, b, c = 0, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && c >> 9 & 1;
}

bool prg_cipher_here(enum prg_cipher cipher)
{
    switch (cipher) {
    case PRG_AESNI:
        return __builtin_cpu_supports("aes") && __builtin_cpu_supports("ssse3");
    case PRG_VAES256:
        return __builtin_cpu_supports("avx2") && cpu_has_vaes();
    case PRG_VAES512:
        return __builtin_cpu_supports("avx512bw") && cpu_has_vaes();
    default:
        return cipher == PRG_EVP;
    }
}

const char *prg_cipher_name(enum prg_cipher cipher)
{
    return ciphers[cipher]->name;
}

enum prg_cipher prg_cipher_best(void)
{
    enum prg_cipher best = PRG_CIPHERS - 1;

    while (!prg_cipher_here(best))
        best--;
    return best;
}

/* --- streams --- */

struct prg *prg_new_with(const uint8_t seed[PRG_SEED_BYTES], enum prg_cipher cipher)
{
    static const char label[] = "mpcformer prg 1";
    uint8_t text[sizeof(label) - 1 + PRG_SEED_BYTES], derived[HASH_BYTES];
    struct prg *prg = secret_alloc(sizeof(*prg));

    if (!prg)
        return NULL;
    memcpy(text, label, sizeof(label) - 1);
    memcpy(text + sizeof(label) - 1, seed, PRG_SEED_BYTES);
    hash_bytes(text, sizeof(text), derived);
    memcpy(prg->key.round[0], derived, PRG_BLOCK_BYTES);
    prg->nonce = load_le64(derived + PRG_BLOCK_BYTES);
    prg->aes = ciphers[cipher];
    prg->aes->expand(&prg->key);
    secret_wipe(text, sizeof(text));
    secret_wipe(derived, sizeof(derived));
    return prg;
}

struct prg *prg_new(const uint8_t seed[PRG_SEED_BYTES])
{
    return prg_new_with(seed, prg_cipher_best());
}

void prg_free(struct prg *prg)
{
    secret_free(prg, sizeof(*prg));
}

void prg_words(const struct prg *prg, uint32_t index, uint32_t purpose, size_t first, uint64_t *ret,
               size_t count)
{
    assert(first % (PRG_BLOCK_BYTES / sizeof(*ret)) == 0);
    prg->aes->fill(&prg->key, prg->nonce ^ ((uint64_t)index << 32 | purpose),
                   first / (PRG_BLOCK_BYTES / sizeof(*ret)), (uint8_t *)ret, count * sizeof(*ret));
}
