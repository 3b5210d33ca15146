#include "transformer/fold.h"

#include "base/secret.h"
#include "transformer/functions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * y = scale ((gain x + offset) W^T + b + post), where x is what the wire holds: gain and offset
 * belong to the LayerNorm or activation before, post to what is added after.
 */
struct linear {
    const float *w, *b; /* (out, in), (out), or NULL: 0 */
    size_t in, out;
    const float *gain, *offset; /* (in), or NULL: 1 and 0 */
    double offset_all;          /* added to every offset */
    const float *post;          /* (out), or NULL: 0 */
    double post_all, scale;
};

struct fold {
    struct compiled *m;
    const struct checkpoint *c;
    const struct formats *f;
    struct operands *to;
    int layer; /* -1 outside */
    int rc;
    struct err *err;
};

/* Room for a weight's values, zeroed; NULL when something failed, now or before. */
static int64_t *add(struct fold *f, const char *name, enum weight_use use, int ring, int frac,
                    size_t rows, size_t cols, uint32_t *ret)
{
    struct weight w = {
        .use = (uint8_t)use,
        .ring = (uint8_t)ring,
        .frac = (int8_t)frac,
        .rows = (uint32_t)rows,
        .cols = (uint32_t)cols,
    };
    size_t count = f->m->plan->weight_count;
    int64_t **more;

    if (f->rc < 0)
        return NULL;
    if (f->layer < 0)
        snprintf(w.name, sizeof(w.name), "%s", name);
    else
        snprintf(w.name, sizeof(w.name), "layer %d %s", f->layer, name);
    more = realloc(f->m->weights, (count + 1) * sizeof(*more));
    if (more)
        f->m->weights = more;
    f->rc = more ? plan_add_weight(f->m->plan, &w, ret, f->err) : -ENOMEM;
    if (f->rc < 0)
        return NULL;
    more[count] = secret_alloc(rows * cols * sizeof(**more));
    if (!more[count])
        f->rc = err_set(f->err, -ENOMEM, "no memory for weight %s", w.name);
    return more[count];
}

/* @v at @frac fraction bits; the products' ranges were chosen on sample text, this is the rest. */
static int64_t quantise(struct fold *f, double v, int frac)
{
    double units = ldexp(v, frac);

    if (!(fabs(units) < ldexp(1, f->f->ring - 2)) && f->rc == 0)
        f->rc = err_set(f->err, -ERANGE,
                        "layer %d: a weight of %.3g does not fit %d bits with %d fraction bits: "
                        "take a wider ring or fewer fraction bits",
                        f->layer, v, f->f->ring, frac);
    return f->rc == 0 ? llrint(units) : 0;
}

static double folded_bias(const struct linear *l, size_t j)
{
    double sum = (l->b ? l->b[j] : 0) + (l->post ? l->post[j] : 0) + l->post_all;

    for (size_t i = 0; i < l->in; i++)
        sum += l->w[j * l->in + i] * ((l->offset ? l->offset[i] : 0) + l->offset_all);
    return sum * l->scale;
}

/* Several linear layers of one input, side by side: weight (in, sum of out) and its bias row. */
static void put(struct fold *f, const char *name, const struct linear *parts, size_t count,
                int frac, uint32_t *ret_weight, uint32_t *ret_bias)
{
    size_t in = parts[0].in, cols = 0, at = 0;
    char bias_name[PLAN_NAME_MAX];
    int64_t *w, *bias;

    for (size_t p = 0; p < count; p++)
        cols += parts[p].out;
    snprintf(bias_name, sizeof(bias_name), "%s bias", name);
    w = add(f, name, WEIGHT_PRODUCT, f->f->ring, frac, in, cols, ret_weight);
    bias = add(f, bias_name, WEIGHT_ADDED, f->f->ring, f->f->frac + frac, 1, cols, ret_bias);
    if (!w || !bias)
        return;
    for (size_t p = 0; p < count; at += parts[p].out, p++)
        for (size_t j = 0; j < parts[p].out; j++) {
            const struct linear *l = &parts[p];

            for (size_t i = 0; i < in; i++)
                w[i * cols + at + j] =
                    quantise(f, l->w[j * in + i] * (l->gain ? l->gain[i] : 1) * l->scale, frac);
            bias[at + j] = quantise(f, folded_bias(l, j), f->f->frac + frac);
        }
}

static void put_gain(struct fold *f, const char *name, const float *gain, int frac, uint32_t *ret)
{
    size_t hidden = f->c->config.hidden;
    int64_t *w = add(f, name, WEIGHT_GAIN, f->f->ring, frac, 1, hidden, ret);

    for (size_t i = 0; w && i < hidden; i++)
        w[i] = quantise(f, gain[i], frac);
}

static void put_embeddings(struct fold *f, size_t positions)
{
    const struct checkpoint *c = f->c;
    size_t h = c->config.hidden, words = c->config.vocab * h, types = c->config.types * h;
    int64_t *table, *position;

    table = add(f, "embedding", WEIGHT_PRODUCT, f->f->input_ring, f->f->table,
                c->config.vocab + c->config.types, h, &f->to->embedding);
    position = add(f, "position", WEIGHT_ADDED, f->f->input_ring, f->f->table, positions, h,
                   &f->to->position);
    if (!table || !position)
        return;
    for (size_t i = 0; i < words; i++)
        table[i] = quantise(f, c->word_embeddings[i], f->f->table);
    for (size_t i = 0; i < types; i++)
        table[words + i] = quantise(f, c->type_embeddings[i], f->f->table);
    for (size_t i = 0; i < positions * h; i++)
        position[i] = quantise(f, c->position_embeddings[i], f->f->table);
}

