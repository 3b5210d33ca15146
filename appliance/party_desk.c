/*
 * The desk: jobs that an operator hands in and fetches as files, `mpcformer job`, and jobs that
 * stay when their owner goes. One thread writes the answers of the one kind, and keeps those of the
 * other for their owners; what became of the last jobs is kept for `job list`.
 */
#include "appliance/job_file.h"
#include "appliance/log.h"
#include "appliance/party.h"
#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS 200

/* Two operators act here, each in his own time. */
#define PATIENCE_MS (12 * 3600 * 1000ull)

/* A job that stays waits this long where its owner does not say, and its answer for its owner. */
#define STAY_MS (3600 * 1000ull)
#define KEPT_MS (600 * 1000ull)

/* Of desk_job.kept_until_ns: long ago. */
#define FORGOTTEN 1

/* A free record: an unused one, or that of the job that ended longest ago; the lock is held. */
static struct desk_job *find_record(struct party_state *p)
{
    for (size_t i = 0; i < PARTY_DESK_MAX; i++) {
        struct desk_job *at = &p->desk[(p->desk_next + i) % PARTY_DESK_MAX];

        if (at->job)
            continue;
        p->desk_next = ((size_t)(at - p->desk) + 1) % PARTY_DESK_MAX;
        return at;
    }
    return NULL;
}

/* The youngest of this id that is @owner's; the lock is held. */
static struct desk_job *find_kept(struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES],
                                  const struct identity *owner)
{
    for (size_t i = PARTY_DESK_MAX; i-- > 0;) {
        struct desk_job *at = &p->desk[(p->desk_next + i) % PARTY_DESK_MAX];

        if (at->name[0] && !at->output && !memcmp(at->id, id, sizeof(at->id)) &&
            job_is_of(&at->owner, owner))
            return at;
    }
    return NULL;
}

static int check_file(const struct party_state *p, const struct job_file *f, const struct job *job,
                      struct err *err)
{
    if (f->party != p->party)
        return err_set(err, -EINVAL, "it is party%u's half of the job, and this is party%u",
                       f->party, p->party);
    if (job && f->input_bytes != job->input_bytes)
        return err_set(err, -EBADMSG, "its input has %zu bytes where the plan says %zu",
                       f->input_bytes, job->input_bytes);
    return 0;
}

static int put_on_desk(struct party_state *p, struct job *job, const char *output, struct err *err)
{
    char *copy = output ? strdup(output) : NULL;
    struct desk_job *record;

    if (output && !copy)
        return err_set(err, -ENOMEM, "no memory");
    pthread_mutex_lock(&p->lock);
    record = find_record(p);
    if (record) {
        free(record->output);
        *record = (struct desk_job){.job = job, .owner = job->owner, .output = copy};
        memcpy(record->id, job->id, sizeof(record->id));
        memcpy(record->name, job->name, sizeof(record->name));
        memcpy(record->model, job->served->id, sizeof(record->model));
    }
    pthread_mutex_unlock(&p->lock);
    if (record)
        return 0;
    free(copy);
    return err_set(err, -EAGAIN, "%d jobs wait at the desk; ask again", PARTY_DESK_MAX);
}

int desk_submit(struct party_state *p, const char *input, const char *output,
                char ret_name[2 * MESSAGE_ID_BYTES + 1], struct err *err)
{
    static const struct identity the_operator = {.role = ROLE_AUTHORITY, .name = "operator"};
    struct job_file f;
    enum refusal why;
    struct job *job = NULL;
    int rc = job_file_read(input, &f, err);

    if (rc < 0)
        return rc;
    if (strlen(output) >= PATH_MAX)
        rc = err_set(err, -ENAMETOOLONG, "the path of the answer is too long");
    if (rc == 0)
        rc = check_file(p, &f, NULL, err);
    if (rc == 0)
        rc = job_admit(p, &f.submit, &the_operator, &job, &why, err);
    if (rc == 0)
        rc = check_file(p, &f, job, err);
    if (rc == 0)
        rc = put_on_desk(p, job, output, err);
    if (rc == 0) {
        memcpy(ret_name, job->name, sizeof(job->name));
        memcpy(job->input, f.input, job->input_bytes);
        job_queue(p, job, PATIENCE_MS);
    } else if (job) {
        job_discard(p, job);
    }
    job_file_free(&f);
    return rc;
}

int desk_take(struct party_state *p, struct job *job, struct err *err)
{
    int rc = put_on_desk(p, job, NULL, err);

    if (rc == 0)
        job_queue(p, job, STAY_MS);
    return rc;
}

/* 1: the answer is there; 0: not yet; the lock is held. */
static int look(const struct desk_job *at, struct err *err)
{
    if (!at || at->kept_until_ns == FORGOTTEN || (!at->job && at->state == JOB_DONE))
        return err_set(
            err, -ENOENT,
            "no such job of yours is here (any more): an answer is kept for %llu minutes, "
            "or until it is fetched",
            KEPT_MS / 60000);
    if (!at->job)
        return err_set(err, -EREMOTEIO, "%s", at->error.text);
    return at->job->state == JOB_DONE;
}

int desk_wait(struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES],
              const struct identity *owner, unsigned int ms, bool (*gone)(void *), void *context,
              const struct job **ret_job, struct err *err)
{
    uint64_t until = time_ns() + ms * 1000000ull;
    struct desk_job *at;
    int rc;

    *ret_job = NULL;
    pthread_mutex_lock(&p->lock);
    while ((rc = look(at = find_kept(p, id, owner), err)) == 0 && time_ns() < until &&
           !p->stopping && !gone(context))
        party_wait(p, POLL_MS);
    if (rc > 0) {
        at->readers++;
        *ret_job = at->job;
    }
    pthread_mutex_unlock(&p->lock);
    return MIN(rc, 0);
}

