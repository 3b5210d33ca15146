/* Jobs: admitted, queued, ended. */
#include "appliance/log.h"
#include "appliance/party.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <stdlib.h>

/* A job waits this long for somebody who is away. */
#define STUCK_MS 3000

static int check_variant(const struct plan *plan, const struct message_submit *m, struct err *err)
{
    const struct variant *v = message_find_variant(plan, &m->variant);
    uint32_t least = m->variant.mode == LENGTH_BUCKET ? m->variant.tokens : 1;

    for (size_t i = 0; v && i < v->batch; i++)
        if (m->length[i] < least || m->length[i] > v->tokens)
            return err_set(err, -EINVAL, "query %zu has %u tokens in a variant of %u%s", i,
                           m->length[i], v->tokens, least > 1 ? ", whose lengths are secret" : "");
    if (!v && m->variant.mode < LENGTH_MODES && !plan_has_length(plan, m->variant.mode))
        return err_set(err, -EINVAL,
                       "the plan has no variant for %s lengths: its owner makes one with "
                       "`mpcformer share --length %s`",
                       length_mode_names[m->variant.mode], length_mode_names[m->variant.mode]);
    return v ? 0
             : err_set(err, -EINVAL, "the plan has no variant of %u times %u tokens",
                       m->variant.batch, m->variant.tokens);
}

static int find_twin(const struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES],
                     struct err *err)
{
    for (const struct job *j = p->jobs; j; j = j->next)
        if (!memcmp(j->id, id, MESSAGE_ID_BYTES))
            return err_set(err, -EEXIST, "job %s is here already; draw a fresh id", j->name);
    return 0;
}

static int check_submit(struct party_state *p, const struct message_submit *m,
                        const struct served *s, enum refusal *why, struct err *err)
{
    char model[2 * PLAN_ID_BYTES + 1];
    int rc;

    hex_encode(m->model, PLAN_ID_BYTES, model);
    *why = REFUSAL_FAILED;
    if (!s)
        return err_set(
            err, -ENOENT,
            "model %s is not loaded here: its operator loads it, `mpcformer model load`, "
            "and sees those that are, `model list`",
            model);
    if (memcmp(m->plan_hash, s->plan->hash, PLAN_HASH_BYTES))
        return err_set(err, -EINVAL, "this model is served under another plan");
    if (m->priority > TURNS_PRIORITY_MAX)
        return err_set(err, -EINVAL, "priority %u: there are 0 to %d", m->priority,
                       TURNS_PRIORITY_MAX);
    if (m->deadline_ms > MESSAGE_DEADLINE_MS_MAX)
        return err_set(err, -EINVAL, "a deadline in %u ms: at most %u are taken", m->deadline_ms,
                       MESSAGE_DEADLINE_MS_MAX);
    if (s->state == SERVED_FAILED)
        return err_set(err, -EINVAL, "the model failed to load: %s", s->error.text);
    rc = check_variant(s->plan, m, err);
    if (rc == 0)
        rc = find_twin(p, m->job, err);
    if (rc < 0)
        return rc;
    *why = REFUSAL_NOT_YET;
    if (p->draining)
        return err_set(err, -EAGAIN,
                       "this appliance is being drained and takes no new job; ask again later");
    if (s->state != SERVED_READY)
        return err_set(err, -EAGAIN, "the model is still being loaded; ask again");
    return 0;
}

/* Of all owners together, and of each, so that none can keep the others out. */
static int check_room(const struct party_state *p, const struct identity *owner, size_t bytes,
                      enum refusal *why, struct err *err)
{
    size_t own = 0, own_bytes = bytes;

    *why = REFUSAL_FULL;
    for (const struct job *j = p->jobs; j; j = j->next) {
        bool is_own =
            !memcmp(&j->owner.fingerprint, owner->fingerprint, sizeof(owner->fingerprint));

        bytes += j->input_bytes;
        own += is_own;
        own_bytes += is_own ? j->input_bytes : 0;
    }
    if (bytes > PARTY_INPUT_BYTES_MAX || p->job_count >= PARTY_JOBS_MAX)
        return err_set(
            err, -EAGAIN,
            "the queue is full with %zu jobs, %zu bytes with this one (there is room for "
            "%d and %zu); ask again later",
            p->job_count, bytes, PARTY_JOBS_MAX, PARTY_INPUT_BYTES_MAX);
    if (own_bytes > PARTY_INPUT_BYTES_MAX / PARTY_OWNER_SHARE ||
        own >= PARTY_JOBS_MAX / PARTY_OWNER_SHARE)
        return err_set(
            err, -EAGAIN,
            "%zu jobs of %s are here, %zu bytes with this one (one owner may have %d and "
            "%zu): fetch answers that are kept, or ask again later",
            own, owner->name, own_bytes, PARTY_JOBS_MAX / PARTY_OWNER_SHARE,
            PARTY_INPUT_BYTES_MAX / PARTY_OWNER_SHARE);
    return 0;
}

