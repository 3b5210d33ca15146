/*
 * PEM files: keys, certificates and requests, read with a bound and written without ever replacing
 * a file. What is read belongs to the caller (EVP_PKEY_free, X509_free, X509_REQ_free).
 */
#ifndef APPLIANCE_PEM_H
#define APPLIANCE_PEM_H

#include "base/base.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

/** A file that is larger is none of ours. */
#define PEM_FILE_MAX (64u << 10)

/** Report OpenSSL's newest reason after "@what: ", empty its queue: -EIO. */
int pem_crypto_failed(struct err *err, const char *what);

/**
 * -EPERM when others than the owner and the group may read the file, or any but the owner change
 * it. CT: the bytes are wiped from the buffers that they pass.
 */
MUST_CHECK int pem_read_key(const char *path, EVP_PKEY **ret_key, struct err *err);

/** The first certificate in the file. */
MUST_CHECK int pem_read_certificate(const char *path, X509 **ret_certificate, struct err *err);

/** A request for an Ed25519 key, signed with that key: -EINVAL or -EBADMSG for any other. */
MUST_CHECK int pem_read_request(const char *path, X509_REQ **ret_request, struct err *err);

/** -EEXIST when there is a file at @path. */
MUST_CHECK int pem_refuse_existing(const char *path, struct err *err);

/** Each makes the file, durably, or leaves none; keys 0600, the others 0644. -EEXIST as above. */
MUST_CHECK int pem_write_key(const char *path, EVP_PKEY *key, struct err *err);
MUST_CHECK int pem_write_certificate(const char *path, X509 *certificate, struct err *err);
MUST_CHECK int pem_write_request(const char *path, X509_REQ *request, struct err *err);

#endif
