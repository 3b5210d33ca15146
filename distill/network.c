#include "distill/network.h"

#include "base/secret.h"
#include "distill/network_internal.h"
#include "distill/product.h"
#include "distill/threads.h"

#include <stdlib.h>
#include <string.h>

static void find_layer(const struct checkpoint *c, const struct layer_weights *w,
                       struct layer_places *ret)
{
    const float *v = c->values;

    *ret = (struct layer_places){
        .qkv_w = (size_t)(w->query_w - v),
        .qkv_b = (size_t)(w->query_b - v),
        .attention_w = (size_t)(w->attention_w - v),
        .attention_b = (size_t)(w->attention_b - v),
        .attention_gain = (size_t)(w->attention_gain - v),
        .attention_bias = (size_t)(w->attention_bias - v),
        .intermediate_w = (size_t)(w->intermediate_w - v),
        .intermediate_b = (size_t)(w->intermediate_b - v),
        .output_w = (size_t)(w->output_w - v),
        .output_b = (size_t)(w->output_b - v),
        .output_gain = (size_t)(w->output_gain - v),
        .output_bias = (size_t)(w->output_bias - v),
    };
}

static void find_places(const struct checkpoint *c, struct places *p)
{
    const float *v = c->values;

    p->word = (size_t)(c->word_embeddings - v);
    p->position = (size_t)(c->position_embeddings - v);
    p->type = c->config.types ? (size_t)(c->type_embeddings - v) : 0;
    p->gain = (size_t)(c->embedding_gain - v);
    p->bias = (size_t)(c->embedding_bias - v);
    p->pooler_w = (size_t)(c->pooler_w - v);
    p->pooler_b = (size_t)(c->pooler_b - v);
    p->classifier_w = (size_t)(c->classifier_w - v);
    p->classifier_b = (size_t)(c->classifier_b - v);
    for (size_t i = 0; i < c->config.layers; i++)
        find_layer(c, &c->layers[i], &p->layers[i]);
}

int network_new(const struct checkpoint *c, struct network **ret, struct err *err)
{
    struct network *n;

    n = calloc(1, sizeof(*n));
    if (!n)
        return err_set(err, -ENOMEM, "no memory for a network");
    n->config = c->config;
    n->config.label_names = NULL;
    n->head = c->config.hidden / c->config.heads;
    n->count = c->bytes / sizeof(*c->values);
    n->layers = calloc(c->config.layers, sizeof(*n->layers));
    n->places.layers = calloc(c->config.layers, sizeof(*n->places.layers));
    if (!n->layers || !n->places.layers) {
        network_free(n);
        return err_set(err, -ENOMEM, "no memory for a network");
    }
    find_places(c, &n->places);
    *ret = n;
    return 0;
}

void network_free(struct network *n)
{
    if (!n)
        return;
    secret_free(n->block, n->block_bytes);
    narrow_free(n->narrow);
    free(n->score_starts);
    free(n->layers);
    free(n->places.layers);
    free(n);
}

size_t network_parts(const struct network *n)
{
    return n->config.layers + 2;
}

/* The values of a checkpoint have the embeddings first, then the head, then the layers. */
struct network_part network_part(const struct network *n, size_t number)
{
    size_t layers = n->config.layers, first = 0, end = n->places.pooler_w;

    if (number > layers) {
        first = n->places.pooler_w;
        end = n->places.layers[0].qkv_w;
    } else if (number) {
        first = n->places.layers[number - 1].qkv_w;
        end = number < layers ? n->places.layers[number].qkv_w : n->count;
    }
    return (struct network_part){.number = number, .first = first, .count = end - first};
}

static struct extent whole_of(const struct batch *batch)
{
    struct extent e = {.sequences = batch->sequences, .tokens = batch->tokens};

    if (batch->whole.sequences)
        return batch->whole;
    for (size_t s = 0; s < batch->sequences; s++) {
        size_t length = batch->starts[s + 1] - batch->starts[s];

        e.squares += length * length;
        e.longest = MAX(e.longest, length);
    }
    return e;
}

size_t network_rows_max(const struct network *n, const struct batch *batch)
{
    const size_t norm = 2; /* gain, bias */

    return batch->word_count + n->config.positions_max + n->config.types + norm;
}

static size_t add_rows(const struct network *n, size_t at, size_t end, uint32_t *ret)
{
    size_t first = at / n->config.hidden, count = end / n->config.hidden - first;

    for (size_t i = 0; i < count; i++)
        ret[i] = (uint32_t)(first + i);
    return count;
}

size_t network_rows(const struct network *n, const struct batch *batch, uint32_t *ret)
{
    const struct places *p = &n->places;
    size_t h = n->config.hidden, count = batch->word_count;

    for (size_t i = 0; i < batch->word_count; i++)
        ret[i] = (uint32_t)(p->word / h) + batch->words[i];
    count += add_rows(n, p->position, p->position + whole_of(batch).longest * h, ret + count);
    count += add_rows(n, n->config.types ? p->type : p->gain, p->pooler_w, ret + count);
    return count;
}

