/* Attention within each sequence: a head of a sequence is the unit of work of a thread. */
#include "distill/network_internal.h"
#include "distill/product.h"
#include "distill/threads.h"

#include <math.h>

/* One head of one sequence. */
struct head {
    size_t n;              /* tokens */
    size_t stride;         /* of q, k, v: 3 hidden */
    const real *q, *k, *v; /* (n, head), columns of qkv */
    size_t at;             /* column of the head in the context; its first row's place */
    size_t scores;         /* where its (n, n) scores begin */
    struct dropout drop;
    real *scratch[2]; /* (n, n) */
};

static struct head head_at(const struct network *n, size_t layer, size_t unit)
{
    const struct model_config *k = &n->config;
    size_t sequence = unit / k->heads, number = unit % k->heads;
    size_t start = n->batch.starts[sequence], length = n->batch.starts[sequence + 1] - start;
    const real *q = n->layers[layer].qkv + start * 3 * k->hidden + number * n->head;
    size_t square = n->length_max * n->length_max;
    struct head h = {
        .n = length,
        .stride = 3 * k->hidden,
        .q = q,
        .k = q + k->hidden,
        .v = q + 2 * k->hidden,
        .at = start * k->hidden + number * n->head,
        .scores = n->score_starts[sequence] + number * length * length,
        .drop = network_drop(n, n->drop.attention, layer_site(layer, SITE_PROBABILITIES)),
    };

    h.drop.first += (uint32_t)h.scores;
    h.scratch[0] = n->scratch + threads_own() * 2 * square;
    h.scratch[1] = h.scratch[0] + square;
    return h;
}

/* The probabilities as dropout leaves them, in scratch 0; or as they are. */
static const real *dropped(const struct head *h, const real *p)
{
    if (!h->drop.threshold)
        return p;
    kernel_dropout(h->drop, p, h->n * h->n, h->scratch[0]);
    return h->scratch[0];
}

static bool head_forward(struct network *n, size_t layer, const struct head *h)
{
    struct layer_state *l = &n->layers[layer];
    real scale = (real)(1 / sqrt((double)n->head));
    real *s = l->scores + h->scores, *p = l->probabilities + h->scores;

    if (!product(h->n, h->n, n->head, scale, (struct matrix){h->q, h->stride, false},
                 (struct matrix){h->k, h->stride, true}, 0, s, h->n))
        return false;
    kernel_normalise(n->config.functions[layer].softmax, s, h->n, h->n, p);
    return product(h->n, n->head, h->n, 1, (struct matrix){dropped(h, p), h->n, false},
                   (struct matrix){h->v, h->stride, false}, 0, l->context + h->at,
                   n->config.hidden);
}

static bool head_backward(struct network *n, size_t layer, const struct head *h,
                          const real *d_scores)
{
    const struct layer_state *l = &n->layers[layer];
    const real *s = l->scores + h->scores, *p = l->probabilities + h->scores;
    const struct matrix d_context = {n->sum + h->at, n->config.hidden, false};
    real *ds = h->scratch[1], *d_q = n->wide + (h->q - l->qkv), *d_k = d_q + n->config.hidden;
    real scale = (real)(1 / sqrt((double)n->head));

    if (!product(h->n, h->n, n->head, 1, d_context, (struct matrix){h->v, h->stride, true}, 0, ds,
                 h->n) ||
        !product(h->n, n->head, h->n, 1, (struct matrix){dropped(h, p), h->n, true}, d_context, 0,
                 d_k + n->config.hidden, h->stride))
        return false;
    kernel_dropout(h->drop, ds, h->n * h->n, ds);
    kernel_normalise_back(n->config.functions[layer].softmax, s, p, h->n, h->n, ds);
    if (d_scores)
        kernel_add(ds, d_scores + h->scores, h->n * h->n);
    outside_scores_back(n, s, h->n * h->n, ds);
    return product(h->n, n->head, h->n, scale, (struct matrix){ds, h->n, false},
                   (struct matrix){h->k, h->stride, false}, 0, d_q, h->stride) &&
           product(h->n, n->head, h->n, scale, (struct matrix){ds, h->n, true},
                   (struct matrix){h->q, h->stride, false}, 0, d_k, h->stride);
}

bool attention_forward(struct network *n, size_t layer)
{
    size_t units = n->batch.sequences * n->config.heads;
    bool ok = true;

#pragma omp parallel for schedule(dynamic) reduction(&& : ok)
    for (size_t unit = 0; unit < units; unit++) {
        const struct head h = head_at(n, layer, unit);

        ok = head_forward(n, layer, &h) && ok;
    }
    return ok;
}

bool attention_backward(struct network *n, size_t layer, const real *d_scores)
{
    size_t units = n->batch.sequences * n->config.heads;
    bool ok = true;

#pragma omp parallel for schedule(dynamic) reduction(&& : ok)
    for (size_t unit = 0; unit < units; unit++) {
        const struct head h = head_at(n, layer, unit);

        ok = head_backward(n, layer, &h, d_scores) && ok;
    }
    return ok;
}
