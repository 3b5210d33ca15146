/*
 * Reserving: how tapes of parties that keep some on their disks come to be used.
 *
 * A tape on a disk outlasts what this process remembers, and comes back with an old copy of the
 * folder. So its number is struck off before it is read: party 0 names a batch of tapes, party 1
 * strikes off those that it holds and says which, party 0 strikes off the same, each with one sync.
 * Then party 0 has the dealer write the batch's number down, and reads its own only after that. So
 * before the first byte under any of them is sent, two others know how far this ledger must have
 * come, and whichever of the three comes back old is found out when they meet: in each session the
 * parties compare the number of their last batch, and each compares it with the dealer's.
 *
 * The first tapes that a job needs, and what a full disk keeps in memory, are reserved likewise.
 */
#include "appliance/log.h"
#include "appliance/party_link.h"
#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

/* After a failure, a full disk mostly. */
#define RETRY_MS 2000

_Static_assert(MESSAGE_RESERVE_MAX <= LEDGER_RESERVE_MAX, "a batch is a line of the ledger");

/* --- old copies --- */

static uint64_t idle_max(const struct party_state *p, const struct served *s)
{
    uint64_t max = 0;

    for (size_t i = 0; i < p->stock_count; i++)
        if (p->stock[i].served == s && stock_idle(&p->stock[i]))
            max = MAX(max, p->stock[i].number);
    return max;
}

static void destroy_up_to(struct party_state *p, const struct served *s, uint64_t number)
{
    for (size_t i = p->stock_count; i-- > 0;) {
        struct held *h = &p->stock[i];

        if (h->served == s && stock_idle(h) && h->number <= number)
            stock_destroy(p, h);
    }
}

