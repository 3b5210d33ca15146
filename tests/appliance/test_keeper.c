/*
 * keeper: what it does for the daemon, and all that it refuses; the key that it has in a session of
 * TLS; and that neither process outlives the other.
 */
#include "appliance/keeper_internal.h"

#include "appliance/pem.h"
#include "base/secret.h"
#include "tests/appliance/tls_pair.h"

#include <openssl/pem.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHA384_BYTES  48
#define VERIFY_BYTES  (64 + 34 + SHA384_BYTES)
#define SHORTER_BYTES (64 + 34 + 32)

static struct keeper *keeper;

static int begin(void **state)
{
    struct err err = {""};

    (void)state;
    if (keeper_start(&keeper, &err) < 0)
        fail_msg("%s", err.text);
    return 0;
}

static int end(void **state)
{
    (void)state;
    keeper_stop(keeper);
    keeper = NULL;
    return 0;
}

/* As RFC 8446, 4.4.3 has it; the hash is any. */
static void verify_of(const char *side, uint8_t ret[VERIFY_BYTES])
{
    memset(ret, ' ', 64);
    snprintf((char *)ret + 64, 34, "TLS 1.3, %s CertificateVerify", side);
    memset(ret + 64 + 34, 0x5a, SHA384_BYTES);
}

static EVP_PKEY *load(const char *path)
{
    struct err err = {""};
    EVP_PKEY *key = NULL;

    if (keeper_load(keeper, path, &key, &err) < 0)
        fail_msg("%s", err.text);
    return key;
}

/* As libssl does it. */
static int sign(EVP_PKEY *key, const uint8_t *bytes, size_t count, uint8_t ret[64])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    size_t n = 0;
    int ok = EVP_DigestSignInit_ex(c, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
             EVP_DigestSign(c, NULL, &n, bytes, count) == 1 && n == 64 &&
             EVP_DigestSign(c, ret, &n, bytes, count) == 1;

    EVP_MD_CTX_free(c);
    return ok ? 0 : -EIO;
}

/* With the public key of NAME.pem, by OpenSSL's own code. */
static bool is_signed(const char *certificate_path, const uint8_t *bytes, size_t count,
                      const uint8_t signature[64])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    X509 *certificate = NULL;
    bool ok;

    assert_int_equal(pem_read_certificate(certificate_path, &certificate, NULL), 0);
    ok = EVP_DigestVerifyInit_ex(c, NULL, NULL, NULL, NULL, X509_get0_pubkey(certificate), NULL) ==
             1 &&
         EVP_DigestVerify(c, signature, 64, bytes, count) == 1;
    EVP_MD_CTX_free(c);
    X509_free(certificate);
    return ok;
}

static void test_signs(void **state)
{
    static const char *const sides[] = {"server", "client"};
    static const size_t sizes[] = {VERIFY_BYTES, SHORTER_BYTES};
    uint8_t bytes[VERIFY_BYTES], signature[64];
    EVP_PKEY *key = load("anna.key");

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(sides); i++)
        for (size_t j = 0; j < ARRAY_LENGTH(sizes); j++) {
            verify_of(sides[i], bytes);
            assert_int_equal(sign(key, bytes, sizes[j], signature), 0);
            assert_true(is_signed("anna.pem", bytes, sizes[j], signature));
            assert_false(is_signed("bert.pem", bytes, sizes[j], signature));
        }
    EVP_PKEY_free(key);
}

/* Any byte before the hash that is another one, any length that is another one. */
static void test_signs_nothing_else(void **state)
{
    uint8_t bytes[VERIFY_BYTES + 1], signature[64];
    EVP_PKEY *key = load("anna.key");

    (void)state;
    verify_of("server", bytes);
    bytes[VERIFY_BYTES] = 0;
    for (size_t at = 0; at < 64 + 34; at++)
        for (unsigned int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1u << bit);
            assert_false(keeper_may_sign(bytes, VERIFY_BYTES));
            assert_true(sign(key, bytes, VERIFY_BYTES, signature) < 0);
            bytes[at] ^= (uint8_t)(1u << bit);
        }
    for (size_t count = 0; count <= sizeof(bytes); count++) {
        int rc = sign(key, bytes, count, signature);

        assert_int_equal(rc == 0, count == VERIFY_BYTES || count == SHORTER_BYTES);
    }
    /* OpenSSL's own way to a signature of a certificate, or of anything. */
    assert_true(sign(key, (const uint8_t *)"a certificate", 13, signature) < 0);
    EVP_PKEY_free(key);
}

