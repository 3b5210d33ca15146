#include "appliance/pem.h"

#include "base/file.h"
#include "base/secret.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int pem_crypto_failed(struct err *err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    ERR_clear_error();
    return err_set(err, -EIO, "%s: OpenSSL: %s", what, reason ? reason : "failed");
}

int pem_refuse_existing(const char *path, struct err *err)
{
    if (access(path, F_OK) == 0)
        return err_set(err, -EEXIST,
                       "%s exists already and is not replaced: name another file, or move it away",
                       path);
    return 0;
}

/* Reading */

/* An encrypted key would make libcrypto ask on the terminal. */
static int no_passphrase(char *text, int size, int writing, void *context)
{
    (void)text, (void)size, (void)writing, (void)context;
    return -1;
}

static void *parse_key(BIO *pem)
{
    return PEM_read_bio_PrivateKey(pem, NULL, no_passphrase, NULL);
}

static void *parse_certificate(BIO *pem)
{
    return PEM_read_bio_X509(pem, NULL, no_passphrase, NULL);
}

static void *parse_request(BIO *pem)
{
    return PEM_read_bio_X509_REQ(pem, NULL, no_passphrase, NULL);
}

static int read_object(const char *path, const char *what, void *(*parse)(BIO *), void **ret_object,
                       struct err *err)
{
    void *object = NULL;
    uint8_t *bytes;
    size_t count;
    BIO *pem;
    int rc;

    rc = file_read(path, PEM_FILE_MAX, &bytes, &count, err);
    if (rc < 0)
        return rc;
    pem = BIO_new_mem_buf(bytes, (int)count);
    if (pem)
        object = parse(pem);
    BIO_free(pem);
    secret_wipe(bytes, count);
    free(bytes);
    if (!object) {
        ERR_clear_error();
        return err_set(err, -EINVAL, "%s: holds no %s in PEM", path, what);
    }
    *ret_object = object;
    return 0;
}

int pem_read_key(const char *path, EVP_PKEY **ret_key, struct err *err)
{
    struct stat st;
    void *object = NULL;
    int rc;

    if (stat(path, &st) < 0)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    if (st.st_mode & (S_IWGRP | S_IRWXO))
        return err_set(err, -EPERM, "%s: others may read or change this private key: chmod 600 it",
                       path);
    rc = read_object(path, "private key without a passphrase", parse_key, &object, err);
    if (rc == 0)
        *ret_key = object;
    return rc;
}

int pem_read_certificate(const char *path, X509 **ret_certificate, struct err *err)
{
    void *object = NULL;
    int rc = read_object(path, "certificate", parse_certificate, &object, err);

    if (rc == 0)
        *ret_certificate = object;
    return rc;
}

/* The requester must own the key that it asks a certificate for. */
static int check_request(const char *path, X509_REQ *request, struct err *err)
{
    EVP_PKEY *key = X509_REQ_get0_pubkey(request);
    int rc = 0;

    if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519)
        rc = err_set(err, -EINVAL,
                     "%s: asks for a key that is not Ed25519: make it with `mpcformer keygen "
                     "request`",
                     path);
    else if (X509_REQ_verify(request, key) != 1)
        rc = err_set(err, -EBADMSG, "%s: is not signed with the key that it asks for: damaged?",
                     path);
    ERR_clear_error();
    return rc;
}

int pem_read_request(const char *path, X509_REQ **ret_request, struct err *err)
{
    void *object = NULL;
    int rc = read_object(path, "certificate request", parse_request, &object, err);

    if (rc < 0)
        return rc;
    rc = check_request(path, object, err);
    if (rc < 0)
        X509_REQ_free(object);
    else
        *ret_request = object;
    return rc;
}

/* Writing */

static int create_file(const char *path, unsigned int mode, BIO *pem, struct err *err)
{
    char *bytes;
    long count = BIO_get_mem_data(pem, &bytes);

    return file_create(path, mode, bytes, (size_t)count, err);
}

int pem_write_key(const char *path, EVP_PKEY *key, struct err *err)
{
    BIO *pem = BIO_new(BIO_s_secmem());
    int rc;

    if (!pem || !PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL))
        rc = pem_crypto_failed(err, path);
    else
        rc = create_file(path, 0600, pem, err);
    BIO_free(pem);
    return rc;
}

int pem_write_certificate(const char *path, X509 *certificate, struct err *err)
{
    BIO *pem = BIO_new(BIO_s_mem());
    int rc;

    if (!pem || !PEM_write_bio_X509(pem, certificate))
        rc = pem_crypto_failed(err, path);
    else
        rc = create_file(path, 0644, pem, err);
    BIO_free(pem);
    return rc;
}

int pem_write_request(const char *path, X509_REQ *request, struct err *err)
{
    BIO *pem = BIO_new(BIO_s_mem());
    int rc;

    if (!pem || !PEM_write_bio_X509_REQ(pem, request))
        rc = pem_crypto_failed(err, path);
    else
        rc = create_file(path, 0644, pem, err);
    BIO_free(pem);
    return rc;
}
