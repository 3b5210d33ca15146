/* The keeper's own process: a request, a reply, until the daemon is gone. */
#include "appliance/filter.h"
#include "appliance/keeper_internal.h"
#include "appliance/log.h"
#include "appliance/pem.h"
#include "base/secret.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* OpenSSL's heap for private keys, and the least that it gives of it: powers of two. */
#define KEYS_BYTES       ((size_t)16 << 10)
#define KEYS_BYTES_LEAST ((size_t)32)

struct held {
    struct sealed_key *store; /* NULL: not read */
    struct {
        uint32_t number; /* 0: free */
        EVP_PKEY *key;
    } slot[KEEPER_KEYS_MAX];
    uint32_t last; /* number that was given */
};

/* --- what may be signed --- */

#define SPACES 64

static const char *const contexts[] = {"TLS 1.3, server CertificateVerify",
                                       "TLS 1.3, client CertificateVerify"};

static const size_t hash_sizes[] = {32, 48};

#define CONTEXT_BYTES sizeof("TLS 1.3, server CertificateVerify") /* its NUL is signed too */
#define VERIFY_BYTES  (SPACES + CONTEXT_BYTES)

bool keeper_may_sign(const uint8_t *bytes, size_t count)
{
    bool sized = false, named = false;

    for (size_t i = 0; i < ARRAY_LENGTH(hash_sizes); i++)
        sized |= count == VERIFY_BYTES + hash_sizes[i];
    if (!sized)
        return false;
    for (size_t i = 0; i < SPACES; i++)
        if (bytes[i] != ' ')
            return false;
    for (size_t i = 0; i < ARRAY_LENGTH(contexts); i++)
        named |= memcmp(bytes + SPACES, contexts[i], CONTEXT_BYTES) == 0;
    return named;
}

/* --- requests --- */

static int path_of(const struct keeper_request *q, char ret[PATH_MAX], struct err *err)
{
    if (memchr(q->bytes, 0, q->count))
        return err_set(err, -EPROTO, "a path with a NUL in it");
    memcpy(ret, q->bytes, q->count);
    ret[q->count] = '\0';
    return 0;
}

static int read_key(const char *path, EVP_PKEY **ret_key, uint8_t ret_public[KEEPER_PUBLIC_BYTES],
                    struct err *err)
{
    size_t count = KEEPER_PUBLIC_BYTES;
    int rc = pem_read_key(path, ret_key, err);

    if (rc < 0)
        return rc;
    if (EVP_PKEY_get_base_id(*ret_key) == EVP_PKEY_ED25519 &&
        EVP_PKEY_get_raw_public_key(*ret_key, ret_public, &count) == 1)
        return 0;
    EVP_PKEY_free(*ret_key);
    return err_set(err, -EINVAL, "%s: is no Ed25519 key: make one with `mpcformer keygen request`",
                   path);
}

static int load(struct held *h, const struct keeper_request *q, struct keeper_reply *reply,
                struct err *err)
{
    char path[PATH_MAX];
    size_t i = 0;
    int rc = path_of(q, path, err);

    while (i < KEEPER_KEYS_MAX && h->slot[i].number)
        i++;
    if (rc == 0 && i == KEEPER_KEYS_MAX)
        rc = err_set(err, -EBUSY,
                     "sessions are still being opened with %d keys of before: try again in a while",
                     KEEPER_KEYS_MAX);
    if (rc == 0)
        rc = read_key(path, &h->slot[i].key, reply->bytes, err);
    if (rc == 0)
        reply->key = h->slot[i].number = ++h->last;
    return rc;
}

/* Where the key @number is; KEEPER_KEYS_MAX when it is nowhere. */
static size_t find(const struct held *h, uint32_t number)
{
    size_t i = 0;

    while (i < KEEPER_KEYS_MAX && (!number || h->slot[i].number != number))
        i++;
    return i;
}

static int forget(struct held *h, const struct keeper_request *q, struct keeper_reply *reply,
                  struct err *err)
{
    size_t i = find(h, q->key);

    (void)reply;
    if (i == KEEPER_KEYS_MAX)
        return err_set(err, -ENOENT, "no key %u", q->key);
    EVP_PKEY_free(h->slot[i].key);
    h->slot[i].key = NULL;
    h->slot[i].number = 0;
    return 0;
}

static int sign(struct held *h, const struct keeper_request *q, struct keeper_reply *reply,
                struct err *err)
{
    size_t i = find(h, q->key), count = KEEPER_SIGNATURE_BYTES;
    EVP_MD_CTX *c;
    int rc = 0;