/* The private half is nowhere in this process's object. */
static void test_key_has_no_private_half(void **state)
{
    EVP_PKEY *key = load("anna.key"), *own = NULL;
    uint8_t bytes[64];
    size_t count = sizeof(bytes);
    BIO *pem = BIO_new(BIO_s_mem());

    (void)state;
    assert_int_equal(EVP_PKEY_get_raw_private_key(key, bytes, &count), 0);
    assert_int_equal(PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL), 0);
    BIO_free(pem);
    assert_int_equal(pem_read_key("anna.key", &own, NULL), 0);
    assert_int_equal(EVP_PKEY_eq(own, key), 1);
    EVP_PKEY_free(own);
    assert_int_equal(pem_read_key("bert.key", &own, NULL), 0);
    assert_int_equal(EVP_PKEY_eq(own, key), 0);
    EVP_PKEY_free(own);
    EVP_PKEY_free(key);
}

/* --- sessions --- */

static int read_key(void *context, const char *path, struct evp_pkey_st **ret_key, struct err *err)
{
    return keeper_load(context, path, ret_key, err);
}

static struct tls_context *kept_context(const char *certificate, const char *key)
{
    struct tls_context *context = NULL;
    struct err err = {""};

    if (tls_context_new(certificate, key, "ca.pem", read_key, keeper, &context, &err) < 0)
        fail_msg("%s", err.text);
    return context;
}

/* Either side with a key that the keeper has, then both. */
static void test_session(void **state)
{
    (void)state;
    for (int who = 1; who <= 3; who++) {
        struct client client = {.name = "carl", .expect = ROLE_PARTY0};
        struct tls_session *session = NULL;
        struct server server;
        struct err err = {""};

        server_start(&server);
        if (who & 1) {
            tls_context_free(server.context);
            server.context = kept_context("anna.pem", "anna.key");
        }
        if (who & 2)
            client.context = kept_context("carl.pem", "carl.key");
        client_start(&client, &server);
        if (server_accept(&server, TIMEOUT_MS, &session, &err) < 0)
            fail_msg("%s", err.text);
        client_join(&client);
        assert_int_equal(client.rc, 0);
        assert_string_equal(tls_peer(session)->name, "carl");
        tls_free(session);
        server_stop(&server);
    }
}

static void test_another_certificates_key(void **state)
{
    struct tls_context *context = NULL;
    struct err err = {""};

    (void)state;
    assert_int_equal(
        tls_context_new("carl.pem", "dora.key", "ca.pem", read_key, keeper, &context, &err),
        -EINVAL);
    assert_contains(err.text, "dora.key: is the key of another certificate");
}

/* --- keys come and go --- */

static void test_second_key(void **state)
{
    uint8_t bytes[VERIFY_BYTES], signature[64];
    EVP_PKEY *first, *second;

    (void)state;
    verify_of("client", bytes);
    assert_int_equal(link("anna.key", "now.key"), 0);
    first = load("now.key");
    assert_int_equal(unlink("now.key"), 0);
    assert_int_equal(link("bert.key", "now.key"), 0);
    second = load("now.key");
    assert_int_equal(unlink("now.key"), 0);
    /* Who has begun with the first one goes on with it. */
    assert_int_equal(sign(first, bytes, VERIFY_BYTES, signature), 0);
    assert_true(is_signed("anna.pem", bytes, VERIFY_BYTES, signature));
    EVP_PKEY_free(first);
    assert_int_equal(sign(second, bytes, VERIFY_BYTES, signature), 0);
    assert_true(is_signed("bert.pem", bytes, VERIFY_BYTES, signature));
    EVP_PKEY_free(second);
}

static void test_forgets(void **state)
{
    EVP_PKEY *keys[KEEPER_KEYS_MAX], *one_more = NULL;
    uint8_t bytes[VERIFY_BYTES], signature[64];
    struct err err = {""};

    (void)state;
    for (size_t i = 0; i < KEEPER_KEYS_MAX; i++)
        keys[i] = load("anna.key");
    assert_int_equal(keeper_load(keeper, "anna.key", &one_more, &err), -EBUSY);
    assert_contains(err.text, "try again");
    EVP_PKEY_free(keys[3]);
    keys[3] = load("bert.key");
    for (size_t i = 0; i < KEEPER_KEYS_MAX; i++)
        EVP_PKEY_free(keys[i]);
    verify_of("server", bytes);
    for (uint32_t number = 0; number < 2 * KEEPER_KEYS_MAX; number++)
        assert_int_equal(keeper_ask(keeper, KEEPER_SIGN, number, bytes, VERIFY_BYTES, NULL,
                                    signature, sizeof(signature), NULL),
                         -ENOENT);
}

