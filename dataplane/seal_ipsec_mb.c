/*
 * AES-256-GCM by libipsec-mb's direct calls. A manager of that library is its table of functions
 * for this CPU and queues for its jobs; the direct calls need no queue and keep their state in what
 * the caller hands them. So the table is copied once a process and the manager freed.
 */
#include "base/secret.h"
#include "dataplane/seal_engine.h"

#include <intel-ipsec-mb.h>
#include <pthread.h>

/* AES-NI, PCLMULQDQ and AVX2; and a library built to leave no secrets in registers or on the stack,
 * whose own test of its ciphers passed. */
#define FEATURES (IMB_CPUFLAGS_AVX2 | IMB_FEATURE_SAFE_DATA | IMB_FEATURE_SELF_TEST_PASS)

static struct {
    bool here;
    aes_gcm_pre_t expand;
    aes_gcm_enc_dec_t encrypt, decrypt;
} library;

struct context {
    _Alignas(64) struct gcm_key_data key;
    struct gcm_context_data run;
    uint8_t tag[SEAL_TAG_BYTES]; /* the right one, which only a receiver may know */
};

static void load(void)
{
    IMB_MGR *m = alloc_mb_mgr(0);
    IMB_ARCH arch;

    if (!m)
        return;
    init_mb_mgr_auto(m, &arch);
    if (imb_get_errno(m) == 0 && (m->features & FEATURES) == FEATURES) {
        library.expand = m->gcm256_pre;
        library.encrypt = m->gcm256_enc;
        library.decrypt = m->gcm256_dec;
        library.here = true;
    }
    free_mb_mgr(m);
}

static bool here(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, load);
    return library.here;
}

static void *context_new(const uint8_t key[SEAL_KEY_BYTES], bool encrypt)
{
    struct context *c = secret_alloc(sizeof(*c));

    (void)encrypt; /* GCM runs the block cipher forwards both ways */
    if (c)
        library.expand(key, &c->key);
    return c;
}

static void context_free(void *context)
{
    secret_free(context, sizeof(struct context));
}

static bool encrypt(void *context, const uint8_t nonce[SEAL_IV_BYTES], const uint8_t *extra,
                    size_t extra_bytes, uint8_t *data, size_t bytes,
                    uint8_t ret_tag[SEAL_TAG_BYTES])
{
    struct context *c = context;

    library.encrypt(&c->key, &c->run, data, data, bytes, nonce, extra, extra_bytes, ret_tag,
                    SEAL_TAG_BYTES);
    return true;
}

static bool decrypt(void *context, const uint8_t nonce[SEAL_IV_BYTES], const uint8_t *extra,
                    size_t extra_bytes, const uint8_t *from, uint8_t *ret, size_t bytes,
                    const uint8_t tag[SEAL_TAG_BYTES])
{
    struct context *c = context;

    library.decrypt(&c->key, &c->run, ret, from, bytes, nonce, extra, extra_bytes, c->tag,
                    SEAL_TAG_BYTES);
    return secret_equal(c->tag, tag, SEAL_TAG_BYTES);
}

const struct seal_cipher seal_ipsec_mb = {
    .name = "ipsec-mb",
    .here = here,
    .context_new = context_new,
    .context_free = context_free,
    .encrypt = encrypt,
    .decrypt = decrypt,
};
