#include "appliance/party_link.h"

#include "appliance/log.h"
#include "appliance/net.h"
#include "appliance/service.h"
#include "appliance/shape.h"
#include "base/bytes.h"
#include "base/random.h"
#include "base/secret.h"
#include "dataplane/packet.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOKEN_BYTES 32
#define HELLO_MS    1000 /* for a stranger to show a token */

static const char label_keys[] = "EXPORTER-mpcformer-link-keys";
static const char label_token[] = "EXPORTER-mpcformer-link-token";

/* --- a connection --- */

static int receive_token(int fd, uint8_t token[TOKEN_BYTES])
{
    uint64_t deadline = net_deadline(HELLO_MS);
    size_t got = 0;

    while (got < TOKEN_BYTES) {
        ssize_t n = recv(fd, token + got, TOKEN_BYTES - got, 0);

        if (n == 0)
            return -ECONNRESET;
        if (n > 0)
            got += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return -errno;
        else if (net_wait(fd, POLLIN, deadline) < 0)
            return -ETIMEDOUT;
    }
    return 0;
}

/* The streams of a share link: the token of each, and its socket, -1 while there is none. */
struct streams {
    unsigned int count;
    uint8_t token[LINK_STREAMS_MAX][TOKEN_BYTES];
    int fd[LINK_STREAMS_MAX];
};

/* The one that @fd shows the token of and that is missing, or NULL. */
static int *find_stream(struct streams *s, int fd)
{
    uint8_t shown[TOKEN_BYTES];

    if (receive_token(fd, shown) < 0)
        return NULL;
    for (unsigned int i = 0; i < s->count; i++)
        if (s->fd[i] < 0 && secret_equal(shown, s->token[i], TOKEN_BYTES))
            return &s->fd[i];
    return NULL;
}

/* In whatever order they come. */
static int accept_streams(struct party_state *p, struct streams *s, struct err *err)
{
    uint64_t deadline = net_deadline((int)p->config->timeout_ms);
    unsigned int found = 0;

    while (found < s->count && time_ns() < deadline && !p->stopping) {
        int fd, *place, rc = net_accept(p->link_listen_fd, HELLO_MS, &fd, NULL);

        if (rc < 0)
            continue;
        place = find_stream(s, fd);
        if (place) {
            *place = fd;
            found++;
            continue;
        }
        log_warning("link-refused", log_text("error", "no token of this session"));
        close(fd);
    }
    return found == s->count ? 0
                             : err_set(err, -ETIMEDOUT,
                                       "party 0 opened %u of %u streams of the "
                                       "share link",
                                       found, s->count);
}

static int connect_streams(struct party_state *p, struct streams *s, struct err *err)
{
    int rc = 0;

    for (unsigned int i = 0; rc == 0 && i < s->count; i++) {
        rc = net_connect(&p->config->peer_link, (int)p->config->timeout_ms, &s->fd[i], err);
        /* A fresh socket has room for it. */
        if (rc == 0 && send(s->fd[i], s->token[i], TOKEN_BYTES, MSG_NOSIGNAL) != TOKEN_BYTES)
            rc = err_set(err, -EIO, "the share link took no token");
    }
    return rc;
}

/* Party 0's sending half comes first in what the session exports. */
static int export_keys(struct party_link *l, const char *first_half, const char *second_half,
                       struct seal_keys *keys)
{
    struct seal_direction *first = l->p->party == 0 ? &keys->send : &keys->receive;
    struct seal_direction *second = l->p->party == 0 ? &keys->receive : &keys->send;
    int rc = tls_export(l->tls, label_keys, first_half, 1, first, sizeof(*first));

    return rc < 0 ? rc : tls_export(l->tls, label_keys, second_half, 1, second, sizeof(*second));
}

/* Each stream has a token of its own, so that both ends count them alike. */
static int make_tokens(const struct party_link *l, struct streams *s)
{
    int rc = 0;

    for (unsigned int i = 0; rc == 0 && i < s->count; i++) {
        const char number[2] = {(char)('0' + i), '\0'};

        s->fd[i] = -1;
        rc =
            tls_export(l->tls, label_token, i ? number : NULL, i ? 1 : 0, s->token[i], TOKEN_BYTES);
    }
    return rc;
}

