#include "base/sealed.h"

#include "base/bytes.h"
#include "base/random.h"
#include "base/secret.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <sys/stat.h>

#define VERSION     1
#define MAGIC_BYTES 8
#define SALT_BYTES  SEALED_SALT_BYTES
#define PROOF_BYTES 16
#define TAG_BYTES   16
#define SALT_AT     (MAGIC_BYTES + 4)
#define PROOF_AT    (SALT_AT + SALT_BYTES)
#define HEAD_BYTES  (PROOF_AT + PROOF_BYTES)

/* Of a file's bytes in one step; what OpenSSL counts in an int. */
#define STEP_BYTES ((size_t)1 << 20)

_Static_assert(SEALED_EXTRA_BYTES == HEAD_BYTES + TAG_BYTES, "the form above");

static const char magic[MAGIC_BYTES + 1] = "MPCFSEAL";

struct sealed_key {
    uint8_t bytes[SEALED_KEY_BYTES]; /* zero where @derive knows it */
    sealed_derive *derive;           /* NULL: here */
    void *context;
};

/* --- keys --- */

int sealed_key_make(const char *path, struct err *err)
{
    uint8_t bytes[SEALED_KEY_BYTES];
    int rc;

    random_bytes(bytes, sizeof(bytes));
    rc = file_create(path, 0600, bytes, sizeof(bytes), err);
    secret_wipe(bytes, sizeof(bytes));
    return rc;
}

int sealed_key_load(const char *path, struct sealed_key **ret_key, struct err *err)
{
    struct sealed_key *key = NULL;
    struct stat st;
    uint8_t *bytes;
    size_t count;
    int rc;

    if (stat(path, &st) < 0)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    if (st.st_mode & (S_IWGRP | S_IRWXO))
        return err_set(err, -EPERM, "%s: others may read or change this key: chmod 600 it", path);
    rc = file_read(path, SEALED_KEY_BYTES, &bytes, &count, err);
    if (rc < 0)
        return rc;
    if (count != SEALED_KEY_BYTES)
        rc = err_set(err, -EINVAL,
                     "%s: has %zu bytes, a store key %d: make one with `mpcformer keygen store`",
                     path, count, SEALED_KEY_BYTES);
    else if (!(key = secret_alloc(sizeof(*key))))
        rc = err_set(err, -ENOMEM, "no memory");
    else
        memcpy(key->bytes, bytes, sizeof(key->bytes));
    secret_wipe(bytes, count);
    free(bytes);
    if (rc == 0)
        *ret_key = key;
    return rc;
}

int sealed_key_elsewhere(sealed_derive *derive, void *context, struct sealed_key **ret_key)
{
    struct sealed_key *key = secret_alloc(sizeof(*key));

    if (!key)
        return -ENOMEM;
    key->derive = derive;
    key->context = context;
    *ret_key = key;
    return 0;
}

void sealed_key_free(struct sealed_key *key)
{
    secret_free(key, sizeof(*key));
}

/* --- one file's key --- */

struct file_key {
    uint8_t key[SEALED_KEY_BYTES], proof[PROOF_BYTES];
};

_Static_assert(sizeof(struct file_key) == SEALED_FILE_KEY_BYTES, "what is derived");

int sealed_key_derive(const struct sealed_key *key, const uint8_t salt[SEALED_SALT_BYTES],
                      uint8_t ret_file_key[SEALED_FILE_KEY_BYTES])
{
    static const char info[] = "mpcformer sealed file 1";
    EVP_KDF *kdf;
    EVP_KDF_CTX *c;
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key->bytes,
                                          sizeof(key->bytes)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt, SALT_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info,
                                          sizeof(info) - 1),
        OSSL_PARAM_construct_end(),
    };
    bool ok;

    if (key->derive)
        return key->derive(key->context, salt, ret_file_key);
    kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    c = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    ok = c && EVP_KDF_derive(c, ret_file_key, SEALED_FILE_KEY_BYTES, parameters) == 1;
    EVP_KDF_CTX_free(c);
    EVP_KDF_free(kdf);
    return ok ? 0 : -EIO;
}

