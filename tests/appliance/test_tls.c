/*
 * Sessions, with real handshakes over loopback. First the plain way: a party accepts an owner and
 * they talk. Then everybody who must not get in, and every way to be slow or rude.
 *
 * The accepting side runs in the test, the connecting side in a thread; each test says what both
 * must see.
 */
#include "tests/appliance/tls_pair.h"

#include "base/bytes.h"
#include "base/secret.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Who is let in */

static void talk_hello(struct client *client, struct tls_session *session)
{
    uint8_t type, reply[16];
    size_t count;

    client->rc = tls_send(session, 7, "hello", 5, TIMEOUT_MS, &client->err);
    if (client->rc == 0)
        client->rc =
            tls_receive(session, &type, reply, sizeof(reply), &count, TIMEOUT_MS, &client->err);
    if (client->rc == 0 && (type != 8 || count != 0))
        client->rc = -EBADMSG;
    if (client->rc == 0)
        client->rc = tls_export(session, "mpcformer link", "job", 3, client->key, 32);
    tls_shutdown(session);
}

static void test_session(void **state)
{
    struct client client = {.name = "carl", .expect = ROLE_PARTY0, .talk = talk_hello};
    struct tls_session *session = NULL;
    uint8_t type, text[16], key[32];
    struct err err = {""};
    struct server server;
    size_t count;

    (void)state;
    server_start(&server);
    client_start(&client, &server);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, &err), 0);

    /* The peer is known by role, name and key. */
    assert_int_equal(tls_peer(session)->role, ROLE_OWNER);
    assert_string_equal(tls_peer(session)->name, "carl");
    assert_memory_equal(tls_peer(session)->fingerprint, server.pins.pin[0].fingerprint, 32);

    assert_int_equal(tls_poll(session, TIMEOUT_MS), 0);
    assert_int_equal(tls_receive(session, &type, text, sizeof(text), &count, TIMEOUT_MS, &err), 0);
    assert_int_equal(type, 7);
    assert_int_equal(count, 5);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(tls_send(session, 8, NULL, 0, TIMEOUT_MS, &err), 0);

    /* Both derive the same link key; another label or context gives another. */
    assert_int_equal(tls_export(session, "mpcformer link", "job", 3, key, 32), 0);

    /* The end is announced, and stays the end. */
    assert_int_equal(tls_receive(session, &type, text, sizeof(text), &count, TIMEOUT_MS, &err),
                     -EPIPE);
    assert_int_equal(tls_receive(session, &type, text, sizeof(text), &count, TIMEOUT_MS, NULL),
                     -ENOTCONN);
    assert_int_equal(tls_send(session, 1, "x", 1, TIMEOUT_MS, NULL), -ENOTCONN);
    client_join(&client);
    assert_int_equal(client.rc, 0);
    assert_memory_equal(client.key, key, 32);
    assert_int_equal(tls_export(session, "mpcformer link", "jot", 3, key, 32), 0);
    assert_memory_not_equal(client.key, key, 32);
    tls_free(session);
    server_stop(&server);
}

/* Pinned by key and by name. */
static void test_pin_with_name(void **state)
{
    static const struct {
        const char *name;
        int rc;
    } cases[] = {{"carl", 0}, {"karl", -EACCES}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct client client = {.name = "carl", .expect = ROLE_PARTY0};
        char hex[IDENTITY_FINGERPRINT_SIZE], text[160];
        struct tls_session *session = NULL;
        struct server server;

        server_start(&server);
        tls_pins_free(&server.pins);
        fingerprint_text("carl", hex);
        snprintf(text, sizeof(text), "%s=%s", cases[i].name, hex);
        assert_int_equal(tls_pins_add(&server.pins, ROLE_OWNER, text, NULL), 0);
        client_start(&client, &server);
        assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, NULL), cases[i].rc);
        client_join(&client);
        assert_int_equal(client.rc, cases[i].rc);
        tls_free(session);
        server_stop(&server);
    }
}

/* Both sides must say why: the one that refuses, and the one that is refused. */
static void refused(struct client *client, const char *server_says, const char *client_says)
{
    struct tls_session *session = NULL;
    struct err err = {""};
    struct server server;

    server_start(&server);
    client_start(client, &server);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, &err), -EACCES);
    client_join(client);
    assert_contains(err.text, server_says);
    assert_int_equal(client->rc, -EACCES);
    assert_contains(client->err.text, client_says);
    assert_null(session);
    server_stop(&server);
}

