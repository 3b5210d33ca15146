#include "appliance/owner.h"

#include "appliance/tool.h"
#include "base/secret.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
        rc = owner_set_length(&o, NULL, err);
    if (rc == 0)
        rc = client_new(o.config, o.folder->plan, &o.client, err);
    if (rc < 0)
        owner_close(&o);
    else
        *ret_owner = o;
    return rc;
}

int owner_set_length(struct owner *o, const char *option, struct err *err)
{
    return model_folder_length(o->folder, option, &o->length, err);
}

void owner_close(struct owner *o)
{
    client_free(o->client);
    model_folder_free(o->folder);
    config_free(o->config);
    *o = (struct owner){.config = NULL};
}

int owner_check_batch(const struct owner *o, size_t batch, struct err *err)
{
    if (!plan_variant_batch(o->folder->plan, 1, o->length, (uint32_t)batch))
        return err_set(err, -EINVAL,
                       "--batch %zu: the plan has no variant for as many texts at once; its owner "
                       "makes one with `mpcformer share --batch`",
                       batch);
    return 0;
}

int verdict_new(const struct owner *o, struct verdict *ret, struct err *err)
{
    size_t labels = o->folder->config.labels;
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

bool verdict_agrees(const struct owner *o, const struct verdict *v)
{
    double score = v->float_logits[0];

    if (o->folder->config.regression)
        return fabs(v->logits[0] - score) <= OWNER_SCORE_TOLERANCE * fmax(1, fabs(score));
    return logits_best(v->logits, v->labels) == logits_best(v->float_logits, v->labels);
}

/* Of text @number of a job. */
static int conclude(const struct owner *o, size_t number, const struct encoding *e,
                    const double logits[], const struct client_figures *figures, struct verdict *v,
                    struct err *err)
{
    int rc = 0;

    v->tokens = e->count;
    v->dropped = e->dropped;
    v->figures = *figures;
    v->outside = figures->outside[number];
    memcpy(v->logits, logits, v->labels * sizeof(*logits));
    logits_probabilities(v->logits, v->labels, v->probabilities);
    if (o->folder->checkpoint) {
        rc = reference_classify(o->folder->checkpoint, e, v->float_logits, NULL, err);
        if (rc == 0)
            logits_probabilities(v->float_logits, v->labels, v->float_probabilities);
    }
    return rc;
}

int owner_classify_batch(struct owner *o, const struct encoding e[], size_t count,
                         struct verdict ret[], struct err *err)
{
    size_t labels = o->folder->plan->labels, bytes = count * labels * sizeof(double);
    double *logits = secret_alloc(bytes);
    struct client_figures figures;
    int rc = logits ? client_run(o->client, e, count, o->length, logits, &figures, err)
                    : err_set(err, -ENOMEM, "no memory for the answer");

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = conclude(o, i, &e[i], logits + i * labels, &figures, &ret[i], err);
    secret_free(logits, bytes);
    return rc;
}

int owner_classify(struct owner *o, const char *text, const char *pair, struct verdict *ret,
                   struct err *err)
{
    struct encoding *e = secret_alloc(sizeof(*e));
    int rc = e ? model_folder_encode(o->folder, text, pair, e, err)
               : err_set(err, -ENOMEM, "no memory for a text");

    if (rc == 0)
        rc = owner_classify_batch(o, e, 1, ret, err);
    secret_free(e, sizeof(*e));
    return rc;
}
