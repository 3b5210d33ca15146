/* Messages of a session: slow, large, too large, and not taken. */
#include "tests/appliance/tls_pair.h"

#include "base/bytes.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void talk_slowly(struct client *client, struct tls_session *session)
{
    for (int i = 0; i < 5 && client->rc == 0; i++) {
        usleep(150000);
        client->rc = tls_send(session, 1, "x", 1, TIMEOUT_MS, NULL);
    }
}

/* A timeout between two messages is no harm: the session goes on. */
static void test_timeout_between_messages(void **state)
{
    struct client client = {.name = "carl", .expect = ROLE_PARTY0, .talk = talk_slowly};
    struct tls_session *session = NULL;
    struct server server;
    uint8_t type, byte;
    int messages = 0, timeouts = 0, rc;
    size_t count;

    (void)state;
    server_start(&server);
    client_start(&client, &server);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, NULL), 0);
    assert_int_equal(tls_poll(session, 0), -ETIMEDOUT);
    do {
        rc = tls_receive(session, &type, &byte, 1, &count, 50, NULL);
        messages += rc == 0;
        timeouts += rc == -ETIMEDOUT;
    } while (rc == 0 || rc == -ETIMEDOUT);
    assert_int_equal(messages, 5);
    assert_true(timeouts > 0);
    assert_int_equal(rc, -ECONNRESET);
    client_join(&client);
    tls_free(session);
    server_stop(&server);
}

#define LARGE_BYTES (5u << 20)

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 131 + (i >> 8));
}

static void talk_large(struct client *client, struct tls_session *session)
{
    uint8_t *bytes = malloc(LARGE_BYTES);

    for (size_t i = 0; bytes && i < LARGE_BYTES; i++)
        bytes[i] = pattern(i);
    client->rc = tls_send(session, 2, bytes, LARGE_BYTES, TIMEOUT_MS, &client->err);
    if (client->rc == 0)
        client->rc = tls_send(session, 3, bytes, 16384 - 5, TIMEOUT_MS, &client->err);
    if (client->rc == 0)
        client->rc = tls_send(session, 4, bytes, 16384 - 4, TIMEOUT_MS, &client->err);
    free(bytes);
    tls_shutdown(session);
}

static void test_large_messages(void **state)
{
    static const size_t sizes[] = {LARGE_BYTES, 16384 - 5, 16384 - 4};
    struct client client = {.name = "carl", .expect = ROLE_PARTY0, .talk = talk_large};
    struct tls_session *session = NULL;
    struct err err = {""};
    struct server server;

    (void)state;
    server_start(&server);
    client_start(&client, &server);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, NULL), 0);
    for (size_t m = 0; m < ARRAY_LENGTH(sizes); m++) {
        uint8_t type = 0, *bytes = NULL;
        size_t count = 0, wrong = 0;

        assert_int_equal(
            tls_receive_alloc(session, &type, TLS_MESSAGE_MAX, &bytes, &count, TIMEOUT_MS, &err),
            0);
        assert_int_equal(type, 2 + m);
        assert_int_equal(count, sizes[m]);
        for (size_t i = 0; i < count; i++)
            wrong += bytes[i] != pattern(i);
        assert_int_equal(wrong, 0);
        secret_free(bytes, count);
    }
    client_join(&client);
    assert_int_equal(client.rc, 0);
    tls_free(session);
    server_stop(&server);
}

static void test_oversized_message(void **state)
{
    struct client client = {.name = "carl", .expect = ROLE_PARTY0, .talk = talk_large};
    struct tls_session *session = NULL;
    uint8_t type = 99, *bytes = NULL;
    struct err err = {""};
    struct server server;
    size_t count = 98;

    (void)state;
    server_start(&server);
    client_start(&client, &server);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, NULL), 0);
    assert_int_equal(
        tls_receive_alloc(session, &type, LARGE_BYTES - 1, &bytes, &count, TIMEOUT_MS, &err),
        -EMSGSIZE);
    assert_contains(err.text, "announces a message of 5242880 bytes where at most 5242879");
    assert_null(bytes);
    assert_int_equal(type, 99);
    assert_int_equal(count, 98);
    assert_int_equal(
        tls_receive_alloc(session, &type, LARGE_BYTES, &bytes, &count, TIMEOUT_MS, NULL),
        -ENOTCONN);
    tls_free(session);
    client_join(&client);
    /* The peer is gone in the middle of its sending: an error there, not a signal. */
    assert_true(client.rc < 0);
    server_stop(&server);
}

static void talk_too_much(struct client *client, struct tls_session *session)
{
    static const uint8_t byte;

    client->rc = tls_send(session, 1, &byte, (size_t)TLS_MESSAGE_MAX + 1, TIMEOUT_MS, &client->err);
    if (client->rc == -EMSGSIZE)
        client->rc = tls_send(session, 1, &byte, 1, TIMEOUT_MS, NULL);
    tls_shutdown(session);
}

static void test_too_long_to_send(void **state)
{
    struct client client = {.name = "carl", .expect = ROLE_PARTY0, .talk = talk_too_much};
    struct tls_session *session = NULL;
    struct server server;
    uint8_t type, byte;
    size_t count;

    (void)state;
    server_start(&server);
    client_start(&client, &server);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, NULL), 0);
    assert_int_equal(tls_receive(session, &type, &byte, 1, &count, TIMEOUT_MS, NULL), 0);
    client_join(&client);
    assert_int_equal(client.rc, 0);
    assert_contains(client.err.text, "a message of 67108865 bytes");
    tls_free(session);
    server_stop(&server);
}

/* A peer that does not read: the sender's deadline holds. */
static void talk_nothing(struct client *client, struct tls_session *session)
{
    (void)client, (void)session;
    usleep((SHORT_MS + 500) * 1000);
}

static void test_reader_stalls(void **state)
{
    struct client client = {.name = "carl", .expect = ROLE_PARTY0, .talk = talk_nothing};
    uint8_t *bytes = calloc(1, TLS_MESSAGE_MAX);
    struct tls_session *session = NULL;
    struct server server;
    uint64_t start;

    (void)state;
    assert_non_null(bytes);
    server_start(&server);
    client_start(&client, &server);
    assert_int_equal(server_accept(&server, TIMEOUT_MS, &session, NULL), 0);
    start = time_ns();
    assert_int_equal(tls_send(session, 1, bytes, TLS_MESSAGE_MAX, SHORT_MS, NULL), -ETIMEDOUT);
    assert_elapsed_ms(start, SHORT_MS, SHORT_MS + SLACK_MS);
    assert_int_equal(tls_send(session, 1, bytes, 1, SHORT_MS, NULL), -ENOTCONN);
    client_join(&client);
    tls_free(session);
    free(bytes);
    server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeout_between_messages),
        cmocka_unit_test(test_large_messages),
        cmocka_unit_test(test_oversized_message),
        cmocka_unit_test(test_too_long_to_send),
        cmocka_unit_test(test_reader_stalls),
    };

    return cmocka_run_group_tests_name("tls messages", tests, tls_files, teardown_folder);
}
