/*
 * Sessions that come in: an owner is served here, one job after another; the other party is handed
 * to the online thread. Each thread takes one connection at a time, so an unauthenticated caller
 * can hold one of them for timeout_ms at the most.
 */
#include "appliance/log.h"
#include "appliance/net.h"
#include "appliance/party.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <unistd.h>

#define POLL_MS       200
#define IDLE_MS       60000
#define HANDSHAKE_MS  3000
#define REQUEST_BYTES 4096

/* A job waits this many steps' time for its turn. */
#define JOB_TIMEOUTS 2

struct session {
    struct party_state *p;
    struct tls_session *tls;
    const struct identity *peer;
    int timeout_ms;
};

static int refuse(struct session *s, enum refusal why, const struct err *err)
{
    log_warning("refused", log_text("name", s->peer->name), log_text("error", err->text));
    return message_refuse(s->tls, why, err->text, s->timeout_ms);
}

/* --- what models are there --- */

static int answer_info(struct session *s, struct err *err)
{
    struct party_state *p = s->p;
    struct writer w = {0};

    pthread_mutex_lock(&p->lock);
    write_u32(&w, (uint32_t)p->served_count);
    for (size_t i = 0; i < p->served_count; i++) {
        const struct served *at = p->served[i];
        struct message_model m = {.ready = at->state == SERVED_READY};

        memcpy(m.id, at->plan->model_id, sizeof(m.id));
        memcpy(m.plan_hash, at->plan->hash, sizeof(m.plan_hash));
        memcpy(m.name, at->plan->name, sizeof(m.name));
        message_write_model(&w, &m);
    }
    pthread_mutex_unlock(&p->lock);
    return message_send(s->tls, MESSAGE_INFO_REPLY, &w, s->timeout_ms, err);
}

/* --- one job --- */

static int receive_input(struct session *s, struct job *job, struct err *err)
{
    size_t count;
    uint8_t type;
    int rc = tls_receive(s->tls, &type, job->input, job->input_bytes, &count, s->timeout_ms, err);

    if (rc < 0)
        return rc;
    if (type != MESSAGE_INPUT)
        return err_set(err, -EPROTO, "message %u where the input was due", type);
    if (count != job->input_bytes)
        return err_set(err, -EPROTO, "an input of %zu bytes where the plan says %zu", count,
                       job->input_bytes);
    return 0;
}

/* The owner has nothing to say while it waits: anything readable means that it has gone. */
static void await(struct session *s, struct job *job)
{
    struct party_state *p = s->p;

    pthread_mutex_lock(&p->lock);
    while (job->state < JOB_DONE) {
        bool gone = job->state == JOB_QUEUED && tls_poll(s->tls, 0) == 0;
        const char *reason = gone                       ? "its owner has gone"
                             : job->state == JOB_QUEUED ? job_hopeless(p, job)
                                                        : NULL;
        struct err err = {0};

        if (reason) {
            job_end(p, job, REFUSAL_FAILED,
                    err_set(&err, gone ? -ECANCELED : -ETIMEDOUT, "%s", reason), &err);
            break;
        }
        party_wait(p, POLL_MS);
    }
    pthread_mutex_unlock(&p->lock);
}

static int answer_job(struct session *s, const struct job *job, struct err *err)
{
    return job->state == JOB_FAILED ? refuse(s, job->why, &job->error)
                                    : request_send_result(s->p, s->tls, job, err);
}

/* Party 0 may propose it from job_queue() on, so it is queued before its owner is told. */
static int run_attached(struct session *s, struct job *job, struct err *err)
{
    int rc;

    job_queue(s->p, job, JOB_TIMEOUTS * (uint64_t)s->timeout_ms);
    rc = tls_send(s->tls, MESSAGE_QUEUED, NULL, 0, s->timeout_ms, err);
    if (rc == 0) {
        await(s, job);
        rc = answer_job(s, job, err);
    }
    job_discard(s->p, job);
    return rc;
}

/* Whether its owner hears of it or not: it knows the id, which it drew. */
static int leave_at_desk(struct session *s, struct job *job, struct err *err)
{
    struct err full = {0};

    if (desk_take(s->p, job, &full) == 0)
        return tls_send(s->tls, MESSAGE_QUEUED, NULL, 0, s->timeout_ms, err);
    job_discard(s->p, job);
    return refuse(s, REFUSAL_FULL, &full);
}

static int take_job(struct session *s, struct job *job, bool stays, struct err *err)
{
    int rc = tls_send(s->tls, MESSAGE_ACCEPTED, NULL, 0, s->timeout_ms, err);

    if (rc == 0)
        rc = receive_input(s, job, err);
    if (rc < 0) {
        job_discard(s->p, job);
        return rc;
    }
    return stays ? leave_at_desk(s, job, err) : run_attached(s, job, err);
}

