#include "appliance/identity.h"

#include "appliance/pem.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/random.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define URI_PREFIX "mpcformer:"
#define URI_SIZE   (sizeof(URI_PREFIX) + 16 + IDENTITY_NAME_SIZE)

/* So that a peer whose clock is a little behind believes a new certificate. */
#define BACKDATE_S 3600

static const char *const role_names[] = {
    [ROLE_PARTY0] = "party0", [ROLE_PARTY1] = "party1",       [ROLE_DEALER] = "dealer",
    [ROLE_OWNER] = "owner",   [ROLE_AUTHORITY] = "authority",
};

const char *role_name(enum role role)
{
    return role_names[role];
}

int role_parse(const char *text, enum role *ret_role)
{
    for (int r = ROLE_PARTY0; r <= ROLE_OWNER; r++) {
        if (strcmp(text, role_names[r]) == 0) {
            *ret_role = (enum role)r;
            return 0;
        }
    }
    return -EINVAL;
}

int identity_check_name(const char *name, struct err *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-";
    size_t count = strlen(name);

    if (count == 0 || count >= IDENTITY_NAME_SIZE || strspn(name, allowed) != count)
        return err_set(err, -EINVAL, "\"%.70s\" cannot be a name: 1 to %d of A-Z a-z 0-9 . _ -",
                       name, IDENTITY_NAME_SIZE - 1);
    return 0;
}

static int check_days(unsigned int days, struct err *err)
{
    if (days == 0 || days > IDENTITY_DAYS_MAX)
        return err_set(err, -EINVAL, "a certificate cannot be valid for %u days: 1 to %d", days,
                       IDENTITY_DAYS_MAX);
    return 0;
}

/* Making */

static int set_common_name(X509_NAME *subject, const char *name)
{
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                      -1, 0);
}

static int add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    int ok;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    ok = extension && X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return ok;
}

static int set_serial(X509 *certificate)
{
    uint8_t bytes[16];
    BIGNUM *number;
    int ok;

    random_bytes(bytes, sizeof(bytes));
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return ok;
}

static int set_dates(X509 *certificate, unsigned int days)
{
    time_t now = time(NULL);

    return X509_time_adj_ex(X509_getm_notBefore(certificate), 0, -BACKDATE_S, &now) &&
           X509_time_adj_ex(X509_getm_notAfter(certificate), (int)days, 0, &now);
}

/* What an authority's certificate and a leaf have in common; NULL when libcrypto fails. */
static X509 *certificate_new(const char *name, unsigned int days, EVP_PKEY *key, X509 *issuer)
{
    X509 *certificate = X509_new();

    if (certificate && X509_set_version(certificate, X509_VERSION_3) && set_serial(certificate) &&
        set_dates(certificate, days) && set_common_name(X509_get_subject_name(certificate), name) &&
        X509_set_issuer_name(certificate, X509_get_subject_name(issuer ? issuer : certificate)) &&
        X509_set_pubkey(certificate, key) &&
        add_extension(certificate, issuer ? issuer : certificate, NID_subject_key_identifier,
                      "hash") &&
        add_extension(certificate, issuer ? issuer : certificate, NID_authority_key_identifier,
                      "keyid"))
        return certificate;
    X509_free(certificate);
    return NULL;
}

static X509 *authority_new(const char *name, unsigned int days, EVP_PKEY *key)
{
    X509 *c = certificate_new(name, days, key, NULL);

    if (c && add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        X509_sign(c, key, NULL))
        return c;
    X509_free(c);
    return NULL;
}

