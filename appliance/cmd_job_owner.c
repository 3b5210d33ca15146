#include "appliance/answer.h"
#include "appliance/cmd_job.h"
#include "appliance/owner.h"
#include "appliance/tool.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <stdlib.h>

#define ID_TEXT_SIZE (2 * MESSAGE_ID_BYTES + 1)

static int open_owner(const struct job_options *o, struct owner *ret, struct err *err)
{
    const char *path;
    int rc = owner_config_path(o->config, &path, err);

    if (rc == 0)
        rc = owner_open(path, false, NULL, ret, err);
    if (rc == 0 && o->length)
        rc = owner_set_length(ret, o->length, err);
    if (rc == 0)
        client_set_terms(ret->client, &o->terms);
    return rc;
}

static int read_id(const char *text, uint8_t ret[MESSAGE_ID_BYTES], struct err *err)
{
    return hex_decode(text, ret, MESSAGE_ID_BYTES) == 0
               ? 0
               : err_set(err, -EINVAL, "\"%.40s\" is no job's id: submit and list print them",
                         text);
}

static int submit_text(const struct job_options *o, struct owner *owner, const char *text,
                       struct encoding *e, struct err *err)
{
    char name[ID_TEXT_SIZE];
    uint8_t id[MESSAGE_ID_BYTES];
    json_t *line;
    int rc = model_folder_encode(owner->folder, text, NULL, e, err);

    if (rc == 0)
        rc = client_submit(owner->client, e, owner->length, id, err);
    if (rc < 0)
        return rc;
    hex_encode(id, sizeof(id), name);
    line = json_pack("{s:s}", "job", name);
    if (o->json)
        tool_print_json(stdout, line);
    else
        puts(name);
    fflush(stdout); /* whatever comes after: it is there */
    json_decref(line);
    return 0;
}

int job_owner_submit(const struct job_options *o, struct err *err)
{
    struct owner owner = {.config = NULL};
    struct encoding *e = secret_alloc(sizeof(*e));
    int rc = e ? open_owner(o, &owner, err) : err_set(err, -ENOMEM, "no memory for a text");

    for (int i = 0; rc == 0 && i < o->argument_count; i++)
        rc = submit_text(o, &owner, o->arguments[i], e, err);
    owner_close(&owner);
    secret_free(e, sizeof(*e));
    return rc;
}

static json_t *describe(const struct message_job *m)
{
    static const char *const names[] = {
        [JOB_UPLOADING] = "arriving", [JOB_QUEUED] = "queued", [JOB_RUNNING] = "running",
        [JOB_DONE] = "done",          [JOB_FAILED] = "failed",
    };
    char name[ID_TEXT_SIZE];

    hex_encode(m->job, sizeof(m->job), name);
    return json_pack("{s:s, s:s, s:i, s:I, s:I, s:s?}", "job", name, "state", names[m->state],
                     "priority", m->priority, "waits_ms", (json_int_t)m->waits_ms, "left_ms",
                     (json_int_t)m->left_ms, "error", m->error[0] ? m->error : NULL);
}

int job_owner_list(const struct job_options *o, struct err *err)
{
    struct owner owner = {.config = NULL};
    struct message_job *jobs = NULL;
    json_t *rows = json_array(), *reply;
    size_t count = 0;
    int rc = open_owner(o, &owner, err);

    if (rc == 0)
        rc = client_list(owner.client, &jobs, &count, err);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(rows, describe(&jobs[i]));
    reply = json_pack("{s:o}", "jobs", rows);
    if (rc == 0 && o->json)
        tool_print_json(stdout, reply);
    else if (rc == 0)
        tool_print_people(stdout, reply);
    json_decref(reply);
    free(jobs);
    owner_close(&owner);
    return rc;
}

int job_owner_wait(const struct job_options *o, struct err *err)
{
    struct owner owner = {.config = NULL};
    struct client_figures figures;
    struct verdict v = {.labels = 0};
    uint8_t id[MESSAGE_ID_BYTES];
    int rc = read_id(o->arguments[0], id, err);

    if (rc == 0)
        rc = open_owner(o, &owner, err);
    if (rc == 0)
        rc = verdict_new(&owner, &v, err);
    if (rc == 0)
        rc = client_wait(owner.client, id, o->wait_s * 1000ull, v.logits, &figures, err);
    if (rc == 0 && figures.outside[0])
        rc = err_set(err, -ERANGE, ANSWER_OUTSIDE, figures.outside[0]->name);
    if (rc == 0)
        rc = job_print_answer(owner.folder, v.logits, o->json, err);
    verdict_free(&v);
    owner_close(&owner);
    return rc;
}

int job_owner_cancel(const struct job_options *o, struct err *err)
{
    struct owner owner = {.config = NULL};
    uint8_t id[MESSAGE_ID_BYTES];
    int rc = read_id(o->arguments[0], id, err);

    if (rc == 0)
        rc = open_owner(o, &owner, err);
    if (rc == 0)
        rc = client_drop(owner.client, id, err);
    owner_close(&owner);
    return rc;
}
