/* The operator's commands at a party. */
#include "appliance/daemon.h"
#include "appliance/log.h"
#include "appliance/party.h"
#include "appliance/shape.h"
#include "base/bytes.h"
#include "dataplane/seal.h"

#include <stdlib.h>

static const char *const state_names[] = {
    [SERVED_SEED] = "waits for the dealer",
    [SERVED_PEER] = "waits for the other party",
    [SERVED_READY] = "ready",
    [SERVED_FAILED] = "failed",
};

static json_t *describe(const struct party_state *p, const struct served *s)
{
    json_t *tapes = json_object(), *stored = json_object();

    for (size_t i = 0; i < s->plan->variant_count; i++) {
        const struct variant *v = &s->plan->variants[i];
        char name[32];

        const char *mode = v->length == LENGTH_BUCKET ? " bucket" : "";

        if (v->batch > 1)
            snprintf(name, sizeof(name), "%ux%u%s", v->tokens, v->batch, mode);
        else
            snprintf(name, sizeof(name), "%u%s", v->tokens, mode);
        if (!s->wanted[i])
            continue;
        json_object_set_new(tapes, name, json_integer((json_int_t)stock_count(p, s, v)));
        json_object_set_new(stored, name, json_integer((json_int_t)stock_on_disk(p, s, v)));
    }
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:I, s:o, s:o, s:s*}", "model", s->id, "name",
                     s->plan->name, "state", state_names[s->state], "ring", s->plan->ring, "frac",
                     s->plan->frac, "jobs", (json_int_t)s->jobs_done, "tapes", tapes,
                     "tapes_stored", stored, "error",
                     s->state == SERVED_FAILED ? s->error.text : NULL);
}

static int model_list(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct party_state *p = context;
    json_t *models = json_array();

    (void)request, (void)err;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->served_count; i++)
        json_array_append_new(models, describe(p, p->served[i]));
    pthread_mutex_unlock(&p->lock);
    return json_object_set_new(reply, "models", models);
}

static int model_load_command(void *context, json_t *request, json_t *reply, struct err *err)
{
    const char *plan = json_string_value(json_object_get(request, "plan"));
    const char *share = json_string_value(json_object_get(request, "share"));
    char id[2 * PLAN_ID_BYTES + 1];
    int rc;

    rc = party_load(context, plan, share, id, err);
    return rc < 0 ? rc : json_object_set_new(reply, "model", json_string(id));
}

static int model_unload(void *context, json_t *request, json_t *reply, struct err *err)
{
    const char *id = json_string_value(json_object_get(request, "model"));

    (void)reply;
    return party_unload(context, id, err);
}

static int job_submit(void *context, json_t *request, json_t *reply, struct err *err)
{
    const char *input = json_string_value(json_object_get(request, "input"));
    const char *output = json_string_value(json_object_get(request, "output"));
    char name[2 * MESSAGE_ID_BYTES + 1];
    int rc;

    rc = desk_submit(context, input, output, name, err);
    return rc < 0 ? rc : json_object_set_new(reply, "job", json_string(name));
}

static void add_job(void *context, const struct job_note *note)
{
    static const char *const names[] = {
        [JOB_UPLOADING] = "arriving", [JOB_QUEUED] = "queued", [JOB_RUNNING] = "running",
        [JOB_DONE] = "done",          [JOB_FAILED] = "failed",
    };
    const struct message_job *m = &note->job;

    json_array_append_new(
        context, json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:s?, s:s?}", "job", note->name,
                           "state", names[m->state], "owner", note->owner, "model", note->model,
                           "priority", m->priority, "waits_ms", (json_int_t)m->waits_ms, "left_ms",
                           (json_int_t)m->left_ms, "output", note->output, "error",
                           m->state == JOB_FAILED ? m->error : NULL));
}