/* What its owner may never ask. */
static int check_authority(const struct message_submit *m, const struct identity *owner,
                           const struct limit *limit, enum refusal *why, struct err *err)
{
    uint32_t most = MIN(limit->most[LIMIT_JOB], limit->most[LIMIT_BURST]);
    char model[2 * PLAN_ID_BYTES + 1];

    hex_encode(m->model, PLAN_ID_BYTES, model);
    *why = REFUSAL_FORBIDDEN;
    if (!limit_has_model(limit, m->model))
        return err_set(err, -EACCES,
                       "%s may not ask model %s here: the operator has to add it to its `limit`",
                       owner->name, model);
    if (m->variant.batch > most)
        return err_set(err, -EACCES,
                       "a job of %u queries: %s may have %u in one here, so ask in smaller ones",
                       m->variant.batch, owner->name, most);
    return 0;
}

/* What it may not now. */
static int check_budget(const struct party_state *p, const struct message_submit *m,
                        const struct identity *owner, const struct limit *limit, enum refusal *why,
                        struct err *err)
{
    uint32_t unended = 0;
    uint64_t wait_s;

    for (const struct job *j = p->jobs; j; j = j->next)
        unended += j->state < JOB_DONE && job_is_of(&j->owner, owner);
    *why = REFUSAL_WAITING;
    if (unended >= limit->most[LIMIT_WAITING])
        return err_set(err, -EAGAIN,
                       "%u jobs of %s have not ended, as many as it may have here: ask again when "
                       "one has",
                       unended, owner->name);
    *why = REFUSAL_RATE;
    wait_s = budget_wait_s(&p->budgets, owner->fingerprint, limit, m->variant.batch, time_ns());
    if (wait_s)
        return err_set(err, -EAGAIN,
                       "%s may ask %u queries an hour here, %u at once, and has: ask again in "
                       "%" PRIu64 " s",
                       owner->name, limit->most[LIMIT_QUERIES], limit->most[LIMIT_BURST], wait_s);
    return 0;
}

static void job_free(struct job *job)
{
    secret_free(job->input, job->input_bytes);
    secret_free(job->output, plan_answers(job->served->plan, job->variant) * sizeof(uint64_t));
    free(job);
}

static struct job *new_job(const struct message_submit *m, const struct identity *owner,
                           struct served *s, const struct variant *v)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    memcpy(job->id, m->job, sizeof(job->id));
    hex_encode(job->id, sizeof(job->id), job->name);
    job->owner = *owner;
    job->limit_ms = m->deadline_ms;
    job->turn.priority = m->priority;
    job->served = s;
    job->variant = v;
    memcpy(job->length, m->length, sizeof(job->length));
    job->input_bytes = input_bytes(s->plan, v);
    job->input = secret_alloc(job->input_bytes);
    job->output = secret_alloc(plan_answers(s->plan, v) * sizeof(uint64_t));
    if (job->input && job->output)
        return job;
    job_free(job);
    return NULL;
}

/* In the list from admission on, so that it is counted; it runs once it is queued. */
static void link_job(struct party_state *p, struct job *job)
{
    struct job **at = &p->jobs;

    while (*at)
        at = &(*at)->next;
    *at = job;
    p->job_count++;
}

/* @limit NULL: an operator's, who has none. */
static int check_all(struct party_state *p, const struct message_submit *m,
                     const struct identity *owner, const struct limit *limit,
                     const struct served *s, enum refusal *why, struct err *err)
{
    int rc = limit ? check_authority(m, owner, limit, why, err) : 0;

    if (rc == 0)
        rc = check_submit(p, m, s, why, err);
    if (rc == 0)
        rc = check_room(p, owner, input_bytes(s->plan, message_find_variant(s->plan, &m->variant)),
                        why, err);
    if (rc == 0 && limit)
        rc = check_budget(p, m, owner, limit, why, err);
    return rc;
}