static void test_unpinned_client(void **state)
{
    struct client client = {.name = "dora", .expect = ROLE_PARTY0};
    char hex[IDENTITY_FINGERPRINT_SIZE], says[512];

    (void)state;
    fingerprint_text("dora", hex);
    snprintf(
        says, sizeof(says),
        "its certificate is role owner name dora fingerprint %s, which this configuration does "
        "not pin (if it is the right one, add `client_pin = dora=%s`)",
        hex, hex);
    refused(&client, says, "does not believe this side's certificate");
}

/* The fingerprint is pinned, but for another role. */
static void test_wrong_role_client(void **state)
{
    struct client client = {.name = "bert", .expect = ROLE_PARTY0};
    struct tls_session *session = NULL;
    struct err err = {""};
    struct server server;

    (void)state;
    server_start(&server);
    pin(&server.pins, ROLE_DEALER, "bert");
    client_start(&client, &server);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, &err), -EACCES);
    client_join(&client);
    assert_contains(err.text, "role party1 name bert");
    assert_contains(err.text, "add `peer_pin = bert=");
    server_stop(&server);
}

static void test_wrong_role_server(void **state)
{
    struct client client = {.name = "carl", .expect = ROLE_PARTY1};

    (void)state;
    refused(&client, "does not believe this side's certificate", "another role is expected there");
}

static void test_unpinned_server(void **state)
{
    struct client client = {.name = "carl", .expect = ROLE_PARTY0, .wrong_pin = true};

    (void)state;
    refused(&client, "does not believe this side's certificate", "add `party0_pin = anna=");
}

/*
 * A client that does not use this code: plain libssl, with whatever certificate and version. It
 * goes on until the server lets it in or not, and sends @then afterwards, unless NULL.
 */
struct stranger {
    const struct server *server;
    const char *name; /* NULL: no certificate */
    int version_max;
    bool trickles;
    pthread_t thread;
    bool ended; /* the server told it to go, or closed */
};

/* A byte every 20 ms of a message of 1000. */
static void trickle_message(SSL *ssl)
{
    static const uint8_t greeting[] = {8, 0, 0, 0, 0xff, 'm', 'p', 'c', 'f', TLS_PROTOCOL_VERSION,
                                       0, 0, 0};
    static const uint8_t header[] = {0xe8, 3, 0, 0, 1};

    SSL_write(ssl, greeting, sizeof(greeting));
    SSL_write(ssl, header, sizeof(header));
    for (int i = 0; i < 100 && SSL_write(ssl, "x", 1) == 1; i++)
        usleep(20000);
}

static void *stranger_main(void *argument)
{
    struct stranger *stranger = argument;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    char path[80], byte;
    int fd = -1;

    if (net_connect(&stranger->server->address, TIMEOUT_MS, &fd, NULL) < 0)
        goto out;
    /* libssl here waits in read() and write(). */
    if (fcntl(fd, F_SETFL, 0) < 0)
        goto out;
    SSL_set_max_proto_version(ssl, stranger->version_max);
    if (stranger->name) {
        snprintf(path, sizeof(path), "%s.pem", stranger->name);
        SSL_use_certificate_file(ssl, path, SSL_FILETYPE_PEM);
        snprintf(path, sizeof(path), "%s.key", stranger->name);
        SSL_use_PrivateKey_file(ssl, path, SSL_FILETYPE_PEM);
    }
    SSL_set_fd(ssl, fd);
    stranger->ended = SSL_connect(ssl) != 1;
    if (!stranger->ended && stranger->trickles)
        trickle_message(ssl);
    else if (!stranger->ended)
        stranger->ended = SSL_read(ssl, &byte, 1) <= 0;
out:
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void stranger_refused(const char *name, int version_max, int rc, const char *says)
{
    struct stranger stranger = {.name = name, .version_max = version_max};
    struct tls_session *session = NULL;
    struct err err = {""};
    struct server server;

    server_start(&server);
    pin(&server.pins, ROLE_OWNER, "eve");
    pin(&server.pins, ROLE_OWNER, "old");
    stranger.server = &server;
    assert_int_equal(pthread_create(&stranger.thread, NULL, stranger_main, &stranger), 0);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, &err), rc);
    assert_contains(err.text, says);
    assert_int_equal(pthread_join(stranger.thread, NULL), 0);
    assert_true(stranger.ended);
    server_stop(&server);
}