static int list_jobs(void *context, json_t *request, json_t *reply, struct err *err)
{
    json_t *jobs = json_array();

    (void)request, (void)err;
    job_list(context, NULL, add_job, jobs);
    return json_object_set_new(reply, "jobs", jobs);
}

static int cancel_job(void *context, json_t *request, json_t *reply, struct err *err)
{
    const char *name = json_string_value(json_object_get(request, "job"));
    uint8_t id[MESSAGE_ID_BYTES];

    (void)reply;
    if (hex_decode(name, id, sizeof(id)) < 0)
        return err_set(err, -EINVAL, "job cancel: \"job\" is the job's id, %d hexadecimal digits",
                       2 * MESSAGE_ID_BYTES);
    return job_cancel(context, id, NULL, err);
}

static void describe_workers(json_t *reply, const char *key, const struct cpu_list *workers)
{
    char text[CPU_LIST_TEXT_SIZE];

    cpu_list_text(workers, text);
    json_object_set_new(reply, key, json_string(text));
}

static json_t *link_status(const struct party_state *p)
{
    const struct link_counters *c = &p->link;
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {
        {"sent_bytes", c->sent_bytes},
        {"received_bytes", c->received_bytes},
        {"sent_wire_bytes", c->sent_wire_bytes},
        {"received_wire_bytes", c->received_wire_bytes},
        {"sent_records", c->sent_records},
        {"received_records", c->received_records},
        {"sent_frames", c->sent_frames},
        {"received_frames", c->received_frames},
        {"retransmissions", c->retransmissions},
        {"duplicates", c->duplicates},
        {"strays", c->strays},
        {"seal_failures", c->seal_failures},
        {"credit_stalls", c->credit_stalls},
        {"polls_busy", c->polls_busy},
        {"polls_empty", c->polls_empty},
        {"waits", c->waits},
        {"rounds", c->rounds.count},
    };
    const struct {
        const char *key;
        unsigned int permille;
    } quantiles[] = {{"round_us_p50", 500}, {"round_us_p99", 990}, {"round_us_p999", 999}};
    json_t *link = json_object();

    json_object_set_new(link, "driver",
                        json_string(p->port ? p->port->driver : config_link_name(p->config->link)));
    json_object_set_new(link, "nic", json_string(p->link_nic));
    json_object_set_new(link, "features", json_string(p->link_features));
    for (size_t i = 0; i < ARRAY_LENGTH(counts); i++)
        json_object_set_new(link, counts[i].key, json_integer((json_int_t)counts[i].value));
    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++)
        json_object_set_new(
            link, quantiles[i].key,
            json_real((double)histogram_quantile(&c->rounds, quantiles[i].permille) / 1e3));
    json_object_set_new(link, "round_histogram", daemon_histogram(&c->rounds, 10, 30));
    return link;
}

/* How many there were, by a name each. */
static json_t *describe_counts(const uint64_t counts[], const char *const names[], size_t count)
{
    json_t *members = json_object();

    for (size_t i = 0; i < count; i++)
        if (names[i])
            json_object_set_new(members, names[i], json_integer((json_int_t)counts[i]));
    return members;
}

static void describe_jobs(const struct party_state *p, json_t *reply)
{
    static const char *const refusals[] = {
        [REFUSAL_FAILED] = "wrong", [REFUSAL_NOT_YET] = "not-yet",
        [REFUSAL_FULL] = "full",    [REFUSAL_FORBIDDEN] = "forbidden",
        [REFUSAL_RATE] = "rate",    [REFUSAL_WAITING] = "waiting",
    };

    json_object_set_new(reply, "jobs_waiting", json_integer((json_int_t)p->job_count));
    json_object_set_new(reply, "jobs_done", json_integer((json_int_t)p->jobs_done));
    json_object_set_new(reply, "jobs_failed", json_integer((json_int_t)p->jobs_failed));
    json_object_set_new(reply, "jobs_ended", describe_counts(p->jobs_ended, ending_names, ENDINGS));
    json_object_set_new(reply, "jobs_refused",
                        describe_counts(p->jobs_refused, refusals, ARRAY_LENGTH(refusals)));
    json_object_set_new(reply, "jobs_bytes", json_integer((json_int_t)p->jobs_bytes));
    json_object_set_new(reply, "jobs_rounds", json_integer((json_int_t)p->jobs_rounds));
    json_object_set_new(reply, "online_histogram", daemon_histogram(&p->online, 20, 36));
    json_object_set_new(reply, "queue_histogram", daemon_histogram(&p->queued, 20, 40));
    json_object_set_new(reply, "offline_histogram", daemon_histogram(&p->offline, 20, 36));
}