static int answer_submit(struct session *s, const uint8_t *bytes, size_t count, struct err *err)
{
    struct message_submit m;
    struct err why = {0};
    enum refusal refusal;
    struct reader r;
    struct job *job;
    int rc;

    reader_init(&r, bytes, count);
    message_read_submit(&r, &m);
    if (!reader_done(&r))
        return err_set(err, -EPROTO, "a submission that cannot be read");
    rc = job_admit(s->p, &m, s->peer, &job, &refusal, &why);
    return rc < 0 ? refuse(s, refusal, &why) : take_job(s, job, m.stays, err);
}

/* --- the session --- */

static int serve_request(struct session *s, struct err *err)
{
    uint8_t request[REQUEST_BYTES], type;
    size_t count;
    int rc = tls_receive(s->tls, &type, request, sizeof(request), &count, s->timeout_ms, err);

    if (rc < 0)
        return rc;
    if (type == MESSAGE_INFO && count == 0)
        return answer_info(s, err);
    if (type == MESSAGE_SUBMIT)
        return answer_submit(s, request, count, err);
    if (type == MESSAGE_WAIT)
        return request_wait(s->p, s->tls, request, count, err);
    if (type == MESSAGE_DROP)
        return request_drop(s->p, s->tls, request, count, err);
    if (type == MESSAGE_LIST && count == 0)
        return request_list(s->p, s->tls, err);
    return err_set(err, -EPROTO, "message %u is none that an owner sends here", type);
}

static void serve_owner(struct session *s)
{
    uint64_t idle_since = time_ns();
    struct err err = {0};
    int rc = 0;

    while (rc == 0 && !s->p->stopping && time_ns() - idle_since < (uint64_t)IDLE_MS * 1000000) {
        if (tls_poll(s->tls, POLL_MS) < 0)
            continue;
        /* A reload may have taken its pin away. */
        rc = trust_believes(s->p->trust, s->peer)
                 ? serve_request(s, &err)
                 : err_set(&err, -EACCES, "this configuration pins it no longer");
        idle_since = time_ns();
    }
    if (rc < 0 && rc != -EPIPE)
        log_warning("session-ended", log_text("name", s->peer->name),
                    log_text("error", err_text(&err, rc)));
}

/* Some threads are left for the other party, whatever owners do. */
static void serve_if_room(struct session *s)
{
    static const struct err full = {"too many owners are connected; come again"};

    if (atomic_fetch_add(&s->p->owners, 1) < PARTY_OWNERS_MAX)
        serve_owner(s);
    else if (refuse(s, REFUSAL_FULL, &full) < 0)
        log_debug("refusal-not-sent", log_text("name", s->peer->name));
    atomic_fetch_sub(&s->p->owners, 1);
}

static void hand_to_online(struct party_state *p, struct tls_session *tls)
{
    struct tls_session *old;

    pthread_mutex_lock(&p->lock);
    old = p->peer_arrived;
    p->peer_arrived = tls;
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    tls_free(old);
}

static void serve(struct party_state *p, int fd)
{
    struct session s = {.p = p, .timeout_ms = (int)p->config->timeout_ms};
    char from[NET_TEXT_SIZE];
    struct err err = {0};
    int rc;

    net_peer(fd, from);
    rc = trust_accept(p->trust, fd, MIN(s.timeout_ms, HANDSHAKE_MS), &s.tls, &err);
    if (rc < 0) {
        log_warning("session-refused", log_text("from", from),
                    log_text("error", err_text(&err, rc)));
        audit_note_refusal(p->audit, "session-refused", log_text("from", from),
                           log_text("error", err_text(&err, rc)));
        return;
    }
    s.peer = tls_peer(s.tls);
    log_info("session-opened", log_text("from", from), log_text("role", role_name(s.peer->role)),
             log_text("name", s.peer->name));
    if (s.peer->role == ROLE_PARTY0 && p->party == 1) {
        hand_to_online(p, s.tls);
        return;
    }
    if (s.peer->role == ROLE_OWNER)
        serve_if_room(&s);
    tls_shutdown(s.tls);
    tls_free(s.tls);
}

void *party_session_thread(void *state)
{
    struct party_state *p = state;

    while (!p->stopping) {
        int fd, rc = net_accept(p->listen_fd, POLL_MS, &fd, NULL);

        if (rc == 0)
            serve(p, fd);
        else if (rc != -ETIMEDOUT)
            usleep(POLL_MS * 1000); /* out of descriptors: let others finish */
    }
    return NULL;
}
