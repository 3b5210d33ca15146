/*
 * The dealer, as a party sees it: this thread keeps one session to it, asks for the seed of each
 * model's mask, grants it tapes to send, verifies and prepares what comes.
 *
 * Grants are totals, so that a lost or repeated one changes nothing: the dealer deals a tape of a
 * variant when both parties have granted more than it has dealt in these two sessions.
 */
#include "appliance/daemon.h"
#include "appliance/log.h"
#include "appliance/net.h"
#include "appliance/party.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_MS      500
#define SUBSCRIBE_MS  1000
#define MARK_MS       1000
#define POLL_MS       1000
#define HEADER_MAX    256
#define RECEIVE_BYTES (MESSAGE_CHUNK_BYTES + HEADER_MAX)

struct dealer_session {
    struct party_state *p;
    struct tls_session *tls;
    int timeout_ms;
    uint8_t *buffer; /* RECEIVE_BYTES */
};

/* --- what we ask for --- */

static int subscribe(struct dealer_session *d, struct served *s, uint64_t tape_max, struct err *err)
{
    struct writer w = {0};

    write_bytes(&w, s->plan->model_id, PLAN_ID_BYTES);
    write_bytes(&w, s->plan->hash, PLAN_HASH_BYTES);
    write_u64(&w, tape_max);
    return message_send(d->tls, MESSAGE_SUBSCRIBE, &w, d->timeout_ms, err);
}

static int grant(struct dealer_session *d, const struct served *s, const struct variant *v,
                 uint64_t total, struct err *err)
{
    const struct message_variant of = message_variant_of(v);
    struct writer w = {0};

    write_bytes(&w, s->plan->model_id, PLAN_ID_BYTES);
    message_write_variant(&w, &of);
    write_u64(&w, total);
    return message_send(d->tls, MESSAGE_GRANT, &w, d->timeout_ms, err);
}

/* Of tapes for the disk: what is on its way does not fit any more when another variant comes. */
#define AHEAD 8

/*
 * Tapes of a variant that should have come by now; the lock is held. Where none are reserved party
 * 0 decides: what party 1 has in stock may have lost its other half, and must not keep new ones
 * away.
 */
static uint64_t due(const struct party_state *p, const struct served *s, const struct variant *v)
{
    bool counts = p->party == 0 || party_stores(p);
    uint64_t have = counts ? stock_count(p, s, v) + stock_on_disk(p, s, v) : 0;
    uint64_t want = stock_want(p, s, v), missing = want > have ? want - have : 0;

    if (party_stores(p) && want)
        missing += MIN(party_store_room(p, s, v), (size_t)AHEAD);
    return s->taken[served_variant(s, v)] + missing;
}

static int ask_for_tapes(struct dealer_session *d, struct served *s, struct err *err)
{
    struct party_state *p = d->p;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < s->plan->variant_count; i++) {
        const struct variant *v = &s->plan->variants[i];
        bool more;
        uint64_t total;

        pthread_mutex_lock(&p->lock);
        total = due(p, s, v);
        more = total > s->granted[i];
        if (more)
            s->granted[i] = total;
        pthread_mutex_unlock(&p->lock);
        if (more)
            rc = grant(d, s, v, total, err);
    }
    return rc;
}

/* Party 0 reads a tape from its disk when the dealer knows of the batch: party_reserve.c. */
static int ask_for_mark(struct dealer_session *d, struct served *s, struct err *err)
{
    struct party_state *p = d->p;
    uint64_t now = time_ns(), batch;
    struct writer w = {0};
    bool ask;

    pthread_mutex_lock(&p->lock);
    batch = s->batch;
    ask = batch > s->marked && (!s->mark_asked_ns || s->batch_asked < batch ||
                                now - s->mark_asked_ns > MARK_MS * 1000000ull);
    if (ask) {
        s->mark_asked_ns = now;
        s->batch_asked = batch;
    }
    pthread_mutex_unlock(&p->lock);
    if (!ask)
        return 0;
    write_bytes(&w, s->plan->model_id, PLAN_ID_BYTES);
    write_u64(&w, batch);
    return message_send(d->tls, MESSAGE_MARK, &w, d->timeout_ms, err);
}

