/* config.json, from a config. */
#include "transformer/config.h"

#include "base/file.h"

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

int model_config_write(const struct model_config *c, const char *folder, struct err *err)
{
    char path[PATH_MAX], *text;
    json_t *root;
    int rc;

    if (c->kind != MODEL_BERT)
        return err_set(err, -ENOTSUP, "%s: only models of BERT's kind can be written", folder);
    if (file_path(path, sizeof(path), folder, "config.json") < 0)
        return err_set(err, -ENAMETOOLONG, "%s/config.json: the path is too long", folder);
    root = json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:f, s:I, s:o*, s:o*, s:s, s:b}",
        "architectures", "BertForSequenceClassification", "model_type", "bert", "hidden_size",
        (json_int_t)c->hidden, "num_hidden_layers", (json_int_t)c->layers, "num_attention_heads",
        (json_int_t)c->heads, "intermediate_size", (json_int_t)c->intermediate, "hidden_act",
        names(c, hidden_name), "softmax_act", names(c, softmax_name), "vocab_size",
        (json_int_t)c->vocab, "max_position_embeddings", (json_int_t)c->positions_max,
        "type_vocab_size", (json_int_t)c->types, "layer_norm_eps", c->layer_norm_eps, "num_labels",
        (json_int_t)c->labels, "id2label", c->label_names ? labels(c, false) : NULL, "label2id",
        c->label_names ? labels(c, true) : NULL, "problem_type",
        c->regression ? "regression" : "single_label_classification", "do_lower_case",
        c->lower_case);
    text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    rc = text ? file_write(path, 0644, text, strlen(text), err)
              : err_set(err, -ENOMEM, "no memory for %s", path);
    free(text);
    return rc;
}