/* --- room for a batch --- */

/* A running place in the block; NULL @block only counts. */
struct placing {
    real *block;
    size_t used;
};

static void place(struct placing *p, real **to, size_t count)
{
    enum { LINE = 64 / sizeof(real) };

    *to = p->block ? p->block + p->used : NULL;
    p->used += (count + LINE - 1) / LINE * LINE;
}

static void place_norm(struct placing *p, struct norm_state *s, size_t tokens, size_t hidden)
{
    place(p, &s->hat, tokens * hidden);
    place(p, &s->inverse, tokens);
    place(p, &s->y, tokens * hidden);
}

static size_t place_all(struct network *n, real *block)
{
    const struct model_config *k = &n->config;
    size_t t = narrow_room(n->batch.tokens), s = narrow_room(n->batch.sequences);
    size_t h = t * k->hidden, pooled = s * k->hidden;
    struct placing p = {.block = block};

    place_norm(&p, &n->embedded, t, k->hidden);
    for (size_t i = 0; i < k->layers; i++) {
        struct layer_state *l = &n->layers[i];

        place(&p, &l->qkv, 3 * h);
        place(&p, &l->scores, n->score_count);
        place(&p, &l->probabilities, n->score_count);
        place(&p, &l->context, h);
        place_norm(&p, &l->attended, t, k->hidden);
        place(&p, &l->ffn_in, t * k->intermediate);
        place(&p, &l->ffn_out, t * k->intermediate);
        place_norm(&p, &l->out, t, k->hidden);
    }
    place(&p, &n->first, pooled);
    place(&p, &n->pooled, pooled);
    place(&p, &n->pooled_out, pooled);
    place(&p, &n->logits, s * k->labels);
    place(&p, &n->wide, t * MAX(3 * k->hidden, k->intermediate));
    place(&p, &n->d, h);
    place(&p, &n->sum, h);
    place(&p, &n->scratch, threads_max() * 2 * n->length_max * n->length_max);
    return p.used;
}

static int take_batch(struct network *n, const struct batch *batch, struct err *err)
{
    size_t bytes;

    n->batch = *batch;
    if (batch->sequences + 1 > n->starts_room) {
        free(n->score_starts);
        n->starts_room = 0;
        n->score_starts = calloc(batch->sequences + 1, sizeof(*n->score_starts));
        if (!n->score_starts)
            return err_set(err, -ENOMEM, "no memory for a batch");
        n->starts_room = batch->sequences + 1;
    }
    n->length_max = n->score_count = 0;
    n->whole = whole_of(batch);
    for (size_t s = 0; s < batch->sequences; s++) {
        size_t length = batch->starts[s + 1] - batch->starts[s];

        n->length_max = MAX(n->length_max, length);
        n->score_starts[s] = n->score_count;
        n->score_count += n->config.heads * length * length;
    }
    bytes = place_all(n, NULL) * sizeof(real);
    if (bytes > n->block_bytes) {
        secret_free(n->block, n->block_bytes);
        n->block_bytes = 0;
        n->block = secret_alloc(bytes);
        if (!n->block)
            return err_set(err, -ENOMEM,
                           "no memory for the %zu MB that a batch of %zu sequences takes: choose a "
                           "smaller --batch",
                           bytes >> 20, batch->sequences);
        n->block_bytes = bytes;
    }
    place_all(n, n->block);
    return 0;
}

/* --- forward --- */

int network_set_precision(struct network *n, enum precision precision, struct err *err)
{
    narrow_free(n->narrow);
    n->narrow = NULL;
    return precision == PRECISION_BF16 ? narrow_new(&n->narrow, err) : 0;
}

/* C = A B + beta C without gaps, A (rows, inner), in the network's precision. */
bool network_product(const struct network *n, size_t rows, size_t columns, size_t inner,
                     struct matrix a, struct matrix b, real beta, real *c)
{
    return n->narrow ? narrow_product(n->narrow, rows, columns, inner, a, b, beta, c)
                     : product(rows, columns, inner, 1, a, b, beta, c, columns);
}

bool linear(const struct network *n, const real *x, size_t rows, size_t in, const real *w,
            size_t out, real *y)
{
    return network_product(n, rows, out, in, (struct matrix){x, in, false},
                           (struct matrix){w, in, true}, 0, y);
}

static struct norm norm_of(const struct network *n, const struct norm_state *s, const real *gain,
                           const real *bias)
{
    return (struct norm){.gain = gain,
                         .bias = bias,
                         .eps = (real)n->config.layer_norm_eps,
                         .hat = s->hat,
                         .inverse = s->inverse};
}

