#include "transformer/config.h"

#include "base/file.h"
#include "transformer/config_internal.h"
#include "transformer/document.h"
#include "transformer/tokenizer_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct model_kind_names model_kind_names[MODEL_KINDS] = {
    [MODEL_BERT] = {"BertForSequenceClassification",
                    "bert",
                    {"BertModel", "BertForMaskedLM", "BertForPreTraining"},
                    "hidden_size",
                    "num_hidden_layers",
                    "num_attention_heads",
                    "intermediate_size",
                    "hidden_act"},
    [MODEL_ROBERTA] = {"RobertaForSequenceClassification",
                       "roberta",
                       {"RobertaModel", "RobertaForMaskedLM"},
                       "hidden_size",
                       "num_hidden_layers",
                       "num_attention_heads",
                       "intermediate_size",
                       "hidden_act"},
    [MODEL_DISTILBERT] = {"DistilBertForSequenceClassification",
                          "distilbert",
                          {"DistilBertModel", "DistilBertForMaskedLM"},
                          "dim",
                          "n_layers",
                          "n_heads",
                          "hidden_dim",
                          "activation"},
};

static const char *const hidden_act_names[] = {
    [HIDDEN_GELU] = "gelu", [HIDDEN_GELU_NEW] = "gelu_new", [HIDDEN_RELU] = "relu",
    [HIDDEN_QUAD] = "quad", [HIDDEN_TANH] = "tanh",
};

static const char *const softmax_act_names[] = {
    [SOFTMAX_EXP] = "softmax",
    [SOFTMAX_2RELU] = "2relu",
    [SOFTMAX_2QUAD] = "2quad",
};

enum hidden_act model_head_act(enum model_kind kind)
{
    return kind == MODEL_DISTILBERT ? HIDDEN_RELU : HIDDEN_TANH;
}

const char *hidden_act_name(enum hidden_act act)
{
    return hidden_act_names[act];
}

const char *softmax_act_name(enum softmax_act act)
{
    return softmax_act_names[act];
}

/* Of messages that list the names there are. */
#define KNOWN_MAX 128

static bool name_find(const char *name, const char *const names[], size_t count, size_t *ret,
                      char ret_known[KNOWN_MAX])
{
    *ret_known = 0;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(ret_known);

        if (name && !strcmp(name, names[i])) {
            *ret = i;
            return true;
        }
        snprintf(ret_known + used, KNOWN_MAX - used, "%s%s", i ? ", " : "", names[i]);
    }
    return false;
}

/* One name in every layer, or as many as there are @layers between commas: an index for each. */
static int split_names(const char *text, const char *const names[], size_t count, size_t layers,
                       size_t ret[MODEL_LAYERS_MAX], struct err *err)
{
    char *copy = strdup(text), *rest = copy, *name, known[KNOWN_MAX];
    size_t given = 0;
    int rc = copy ? 0 : err_set(err, -ENOMEM, "no memory for names of functions");

    for (; rc == 0 && (name = strsep(&rest, ",")); given++)
        if (!name_find(name, names, count, &ret[MIN(given, MODEL_LAYERS_MAX - 1)], known))
            rc = err_set(err, -ENOTSUP, "it may be one of: %s; or as many as layers, with commas",
                         known);
    if (rc == 0 && given > 1 && given != layers)
        rc = err_set(err, -EINVAL, "%zu functions for %zu layers", given, layers);
    for (size_t i = 1; rc == 0 && given == 1 && i < MODEL_LAYERS_MAX; i++)
        ret[i] = ret[0];
    free(copy);
    return rc;
}

int model_config_set_hidden(struct model_config *config, const char *names, struct err *err)
{
    size_t found[MODEL_LAYERS_MAX] = {0};
    int rc = split_names(names, hidden_act_names, HIDDEN_ACTS, config->layers, found, err);

    for (size_t i = 0; rc == 0 && i < MODEL_LAYERS_MAX; i++)
        config->functions[i].hidden = (enum hidden_act)found[i];
    return rc;
}

int model_config_set_softmax(struct model_config *config, const char *names, struct err *err)
{
    size_t found[MODEL_LAYERS_MAX] = {0};
    int rc = split_names(names, softmax_act_names, SOFTMAX_ACTS, config->layers, found, err);

    for (size_t i = 0; rc == 0 && i < MODEL_LAYERS_MAX; i++)
        config->functions[i].softmax = (enum softmax_act)found[i];
    return rc;
}