int party_status(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct party_state *p = context;
    char shape[SHAPE_TEXT_SIZE], host[HOST_TEXT_SIZE], state[PARTY_TEXT_SIZE];

    (void)request, (void)err;
    daemon_describe(reply, p->audit, p->trust);
    host_text(host);
    shape_format(&p->config->shape, shape);
    pthread_mutex_lock(&p->lock);
    json_object_set_new(reply, "role", json_string(role_name(p->config->role)));
    json_object_set_new(reply, "ready", json_boolean(party_ready(p, state)));
    json_object_set_new(reply, "state", json_string(state));
    json_object_set_new(reply, "host", json_string(host));
    json_object_set_new(reply, "peer", json_string(p->peer_up ? "connected" : "away"));
    json_object_set_new(reply, "dealer", json_string(p->dealer_up ? "connected" : "away"));
    json_object_set_new(reply, "kernels", json_string(kernels_here()->isa));
    describe_workers(reply, "workers", &p->config->workers);
    describe_workers(reply, "offline_workers", &p->config->offline_workers);
    json_object_set_new(reply, "sealed", json_boolean(p->store_key));
    json_object_set_new(reply, "seal", json_string(seal_engine_name(SEAL_FASTEST)));
    json_object_set_new(reply, "shape", json_string(shape));
    json_object_set_new(reply, "link", link_status(p));
    describe_jobs(p, reply);
    json_object_set_new(reply, "draining", json_boolean(p->draining));
    json_object_set_new(reply, "tapes", json_integer((json_int_t)p->stock_count));
    json_object_set_new(reply, "tape_store_bytes", json_integer((json_int_t)party_store_used(p)));
    json_object_set_new(reply, "tapes_destroyed", json_integer((json_int_t)p->tapes_destroyed));
    pthread_mutex_unlock(&p->lock);
    return model_list(context, request, reply, err);
}

static int reload(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct party_state *p = context;

    (void)request, (void)reply;
    return daemon_reload(p->config, p->trust, p->audit, err);
}

static struct served *find_model(struct party_state *p, json_t *request, struct err *err)
{
    const char *id = json_string_value(json_object_get(request, "model"));

    for (size_t i = 0; i < p->served_count; i++)
        if (!strcmp(p->served[i]->id, id))
            return p->served[i];
    err_set(err, -ENOENT, "\"model\": no such model is loaded; `model list` shows them");
    return NULL;
}

static void describe_tapes(const struct party_state *p, const struct served *s, json_t *rows)
{
    for (size_t i = 0; i < s->plan->variant_count; i++) {
        const struct variant *v = &s->plan->variants[i];

        json_array_append_new(rows, json_pack("{s:s, s:i, s:i, s:s, s:I, s:I, s:I, s:I}", "model",
                                              s->id, "tokens", v->tokens, "batch", v->batch,
                                              "length", length_mode_names[v->length], "tapes",
                                              (json_int_t)stock_count(p, s, v), "on_disk",
                                              (json_int_t)stock_on_disk(p, s, v), "wanted",
                                              (json_int_t)stock_want(p, s, v), "bytes_each",
                                              (json_int_t)tape_memory(v, p->party)));
    }
}

