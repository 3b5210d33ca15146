/*
 * The desk: jobs that an operator hands in and fetches as files, `mpcformer job`. One thread writes
 * the answers; what became of the last jobs is kept for `job list`.
 */
#include "appliance/job_file.h"
#include "appliance/log.h"
#include "appliance/party.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define POLL_MS 200

/* Two operators act here, each in his own time. */
#define PATIENCE_MS (12 * 3600 * 1000ull)

static const char *const state_names[] = {
    [JOB_UPLOADING] = "arriving", [JOB_QUEUED] = "queued", [JOB_RUNNING] = "running",
    [JOB_DONE] = "done",          [JOB_FAILED] = "failed",
};

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
    struct desk_job *record;

    pthread_mutex_lock(&p->lock);
    record = find_record(p);
    if (record) {
        *record = (struct desk_job){.job = job};
        snprintf(record->name, sizeof(record->name), "%s", job->name);
        snprintf(record->output, sizeof(record->output), "%s", output);
    }
    pthread_mutex_unlock(&p->lock);
    return record ? 0
                  : err_set(err, -EAGAIN, "%d jobs wait at the desk; ask again", PARTY_DESK_MAX);
}

int desk_submit(struct party_state *p, const char *input, const char *output,
                char ret_name[2 * MESSAGE_ID_BYTES + 1], struct err *err)
{
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
        rc = job_admit(p, &f.submit, "operator", &job, &why, err);
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

int desk_cancel(struct party_state *p, const char *name, struct err *err)
{
    static const struct err cancelled = {"it was cancelled"};
    int rc = err_set(err, -ENOENT, "no job %.40s waits at the desk", name);

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PARTY_DESK_MAX; i++) {
        struct job *job = p->desk[i].job;

        if (job && job->state == JOB_QUEUED && !strcmp(job->name, name)) {
            job_end(p, job, REFUSAL_FAILED, -ECANCELED, &cancelled);
            rc = 0;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

json_t *desk_list(struct party_state *p)
{
    json_t *jobs = json_array();

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PARTY_DESK_MAX; i++) {
        const struct desk_job *at = &p->desk[(p->desk_next + i) % PARTY_DESK_MAX];
        enum job_state state = at->state;

        if (!at->name[0])
            continue;
        /* Until its answer is written a job is not done for whoever waits for the file. */
        if (at->job)
            state = at->job->state < JOB_DONE ? at->job->state : JOB_RUNNING;
        json_array_append_new(jobs, json_pack("{s:s, s:s, s:s, s:s*}", "job", at->name, "state",
                                              state_names[state], "output", at->output, "error",
                                              state == JOB_FAILED ? at->error.text : NULL));
    }
    pthread_mutex_unlock(&p->lock);
    return jobs;
}

/* The next job that has ended, or is ended now because it waits in vain; the lock is held. */
static struct desk_job *next_ended(struct party_state *p)
{
    for (size_t i = 0; i < PARTY_DESK_MAX; i++) {
        struct job *job = p->desk[i].job;
        const char *reason = job && job->state == JOB_QUEUED ? job_hopeless(p, job) : NULL;
        struct err err = {0};

        if (reason)
            job_end(p, job, REFUSAL_FAILED, err_set(&err, -ECANCELED, "%s", reason), &err);
        if (job && job->state >= JOB_DONE)
            return &p->desk[i];
    }
    return NULL;
}

static void finish(struct party_state *p, struct desk_job *record)
{
    struct job *job = record->job;
    const struct plan *plan = job->served->plan;
    struct err err = job->error;
    int rc = job->state == JOB_DONE
                 ? answer_file_write(record->output, plan, p->party, &job->result, job->output,
                                     plan_answers(plan, job->variant), &err)
                 : -ECANCELED;

    log_info("job-answered", log_text("job", job->name), log_number("rc", rc));
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
