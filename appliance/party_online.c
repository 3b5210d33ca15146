/*
 * The online thread: it alone talks to the other party, so the order of what is said is the order
 * of this file. Party 0 proposes, party 1 checks.
 *
 * For a job both strike the tape's number off before anything that depends on it leaves: party 1
 * before it agrees, party 0 before its first opening. A tape that was proposed is never put back
 * after an agreement, whatever went wrong: it is wiped.
 */
#include "appliance/daemon.h"
#include "appliance/log.h"
#include "appliance/net.h"
#include "appliance/party_link.h"
#include "appliance/service.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <stdio.h>
#include <unistd.h>

#define IDLE_MS  100
#define RETRY_MS 300

/* A model that the other party does not have yet is proposed again after this long. */
#define OPEN_RETRY_MS 300

/* So is a job. */
#define JOB_RETRY_MS 200

/* What a large model takes to be written down, in steps' times. */
#define KEEP_TIMEOUTS 30

/* --- both parties: the work that was agreed --- */

static int run_open(struct party_link *l, struct served *s, struct err *err)
{
    int rc;

    service_expect(KEEP_TIMEOUTS * (unsigned int)l->timeout_ms);
    rc = model_open(s->model, &l->exchange.exchange);

    if (rc == -EBADMSG)
        return err_set(err, rc,
                       "the parties opened different weights: their shares or masks do "
                       "not belong together; share the model again");
    if (rc < 0)
        return err_set(err, rc,
                       "the other party was lost while the weights were opened; share "
                       "the model again, this id is used up");
    return party_opened(l->p, s, err);
}

/* The model's end is final: its id was struck, so a failed opening is never tried again. */
static void open_failed(struct party_state *p, struct served *s, int rc, const struct err *err)
{
    pthread_mutex_lock(&p->lock);
    s->state = SERVED_FAILED;
    s->error = *err;
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    log_error("model-failed", log_text("model", s->id), log_text("error", err_text(err, rc)));
}

/* The keys of a job become its rows, where party_run() reads them. */
static int expand_input(const struct job *job, struct err *err)
{
    int rc = input_expand(job->served->input, job->variant, job->id, job->input, job->input_bytes,
                          party_input(job->served->party, job->variant));

    return rc < 0 ? err_set(err, rc, "its input has not the length that the plan says") : 0;
}

static void wipe_run(const struct served *s)
{
    party_wipe(s->party);
    input_wipe(s->input);
}

static void run_job(struct party_link *l, struct job *job, struct held *h, uint64_t start,
                    struct err *err, int *ret_rc)
{
    struct message_result *result = &job->result;
    struct err link_err = {0};
    int rc;

    log_info("job-online", log_text("job", job->name), log_number("tape", (int64_t)h->number));
    rc = party_run(job->served->party, h->tape, &l->exchange.exchange, job->length,
                   party_input(job->served->party, job->variant), job->output, &result->stats);
    memcpy(result->job, job->id, sizeof(result->job));
    result->tape = h->number;
    result->online_ns = time_ns() - start;
    result->prepare_ns = h->tape->prepare_ns;
    result->deal_ns = h->deal_ns;
    if (rc < 0) {
        link_error(l->link, &link_err);
        err_set(err, rc, "the other party was lost during the job: %s", err_text(&link_err, rc));
    } else {
        log_info("job-revealed", log_text("job", job->name),
                 log_number("online_us", (int64_t)(result->online_ns / 1000)));
    }
    *ret_rc = rc;
}

static void finish_job(struct party_state *p, struct job *job, int rc, const struct err *err)
{
    /* Once it has ended its owner's thread may free it. */
    if (rc < 0)
        log_warning("job-failed", log_text("job", job->name), log_text("error", err_text(err, rc)));
    pthread_mutex_lock(&p->lock);
    job_end(p, job, REFUSAL_FAILED, rc, err);
    pthread_mutex_unlock(&p->lock);
}

/* The answer goes first; then what the run left is wiped. */
static void end_run(struct party_state *p, struct job *job, int rc, const struct err *err)
{
    struct served *s = job->served;

    pthread_mutex_lock(&p->lock);
    s->users++;
    pthread_mutex_unlock(&p->lock);
    finish_job(p, job, rc, err);
    wipe_run(s);
    served_put(p, s);
}