static int open_streams(struct party_link *l, const struct seal_keys *keys,
                        const struct link_options *options, struct err *err)
{
    struct streams s = {.count = l->p->config->streams};
    int rc = make_tokens(l, &s);

    if (rc < 0)
        return err_set(err, rc, "no token for the share link");
    rc = l->p->party == 0 ? connect_streams(l->p, &s, err) : accept_streams(l->p, &s, err);
    if (rc == 0) {
        host_nic_of_socket(s.fd[0], l->nic);
        rc = link_uring_new(s.fd, s.count, keys, options, &l->link, err);
    }
    for (unsigned int i = 0; rc < 0 && i < s.count; i++)
        if (s.fd[i] >= 0)
            close(s.fd[i]);
    secret_wipe(&s, sizeof(s));
    return rc;
}

/* --- packets --- */

#define PORT_BYTES      (PORT_MAC_BYTES + 3 * sizeof(uint32_t) + sizeof(uint16_t))
#define PORT_UDP        7199
#define ADDRESS_DEFAULT 0xa9fe4d01u /* 169.254.77.1, and party 1's is one more */

/* What an end says of its port. */
struct port_word {
    struct packet_address at;
    uint32_t frame_max, drawn;
};

static struct port_word my_word(const struct party_state *p)
{
    const struct config_port *c = &p->config->port;
    struct port_word w = {
        .at = {.udp = PORT_UDP, .ipv4 = c->address ? c->address : ADDRESS_DEFAULT + p->party},
        .frame_max = p->port->frame_max,
    };

    memcpy(w.at.mac, p->port->mac, PORT_MAC_BYTES);
    random_bytes(&w.drawn, sizeof(w.drawn));
    return w;
}

static int send_word(struct party_link *l, const struct port_word *word, struct err *err)
{
    struct writer w = {0};

    write_bytes(&w, word->at.mac, PORT_MAC_BYTES);
    write_u32(&w, word->at.ipv4);
    write_u16(&w, word->at.udp);
    write_u32(&w, word->frame_max);
    write_u32(&w, word->drawn);
    return message_send(l->tls, MESSAGE_PORT, &w, l->timeout_ms, err);
}

static int receive_word(struct party_link *l, struct port_word *ret, struct err *err)
{
    uint8_t bytes[PORT_BYTES], type;
    const uint8_t *mac;
    struct reader r;
    size_t count;
    int rc = tls_receive(l->tls, &type, bytes, sizeof(bytes), &count, l->timeout_ms, err);

    if (rc < 0)
        return rc;
    reader_init(&r, bytes, count);
    mac = read_bytes(&r, PORT_MAC_BYTES);
    if (mac)
        memcpy(ret->at.mac, mac, PORT_MAC_BYTES);
    ret->at.ipv4 = read_u32(&r);
    ret->at.udp = read_u16(&r);
    ret->frame_max = read_u32(&r);
    ret->drawn = read_u32(&r);
    return type == MESSAGE_PORT && reader_done(&r)
               ? 0
               : err_set(err, -EPROTO, "message %u where the peer's port was due", type);
}

static int await_up(struct party_link *l, struct err *err)
{
    uint64_t deadline = net_deadline(l->timeout_ms);

    while (!l->p->port->ops->up(l->p->port))
        if (time_ns() > deadline || l->p->stopping)
            return err_set(err, -ENETDOWN,
                           "the port's line is down: look at the cable, the "
                           "switch, and the other party's `port`");
        else
            usleep(1000);
    return 0;
}

static int open_packets(struct party_link *l, const struct seal_keys *keys,
                        const struct link_options *options, struct err *err)
{
    struct party_state *p = l->p;
    const struct config_port *c = &p->config->port;
    static const uint8_t none[PORT_MAC_BYTES];
    struct seal_keys *control = seal_keys_new();
    struct port_word here = my_word(p), there = {0};
    struct packet_path path = {.vlan = (uint16_t)c->vlan};
    struct link_packet_options where = {.port = p->port, .path = &path, .lifeline = tls_fd(l->tls)};
    int rc = control ? export_keys(l, "2", "3", control) : -ENOMEM;

    if (rc < 0)
        err_set(err, rc, "no keys for the share link's packets");
    if (rc == 0)
        rc = await_up(l, err);
    if (rc == 0)
        rc = send_word(l, &here, err);
    if (rc == 0)
        rc = receive_word(l, &there, err);
    if (rc == 0) {
        path.here = here.at;
        path.there = there.at;
        if (memcmp(c->peer_mac, none, sizeof(none)) != 0)
            memcpy(path.there.mac, c->peer_mac, sizeof(none));
        where.session = here.drawn ^ there.drawn;
        where.peer_frame_max = there.frame_max;
        host_nic_of_port(&c->where, p->port->driver, l->nic);
        rc = link_packet_new(&where, keys, control, options, &l->link, err);
    }
    seal_keys_free(control);
    return rc;
}