static int ask_for_model(struct dealer_session *d, struct served *s, struct err *err)
{
    struct party_state *p = d->p;
    uint64_t now = time_ns(), max = ledger_tape_max(p->ledger, s->plan->model_id);
    bool ask, subscribed;

    pthread_mutex_lock(&p->lock);
    subscribed = s->subscribed;
    ask = !subscribed && (!s->asked_ns || now - s->asked_ns > SUBSCRIBE_MS * 1000000ull);
    if (ask)
        s->asked_ns = now;
    max = MAX(max, s->tape_max);
    pthread_mutex_unlock(&p->lock);
    if (subscribed) {
        int rc = ask_for_mark(d, s, err);

        return rc < 0 ? rc : ask_for_tapes(d, s, err);
    }
    return ask ? subscribe(d, s, max, err) : 0;
}

/* References to all models, so that the list may change while we talk. */
static size_t hold_all(struct party_state *p, struct served *ret[PARTY_MODELS_MAX])
{
    size_t count;

    pthread_mutex_lock(&p->lock);
    count = p->served_count;
    for (size_t i = 0; i < count; i++) {
        ret[i] = p->served[i];
        ret[i]->users++;
    }
    pthread_mutex_unlock(&p->lock);
    return count;
}

static int ask(struct dealer_session *d, struct err *err)
{
    struct served *all[PARTY_MODELS_MAX];
    size_t count = hold_all(d->p, all);
    int rc = 0;

    for (size_t i = 0; i < count; i++) {
        if (rc == 0)
            rc = ask_for_model(d, all[i], err);
        served_put(d->p, all[i]);
    }
    return rc;
}

/* --- what comes --- */

static struct served *find_locked(struct party_state *p, const uint8_t *id)
{
    struct served *s;

    pthread_mutex_lock(&p->lock);
    s = served_find(p, id);
    pthread_mutex_unlock(&p->lock);
    return s;
}

