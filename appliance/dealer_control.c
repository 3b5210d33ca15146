/* The operator's commands at the dealer. */
#include "appliance/daemon.h"
#include "appliance/dealer.h"
#include "appliance/host.h"

static json_t *describe(const struct dealt_model *m)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:I}", "model", m->id, "name", m->plan->name,
                     "state", "ready", "ring", m->plan->ring, "frac", m->plan->frac, "tapes_dealt",
                     (json_int_t)m->tapes_dealt);
}

static int model_list(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct dealer_state *d = context;
    json_t *models = json_array();

    (void)request, (void)err;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->model_count; i++)
        json_array_append_new(models, describe(d->models[i]));
    pthread_mutex_unlock(&d->lock);
    return json_object_set_new(reply, "models", models);
}

static int model_load_command(void *context, json_t *request, json_t *reply, struct err *err)
{
    const char *plan = json_string_value(json_object_get(request, "plan"));
    char id[2 * PLAN_ID_BYTES + 1];
    int rc;

    if (json_object_get(request, "share"))
        return err_set(err, -EINVAL,
                       "this is the dealer: it must never see a share of the weights");
    rc = dealer_load(context, plan, id, err);
    return rc < 0 ? rc : json_object_set_new(reply, "model", json_string(id));
}

static int model_unload(void *context, json_t *request, json_t *reply, struct err *err)
{
    const char *id = json_string_value(json_object_get(request, "model"));

    (void)reply;
    return dealer_unload(context, id, err);
}

int dealer_status(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct dealer_state *d = context;
    char workers[CPU_LIST_TEXT_SIZE], host[HOST_TEXT_SIZE], state[DEALER_TEXT_SIZE];

    daemon_describe(reply, d->audit, d->trust);
    host_text(host);
    pthread_mutex_lock(&d->lock);
    json_object_set_new(reply, "role", json_string(role_name(d->config->role)));
    json_object_set_new(reply, "ready", json_boolean(dealer_ready(d, state)));
    json_object_set_new(reply, "state", json_string(state));
    json_object_set_new(reply, "host", json_string(host));
    json_object_set_new(reply, "party0", json_string(d->party_up[0] ? "connected" : "away"));
    json_object_set_new(reply, "party1", json_string(d->party_up[1] ? "connected" : "away"));
    json_object_set_new(reply, "sealed", json_boolean(d->store_key));
    json_object_set_new(reply, "kernels", json_string(kernels_here()->isa));
    cpu_list_text(&d->config->workers, workers);
    json_object_set_new(reply, "workers", json_string(workers));
    json_object_set_new(reply, "offline_histogram", daemon_histogram(&d->offline, 20, 36));
    pthread_mutex_unlock(&d->lock);
    return model_list(context, request, reply, err);
}

static int reload(void *context, json_t *request, json_t *reply, struct err *err)
{
    struct dealer_state *d = context;

    (void)request, (void)reply;
    return daemon_reload(d->config, d->trust, d->audit, err);
}

const struct command_handler dealer_handlers[] = {
    {"status", dealer_status},          {"model list", model_list},
    {"model load", model_load_command}, {"model unload", model_unload},
    {"log level", daemon_log_level},    {"reload", reload},
};
const size_t dealer_handler_count = ARRAY_LENGTH(dealer_handlers);