/* --- the link --- */

static int open_link(struct party_link *l, struct err *err)
{
    const struct config *config = l->p->config;
    bool packets = config->link == CONFIG_LINK_DPDK;
    const struct link_options options = {.timeout_ms = config->timeout_ms,
                                         .busy_poll_us_max = packets ? LINK_BUSY_POLL_PACKET_US
                                                                     : LINK_BUSY_POLL_US};
    struct seal_keys *keys = seal_keys_new();
    int rc = keys ? export_keys(l, "0", "1", keys) : -ENOMEM;

    if (rc < 0)
        err_set(err, rc, "no keys for the share link");
    if (rc == 0)
        rc = packets ? open_packets(l, keys, &options, err) : open_streams(l, keys, &options, err);
    if (rc == 0 && shape_set(&config->shape))
        rc = link_shape_new(l->link, &options, &config->shape.line, &l->link, err);
    seal_keys_free(keys);
    return rc;
}

/* --- what both must have alike --- */

#define LINK_TEXT_SIZE (SHAPE_TEXT_SIZE + 64)

static void describe_link(const struct config *c, char ret[LINK_TEXT_SIZE])
{
    char shape[SHAPE_TEXT_SIZE];

    shape_format(&c->shape, shape);
    snprintf(ret, LINK_TEXT_SIZE, "link = %s, shape = %s", config_link_name(c->link), shape);
    if (c->link == CONFIG_LINK_DPDK)
        snprintf(ret + strlen(ret), LINK_TEXT_SIZE - strlen(ret), ", port_vlan = %u", c->port.vlan);
    if (c->streams > 1)
        snprintf(ret + strlen(ret), LINK_TEXT_SIZE - strlen(ret), ", streams = %u", c->streams);
    if (c->tape_store)
        snprintf(ret + strlen(ret), LINK_TEXT_SIZE - strlen(ret), ", a tape_store");
}

static int send_description(struct party_link *l, const char *text, struct err *err)
{
    struct writer w = {0};

    write_string(&w, text);
    return message_send(l->tls, MESSAGE_LINK, &w, l->timeout_ms, err);
}

static int receive_description(struct party_link *l, char ret[LINK_TEXT_SIZE], struct err *err)
{
    uint8_t bytes[LINK_TEXT_SIZE + 8], type;
    struct reader r;
    size_t count;
    int rc = tls_receive(l->tls, &type, bytes, sizeof(bytes), &count, l->timeout_ms, err);

    if (rc < 0)
        return rc;
    reader_init(&r, bytes, count);
    read_string(&r, ret, LINK_TEXT_SIZE);
    return type == MESSAGE_LINK && reader_done(&r)
               ? 0
               : err_set(err, -EPROTO, "message %u where the peer's link was due", type);
}

/* Both say theirs before either judges, so that both know. */
static int compare_link(struct party_link *l, struct err *err)
{
    char here[LINK_TEXT_SIZE], there[LINK_TEXT_SIZE];
    int rc;

    describe_link(l->p->config, here);
    rc = send_description(l, here, err);
    if (rc == 0)
        rc = receive_description(l, there, err);
    if (rc < 0 || !strcmp(here, there))
        return rc;
    return err_set(err, -EPROTO,
                   "here is %s, at the other party %s: write the same in both configurations", here,
                   there);
}

/* --- what both hold --- */

static size_t ready_models(struct party_state *p, uint8_t ret[PARTY_MODELS_MAX][PLAN_ID_BYTES])
{
    size_t count = 0;

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->served_count; i++)
        if (p->served[i]->state == SERVED_READY)
            memcpy(ret[count++], p->served[i]->plan->model_id, PLAN_ID_BYTES);
    pthread_mutex_unlock(&p->lock);
    return count;
}

static int send_held(struct party_link *l, struct err *err)
{
    uint8_t models[PARTY_MODELS_MAX][PLAN_ID_BYTES];
    struct party_state *p = l->p;
    size_t model_count = ready_models(p, models);
    struct writer w = {0};
    uint32_t count = 0;

    write_u32(&w, (uint32_t)model_count);
    for (size_t i = 0; i < model_count; i++) {
        write_bytes(&w, models[i], PLAN_ID_BYTES);
        write_u64(&w, ledger_batch(p->ledger, models[i]));
    }
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->stock_count; i++)
        count += stock_idle(&p->stock[i]);
    write_u32(&w, count);
    for (size_t i = 0; i < p->stock_count; i++)
        if (stock_idle(&p->stock[i])) {
            write_bytes(&w, p->stock[i].served->plan->model_id, PLAN_ID_BYTES);
            write_u64(&w, p->stock[i].number);
        }
    pthread_mutex_unlock(&p->lock);
    return message_send(l->tls, MESSAGE_HELD, &w, l->timeout_ms, err);
}