/* What is being written or prepared came in this session, and is not concerned. */
void party_discard(struct party_state *p, struct served *s, uint64_t batch, const char *why)
{
    struct err err = {0};
    uint64_t number;
    int rc;

    pthread_mutex_lock(&p->lock);
    number = idle_max(p, s);
    pthread_mutex_unlock(&p->lock);
    log_error("tapes-discarded", log_text("model", s->id), log_number("up_to", (int64_t)number),
              log_number("batch", (int64_t)batch), log_text("why", why));
    rc = ledger_floor(p->ledger, s->plan->model_id, batch, number, &err);
    if (rc < 0)
        log_error("floor-not-written", log_text("model", s->id),
                  log_text("error", err_text(&err, rc)));
    pthread_mutex_lock(&p->lock);
    destroy_up_to(p, s, number);
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

/* Party 1 strikes a batch off first, so it may be one ahead after a crash. */
void party_compare(struct party_state *p, struct served *s, uint64_t peer)
{
    uint64_t own = ledger_batch(p->ledger, s->plan->model_id);
    uint64_t first = p->party == 1 ? own : peer, second = p->party == 1 ? peer : own;

    if (first < second)
        party_discard(p, s, MAX(own, peer),
                      p->party == 1
                          ? "this ledger is older than the other party's: was it restored?"
                          : "the other party's ledger is older than this: was it "
                            "restored?");
    else if (first > second + 1)
        party_discard(p, s, MAX(own, peer),
                      p->party == 0
                          ? "this ledger is older than the other party's: was it restored?"
                          : "the other party's ledger is older than this: was it "
                            "restored?");
}

/* --- party 0 --- */

static bool may_reserve(const struct held *h)
{
    return !h->batch && (h->ready || (h->stored && h->served->compared));
}

/* Into the ascending numbers of @m, of which the @max lowest are kept. */
static void add_number(struct message_reserve *m, uint64_t number, size_t max)
{
    size_t at = m->count;

    if (at == max && (!max || m->number[max - 1] <= number))
        return;
    if (at < max)
        m->count++;
    else
        at--;
    for (; at && m->number[at - 1] > number; at--)
        m->number[at] = m->number[at - 1];
    m->number[at] = number;
}

/* What to say of this variant: tapes to reserve, or for once that there are none. */
static bool plan_reserve(struct party_state *p, struct served *s, const struct variant *v,
                         struct message_reserve *m)
{
    size_t i = served_variant(s, v), want = stock_want(p, s, v), reserved = 0, held = 0, more;

    *m = (struct message_reserve){.variant = message_variant_of(v),
                                  .lowest = MESSAGE_TAPE_NUMBER_MAX};
    for (size_t k = 0; k < p->stock_count; k++)
        if (p->stock[k].served == s && p->stock[k].variant == v) {
            held++;
            reserved += p->stock[k].batch != 0;
            m->lowest = MIN(m->lowest, p->stock[k].number);
        }
    if (!want || (reserved && reserved > want / 2))
        return false;
    more = MIN(want - reserved, (size_t)MESSAGE_RESERVE_MAX);
    for (size_t k = 0; k < p->stock_count; k++)
        if (p->stock[k].served == s && p->stock[k].variant == v && may_reserve(&p->stock[k]))
            add_number(m, p->stock[k].number, more);
    if (m->count || held || s->none_told[i])
        return m->count;
    s->none_told[i] = true;
    return true;
}

struct served *party_next_reserve(struct party_state *p, struct message_reserve *ret)
{
    uint64_t now = time_ns();

    for (size_t i = 0; party_stores(p) && i < p->served_count; i++) {
        struct served *s = p->served[i];

        if (s->state != SERVED_READY || now < s->reserve_not_ns)
            continue;
        for (size_t v = 0; v < s->plan->variant_count; v++)
            if (plan_reserve(p, s, &s->plan->variants[v], ret)) {
                s->users++;
                return s;
            }
    }
    return NULL;
}

static int send_reserve(struct party_link *l, const struct message_reserve *m, struct err *err)
{
    struct writer w = {0};

    message_write_reserve(&w, m);
    return message_send(l->tls, MESSAGE_RESERVE, &w, l->timeout_ms, err);
}

/* The numbers of @m become those that party 1 has struck off: 0; 1: it refused, see @err. */
static int receive_reserved(struct party_link *l, uint64_t numbers[MESSAGE_RESERVE_MAX],
                            size_t *ret_count, struct err *err)
{
    uint8_t reply[MESSAGE_TEXT_MAX + 16], type;
    enum refusal why;
    struct reader r;
    size_t count;
    int rc = tls_receive(l->tls, &type, reply, sizeof(reply), &count, l->timeout_ms, err);

    if (rc == -ETIMEDOUT)
        rc = err_set(err, -EIO, "party 1 did not answer a reservation");
    if (rc < 0)
        return rc;
    if (type == MESSAGE_REFUSED) {
        rc = message_read_refusal(reply, count, &why, err);
        return rc < 0 ? rc : 1;
    }
    reader_init(&r, reply, count);
    *ret_count = read_u32(&r);
    for (size_t i = 0; i < MIN(*ret_count, (size_t)MESSAGE_RESERVE_MAX); i++)
        numbers[i] = read_u64(&r);
    return type == MESSAGE_RESERVED && reader_done(&r) && *ret_count <= MESSAGE_RESERVE_MAX
               ? 0
               : err_set(err, -EPROTO, "message %u in answer to a reservation", type);
}

static bool has_number(const uint64_t numbers[], size_t count, uint64_t number)
{
    for (size_t i = 0; i < count; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

/* Those of @m that @numbers has not are lost: party 1 lacks them. */
static void destroy_lacking(struct party_state *p, struct served *s,
                            const struct message_reserve *m, const uint64_t numbers[], size_t count)
{
    pthread_mutex_lock(&p->lock);
    for (uint32_t i = 0; i < m->count; i++) {
        struct held *h = stock_find(p, s, m->number[i]);

        if (h && stock_idle(h) && !has_number(numbers, count, m->number[i]))
            stock_destroy(p, h);
    }
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

static void note_reserved(struct party_state *p, struct served *s, uint64_t batch,
                          const uint64_t numbers[], size_t count)
{
    char text[MESSAGE_RESERVE_MAX * 21] = "";

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < count; i++) {
        struct held *h = stock_find(p, s, numbers[i]);
        size_t used = strlen(text);

        snprintf(text + used, sizeof(text) - used, "%s%" PRIu64, i ? "," : "", numbers[i]);
        if (!h)
            continue; /* unloaded meanwhile */
        h->batch = batch;
        h->kept = true;
        if (p->party == 0 && h->stored)
            s->batch = batch;
    }
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    if (count)
        log_info("tapes-reserved", log_text("model", s->id), log_number("batch", (int64_t)batch),
                 log_text("numbers", text));
}

static void reserve_failed(struct party_state *p, struct served *s, int rc, const struct err *err)
{
    log_error("tapes-not-reserved", log_text("model", s->id), log_text("error", err_text(err, rc)));
    pthread_mutex_lock(&p->lock);
    s->reserve_not_ns = time_ns() + RETRY_MS * 1000000ull;
    pthread_mutex_unlock(&p->lock);
}

int party_reserve(struct party_link *l, struct served *s, struct message_reserve *m)
{
    struct party_state *p = l->p;
    uint64_t numbers[MESSAGE_RESERVE_MAX];
    struct err err = {0};
    size_t count = 0;
    int rc;

    memcpy(m->model, s->plan->model_id, sizeof(m->model));
    memcpy(m->plan_hash, s->plan->hash, sizeof(m->plan_hash));
    m->batch = ledger_batch(p->ledger, s->plan->model_id) + 1;
    rc = send_reserve(l, m, &err);
    if (rc == 0)
        rc = receive_reserved(l, numbers, &count, &err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (!has_number(m->number, m->count, numbers[i]))
            rc = err_set(&err, -EPROTO, "party 1 reserved a tape that it was not asked for");
    if (rc != 0) {
        reserve_failed(p, s, -EREMOTEIO, &err);
        return MIN(rc, 0);
    }
    destroy_lacking(p, s, m, numbers, count);
    if (count)
        rc = ledger_reserve(p->ledger, m->model, m->batch, m->plan_hash, numbers, count, &err);
    if (rc < 0) {
        reserve_failed(p, s, rc, &err);
        destroy_lacking(p, s, m, NULL, 0); /* struck off at party 1 */
        return 0;
    }
    note_reserved(p, s, m->batch, numbers, count);
    return 0;
}

/* --- party 1 --- */

/* Party 0 holds none of these any more; what is on its way to it has not been confirmed. */
static void drop_lost(struct party_state *p, const struct served *s, const struct variant *v,
                      uint64_t lowest)
{
    for (size_t i = p->stock_count; i-- > 0;) {
        struct held *h = &p->stock[i];

        if (h->served == s && h->variant == v && h->number < lowest && stock_idle(h) &&
            (h->kept || h->batch))
            stock_destroy(p, h);
    }
}

/* Those that are here: all of them in @ret_here, those not yet struck off in @ret_strike. */
static void look_up(struct party_state *p, const struct served *s, const struct variant *v,
                    const struct message_reserve *m, uint64_t ret_here[], size_t *ret_count,
                    uint64_t ret_strike[], size_t *ret_strikes)
{
    *ret_count = *ret_strikes = 0;
    pthread_mutex_lock(&p->lock);
    drop_lost(p, s, v, m->lowest);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct held *h = stock_find(p, s, m->number[i]);

        if (!h || h->variant != v)
            continue;
        ret_here[(*ret_count)++] = m->number[i];
        if (!h->batch)
            ret_strike[(*ret_strikes)++] = m->number[i];
    }
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

static int send_reserved(struct party_link *l, const uint64_t numbers[], size_t count,
                         struct err *err)
{
    struct writer w = {0};

    write_u32(&w, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        write_u64(&w, numbers[i]);
    return message_send(l->tls, MESSAGE_RESERVED, &w, l->timeout_ms, err);
}

static int strike(struct party_link *l, struct served *s, const struct message_reserve *m)
{
    const struct variant *v = message_find_variant(s->plan, &m->variant);
    uint64_t here[MESSAGE_RESERVE_MAX], numbers[MESSAGE_RESERVE_MAX];
    struct party_state *p = l->p;
    size_t count = 0, strikes = 0;
    struct err err = {0};
    int rc = 0;

    if (!v || memcmp(m->plan_hash, s->plan->hash, PLAN_HASH_BYTES) || !party_stores(p))
        rc = err_set(&err, -EINVAL,
                     "party 1 has another plan under this model id, or no "
                     "tape_store");
    if (rc == 0 && m->batch < ledger_batch(p->ledger, m->model))
        rc = err_set(&err, -EINVAL, "party 1 has reserved a later batch");
    if (rc == 0) {
        look_up(p, s, v, m, here, &count, numbers, &strikes);
        if (strikes)
            rc =
                ledger_reserve(p->ledger, m->model, m->batch, m->plan_hash, numbers, strikes, &err);
    }
    if (rc < 0) {
        reserve_failed(p, s, rc, &err);
        return message_refuse(l->tls, REFUSAL_FAILED, err.text, l->timeout_ms);
    }
    note_reserved(p, s, m->batch, numbers, strikes);
    return send_reserved(l, here, count, &err);
}

int party_answer_reserve(struct party_link *l, const uint8_t *bytes, size_t count)
{
    struct message_reserve m;
    struct reader r;
    struct served *s;
    int rc;

    reader_init(&r, bytes, count);
    message_read_reserve(&r, &m);
    if (!reader_done(&r))
        return -EPROTO;
    pthread_mutex_lock(&l->p->lock);
    s = served_find(l->p, m.model);
    pthread_mutex_unlock(&l->p->lock);
    if (!s)
        return message_refuse(l->tls, REFUSAL_NOT_YET, "party 1 has not loaded this model",
                              l->timeout_ms);
    rc = strike(l, s, &m);
    served_put(l->p, s);
    return rc;
}