    if (!keeper_may_sign(q->bytes, q->count))
        return err_set(err, -EPERM, "only a CertificateVerify of TLS 1.3 is signed");
    if (i == KEEPER_KEYS_MAX)
        return err_set(err, -ENOENT, "no key %u", q->key);
    c = EVP_MD_CTX_new();
    if (!c || EVP_DigestSignInit(c, NULL, NULL, NULL, h->slot[i].key) != 1 ||
        EVP_DigestSign(c, reply->bytes, &count, q->bytes, q->count) != 1)
        rc = pem_crypto_failed(err, "signing");
    EVP_MD_CTX_free(c);
    return rc;
}

static int load_store(struct held *h, const struct keeper_request *q, struct keeper_reply *reply,
                      struct err *err)
{
    char path[PATH_MAX];
    int rc = path_of(q, path, err);

    (void)reply;
    if (rc == 0 && h->store)
        rc = err_set(err, -EEXIST, "there is a store key already: another one takes a restart");
    return rc < 0 ? rc : sealed_key_load(path, &h->store, err);
}

static int derive(struct held *h, const struct keeper_request *q, struct keeper_reply *reply,
                  struct err *err)
{
    int rc = h->store ? sealed_key_derive(h->store, q->bytes, reply->bytes) : -ENOENT;

    return rc < 0 ? err_set(err, rc, h->store ? "OpenSSL's HKDF fails" : "no store key") : 0;
}

static const struct operation {
    size_t least, most; /* bytes that come */
    size_t reply;       /* bytes that go */
    int (*run)(struct held *h, const struct keeper_request *q, struct keeper_reply *reply,
               struct err *err);
} operations[] = {
    [KEEPER_LOAD] = {1, PATH_MAX - 1, KEEPER_PUBLIC_BYTES, load},
    [KEEPER_FORGET] = {0, 0, 0, forget},
    [KEEPER_SIGN] = {0, PATH_MAX, KEEPER_SIGNATURE_BYTES, sign},
    [KEEPER_STORE] = {1, PATH_MAX - 1, 0, load_store},
    [KEEPER_DERIVE] = {SEALED_SALT_BYTES, SEALED_SALT_BYTES, SEALED_FILE_KEY_BYTES, derive},
};

static const struct operation *operation_of(const struct keeper_request *q, size_t got)
{
    const struct operation *o;

    if (got < KEEPER_REQUEST_BYTES(0) || q->count > sizeof(q->bytes) ||
        got != KEEPER_REQUEST_BYTES(q->count) || q->what >= ARRAY_LENGTH(operations))
        return NULL;
    o = &operations[q->what];
    return o->run && q->count >= o->least && q->count <= o->most ? o : NULL;
}

static void answer(struct held *h, const struct keeper_request *q, size_t got,
                   struct keeper_reply *reply)
{
    const struct operation *o = operation_of(q, got);
    struct err err = {""};

    memset(reply, 0, sizeof(*reply));
    reply->rc =
        o ? o->run(h, q, reply, &err) : err_set(&err, -EPROTO, "no request of the daemon's");
    if (reply->rc == 0) {
        reply->count = (uint32_t)o->reply;
        return;
    }
    reply->key = 0;
    reply->count = (uint32_t)strlen(err_text(&err, reply->rc));
    memcpy(reply->bytes, err_text(&err, reply->rc), reply->count);
}

/* --- its life --- */

/* What the daemon had open when it forked, such as the manager's sockets, is not the keeper's. */
static void close_others(int fd)
{
    if (fd > STDERR_FILENO + 1)
        close_range(STDERR_FILENO + 1, (unsigned int)fd - 1, 0);
    close_range((unsigned int)fd + 1, ~0u, 0);
}

void keeper_process(int fd)
{
    struct keeper_request request;
    struct keeper_reply reply;
    struct held held = {.last = 0};
    struct err err = {""};
    ssize_t n;
    int rc;

    close_others(fd);
    prctl(PR_SET_NAME, "mpcf-keeper");
    /* Best effort, as in secret.c: all of it, or at least where OpenSSL has private keys. */
    (void)!mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    (void)!CRYPTO_secure_malloc_init(KEYS_BYTES, KEYS_BYTES_LEAST);
    rc = filter_install(FILTER_KEEPER, &err);
    if (rc < 0) {
        log_error("cannot-start", log_text("what", "keeper"), log_text("error", err.text));
        _exit(1);
    }
    for (;;) {
        n = recv(fd, &request, sizeof(request), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(0);
        answer(&held, &request, (size_t)n, &reply);
        n = send(fd, &reply, KEEPER_REPLY_BYTES(reply.count), MSG_NOSIGNAL);
        secret_wipe(&reply, sizeof(reply));
        if (n < 0)
            _exit(0);
    }
}