#define HELD_BYTES     (PLAN_ID_BYTES + sizeof(uint64_t)) /* of either list */
#define HELD_BYTES_MAX (4 + PARTY_MODELS_MAX * HELD_BYTES + 4 + MESSAGE_HELD_MAX * HELD_BYTES)

static bool names(const uint8_t *list, size_t count, const struct held *h)
{
    for (size_t i = 0; i < count; i++, list += HELD_BYTES)
        if (!memcmp(list, h->served->plan->model_id, PLAN_ID_BYTES) &&
            load_le64(list + PLAN_ID_BYTES) == h->number)
            return true;
    return false;
}

/* How far the other party's ledger has come. */
static void take_batches(struct party_state *p, const uint8_t *list, size_t count)
{
    for (size_t i = 0; i < count; i++, list += HELD_BYTES) {
        struct served *s;

        pthread_mutex_lock(&p->lock);
        s = served_find(p, list);
        pthread_mutex_unlock(&p->lock);
        if (!s)
            continue;
        if (served_state_of(p, s) == SERVED_READY)
            party_compare(p, s, load_le64(list + PLAN_ID_BYTES));
        served_put(p, s);
    }
}

/* Of each variant that party 1 may still hold tapes of, party 0 says anew when it holds none. */
static void destroy_unnamed(struct party_state *p, const uint8_t *list, size_t count)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = p->stock_count; i-- > 0;)
        if (stock_idle(&p->stock[i]) && !names(list, count, &p->stock[i]))
            stock_destroy(p, &p->stock[i]);
    for (size_t i = 0; i < p->served_count; i++)
        memset(p->served[i]->none_told, 0, sizeof(p->served[i]->none_told));
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

static int receive_held(struct party_link *l, struct err *err)
{
    const uint8_t *batches, *list;
    uint32_t models, held;
    struct reader r;
    uint8_t type, *bytes;
    size_t count;
    int rc = tls_receive_alloc(l->tls, &type, HELD_BYTES_MAX, &bytes, &count, l->timeout_ms, err);

    if (rc < 0)
        return rc;
    reader_init(&r, bytes, count);
    models = read_u32(&r);
    batches = read_bytes(&r, (size_t)models * HELD_BYTES);
    held = read_u32(&r);
    list = read_bytes(&r, (size_t)held * HELD_BYTES);
    if (type != MESSAGE_HELD || !reader_done(&r)) {
        rc = err_set(err, -EPROTO, "message %u where the tapes held were due", type);
    } else {
        take_batches(l->p, batches, models);
        destroy_unnamed(l->p, list, held);
    }
    secret_free(bytes, count);
    return rc;
}

static int compare_held(struct party_link *l, struct err *err)
{
    int rc = l->p->party == 0 ? send_held(l, err) : receive_held(l, err);

    if (rc < 0)
        return rc;
    return l->p->party == 0 ? receive_held(l, err) : send_held(l, err);
}

int party_link_open(struct party_state *p, struct tls_session *tls, struct party_link *ret,
                    struct err *err)
{
    int rc;

    *ret = (struct party_link){.p = p, .tls = tls, .timeout_ms = (int)p->config->timeout_ms};
    rc = compare_link(ret, err);
    if (rc == 0)
        rc = open_link(ret, err);
    if (rc == 0)
        rc = compare_held(ret, err);
    if (rc < 0) {
        party_link_close(ret);
        return rc;
    }
    link_exchange_init(&ret->exchange, ret->link);
    ret->exchange.progress = service_alive;
    return 0;
}

void party_link_note(struct party_link *l)
{
    struct link_counters c;
    char features[LINK_FEATURES_SIZE];

    link_counters(l->link, &c);
    link_features(l->link, features, sizeof(features));
    pthread_mutex_lock(&l->p->lock);
    l->p->link = c;
    memcpy(l->p->link_features, features, sizeof(features));
    memcpy(l->p->link_nic, l->nic, sizeof(l->nic));
    pthread_mutex_unlock(&l->p->lock);
}

void party_link_close(struct party_link *l)
{
    link_free(l->link);
    tls_shutdown(l->tls);
    tls_free(l->tls);
    l->link = NULL;
    l->tls = NULL;
}
