#include "appliance/client.h"

#include "appliance/answer.h"
#include "appliance/input.h"
#include "base/bytes.h"
#include "base/random.h"
#include "base/secret.h"
#include "mpc/kernels.h"

#include <poll.h>
#include <stdlib.h>

/* A job waits for a tape and for the jobs before it: this many times timeout_ms. */
#define JOB_TIMEOUTS 5
#define POLL_MS      250

/* More than a party has and remembers. */
#define CLIENT_JOBS_MAX 1024
#define REPLY_BYTES     (((size_t)64 << 10) + PLAN_ANSWERS_MAX * sizeof(uint64_t))

struct client {
    const struct config *config;
    const struct plan *plan;
    int timeout_ms;
    struct client_terms terms;
    struct tls_context *tls;
    struct tls_session *party[2]; /* both or none */
};

static const char *name_of(unsigned int party)
{
    return party ? "party1" : "party0";
}

/* Reports @why of @rc as @party's. */
static int fail_of(unsigned int party, int rc, const struct err *why, struct err *err)
{
    return err_set(err, rc, "%s: %s", name_of(party), err_text(why, rc));
}

int client_new(const struct config *config, const struct plan *plan, struct client **ret_client,
               struct err *err)
{
    struct client *c = calloc(1, sizeof(*c));
    int rc;

    if (!c)
        return err_set(err, -ENOMEM, "no memory for a client");
    c->config = config;
    c->plan = plan;
    c->timeout_ms = (int)config->timeout_ms;
    c->terms = (struct client_terms)CLIENT_TERMS_USUAL;
    rc = tls_context_new(config->certificate, config->key, config->authority, NULL, NULL, &c->tls,
                         err);
    if (rc < 0)
        client_free(c);
    else
        *ret_client = c;
    return rc;
}

void client_set_terms(struct client *client, const struct client_terms *terms)
{
    client->terms = *terms;
}

static void disconnect(struct client *c)
{
    for (unsigned int p = 0; p < 2; p++) {
        if (c->party[p])
            tls_shutdown(c->party[p]);
        tls_free(c->party[p]);
        c->party[p] = NULL;
    }
}

void client_free(struct client *client)
{
    if (!client)
        return;
    disconnect(client);
    tls_context_free(client->tls);
    free(client);
}

int client_socket(const struct client *client, unsigned int party)
{
    return client->party[party] ? tls_fd(client->party[party]) : -1;
}

/* --- one message --- */

static bool may_succeed_later(enum refusal why)
{
    return why == REFUSAL_NOT_YET || why == REFUSAL_FULL || why == REFUSAL_RATE ||
           why == REFUSAL_WAITING;
}

/* The message of @type that is due from a party, into secret memory. */
static int receive(struct client *c, unsigned int party, enum message type, uint8_t **ret_bytes,
                   size_t *ret_count, struct err *err)
{
    enum refusal why;
    uint8_t *bytes = NULL, came;
    size_t count = 0;
    int rc =
        tls_receive_alloc(c->party[party], &came, REPLY_BYTES, &bytes, &count, c->timeout_ms, err);

    if (rc < 0)
        return rc;
    if (came == type) {
        *ret_bytes = bytes;
        *ret_count = count;
        return 0;
    }
    if (came == MESSAGE_REFUSED) {
        struct err text = {""};

        rc = message_read_refusal(bytes, count, &why, &text);
        rc = rc < 0 ? err_set(err, rc, "%s", text.text)
                    : err_set(err, may_succeed_later(why) ? -EAGAIN : -EREMOTEIO, "refuses: %s",
                              text.text);
    } else {
        rc =
            err_set(err, -EPROTO, "message %u came where %u was due: another version?", came, type);
    }
    secret_free(bytes, count);
    return rc;
}

static int receive_empty(struct client *c, unsigned int party, enum message type, struct err *err)
{
    uint8_t *bytes = NULL;
    size_t count = 0;
    int rc = receive(c, party, type, &bytes, &count, err);

    if (rc == 0 && count)
        rc = err_set(err, -EPROTO, "message %u has %zu bytes too many", type, count);
    secret_free(bytes, count);
    return rc;
}

/* --- sessions --- */

