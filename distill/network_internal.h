/* What the files of the network share. */
#ifndef DISTILL_NETWORK_INTERNAL_H
#define DISTILL_NETWORK_INTERNAL_H

#include "distill/network.h"

/* Where the parameters of a layer lie, from the start of the values. */
struct layer_places {
    size_t qkv_w, qkv_b; /* (3 hidden, hidden), (3 hidden): query, key, value */
    size_t attention_w, attention_b, attention_gain, attention_bias;
    size_t intermediate_w, intermediate_b;
    size_t output_w, output_b, output_gain, output_bias;
};

struct places {
    size_t word, position, type, gain, bias;
    size_t pooler_w, pooler_b, classifier_w, classifier_b;
    struct layer_places *layers; /* (layers) */
};

/* What the backward pass wants of a LayerNorm. */
struct norm_state {
    real *hat;     /* (token, hidden) */
    real *inverse; /* (token) */
    real *y;       /* (token, hidden) */
};

struct layer_state {
    real *qkv;           /* (token, 3 hidden) */
    real *scores;        /* (sequence: head, t, t) */
    real *probabilities; /* the same, before dropout */
    real *context;       /* (token, hidden) */
    struct norm_state attended, out;
    real *ffn_in, *ffn_out; /* (token, intermediate) */
};

struct network {
    struct model_config config; /* without label names */
    struct narrow *narrow;      /* of products with weights; NULL: f32 */
    struct places places;
    struct network_dropout drop; /* of the forward pass that is kept */
    size_t head;                 /* columns of a head */
    size_t count;                /* parameters */

    struct batch batch;
    struct extent whole;
    struct network_range range; /* of the backward pass */
    size_t length_max, score_count;
    size_t *score_starts; /* (sequences + 1): where a sequence's scores begin */

    struct norm_state embedded; /* y: after dropout */
    struct layer_state *layers; /* (layers) */
    real *first;                /* (sequence, hidden): the first tokens */
    real *pooled, *pooled_out;  /* (sequence, hidden): before and after tanh and dropout */
    real *logits;               /* (sequence, label) */

    real *wide;    /* (token, max(3 hidden, intermediate)): scratch */
    real *d, *sum; /* (token, hidden): scratch; d is the gradient on its way back */
    real *scratch; /* (thread, 2, length_max, length_max) */
    real *block;   /* all of the above */
    size_t block_bytes, starts_room;
};

/* Sites of dropout: a number for each place. */
enum { SITE_EMBEDDING, SITE_POOLED, SITE_LAYERS };
enum { SITE_PROBABILITIES, SITE_ATTENDED, SITE_OUT, SITES_A_LAYER };

/* Of all elements of the site in the whole batch, how many are before those of this part. */
static inline size_t elements_before(const struct network *n, size_t site)
{
    const struct extent *b = &n->batch.before;

    if (site == SITE_POOLED)
        return b->sequences * n->config.hidden;
    if (site >= SITE_LAYERS && (site - SITE_LAYERS) % SITES_A_LAYER == SITE_PROBABILITIES)
        return b->squares * n->config.heads;
    return b->tokens * n->config.hidden;
}

static inline struct dropout network_drop(const struct network *n, double p, size_t site)
{
    struct dropout d = dropout_none();

    if (p > 0) {
        d = dropout_at(p, n->drop.seed, n->drop.step, (uint32_t)site);
        d.first = (uint32_t)elements_before(n, site);
    }
    return d;
}

static inline size_t layer_site(size_t layer, size_t site)
{
    return SITE_LAYERS + layer * SITES_A_LAYER + site;
}

/* y (rows, out) = x (rows, in) W^T, W (out, in). */
MUST_CHECK bool linear(const struct network *n, const real *x, size_t rows, size_t in,
                       const real *w, size_t out, real *y);

/* C = A B + beta C without gaps, in the network's precision. */
MUST_CHECK bool network_product(const struct network *n, size_t rows, size_t columns, size_t inner,
                                struct matrix a, struct matrix b, real beta, real *c);

/* dW += dy^T x; and dx = dy W + beta dx. */
MUST_CHECK bool linear_back(const struct network *n, const real *dy, const real *x, size_t rows,
                            size_t in, const real *w, size_t out, real *d_w, real beta, real *dx);

/* Scores, probabilities and context of @layer, from its qkv. */
MUST_CHECK bool attention_forward(struct network *n, size_t layer);

/* Add to @d, the gradient by what @stage holds, that of the penalty on it. */
void outside_back(const struct network *n, size_t layer, enum network_stage stage, real *d);

/* The same of @count of a layer's scores, @s. On any thread. */
void outside_scores_back(const struct network *n, const real *s, size_t count, real *ds);

/* Gradient by qkv, into n->wide, from that by the context, n->sum, and by the scores (or NULL). */
MUST_CHECK bool attention_backward(struct network *n, size_t layer, const real *d_scores);

#endif
