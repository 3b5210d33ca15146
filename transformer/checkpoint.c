#include "transformer/checkpoint.h"

#include "base/secret.h"
#include "transformer/shards.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_DEVIATION 0.02

enum dim { NONE, HIDDEN, INTERMEDIATE, VOCAB, POSITIONS, TYPES, LABELS };

/* Where a tensor goes: @name is the HF name, @offset that of a `const float *` in its struct. */
struct slot {
    const char *name;
    size_t offset;
    enum dim dims[2];
};

#define MODEL_SLOT(name, member, ...)                                                              \
    {                                                                                              \
        name, offsetof(struct checkpoint, member),                                                 \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define LAYER_SLOT(name, member, ...)                                                              \
    {                                                                                              \
        name, offsetof(struct layer_weights, member),                                              \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const struct slot model_slots[] = {
    MODEL_SLOT("embeddings.word_embeddings.weight", word_embeddings, VOCAB, HIDDEN),
    MODEL_SLOT("embeddings.position_embeddings.weight", position_embeddings, POSITIONS, HIDDEN),
    MODEL_SLOT("embeddings.token_type_embeddings.weight", type_embeddings, TYPES, HIDDEN),
    MODEL_SLOT("embeddings.LayerNorm.weight", embedding_gain, HIDDEN),
    MODEL_SLOT("embeddings.LayerNorm.bias", embedding_bias, HIDDEN),
    MODEL_SLOT("pooler.dense.weight", pooler_w, HIDDEN, HIDDEN),
    MODEL_SLOT("pooler.dense.bias", pooler_b, HIDDEN),
    MODEL_SLOT("classifier.weight", classifier_w, LABELS, HIDDEN),
    MODEL_SLOT("classifier.bias", classifier_b, LABELS),
};

/* Names follow "encoder.layer.N.". */
static const struct slot layer_slots[] = {
    LAYER_SLOT("attention.self.query.weight", query_w, HIDDEN, HIDDEN),
    LAYER_SLOT("attention.self.query.bias", query_b, HIDDEN),
    LAYER_SLOT("attention.self.key.weight", key_w, HIDDEN, HIDDEN),
    LAYER_SLOT("attention.self.key.bias", key_b, HIDDEN),
    LAYER_SLOT("attention.self.value.weight", value_w, HIDDEN, HIDDEN),
    LAYER_SLOT("attention.self.value.bias", value_b, HIDDEN),
    LAYER_SLOT("attention.output.dense.weight", attention_w, HIDDEN, HIDDEN),
    LAYER_SLOT("attention.output.dense.bias", attention_b, HIDDEN),
    LAYER_SLOT("attention.output.LayerNorm.weight", attention_gain, HIDDEN),
    LAYER_SLOT("attention.output.LayerNorm.bias", attention_bias, HIDDEN),
    LAYER_SLOT("intermediate.dense.weight", intermediate_w, INTERMEDIATE, HIDDEN),
    LAYER_SLOT("intermediate.dense.bias", intermediate_b, INTERMEDIATE),
    LAYER_SLOT("output.dense.weight", output_w, HIDDEN, INTERMEDIATE),
    LAYER_SLOT("output.dense.bias", output_b, HIDDEN),
    LAYER_SLOT("output.LayerNorm.weight", output_gain, HIDDEN),
    LAYER_SLOT("output.LayerNorm.bias", output_bias, HIDDEN),
};

/* A load under way: first every slot is matched and counted, then memory is taken and filled. */
struct load {
    struct checkpoint *c;
    struct shards *tensors;
    bool *used;      /* (shards_count()) */
    size_t elements; /* of all slots matched so far; in the second pass, filled so far */
    uint64_t random; /* state of the generator of made-up weights */
};

typedef int (*slot_step)(struct load *l, const char *name, const struct slot *slot, void *owner,
                         struct err *err);

static size_t dim_size(const struct model_config *c, enum dim dim)
{
    const size_t sizes[] = {
        [NONE] = 0,           [HIDDEN] = c->hidden,           [INTERMEDIATE] = c->intermediate,
        [VOCAB] = c->vocab,   [POSITIONS] = c->positions_max, [TYPES] = c->types,
        [LABELS] = c->labels,
    };

    return sizes[dim];
}

/* @step on every slot with its full HF name (without "bert."), in a fixed order. */
static int walk(struct load *l, slot_step step, struct err *err)
{
    struct checkpoint *c = l->c;
    char name[SAFETENSORS_NAME_BYTES_MAX];
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LENGTH(model_slots) && !rc; i++)
        rc = step(l, model_slots[i].name, &model_slots[i], c, err);
    for (size_t n = 0; n < c->config.layers; n++)
        for (size_t i = 0; i < ARRAY_LENGTH(layer_slots) && !rc; i++) {
            snprintf(name, sizeof(name), "encoder.layer.%zu.%s", n, layer_slots[i].name);
            rc = step(l, name, &layer_slots[i], &c->layers[n], err);
        }
    return rc;
}

/* Number of the tensor. */
static int find(const struct load *l, const char *name, size_t *ret, struct err *err)
{
    char prefixed[SAFETENSORS_NAME_BYTES_MAX + 8];
    const char *path = shards_path(l->tensors);
    size_t with, without, none = shards_count(l->tensors);

    snprintf(prefixed, sizeof(prefixed), "bert.%s", name);
    with = shards_find(l->tensors, prefixed);
    without = shards_find(l->tensors, name);
    if (with < none && without < none)
        return err_set(err, -EINVAL, "%s: has both %s and %s; remove one", path, name, prefixed);
    if (with == none && without == none)
        return err_set(err, -EINVAL, "%s: tensor %s is missing", path, prefixed);
    *ret = MIN(with, without);
    return 0;
}

static void shape_text(const size_t shape[], size_t rank, char *ret, size_t size)
{
    size_t at = 0;

    ret[0] = 0;
    for (size_t i = 0; i < rank && at < size; i++)
        at += (size_t)snprintf(ret + at, size - at, "%s%zu", i ? ", " : "", shape[i]);
}

static int match(struct load *l, const char *name, const struct slot *slot, void *owner,
                 struct err *err)
{
    const struct safetensors_entry *e;
    size_t index = 0, want[2], rank = slot->dims[1] == NONE ? 1 : 2;
    char has[192], needs[64];
    int rc;

    (void)owner;
    rc = find(l, name, &index, err);
    if (rc < 0)
        return rc;
    e = shards_at(l->tensors, index);
    for (size_t i = 0; i < rank; i++)
        want[i] = dim_size(&l->c->config, slot->dims[i]);
    if (e->rank != rank || memcmp(e->shape, want, rank * sizeof(*want))) {
        shape_text(e->shape, e->rank, has, sizeof(has));
        shape_text(want, rank, needs, sizeof(needs));
        return err_set(err, -EINVAL, "%s: tensor %s has shape (%s); config.json asks for (%s)",
                       shards_path(l->tensors), e->name, has, needs);
    }
    l->used[index] = true;
    l->elements += e->elements; /* bounded by the files' sizes: entries are disjoint */
    return 0;
}

static int fill(struct load *l, const char *name, const struct slot *slot, void *owner,
                struct err *err)
{
    float *to = l->c->values + l->elements;
    size_t index = 0;
    int rc;

    rc = find(l, name, &index, err);
    if (rc < 0)
        return rc;
    *(const float **)((char *)owner + slot->offset) = to;
    l->elements += shards_at(l->tensors, index)->elements;
    return shards_read(l->tensors, index, to, err);
}

/* position_ids is the constant 0, 1, 2...: older HF versions saved it. */
static int check_unused(const struct load *l, struct err *err)
{
    for (size_t i = 0; i < shards_count(l->tensors); i++) {
        const char *name = shards_at(l->tensors, i)->name;

        if (!l->used[i] && strcmp(name, "bert.embeddings.position_ids") &&
            strcmp(name, "embeddings.position_ids"))
            return err_set(err, -EINVAL,
                           "%s: tensor %s is no part of the model that config.json describes",
                           shards_path(l->tensors), name);
    }
    return 0;
}

static int load_weights(struct load *l, const char *folder, struct err *err)
{
    int rc;

    rc = shards_open(folder, &l->tensors, err);
    if (rc < 0)
        return rc;
    l->used = calloc(shards_count(l->tensors) + 1, sizeof(*l->used));
    if (!l->used)
        return -ENOMEM;
    rc = walk(l, match, err);
    if (rc < 0)
        return rc;
    rc = check_unused(l, err);
    if (rc < 0)
        return rc;
    l->c->bytes = l->elements * sizeof(float);
    l->c->values = secret_alloc(l->c->bytes);
    if (!l->c->values)
        return err_set(err, -ENOMEM, "%s: no memory for %zu bytes of weights", folder, l->c->bytes);
    l->elements = 0;
    return walk(l, fill, err);
}

int checkpoint_load(const char *folder, struct checkpoint **ret_checkpoint, struct err *err)
{
    struct load l = {.c = calloc(1, sizeof(*l.c))};
    int rc;

    if (!l.c)
        return -ENOMEM;
    rc = model_config_read(folder, &l.c->config, err);
    if (rc < 0)
        goto out;
    l.c->layers = calloc(l.c->config.layers, sizeof(*l.c->layers));
    if (!l.c->layers) {
        rc = -ENOMEM;
        goto out;
    }
    rc = load_weights(&l, folder, err);
    if (rc < 0)
        goto out;
    *ret_checkpoint = l.c;
    l.c = NULL;
out:
    shards_close(l.tensors);
    free(l.used);
    checkpoint_free(l.c);
    return rc;
}

/* splitmix64: any seed will do, and two draws in a row are as good as independent. */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* Two of N(0, 1), by Box and Muller. */
static void draw_normal(uint64_t *state, float ret[2])
{
    float u = (float)((draw(state) >> 40) + 1) * 0x1p-24f,
          v = (float)(draw(state) >> 40) * 0x1p-24f;
    float radius = sqrtf(-2 * logf(u)), angle = 2 * (float)M_PI * v;

    ret[0] = radius * cosf(angle);
    ret[1] = radius * sinf(angle);
}

static size_t slot_elements(const struct load *l, const struct slot *slot)
{
    return dim_size(&l->c->config, slot->dims[0]) *
           (slot->dims[1] == NONE ? 1 : dim_size(&l->c->config, slot->dims[1]));
}

static int count_slot(struct load *l, const char *name, const struct slot *slot, void *owner,
                      struct err *err)
{
    (void)name, (void)owner, (void)err;
    l->elements += slot_elements(l, slot);
    return 0;
}

static int fill_random(struct load *l, const char *name, const struct slot *slot, void *owner,
                       struct err *err)
{
    size_t count = slot_elements(l, slot);
    float *to = l->c->values + l->elements, pair[2];
    bool gain = strstr(name, "LayerNorm.weight"), bias = strstr(name, ".bias");

    (void)err;
    *(const float **)((char *)owner + slot->offset) = to;
    l->elements += count;
    for (size_t i = 0; i < count; i++) {
        if (gain || bias) {
            to[i] = gain;
            continue;
        }
        if (i % 2 == 0)
            draw_normal(&l->random, pair);
        to[i] = (float)RANDOM_DEVIATION * pair[i % 2];
    }
    return 0;
}

static int name_labels(struct model_config *k)
{
    k->label_names = calloc(k->labels, sizeof(*k->label_names));
    if (!k->label_names)
        return -ENOMEM;
    for (size_t i = 0; i < k->labels; i++)
        snprintf(k->label_names[i], sizeof(*k->label_names), "LABEL_%zu", i);
    return 0;
}

int checkpoint_random(const struct model_config *config, uint64_t seed,
                      struct checkpoint **ret_checkpoint, struct err *err)
{
    struct load l = {.c = calloc(1, sizeof(*l.c)), .random = seed};
    int rc = -ENOMEM;

    if (!l.c)
        return rc;
    l.c->config = *config;
    l.c->config.label_names = NULL;
    l.c->layers = calloc(config->layers, sizeof(*l.c->layers));
    if (l.c->layers)
        rc = name_labels(&l.c->config);
    if (rc == 0)
        rc = walk(&l, count_slot, err);
    if (rc == 0) {
        l.c->bytes = l.elements * sizeof(float);
        l.c->values = secret_alloc(l.c->bytes);
        l.elements = 0;
        rc = l.c->values ? walk(&l, fill_random, err) : -ENOMEM;
    }
    if (rc < 0) {
        checkpoint_free(l.c);
        return err_set(err, rc, "no memory for made-up weights");
    }
    *ret_checkpoint = l.c;
    return 0;
}

void checkpoint_free(struct checkpoint *c)
{
    if (!c)
        return;
    secret_free(c->values, c->bytes);
    free(c->layers);
    model_config_free(&c->config);
    free(c);
}
