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

static int check_submit(struct party_state *p, const struct message_submit *m,
                        const struct served *s, enum refusal *why, struct err *err)
{
    int rc;

    *why = REFUSAL_FAILED;
    if (!s)
        return err_set(err, -ENOENT, "this model is not loaded here");
    if (memcmp(m->plan_hash, s->plan->hash, PLAN_HASH_BYTES))
        return err_set(err, -EINVAL, "this model is served under another plan");
    if (s->state == SERVED_FAILED)
        return err_set(err, -EINVAL, "the model failed to load: %s", s->error.text);
    rc = check_variant(s->plan, m, err);
    if (rc < 0)
        return rc;
    for (const struct job *j = p->jobs; j; j = j->next)
        if (!memcmp(j->id, m->job, MESSAGE_ID_BYTES))
            return err_set(err, -EEXIST, "job %s is here already; draw a fresh id", j->name);
    if (s->state != SERVED_READY) {
        *why = REFUSAL_NOT_YET;
        return err_set(err, -EAGAIN, "the model is still being loaded; ask again");
    }
    return 0;
}

static int check_room(const struct party_state *p, size_t bytes, enum refusal *why, struct err *err)
{
    *why = REFUSAL_FULL;
    for (const struct job *j = p->jobs; j; j = j->next)
        bytes += j->input_bytes;
    if (bytes > PARTY_INPUT_BYTES_MAX)
        return err_set(err, -EAGAIN,
                       "the queue is full with the inputs of %zu jobs; ask again later",
                       p->job_count);
    if (p->job_count >= PARTY_JOBS_MAX)
        return err_set(err, -EAGAIN, "the queue is full with %zu jobs; ask again later",
                       p->job_count);
    return 0;
}

static void job_free(struct job *job)
{
    secret_free(job->input, job->input_bytes);
    secret_free(job->output, plan_answers(job->served->plan, job->variant) * sizeof(uint64_t));
    free(job);
}

static struct job *new_job(const struct message_submit *m, struct served *s,
                           const struct variant *v)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    memcpy(job->id, m->job, sizeof(job->id));
    hex_encode(job->id, sizeof(job->id), job->name);
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

static int admit(struct party_state *p, const struct message_submit *m, struct served *s,
                 struct job **ret_job, enum refusal *why, struct err *err)
{
    const struct variant *v;
    struct job *job;
    int rc = check_submit(p, m, s, why, err);

    if (rc < 0)
        return rc;
    v = message_find_variant(s->plan, &m->variant);
    rc = check_room(p, input_bytes(s->plan, v), why, err);
    if (rc < 0)
        return rc;
    job = new_job(m, s, v);
    if (!job)
        return err_set(err, -ENOMEM, "no memory for the job");
    link_job(p, job);
    *ret_job = job;
    return 0;
}

int job_admit(struct party_state *p, const struct message_submit *m, const char *owner,
              struct job **ret_job, enum refusal *ret_why, struct err *err)
{
    struct served *s;
    int rc;

    pthread_mutex_lock(&p->lock);
    s = served_find(p, m->model);
    rc = admit(p, m, s, ret_job, ret_why, err);
    pthread_mutex_unlock(&p->lock);
    if (rc < 0) {
        if (s)
            served_put(p, s);
        return rc;
    }
    log_info("job-admitted", log_text("job", (*ret_job)->name), log_text("name", owner),
             log_text("model", s->id), log_number("tokens", m->variant.tokens),
             log_number("batch", m->variant.batch),
             log_text("length", length_mode_names[m->variant.mode]));
    return 0;
}

void job_queue(struct party_state *p, struct job *job, uint64_t patience_ms)
{
    pthread_mutex_lock(&p->lock);
    job->state = JOB_QUEUED;
    job->stuck_since_ns = time_ns();
    job->deadline_ns = job->stuck_since_ns + patience_ms * 1000000;
    job->served->wanted[served_variant(job->served, job->variant)] = true;
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    log_info("job-queued", log_text("job", job->name));
}

const char *job_hopeless(struct party_state *p, struct job *job)
{
    bool starved = !stock_lowest(p, job->served, job->variant);
    uint64_t now = time_ns();

    if (p->stopping)
        return "the appliance is stopping";
    if (job->served->gone)
        return "the model was unloaded";
    if (now > job->deadline_ns)
        return "its time is over: no tape, or the parties are too busy; ask again";
    if (p->peer_up && (p->dealer_up || !starved)) {
        job->stuck_since_ns = now;
        return NULL;
    }
    if (now - job->stuck_since_ns < STUCK_MS * 1000000ull)
        return NULL;
    return p->peer_up ? "the dealer is away and no tape is left"
                      : "the other party is away or was lost";
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
    pthread_mutex_unlock(&p->lock);
    job_free(job);
    served_put(p, s);
}

void job_end(struct party_state *p, struct job *job, enum refusal why, int rc,
             const struct err *err)
{
    job->state = rc < 0 ? JOB_FAILED : JOB_DONE;
    if (rc < 0) {
        job->why = why;
        job->error = (struct err){0};
        err_set(&job->error, rc, "%s", err_text(err, rc));
        p->jobs_failed++;
    } else {
        p->jobs_done++;
        histogram_add(&p->online, job->result.online_ns);
        job->served->jobs_done++;
    }
    party_changed(p);
}