/* @missing is the value of an absent key; 0: the key must be there. */
static int get_size(const struct document *d, const char *key, size_t missing, size_t max,
                    size_t *ret, struct err *err)
{
    const json_t *value = document_get(d, key);

    if (!value && missing) {
        *ret = missing;
        return 0;
    }
    if (!value)
        return err_set(err, -EINVAL, "%s: %s is missing", d->path, key);
    if (!json_is_integer(value) || json_integer_value(value) < 1 ||
        (uint64_t)json_integer_value(value) > max)
        return err_set(err, -EINVAL, "%s: %s must be a whole number from 1 to %zu", d->path, key,
                       max);
    *ret = (size_t)json_integer_value(value);
    return 0;
}

static int get_sizes(const struct document *d, struct model_config *c, struct err *err)
{
    const struct model_kind_names *kind = &model_kind_names[c->kind];
    const struct {
        const char *key;
        size_t missing, max, *ret;
    } sizes[] = {
        {kind->hidden, 0, MODEL_HIDDEN_MAX, &c->hidden},
        {kind->layers, 0, MODEL_LAYERS_MAX, &c->layers},
        {kind->heads, 0, MODEL_HEADS_MAX, &c->heads},
        {kind->intermediate, 0, MODEL_INTERMEDIATE_MAX, &c->intermediate},
        {"vocab_size", 0, MODEL_VOCAB_MAX, &c->vocab},
        {"max_position_embeddings", 0, MODEL_POSITIONS_MAX, &c->positions_max},
        {"type_vocab_size", 2, MODEL_TYPES_MAX, &c->types},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        int rc = get_size(d, sizes[i].key, sizes[i].missing, sizes[i].max, sizes[i].ret, err);

        if (rc < 0)
            return rc;
    }
    if (c->kind == MODEL_DISTILBERT)
        c->types = 0;
    if (c->hidden % c->heads)
        return err_set(err, -EINVAL, "%s: %s %zu cannot be divided among %zu attention heads",
                       d->path, kind->hidden, c->hidden, c->heads);
    return 0;
}

/* Of RoBERTa's rows of positions those up to the pad's are no token's. */
static int get_positions(const struct document *d, struct model_config *c, struct err *err)
{
    const json_t *pad = document_get(d, "pad_token_id");

    if (c->kind != MODEL_ROBERTA)
        return 0;
    if (pad && (!json_is_integer(pad) || json_integer_value(pad) < 0 ||
                (uint64_t)json_integer_value(pad) >= c->vocab))
        return err_set(err, -EINVAL, "%s: pad_token_id is no token of %zu", d->path, c->vocab);
    c->position_first = (pad ? (size_t)json_integer_value(pad) : 1) + 1;
    if (c->positions_max <= c->position_first)
        return err_set(err, -EINVAL,
                       "%s: max_position_embeddings %zu leaves no position after that of "
                       "pad_token_id",
                       d->path, c->positions_max);
    c->positions_max -= c->position_first;
    return 0;
}

/* Index of the string @value, which stands at @key, in @names. */
static int name_index(const struct document *d, const char *key, const json_t *value,
                      const char *const names[], size_t count, size_t *ret, struct err *err)
{
    const char *name = json_string_value(value);
    char known[KNOWN_MAX];

    if (name_find(name, names, count, ret, known))
        return 0;
    return err_set(err, -ENOTSUP, "%s: %s \"%.64s\" is not known; it may be one of: %s", d->path,
                   key, document_shown(name), known);
}

/* An index for each of @layers from the one string at @key or from a list of as many; @missing when
 * the key is absent. */
static int get_names(const struct document *d, const char *key, const char *const names[],
                     size_t count, size_t missing, size_t layers, size_t ret[MODEL_LAYERS_MAX],
                     struct err *err)
{
    const json_t *value = document_get(d, key);
    int rc = 0;

    if (json_is_array(value) && json_array_size(value) != layers)
        return err_set(err, -EINVAL, "%s: %s lists %zu functions for %zu layers", d->path, key,
                       json_array_size(value), layers);
    for (size_t i = 0; rc == 0 && i < layers; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;

        ret[i] = missing;
        if (value)
            rc = name_index(d, key, one, names, count, &ret[i], err);
    }
    return rc;
}

/* @key, if there, must be the string @only. */
static int require_string(const struct document *d, const char *key, const char *only,
                          struct err *err)
{
    const json_t *value = document_get(d, key);
    size_t index;

