#include "transformer/checkpoint.h"

#include "base/secret.h"
#include "transformer/shards.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_DEVIATION 0.02

enum dim { NONE, HIDDEN, INTERMEDIATE, VOCAB, POSITIONS, TYPES, LABELS };

/* Where a tensor goes: @names are HF's, @offset that of a `const float *` in its struct. */
struct slot {
    const char *names[MODEL_KINDS];
    size_t offset;
    enum dim dims[2];
};

#define MODEL_SLOT(bert, roberta, distilbert, member, ...)                                         \
    {                                                                                              \
        {bert, roberta, distilbert}, offsetof(struct checkpoint, member),                          \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define EMBEDDING_SLOT(name, member, ...)                                                          \
    MODEL_SLOT("embeddings." name, "embeddings." name, "embeddings." name, member, __VA_ARGS__)
#define LAYER_SLOT(bert, distilbert, member, ...)                                                  \
    {                                                                                              \
        {bert, bert, distilbert}, offsetof(struct layer_weights, member),                          \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const struct slot model_slots[] = {
    EMBEDDING_SLOT("word_embeddings.weight", word_embeddings, VOCAB, HIDDEN),
    EMBEDDING_SLOT("position_embeddings.weight", position_embeddings, POSITIONS, HIDDEN),
    EMBEDDING_SLOT("token_type_embeddings.weight", type_embeddings, TYPES, HIDDEN),
    EMBEDDING_SLOT("LayerNorm.weight", embedding_gain, HIDDEN),
    EMBEDDING_SLOT("LayerNorm.bias", embedding_bias, HIDDEN),
    MODEL_SLOT("pooler.dense.weight", "classifier.dense.weight", "pre_classifier.weight", pooler_w,
               HIDDEN, HIDDEN),
    MODEL_SLOT("pooler.dense.bias", "classifier.dense.bias", "pre_classifier.bias", pooler_b,
               HIDDEN),
    MODEL_SLOT("classifier.weight", "classifier.out_proj.weight", "classifier.weight", classifier_w,
               LABELS, HIDDEN),
    MODEL_SLOT("classifier.bias", "classifier.out_proj.bias", "classifier.bias", classifier_b,
               LABELS),
};

/* Names follow the layer's. */
static const struct slot layer_slots[] = {
    LAYER_SLOT("attention.self.query.weight", "attention.q_lin.weight", query_w, HIDDEN, HIDDEN),
    LAYER_SLOT("attention.self.key.weight", "attention.k_lin.weight", key_w, HIDDEN, HIDDEN),
    LAYER_SLOT("attention.self.value.weight", "attention.v_lin.weight", value_w, HIDDEN, HIDDEN),
    LAYER_SLOT("attention.self.query.bias", "attention.q_lin.bias", query_b, HIDDEN),
    LAYER_SLOT("attention.self.key.bias", "attention.k_lin.bias", key_b, HIDDEN),
    LAYER_SLOT("attention.self.value.bias", "attention.v_lin.bias", value_b, HIDDEN),
    LAYER_SLOT("attention.output.dense.weight", "attention.out_lin.weight", attention_w, HIDDEN,
               HIDDEN),
    LAYER_SLOT("attention.output.dense.bias", "attention.out_lin.bias", attention_b, HIDDEN),
    LAYER_SLOT("attention.output.LayerNorm.weight", "sa_layer_norm.weight", attention_gain, HIDDEN),
    LAYER_SLOT("attention.output.LayerNorm.bias", "sa_layer_norm.bias", attention_bias, HIDDEN),
    LAYER_SLOT("intermediate.dense.weight", "ffn.lin1.weight", intermediate_w, INTERMEDIATE,
               HIDDEN),
    LAYER_SLOT("intermediate.dense.bias", "ffn.lin1.bias", intermediate_b, INTERMEDIATE),
    LAYER_SLOT("output.dense.weight", "ffn.lin2.weight", output_w, HIDDEN, INTERMEDIATE),
    LAYER_SLOT("output.dense.bias", "ffn.lin2.bias", output_b, HIDDEN),
    LAYER_SLOT("output.LayerNorm.weight", "output_layer_norm.weight", output_gain, HIDDEN),
    LAYER_SLOT("output.LayerNorm.bias", "output_layer_norm.bias", output_bias, HIDDEN),
};

/* Names of layers, what HF may put in front of every name but the head's, and tensors that it saves
 * and the model has no use for: position_ids is the constant 0, 1, 2...; older versions saved it,
 * and a pooler with RoBERTa, whose head does without. */
static const struct naming {
    const char *layers, *prefix;
    const char *unused[3]; /* after the prefix */
} namings[MODEL_KINDS] = {
    [MODEL_BERT] = {"encoder.layer", "bert.", {"embeddings.position_ids"}},
    [MODEL_ROBERTA] = {"encoder.layer",
                       "roberta.",
                       {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}},
    [MODEL_DISTILBERT] = {"transformer.layer", "distilbert.", {"embeddings.position_ids"}},
};

/* A load under way: first every slot is matched and counted, then memory is taken and filled. */
struct load {
    struct checkpoint *c;
    struct shards *tensors;
    bool *used;      /* (shards_count()) */
    size_t elements; /* of all slots matched so far; in the second pass, filled so far */
    uint64_t random; /* state of the generator of made-up weights */
    bool bare;       /* the head may be missing: it is made up then */
    bool made;       /* and was */
};

typedef int (*slot_step)(struct load *l, const char *name, const struct slot *slot, void *owner,
                         struct err *err);

static size_t dim_size(const struct model_config *c, enum dim dim)
{
    const size_t sizes[] = {
        [NONE] = 0,
        [HIDDEN] = c->hidden,
        [INTERMEDIATE] = c->intermediate,
        [VOCAB] = c->vocab,
        [POSITIONS] = c->position_first + c->positions_max,
        [TYPES] = c->types,
        [LABELS] = c->labels,
    };

    return sizes[dim];
}

/* @step on every slot with its full HF name (without the prefix), in a fixed order. */
static int walk(struct load *l, slot_step step, struct err *err)
{
    struct checkpoint *c = l->c;
    enum model_kind kind = c->config.kind;
    char name[SAFETENSORS_NAME_BYTES_MAX];
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LENGTH(model_slots) && !rc; i++)
        if (dim_size(&c->config, model_slots[i].dims[0]))
            rc = step(l, model_slots[i].names[kind], &model_slots[i], c, err);
    for (size_t n = 0; n < c->config.layers; n++)
        for (size_t i = 0; i < ARRAY_LENGTH(layer_slots) && !rc; i++) {
            snprintf(name, sizeof(name), "%s.%zu.%s", namings[kind].layers, n,
                     layer_slots[i].names[kind]);
            rc = step(l, name, &layer_slots[i], &c->layers[n], err);
        }
    return rc;
}

/* A walk that shows each tensor to @visit. */
struct showing {
    struct load load;
    checkpoint_visit visit;
    void *ctx;
};

/* The head is what HF calls classifier, and stands without the prefix. */
static int show(struct load *l, const char *name, const struct slot *slot, void *owner,
                struct err *err)
{
    const struct showing *s = (const struct showing *)l;
    const struct model_config *k = &l->c->config;
    const float *values = *(const float **)((char *)owner + slot->offset);
    char full[SAFETENSORS_NAME_BYTES_MAX + 16];
    struct checkpoint_tensor t = {.name = full, .rank = slot->dims[1] == NONE ? 1 : 2, .count = 1};

    snprintf(full, sizeof(full), "%s%s", strstr(name, "classifier") ? "" : namings[k->kind].prefix,
             name);
    for (size_t i = 0; i < t.rank; i++)
        t.count *= t.shape[i] = dim_size(k, slot->dims[i]);
    t.values = values - (slot->dims[0] == POSITIONS ? k->position_first * k->hidden : 0);
    return s->visit(s->ctx, &t, err);
}

int checkpoint_each(const struct checkpoint *c, checkpoint_visit visit, void *ctx, struct err *err)
{
    struct showing s = {
        .load = {.c = (struct checkpoint *)(uintptr_t)c}, .visit = visit, .ctx = ctx};

    return walk(&s.load, show, err);
}

/* The walk that sets pointers. */
static int walk_set(struct load *l, slot_step step, struct err *err)
{
    struct checkpoint *c = l->c;
    int rc = walk(l, step, err);

    if (rc == 0)
        c->position_embeddings += c->config.position_first * c->config.hidden;
    return rc;
}

/* Number of the tensor; there is none: how many there are. */
static int find(const struct load *l, const char *name, size_t *ret, struct err *err)
{
    char prefixed[SAFETENSORS_NAME_BYTES_MAX + 8];
    const char *path = shards_path(l->tensors);
    size_t with, without, none = shards_count(l->tensors);

    snprintf(prefixed, sizeof(prefixed), "%s%s", namings[l->c->config.kind].prefix, name);
    with = shards_find(l->tensors, prefixed);
    without = shards_find(l->tensors, name);
    if (with < none && without < none)
        return err_set(err, -EINVAL, "%s: has both %s and %s; remove one", path, name, prefixed);
    *ret = MIN(with, without);
    return 0;
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

static int fill_random(struct load *l, const char *name, const struct slot *slot, void *owner,
                       struct err *err)
{
    size_t count = slot_elements(l, slot);
    float *to = l->c->values + l->elements, pair[2];
    bool bias = strstr(name, ".bias"), gain = slot->dims[1] == NONE && !bias;

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

static void shape_text(const size_t shape[], size_t rank, char *ret, size_t size)
{
    size_t at = 0;

    ret[0] = 0;
    for (size_t i = 0; i < rank && at < size; i++)
        at += (size_t)snprintf(ret + at, size - at, "%s%zu", i ? ", " : "", shape[i]);
}

static bool is_of_head(const struct slot *slot)
{
    return slot >= model_slots && slot < model_slots + ARRAY_LENGTH(model_slots) &&
           slot->offset >= offsetof(struct checkpoint, pooler_w);
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
    if (index == shards_count(l->tensors) && l->bare && is_of_head(slot)) {
        l->made = true;
        l->elements += slot_elements(l, slot);
        return 0;
    }
    if (index == shards_count(l->tensors))
        return err_set(err, -EINVAL, "%s: tensor %s%s is missing", shards_path(l->tensors),
                       namings[l->c->config.kind].prefix, name);
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
    if (index == shards_count(l->tensors))
        return fill_random(l, name, slot, owner, err);
    *(const float **)((char *)owner + slot->offset) = to;
    l->elements += shards_at(l->tensors, index)->elements;
    return shards_read(l->tensors, index, to, err);
}

static bool is_unused(const struct naming *n, const char *name)
{
    size_t prefix = strlen(n->prefix);

    if (!strncmp(name, n->prefix, prefix))
        name += prefix;
    for (size_t i = 0; i < ARRAY_LENGTH(n->unused); i++)
        if (n->unused[i] && !strcmp(name, n->unused[i]))
            return true;
    return false;
}

/* What a checkpoint was pre-trained with. */
static bool is_other_head(const char *name)
{
    static const char *const heads[] = {"cls.", "lm_head.", "vocab_"};

    for (size_t i = 0; i < ARRAY_LENGTH(heads); i++)
        if (!strncmp(name, heads[i], strlen(heads[i])))
            return true;
    return false;
}

static int check_unused(const struct load *l, struct err *err)
{
    for (size_t i = 0; i < shards_count(l->tensors); i++) {
        const char *name = shards_at(l->tensors, i)->name;

        if (!l->used[i] && !(l->bare && is_other_head(name)) &&
            !is_unused(&namings[l->c->config.kind], name))
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
    return walk_set(l, fill, err);
}

/* @to: whether the checkpoint may be bare, and the seed of what is made up then. */
static int load(struct load *to, const char *folder, struct checkpoint **ret_checkpoint,
                struct err *err)
{
    struct load l = {.c = calloc(1, sizeof(*l.c)), .bare = to->bare, .random = to->random};
    int rc;

    if (!l.c)
        return -ENOMEM;
    rc = l.bare ? model_config_read_bare(folder, &l.c->config, err)
                : model_config_read(folder, &l.c->config, err);
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
    to->made = l.made;
    l.c = NULL;
out:
    shards_close(l.tensors);
    free(l.used);
    checkpoint_free(l.c);
    return rc;
}

int checkpoint_load(const char *folder, struct checkpoint **ret_checkpoint, struct err *err)
{
    struct load l = {.bare = false};

    return load(&l, folder, ret_checkpoint, err);
}

int checkpoint_load_bare(const char *folder, uint64_t seed, struct checkpoint **ret_checkpoint,
                         bool *ret_made, struct err *err)
{
    struct load l = {.bare = true, .random = seed};
    int rc = load(&l, folder, ret_checkpoint, err);

    *ret_made = l.made;
    return rc;
}

static int count_slot(struct load *l, const char *name, const struct slot *slot, void *owner,
                      struct err *err)
{
    (void)name, (void)owner, (void)err;
    l->elements += slot_elements(l, slot);
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
        rc = l.c->values ? walk_set(&l, fill_random, err) : -ENOMEM;
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