static int find_plan(const struct client *c, struct reader *r, struct err *err)
{
    uint32_t count = read_u32(r);
    bool id_there = false, plan_there = false, ready = false;

    if (count > MESSAGE_MODELS_MAX)
        return err_set(err, -EPROTO, "claims to serve %u models", count);
    for (uint32_t i = 0; i < count; i++) {
        struct message_model m = {.ready = 0};

        message_read_model(r, &m);
        if (memcmp(m.id, c->plan->model_id, PLAN_ID_BYTES) != 0)
            continue;
        id_there = true;
        if (memcmp(m.plan_hash, c->plan->hash, PLAN_HASH_BYTES) != 0)
            continue;
        plan_there = true;
        ready = m.ready;
    }
    if (!reader_done(r))
        return err_set(err, -EPROTO, "its list of models cannot be read: another version?");
    if (!id_there)
        return err_set(err, -ENOENT, "does not serve this model: its operator has to load it");
    if (!plan_there)
        return err_set(err, -ENOENT,
                       "serves this model under another plan: take the plan.mpcf it was shared "
                       "with");
    if (!ready)
        return err_set(err, -EAGAIN,
                       "the model is still being loaded, or failed to: try again, or ask its "
                       "operator for `mpcformer model list`");
    return 0;
}

static int ask_info(struct client *c, unsigned int party, struct err *err)
{
    uint8_t *bytes = NULL;
    struct reader r;
    size_t count = 0;
    int rc = tls_send(c->party[party], MESSAGE_INFO, NULL, 0, c->timeout_ms, err);

    if (rc == 0)
        rc = receive(c, party, MESSAGE_INFO_REPLY, &bytes, &count, err);
    if (rc < 0)
        return rc;
    reader_init(&r, bytes, count);
    rc = find_plan(c, &r, err);
    secret_free(bytes, count);
    return rc;
}

static int connect_to(struct client *c, unsigned int party, struct err *err)
{
    int fd, rc = net_connect(&c->config->party[party], c->timeout_ms, &fd, err);

    if (rc == 0)
        rc = tls_connect(c->tls, fd, party ? ROLE_PARTY1 : ROLE_PARTY0, &c->config->pins,
                         c->timeout_ms, &c->party[party], err);
    if (rc == 0)
        rc = ask_info(c, party, err);
    return rc;
}

int client_connect(struct client *c, struct err *err)
{
    int rc = 0;

    disconnect(c);
    for (unsigned int p = 0; p < 2 && rc == 0; p++) {
        struct err why = {""};

        rc = connect_to(c, p, &why);
        if (rc < 0)
            fail_of(p, rc, &why, err);
    }
    if (rc < 0)
        disconnect(c);
    return rc;
}

/* --- the input --- */

static int submit(struct client *c, unsigned int party, const struct message_submit *m,
                  const uint8_t *input, size_t count, struct err *err)
{
    struct writer w = {0};
    int rc;

    message_write_submit(&w, m);
    rc = message_send(c->party[party], MESSAGE_SUBMIT, &w, c->timeout_ms, err);
    if (rc == 0)
        rc = receive_empty(c, party, MESSAGE_ACCEPTED, err);
    if (rc == 0)
        rc = tls_send(c->party[party], MESSAGE_INPUT, input, count, c->timeout_ms, err);
    if (rc == 0)
        rc = receive_empty(c, party, MESSAGE_QUEUED, err);
    return rc;
}

/* --- the answer --- */

/* A job, and the texts that are its owner's. */
struct question {
    struct message_submit submit;
    const struct variant *variant;
    const struct encoding *texts;
    size_t count;
};

static void ask_question(const struct client *c, struct question *q, bool stays)
{
    struct message_submit *m = &q->submit;

    *m = (struct message_submit){.variant = message_variant_of(q->variant),
                                 .priority = (uint8_t)c->terms.priority,
                                 .stays = stays,
                                 .deadline_ms = c->terms.deadline_ms};
    input_lengths(q->variant, q->texts, q->count, m->length);
    random_bytes(m->job, sizeof(m->job));
    memcpy(m->model, c->plan->model_id, sizeof(m->model));
    memcpy(m->plan_hash, c->plan->hash, sizeof(m->plan_hash));
}

struct answer {
    bool there;
    struct message_result result;
    uint64_t *share; /* plan_answers() of them, secret memory */
};