/* One that was reserved has been struck off then. */
static int strike_job(struct party_state *p, const struct job *job, const struct held *h,
                      struct err *err)
{
    const struct plan *plan = job->served->plan;
    int rc;

    if (h->batch)
        return 0;
    rc = ledger_strike_tape(p->ledger, plan->model_id, h->number, plan->hash, job->id, err);
    if (rc == 0)
        log_info("tape-struck", log_text("job", job->name), log_number("tape", (int64_t)h->number));
    return rc;
}

static int strike_model(struct party_state *p, const struct served *s, struct err *err)
{
    return ledger_strike_model(p->ledger, s->plan->model_id, s->model->digest, err);
}

/* --- party 0 --- */

static int propose(struct party_link *l, const struct message_proposal *m, struct err *err)
{
    struct writer w = {0};

    message_write_proposal(&w, m);
    return message_send(l->tls, MESSAGE_PROPOSE, &w, l->timeout_ms, err);
}

/* 0 agreed; 1 refused, with *ret_why and its text in @err; negative: the session is over. */
static int await_agreed(struct party_link *l, enum refusal *ret_why, struct err *err)
{
    uint8_t reply[MESSAGE_TEXT_MAX + 16], type;
    size_t count;
    int rc = tls_receive(l->tls, &type, reply, sizeof(reply), &count, l->timeout_ms, err);

    if (rc == -ETIMEDOUT)
        rc = err_set(err, -EIO, "party 1 did not answer a proposal");
    if (rc < 0)
        return rc;
    if (type == MESSAGE_AGREED && count == 0)
        return 0;
    if (type != MESSAGE_REFUSED)
        return err_set(err, -EPROTO, "message %u in answer to a proposal", type);
    rc = message_read_refusal(reply, count, ret_why, err);
    return rc < 0 ? rc : 1;
}

/* Party 1 says when it keeps the model too, so that no proposal has to wait for its disk. */
static int await_kept(struct party_link *l, struct err *err)
{
    uint8_t type, none[1];
    size_t count;
    int rc =
        tls_receive(l->tls, &type, none, sizeof(none), &count, KEEP_TIMEOUTS * l->timeout_ms, err);

    if (rc == 0 && (type != MESSAGE_AGREED || count))
        rc = err_set(err, -EPROTO, "message %u where party 1 was to keep the model", type);
    return rc == -ETIMEDOUT ? -EIO : rc;
}

static int propose_open(struct party_link *l, struct served *s)
{
    struct message_proposal m = {.what = PROPOSAL_OPEN};
    struct err err = {0};
    enum refusal why;
    int rc;

    memcpy(m.model, s->plan->model_id, sizeof(m.model));
    memcpy(m.plan_hash, s->plan->hash, sizeof(m.plan_hash));
    rc = propose(l, &m, &err);
    if (rc == 0)
        rc = await_agreed(l, &why, &err);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        if (why != REFUSAL_NOT_YET)
            open_failed(l->p, s, -EREMOTEIO, &err);
        return 0;
    }
    rc = strike_model(l->p, s, &err);
    if (rc == 0)
        rc = run_open(l, s, &err);
    if (rc == 0)
        rc = await_kept(l, &err);
    service_expect(0);
    if (rc < 0)
        open_failed(l->p, s, rc, &err);
    return rc;
}

/*
 * Nothing was struck, nothing sent: but for a tape that party 1 lacks, it is as good as before. A
 * job that came over TLS was at party 1 first, so it has ended there; two operators act each in his
 * own time.
 */
