/* The backward pass of the network: network.c from its end to its start. */
#include "distill/network_internal.h"
#include "distill/product.h"

#include <string.h>

#define COLUMN_BLOCK 32 /* columns of an embedding that one thread adds up */

bool linear_back(const struct network *n, const real *dy, const real *x, size_t rows, size_t in,
                 const real *w, size_t out, real *d_w, real beta, real *dx)
{
    return network_product(n, out, in, rows, (struct matrix){dy, out, true},
                           (struct matrix){x, in, false}, 1, d_w) &&
           network_product(n, rows, in, out, (struct matrix){dy, out, false},
                           (struct matrix){w, in, false}, beta, dx);
}

/* From the logits to n->d, the gradient by the last layer's output. */
static bool classify_back(struct network *n, const real *values, const real *d_logits,
                          real *gradients)
{
    const struct places *p = &n->places;
    size_t s = n->batch.sequences, h = n->config.hidden, labels = n->config.labels;
    real *d = n->sum, *d_first = n->wide; /* (sequence, hidden) */

    kernel_bias_back(d_logits, s, labels, gradients + p->classifier_b);
    if (!linear_back(n, d_logits, n->pooled_out, s, h, values + p->classifier_w, labels,
                     gradients + p->classifier_w, 0, d))
        return false;
    kernel_dropout(network_drop(n, n->drop.hidden, SITE_POOLED), d, s * h, d);
    kernel_activation_back(model_head_act(n->config.kind), n->pooled, s * h, d);
    kernel_bias_back(d, s, h, gradients + p->pooler_b);
    if (!linear_back(n, d, n->first, s, h, values + p->pooler_w, h, gradients + p->pooler_w, 0,
                     d_first))
        return false;
    for (size_t i = 0; i < s; i++)
        memcpy(n->d + n->batch.starts[i] * h, d_first + i * h, h * sizeof(*d));
    return true;
}

/* n->d, the gradient by what the norm at the end of @stage gave, becomes that by its sum and
 * residual; n->sum that by the product before its bias, whose gradient is added. */
static void norm_back(struct network *n, const real *values, size_t layer, enum network_stage stage,
                      real *gradients)
{
    const struct layer_state *l = &n->layers[layer];
    const struct layer_places *w = &n->places.layers[layer];
    bool out = stage == STAGE_OUT;
    const struct norm_state *s = out ? &l->out : &l->attended;
    const struct norm norm = {.gain = values + (out ? w->output_gain : w->attention_gain),
                              .hat = s->hat,
                              .inverse = s->inverse};
    size_t t = n->batch.tokens, h = n->config.hidden;
    size_t site = layer_site(layer, out ? SITE_OUT : SITE_ATTENDED);

    kernel_norm_back(&norm, t, h, n->d, gradients + (out ? w->output_gain : w->attention_gain),
                     gradients + (out ? w->output_bias : w->attention_bias));
    outside_back(n, layer, stage, n->d);
    kernel_dropout(network_drop(n, n->drop.hidden, site), n->d, t * h, n->sum);
    kernel_bias_back(n->sum, t, h, gradients + (out ? w->output_b : w->attention_b));
}

static bool feed_forward_back(struct network *n, const real *values, size_t i, real *gradients)
{
    const struct layer_state *l = &n->layers[i];
    const struct layer_places *w = &n->places.layers[i];
    size_t t = n->batch.tokens, h = n->config.hidden, f = n->config.intermediate;

    norm_back(n, values, i, STAGE_OUT, gradients);
    if (!linear_back(n, n->sum, l->ffn_out, t, f, values + w->output_w, h, gradients + w->output_w,
                     0, n->wide))
        return false;
    outside_back(n, i, STAGE_ACTIVATED, n->wide);
    kernel_activation_back(n->config.functions[i].hidden, l->ffn_in, t * f, n->wide);
    outside_back(n, i, STAGE_INNER, n->wide);
    kernel_bias_back(n->wide, t, f, gradients + w->intermediate_b);
    return linear_back(n, n->wide, l->attended.y, t, h, values + w->intermediate_w, f,
                       gradients + w->intermediate_w, 1, n->d);
}

