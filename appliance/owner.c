#include "appliance/owner.h"

#include "appliance/tool.h"
#include "base/secret.h"

#include <stdlib.h>

/* Arrays of a verdict, side by side in one piece. */
#define VERDICT_ARRAYS 4

int owner_config_path(const char *option, const char **ret_path, struct err *err)
{
    const char *variable = getenv(TOOL_CONFIG_VARIABLE);

    if (!option && (!variable || !*variable))
        return err_set(err, -EINVAL,
                       "which parties? Say --config FILE (an owner's), set " TOOL_CONFIG_VARIABLE
                       ", or run it inside `mpcformer lab -- ...`");
    *ret_path = option ? option : variable;
    return 0;
}

int owner_open(const char *path, bool compare, const char *model, struct owner *ret_owner,
               struct err *err)
{
    struct owner o = {.config = NULL};
    int rc = config_load_owner(path, &o.config, err);

    if (rc == 0)
        rc = model_folder_open(o.config->model, &o.folder, err);
    if (rc == 0 && compare)
        rc = model_folder_load_float(o.folder, model ? model : o.config->model, err);
    if (rc == 0)
        rc = client_new(o.config, o.folder->plan, &o.client, err);
    if (rc < 0)
        owner_close(&o);
    else
        *ret_owner = o;
    return rc;
}

void owner_close(struct owner *o)
{
    client_free(o->client);
    model_folder_free(o->folder);
    config_free(o->config);
    *o = (struct owner){.config = NULL};
}

int verdict_new(const struct owner *o, struct verdict *ret, struct err *err)
{
    size_t labels = o->folder->plan->labels;
    double *all = secret_alloc(VERDICT_ARRAYS * labels * sizeof(*all));

    if (!all)
        return err_set(err, -ENOMEM, "no memory for the answer");
    *ret = (struct verdict){.labels = labels,
                            .logits = all,
                            .probabilities = all + labels,
                            .float_logits = all + 2 * labels,
                            .float_probabilities = all + 3 * labels};
    return 0;
}

void verdict_free(struct verdict *v)
{
    secret_free(v->logits, VERDICT_ARRAYS * v->labels * sizeof(*v->logits));
    *v = (struct verdict){.labels = 0};
}

static int classify(struct owner *o, const struct encoding *e, struct verdict *v, struct err *err)
{
    int rc = client_run(o->client, e, 1, v->logits, &v->figures, err);

    if (rc == 0)
        logits_probabilities(v->logits, v->labels, v->probabilities);
    if (rc == 0 && o->folder->checkpoint) {
        rc = reference_classify(o->folder->checkpoint, e, v->float_logits, NULL, err);
        if (rc == 0)
            logits_probabilities(v->float_logits, v->labels, v->float_probabilities);
    }
    return rc;
}

int owner_classify(struct owner *o, const char *text, const char *pair, struct verdict *ret,
                   struct err *err)
{
    struct encoding *e = secret_alloc(sizeof(*e));
    int rc = e ? model_folder_encode(o->folder, text, pair, e, err)
               : err_set(err, -ENOMEM, "no memory for a text");

    if (rc == 0) {
        ret->tokens = e->count;
        ret->dropped = e->dropped;
        rc = classify(o, e, ret, err);
    }
    secret_free(e, sizeof(*e));
    return rc;
}