static void proposal_refused(struct party_state *p, struct job *job, struct held *h,
                             enum refusal why, const struct err *err)
{
    if (why == REFUSAL_NO_JOB && job->owner.role != ROLE_OWNER)
        why = REFUSAL_NOT_YET;
    if (why == REFUSAL_NO_TAPE)
        tape_free(h->tape);
    pthread_mutex_lock(&p->lock);
    if (why != REFUSAL_NO_TAPE)
        stock_put_back(p, *h);
    if (why == REFUSAL_NO_TAPE || why == REFUSAL_NOT_YET) {
        job->retry_ns = why == REFUSAL_NOT_YET ? time_ns() + JOB_RETRY_MS * 1000000ull : 0;
        job->state = JOB_QUEUED;
        party_changed(p);
    }
    pthread_mutex_unlock(&p->lock);
    if (why != REFUSAL_NO_TAPE && why != REFUSAL_NOT_YET)
        finish_job(p, job, -EREMOTEIO, err);
}

/* 0: the job has ended or waits for another try; negative: so has the session. Takes the tape. */
static int propose_job(struct party_link *l, struct job *job, struct held *h)
{
    struct message_proposal m = {
        .what = PROPOSAL_JOB, .variant = message_variant_of(job->variant), .tape = h->number};
    struct party_state *p = l->p;
    uint64_t start = time_ns();
    struct err err = {0};
    enum refusal why = REFUSAL_FAILED;
    int rc;

    memcpy(m.model, job->served->plan->model_id, sizeof(m.model));
    memcpy(m.plan_hash, job->served->plan->hash, sizeof(m.plan_hash));
    memcpy(m.job, job->id, sizeof(m.job));
    memcpy(m.length, job->length, sizeof(m.length));
    log_info("job-proposed", log_text("job", job->name), log_number("tape", (int64_t)h->number));
    rc = propose(l, &m, &err);
    if (rc == 0)
        rc = expand_input(job, &err); /* while party 1 strikes the number off */
    if (rc == 0)
        rc = await_agreed(l, &why, &err);
    if (rc > 0) {
        wipe_run(job->served);
        proposal_refused(p, job, h, why, &err);
        return 0;
    }
    if (rc == 0)
        rc = strike_job(p, job, h, &err);
    if (rc == 0)
        run_job(l, job, h, start, &err, &rc);
    /* Before the job: the tape's plan may go with the job's use of its model. */
    tape_free(h->tape);
    end_run(p, job, rc, &err);
    return rc;
}

/* Jobs of other models go on while one waits for the other party. */
static struct served *next_open(struct party_state *p)
{
    uint64_t now = time_ns();

    for (size_t i = 0; i < p->served_count; i++) {
        struct served *s = p->served[i];

        if (s->state != SERVED_PEER ||
            (s->proposed_ns && now - s->proposed_ns < OPEN_RETRY_MS * 1000000ull))
            continue;
        s->proposed_ns = now;
        s->users++;
        return s;
    }
    return NULL;
}

/* The next job and its tape; both are the caller's then. */
static struct job *next_job(struct party_state *p, struct held *ret_held)
{
    struct job *job = job_next(p);

    if (!job)
        return NULL;
    job->state = JOB_RUNNING;
    job->begun_ns = time_ns();
    turns_begin(&p->turns, &job->turn);
    *ret_held = stock_take(p, stock_lowest(p, job->served, job->variant));
    party_changed(p);
    return job;
}

/* Of those that ended before they began. */
static bool next_dropped(struct party_state *p, uint8_t ret_id[MESSAGE_ID_BYTES])
{
    if (!p->dropped_count)
        return false;
    memcpy(ret_id, p->dropped[--p->dropped_count], MESSAGE_ID_BYTES);
    return true;
}

static int propose_drop(struct party_link *l, const uint8_t id[MESSAGE_ID_BYTES])
{
    struct message_proposal m = {.what = PROPOSAL_DROP};

    memcpy(m.job, id, sizeof(m.job));
    return propose(l, &m, NULL);
}

static int peer_alive(struct party_link *l)
{
    /* Party 1 speaks only when it is spoken to. */
    return tls_poll(l->tls, 0) == -ETIMEDOUT ? 0 : -ECONNRESET;
}