/* Pinned, right role, but signed by another authority: the pin alone is not enough. */
static void test_wrong_authority(void **state)
{
    (void)state;
    stranger_refused("eve", TLS1_3_VERSION, -EACCES, "certificates of the same authority");
}

static void test_expired(void **state)
{
    (void)state;
    stranger_refused("old", TLS1_3_VERSION, -EACCES, "certificate has expired");
}

static void test_no_certificate(void **state)
{
    (void)state;
    stranger_refused(NULL, TLS1_3_VERSION, -EACCES, "shows no certificate");
}

static void test_old_version(void **state)
{
    (void)state;
    stranger_refused("carl", TLS1_2_VERSION, -EPROTO, "unsupported protocol");
}

/* Let in by its certificate, a peer that then says nothing of ours must still be gone in time. */
static void test_no_greeting(void **state)
{
    struct stranger stranger = {.name = "carl", .version_max = TLS1_3_VERSION};
    struct tls_session *session = NULL;
    uint64_t start = time_ns();
    struct server server;

    (void)state;
    server_start(&server);
    stranger.server = &server;
    assert_int_equal(pthread_create(&stranger.thread, NULL, stranger_main, &stranger), 0);
    assert_true(server_accept(&server, SHORT_MS, &session, NULL) < 0);
    assert_elapsed_ms(start, 0, SHORT_MS + SLACK_MS);
    assert_int_equal(pthread_join(stranger.thread, NULL), 0);
    server_stop(&server);
}

/* Not TLS at all, and nothing at all */

static int connect_plain(const struct server *server)
{
    int fd = -1;

    assert_int_equal(net_connect(&server->address, TIMEOUT_MS, &fd, NULL), 0);
    return fd;
}

static void test_garbage(void **state)
{
    static const char garbage[] = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    struct tls_session *session = NULL;
    struct err err = {""};
    struct server server;
    int fd;

    (void)state;
    server_start(&server);
    fd = connect_plain(&server);
    assert_int_equal(send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL), sizeof(garbage));
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, &err), -EPROTO);
    assert_contains(err.text, "does not speak TLS 1.3");
    close(fd);
    server_stop(&server);
}

static void test_gone(void **state)
{
    struct tls_session *session = NULL;
    struct server server;

    (void)state;
    server_start(&server);
    close(connect_plain(&server));
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, NULL), -ECONNRESET);
    server_stop(&server);
}

static void test_silence(void **state)
{
    struct tls_session *session = NULL;
    struct err err = {""};
    struct server server;
    uint64_t start;
    int fd;

    (void)state;
    server_start(&server);
    fd = connect_plain(&server);
    start = time_ns();
    assert_int_equal(server_accept(&server, SHORT_MS, &session, &err), -ETIMEDOUT);
    assert_elapsed_ms(start, SHORT_MS, SHORT_MS + SLACK_MS);
    assert_contains(err.text, "no answer in time");
    close(fd);
    server_stop(&server);
}

/* A byte every 20 ms of a record that will never be whole. */
static void *trickle_main(void *argument)
{
    static const uint8_t start[] = {22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc, 3, 3};
    int fd = *(int *)argument;

    for (size_t i = 0; i < 400; i++) {
        uint8_t byte = i < sizeof(start) ? start[i] : 0;

        if (send(fd, &byte, 1, MSG_NOSIGNAL) < 0)
            break;
        usleep(20000);
    }
    return NULL;
}

static void test_trickle_in_handshake(void **state)
{
    struct tls_session *session = NULL;
    struct server server;
    pthread_t thread;
    uint64_t start;
    int fd;

    (void)state;
    server_start(&server);
    fd = connect_plain(&server);
    assert_int_equal(pthread_create(&thread, NULL, trickle_main, &fd), 0);
    start = time_ns();
    assert_int_equal(server_accept(&server, SHORT_MS, &session, NULL), -ETIMEDOUT);
    assert_elapsed_ms(start, SHORT_MS, SHORT_MS + SLACK_MS);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(fd);
    server_stop(&server);
}

