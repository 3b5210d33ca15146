/*
 * The two sides of a session over loopback: a party that accepts, in the test, and a client that
 * connects, in a thread; with the certificates of both and of everybody who must not get in.
 */
#ifndef TESTS_APPLIANCE_TLS_PAIR_H
#define TESTS_APPLIANCE_TLS_PAIR_H

#include "appliance/net.h"
#include "tests/appliance/fixture.h"

#include <pthread.h>

#define TIMEOUT_MS 5000

/* Deadlines that are meant to pass, and how late a loaded machine may notice. */
#define SHORT_MS 300
#define SLACK_MS 2500

/* A listening party0 and whom it pins; the address of the next one who connects. */
struct server {
    struct tls_context *context;
    struct tls_pins pins;
    struct net_address address;
    int listen_fd;
};

/* The other side: a thread that connects as @name and then does @talk. cmocka's assertions do not
 * work in threads, so it keeps what it saw. */
struct client {
    const struct server *server;
    const char *name;
    enum role expect;
    bool wrong_pin;
    void (*talk)(struct client *client, struct tls_session *session);

    struct tls_context *context; /* NULL: @name's; freed with the client */
    struct tls_pins pins;
    pthread_t thread;
    int rc;
    struct err err;
    uint8_t key[32];
};

/** The certificates, in a folder of the test's own: a group's setup. */
int tls_files(void **state);
struct tls_context *context_of(const char *name);
void server_start(struct server *server);
void server_stop(struct server *server);
int server_accept(struct server *server, int timeout_ms, struct tls_session **ret_session,
                  struct err *err);
void client_start(struct client *client, const struct server *server);
void client_join(struct client *client);
void assert_elapsed_ms(uint64_t from_ns, uint64_t at_least, uint64_t at_most);

#endif