/* A batch before a job: it is due when half of the last one is used, so that none runs out. */
static int lead_step(struct party_link *l)
{
    struct party_state *p = l->p;
    struct message_reserve reserve;
    uint8_t dropped[MESSAGE_ID_BYTES];
    struct served *s, *low;
    struct held held;
    struct job *job;
    bool drop;
    int rc;

    pthread_mutex_lock(&p->lock);
    drop = next_dropped(p, dropped);
    s = drop ? NULL : next_open(p);
    low = s || drop ? NULL : party_next_reserve(p, &reserve);
    job = s || low || drop ? NULL : next_job(p, &held);
    if (!s && !low && !job && !drop && !p->stopping)
        party_wait(p, IDLE_MS);
    pthread_mutex_unlock(&p->lock);
    if (drop)
        return propose_drop(l, dropped);
    if (s || low) {
        rc = s ? propose_open(l, s) : party_reserve(l, low, &reserve);
        served_put(p, s ? s : low);
        return rc;
    }
    return job ? propose_job(l, job, &held) : peer_alive(l);
}

/* --- party 1 --- */

static int check_open(struct party_state *p, const struct message_proposal *m, struct served *s,
                      enum refusal *why, struct err *err)
{
    enum served_state state = s ? served_state_of(p, s) : SERVED_SEED;

    *why = REFUSAL_NOT_YET;
    if (!s)
        return err_set(err, -ENOENT, "party 1 has not loaded this model yet");
    if (state == SERVED_SEED)
        return err_set(err, -EAGAIN, "party 1 waits for the dealer");
    *why = REFUSAL_FAILED;
    if (memcmp(m->plan_hash, s->plan->hash, PLAN_HASH_BYTES))
        return err_set(err, -EINVAL, "party 1 has another plan under this model id");
    if (state == SERVED_FAILED)
        return err_set(err, -EINVAL, "party 1: %s", s->error.text);
    if (state != SERVED_PEER)
        return err_set(err, -EEXIST, "party 1 has opened this model id before; share it again");
    return strike_model(p, s, err);
}

static int agree(struct party_link *l, struct err *err)
{
    return tls_send(l->tls, MESSAGE_AGREED, NULL, 0, l->timeout_ms, err);
}

static int answer_open(struct party_link *l, const struct message_proposal *m)
{
    struct party_state *p = l->p;
    struct err err = {0};
    enum refusal why;
    struct served *s;
    int rc;

    pthread_mutex_lock(&p->lock);
    s = served_find(p, m->model);
    pthread_mutex_unlock(&p->lock);
    rc = check_open(p, m, s, &why, &err);
    if (rc < 0) {
        rc = message_refuse(l->tls, why, err.text, l->timeout_ms);
    } else {
        rc = agree(l, &err);
        if (rc == 0)
            rc = run_open(l, s, &err);
        if (rc == 0)
            rc = agree(l, &err);
        service_expect(0);
        if (rc < 0)
            open_failed(p, s, rc, &err);
    }
    if (s)
        served_put(p, s);
    return rc;
}

static struct job *find_job(struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES])
{
    for (struct job *j = p->jobs; j; j = j->next)
        if (!memcmp(j->id, id, MESSAGE_ID_BYTES) && j->state == JOB_QUEUED)
            return j;
    return NULL;
}

/* Party 0 proposes the lowest it holds: what is below it here has no other half any more. */
static void drop_below(struct party_state *p, const struct job *job, uint64_t number)
{
    for (size_t i = p->stock_count; i-- > 0;) {
        const struct held *h = &p->stock[i];

        if (h->served == job->served && h->ready && h->variant == job->variant &&
            h->number < number)
            stock_destroy(p, &p->stock[i]);
    }
}

static int check_job(const struct message_proposal *m, const struct job *job, enum refusal *why,
                     struct err *err)
{
    *why = REFUSAL_NO_JOB;
    if (!job)
        return err_set(
            err, -ENOENT,
            "party 1 does not have this job (any more): it was cancelled there, its time "
            "was over, or party 1 was started again; ask again");
    *why = REFUSAL_FAILED;
    if (memcmp(m->model, job->served->plan->model_id, PLAN_ID_BYTES) ||
        memcmp(m->plan_hash, job->served->plan->hash, PLAN_HASH_BYTES) ||
        message_find_variant(job->served->plan, &m->variant) != job->variant ||
        memcmp(m->length, job->length, sizeof(m->length)))
        return err_set(err, -EINVAL, "the two parties were given different jobs under one id");
    return 0;
}

