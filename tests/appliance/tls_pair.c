#include "tests/appliance/tls_pair.h"

#include "appliance/pem.h"

#include <stdio.h>
#include <unistd.h>

/* NAME.pem again with dates that have passed; the authority's own hand, so all else is right. */
static void make_expired(const char *name)
{
    X509 *c = NULL;
    EVP_PKEY *key = NULL;
    char path[80];

    make_certificate("ca", ROLE_OWNER, name);
    snprintf(path, sizeof(path), "%s.pem", name);
    assert_int_equal(pem_read_certificate(path, &c, NULL), 0);
    assert_int_equal(pem_read_key("ca.key", &key, NULL), 0);
    X509_gmtime_adj(X509_getm_notBefore(c), -20 * 86400);
    X509_gmtime_adj(X509_getm_notAfter(c), -10 * 86400);
    assert_true(X509_sign(c, key, NULL) > 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(pem_write_certificate(path, c, NULL), 0);
    X509_free(c);
    EVP_PKEY_free(key);
}

int tls_files(void **state)
{
    setup_folder(state);
    make_authority("ca");
    make_certificate("ca", ROLE_PARTY0, "anna");
    make_certificate("ca", ROLE_PARTY1, "bert");
    make_certificate("ca", ROLE_OWNER, "carl");
    make_certificate("ca", ROLE_OWNER, "dora");
    make_authority("ca2");
    make_certificate("ca2", ROLE_OWNER, "eve");
    make_expired("old");
    return 0;
}

struct tls_context *context_of(const char *name)
{
    char certificate[80], key[80];
    struct tls_context *context = NULL;
    struct err err = {""};

    snprintf(certificate, sizeof(certificate), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    if (tls_context_new(certificate, key, "ca.pem", NULL, NULL, &context, &err) < 0)
        fail_msg("%s", err.text);
    return context;
}

void server_start(struct server *server)
{
    *server = (struct server){.context = context_of("anna")};
    assert_int_equal(net_parse("127.0.0.1:0", &server->address, NULL), 0);
    assert_int_equal(net_listen(&server->address, &server->listen_fd, NULL), 0);
    assert_int_equal(net_port(server->listen_fd, &server->address.port), 0);
    pin(&server->pins, ROLE_OWNER, "carl");
}

void server_stop(struct server *server)
{
    close(server->listen_fd);
    tls_pins_free(&server->pins);
    tls_context_free(server->context);
}

int server_accept(struct server *server, int timeout_ms, struct tls_session **ret_session,
                  struct err *err)
{
    int fd = -1;

    assert_int_equal(net_accept(server->listen_fd, TIMEOUT_MS, &fd, NULL), 0);
    return tls_accept(server->context, fd, &server->pins, timeout_ms, ret_session, err);
}

static void *client_main(void *argument)
{
    struct client *client = argument;
    struct tls_session *session = NULL;
    int fd = -1;

    client->rc = net_connect(&client->server->address, TIMEOUT_MS, &fd, &client->err);
    if (client->rc == 0)
        client->rc = tls_connect(client->context, fd, client->expect, &client->pins, TIMEOUT_MS,
                                 &session, &client->err);
    if (client->rc == 0 && client->talk)
        client->talk(client, session);
    tls_free(session);
    return NULL;
}

void client_start(struct client *client, const struct server *server)
{
    client->server = server;
    if (!client->context)
        client->context = context_of(client->name);
    pin(&client->pins, ROLE_PARTY0, client->wrong_pin ? "bert" : "anna");
    assert_int_equal(pthread_create(&client->thread, NULL, client_main, client), 0);
}

void client_join(struct client *client)
{
    assert_int_equal(pthread_join(client->thread, NULL), 0);
    tls_pins_free(&client->pins);
    tls_context_free(client->context);
}

void assert_elapsed_ms(uint64_t from_ns, uint64_t at_least, uint64_t at_most)
{
    uint64_t ms = (time_ns() - from_ns) / 1000000u;

    assert_in_range(ms, at_least, at_most);
}