static int derive(const struct sealed_key *key, const uint8_t salt[SALT_BYTES],
                  struct file_key *ret)
{
    return sealed_key_derive(key, salt, (uint8_t *)ret);
}

/* The cipher of one file, its head already taken; NULL when OpenSSL fails. */
static EVP_CIPHER_CTX *cipher_new(const struct file_key *k, const uint8_t head[HEAD_BYTES],
                                  bool encrypt)
{
    static const uint8_t nonce[12]; /* zero: the key seals once */
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int done;

    if (c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, k->key, nonce, encrypt) == 1 &&
        EVP_CipherUpdate(c, NULL, &done, head, HEAD_BYTES) == 1)
        return c;
    EVP_CIPHER_CTX_free(c);
    return NULL;
}

/* --- writing --- */

struct sealing {
    const struct file_part *parts;
    size_t count;
    EVP_CIPHER_CTX *cipher;
    uint8_t head[HEAD_BYTES];
    uint8_t *step; /* STEP_BYTES, of what leaves */
};

static int seal_part(const struct sealing *s, int fd, const struct file_part *part)
{
    const uint8_t *at = part->bytes;
    size_t left = part->count;

    while (left) {
        size_t n = MIN(left, STEP_BYTES);
        int done, rc;

        if (EVP_CipherUpdate(s->cipher, s->step, &done, at, (int)n) != 1)
            return -EIO;
        rc = file_write_all(fd, s->step, n);
        if (rc < 0)
            return rc;
        at += n;
        left -= n;
    }
    return 0;
}

static int seal_all(void *context, int fd)
{
    const struct sealing *s = context;
    uint8_t tag[TAG_BYTES];
    int done, rc = file_write_all(fd, s->head, HEAD_BYTES);

    for (size_t i = 0; rc == 0 && i < s->count; i++)
        rc = seal_part(s, fd, &s->parts[i]);
    if (rc < 0)
        return rc;
    if (EVP_CipherFinal_ex(s->cipher, tag, &done) != 1 ||
        EVP_CIPHER_CTX_ctrl(s->cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) != 1)
        return -EIO;
    return file_write_all(fd, tag, TAG_BYTES);
}

int sealed_write(const char *path, const struct sealed_key *key, const struct file_part parts[],
                 size_t count, struct err *err)
{
    struct sealing s = {.parts = parts, .count = count};
    struct file_key k;
    int rc = 0;

    if (!key)
        return file_write_parts(path, 0600, parts, count, err);
    memcpy(s.head, magic, MAGIC_BYTES);
    store_le32(s.head + MAGIC_BYTES, VERSION);
    random_bytes(s.head + SALT_AT, SALT_BYTES);
    if (derive(key, s.head + SALT_AT, &k) == 0) {
        memcpy(s.head + PROOF_AT, k.proof, PROOF_BYTES);
        s.cipher = cipher_new(&k, s.head, true);
    }
    secret_wipe(&k, sizeof(k));
    s.step = malloc(STEP_BYTES);
    if (!s.cipher || !s.step)
        rc = err_set(err, s.step ? -EIO : -ENOMEM, "%s: cannot be sealed", path);
    else
        rc = file_write_by(path, 0600, seal_all, &s, err);
    free(s.step);
    EVP_CIPHER_CTX_free(s.cipher);
    return rc;
}

/* --- reading --- */

static int take_plain(const uint8_t *from, size_t count, uint8_t **ret_bytes)
{
    *ret_bytes = secret_alloc(count);
    if (!*ret_bytes)
        return -ENOMEM;
    if (count)
        memcpy(*ret_bytes, from, count);
    return 0;
}

static int open_all(EVP_CIPHER_CTX *c, const uint8_t *from, uint8_t *to, size_t count,
                    const uint8_t tag[TAG_BYTES])
{
    uint8_t t[TAG_BYTES]; /* the control call takes no const */
    int done;

    for (size_t at = 0; at < count; at += STEP_BYTES)
        if (EVP_CipherUpdate(c, to + at, &done, from + at, (int)MIN(count - at, STEP_BYTES)) != 1)
            return -EIO;
    memcpy(t, tag, sizeof(t));
    if (EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, t) != 1)
        return -EIO;
    return EVP_CipherFinal_ex(c, to + count, &done) == 1 ? 0 : -EBADMSG;
}

