/* The dealing thread and the sessions of the two parties. */
#include "appliance/dealer.h"

#include "appliance/daemon.h"
#include "appliance/log.h"
#include "appliance/net.h"
#include "appliance/service.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/secret.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POLL_MS       200
#define WAIT_MS       1000
#define HANDSHAKE_MS  3000
#define REQUEST_BYTES 256

/* A party may be preparing another tape while it is sent this one. */
#define TAPE_TIMEOUTS 6

struct dealer_sessions {
    struct dealer_state *d;
    struct tls_session *tls[2];
    int timeout_ms;
};

/* --- one message of a party --- */

static int answer_subscribe(struct dealer_sessions *s, unsigned int party, struct reader *r,
                            struct err *err)
{
    const uint8_t *id = read_bytes(r, PLAN_ID_BYTES), *hash = read_bytes(r, PLAN_HASH_BYTES);
    uint64_t max = read_u64(r);
    struct dealt_model *m;
    struct writer w = {0};
    int rc;

    if (!reader_done(r) || max > MESSAGE_TAPE_NUMBER_MAX)
        return err_set(err, -EPROTO, "a subscription that cannot be read");
    m = dealer_find(s->d, id);
    if (!m || memcmp(hash, m->plan->hash, PLAN_HASH_BYTES)) {
        rc = message_refuse(s->tls[party], REFUSAL_NOT_YET,
                            m ? "the dealer has another plan under this model id"
                              : "the dealer has not loaded this model: `mpcformer model load "
                                "--plan FILE` there",
                            s->timeout_ms);
        if (m)
            dealer_put(s->d, m);
        return rc;
    }
    dealer_skip_to(s->d, m, max);
    m->party[party] = (struct dealt_to){.subscribed = true};
    write_bytes(&w, id, PLAN_ID_BYTES);
    write_bytes(&w, m->mask.seed[party], PRG_SEED_BYTES);
    write_u64(&w, m->mask.batch);
    rc = message_send(s->tls[party], MESSAGE_SEED, &w, s->timeout_ms, err);
    dealer_put(s->d, m);
    return rc;
}

static int take_grant(struct dealer_sessions *s, unsigned int party, struct reader *r,
                      struct err *err)
{
    const uint8_t *id = read_bytes(r, PLAN_ID_BYTES);
    struct message_variant of;
    const struct variant *v;
    struct dealt_model *m;
    uint64_t total;
    int rc = 0;

    message_read_variant(r, &of);
    total = read_u64(r);
    if (!reader_done(r))
        return err_set(err, -EPROTO, "a grant that cannot be read");
    m = dealer_find(s->d, id);
    /* Unloaded, perhaps loaded again since: in a new session it will subscribe anew. */
    if (!m || !m->party[party].subscribed) {
        if (m)
            dealer_put(s->d, m);
        return err_set(err, -ENOENT, "a grant for a model that was unloaded meanwhile");
    }
    v = message_find_variant(m->plan, &of);
    if (v)
        m->party[party].granted[v - m->plan->variants] = total;
    else
        rc = err_set(err, -EPROTO, "a grant for %u times %u tokens, which the plan does not have",
                     of.batch, of.tokens);
    dealer_put(s->d, m);
    return rc;
}

/* Without an answer where it cannot be written down: the party asks again. */
static int take_mark(struct dealer_sessions *s, unsigned int party, struct reader *r,
                     struct err *err)
{
    const uint8_t *id = read_bytes(r, PLAN_ID_BYTES);
    uint64_t batch = read_u64(r);
    struct err why = {0};
    struct writer w = {0};
    struct dealt_model *m;
    int rc;

    if (!reader_done(r) || batch > MESSAGE_TAPE_NUMBER_MAX)
        return err_set(err, -EPROTO, "a mark that cannot be read");
    m = dealer_find(s->d, id);
    if (!m)
        return 0;
    rc = dealer_mark(s->d, m, batch, &why);
    if (rc < 0)
        log_error("not-marked", log_text("model", m->id), log_text("error", err_text(&why, rc)));
    dealer_put(s->d, m);
    if (rc < 0)
        return 0;
    write_bytes(&w, id, PLAN_ID_BYTES);
    write_u64(&w, batch);
    return message_send(s->tls[party], MESSAGE_MARKED, &w, s->timeout_ms, err);
}

/* Returns the type that was handled, or a negative errno. @ret_number: of a TAPE_OK. */
static int serve_message(struct dealer_sessions *s, unsigned int party, uint64_t *ret_number,
                         struct err *err)
{
    uint8_t request[REQUEST_BYTES], type;
    struct reader r;
    size_t count;
    int rc =
        tls_receive(s->tls[party], &type, request, sizeof(request), &count, s->timeout_ms, err);