double fold_value_constant(const struct checkpoint *c, size_t layer, size_t j)
{
    const struct layer_weights *w = &c->layers[layer];
    const float *bias = layer ? c->layers[layer - 1].output_bias : c->embedding_bias;
    double sum = w->value_b[j];

    for (size_t i = 0; i < c->config.hidden; i++)
        sum += w->value_w[j * c->config.hidden + i] * (double)bias[i];
    return sum;
}

/* @gain, @bias: of the LayerNorm whose n^ the layer reads. */
static void put_attention(struct fold *f, size_t i, const float *gain, const float *bias,
                          struct layer_operands *to)
{
    const struct layer_weights *w = &f->c->layers[i];
    const struct layer_format *k = &f->f->layers[i];
    size_t h = f->c->config.hidden;
    double root = sqrt((double)f->f->head);
    float *constant = secret_alloc(h * sizeof(*constant));
    struct linear qkv[3] = {
        {.w = w->query_w, .b = w->query_b, .scale = exp2(floor(log2(root))) / root},
        {.w = w->key_w, .b = w->key_b, .scale = 1},
        {.w = w->value_w, .scale = 1},
    };
    const struct linear out = {.w = w->attention_w,
                               .b = w->attention_b,
                               .in = h,
                               .out = h,
                               .offset = constant,
                               .post = bias,
                               .scale = 1};

    if (!constant) {
        f->rc = f->rc < 0 ? f->rc : err_set(f->err, -ENOMEM, "no memory for a bias");
        return;
    }
    for (size_t j = 0; j < h; j++)
        constant[j] = (float)fold_value_constant(f->c, i, j);
    for (size_t p = 0; p < 3; p++) {
        qkv[p].in = qkv[p].out = h;
        qkv[p].gain = gain;
        qkv[p].offset = p < 2 ? bias : NULL;
    }
    if (i + 1 < f->c->config.layers) {
        put(f, "query, key, value", qkv, 3, k->qkv, &to->qkv, &to->qkv_bias);
    } else {
        put(f, "query", qkv, 1, k->qkv, &to->query, &to->query_bias);
        put(f, "key, value", qkv + 1, 2, k->qkv, &to->qkv, &to->qkv_bias);
    }
    put(f, "attention", &out, 1, k->attention, &to->attention, &to->attention_bias);
    put_gain(f, "attention gain", gain, k->attention, &to->attention_gain);
    secret_free(constant, h * sizeof(*constant));
}

static void put_feed_forward(struct fold *f, size_t i, struct layer_operands *to)
{
    const struct layer_weights *w = &f->c->layers[i];
    const struct layer_format *k = &f->f->layers[i];
    size_t h = f->c->config.hidden, inner = f->c->config.intermediate;
    enum hidden_act act = f->c->config.functions[i].hidden;
    const struct linear up = {.w = w->intermediate_w,
                              .b = w->intermediate_b,
                              .in = h,
                              .out = inner,
                              .gain = w->attention_gain,
                              .offset = w->attention_bias,
                              .post_all = activation_before(act),
                              .scale = 1};
    const struct linear down = {.w = w->output_w,
                                .b = w->output_b,
                                .in = inner,
                                .out = h,
                                .offset_all = activation_after(act),
                                .post = w->attention_bias,
                                .scale = 1};

    put(f, "feed-forward up", &up, 1, k->up, &to->up, &to->up_bias);
    put(f, "feed-forward down", &down, 1, k->down, &to->down, &to->down_bias);
    put_gain(f, "feed-forward gain", w->attention_gain, k->down, &to->down_gain);
}

static void put_head(struct fold *f, const float *gain, const float *bias)
{
    const struct checkpoint *c = f->c;
    const struct linear pooler = {.w = c->pooler_w,
                                  .b = c->pooler_b,
                                  .in = c->config.hidden,
                                  .out = c->config.hidden,
                                  .gain = gain,
                                  .offset = bias,
                                  .scale = 1};
    const struct linear classifier = {.w = c->classifier_w,
                                      .b = c->classifier_b,
                                      .in = c->config.hidden,
                                      .out = c->config.labels,
                                      .scale = 1};

    put(f, "pooler", &pooler, 1, f->f->pooler, &f->to->pooler, &f->to->pooler_bias);
    put(f, "classifier", &classifier, 1, f->f->classifier, &f->to->classifier,
        &f->to->classifier_bias);
}

int fold_weights(struct compiled *m, const struct checkpoint *c, const struct formats *formats,
                 size_t positions, struct operands *ret, struct err *err)
{
    struct fold f = {.m = m, .c = c, .f = formats, .to = ret, .layer = -1, .err = err};
    const float *gain = c->embedding_gain, *bias = c->embedding_bias;

    ret->layers = calloc(c->config.layers, sizeof(*ret->layers));
    if (!ret->layers)
        return err_set(err, -ENOMEM, "no memory for %zu layers", c->config.layers);
    put_embeddings(&f, positions);
    for (size_t i = 0; i < c->config.layers; i++) {
        f.layer = (int)i;
        put_attention(&f, i, gain, bias, &ret->layers[i]);
        put_feed_forward(&f, i, &ret->layers[i]);
        gain = c->layers[i].output_gain;
        bias = c->layers[i].output_bias;
    }
    f.layer = -1;
    put_head(&f, gain, bias);
    if (f.rc < 0) {
        free(ret->layers);
        ret->layers = NULL;
    }
    return f.rc;
}