static bool attention_back(struct network *n, const real *values, size_t i, const real *d_scores,
                           real *gradients)
{
    const struct layer_state *l = &n->layers[i];
    const struct layer_places *w = &n->places.layers[i];
    size_t t = n->batch.tokens, h = n->config.hidden;
    real *d_context = n->wide;

    norm_back(n, values, i, STAGE_ATTENDED, gradients);
    if (!linear_back(n, n->sum, l->context, t, h, values + w->attention_w, h,
                     gradients + w->attention_w, 0, d_context))
        return false;
    outside_back(n, i, STAGE_CONTEXT, d_context);
    memcpy(n->sum, d_context, t * h * sizeof(*n->sum));
    if (!attention_backward(n, i, d_scores))
        return false;
    outside_back(n, i, STAGE_QKV, n->wide);
    kernel_bias_back(n->wide, t, 3 * h, gradients + w->qkv_b);
    return linear_back(n, n->wide, network_hidden(n, i), t, h, values + w->qkv_w, 3 * h,
                       gradients + w->qkv_w, 1, n->d);
}

/* n->d, by the sums of embeddings, to the rows of the three: a thread has columns of its own, and
 * adds its tokens in order. */
static void scatter(struct network *n, real *gradients)
{
    const struct batch *b = &n->batch;
    size_t h = n->config.hidden;

#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < h; first += COLUMN_BLOCK) {
        size_t end = MIN(first + COLUMN_BLOCK, h);

        for (size_t s = 0; s < b->sequences; s++)
            for (size_t t = b->starts[s]; t < b->starts[s + 1]; t++) {
                real *word = gradients + n->places.word + b->ids[t] * h;
                real *position = gradients + n->places.position + (t - b->starts[s]) * h;
                const real *d = n->d + t * h;

                for (size_t i = first; i < end; i++) {
                    word[i] += d[i];
                    position[i] += d[i];
                }
                for (size_t i = first; n->config.types && i < end; i++)
                    gradients[n->places.type + b->types[t] * h + i] += d[i];
            }
    }
}

static void embed_back(struct network *n, const real *values, real *gradients)
{
    const struct norm norm = {
        .gain = values + n->places.gain, .hat = n->embedded.hat, .inverse = n->embedded.inverse};
    size_t t = n->batch.tokens, h = n->config.hidden;

    kernel_dropout(network_drop(n, n->drop.hidden, SITE_EMBEDDING), n->d, t * h, n->d);
    kernel_norm_back(&norm, t, h, n->d, gradients + n->places.gain, gradients + n->places.bias);
    scatter(n, gradients);
}

static void tell(const struct network *n, const struct network_gradient *from, size_t number)
{
    const struct network_part part = network_part(n, number);

    if (from->done)
        from->done(from->ctx, &part);
}

int network_backward(struct network *n, const real *values, const struct network_gradient *from,
                     real *gradients, struct err *err)
{
    size_t count = n->batch.tokens * n->config.hidden;
    bool ok = true;

    n->range = from->range;
    memset(n->d, 0, count * sizeof(*n->d));
    if (from->logits)
        ok = classify_back(n, values, from->logits, gradients);
    if (ok)
        tell(n, from, n->config.layers + 1);
    for (size_t i = n->config.layers; ok && i-- > 0;) {
        if (from->hidden[i + 1])
            kernel_add(n->d, from->hidden[i + 1], count);
        ok = feed_forward_back(n, values, i, gradients);
        if (from->done)
            from->done(from->ctx, NULL);
        ok = ok && attention_back(n, values, i, from->scores[i], gradients);
        if (ok)
            tell(n, from, i + 1);
    }
    if (!ok)
        return err_set(err, -ENOMEM, "oneDNN has no memory for a product");
    if (from->hidden[0])
        kernel_add(n->d, from->hidden[0], count);
    embed_back(n, values, gradients);
    tell(n, from, 0);
    return 0;
}
