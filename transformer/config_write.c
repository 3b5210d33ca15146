/* config.json, from a config. */
#include "transformer/config.h"

#include "base/file.h"
#include "transformer/config_internal.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One name where all layers have it, else a list. */
static json_t *names(const struct model_config *c,
                     const char *(*name)(const struct model_config *, size_t layer))
{
    json_t *list = json_array();
    bool same = true;

    for (size_t i = 0; i < c->layers; i++) {
        same = same && strcmp(name(c, i), name(c, 0)) == 0;
        json_array_append_new(list, json_string(name(c, i)));
    }
    if (!same)
        return list;
    json_decref(list);
    return json_string(name(c, 0));
}

static const char *hidden_name(const struct model_config *c, size_t layer)
{
    return hidden_act_name(c->functions[layer].hidden);
}

static const char *softmax_name(const struct model_config *c, size_t layer)
{
    return softmax_act_name(c->functions[layer].softmax);
}

/* {"0": name...}, or the other way round. */
static json_t *labels(const struct model_config *c, bool by_name)
{
    json_t *object = json_object();
    char number[24];

    for (size_t i = 0; i < c->labels; i++) {
        snprintf(number, sizeof(number), "%zu", i);
        if (by_name)
            json_object_set_new(object, c->label_names[i], json_integer((json_int_t)i));
        else
            json_object_set_new(object, number, json_string(c->label_names[i]));
    }
    return object;
}

/* What all kinds have, and then what some do. */
static json_t *describe(const struct model_config *c)
{
    const struct model_kind_names *k = &model_kind_names[c->kind];
    json_t *root = json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:o*, s:o*, s:s}",
        "architectures", k->architecture, "model_type", k->type, k->hidden, (json_int_t)c->hidden,
        k->layers, (json_int_t)c->layers, k->heads, (json_int_t)c->heads, k->intermediate,
        (json_int_t)c->intermediate, k->hidden_act, names(c, hidden_name), "softmax_act",
        names(c, softmax_name), "vocab_size", (json_int_t)c->vocab, "max_position_embeddings",
        (json_int_t)(c->position_first + c->positions_max), "num_labels", (json_int_t)c->labels,
        "id2label", c->label_names ? labels(c, false) : NULL, "label2id",
        c->label_names ? labels(c, true) : NULL, "problem_type",
        c->regression ? "regression" : "single_label_classification");

    if (root && c->kind != MODEL_DISTILBERT) {
        json_object_set_new(root, "type_vocab_size", json_integer((json_int_t)c->types));
        json_object_set_new(root, "layer_norm_eps", json_real(c->layer_norm_eps));
    }
    if (root && c->kind == MODEL_ROBERTA)
        json_object_set_new(root, "pad_token_id", json_integer((json_int_t)c->position_first - 1));
    else if (root)
        json_object_set_new(root, "do_lower_case", json_boolean(c->lower_case));
    return root;
}

int model_config_write(const struct model_config *c, const char *folder, struct err *err)
{
    char path[PATH_MAX], *text;
    json_t *root;
    int rc;

    if (file_path(path, sizeof(path), folder, "config.json") < 0)
        return err_set(err, -ENAMETOOLONG, "%s/config.json: the path is too long", folder);
    root = describe(c);
    text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    rc = text ? file_write(path, 0644, text, strlen(text), err)
              : err_set(err, -ENOMEM, "no memory for %s", path);
    free(text);
    return rc;
}