/* The proposed tape, once it is prepared; the lock is held. */
static int take_proposed(struct party_state *p, const struct message_proposal *m,
                         const struct job *job, struct held *ret_held, enum refusal *why,
                         struct err *err)
{
    uint64_t deadline = net_deadline((int)p->config->timeout_ms / 2);
    struct held *h;

    while ((h = stock_find(p, job->served, m->tape)) && !h->ready && time_ns() < deadline &&
           !p->stopping)
        party_wait(p, IDLE_MS);
    *why = REFUSAL_NO_TAPE;
    if (!h || h->variant != job->variant)
        return err_set(err, -ENOENT, "party 1 does not hold tape %" PRIu64, m->tape);
    *why = REFUSAL_NOT_YET;
    if (!h->ready)
        return err_set(err, -EAGAIN, "party 1 still prepares tape %" PRIu64, m->tape);
    *ret_held = stock_take(p, h);
    return 0;
}

/* The job and its tape, both the caller's, when it returns 0. */
static int check_proposal(struct party_state *p, const struct message_proposal *m,
                          struct job **ret_job, struct held *ret_held, enum refusal *why,
                          struct err *err)
{
    struct job *job;
    int rc;

    pthread_mutex_lock(&p->lock);
    job = find_job(p, m->job);
    rc = check_job(m, job, why, err);
    if (rc == 0) {
        job->state = JOB_RUNNING; /* so that it stays while we wait for its tape */
        job->begun_ns = time_ns();
        drop_below(p, job, m->tape);
        rc = take_proposed(p, m, job, ret_held, why, err);
        if (rc < 0)
            job->state = JOB_QUEUED;
        party_changed(p);
    }
    pthread_mutex_unlock(&p->lock);
    *ret_job = job;
    return rc;
}

static int answer_job(struct party_link *l, const struct message_proposal *m)
{
    struct party_state *p = l->p;
    uint64_t start = time_ns();
    struct err err = {0};
    struct held held;
    struct job *job;
    enum refusal why;
    int rc = check_proposal(p, m, &job, &held, &why, &err);

    if (rc < 0)
        return message_refuse(l->tls, why, err.text, l->timeout_ms);
    rc = strike_job(p, job, &held, &err);
    if (rc < 0) {
        tape_free(held.tape);
        finish_job(p, job, rc, &err);
        return message_refuse(l->tls, REFUSAL_FAILED, err.text, l->timeout_ms);
    }
    rc = agree(l, &err);
    if (rc == 0)
        rc = expand_input(job, &err);
    if (rc == 0)
        run_job(l, job, &held, start, &err, &rc);
    tape_free(held.tape);
    end_run(p, job, rc, &err);
    return rc;
}