static int admit(struct party_state *p, const struct message_submit *m,
                 const struct identity *owner, const struct limit *limit, struct served *s,
                 struct job **ret_job, enum refusal *why, struct err *err)
{
    struct job *job;
    int rc = check_all(p, m, owner, limit, s, why, err);

    if (rc < 0)
        return rc;
    job = new_job(m, owner, s, message_find_variant(s->plan, &m->variant));
    if (!job)
        return err_set(err, -ENOMEM, "no memory for the job");
    link_job(p, job);
    if (limit)
        budget_charge(&p->budgets, owner->fingerprint, limit, m->variant.batch, time_ns());
    *ret_job = job;
    return 0;
}

/* What was refused, and to whom. */
static void note_refusal(struct party_state *p, const struct message_submit *m,
                         const struct identity *owner, const struct err *err)
{
    char model[2 * PLAN_ID_BYTES + 1];

    hex_encode(m->model, PLAN_ID_BYTES, model);
    audit_note_refusal(p->audit, "refused", log_text("name", owner->name), log_text("model", model),
                       log_text("reason", err->text));
}

/* Before its owner hears that it was accepted; if the disk is full only now, the line waits. */
static void note_admission(struct party_state *p, const struct message_submit *m,
                           const struct identity *owner, const struct job *job)
{
    const struct log_field fields[] = {
        log_text("job", job->name),
        log_text("name", owner->name),
        log_text("model", job->served->id),
        log_number("tokens", m->variant.tokens),
        log_number("batch", m->variant.batch),
        log_text("length", length_mode_names[m->variant.mode]),
        log_number("priority", m->priority),
        {.key = NULL},
    };

    log_write(LOG_LEVEL_INFO, "job-admitted", fields);
    audit_write(p->audit, "asked", fields);
    if (audit_flush(p->audit, NULL) < 0)
        log_warning("job-noted-later", log_text("job", job->name));
}

int job_admit(struct party_state *p, const struct message_submit *m, const struct identity *owner,
              struct job **ret_job, enum refusal *ret_why, struct err *err)
{
    bool limited = owner->role == ROLE_OWNER;
    struct served *s = NULL;
    struct limit limit;
    int rc = audit_flush(p->audit, err);

    if (limited)
        trust_limit(p->trust, owner, &limit);
    *ret_why = REFUSAL_FULL;
    pthread_mutex_lock(&p->lock);
    if (rc == 0) {
        s = served_find(p, m->model);
        rc = admit(p, m, owner, limited ? &limit : NULL, s, ret_job, ret_why, err);
    }
    p->jobs_refused[*ret_why] += rc < 0;
    pthread_mutex_unlock(&p->lock);
    if (rc == 0) {
        note_admission(p, m, owner, *ret_job);
        return 0;
    }
    note_refusal(p, m, owner, err);
    if (s)
        served_put(p, s);
    return rc;
}

void job_queue(struct party_state *p, struct job *job, uint64_t patience_ms)
{
    pthread_mutex_lock(&p->lock);
    job->state = JOB_QUEUED;
    job->queued_ns = job->stuck_since_ns = time_ns();
    job->turn = turns_join(&p->turns, job->owner.fingerprint, job->turn.priority);
    job->turn.deadline_ns =
        job->queued_ns + (job->limit_ms ? job->limit_ms : patience_ms) * 1000000;
    job->served->wanted[served_variant(job->served, job->variant)] = true;
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    log_info("job-queued", log_text("job", job->name));
}

struct job *job_next(struct party_state *p)
{
    uint64_t now = time_ns();
    struct job *next = NULL;

    for (struct job *j = p->jobs; j; j = j->next)
        if (j->state == JOB_QUEUED && j->retry_ns <= now && now < j->turn.deadline_ns &&
            (!next || turns_before(&j->turn, &next->turn)) &&
            stock_lowest(p, j->served, j->variant))
            next = j;
    return next;
}

const char *job_hopeless(struct party_state *p, struct job *job)
{
    bool starved = !stock_lowest(p, job->served, job->variant);
    uint64_t now = time_ns();

    if (p->stopping)
        return "the appliance is stopping";
    if (job->served->gone)
        return "the model was unloaded";
    if (now > job->turn.deadline_ns)
        return job->limit_ms ? "its deadline has passed before it could begin"
                             : "its time is over: no tape, or the parties are too busy; ask again";
    if (p->peer_up && (p->dealer_up || !starved)) {
        job->stuck_since_ns = now;
        return NULL;
    }
    if (now - job->stuck_since_ns < STUCK_MS * 1000000ull)
        return NULL;
    return p->peer_up ? "the dealer is away and no tape is left"
                      : "the other party is away or was lost";
}

