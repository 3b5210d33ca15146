#include "appliance/tls_internal.h"

#include "appliance/pem.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

/* A chain is one leaf of ours; more than this is not ours to parse. */
#define CERTIFICATES_BYTES_MAX (16 << 10)

static int restrict_protocol(SSL_CTX *ssl)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ssl, CERTIFICATES_BYTES_MAX);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Without it a read goes on over records that carry no data, past any deadline. */
    SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) &&
        SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) && SSL_CTX_set_num_tickets(ssl, 0) &&
        SSL_CTX_set_max_early_data(ssl, 0) && SSL_CTX_set_recv_max_early_data(ssl, 0) &&
        SSL_CTX_set_ciphersuites(ssl, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") &&
        SSL_CTX_set1_groups_list(ssl, "X25519:P-256") && SSL_CTX_set1_sigalgs_list(ssl, "ed25519"))
        return 0;
    return -EIO;
}

static int trust(SSL_CTX *ssl, const char *path, struct err *err)
{
    X509 *authority = NULL;
    int rc;

    rc = pem_read_certificate(path, &authority, err);
    if (rc < 0)
        return rc;
    if (X509_check_ca(authority) != 1)
        rc =
            err_set(err, -EINVAL,
                    "%s: is no authority's certificate: give the one that signed the others", path);
    else if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), authority) ||
             !X509_STORE_set_flags(SSL_CTX_get_cert_store(ssl), X509_V_FLAG_X509_STRICT))
        rc = pem_crypto_failed(err, path);
    X509_free(authority);
    return rc;
}

/* What every peer would object to is found at start, where somebody is looking. */
static int check_own(SSL_CTX *ssl, X509 *certificate, const char *path, struct err *err)
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    int rc = 0;

    if (!check || !X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(ssl), certificate, NULL))
        rc = pem_crypto_failed(err, path);
    else if (X509_verify_cert(check) != 1)
        rc = err_set(err, -EINVAL,
                     "%s: no peer would believe this certificate: %s (is it this authority's, and "
                     "in date?)",
                     path, X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)));
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return rc;
}

static int use_certificate(struct tls_context *context, const char *path, struct err *err)
{
    struct err detail = {""};
    X509 *certificate = NULL;
    int rc;

    rc = pem_read_certificate(path, &certificate, err);
    if (rc < 0)
        return rc;
    rc = identity_of(certificate, &context->identity, &detail);
    if (rc == 0 && context->identity.role == ROLE_AUTHORITY)
        rc = err_set(&detail, -EINVAL,
                     "an authority is no peer: sign a certificate for this process");
    if (rc < 0)
        err_set(err, rc, "%s: %s", path, err_text(&detail, rc));
    else
        rc = check_own(context->ssl, certificate, path, err);
    if (rc == 0 && SSL_CTX_use_certificate(context->ssl, certificate) != 1)
        rc = pem_crypto_failed(err, path);
    X509_free(certificate);
    return rc;
}

static int use_key(SSL_CTX *ssl, const char *path, tls_key_reader *read, void *reader,
                   struct err *err)
{
    EVP_PKEY *key = NULL;
    int rc = read ? read(reader, path, &key, err) : pem_read_key(path, &key, err);

    if (rc < 0)
        return rc;
    if (X509_check_private_key(SSL_CTX_get0_certificate(ssl), key) != 1)
        rc = err_set(err, -EINVAL, "%s: is the key of another certificate", path);
    else if (SSL_CTX_use_PrivateKey(ssl, key) != 1)
        rc = pem_crypto_failed(err, path);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}

int tls_context_new(const char *certificate_path, const char *key_path, const char *authority_path,
                    tls_key_reader *read, void *reader, struct tls_context **ret_context,
                    struct err *err)
{
    struct tls_context *context = calloc(1, sizeof(*context));
    int rc;

    if (!context)
        return -ENOMEM;
    context->ssl = SSL_CTX_new(TLS_method());
    if (!context->ssl || restrict_protocol(context->ssl) < 0) {
        rc = pem_crypto_failed(err, "setting up TLS 1.3");
        goto fail;
    }
    if ((rc = trust(context->ssl, authority_path, err)) < 0 ||
        (rc = use_certificate(context, certificate_path, err)) < 0 ||
        (rc = use_key(context->ssl, key_path, read, reader, err)) < 0)
        goto fail;
    *ret_context = context;
    return 0;
fail:
    tls_context_free(context);
    return rc;
}

void tls_context_free(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}

const struct identity *tls_context_identity(const struct tls_context *context)
{
    return &context->identity;
}