    return value ? name_index(d, key, value, &only, 1, &index, err) : 0;
}

/* Whether @name is an architecture without a classifier, and of which kind. */
static bool find_bare(const char *name, size_t *ret)
{
    for (size_t i = 0; name && i < MODEL_KINDS; i++)
        for (size_t n = 0; n < MODEL_BARE_MAX; n++)
            if (model_kind_names[i].bare[n] && strcmp(name, model_kind_names[i].bare[n]) == 0) {
                *ret = i;
                return true;
            }
    return false;
}

static int get_kind(const struct document *d, bool bare, struct model_config *c, struct err *err)
{
    const json_t *list = document_get(d, "architectures");
    const char *name = json_string_value(json_array_get(list, 0)), *names[MODEL_KINDS];
    char known[KNOWN_MAX];
    size_t index;

    for (size_t i = 0; i < MODEL_KINDS; i++)
        names[i] = model_kind_names[i].architecture;
    if (json_array_size(list) != 1)
        name = NULL;
    if (!(bare && find_bare(name, &index)) && !name_find(name, names, MODEL_KINDS, &index, known))
        return find_bare(name, &index)
                   ? err_set(err, -ENOTSUP,
                             "%s: %s has no classifier: `mpcformer finetune` gives it one", d->path,
                             name)
                   : err_set(err, -ENOTSUP, "%s: architectures must be one of %s, not %.64s",
                             d->path, known, document_shown(name));
    c->kind = (enum model_kind)index;
    if (!document_get(d, "model_type"))
        return err_set(err, -EINVAL, "%s: model_type is missing", d->path);
    return require_string(d, "model_type", model_kind_names[index].type, err);
}

/* Keys that make another model of it, and come with most checkpoints to say that they do not. */
static int check_unsupported(const struct document *d, struct err *err)
{
    static const char *const keys[] = {"is_decoder", "is_encoder_decoder", "add_cross_attention",
                                       "pruned_heads"};

    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        const json_t *value = document_get(d, keys[i]);

        if (value && !json_is_false(value) && !(json_is_object(value) && !json_object_size(value)))
            return err_set(err, -ENOTSUP, "%s: %s is not supported", d->path, keys[i]);
    }
    if (document_get(d, "quantization_config"))
        return err_set(err, -ENOTSUP,
                       "%s: quantization_config is not supported; save the model in F32", d->path);
    if (document_get(d, "auto_map"))
        return err_set(err, -ENOTSUP,
                       "%s: auto_map names code of the model's own, which never runs", d->path);
    return require_string(d, "position_embedding_type", "absolute", err);
}

/* HF would apply an adapter that lies beside a model. */
static int check_adapter(const char *folder, struct err *err)
{
    char path[PATH_MAX];
    int rc = file_path(path, sizeof(path), folder, "adapter_config.json");

    if (rc == 0 && access(path, F_OK) == 0)
        rc = err_set(err, -ENOTSUP,
                     "%s: adapters are not supported; merge this one into the weights", path);
    return rc;
}

/* Tables narrower than the layers need a product that is not there. */
static int check_embedding(const struct document *d, const struct model_config *c, struct err *err)
{
    const json_t *size = document_get(d, "embedding_size");

    if (size && json_integer_value(size) != (json_int_t)c->hidden)
        return err_set(err, -ENOTSUP, "%s: embedding_size other than %s is not supported", d->path,
                       model_kind_names[c->kind].hidden);
    return 0;
}

static int get_functions(const struct document *d, struct model_config *c, struct err *err)
{
    const json_t *eps = document_get(d, "layer_norm_eps");
    size_t hidden[MODEL_LAYERS_MAX], softmax[MODEL_LAYERS_MAX];
    int rc;

    rc = get_names(d, model_kind_names[c->kind].hidden_act, hidden_act_names, HIDDEN_ACTS,
                   HIDDEN_GELU, c->layers, hidden, err);
    if (rc < 0)
        return rc;
    rc = get_names(d, "softmax_act", softmax_act_names, SOFTMAX_ACTS, SOFTMAX_EXP, c->layers,
                   softmax, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < c->layers; i++)
        c->functions[i] = (struct layer_functions){.hidden = (enum hidden_act)hidden[i],
                                                   .softmax = (enum softmax_act)softmax[i]};
    if (eps && (!json_is_number(eps) || json_number_value(eps) < 0 || json_number_value(eps) > 1))
        return err_set(err, -EINVAL, "%s: layer_norm_eps must be a number from 0 to 1", d->path);
    c->layer_norm_eps = eps && c->kind != MODEL_DISTILBERT ? json_number_value(eps) : 1e-12;
    return 0;
}