static int take_result(struct client *c, unsigned int party, const struct question *q,
                       struct answer *a, struct err *err)
{
    const struct plan *plan = c->plan;
    const uint8_t *packed;
    uint8_t *bytes = NULL;
    struct reader r;
    size_t count = 0, answers = plan_answers(plan, q->variant);
    int rc = receive(c, party, MESSAGE_RESULT, &bytes, &count, err);

    if (rc < 0)
        return rc;
    reader_init(&r, bytes, count);
    message_read_result(&r, &a->result);
    packed = read_bytes(&r, message_share_bytes(plan, answers));
    if (!packed || !reader_done(&r))
        rc = err_set(err, -EPROTO, "its answer has not the size that the plan says");
    else if (memcmp(a->result.job, q->submit.job, MESSAGE_ID_BYTES) != 0)
        rc = err_set(err, -EPROTO, "answered another job");
    else
        kernels_here()->unpack(a->share, packed, answers, plan->ring);
    secret_free(bytes, count);
    a->there = rc == 0;
    return rc;
}

static void poll_both(struct client *c, const struct answer answers[2])
{
    struct pollfd fds[2];
    nfds_t count = 0;

    for (unsigned int p = 0; p < 2; p++)
        if (!answers[p].there)
            fds[count++] = (struct pollfd){.fd = tls_fd(c->party[p]), .events = POLLIN};
    (void)poll(fds, count, POLL_MS);
}

static int await(struct client *c, const struct question *q, struct answer answers[2],
                 struct err *err)
{
    uint64_t deadline =
        net_deadline(JOB_TIMEOUTS * c->timeout_ms) + c->terms.deadline_ms * 1000000ull;

    while (!answers[0].there || !answers[1].there) {
        for (unsigned int p = 0; p < 2; p++) {
            struct err why = {""};
            int rc;

            if (answers[p].there || tls_poll(c->party[p], 0) < 0)
                continue;
            rc = take_result(c, p, q, &answers[p], &why);
            if (rc < 0)
                return fail_of(p, rc, &why, err);
        }
        if (time_ns() > deadline)
            return err_set(err, -ETIMEDOUT, "%s does not answer: no tape, or too many jobs?",
                           name_of(answers[0].there));
        if (!answers[0].there || !answers[1].there)
            poll_both(c, answers);
    }
    if (answers[0].result.tape != answers[1].result.tape)
        return err_set(err, -EPROTO, "the parties answered with different tapes");
    return 0;
}

static void gather(const struct answer answers[2], struct client_figures *ret)
{
    const struct message_result *a = &answers[0].result, *b = &answers[1].result;

    ret->online_ms = (double)MAX(a->online_ns, b->online_ns) / 1e6;
    ret->offline_party_ms = (double)MAX(a->prepare_ns, b->prepare_ns) / 1e6;
    ret->offline_dealer_ms = (double)MAX(a->deal_ns, b->deal_ns) / 1e6;
    ret->bytes_online = MAX(a->stats.bytes, b->stats.bytes);
    ret->rounds_online = MAX(a->stats.rounds, b->stats.rounds);
    ret->stats = a->stats;
}

/* --- a job --- */

static int drop(struct client *c, unsigned int party, const uint8_t job[MESSAGE_ID_BYTES],
                struct err *err)
{
    struct err why = {""};
    int rc = tls_send(c->party[party], MESSAGE_DROP, job, MESSAGE_ID_BYTES, c->timeout_ms, &why);

    if (rc == 0)
        rc = receive_empty(c, party, MESSAGE_DROPPED, &why);
    return rc < 0 ? fail_of(party, rc, &why, err) : 0;
}

static int submit_both(struct client *c, const struct question *q, size_t bytes, struct err *err)
{
    uint8_t *input[2] = {secret_alloc(bytes), secret_alloc(bytes)};
    int rc = input[0] && input[1]
                 ? input_share(c->plan, q->variant, q->submit.job, q->texts, q->count, input)
                 : -ENOMEM;

    if (rc < 0)
        err_set(err, rc, "no memory for the input");
    /* Party 0 proposes the job, so party 1 must have it first. */
    for (unsigned int p = 2; rc == 0 && p-- > 0;) {
        struct err why = {""};

        rc = submit(c, p, &q->submit, input[p], bytes, &why);
        if (rc < 0)
            fail_of(p, rc, &why, err);
        /* What party 0 refuses would wait at party 1 for nothing; with its session, or so. */
        if (rc < 0 && p == 0 && q->submit.stays && drop(c, 1, q->submit.job, NULL) < 0)
            disconnect(c);
    }
    secret_free(input[0], bytes);
    secret_free(input[1], bytes);
    return rc;
}