static int tape_status(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct party_state *p = context;
    json_t *rows = json_array();

    (void)request, (void)err;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->served_count; i++)
        describe_tapes(p, p->served[i], rows);
    json_object_set_new(reply, "bytes", json_integer((json_int_t)p->stock_bytes));
    json_object_set_new(reply, "bytes_max", json_integer((json_int_t)party_stock_most(p)));
    json_object_set_new(reply, "destroyed", json_integer((json_int_t)p->tapes_destroyed));
    pthread_mutex_unlock(&p->lock);
    return json_object_set_new(reply, "variants", rows);
}

static int tape_fill(void *context, json_t *request, json_t *reply, struct err *err)
{
    json_int_t count = json_integer_value(json_object_get(request, "count"));
    struct party_state *p = context;
    struct served *s;

    (void)reply;
    if (count < 1 || count > CONFIG_TAPES_MAX)
        return err_set(err, -EINVAL, "tape fill: \"count\" is 1 to %d", CONFIG_TAPES_MAX);
    pthread_mutex_lock(&p->lock);
    s = find_model(p, request, err);
    if (s) {
        s->tapes = (unsigned int)count;
        for (size_t i = 0; i < s->plan->variant_count; i++)
            s->wanted[i] = true;
        party_changed(p);
    }
    pthread_mutex_unlock(&p->lock);
    return s ? 0 : -ENOENT;
}

static int tape_discard(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct party_state *p = context;
    json_int_t count = 0;
    struct served *s;

    pthread_mutex_lock(&p->lock);
    s = find_model(p, request, err);
    if (s) {
        count = (json_int_t)stock_discard(p, s);
        party_changed(p);
    }
    pthread_mutex_unlock(&p->lock);
    return s ? json_object_set_new(reply, "destroyed", json_integer(count)) : -ENOENT;
}

static int drain(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct party_state *p = context;
    json_int_t jobs;
    bool draining = !json_is_true(json_object_get(request, "undo"));

    (void)err;
    pthread_mutex_lock(&p->lock);
    p->draining = draining;
    jobs = (json_int_t)p->job_count;
    pthread_mutex_unlock(&p->lock);
    log_info("drain", log_text("draining", draining ? "yes" : "no"), log_number("jobs", jobs));
    json_object_set_new(reply, "draining", json_boolean(draining));
    return json_object_set_new(reply, "jobs", json_integer(jobs));
}

static json_t *describe_peer(const char *name, bool up, const struct peer_seen *seen)
{
    return json_pack("{s:s, s:s, s:I, s:I}", "peer", name, "state", up ? "connected" : "away",
                     "since_ms",
                     (json_int_t)(seen->since_ns ? (time_ns() - seen->since_ns) / 1000000 : 0),
                     "sessions", (json_int_t)seen->sessions);
}

static int peer_status(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct party_state *p = context;
    json_t *rows = json_array();

    (void)request, (void)err;
    pthread_mutex_lock(&p->lock);
    json_array_append_new(rows,
                          describe_peer(p->party ? "party0" : "party1", p->peer_up, &p->peer_seen));
    json_array_append_new(rows, describe_peer("dealer", p->dealer_up, &p->dealer_seen));
    pthread_mutex_unlock(&p->lock);
    return json_object_set_new(reply, "peers", rows);
}

const struct command_handler party_handlers[] = {
    {"status", party_status},
    {"model list", model_list},
    {"model load", model_load_command},
    {"model unload", model_unload},
    {"job submit", job_submit},
    {"job list", list_jobs},
    {"job cancel", cancel_job},
    {"tape status", tape_status},
    {"tape fill", tape_fill},
    {"tape discard", tape_discard},
    {"drain", drain},
    {"peer status", peer_status},
    {"log level", daemon_log_level},
    {"reload", reload},
};
const size_t party_handler_count = ARRAY_LENGTH(party_handlers);