/* Names from id2label, whose keys are "0" to "n-1"; without it, "LABEL_0" and so on. */
static int name_labels(const struct document *d, const json_t *names, struct model_config *c,
                       struct err *err)
{
    c->label_names = calloc(c->labels, sizeof(*c->label_names));
    if (!c->label_names)
        return -ENOMEM;
    for (size_t i = 0; i < c->labels; i++) {
        const char *label;
        char key[24];

        if (!names) {
            snprintf(c->label_names[i], sizeof(*c->label_names), "LABEL_%zu", i);
            continue;
        }
        snprintf(key, sizeof(key), "%zu", i);
        label = json_string_value(json_object_get(names, key));
        if (!document_text_is_sane(label, MODEL_LABEL_BYTES_MAX))
            return err_set(err, -EINVAL,
                           "%s: id2label must name \"0\" to \"%zu\", each with 1 to %d bytes of "
                           "printable text; \"%s\" is absent or not that",
                           d->path, c->labels - 1, MODEL_LABEL_BYTES_MAX, key);
        memcpy(c->label_names[i], label, strlen(label) + 1);
    }
    return 0;
}

/* Whether the logits are classes or a score. */
static int get_problem(const struct document *d, struct model_config *c, struct err *err)
{
    static const char *const names[] = {"single_label_classification", "regression"};
    const json_t *type = document_get(d, "problem_type");
    size_t index = c->labels == 1;
    int rc =
        type ? name_index(d, "problem_type", type, names, ARRAY_LENGTH(names), &index, err) : 0;

    if (rc == 0 && index && c->labels != 1)
        rc = err_set(err, -ENOTSUP, "%s: a regression on %zu numbers is not supported, only on one",
                     d->path, c->labels);
    c->regression = index;
    return rc;
}

static int get_labels(const struct document *d, struct model_config *c, struct err *err)
{
    const json_t *names = document_get(d, "id2label");
    size_t named = json_object_size(names);
    int rc;

    if (names && (!json_is_object(names) || !named || named > MODEL_LABELS_MAX))
        return err_set(err, -EINVAL, "%s: id2label must be an object of 1 to %d names", d->path,
                       MODEL_LABELS_MAX);
    rc = get_size(d, "num_labels", named ? named : 2, MODEL_LABELS_MAX, &c->labels, err);
    if (rc < 0)
        return rc;
    if (names && c->labels != named)
        return err_set(err, -EINVAL, "%s: num_labels is %zu, id2label has %zu", d->path, c->labels,
                       named);
    rc = get_problem(d, c, err);
    return rc < 0 ? rc : name_labels(d, names, c, err);
}

static int read_config(const char *folder, bool bare, struct model_config *ret_config,
                       struct err *err)
{
    struct document d = {0};
    struct model_config c = {0};
    int rc;

    rc = document_read(folder, "config.json", MODEL_JSON_BYTES_MAX, &d, err);
    if (rc < 0)
        return rc;
    rc = get_kind(&d, bare, &c, err);
    if (rc == 0)
        rc = check_unsupported(&d, err);
    if (rc == 0)
        rc = check_adapter(folder, err);
    if (rc == 0)
        rc = get_sizes(&d, &c, err);
    if (rc == 0)
        rc = get_positions(&d, &c, err);
    if (rc == 0)
        rc = check_embedding(&d, &c, err);
    if (rc == 0)
        rc = get_functions(&d, &c, err);
    if (rc == 0)
        rc = get_labels(&d, &c, err);
    if (rc == 0)
        rc = tokenizer_config_read(folder, &d, &c, err);
    document_free(&d);
    if (rc < 0)
        model_config_free(&c);
    else
        *ret_config = c;
    return rc;
}

int model_config_read(const char *folder, struct model_config *ret_config, struct err *err)
{
    return read_config(folder, false, ret_config, err);
}

int model_config_read_bare(const char *folder, struct model_config *ret_config, struct err *err)
{
    return read_config(folder, true, ret_config, err);
}

void model_config_free(struct model_config *config)
{
    free(config->label_names);
    config->label_names = NULL;
}
