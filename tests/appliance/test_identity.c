/*
 * Identities: an authority is made, somebody makes a request, the authority signs it for a role and
 * a name, and everybody reads the same in the certificate. Then all that must not work.
 */
#include "tests/appliance/fixture.h"

#include "appliance/pem.h"
#include "base/file.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int setup(void **state)
{
    setup_folder(state);
    make_authority("ca");
    make_certificate("ca", ROLE_PARTY0, "anna");
    return 0;
}

static void test_read_back(void **state)
{
    int64_t now = (int64_t)time(NULL), day = 86400;
    struct identity identity, request;
    struct err err = {""};

    (void)state;
    assert_int_equal(identity_read("anna.pem", &identity, &err), 0);
    assert_int_equal(identity.role, ROLE_PARTY0);
    assert_string_equal(identity.name, "anna");
    assert_true(identity.valid_from_s <= now);
    assert_true(identity.valid_until_s > now + (IDENTITY_DAYS - 1) * day);
    assert_true(identity.valid_until_s <= now + IDENTITY_DAYS * day);

    assert_int_equal(identity_read("ca.pem", &identity, &err), 0);
    assert_int_equal(identity.role, ROLE_AUTHORITY);
    assert_string_equal(identity.name, "ca");

    /* The fingerprint is the key's: known from the request, before anything is signed. */
    assert_int_equal(identity_read("anna.pem", &identity, &err), 0);
    assert_int_equal(identity_read_request("anna.csr", &request, &err), 0);
    assert_string_equal(request.name, "anna");
    assert_memory_equal(request.fingerprint, identity.fingerprint, sizeof(request.fingerprint));
}

