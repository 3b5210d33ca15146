#include "appliance/model_folder.h"

#include "base/file.h"
#include "transformer/shards.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int check(const struct model_folder *f, const char *path, struct err *err)
{
    if (f->plan->vocabulary != f->config.vocab || f->plan->types != f->config.types ||
        f->plan->labels != f->config.labels)
        return err_set(err, -EINVAL,
                       "%s: config.json and plan.mpcf speak of different models: take the folder "
                       "that `mpcformer share` wrote",
                       path);
    return 0;
}

/* Its config.json and its vocabulary. */
static int read_text(struct model_folder *f, const char *path, struct err *err)
{
    int rc = model_config_read(path, &f->config, err);

    return rc < 0 ? rc : tokenizer_load(path, &f->config, &f->tokenizer, err);
}

int model_folder_open(const char *path, struct model_folder **ret_folder, struct err *err)
{
    struct model_folder *f = calloc(1, sizeof(*f));
    char plan[PATH_MAX];
    int rc;

    if (!f)
        return err_set(err, -ENOMEM, "no memory for a model");
    rc = file_path(plan, sizeof(plan), path, "plan.mpcf");
    if (rc < 0)
        err_set(err, rc, "%s: path too long", path);
    else
        rc = plan_load(plan, &f->plan, err);
    if (rc == 0)
        rc = read_text(f, path, err);
    if (rc == 0)
        rc = check(f, path, err);
    if (rc < 0)
        model_folder_free(f);
    else
        *ret_folder = f;
    return rc;
}

void model_folder_free(struct model_folder *f)
{
    if (!f)
        return;
    checkpoint_free(f->checkpoint);
    tokenizer_free(f->tokenizer);
    model_config_free(&f->config);
    plan_free(f->plan);
    free(f);
}

int model_folder_load_float(struct model_folder *f, const char *path, struct err *err)
{
    struct checkpoint *c = NULL;
    struct err why = {""};
    int rc = shards_exist(path, &why);

    if (rc < 0)
        return err_set(err, rc,
                       "%s: there is nothing to compare with; --model DIR names the float model",
                       err_text(&why, rc));
    rc = checkpoint_load(path, &c, err);
    if (rc < 0)
        return rc;
    if (c->config.vocab != f->plan->vocabulary || c->config.types != f->plan->types ||
        c->config.labels != f->plan->labels) {
        checkpoint_free(c);
        return err_set(err, -EINVAL, "%s: not the model of the plan: its shape differs", path);
    }
    checkpoint_free(f->checkpoint);
    f->checkpoint = c;
    return 0;
}

int model_folder_open_float(const char *path, struct model_folder **ret_folder, struct err *err)
{
    struct model_folder *f = calloc(1, sizeof(*f));
    int rc;

    if (!f)
        return err_set(err, -ENOMEM, "no memory for a model");
    rc = read_text(f, path, err);
    if (rc == 0)
        rc = checkpoint_load(path, &f->checkpoint, err);
    if (rc < 0)
        model_folder_free(f);
    else
        *ret_folder = f;
    return rc;
}

int model_folder_encode(const struct model_folder *f, const char *text, const char *pair,
                        struct encoding *ret, struct err *err)
{
    size_t longest = MIN(f->config.positions_max, (size_t)ENCODING_TOKENS_MAX);

    if (f->plan)
        longest = MIN(longest, f->plan->variants[f->plan->variant_count - 1].tokens);
    return tokenizer_encode(f->tokenizer, text, pair, longest, ret, err);
}

int model_folder_length(const struct model_folder *f, const char *option, enum length_mode *ret,
                        struct err *err)
{
    enum length_mode mode = plan_has_length(f->plan, LENGTH_BUCKET) ? LENGTH_BUCKET : LENGTH_PUBLIC;

    if (option && length_mode_parse(option, &mode) < 0)
        return err_set(err, -EINVAL, "--length %s: there are public and bucket", option);
    if (!plan_has_length(f->plan, mode))
        return err_set(err, -EINVAL,
                       "--length %s: the plan has no variant for it; its owner makes one with "
                       "`mpcformer share --length %s`, or `both`",
                       length_mode_names[mode], length_mode_names[mode]);
    *ret = mode;
    return 0;
}

const char *model_folder_label(const struct model_folder *f, size_t index)
{
    return f->config.label_names[index];
}

static void set(json_t *to, const char *prefix, const char *key, json_t *value)
{
    char name[32];

    snprintf(name, sizeof(name), "%s%s", prefix, key);
    json_object_set_new(to, name, value);
}

void model_folder_describe(const struct model_folder *f, const double logits[],
                           const double probabilities[], const char *prefix, json_t *to)
{
    size_t count = f->plan->labels;
    bool none = isnan(logits[0]), classes = !none && !f->config.regression;
    bool known = classes && (*prefix || !plan_labels_only(f->plan));
    json_t *array = known ? json_array() : json_null();

    for (size_t i = 0; json_is_array(array) && i < count; i++)
        json_array_append_new(array, json_real(probabilities[i]));
    set(to, prefix, "label",
        classes ? json_string(model_folder_label(f, logits_best(logits, count))) : json_null());
    set(to, prefix, "probabilities", array);
    if (f->config.regression)
        set(to, prefix, "score", none ? json_null() : json_real(logits[0]));
}

size_t logits_best(const double logits[], size_t count)
{
    size_t best = 0;

    for (size_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

void logits_probabilities(const double logits[], size_t count, double ret[])
{
    double top = logits[logits_best(logits, count)], sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += ret[i] = exp(logits[i] - top);
    for (size_t i = 0; i < count; i++)
        ret[i] /= sum;
}