/* The sums of three embeddings, into n->sum. */
static void gather(struct network *n, const real *values)
{
    const struct batch *b = &n->batch;
    size_t h = n->config.hidden;

#pragma omp parallel for schedule(static)
    for (size_t s = 0; s < b->sequences; s++)
        for (size_t t = b->starts[s]; t < b->starts[s + 1]; t++) {
            const real *word = values + n->places.word + b->ids[t] * h;
            const real *position = values + n->places.position + (t - b->starts[s]) * h;
            real *restrict to = n->sum + t * h;

            for (size_t i = 0; i < h; i++)
                to[i] = word[i] + position[i];
            if (n->config.types)
                for (size_t i = 0; i < h; i++)
                    to[i] += values[n->places.type + b->types[t] * h + i];
        }
}

static void embed(struct network *n, const real *values)
{
    size_t h = n->config.hidden, count = n->batch.tokens * h;
    const struct norm norm =
        norm_of(n, &n->embedded, values + n->places.gain, values + n->places.bias);
    struct dropout drop = network_drop(n, n->drop.hidden, SITE_EMBEDDING);

    gather(n, values);
    kernel_norm(&norm, n->sum, NULL, NULL, dropout_none(), n->batch.tokens, h, n->embedded.y);
    kernel_dropout(drop, n->embedded.y, count, n->embedded.y);
}

static bool layer_forward(struct network *n, const real *values, size_t i)
{
    struct layer_state *l = &n->layers[i];
    const struct layer_places *w = &n->places.layers[i];
    const real *x = network_hidden(n, i);
    size_t t = n->batch.tokens, h = n->config.hidden, f = n->config.intermediate;
    const struct norm attended =
        norm_of(n, &l->attended, values + w->attention_gain, values + w->attention_bias);
    const struct norm out = norm_of(n, &l->out, values + w->output_gain, values + w->output_bias);

    if (!linear(n, x, t, h, values + w->qkv_w, 3 * h, l->qkv))
        return false;
    kernel_add_bias(l->qkv, values + w->qkv_b, t, 3 * h);
    if (!attention_forward(n, i) ||
        !linear(n, l->context, t, h, values + w->attention_w, h, n->sum))
        return false;
    kernel_norm(&attended, n->sum, values + w->attention_b, x,
                network_drop(n, n->drop.hidden, layer_site(i, SITE_ATTENDED)), t, h, l->attended.y);
    if (!linear(n, l->attended.y, t, h, values + w->intermediate_w, f, l->ffn_in))
        return false;
    kernel_activation(n->config.functions[i].hidden, l->ffn_in, values + w->intermediate_b, t, f,
                      l->ffn_out);
    if (!linear(n, l->ffn_out, t, f, values + w->output_w, h, n->sum))
        return false;
    kernel_norm(&out, n->sum, values + w->output_b, l->attended.y,
                network_drop(n, n->drop.hidden, layer_site(i, SITE_OUT)), t, h, l->out.y);
    return true;
}

static bool classify(struct network *n, const real *values)
{
    const struct model_config *k = &n->config;
    size_t s = n->batch.sequences, h = k->hidden;
    const real *x = network_hidden(n, k->layers);

    for (size_t i = 0; i < s; i++)
        memcpy(n->first + i * h, x + n->batch.starts[i] * h, h * sizeof(*x));
    if (!linear(n, n->first, s, h, values + n->places.pooler_w, h, n->pooled))
        return false;
    kernel_activation(model_head_act(k->kind), n->pooled, values + n->places.pooler_b, s, h,
                      n->pooled_out);
    kernel_dropout(network_drop(n, n->drop.hidden, SITE_POOLED), n->pooled_out, s * h,
                   n->pooled_out);
    if (!linear(n, n->pooled_out, s, h, values + n->places.classifier_w, k->labels, n->logits))
        return false;
    kernel_add_bias(n->logits, values + n->places.classifier_b, s, k->labels);
    return true;
}

int network_forward(struct network *n, const real *values, const struct batch *batch,
                    const struct network_dropout *drop, struct err *err)
{
    int rc = take_batch(n, batch, err);
    bool ok = true;

    if (rc < 0)
        return rc;
    n->drop = drop ? *drop : (struct network_dropout){.hidden = 0};
    embed(n, values);
    for (size_t i = 0; ok && i < n->config.layers; i++)
        ok = layer_forward(n, values, i);
    if (!ok || !classify(n, values))
        return err_set(err, -ENOMEM, "oneDNN has no memory for a product");
    return 0;
}

struct extent network_whole(const struct network *n)
{
    return n->whole;
}

const real *network_logits(const struct network *n)
{
    return n->logits;
}

const real *network_hidden(const struct network *n, size_t layer)
{
    return layer ? n->layers[layer - 1].out.y : n->embedded.y;
}

const real *network_scores(const struct network *n, size_t layer)
{
    return n->layers[layer].scores;
}

size_t network_score_count(const struct network *n)
{
    return n->score_count;
}