/* Party 1 is to be told; if there are too many, its own patience ends the oldest ones. */
static void note_dropped(struct party_state *p, const struct job *job)
{
    if (p->dropped_count == PARTY_JOBS_MAX)
        memmove(p->dropped[0], p->dropped[1], --p->dropped_count * sizeof(p->dropped[0]));
    memcpy(p->dropped[p->dropped_count++], job->id, sizeof(job->id));
}

static void leave_turn(struct job *job)
{
    if (job->turn.owner)
        turns_leave(&job->turn);
    job->turn.owner = NULL;
}

void job_discard(struct party_state *p, struct job *job)
{
    struct served *s = job->served;

    pthread_mutex_lock(&p->lock);
    while (job->state == JOB_RUNNING) /* the online thread still writes to it */
        party_wait(p, 1000);
    for (struct job **at = &p->jobs; *at; at = &(*at)->next)
        if (*at == job) {
            *at = job->next;
            break;
        }
    p->job_count--;
    if (job->state == JOB_QUEUED && p->party == 0)
        note_dropped(p, job);
    leave_turn(job);
    if (p->draining && !p->job_count)
        log_info("drained", log_number("jobs", 0));
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    job_free(job);
    served_put(p, s);
}

const char *const ending_names[] = {
    [ENDING_ANSWERED] = "answered",
    [ENDING_CANCELLED] = "cancelled",
    [ENDING_IN_VAIN] = "in-vain",
    [ENDING_FAILED] = "failed",
};

static enum ending ending_of(int rc)
{
    return rc == 0            ? ENDING_ANSWERED
           : rc == -ECANCELED ? ENDING_CANCELLED
           : rc == -ETIMEDOUT ? ENDING_IN_VAIN
                              : ENDING_FAILED;
}

void job_end(struct party_state *p, struct job *job, enum refusal why, int rc,
             const struct err *err)
{
    if (job->state == JOB_RUNNING)
        turns_charge(&job->turn, time_ns() - job->begun_ns);
    else if (p->party == 0)
        note_dropped(p, job);
    leave_turn(job);
    job->state = rc < 0 ? JOB_FAILED : JOB_DONE;
    p->jobs_ended[ending_of(rc)]++;
    audit_note(p->audit, ending_names[ending_of(rc)], log_text("job", job->name),
               log_text("name", job->owner.name),
               log_text("reason", rc < 0 ? err_text(err, rc) : NULL));
    if (rc < 0) {
        job->why = why;
        job->error = (struct err){0};
        err_set(&job->error, rc, "%s", err_text(err, rc));
        p->jobs_failed++;
    } else {
        p->jobs_done++;
        histogram_add(&p->online, job->result.online_ns);
        p->jobs_bytes += job->result.stats.bytes;
        p->jobs_rounds += job->result.stats.rounds;
        histogram_add(&p->queued, job->begun_ns - job->queued_ns);
        job->served->jobs_done++;
    }
    party_changed(p);
}

bool job_is_of(const struct identity *of, const struct identity *owner)
{
    return !owner || !memcmp(of->fingerprint, owner->fingerprint, sizeof(owner->fingerprint));
}

int job_cancel(struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES],
               const struct identity *owner, struct err *err)
{
    struct err cancelled = {""};
    int rc = -ENOENT;

    pthread_mutex_lock(&p->lock);
    if (desk_forget(p, id, owner))
        rc = 0;
    for (struct job *j = p->jobs; rc == -ENOENT && j; j = j->next) {
        if (memcmp(j->id, id, MESSAGE_ID_BYTES) || !job_is_of(&j->owner, owner))
            continue;
        rc = j->state == JOB_QUEUED ? 0 : -EBUSY;
        if (rc == 0)
            job_end(p, j, REFUSAL_FAILED,
                    err_set(&cancelled, -ECANCELED, "it was cancelled by %s",
                            owner ? "its owner" : "an operator"),
                    &cancelled);
    }
    pthread_mutex_unlock(&p->lock);
    return rc == -ENOENT ? err_set(err, rc, "no such job is here (any more)")
           : rc < 0      ? err_set(err, rc, "it has begun: that cannot be undone")
                         : 0;
}