static void test_bad_keys(void **state)
{
    static const struct {
        const char *path;
        int code;
        const char *says;
    } cases[] = {
        {"none.key", -ENOENT, "none.key: No such file"},
        {"open.key", -EPERM, "open.key: others may read or change"},
        {"anna.pem", -EPERM, "others may read"},
        {"text.key", -EINVAL, "text.key: holds no private key"},
        {"ec.key", -EINVAL, "ec.key: is no Ed25519 key: make one with `mpcformer keygen"},
    };
    EVP_PKEY *ec = EVP_EC_gen("P-256"), *key = NULL;

    (void)state;
    assert_int_equal(pem_write_key("ec.key", ec, NULL), 0);
    EVP_PKEY_free(ec);
    write_text("text.key", "no key");
    assert_int_equal(chmod("text.key", 0600), 0);
    write_text("open.key", "no key");
    assert_int_equal(chmod("open.key", 0644), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct err err = {""};

        assert_int_equal(keeper_load(keeper, cases[i].path, &key, &err), cases[i].code);
        assert_contains(err.text, cases[i].says);
        assert_null(key);
    }
}

/* --- the store key --- */

static void test_derives(void **state)
{
    uint8_t salt[SEALED_SALT_BYTES] = {0}, here[SEALED_FILE_KEY_BYTES], there[sizeof(here)];
    struct sealed_key *local = NULL, *kept = NULL, *second = NULL;
    struct err err = {""};

    (void)state;
    assert_int_equal(sealed_key_make("store", NULL), 0);
    assert_int_equal(sealed_key_load("store", &local, NULL), 0);
    assert_int_equal(keeper_load_store(keeper, "store", &kept, &err), 0);
    for (int i = 0; i < 100; i++) {
        salt[i % SEALED_SALT_BYTES] += 77;
        assert_int_equal(sealed_key_derive(local, salt, here), 0);
        assert_int_equal(sealed_key_derive(kept, salt, there), 0);
        assert_memory_equal(here, there, sizeof(here));
    }
    assert_int_equal(keeper_load_store(keeper, "store", &second, &err), -EEXIST);
    assert_null(second);
    sealed_key_free(local);
    sealed_key_free(kept);
    assert_int_equal(unlink("store"), 0);
}

/* What the daemon seals, a program that has the key opens; and the other way round. */
static void test_seals(void **state)
{
    struct sealed_key *key[2] = {NULL, NULL};
    uint8_t *bytes;
    size_t count;

    (void)state;
    assert_int_equal(sealed_key_make("store", NULL), 0);
    assert_int_equal(sealed_key_load("store", &key[0], NULL), 0);
    assert_int_equal(keeper_load_store(keeper, "store", &key[1], NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sealed_write("sealed", key[i], &(struct file_part){"secret", 6}, 1, NULL),
                         0);
        assert_int_equal(sealed_read("sealed", key[!i], 6, &bytes, &count, NULL), 0);
        assert_int_equal(count, 6);
        assert_memory_equal(bytes, "secret", 6);
        secret_free(bytes, count);
    }
    sealed_key_free(key[0]);
    sealed_key_free(key[1]);
    assert_int_equal(unlink("store"), 0);
}

static void test_no_store_key(void **state)
{
    uint8_t salt[SEALED_SALT_BYTES] = {0}, file_key[SEALED_FILE_KEY_BYTES];
    struct sealed_key *key = NULL;
    struct err err = {""}, err2 = {""};

    (void)state;
    assert_int_equal(keeper_ask(keeper, KEEPER_DERIVE, 0, salt, sizeof(salt), NULL, file_key,
                                sizeof(file_key), &err),
                     -ENOENT);
    assert_contains(err.text, "no store key");
    write_text("short.store", "short");
    assert_int_equal(chmod("short.store", 0600), 0);
    assert_int_equal(keeper_load_store(keeper, "short.store", &key, &err2), -EINVAL);
    assert_contains(err2.text, "short.store: has 5 bytes, a store key 32");
    assert_null(key);
}

/* --- requests that are none --- */

/* The packet as it is: what comes back. */
static int ask_raw(const struct keeper_request *q, size_t count)
{
    struct keeper_reply reply;
    ssize_t n;

    assert_int_equal(send(keeper_fd(keeper), q, count, MSG_NOSIGNAL), count);
    n = recv(keeper_fd(keeper), &reply, sizeof(reply), 0);
    assert_true(n >= (ssize_t)KEEPER_REPLY_BYTES(0));
    assert_int_equal(n, KEEPER_REPLY_BYTES(reply.count));
    return reply.rc;
}