/* Both parties had struck @batch off before the dealer heard of it. */
static void compare_batch(struct party_state *p, struct served *s, uint64_t batch)
{
    if (served_state_of(p, s) == SERVED_READY && batch > ledger_batch(p->ledger, s->plan->model_id))
        party_discard(p, s, batch, "this ledger is older than the dealer's: was it restored?");
    pthread_mutex_lock(&p->lock);
    s->compared = true;
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

/* The first seed of a model is its mask's; a later one must be the same; the lock is held. */
static void set_seed(struct party_state *p, struct served *s, const uint8_t seed[PRG_SEED_BYTES])
{
    s->subscribed = true;
    if (s->state == SERVED_SEED) {
        memcpy(s->model->mask_seed, seed, PRG_SEED_BYTES);
        s->state = SERVED_PEER;
    } else if (s->state != SERVED_FAILED &&
               !secret_equal(s->model->mask_seed, seed, PRG_SEED_BYTES)) {
        err_set(
            &s->error, -EINVAL,
            "the dealer has another mask for this model id than the one it was opened with (was "
            "its state lost?); share the model again");
        s->state = SERVED_FAILED;
        log_error("model-failed", log_text("model", s->id), log_text("error", s->error.text));
    }
    party_changed(p);
}

static int take_seed(struct dealer_session *d, struct reader *r, struct err *err)
{
    const uint8_t *id = read_bytes(r, PLAN_ID_BYTES), *seed = read_bytes(r, PRG_SEED_BYTES);
    uint64_t batch = read_u64(r);
    struct party_state *p = d->p;
    struct served *s;

    if (!reader_done(r))
        return err_set(err, -EPROTO, "a seed that cannot be read");
    s = find_locked(p, id);
    if (!s)
        return 0;
    pthread_mutex_lock(&p->lock);
    set_seed(p, s, seed);
    pthread_mutex_unlock(&p->lock);
    compare_batch(p, s, batch);
    served_put(p, s);
    return 0;
}

static int take_marked(struct dealer_session *d, struct reader *r, struct err *err)
{
    const uint8_t *id = read_bytes(r, PLAN_ID_BYTES);
    uint64_t batch = read_u64(r);
    struct party_state *p = d->p;
    struct served *s;

    if (!reader_done(r))
        return err_set(err, -EPROTO, "a mark that cannot be read");
    pthread_mutex_lock(&p->lock);
    s = served_find(p, id);
    if (s) {
        s->marked = MAX(s->marked, MIN(batch, s->batch));
        party_changed(p);
    }
    pthread_mutex_unlock(&p->lock);
    if (s)
        served_put(p, s);
    return 0;
}

static int check_chunk(const struct message_chunk *c, const struct message_tape *t,
                       const struct tape *tape, const uint8_t *bytes, struct err *err)
{
    uint8_t hash[HASH_BYTES];

    if (memcmp(c->model, t->model, sizeof(c->model)) ||
        memcmp(c->plan_hash, t->plan_hash, sizeof(c->plan_hash)) || c->number != t->number ||
        c->party != t->party || c->offset != tape->blob_filled)
        return err_set(err, -EPROTO, "tape %" PRIu64 ": a chunk of another tape, or out of order",
                       t->number);
    hash_bytes(bytes, c->bytes, hash);
    if (memcmp(hash, c->sha256, sizeof(hash)))
        return err_set(err, -EBADMSG, "tape %" PRIu64 ": a damaged chunk at %" PRIu64, t->number,
                       c->offset);
    return 0;
}

static int take_chunk(struct dealer_session *d, const struct message_tape *t, struct tape *tape,
                      struct err *err)
{
    struct message_chunk c;
    struct reader r;
    const uint8_t *bytes;
    uint8_t type;
    size_t count;
    int rc = tls_receive(d->tls, &type, d->buffer, RECEIVE_BYTES, &count, d->timeout_ms, err);

    if (rc < 0)
        return rc;
    reader_init(&r, d->buffer, count);
    message_read_chunk(&r, &c);
    bytes = read_bytes(&r, c.bytes);
    if (type != MESSAGE_CHUNK || !reader_done(&r) || !c.bytes)
        return err_set(err, -EPROTO, "message %u where a chunk of a tape was due", type);
    rc = check_chunk(&c, t, tape, bytes, err);
    return rc < 0 ? rc : tape_add(tape, bytes, c.bytes);
}

static int check_tape(struct party_state *p, const struct message_tape *m, const struct served *s,
                      struct err *err)
{
    const struct variant *v = s ? message_find_variant(s->plan, &m->variant) : NULL;

    if (!s || memcmp(m->plan_hash, s->plan->hash, PLAN_HASH_BYTES))
        return err_set(err, -EPROTO, "a tape of a model that was not asked for");
    if (served_state_of(p, s) != SERVED_READY)
        return err_set(err, -EPROTO, "a tape of a model that is not ready");
    if (m->party != p->party || m->number > MESSAGE_TAPE_NUMBER_MAX || !v ||
        m->bytes != (p->party == 1 ? v->tape_bytes : 0))
        return err_set(err, -EPROTO, "tape %" PRIu64 " does not fit the plan", m->number);
    /* Numbers only rise; one that comes again may be an old tape of a dealer that was restored. */
    if (m->number <= s->tape_max || m->number <= ledger_tape_max(p->ledger, s->plan->model_id))
        return err_set(err, -EPROTO, "tape %" PRIu64 " is numbered at or below one that was used",
                       m->number);
    return 0;
}

/* In stock before it is prepared, so that the other party's proposal can wait for it. */
static int stock_new(struct party_state *p, struct served *s, struct tape *tape, uint64_t deal_ns)
{
    int rc;

    pthread_mutex_lock(&p->lock);
    s->tape_max = tape->number;
    s->taken[served_variant(s, tape->variant)]++;
    rc = stock_add(p, s, tape, deal_ns);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static void stock_ready(struct party_state *p, struct served *s, uint64_t number, int rc)
{
    struct held *h;

    pthread_mutex_lock(&p->lock);
    h = stock_find(p, s, number);
    h->ready = true;
    if (rc < 0 || s->gone)
        stock_destroy(p, h);
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

/* What came for the disk and did not get there: memory is for those that are wanted there. */
static bool too_many(struct party_state *p, struct served *s, const struct variant *v)
{
    bool many;

    pthread_mutex_lock(&p->lock);
    many = party_stores(p) && stock_count(p, s, v) > stock_want(p, s, v);
    pthread_mutex_unlock(&p->lock);
    return many;
}

static int accept_tape(struct dealer_session *d, struct served *s, struct tape *tape,
                       uint64_t deal_ns, struct err *err)
{
    const struct variant *v = tape->variant;
    struct party_state *p = d->p;
    uint64_t number = tape->number;
    struct writer w = {0};
    int rc = stock_new(p, s, tape, deal_ns), prepared;
    bool stored;

    if (rc < 0) {
        tape_free(tape);
        return err_set(err, rc, "the stock of tapes is full");
    }
    stored = party_store_put(p, s, tape, deal_ns);
    write_u64(&w, number);
    rc = message_send(d->tls, MESSAGE_TAPE_OK, &w, d->timeout_ms, err);
    if (stored)
        return rc;
    if (rc == 0 && too_many(p, s, v)) {
        stock_ready(p, s, number, -ENOSPC);
        return 0;
    }
    prepared = rc == 0 ? party_prepare(p, tape, s->model) : rc;
    stock_ready(p, s, number, prepared);
    if (prepared < 0)
        return err_set(err, prepared, "tape %" PRIu64 " could not be prepared", number);
    log_info("tape-ready", log_text("model", s->id), log_number("number", (int64_t)number));
    return 0;
}

static int take_tape_of(struct dealer_session *d, struct served *s, const struct message_tape *m,
                        struct err *err)
{
    struct tape *tape;
    int rc = check_tape(d->p, m, s, err);

    if (rc < 0)
        return rc;
    tape = tape_new(s->plan, message_find_variant(s->plan, &m->variant), d->p->party, m->number,
                    m->seed);
    if (!tape)
        return err_set(err, -ENOMEM, "no memory for a tape");
    while (rc == 0 && !tape_complete(tape))
        rc = take_chunk(d, m, tape, err);
    if (rc < 0) {
        tape_free(tape);
        return rc;
    }
    return accept_tape(d, s, tape, m->deal_ns, err);
}

static int take_tape(struct dealer_session *d, struct reader *r, struct err *err)
{
    struct message_tape m;
    struct served *s;
    int rc = message_read_tape(r, &m, err);

    if (rc < 0)
        return rc;
    s = find_locked(d->p, m.model);
    rc = take_tape_of(d, s, &m, err);
    if (s)
        served_put(d->p, s);
    secret_wipe(&m, sizeof(m));
    return rc;
}

static int keep_tape(struct dealer_session *d, struct reader *r, struct err *err)
{
    uint64_t number = read_u64(r);
    const uint8_t *id = read_bytes(r, PLAN_ID_BYTES);
    struct party_state *p = d->p;

    if (!reader_done(r))
        return err_set(err, -EPROTO, "a confirmation that cannot be read");
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->stock_count; i++) {
        struct held *h = &p->stock[i];

        if (h->number == number && !memcmp(h->served->plan->model_id, id, PLAN_ID_BYTES))
            h->kept = true;
    }
    pthread_mutex_unlock(&p->lock);
    return 0;
}

static int take_refusal(const uint8_t *bytes, size_t count, struct err *err)
{
    struct err why = {0};
    enum refusal refusal;
    int rc = message_read_refusal(bytes, count, &refusal, &why);

    if (rc < 0)
        return err_set(err, rc, "%s", why.text);
    log_warning("dealer-refused", log_text("error", why.text));
    return 0;
}

static int take_message(struct dealer_session *d, struct err *err)
{
    struct reader r;
    uint8_t type;
    size_t count;
    int rc = tls_receive(d->tls, &type, d->buffer, RECEIVE_BYTES, &count, d->timeout_ms, err);

    if (rc < 0)
        return rc;
    reader_init(&r, d->buffer, count);
    switch (type) {
    case MESSAGE_SEED:
        rc = take_seed(d, &r, err);
        break;
    case MESSAGE_TAPE:
        rc = take_tape(d, &r, err);
        break;
    case MESSAGE_TAPE_KEEP:
        rc = keep_tape(d, &r, err);
        break;
    case MESSAGE_MARKED:
        rc = take_marked(d, &r, err);
        break;
    case MESSAGE_REFUSED:
        rc = take_refusal(d->buffer, count, err);
        break;
    default:
        rc = err_set(err, -EPROTO, "message %u is none that a dealer sends", type);
    }
    secret_wipe(d->buffer, RECEIVE_BYTES);
    return rc;
}

/* --- the session --- */

static bool wait_readable(struct dealer_session *d)
{
    struct pollfd fds[2] = {{.fd = tls_fd(d->tls), .events = POLLIN},
                            {.fd = d->p->dealer_wake, .events = POLLIN}};
    eventfd_t count;

    if (tls_poll(d->tls, 0) == 0)
        return true;
    (void)!poll(fds, 2, POLL_MS);
    eventfd_read(d->p->dealer_wake, &count);
    return tls_poll(d->tls, 0) == 0;
}

static void talk(struct dealer_session *d)
{
    struct err err = {0};
    int rc = 0;

    while (rc == 0 && !d->p->stopping) {
        rc = ask(d, &err);
        if (rc == 0 && wait_readable(d))
            rc = take_message(d, &err);
    }
    if (rc < 0)
        log_warning("dealer-lost", log_text("error", err_text(&err, rc)));
}

/* A new session starts all counts anew; tapes that the other party may lack go. */
static void session_over(struct party_state *p)
{
    pthread_mutex_lock(&p->lock);
    p->dealer_up = false;
    party_seen(&p->dealer_seen, false);
    for (size_t i = 0; i < p->served_count; i++) {
        struct served *s = p->served[i];

        memset(s->taken, 0, sizeof(s->taken));
        memset(s->granted, 0, sizeof(s->granted));
        s->subscribed = false;
        s->asked_ns = s->mark_asked_ns = 0;
    }
    for (size_t i = p->stock_count; p->party == 1 && i-- > 0;)
        if (!p->stock[i].kept)
            stock_destroy(p, &p->stock[i]);
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

static int open_session(struct dealer_session *d, struct err *err)
{
    int fd, rc = net_connect(&d->p->config->dealer, d->timeout_ms, &fd, err);

    return rc < 0 ? rc : trust_connect(d->p->trust, fd, ROLE_DEALER, d->timeout_ms, &d->tls, err);
}

static void run_session(struct dealer_session *d, char last_error[ERR_TEXT_MAX])
{
    struct err err = {0};
    int rc = open_session(d, &err);
    uint64_t began_ns;

    if (rc < 0) {
        /* Once, not every half second for as long as the dealer is away. */
        if (strcmp(last_error, err_text(&err, rc)))
            log_warning("dealer-away", log_text("error", err_text(&err, rc)));
        snprintf(last_error, ERR_TEXT_MAX, "%s", err_text(&err, rc));
        usleep(RETRY_MS * 1000);
        return;
    }
    last_error[0] = 0;
    log_info("dealer-connected", log_text("name", tls_peer(d->tls)->name));
    pthread_mutex_lock(&d->p->lock);
    d->p->dealer_up = true;
    party_seen(&d->p->dealer_seen, true);
    pthread_mutex_unlock(&d->p->lock);
    began_ns = time_ns();
    talk(d);
    session_over(d->p);
    /* Two that cannot agree, say on the version of tapes, do not try as fast as they can. */
    if (time_ns() - began_ns < RETRY_MS * 1000000ull && !d->p->stopping)
        usleep(RETRY_MS * 1000);
    tls_shutdown(d->tls);
    tls_free(d->tls);
    d->tls = NULL;
}

void *party_dealer_thread(void *state)
{
    struct party_state *p = state;
    struct dealer_session d = {.p = p, .timeout_ms = (int)p->config->timeout_ms};
    char last_error[ERR_TEXT_MAX] = "";

    daemon_lead(p->offline_workers);
    d.buffer = secret_alloc(RECEIVE_BYTES);
    if (!d.buffer) {
        log_error("dealer-thread", log_text("error", "no memory"));
        return NULL;
    }
    while (!p->stopping)
        run_session(&d, last_error);
    secret_free(d.buffer, RECEIVE_BYTES);
    return NULL;
}