static int take_sealed(const struct file_key *k, const uint8_t *file, size_t count,
                       uint8_t **ret_bytes, struct err *err)
{
    EVP_CIPHER_CTX *c = cipher_new(k, file, false);
    uint8_t *bytes = secret_alloc(count);
    int rc = c && bytes ? open_all(c, file + HEAD_BYTES, bytes, count, file + HEAD_BYTES + count)
                        : -ENOMEM;

    EVP_CIPHER_CTX_free(c);
    if (rc < 0) {
        secret_free(bytes, count);
        return err_set(err, rc,
                       rc == -EBADMSG ? "it is damaged, or its end is missing"
                                      : "no memory to open it");
    }
    *ret_bytes = bytes;
    return 0;
}

static bool is_sealed(const uint8_t *file, size_t count)
{
    return count >= MAGIC_BYTES && !memcmp(file, magic, MAGIC_BYTES);
}

static int unseal(const struct sealed_key *key, const uint8_t *file, size_t count,
                  uint8_t **ret_bytes, struct err *err)
{
    struct file_key k;
    int rc;

    if (!is_sealed(file, count))
        return err_set(err, -EINVAL, "it is not sealed, and there is a store key: is it ours?");
    if (!key)
        return err_set(err, -EPERM,
                       "it is sealed: set `store_key` to the key that it was sealed "
                       "with");
    if (count < SEALED_EXTRA_BYTES)
        return err_set(err, -EBADMSG, "it is damaged, or its end is missing");
    if (load_le32(file + MAGIC_BYTES) != VERSION)
        return err_set(err, -EBADMSG, "it is sealed in version %u, this program knows %d",
                       load_le32(file + MAGIC_BYTES), VERSION);
    if (derive(key, file + SALT_AT, &k) < 0)
        return err_set(err, -EIO, "no key can be derived");
    if (!secret_equal(k.proof, file + PROOF_AT, PROOF_BYTES))
        rc = err_set(err, -EPERM,
                     "it was sealed with another store key, or its beginning is damaged");
    else
        rc = take_sealed(&k, file, count - SEALED_EXTRA_BYTES, ret_bytes, err);
    secret_wipe(&k, sizeof(k));
    return rc;
}

int sealed_read(const char *path, const struct sealed_key *key, size_t bytes_max,
                uint8_t **ret_bytes, size_t *ret_count, struct err *err)
{
    struct err why = {""};
    uint8_t *file;
    size_t count;
    bool sealed;
    int rc = file_read(path, bytes_max + SEALED_EXTRA_BYTES, &file, &count, err);

    if (rc < 0)
        return rc;
    sealed = key || is_sealed(file, count);
    if (!sealed && count > bytes_max)
        rc = err_set(&why, -EFBIG, "%zu bytes, at most %zu are taken", count, bytes_max);
    else
        rc =
            sealed ? unseal(key, file, count, ret_bytes, &why) : take_plain(file, count, ret_bytes);
    secret_wipe(file, sealed ? 0 : count);
    free(file);
    if (rc < 0)
        return err_set(err, rc, "%s: %s", path, err_text(&why, rc));
    *ret_count = sealed ? count - SEALED_EXTRA_BYTES : count;
    return 0;
}

int sealed_adopt(const char *path, const struct sealed_key *key, const char begins[MAGIC_BYTES],
                 struct err *err)
{
    struct file_part part;
    uint8_t *file;
    int rc;

    if (!key)
        return 0;
    rc = file_read(path, SIZE_MAX, &file, &part.count, err);
    if (rc < 0)
        return rc;
    part.bytes = file;
    if (part.count >= MAGIC_BYTES && !memcmp(file, begins, MAGIC_BYTES)) {
        rc = sealed_write(path, key, &part, 1, err);
        rc = rc < 0 ? rc : 1;
        secret_wipe(file, part.count);
    }
    free(file);
    return rc;
}