static int run_job(struct client *c, struct question *q, double ret_logits[],
                   struct client_figures *ret_figures, struct err *err)
{
    struct answer answers[2] = {{.there = false}, {.there = false}};
    size_t bytes = plan_answers(c->plan, q->variant) * sizeof(uint64_t);
    size_t upload = input_bytes(c->plan, q->variant);
    uint64_t start = time_ns();
    int rc;

    ask_question(c, q, false);
    answers[0].share = secret_alloc(bytes);
    answers[1].share = secret_alloc(bytes);
    rc = answers[0].share && answers[1].share ? 0 : err_set(err, -ENOMEM, "no memory");
    if (rc == 0)
        rc = submit_both(c, q, upload, err);
    if (rc == 0)
        rc = await(c, q, answers, err);
    if (rc == 0) {
        gather(answers, ret_figures);
        answer_add(c->plan, q->variant, (uint64_t *const[2]){answers[0].share, answers[1].share},
                   q->count, ret_logits, ret_figures->outside);
        ret_figures->bytes_upload = upload;
        ret_figures->wall_ns = time_ns() - start;
    }
    secret_free(answers[0].share, bytes);
    secret_free(answers[1].share, bytes);
    return rc;
}

static int be_connected(struct client *c, struct err *err)
{
    /* A party closes sessions that are idle for long: what came meanwhile can only be that. */
    for (unsigned int p = 0; p < 2; p++)
        if (c->party[0] && c->party[p] && tls_poll(c->party[p], 0) == 0)
            disconnect(c);
    return c->party[0] ? 0 : client_connect(c, err);
}

int client_run(struct client *c, const struct encoding e[], size_t count, enum length_mode mode,
               double ret_logits[], struct client_figures *ret_figures, struct err *err)
{
    struct question q = {.texts = e, .count = count};
    struct err why = {""};
    int rc = input_check(c->plan, e, count, mode, &q.variant, err);

    if (rc < 0)
        return rc;
    rc = be_connected(c, err);
    if (rc == 0)
        rc = run_job(c, &q, ret_logits, ret_figures, &why);
    if (rc < 0) {
        disconnect(c);
        err_set(err, rc, "%s", err_text(&why, rc));
    }
    return rc;
}

/* --- jobs that stay --- */

/* After a session that failed nobody knows what the other end will say next. */
static int conclude(struct client *c, int rc)
{
    if (rc < 0)
        disconnect(c);
    return rc;
}

int client_submit(struct client *c, const struct encoding *e, enum length_mode mode,
                  uint8_t ret_job[MESSAGE_ID_BYTES], struct err *err)
{
    struct question q = {.texts = e, .count = 1};
    int rc = input_check(c->plan, e, 1, mode, &q.variant, err);

    if (rc == 0)
        rc = be_connected(c, err);
    if (rc < 0)
        return rc;
    ask_question(c, &q, true);
    rc = submit_both(c, &q, input_bytes(c->plan, q.variant), err);
    if (rc == 0)
        memcpy(ret_job, q.submit.job, MESSAGE_ID_BYTES);
    return conclude(c, rc);
}

/* Of one text; a party says for a while that it is not there yet. */
static int wait_for(struct client *c, unsigned int party, const uint8_t job[MESSAGE_ID_BYTES],
                    uint64_t deadline, struct answer *a, struct err *err)
{
    static const struct variant one = {.batch = 1};
    struct question q = {.variant = &one, .count = 1};
    struct err why;
    int rc;

    memcpy(q.submit.job, job, MESSAGE_ID_BYTES);
    do {
        why = (struct err){""};
        rc = tls_send(c->party[party], MESSAGE_WAIT, job, MESSAGE_ID_BYTES, c->timeout_ms, &why);
        if (rc == 0)
            rc = take_result(c, party, &q, a, &why);
    } while (rc == -EAGAIN && time_ns() < deadline);
    return rc < 0 ? fail_of(party, rc == -EAGAIN ? -ETIMEDOUT : rc, &why, err) : 0;
}