    if (rc < 0)
        return rc;
    reader_init(&r, request, count);
    if (type == MESSAGE_SUBSCRIBE)
        rc = answer_subscribe(s, party, &r, err);
    else if (type == MESSAGE_GRANT)
        rc = take_grant(s, party, &r, err);
    else if (type == MESSAGE_MARK)
        rc = take_mark(s, party, &r, err);
    else if (type == MESSAGE_TAPE_OK)
        *ret_number = read_u64(&r);
    else
        rc = -EPROTO;
    if (rc == 0 && !reader_done(&r))
        rc = -EPROTO;
    return rc < 0 ? err_set(err, rc, "message %u cannot be read", type) : type;
}

/* --- one tape --- */

struct sending {
    struct dealer_sessions *s;
    struct message_chunk head;
    uint8_t *chunk; /* MESSAGE_CHUNK_BYTES */
    uint64_t offset;
    size_t filled;
    struct err *err;
};

static int send_chunk(struct sending *to)
{
    struct writer w = {0};

    if (!to->filled)
        return 0;
    to->head.offset = to->offset;
    to->head.bytes = (uint32_t)to->filled;
    hash_bytes(to->chunk, to->filled, to->head.sha256);
    message_write_chunk(&w, &to->head);
    write_bytes(&w, to->chunk, to->filled);
    to->offset += to->filled;
    to->filled = 0;
    return message_send(to->s->tls[1], MESSAGE_CHUNK, &w, TAPE_TIMEOUTS * to->s->timeout_ms,
                        to->err);
}

static int emit(void *context, const uint8_t *bytes, size_t count)
{
    struct sending *to = context;
    int rc = 0;

    while (rc == 0 && count) {
        size_t n = MIN(count, MESSAGE_CHUNK_BYTES - to->filled);

        memcpy(to->chunk + to->filled, bytes, n);
        to->filled += n;
        bytes += n;
        count -= n;
        if (to->filled == MESSAGE_CHUNK_BYTES)
            rc = send_chunk(to);
    }
    return rc;
}

static int send_header(struct dealer_sessions *s, unsigned int party, struct message_tape *t,
                       const struct variant *v, const uint8_t seed[PRG_SEED_BYTES], struct err *err)
{
    struct writer w = {0};
    int rc;

    t->party = (uint8_t)party;
    t->bytes = party == 1 ? v->tape_bytes : 0;
    memcpy(t->seed, seed, PRG_SEED_BYTES);
    message_write_tape(&w, t);
    rc = message_send(s->tls[party], MESSAGE_TAPE, &w, TAPE_TIMEOUTS * s->timeout_ms, err);
    secret_wipe(t->seed, PRG_SEED_BYTES);
    return rc;
}

static int send_blob(struct dealer_sessions *s, struct dealt_model *m, const struct message_tape *t,
                     const struct variant *v, const uint8_t seed[2][PRG_SEED_BYTES],
                     struct err *err)
{
    struct sending to = {.s = s, .err = err};
    int rc;

    to.chunk = secret_alloc(MESSAGE_CHUNK_BYTES);
    if (!to.chunk)
        return err_set(err, -ENOMEM, "no memory to deal");
    memcpy(to.head.model, t->model, sizeof(to.head.model));
    memcpy(to.head.plan_hash, t->plan_hash, sizeof(to.head.plan_hash));
    to.head.number = t->number;
    to.head.party = 1;
    rc = deal_tape(m->dealing, v, seed, emit, &to);
    if (rc == 0)
        rc = send_chunk(&to);
    secret_free(to.chunk, MESSAGE_CHUNK_BYTES);
    return rc;
}

static int await_ok(struct dealer_sessions *s, unsigned int party, uint64_t number, struct err *err)
{
    uint64_t deadline = net_deadline(TAPE_TIMEOUTS * s->timeout_ms), got = 0;

    while (time_ns() < deadline && !s->d->stopping) {
        int type;

        if (tls_poll(s->tls[party], POLL_MS) < 0)
            continue;
        type = serve_message(s, party, &got, err);
        if (type < 0)
            return type;
        if (type == MESSAGE_TAPE_OK)
            return got == number ? 0 : err_set(err, -EPROTO, "it confirmed another tape");
    }
    return err_set(err, -ETIMEDOUT, "it did not confirm tape %" PRIu64, number);
}

