/* What owners ask of jobs that are here: to have an answer, to end a job, which there are. */
#include "appliance/log.h"
#include "appliance/party.h"
#include "base/bytes.h"

/* A party says that often that a job has not ended, so that it notices an owner that has gone. */
#define WAIT_MS 500

static int check_id(size_t count, struct err *err)
{
    return count == MESSAGE_ID_BYTES ? 0 : err_set(err, -EPROTO, "a job id of %zu bytes", count);
}

int request_send_result(struct party_state *p, struct tls_session *tls, const struct job *job,
                        struct err *err)
{
    const struct plan *plan = job->served->plan;
    struct writer w = {0};
    int rc;

    message_write_result(&w, &job->result);
    message_write_share(&w, plan, job->output, plan_answers(plan, job->variant));
    rc = message_send(tls, MESSAGE_RESULT, &w, (int)p->config->timeout_ms, err);
    log_info("job-answered", log_text("job", job->name), log_number("rc", rc));
    return rc;
}

/* The owner has nothing to say while it waits: anything readable means that it has gone. */
static bool has_gone(void *context)
{
    return tls_poll(context, 0) == 0;
}

int request_wait(struct party_state *p, struct tls_session *tls, const uint8_t *bytes, size_t count,
                 struct err *err)
{
    int timeout_ms = (int)p->config->timeout_ms;
    const struct job *job = NULL;
    struct err why = {0};
    int rc = check_id(count, err);

    if (rc < 0)
        return rc;
    rc = desk_wait(p, bytes, tls_peer(tls), WAIT_MS, has_gone, tls, &job, &why);
    if (rc < 0)
        return message_refuse(tls, REFUSAL_FAILED, err_text(&why, rc), timeout_ms);
    if (!job)
        return message_refuse(tls, REFUSAL_NOT_YET, "the job has not ended yet", timeout_ms);
    rc = request_send_result(p, tls, job, err);
    desk_release(p, job);
    return rc;
}

int request_drop(struct party_state *p, struct tls_session *tls, const uint8_t *bytes, size_t count,
                 struct err *err)
{
    int timeout_ms = (int)p->config->timeout_ms;
    struct err why = {0};
    int rc = check_id(count, err);

    if (rc < 0)
        return rc;
    rc = job_cancel(p, bytes, tls_peer(tls), &why);
    return rc < 0 ? message_refuse(tls, REFUSAL_FAILED, err_text(&why, rc), timeout_ms)
                  : tls_send(tls, MESSAGE_DROPPED, NULL, 0, timeout_ms, err);
}

struct list {
    uint32_t count;
    struct writer rows;
};

static void add_row(void *context, const struct job_note *note)
{
    struct list *list = context;

    list->count++;
    message_write_job(&list->rows, &note->job);
}

int request_list(struct party_state *p, struct tls_session *tls, struct err *err)
{
    struct list list = {.count = 0};
    struct writer w = {0};

    job_list(p, tls_peer(tls), add_row, &list);
    write_u32(&w, list.count);
    write_bytes(&w, list.rows.bytes, list.rows.count);
    w.failed |= list.rows.failed;
    writer_free(&list.rows);
    return message_send(tls, MESSAGE_LIST_REPLY, &w, (int)p->config->timeout_ms, err);
}