static int fetch(struct client *c, const uint8_t job[MESSAGE_ID_BYTES], uint64_t deadline,
                 struct answer answers[2], struct err *err)
{
    int rc = 0;

    /* Party 0 proposes jobs: it knows best what becomes of one. */
    for (unsigned int p = 0; rc == 0 && p < 2; p++)
        rc = wait_for(c, p, job, deadline, &answers[p], err);
    if (rc == 0 && answers[0].result.tape != answers[1].result.tape)
        rc = err_set(err, -EPROTO, "the parties answered with different tapes");
    /* It is here now; what a party does not forget at once it forgets later. */
    for (unsigned int p = 0; rc == 0 && p < 2 && c->party[p]; p++)
        if (drop(c, p, job, NULL) < 0)
            disconnect(c);
    return rc;
}

int client_wait(struct client *c, const uint8_t job[MESSAGE_ID_BYTES], uint64_t wait_ms,
                double ret_logits[], struct client_figures *ret_figures, struct err *err)
{
    static const struct variant one = {.batch = 1};
    struct answer answers[2] = {{.there = false}, {.there = false}};
    size_t bytes = plan_answers(c->plan, &one) * sizeof(uint64_t);
    uint64_t start = time_ns();
    int rc = be_connected(c, err);

    if (rc < 0)
        return rc;
    answers[0].share = secret_alloc(bytes);
    answers[1].share = secret_alloc(bytes);
    rc = answers[0].share && answers[1].share
             ? fetch(c, job, start + wait_ms * 1000000, answers, err)
             : err_set(err, -ENOMEM, "no memory");
    if (rc == 0) {
        *ret_figures = (struct client_figures){.wall_ns = time_ns() - start};
        gather(answers, ret_figures);
        answer_add(c->plan, &one, (uint64_t *const[2]){answers[0].share, answers[1].share}, 1,
                   ret_logits, ret_figures->outside);
    }
    secret_free(answers[0].share, bytes);
    secret_free(answers[1].share, bytes);
    return conclude(c, rc);
}

int client_drop(struct client *c, const uint8_t job[MESSAGE_ID_BYTES], struct err *err)
{
    struct err other = {""};
    int rc = be_connected(c, err), other_rc;

    if (rc < 0)
        return rc;
    /* Party 0 first: it proposes, and tells party 1. */
    rc = drop(c, 0, job, err);
    other_rc = drop(c, 1, job, &other);
    return conclude(c, rc < 0 ? rc : other_rc == -EREMOTEIO ? 0 : other_rc);
}

static int read_list(const uint8_t *bytes, size_t count, struct message_job **ret_jobs,
                     size_t *ret_count, struct err *err)
{
    struct message_job *jobs;
    struct reader r;
    uint32_t rows;

    reader_init(&r, bytes, count);
    rows = read_u32(&r);
    if (rows > CLIENT_JOBS_MAX)
        return err_set(err, -EPROTO, "party0: claims to have %u jobs of this owner", rows);
    jobs = calloc(rows + 1, sizeof(*jobs));
    if (!jobs)
        return err_set(err, -ENOMEM, "no memory for a list of jobs");
    for (uint32_t i = 0; i < rows; i++)
        message_read_job(&r, &jobs[i]);
    for (uint32_t i = 0; i < rows; i++)
        r.failed |= jobs[i].state > JOB_FAILED;
    if (!reader_done(&r)) {
        free(jobs);
        return err_set(err, -EPROTO, "party0: its list of jobs cannot be read: another version?");
    }
    *ret_jobs = jobs;
    *ret_count = rows;
    return 0;
}

int client_list(struct client *c, struct message_job **ret_jobs, size_t *ret_count, struct err *err)
{
    struct err why = {""};
    uint8_t *bytes = NULL;
    size_t count = 0;
    int rc = be_connected(c, err);

    if (rc < 0)
        return rc;
    rc = tls_send(c->party[0], MESSAGE_LIST, NULL, 0, c->timeout_ms, &why);
    if (rc == 0)
        rc = receive(c, 0, MESSAGE_LIST_REPLY, &bytes, &count, &why);
    if (rc < 0)
        return conclude(c, fail_of(0, rc, &why, err));
    rc = read_list(bytes, count, ret_jobs, ret_count, err);
    secret_free(bytes, count);
    return conclude(c, rc);
}
