/* What of a network is outside of a range, and the gradient that brings it back. */
#include "distill/network_internal.h"

struct held {
    const real *at;    /* (count), or */
    struct norm norm;  /* rows of (hidden), less their means */
    size_t count, all; /* here, and in the whole batch */
};

static struct held of_norm(const struct network *n, const struct norm_state *s)
{
    return (struct held){.norm = {.hat = s->hat, .inverse = s->inverse},
                         .count = n->batch.tokens * n->config.hidden,
                         .all = n->whole.tokens * n->config.hidden};
}

static struct held of_tokens(const struct network *n, const real *at, size_t columns)
{
    return (struct held){
        .at = at, .count = n->batch.tokens * columns, .all = n->whole.tokens * columns};
}

static struct held held_by(const struct network *n, size_t layer, enum network_stage stage)
{
    const struct layer_state *l = &n->layers[layer];

    switch (stage) {
    case STAGE_QKV:
        return of_tokens(n, l->qkv, 3 * n->config.hidden);
    case STAGE_SCORES:
        return (struct held){
            .at = l->scores, .count = n->score_count, .all = n->whole.squares * n->config.heads};
    case STAGE_CONTEXT:
        return of_tokens(n, l->context, n->config.hidden);
    case STAGE_ATTENDED:
        return of_norm(n, &l->attended);
    case STAGE_INNER:
        return of_tokens(n, l->ffn_in, n->config.intermediate);
    case STAGE_ACTIVATED:
        return of_tokens(n, l->ffn_out, n->config.intermediate);
    case STAGE_OUT:
    case STAGES:
        break;
    }
    return of_norm(n, &l->out);
}

static double outside(const struct network *n, size_t layer, enum network_stage stage,
                      const struct network_range *range, real *d)
{
    const struct held h = held_by(n, layer, stage);
    real limit = (real)range->limit, scale = (real)(2 * range->weight / (double)h.all);
    size_t columns = n->config.hidden;
    double sum = h.at ? kernel_excess(h.at, h.count, limit, scale, d)
                      : kernel_norm_excess(&h.norm, h.count / columns, columns, limit, scale, d);

    return range->weight * sum / (double)h.all;
}

void outside_back(const struct network *n, size_t layer, enum network_stage stage, real *d)
{
    if (n->range.weight > 0)
        outside(n, layer, stage, &n->range, d);
}

void outside_scores_back(const struct network *n, const real *s, size_t count, real *ds)
{
    double all = (double)(n->whole.squares * n->config.heads);

    if (n->range.weight > 0)
        kernel_excess(s, count, (real)n->range.limit, (real)(2 * n->range.weight / all), ds);
}

double network_outside(const struct network *n, const struct network_range *range)
{
    double sum = 0;

    for (size_t i = 0; range->weight > 0 && i < n->config.layers; i++)
        for (unsigned int s = 0; s < STAGES; s++)
            sum += outside(n, i, (enum network_stage)s, range, NULL);
    return sum;
}