static void test_key_is_private(void **state)
{
    EVP_PKEY *key = NULL;
    struct err err = {""};
    struct stat st;

    (void)state;
    assert_int_equal(stat("anna.key", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat("ca.key", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    assert_int_equal(chmod("anna.key", 0644), 0);
    assert_int_equal(pem_read_key("anna.key", &key, &err), -EPERM);
    assert_contains(err.text, "chmod 600");
    assert_int_equal(chmod("anna.key", 0600), 0);
}

/* The signer decides; what the request calls itself is not looked at. */
static void test_signer_decides(void **state)
{
    struct identity identity;

    (void)state;
    assert_int_equal(identity_make_request("party0", "b.key", "b.csr", NULL), 0);
    assert_int_equal(
        identity_sign("ca.key", "ca.pem", "b.csr", ROLE_OWNER, "bob", 10, "b.pem", NULL), 0);
    assert_int_equal(identity_read("b.pem", &identity, NULL), 0);
    assert_int_equal(identity.role, ROLE_OWNER);
    assert_string_equal(identity.name, "bob");
}

static void test_certificate_extensions(void **state)
{
    ASN1_INTEGER *serial[2];
    X509 *c[2] = {NULL, NULL};
    uint32_t usage;

    (void)state;
    assert_int_equal(
        identity_sign("ca.key", "ca.pem", "anna.csr", ROLE_PARTY0, "anna", 1, "again.pem", NULL),
        0);
    assert_int_equal(pem_read_certificate("anna.pem", &c[0], NULL), 0);
    assert_int_equal(pem_read_certificate("again.pem", &c[1], NULL), 0);
    assert_int_equal(X509_check_ca(c[0]), 0);
    assert_int_equal(X509_get_key_usage(c[0]), KU_DIGITAL_SIGNATURE);
    usage = X509_get_extended_key_usage(c[0]);
    assert_int_equal(usage, XKU_SSL_CLIENT | XKU_SSL_SERVER);
    for (int i = 0; i < 2; i++)
        serial[i] = X509_get_serialNumber(c[i]);
    assert_int_not_equal(ASN1_INTEGER_cmp(serial[0], serial[1]), 0);
    X509_free(c[0]);
    X509_free(c[1]);
}

static void test_nothing_is_replaced(void **state)
{
    struct err err = {""};
    struct stat before, after;

    (void)state;
    assert_int_equal(stat("anna.key", &before), 0);
    assert_int_equal(identity_make_request("anna", "anna.key", "new.csr", &err), -EEXIST);
    assert_contains(err.text, "anna.key exists already");
    assert_int_equal(identity_make_request("anna", "new.key", "anna.csr", NULL), -EEXIST);
    assert_int_equal(identity_make_authority("ca", 10, "ca.key", "new.pem", NULL), -EEXIST);
    assert_int_equal(identity_make_authority("ca", 10, "new.key", "ca.pem", NULL), -EEXIST);
    assert_int_equal(
        identity_sign("ca.key", "ca.pem", "anna.csr", ROLE_PARTY0, "anna", 10, "anna.pem", NULL),
        -EEXIST);
    assert_int_equal(stat("anna.key", &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    /* Nothing half-done is left either. */
    assert_int_not_equal(access("new.key", F_OK), 0);
    assert_int_not_equal(access("new.csr", F_OK), 0);
    assert_int_not_equal(access("new.pem", F_OK), 0);
    assert_true(identity_make_request("anna", "new.key", "nowhere/new.csr", NULL) < 0);
    assert_int_not_equal(access("new.key", F_OK), 0);
}

#define LETTERS_20 "abcdefghijklmnopqrst"
#define LETTERS_60 LETTERS_20 LETTERS_20 LETTERS_20

static void test_names(void **state)
{
    static const char *const good[] = {"a", "A-b_c.9", LETTERS_60 "abc"};
    static const char *const bad[] = {
        "", "a b", "a:b", "a/b", "\xc3\xa9", "a\n", "a,b", "a=b", LETTERS_60 "abcd"};
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++)
        assert_int_equal(identity_check_name(good[i], NULL), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        err = (struct err){""};
        assert_int_equal(identity_check_name(bad[i], &err), -EINVAL);
        assert_contains(err.text, "cannot be a name");
        assert_int_equal(identity_make_request(bad[i], "n.key", "n.csr", NULL), -EINVAL);
    }
}

static void test_roles(void **state)
{
    enum role role = ROLE_DEALER;

    (void)state;
    for (int r = ROLE_PARTY0; r <= ROLE_OWNER; r++) {
        assert_int_equal(role_parse(role_name((enum role)r), &role), 0);
        assert_int_equal(role, r);
    }
    assert_int_equal(role_parse("authority", &role), -EINVAL);
    assert_int_equal(role_parse("party2", &role), -EINVAL);
    assert_int_equal(role_parse("", &role), -EINVAL);
    assert_int_equal(
        identity_sign("ca.key", "ca.pem", "anna.csr", ROLE_AUTHORITY, "x", 10, "x.pem", NULL),
        -EINVAL);
}

static void test_bad_days(void **state)
{
    struct err err = {""};

    (void)state;
    assert_int_equal(identity_make_authority("x", 0, "x.key", "x.pem", NULL), -EINVAL);
    assert_int_equal(identity_make_authority("x", IDENTITY_DAYS_MAX + 1, "x.key", "x.pem", NULL),
                     -EINVAL);
    /* A certificate that outlives its authority would one day fail for a reason nobody sees. */
    assert_int_equal(identity_sign("ca.key", "ca.pem", "anna.csr", ROLE_PARTY0, "anna",
                                   IDENTITY_DAYS_AUTHORITY + 1, "x.pem", &err),
                     -EINVAL);
    assert_contains(err.text, "fewer days");
}

static void test_wrong_files(void **state)
{
    struct identity identity;
    struct err err = {""};

    (void)state;
    assert_int_equal(identity_read("absent.pem", &identity, NULL), -ENOENT);
    assert_int_equal(identity_read(".", &identity, NULL), -EINVAL);
    write_text("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_int_equal(identity_read("garbage.pem", &identity, &err), -EINVAL);
    assert_contains(err.text, "garbage.pem: holds no certificate");
    assert_int_equal(identity_read("anna.key", &identity, NULL), -EINVAL);
    assert_int_equal(identity_read_request("anna.pem", &identity, NULL), -EINVAL);

    /* The key of one authority, the certificate of another; and a leaf that wants to sign. */
    make_authority("ca2");
    err = (struct err){""};
    assert_int_equal(
        identity_sign("ca2.key", "ca.pem", "anna.csr", ROLE_PARTY0, "anna", 10, "x.pem", &err),
        -EINVAL);
    assert_contains(err.text, "key is another one");
    err = (struct err){""};
    assert_int_equal(
        identity_sign("anna.key", "anna.pem", "anna.csr", ROLE_PARTY0, "anna", 10, "x.pem", &err),
        -EINVAL);
    assert_contains(err.text, "no authority");
    assert_int_not_equal(access("x.pem", F_OK), 0);
}

/* A request whose key was exchanged on its way no longer proves that its sender has the key. */
static void test_changed_request(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    struct identity identity;
    X509_REQ *request = NULL;
    struct err err = {""};

    (void)state;
    assert_int_equal(pem_read_request("anna.csr", &request, NULL), 0);
    assert_int_equal(X509_REQ_set_pubkey(request, key), 1);
    assert_int_equal(pem_write_request("changed.csr", request, NULL), 0);
    assert_int_equal(identity_read_request("changed.csr", &identity, &err), -EBADMSG);
    assert_contains(err.text, "not signed with the key");
    X509_REQ_free(request);
    EVP_PKEY_free(key);
}

static void test_other_key_types(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509_REQ *request = X509_REQ_new();
    struct err err = {""};

    (void)state;
    assert_int_equal(X509_REQ_set_pubkey(request, key), 1);
    assert_true(X509_REQ_sign(request, key, EVP_sha256()) > 0);
    assert_int_equal(pem_write_request("ec.csr", request, NULL), 0);
    assert_int_equal(
        identity_sign("ca.key", "ca.pem", "ec.csr", ROLE_OWNER, "x", 10, "x.pem", &err), -EINVAL);
    assert_contains(err.text, "not Ed25519");
    X509_REQ_free(request);
    EVP_PKEY_free(key);
}

/* What a certificate of the same authority may say without being one of ours. */
static void test_foreign_names(void **state)
{
    static const char *const names[] = {
        NULL,
        "DNS:mpcformer:party0:anna",
        "URI:mpcformer:party0",
        "URI:mpcformer:party2:anna",
        "URI:mpcformer:authority:anna",
        "URI:mpcformer:party0:anna:x",
        "URI:mpcformer:party0:",
        "URI:https://mpcformer:party0:anna",
        "URI:mpcformer:party0:anna,URI:mpcformer:party1:anna",
        "URI:mpcformer:party0:anna,DNS:example.org",
    };
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        X509 *c = X509_new();
        struct identity identity;
        struct err err = {""};

        X509_set_version(c, X509_VERSION_3);
        X509_set_pubkey(c, key);
        if (names[i]) {
            X509_EXTENSION *e =
                X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, (char *)(uintptr_t)names[i]);

            assert_non_null(e);
            X509_add_ext(c, e, -1);
            X509_EXTENSION_free(e);
        }
        assert_true(X509_sign(c, key, NULL) > 0);
        assert_int_equal(identity_of(c, &identity, &err), -EINVAL);
        assert_contains(err.text, "not the one URI");
        X509_free(c);
    }
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_back),
        cmocka_unit_test(test_key_is_private),
        cmocka_unit_test(test_signer_decides),
        cmocka_unit_test(test_certificate_extensions),
        cmocka_unit_test(test_nothing_is_replaced),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_bad_days),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_changed_request),
        cmocka_unit_test(test_other_key_types),
        cmocka_unit_test(test_foreign_names),
    };

    return cmocka_run_group_tests_name("identity", tests, setup, teardown_folder);
}