static X509 *leaf_new(enum role role, const char *name, unsigned int days, EVP_PKEY *key,
                      X509 *authority, EVP_PKEY *authority_key)
{
    X509 *c = certificate_new(name, days, key, authority);
    char uri[URI_SIZE + 4];

    snprintf(uri, sizeof(uri), "URI:" URI_PREFIX "%s:%s", role_name(role), name);
    if (c && add_extension(c, authority, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(c, authority, NID_key_usage, "critical,digitalSignature") &&
        add_extension(c, authority, NID_ext_key_usage, "clientAuth,serverAuth") &&
        add_extension(c, authority, NID_subject_alt_name, uri) && X509_sign(c, authority_key, NULL))
        return c;
    X509_free(c);
    return NULL;
}

int identity_make_authority(const char *name, unsigned int days, const char *key_path,
                            const char *certificate_path, struct err *err)
{
    X509 *certificate = NULL;
    EVP_PKEY *key = NULL;
    int rc;

    if ((rc = identity_check_name(name, err)) < 0 || (rc = check_days(days, err)) < 0 ||
        (rc = pem_refuse_existing(key_path, err)) < 0 ||
        (rc = pem_refuse_existing(certificate_path, err)) < 0)
        return rc;
    key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    certificate = key ? authority_new(name, days, key) : NULL;
    if (!certificate) {
        rc = pem_crypto_failed(err, "making an authority");
        goto out;
    }
    rc = pem_write_key(key_path, key, err);
    if (rc < 0)
        goto out;
    rc = pem_write_certificate(certificate_path, certificate, err);
    if (rc < 0)
        unlink(key_path);
out:
    X509_free(certificate);
    EVP_PKEY_free(key);
    return rc;
}

int identity_make_request(const char *name, const char *key_path, const char *request_path,
                          struct err *err)
{
    X509_REQ *request = NULL;
    EVP_PKEY *key = NULL;
    int rc;

    if ((rc = identity_check_name(name, err)) < 0 ||
        (rc = pem_refuse_existing(key_path, err)) < 0 ||
        (rc = pem_refuse_existing(request_path, err)) < 0)
        return rc;
    key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    request = X509_REQ_new();
    if (!key || !request || !X509_REQ_set_version(request, X509_REQ_VERSION_1) ||
        !set_common_name(X509_REQ_get_subject_name(request), name) ||
        !X509_REQ_set_pubkey(request, key) || !X509_REQ_sign(request, key, NULL)) {
        rc = pem_crypto_failed(err, "making a request");
        goto out;
    }
    rc = pem_write_key(key_path, key, err);
    if (rc < 0)
        goto out;
    rc = pem_write_request(request_path, request, err);
    if (rc < 0)
        unlink(key_path);
out:
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return rc;
}

static int check_authority(X509 *authority, EVP_PKEY *key, const char *path, unsigned int days,
                           struct err *err)
{
    time_t end = time(NULL) + (time_t)days * 86400;

    if (X509_check_ca(authority) != 1)
        return err_set(err, -EINVAL, "%s: is no authority's certificate", path);
    if (X509_check_private_key(authority, key) != 1) {
        ERR_clear_error();
        return err_set(err, -EINVAL,
                       "%s: the authority's key is another one than its certificate's", path);
    }
    if (X509_cmp_time(X509_get0_notAfter(authority), &end) <= 0)
        return err_set(err, -EINVAL,
                       "%s: the authority itself ends within %u days: sign for fewer days, or make "
                       "a new authority",
                       path, days);
    return 0;
}

int identity_sign(const char *authority_key_path, const char *authority_path,
                  const char *request_path, enum role role, const char *name, unsigned int days,
                  const char *certificate_path, struct err *err)
{
    X509 *authority = NULL, *certificate = NULL;
    X509_REQ *request = NULL;
    EVP_PKEY *key = NULL;
    int rc;

    if (role > ROLE_OWNER)
        return err_set(err, -EINVAL, "an authority signs for party0, party1, dealer or owner only");
    if ((rc = identity_check_name(name, err)) < 0 || (rc = check_days(days, err)) < 0 ||
        (rc = pem_refuse_existing(certificate_path, err)) < 0)
        return rc;
    if ((rc = pem_read_key(authority_key_path, &key, err)) < 0 ||
        (rc = pem_read_certificate(authority_path, &authority, err)) < 0 ||
        (rc = check_authority(authority, key, authority_path, days, err)) < 0 ||
        (rc = pem_read_request(request_path, &request, err)) < 0)
        goto out;
    certificate = leaf_new(role, name, days, X509_REQ_get0_pubkey(request), authority, key);
    rc = certificate ? pem_write_certificate(certificate_path, certificate, err)
                     : pem_crypto_failed(err, request_path);
out:
    X509_free(certificate);
    X509_REQ_free(request);
    X509_free(authority);
    EVP_PKEY_free(key);
    return rc;
}

/* Reading */

static int fingerprint_of(const X509_PUBKEY *key, uint8_t ret[IDENTITY_FINGERPRINT_BYTES])
{
    unsigned char *der = NULL;
    int count = i2d_X509_PUBKEY(key, &der);

    if (count < 0) {
        ERR_clear_error();
        return -EINVAL;
    }
    hash_bytes(der, (size_t)count, ret);
    OPENSSL_free(der);
    return 0;
}

static int common_name(const X509_NAME *subject, char ret_name[IDENTITY_NAME_SIZE], struct err *err)
{
    char name[IDENTITY_NAME_SIZE + 1] = "";
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const ASN1_STRING *text;
    int rc;

    if (at < 0)
        return err_set(err, -EINVAL, "its subject has no common name");
    text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    if (ASN1_STRING_length(text) > IDENTITY_NAME_SIZE)
        return err_set(err, -EINVAL, "its common name is too long");
    memcpy(name, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
    if (strlen(name) != (size_t)ASN1_STRING_length(text))
        return err_set(err, -EINVAL, "its common name holds a NUL");
    rc = identity_check_name(name, err);
    if (rc == 0)
        memcpy(ret_name, name, strlen(name) + 1);
    return rc;
}

/* "mpcformer:ROLE:NAME", all of it and nothing else. */
static int parse_uri(const ASN1_STRING *text, enum role *ret_role,
                     char ret_name[IDENTITY_NAME_SIZE])
{
    size_t count = (size_t)ASN1_STRING_length(text), prefix = strlen(URI_PREFIX);
    char uri[URI_SIZE] = "", *colon;

    if (count >= sizeof(uri))
        return -EINVAL;
    memcpy(uri, ASN1_STRING_get0_data(text), count);
    if (strlen(uri) != count || strncmp(uri, URI_PREFIX, prefix) != 0)
        return -EINVAL;
    colon = strchr(uri + prefix, ':');
    if (!colon || identity_check_name(colon + 1, NULL) < 0)
        return -EINVAL;
    *colon = 0;
    if (role_parse(uri + prefix, ret_role) < 0)
        return -EINVAL;
    memcpy(ret_name, colon + 1, strlen(colon + 1) + 1);
    return 0;
}

static int alternative_name(const X509 *certificate, struct identity *identity, struct err *err)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int rc = -EINVAL;

    if (names && sk_GENERAL_NAME_num(names) == 1) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);

        if (name->type == GEN_URI)
            rc = parse_uri(name->d.uniformResourceIdentifier, &identity->role, identity->name);
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    if (rc < 0)
        err_set(err, rc,
                "its subjectAltName is not the one URI " URI_PREFIX
                "ROLE:NAME; sign a request with `mpcformer keygen sign`");
    return rc;
}