static int send_keep(struct dealer_sessions *s, const struct message_tape *t, struct err *err)
{
    struct writer w = {0};

    write_u64(&w, t->number);
    write_bytes(&w, t->model, sizeof(t->model));
    return message_send(s->tls[1], MESSAGE_TAPE_KEEP, &w, s->timeout_ms, err);
}

/* Party 1 has its blob before party 0 has its seed, so what party 0 proposes is there. */
static int deliver(struct dealer_sessions *s, struct dealt_model *m, const struct variant *v,
                   uint64_t number, const uint8_t seed[2][PRG_SEED_BYTES], struct err *err)
{
    struct message_tape t = {.number = number, .variant = message_variant_of(v)};
    uint64_t start = time_ns();
    int rc;

    memcpy(t.model, m->plan->model_id, sizeof(t.model));
    memcpy(t.plan_hash, m->plan->hash, sizeof(t.plan_hash));
    rc = send_header(s, 1, &t, v, seed[1], err);
    if (rc == 0)
        rc = send_blob(s, m, &t, v, seed, err);
    t.deal_ns = time_ns() - start;
    if (rc == 0)
        rc = await_ok(s, 1, number, err);
    if (rc == 0)
        rc = send_header(s, 0, &t, v, seed[0], err);
    if (rc == 0)
        rc = await_ok(s, 0, number, err);
    return rc < 0 ? rc : send_keep(s, &t, err);
}

/* 1 when it was dealt, 0 when it cannot be now: the sessions are none the worse for a full disk. */
static int deal_one(struct dealer_sessions *s, struct dealt_model *m, size_t variant,
                    struct err *err)
{
    const struct variant *v = &m->plan->variants[variant];
    uint8_t seed[2][PRG_SEED_BYTES];
    uint64_t number, start = time_ns();
    struct err why = {0};
    int rc = dealer_number(s->d, m, &number, &why);

    if (rc < 0) {
        log_error("no-tape-number", log_text("model", m->id),
                  log_text("error", err_text(&why, rc)));
        return 0;
    }
    random_bytes(seed, sizeof(seed));
    m->party[0].dealt[variant]++;
    m->party[1].dealt[variant]++;
    service_expect(2 * TAPE_TIMEOUTS * (unsigned int)s->timeout_ms);
    rc = deliver(s, m, v, number, (const uint8_t(*)[PRG_SEED_BYTES])seed, err);
    service_expect(0);
    secret_wipe(seed, sizeof(seed));
    if (rc == 0) {
        pthread_mutex_lock(&s->d->lock);
        m->tapes_dealt++;
        histogram_add(&s->d->offline, time_ns() - start);
        pthread_mutex_unlock(&s->d->lock);
        log_info("tape-dealt", log_text("model", m->id), log_number("number", (int64_t)number),
                 log_number("tokens", v->tokens), log_number("batch", v->batch));
    }
    return rc < 0 ? rc : 1;
}

/* 1 when a tape was dealt, 0 when none is wanted. */
static int deal_next(struct dealer_sessions *s, struct err *err)
{
    struct dealt_model *m = NULL;
    size_t variant = 0;
    int rc;

    pthread_mutex_lock(&s->d->lock);
    for (size_t i = 0; !m && i < s->d->model_count; i++) {
        const struct dealt_to *p = s->d->models[i]->party;

        for (size_t v = 0; !m && v < s->d->models[i]->plan->variant_count; v++)
            if (p[0].granted[v] > p[0].dealt[v] && p[1].granted[v] > p[1].dealt[v]) {
                m = s->d->models[i];
                m->users++;
                variant = v;
            }
    }
    pthread_mutex_unlock(&s->d->lock);
    if (!m)
        return 0;
    rc = deal_one(s, m, variant, err);
    dealer_put(s->d, m);
    return rc;
}

/* --- the sessions --- */

static void drop(struct dealer_sessions *s, unsigned int party)
{
    tls_shutdown(s->tls[party]);
    tls_free(s->tls[party]);
    s->tls[party] = NULL;
    pthread_mutex_lock(&s->d->lock);
    s->d->party_up[party] = false;
    for (size_t i = 0; i < s->d->model_count; i++)
        s->d->models[i]->party[party] = (struct dealt_to){.subscribed = false};
    pthread_mutex_unlock(&s->d->lock);
}