/* A deadline is for the whole message, however many of its bytes trickle in. */
static void test_trickle_in_message(void **state)
{
    struct stranger stranger = {.name = "carl", .version_max = TLS1_3_VERSION, .trickles = true};
    struct tls_session *session = NULL;
    uint8_t type, bytes[1000];
    struct err err = {""};
    struct server server;
    uint64_t start;
    size_t count;

    (void)state;
    /* The stranger writes through libssl's own socket BIO, into a connection that is closed. */
    signal(SIGPIPE, SIG_IGN);
    server_start(&server);
    stranger.server = &server;
    assert_int_equal(pthread_create(&stranger.thread, NULL, stranger_main, &stranger), 0);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, NULL), 0);
    assert_int_equal(tls_poll(session, TIMEOUT_MS), 0);
    start = time_ns();
    assert_int_equal(tls_receive(session, &type, bytes, sizeof(bytes), &count, SHORT_MS, &err),
                     -EIO);
    assert_elapsed_ms(start, SHORT_MS, SHORT_MS + SLACK_MS);
    assert_int_equal(tls_receive(session, &type, bytes, sizeof(bytes), &count, SHORT_MS, NULL),
                     -ENOTCONN);
    tls_free(session);
    assert_int_equal(pthread_join(stranger.thread, NULL), 0);
    signal(SIGPIPE, SIG_DFL);
    server_stop(&server);
}

/* What goes wrong before anybody connects */

static void test_bad_context(void **state)
{
    static const struct {
        const char *certificate, *key, *authority, *says;
    } cases[] = {
        {"absent.pem", "carl.key", "ca.pem", "absent.pem: No such file"},
        {"carl.pem", "dora.key", "ca.pem", "dora.key: is the key of another certificate"},
        {"carl.pem", "carl.pem", "ca.pem", "others may read"},
        {"carl.pem", "ca.key", "dora.pem", "dora.pem: is no authority's certificate"},
        {"carl.pem", "carl.key", "ca2.pem", "carl.pem: no peer would believe"},
        {"old.pem", "old.key", "ca.pem", "certificate has expired"},
        {"ca.pem", "ca.key", "ca.pem", "an authority is no peer"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct tls_context *context = NULL;
        struct err err = {""};

        assert_true(tls_context_new(cases[i].certificate, cases[i].key, cases[i].authority, NULL,
                                    NULL, &context, &err) < 0);
        assert_contains(err.text, cases[i].says);
        assert_null(context);
    }
}

static void test_bad_pins(void **state)
{
    static const char hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    static const char *const bad[] = {
        "",
        "x",
        "carl=",
        "=",
        "0011",
        "carl=00",
        "ca rl=00",
        "a=b=c",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeef",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeegg"};
    struct tls_pins pins = {.count = 0};
    struct err err = {""};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        assert_int_equal(tls_pins_add(&pins, ROLE_OWNER, bad[i], NULL), -EINVAL);
    assert_int_equal(pins.count, 0);
    assert_int_equal(tls_pins_add(&pins, ROLE_OWNER, hex, NULL), 0);
    /* One key in two roles would be one administrator in two places. */
    assert_int_equal(tls_pins_add(&pins, ROLE_DEALER, hex, &err), -EEXIST);
    assert_contains(err.text, "pinned already, as owner");
    tls_pins_free(&pins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_pin_with_name),
        cmocka_unit_test(test_unpinned_client),
        cmocka_unit_test(test_wrong_role_client),
        cmocka_unit_test(test_wrong_role_server),
        cmocka_unit_test(test_unpinned_server),
        cmocka_unit_test(test_wrong_authority),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_no_certificate),
        cmocka_unit_test(test_old_version),
        cmocka_unit_test(test_no_greeting),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_trickle_in_handshake),
        cmocka_unit_test(test_trickle_in_message),
        cmocka_unit_test(test_bad_context),
        cmocka_unit_test(test_bad_pins),
    };

    return cmocka_run_group_tests_name("tls", tests, tls_files, teardown_folder);
}