static int answer_drop(struct party_state *p, const struct message_proposal *m)
{
    static const struct err dropped = {
        "it ended at party 0: cancelled there, or its time was over; ask again"};
    struct job *job;

    pthread_mutex_lock(&p->lock);
    job = find_job(p, m->job);
    if (job)
        job_end(p, job, REFUSAL_FAILED, -ECANCELED, &dropped);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

static bool newcomer(struct party_state *p)
{
    bool waits;

    pthread_mutex_lock(&p->lock);
    waits = p->peer_arrived != NULL;
    pthread_mutex_unlock(&p->lock);
    return waits;
}

static int follow_step(struct party_link *l)
{
    uint8_t bytes[MAX(sizeof(struct message_proposal), MESSAGE_RESERVE_BYTES)], type;
    struct message_proposal m;
    struct reader r;
    size_t count;
    int rc;

    /* Party 0 has one session: a new one means that this one is dead and does not know it. */
    if (newcomer(l->p))
        return -ECONNRESET;
    if (tls_poll(l->tls, IDLE_MS) < 0)
        return 0;
    rc = tls_receive(l->tls, &type, bytes, sizeof(bytes), &count, l->timeout_ms, NULL);
    if (rc < 0)
        return rc;
    if (type == MESSAGE_RESERVE)
        return party_answer_reserve(l, bytes, count);
    reader_init(&r, bytes, count);
    message_read_proposal(&r, &m);
    if (type != MESSAGE_PROPOSE || !reader_done(&r))
        return -EPROTO;
    return m.what == PROPOSAL_OPEN   ? answer_open(l, &m)
           : m.what == PROPOSAL_JOB  ? answer_job(l, &m)
           : m.what == PROPOSAL_DROP ? answer_drop(l->p, &m)
                                     : -EPROTO;
}

/* --- the session --- */

static int connect_peer(struct party_state *p, struct tls_session **ret_tls, struct err *err)
{
    int timeout_ms = (int)p->config->timeout_ms;
    int fd, rc = net_connect(&p->config->peer, timeout_ms, &fd, err);

    if (rc == 0)
        rc = trust_connect(p->trust, fd, ROLE_PARTY1, timeout_ms, ret_tls, err);
    if (rc < 0)
        usleep(RETRY_MS * 1000);
    return rc;
}

static int await_peer(struct party_state *p, struct tls_session **ret_tls)
{
    pthread_mutex_lock(&p->lock);
    while (!p->peer_arrived && !p->stopping) {
        service_alive();
        party_wait(p, IDLE_MS);
    }
    *ret_tls = p->peer_arrived;
    p->peer_arrived = NULL;
    pthread_mutex_unlock(&p->lock);
    return *ret_tls ? 0 : -ESHUTDOWN;
}

static void set_peer_up(struct party_state *p, bool up)
{
    pthread_mutex_lock(&p->lock);
    p->peer_up = up;
    party_seen(&p->peer_seen, up);
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

bool party_ready(const struct party_state *p, char ret_text[PARTY_TEXT_SIZE])
{
    bool noted = audit_works(p->audit);
    size_t ready = 0;

    for (size_t i = 0; i < p->served_count; i++)
        ready += p->served[i]->state == SERVED_READY;
    snprintf(ret_text, PARTY_TEXT_SIZE,
             "%zu of %zu models ready, the other party %s, the dealer %s%s%s", ready,
             p->served_count, p->peer_up ? "connected" : "away",
             p->dealer_up ? "connected" : "away", p->draining ? ", takes no new jobs" : "",
             noted ? "" : ", the audit log cannot be written");
    return ready && p->peer_up && !p->draining && noted;
}

/* To the service manager. */
static void report(struct party_state *p)
{
    char text[PARTY_TEXT_SIZE];
    bool ready;

    service_alive();
    pthread_mutex_lock(&p->lock);
    ready = party_ready(p, text);
    pthread_mutex_unlock(&p->lock);
    service_report(ready, text);
}

static void run_session(struct party_state *p, struct tls_session *tls)
{
    struct err err = {0};
    struct party_link l;
    int rc = party_link_open(p, tls, &l, &err);

    if (rc < 0) {
        log_warning("peer-refused", log_text("error", err_text(&err, rc)));
        usleep(RETRY_MS * 1000);
        return;
    }
    log_info("peer-connected", log_text("name", tls_peer(tls)->name));
    party_link_note(&l);
    set_peer_up(p, true);
    while (rc == 0 && !p->stopping) {
        rc = p->party == 0 ? lead_step(&l) : follow_step(&l);
        party_link_note(&l);
        report(p);
    }
    set_peer_up(p, false);
    party_link_close(&l);
    if (rc < 0)
        log_warning("peer-lost", log_text("error", err_text(NULL, rc)));
}

void *party_online_thread(void *state)
{
    struct party_state *p = state;
    char last_error[ERR_TEXT_MAX] = "";

    daemon_lead(p->workers);
    while (!p->stopping) {
        struct tls_session *tls;
        struct err err = {0};
        int rc;

        report(p);
        rc = p->party == 0 ? connect_peer(p, &tls, &err) : await_peer(p, &tls);
        service_alive();
        if (rc == 0) {
            last_error[0] = 0;
            run_session(p, tls);
        } else if (p->party == 0 && strcmp(last_error, err.text)) {
            log_warning("peer-away", log_text("error", err_text(&err, rc)));
            snprintf(last_error, sizeof(last_error), "%s", err.text);
        }
    }
    return NULL;
}