void desk_release(struct party_state *p, const struct job *job)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PARTY_DESK_MAX; i++)
        p->desk[i].readers -= p->desk[i].job == job;
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

bool desk_forget(struct party_state *p, const uint8_t id[MESSAGE_ID_BYTES],
                 const struct identity *owner)
{
    struct desk_job *at = find_kept(p, id, owner);

    if (!at || !at->job || at->job->state != JOB_DONE)
        return false;
    at->kept_until_ns = FORGOTTEN;
    party_changed(p);
    return true;
}

/* --- what there is --- */

static uint32_t to_ms(uint64_t ns)
{
    return (uint32_t)MIN(ns / 1000000, (uint64_t)UINT32_MAX);
}

static void note_job(const struct party_state *p, const struct job *job, struct job_note *ret)
{
    uint64_t now = time_ns(), deadline = job->turn.deadline_ns;

    *ret = (struct job_note){.model = job->served->id, .owner = job->owner.name};
    memcpy(ret->job.job, job->id, sizeof(job->id));
    memcpy(ret->name, job->name, sizeof(job->name));
    ret->job.state = (uint8_t)job->state;
    ret->job.priority = (uint8_t)job->turn.priority;
    if (job->state == JOB_QUEUED) {
        ret->job.waits_ms = to_ms(now - job->queued_ns);
        ret->job.left_ms = now < deadline ? to_ms(deadline - now) : 0;
    }
    for (size_t i = 0; i < PARTY_DESK_MAX; i++)
        if (p->desk[i].job == job)
            ret->output = p->desk[i].output;
    /* Until its answer is written a job is not done for whoever waits for the file. */
    if (ret->output && job->state > JOB_RUNNING)
        ret->job.state = JOB_RUNNING;
}

static void note_record(const struct desk_job *at, struct job_note *ret)
{
    *ret = (struct job_note){
        .model = at->model, .owner = at->owner.name, .output = at->output, .job.state = at->state};
    memcpy(ret->job.job, at->id, sizeof(at->id));
    memcpy(ret->name, at->name, sizeof(at->name));
    if (at->state == JOB_FAILED)
        snprintf(ret->job.error, sizeof(ret->job.error), "%s", at->error.text);
}

void job_list(struct party_state *p, const struct identity *owner,
              void (*tell)(void *context, const struct job_note *note), void *context)
{
    struct job_note note;

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PARTY_DESK_MAX; i++) {
        const struct desk_job *at = &p->desk[(p->desk_next + i) % PARTY_DESK_MAX];

        if (!at->name[0] || at->job || !job_is_of(&at->owner, owner))
            continue;
        note_record(at, &note);
        tell(context, &note);
    }
    for (const struct job *j = p->jobs; j; j = j->next) {
        if (!job_is_of(&j->owner, owner))
            continue;
        note_job(p, j, &note);
        tell(context, &note);
    }
    pthread_mutex_unlock(&p->lock);
}

/* --- the thread --- */

/* An answer that is kept has had its time; a failure is only a text, which the record has. */
static bool is_over(struct desk_job *at)
{
    uint64_t now = time_ns();

    if (at->job->state < JOB_DONE || at->readers)
        return false;
    if (at->output || at->job->state == JOB_FAILED)
        return true;
    if (!at->kept_until_ns)
        at->kept_until_ns = now + KEPT_MS * 1000000;
    return now >= at->kept_until_ns;
}

/* The next job that has ended, or is ended now because it waits in vain; the lock is held. */
static struct desk_job *next_ended(struct party_state *p)
{
    for (size_t i = 0; i < PARTY_DESK_MAX; i++) {
        struct job *job = p->desk[i].job;
        const char *reason = job && job->state == JOB_QUEUED ? job_hopeless(p, job) : NULL;
        struct err err = {0};

        if (reason)
            job_end(p, job, REFUSAL_FAILED, err_set(&err, -ETIMEDOUT, "%s", reason), &err);
        if (job && is_over(&p->desk[i]))
            return &p->desk[i];
    }
    return NULL;
}

static int write_answer(struct party_state *p, const struct desk_job *record, struct err *err)
{
    const struct job *job = record->job;
    const struct plan *plan = job->served->plan;
    int rc = answer_file_write(record->output, plan, p->party, &job->result, job->output,
                               plan_answers(plan, job->variant), err);

    log_info("job-answered", log_text("job", job->name), log_number("rc", rc));
    return rc;
}

static void finish(struct party_state *p, struct desk_job *record)
{
    struct job *job = record->job;
    struct err err = job->error;
    int rc = job->state == JOB_DONE ? 0 : -ECANCELED;

    if (rc == 0 && record->output)
        rc = write_answer(p, record, &err);
    pthread_mutex_lock(&p->lock);
    record->state = rc < 0 ? JOB_FAILED : JOB_DONE;
    record->error = err;
    record->job = NULL;
    pthread_mutex_unlock(&p->lock);
    job_discard(p, job);
}

void *party_desk_thread(void *state)
{
    struct party_state *p = state;

    while (!p->stopping) {
        struct desk_job *record;

        pthread_mutex_lock(&p->lock);
        record = next_ended(p);
        if (!record)
            party_wait(p, POLL_MS);
        pthread_mutex_unlock(&p->lock);
        if (record)
            finish(p, record);
    }
    return NULL;
}

void desk_clear(struct party_state *p)
{
    for (size_t i = 0; i < PARTY_DESK_MAX; i++) {
        if (p->desk[i].job)
            job_discard(p, p->desk[i].job);
        free(p->desk[i].output);
    }
}
