#include "distill/student.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int student_name_labels(struct model_config *config, const char *const names[], size_t count,
                        struct err *err)
{
    char(*labels)[MODEL_LABEL_BYTES_MAX + 1] = calloc(count, sizeof(*labels));

    if (!labels)
        return err_set(err, -ENOMEM, "no memory for a model");
    for (size_t i = 0; i < count; i++)
        snprintf(labels[i], sizeof(labels[i]), "%s", names[i]);
    free(config->label_names);
    config->label_names = labels;
    config->labels = count;
    return 0;
}

static int check(const struct model_config *k, const struct model_config *from, bool head,
                 struct err *err)
{
    if (k->kind != from->kind || k->position_first != from->position_first ||
        k->hidden != from->hidden || k->heads != from->heads ||
        k->intermediate != from->intermediate || k->vocab != from->vocab ||
        k->positions_max != from->positions_max || k->types != from->types)
        return err_set(err, -EINVAL, "a model can begin only with another of its own sizes");
    if (!k->layers || from->layers % k->layers)
        return err_set(err, -EINVAL, "%zu layers cannot be shared out evenly among %zu",
                       from->layers, k->layers);
    if (head && k->labels != from->labels)
        return err_set(err, -EINVAL, "a classifier of %zu labels is not one of %zu", from->labels,
                       k->labels);
    return 0;
}

/* The block of values is embeddings, pooler, classifier, layers; a layer's tensors lie together. */
static void copy(struct checkpoint *to, const struct checkpoint *from, bool head)
{
    const struct model_config *k = &to->config;
    size_t before_head = (size_t)(to->classifier_w - to->values);
    size_t share = from->config.layers / k->layers;
    size_t layer =
        (size_t)(to->values + to->bytes / sizeof(float) - to->layers[0].query_w) / k->layers;

    memcpy(to->values, from->values, before_head * sizeof(float));
    if (head)
        memcpy(to->values + before_head, from->classifier_w,
               (k->hidden + 1) * k->labels * sizeof(float));
    for (size_t i = 0; i < k->layers; i++)
        memcpy(to->values + (to->layers[i].query_w - to->values),
               from->layers[(i + 1) * share - 1].query_w, layer * sizeof(float));
}

int student_new(const struct model_config *config, const struct checkpoint *from, bool head,
                uint64_t seed, struct checkpoint **ret, struct err *err)
{
    const char *names[MODEL_LABELS_MAX];
    struct checkpoint *c = NULL;
    int rc = from ? check(config, &from->config, head, err) : 0;

    if (rc == 0)
        rc = checkpoint_random(config, seed, &c, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < config->labels; i++)
        names[i] = config->label_names[i];
    rc = student_name_labels(&c->config, names, config->labels, err);
    if (rc < 0) {
        checkpoint_free(c);
        return rc;
    }
    if (from)
        copy(c, from, head);
    *ret = c;
    return 0;
}