static void take_arrivals(struct dealer_sessions *s)
{
    if (atomic_exchange(&s->d->renew, false)) {
        drop(s, 0);
        drop(s, 1);
    }
    for (unsigned int party = 0; party < 2; party++) {
        struct tls_session *tls;

        pthread_mutex_lock(&s->d->lock);
        tls = s->d->arrived[party];
        s->d->arrived[party] = NULL;
        pthread_mutex_unlock(&s->d->lock);
        if (!tls)
            continue;
        drop(s, party);
        s->tls[party] = tls;
        pthread_mutex_lock(&s->d->lock);
        s->d->party_up[party] = true;
        pthread_mutex_unlock(&s->d->lock);
    }
}

static void serve_readable(struct dealer_sessions *s)
{
    for (unsigned int party = 0; party < 2; party++) {
        struct err err = {0};
        uint64_t number;
        int rc = 0;

        while (s->tls[party] && rc >= 0 && tls_poll(s->tls[party], 0) == 0)
            rc = serve_message(s, party, &number, &err);
        if (rc < 0) {
            log_warning("party-lost", log_number("party", party),
                        log_text("error", err_text(&err, rc)));
            drop(s, party);
        }
    }
}

static void wait_for_something(struct dealer_sessions *s)
{
    struct pollfd fds[3] = {{.fd = s->d->wake, .events = POLLIN}};
    eventfd_t count;

    for (unsigned int party = 0; party < 2; party++)
        fds[1 + party] =
            (struct pollfd){.fd = s->tls[party] ? tls_fd(s->tls[party]) : -1, .events = POLLIN};
    (void)!poll(fds, 3, WAIT_MS);
    eventfd_read(s->d->wake, &count);
}

/* A tape that reached one party only leaves both in doubt: both start over. */
static void deal_wanted(struct dealer_sessions *s)
{
    struct err err = {0};
    int rc;

    /* Look for grants right before each look for work: none may be read and then slept upon. */
    do {
        take_arrivals(s);
        serve_readable(s);
        rc = s->tls[0] && s->tls[1] && !s->d->stopping ? deal_next(s, &err) : 0;
    } while (rc > 0);
    if (rc == 0)
        return;
    log_warning("tape-not-delivered", log_text("error", err_text(&err, rc)));
    drop(s, 0);
    drop(s, 1);
}

bool dealer_ready(const struct dealer_state *d, char ret_text[DEALER_TEXT_SIZE])
{
    snprintf(ret_text, DEALER_TEXT_SIZE, "%zu models, party0 %s, party1 %s", d->model_count,
             d->party_up[0] ? "connected" : "away", d->party_up[1] ? "connected" : "away");
    return d->model_count && d->party_up[0] && d->party_up[1];
}

/* To the service manager. */
static void report(struct dealer_state *d)
{
    char text[DEALER_TEXT_SIZE];
    bool ready;

    service_alive();
    pthread_mutex_lock(&d->lock);
    ready = dealer_ready(d, text);
    pthread_mutex_unlock(&d->lock);
    service_report(ready, text);
}

void *dealer_thread(void *state)
{
    struct dealer_sessions s = {.d = state};

    daemon_lead(s.d->workers);
    s.timeout_ms = (int)s.d->config->timeout_ms;
    while (!s.d->stopping) {
        deal_wanted(&s);
        report(s.d);
        wait_for_something(&s);
    }
    drop(&s, 0);
    drop(&s, 1);
    return NULL;
}

static void take_session(struct dealer_state *d, int fd)
{
    struct tls_session *tls, *old;
    struct err err = {0};
    char from[NET_TEXT_SIZE];
    unsigned int party;
    int rc;

    net_peer(fd, from);
    rc = trust_accept(d->trust, fd, MIN((int)d->config->timeout_ms, HANDSHAKE_MS), &tls, &err);
    if (rc < 0) {
        log_warning("session-refused", log_text("from", from),
                    log_text("error", err_text(&err, rc)));
        audit_note_refusal(d->audit, "session-refused", log_text("from", from),
                           log_text("error", err_text(&err, rc)));
        return;
    }
    /* Only the two parties are pinned here. */
    party = tls_peer(tls)->role == ROLE_PARTY1;
    log_info("session-opened", log_text("from", from), log_text("name", tls_peer(tls)->name));
    pthread_mutex_lock(&d->lock);
    old = d->arrived[party];
    d->arrived[party] = tls;
    pthread_mutex_unlock(&d->lock);
    tls_free(old);
    eventfd_write(d->wake, 1);
}

void *dealer_session_thread(void *state)
{
    struct dealer_state *d = state;

    while (!d->stopping) {
        int fd, rc = net_accept(d->listen_fd, POLL_MS, &fd, NULL);

        if (rc == 0)
            take_session(d, fd);
        else if (rc != -ETIMEDOUT)
            usleep(POLL_MS * 1000);
    }
    return NULL;
}