static void test_malformed(void **state)
{
    struct keeper_request q = {.what = KEEPER_DERIVE, .count = SEALED_SALT_BYTES};
    uint8_t bytes[VERIFY_BYTES], signature[64];
    EVP_PKEY *key;

    (void)state;
    for (size_t count = 1; count <= sizeof(q); count += count < 128 ? 1 : 97)
        if (count != KEEPER_REQUEST_BYTES(SEALED_SALT_BYTES))
            assert_int_equal(ask_raw(&q, count), -EPROTO);
    q.count = UINT32_MAX;
    assert_int_equal(ask_raw(&q, sizeof(q)), -EPROTO);
    assert_int_equal(ask_raw(&q, KEEPER_REQUEST_BYTES(SEALED_SALT_BYTES)), -EPROTO);
    for (uint32_t count = 0; count < 80; count++) {
        q.count = count;
        if (count != SEALED_SALT_BYTES)
            assert_int_equal(ask_raw(&q, KEEPER_REQUEST_BYTES(count)), -EPROTO);
    }
    for (uint32_t what = 0; what < 300; what++)
        if (what < KEEPER_LOAD || what > KEEPER_DERIVE) {
            q = (struct keeper_request){.what = what};
            assert_int_equal(ask_raw(&q, KEEPER_REQUEST_BYTES(0)), -EPROTO);
        }
    for (uint32_t what = 0x7fffffff; what; what <<= 1) {
        q = (struct keeper_request){.what = what};
        assert_int_equal(ask_raw(&q, KEEPER_REQUEST_BYTES(0)), -EPROTO);
    }
    q = (struct keeper_request){.what = KEEPER_FORGET, .count = 1};
    assert_int_equal(ask_raw(&q, KEEPER_REQUEST_BYTES(1)), -EPROTO);
    q = (struct keeper_request){.what = KEEPER_LOAD, .count = 0};
    assert_int_equal(ask_raw(&q, KEEPER_REQUEST_BYTES(0)), -EPROTO);
    q.count = PATH_MAX;
    memset(q.bytes, 'x', PATH_MAX);
    assert_int_equal(ask_raw(&q, sizeof(q)), -EPROTO);
    q.count = 9;
    memcpy(q.bytes, "anna.key", 9); /* with its NUL */
    assert_int_equal(ask_raw(&q, KEEPER_REQUEST_BYTES(9)), -EPROTO);

    key = load("anna.key"); /* and it goes on */
    verify_of("server", bytes);
    assert_int_equal(sign(key, bytes, VERIFY_BYTES, signature), 0);
    EVP_PKEY_free(key);
}

/* --- ends --- */

static void test_keeper_dies(void **state)
{
    struct pollfd fd = {.fd = keeper_fd(keeper)};
    uint8_t bytes[VERIFY_BYTES], signature[64];
    struct err err = {""};
    char how[KEEPER_END_SIZE];
    EVP_PKEY *key = load("anna.key"), *another = NULL;

    (void)state;
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_int_equal(kill(keeper_pid(keeper), SIGKILL), 0);
    assert_int_equal(poll(&fd, 1, TIMEOUT_MS), 1);
    assert_true(fd.revents & POLLHUP);
    verify_of("server", bytes);
    assert_true(sign(key, bytes, VERIFY_BYTES, signature) < 0);
    assert_int_equal(keeper_load(keeper, "anna.key", &another, &err), -EPIPE);
    assert_contains(err.text, "the keeper of keys is gone");
    EVP_PKEY_free(key);
    keeper_end(keeper, how);
    assert_contains(how, "killed by signal 9");
}

/* A process with a keeper is killed: the keeper's end of a pipe closes. */
static void test_dies_with_the_daemon(void **state)
{
    struct keeper *its = NULL;
    int alive[2], status;
    pid_t daemon, pid = 0;

    (void)state;
    assert_int_equal(pipe(alive), 0);
    daemon = fork();
    assert_true(daemon >= 0);
    if (daemon == 0) {
        if (keeper_start(&its, NULL) == 0) {
            pid = keeper_pid(its);
            if (write(alive[1], &pid, sizeof(pid)) == sizeof(pid))
                pause();
        }
        _exit(1);
    }
    assert_int_equal(close(alive[1]), 0);
    assert_int_equal(read(alive[0], &pid, sizeof(pid)), sizeof(pid));
    assert_int_equal(close(alive[0]), 0);
    assert_int_equal(kill(daemon, SIGKILL), 0);
    assert_int_equal(waitpid(daemon, &status, 0), daemon);
    for (int ms = 0; kill(pid, 0) == 0; ms += 10) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
        if (access(path, F_OK) < 0) /* nobody waits for it where there is no init */
            break;
        assert_true(ms < TIMEOUT_MS);
        usleep(10000);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_signs),
        TEST(test_signs_nothing_else),
        TEST(test_key_has_no_private_half),
        TEST(test_session),
        TEST(test_another_certificates_key),
        TEST(test_second_key),
        TEST(test_forgets),
        TEST(test_bad_keys),
        TEST(test_derives),
        TEST(test_seals),
        TEST(test_no_store_key),
        TEST(test_malformed),
        TEST(test_keeper_dies),
        TEST(test_dies_with_the_daemon),
    };

    return cmocka_run_group_tests(tests, tls_files, teardown_folder);
}