static int64_t seconds_of(const ASN1_TIME *time_text)
{
    struct tm tm;

    return ASN1_TIME_to_tm(time_text, &tm) ? (int64_t)timegm(&tm) : 0;
}

int identity_of(const X509 *certificate, struct identity *ret_identity, struct err *err)
{
    struct identity identity = {.role = ROLE_AUTHORITY};
    int rc;

    /* libcrypto caches extensions in the object; it locks, and only lacks the const. */
    if (X509_check_ca((X509 *)(uintptr_t)certificate))
        rc = common_name(X509_get_subject_name(certificate), identity.name, err);
    else
        rc = alternative_name(certificate, &identity, err);
    if (rc < 0)
        return rc;
    if (fingerprint_of(X509_get_X509_PUBKEY(certificate), identity.fingerprint) < 0)
        return err_set(err, -EINVAL, "its public key cannot be read");
    identity.valid_from_s = seconds_of(X509_get0_notBefore(certificate));
    identity.valid_until_s = seconds_of(X509_get0_notAfter(certificate));
    *ret_identity = identity;
    return 0;
}

int identity_read(const char *path, struct identity *ret_identity, struct err *err)
{
    struct err detail = {""};
    X509 *certificate = NULL;
    int rc;

    rc = pem_read_certificate(path, &certificate, err);
    if (rc < 0)
        return rc;
    rc = identity_of(certificate, ret_identity, &detail);
    X509_free(certificate);
    return rc < 0 ? err_set(err, rc, "%s: %s", path, err_text(&detail, rc)) : 0;
}

int identity_read_request(const char *path, struct identity *ret_identity, struct err *err)
{
    struct identity identity = {.role = ROLE_OWNER};
    struct err detail = {""};
    X509_REQ *request = NULL;
    int rc;

    rc = pem_read_request(path, &request, err);
    if (rc < 0)
        return rc;
    rc = common_name(X509_REQ_get_subject_name(request), identity.name, &detail);
    if (rc == 0)
        rc = fingerprint_of(X509_REQ_get_X509_PUBKEY(request), identity.fingerprint);
    X509_REQ_free(request);
    if (rc < 0)
        return err_set(err, rc, "%s: %s", path, err_text(&detail, rc));
    *ret_identity = identity;
    return 0;
}

void identity_fingerprint(const struct identity *identity, char ret_text[IDENTITY_FINGERPRINT_SIZE])
{
    hex_encode(identity->fingerprint, sizeof(identity->fingerprint), ret_text);
}
