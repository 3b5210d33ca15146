#include "transformer/config.h"

#include "transformer/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const hidden_act_names[] = {
    [HIDDEN_GELU] = "gelu", [HIDDEN_GELU_NEW] = "gelu_new", [HIDDEN_RELU] = "relu",
    [HIDDEN_QUAD] = "quad", [HIDDEN_TANH] = "tanh",
};

static const char *const softmax_act_names[] = {
    [SOFTMAX_EXP] = "softmax",
    [SOFTMAX_2RELU] = "2relu",
    [SOFTMAX_2QUAD] = "2quad",
};

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

int model_config_set_hidden(struct model_config *config, const char *name, struct err *err)
{
    char known[KNOWN_MAX];
    size_t index;

    if (!name_find(name, hidden_act_names, HIDDEN_ACTS, &index, known))
        return err_set(err, -ENOTSUP, "it may be one of: %s", known);
    for (size_t i = 0; i < MODEL_LAYERS_MAX; i++)
        config->functions[i].hidden = (enum hidden_act)index;
    return 0;
}

int model_config_set_softmax(struct model_config *config, const char *name, struct err *err)
{
    char known[KNOWN_MAX];
    size_t index;

    if (!name_find(name, softmax_act_names, SOFTMAX_ACTS, &index, known))
        return err_set(err, -ENOTSUP, "it may be one of: %s", known);
    for (size_t i = 0; i < MODEL_LAYERS_MAX; i++)
        config->functions[i].softmax = (enum softmax_act)index;
    return 0;
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
    const struct {
        const char *key;
        size_t missing, max, *ret;
    } sizes[] = {
        {"hidden_size", 0, MODEL_HIDDEN_MAX, &c->hidden},
        {"num_hidden_layers", 0, MODEL_LAYERS_MAX, &c->layers},
        {"num_attention_heads", 0, MODEL_HEADS_MAX, &c->heads},
        {"intermediate_size", 0, MODEL_INTERMEDIATE_MAX, &c->intermediate},
        {"vocab_size", 0, MODEL_VOCAB_MAX, &c->vocab},
        {"max_position_embeddings", 0, MODEL_POSITIONS_MAX, &c->positions_max},
        {"type_vocab_size", 2, MODEL_TYPES_MAX, &c->types},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        int rc = get_size(d, sizes[i].key, sizes[i].missing, sizes[i].max, sizes[i].ret, err);

        if (rc < 0)
            return rc;
    }
    if (c->hidden % c->heads)
        return err_set(err, -EINVAL,
                       "%s: hidden_size %zu cannot be divided among %zu attention heads", d->path,
                       c->hidden, c->heads);
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

static int require_false(const struct document *d, const char *key, struct err *err)
{
    const json_t *value = document_get(d, key);

    if (value && !json_is_false(value))
        return err_set(err, -ENOTSUP, "%s: %s is not supported; only false is", d->path, key);
    return 0;
}

static int check_architecture(const struct document *d, struct err *err)
{
    const json_t *list = document_get(d, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    int rc;

    if (json_array_size(list) != 1 || !name || strcmp(name, "BertForSequenceClassification"))
        return err_set(err, -ENOTSUP,
                       "%s: architectures must be [\"BertForSequenceClassification\"], not %.64s",
                       d->path, document_shown(name));
    if (!document_get(d, "model_type"))
        return err_set(err, -EINVAL, "%s: model_type is missing", d->path);
    rc = require_string(d, "model_type", "bert", err);
    if (rc < 0)
        return rc;
    rc = require_string(d, "position_embedding_type", "absolute", err);
    if (rc < 0)
        return rc;
    rc = require_false(d, "is_decoder", err);
    if (rc < 0)
        return rc;
    rc = require_false(d, "add_cross_attention", err);
    if (rc < 0)
        return rc;
    if (json_object_size(document_get(d, "pruned_heads")))
        return err_set(err, -ENOTSUP, "%s: pruned_heads is not supported", d->path);
    if (document_get(d, "quantization_config"))
        return err_set(err, -ENOTSUP,
                       "%s: quantization_config is not supported; save the model in F32", d->path);
    return 0;
}

static int get_functions(const struct document *d, struct model_config *c, struct err *err)
{
    const json_t *eps = document_get(d, "layer_norm_eps");
    size_t hidden[MODEL_LAYERS_MAX], softmax[MODEL_LAYERS_MAX];
    int rc;

    rc = get_names(d, "hidden_act", hidden_act_names, HIDDEN_ACTS, HIDDEN_GELU, c->layers, hidden,
                   err);
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
    c->layer_norm_eps = eps ? json_number_value(eps) : 1e-12;
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
    return name_labels(d, names, c, err);
}

/* What tokenizer_config.json may change: the case; the rest must be BERT's way. */
static int check_tokenizer(const struct document *d, bool known, struct model_config *c,
                           struct err *err)
{
    bool said = false, lower = c->lower_case, strip = false, strips = false;
    bool spaces_said = false, spaces = true;
    int rc;

    rc = document_bool(d, "do_lower_case", &said, &lower, err);
    if (rc < 0)
        return rc;
    if (known && said && lower != c->lower_case)
        return err_set(err, -EINVAL, "%s: do_lower_case differs from config.json", d->path);
    c->lower_case = lower;
    rc = document_bool(d, "strip_accents", &strip, &strips, err);
    if (rc < 0)
        return rc;
    if (strip && strips != lower)
        return err_set(err, -ENOTSUP, "%s: strip_accents other than do_lower_case is not supported",
                       d->path);
    rc = document_bool(d, "tokenize_chinese_chars", &spaces_said, &spaces, err);
    if (rc < 0)
        return rc;
    if (!spaces)
        return err_set(err, -ENOTSUP, "%s: tokenize_chinese_chars false is not supported", d->path);
    return 0;
}

static int get_case(const char *folder, const struct document *d, struct model_config *c,
                    struct err *err)
{
    struct document tokenizer = {0};
    struct err absent = {0};
    bool known = false;
    int rc;

    c->lower_case = true;
    rc = document_bool(d, "do_lower_case", &known, &c->lower_case, err);
    if (rc < 0)
        return rc;
    rc = document_read(folder, "tokenizer_config.json", MODEL_JSON_BYTES_MAX, &tokenizer, &absent);
    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return err_set(err, rc, "%s", err_text(&absent, rc));
    rc = check_tokenizer(&tokenizer, known, c, err);
    document_free(&tokenizer);
    return rc;
}

int model_config_read(const char *folder, struct model_config *ret_config, struct err *err)
{
    struct document d = {0};
    struct model_config c = {0};
    int rc;

    rc = document_read(folder, "config.json", MODEL_JSON_BYTES_MAX, &d, err);
    if (rc < 0)
        return rc;
    rc = check_architecture(&d, err);
    if (rc < 0)
        goto fail;
    rc = get_sizes(&d, &c, err);
    if (rc < 0)
        goto fail;
    rc = get_functions(&d, &c, err);
    if (rc < 0)
        goto fail;
    rc = get_labels(&d, &c, err);
    if (rc < 0)
        goto fail;
    rc = get_case(folder, &d, &c, err);
    if (rc < 0)
        goto fail;
    document_free(&d);
    *ret_config = c;
    return 0;
fail:
    model_config_free(&c);
    document_free(&d);
    return rc;
}

void model_config_free(struct model_config *config)
{
    free(config->label_names);
    config->label_names = NULL;
}
