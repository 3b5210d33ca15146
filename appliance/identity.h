/*
 * Who is who: certificates, and what this project reads in them.
 *
 * An authority (a self-signed Ed25519 certificate) signs one certificate for every appliance and
 * every owner. The private key is made where it is used and never travels: its holder sends a
 * request, the authority's holder signs it and decides the ROLE and the NAME, which stand in the
 * certificate as the one subjectAltName, a URI `mpcformer:ROLE:NAME`; what a request claims about
 * itself counts for nothing.
 *
 * A certificate is believed only when its key is also pinned (see tls.h). The fingerprint that is
 * pinned is the SHA-256 of the SubjectPublicKeyInfo in DER, so it is known as soon as the key is,
 * it survives renewal with the same key, and taking the pin away is revocation.
 *
 * No function here replaces a file that exists. Keys are written 0600.
 */
#ifndef APPLIANCE_IDENTITY_H
#define APPLIANCE_IDENTITY_H

#include "base/base.h"

enum role {
    ROLE_PARTY0,
    ROLE_PARTY1,
    ROLE_DEALER,
    ROLE_OWNER,     /* a model owner or a data owner: a client of the parties */
    ROLE_AUTHORITY, /* signs the others; never a peer */
};

/** A set of roles. */
#define ROLE_BIT(role) (1u << (role))

/** 1..63 of A-Z a-z 0-9 . _ - and a NUL. */
#define IDENTITY_NAME_SIZE 64

#define IDENTITY_FINGERPRINT_BYTES 32
#define IDENTITY_FINGERPRINT_SIZE  (2 * IDENTITY_FINGERPRINT_BYTES + 1) /* as hexadecimal text */

#define IDENTITY_DAYS           825
#define IDENTITY_DAYS_AUTHORITY 3650
#define IDENTITY_DAYS_MAX       36500

struct identity {
    enum role role;
    char name[IDENTITY_NAME_SIZE];
    uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES];
    int64_t valid_from_s, valid_until_s; /* since 1970, UTC; both 0 for a request */
};

/** "party0", "party1", "dealer", "owner", "authority". */
const char *role_name(enum role role);

/** One of the four roles that a peer can have; -EINVAL otherwise. */
MUST_CHECK int role_parse(const char *text, enum role *ret_role);

/** -EINVAL with the rule in @err unless @name is one that a certificate can carry. */
MUST_CHECK int identity_check_name(const char *name, struct err *err);

/** Make an authority: its key at @key_path, its certificate at @certificate_path. */
MUST_CHECK int identity_make_authority(const char *name, unsigned int days, const char *key_path,
                                       const char *certificate_path, struct err *err);

/**
 * Make a private key at @key_path and a request for a certificate at @request_path.
 * @name is only the requester's wish.
 */
MUST_CHECK int identity_make_request(const char *name, const char *key_path,
                                     const char *request_path, struct err *err);

/**
 * Sign a request: the certificate at @certificate_path says @role and @name. The request must prove
 * possession of an Ed25519 key; the certificate may not outlive the authority's.
 */
MUST_CHECK int identity_sign(const char *authority_key_path, const char *authority_path,
                             const char *request_path, enum role role, const char *name,
                             unsigned int days, const char *certificate_path, struct err *err);

/**
 * Read the (first) certificate in a PEM file. Its signature and its dates are not checked: that
 * takes an authority and an instant, and tls.h does it. -EINVAL when it is none of ours.
 */
MUST_CHECK int identity_read(const char *path, struct identity *ret_identity, struct err *err);

/** The wish and the fingerprint in a request; its role is not decided yet and left at owner. */
MUST_CHECK int identity_read_request(const char *path, struct identity *ret_identity,
                                     struct err *err);

struct x509_st;

/** The same of a certificate in memory (OpenSSL's X509). */
MUST_CHECK int identity_of(const struct x509_st *certificate, struct identity *ret_identity,
                           struct err *err);

/** The fingerprint as 64 lower-case hexadecimal digits. */
void identity_fingerprint(const struct identity *identity,
                          char ret_text[IDENTITY_FINGERPRINT_SIZE]);

#endif
