#include "distill/trainer.h"

#include "base/secret.h"
#include "distill/loss.h"
#include "distill/ranks.h"
#include "distill/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct trainer_group {
    size_t at, count;
    bool decays;
};

/* The teacher draws other dropout than the student. */
#define TEACHER_SEED 0x7465616368657200

struct trainer_settings trainer_defaults(void)
{
    return (struct trainer_settings){.decay = 0.01,
                                     .beta1 = 0.9,
                                     .beta2 = 0.999,
                                     .eps = 1e-6,
                                     .clip = 1,
                                     .dropout = 0.1,
                                     .seed = 1};
}

/* Tensors come in the order of the values, so groups grow at their end. */
static int group_tensor(void *ctx, const struct checkpoint_tensor *tensor, struct err *err)
{
    struct trainer *t = ctx;
    bool decays = tensor->rank > 1; /* not biases and LayerNorms */
    struct trainer_group *last = t->group_count ? &t->groups[t->group_count - 1] : NULL;
    struct trainer_group *more;

    if (last && last->decays == decays) {
        last->count += tensor->count;
        return 0;
    }
    more = realloc(t->groups, (t->group_count + 1) * sizeof(*more));
    if (!more)
        return err_set(err, -ENOMEM, "no memory for training");
    t->groups = more;
    more[t->group_count++] =
        (struct trainer_group){.at = (size_t)(tensor->values - t->model->values),
                               .count = tensor->count,
                               .decays = decays};
    return 0;
}

static int name_parts(struct trainer *t, struct err *err)
{
    size_t parts = network_parts(t->net);

    t->part_names = calloc(parts, sizeof(*t->part_names));
    if (!t->part_names)
        return err_set(err, -ENOMEM, "no memory for training");
    for (size_t i = 1; i + 1 < parts; i++)
        snprintf(t->part_names[i], sizeof(*t->part_names), "layer %zu", i - 1);
    strcpy(t->part_names[0], "embeddings");
    strcpy(t->part_names[parts - 1], "head");
    return 0;
}

int trainer_new(struct checkpoint *model, const struct trainer_settings *settings,
                struct trainer **ret, struct err *err)
{
    struct trainer *t = calloc(1, sizeof(*t));
    int rc;

    if (!t)
        return err_set(err, -ENOMEM, "no memory for training");
    t->model = model;
    t->settings = *settings;
    t->count = model->bytes / sizeof(float);
    rc = network_new(model, &t->net, err);
    if (rc == 0)
        rc = network_set_precision(t->net, settings->precision, err);
    if (rc == 0)
        rc = name_parts(t, err);
    if (rc == 0)
        rc = checkpoint_each(model, group_tensor, t, err);
    t->gradients = secret_alloc(model->bytes);
    t->m = secret_alloc(model->bytes);
    t->v = secret_alloc(model->bytes);
    if (rc == 0 && (!t->gradients || !t->m || !t->v))
        rc = err_set(err, -ENOMEM, "no memory for gradients and moments: three times %zu MB",
                     model->bytes >> 20);
    if (rc < 0)
        trainer_free(t);
    else
        *ret = t;
    return rc;
}

static void rows_free(struct trainer *t)
{
    secret_free(t->rows, t->row_room * sizeof(*t->rows));
    secret_free(t->packed, t->row_room * t->model->config.hidden * sizeof(*t->packed));
    t->rows = NULL;
    t->packed = NULL;
    t->row_room = t->row_count = 0;
}

void trainer_free(struct trainer *t)
{
    if (!t)
        return;
    network_free(t->net);
    secret_free(t->gradients, t->model->bytes);
    secret_free(t->m, t->model->bytes);
    secret_free(t->v, t->model->bytes);
    secret_free(t->outside, t->outside_room * sizeof(float));
    rows_free(t);
    free(t->part_names);
    free(t->groups);
    free(t);
}

void trainer_reset(struct trainer *t)
{
    memset(t->m, 0, t->model->bytes);
    memset(t->v, 0, t->model->bytes);
    t->steps = 0;
}

/* --- losses --- */

static int outside_reserve(struct trainer *t, size_t count, struct err *err)
{
    if (count <= t->outside_room)
        return 0;
    secret_free(t->outside, t->outside_room * sizeof(float));
    t->outside_room = 0;
    t->outside = secret_alloc(count * sizeof(float));
    if (!t->outside)
        return err_set(err, -ENOMEM, "no memory for the gradients of a batch");
    t->outside_room = count;
    return 0;
}

/* Layer i of n is held against the last of the teacher's i-th share of layers, and its output
 * against that share's; as in MPCFormer's code. */
static int hidden_loss(struct trainer *t, const struct objective *o, const struct batch *batch,
                       struct network_gradient *from, double *ret, struct err *err)
{
    size_t layers = t->model->config.layers, hidden = batch->tokens * t->model->config.hidden;
    size_t share = o->teacher->config.layers / layers, scores = network_score_count(t->net);
    const struct extent whole = network_whole(t->net);
    int rc = outside_reserve(t, (layers + 1) * hidden + layers * scores, err);
    float *at = t->outside;

    if (rc < 0)
        return rc;
    *ret = 0;
    for (size_t i = 0; i <= layers; i++, at += hidden) {
        *ret += loss_square(network_hidden(t->net, i), network_hidden(o->teacher_net, i * share),
                            hidden, whole.tokens * t->model->config.hidden, at);
        from->hidden[i] = at;
    }
    for (size_t i = 0; i < layers; i++, at += scores) {
        *ret += loss_square(network_scores(t->net, i),
                            network_scores(o->teacher_net, (i + 1) * share - 1), scores,
                            whole.squares * t->model->config.heads, at);
        from->scores[i] = at;
    }
    return 0;
}

static int find_loss(struct trainer *t, const struct objective *o, const struct batch *batch,
                     const double *labels, struct network_gradient *from, double *ret,
                     struct err *err)
{
    size_t count = t->model->config.labels, n = network_whole(t->net).sequences;
    const float *logits = network_logits(t->net);
    int rc;

    if (o->kind == OBJECTIVE_HIDDEN)
        return hidden_loss(t, o, batch, from, ret, err);
    rc = outside_reserve(t, batch->sequences * count, err);
    if (rc < 0)
        return rc;
    from->logits = t->outside;
    if (count == 1)
        *ret = loss_scores(logits, labels, batch->sequences, n, t->outside);
    else if (o->kind == OBJECTIVE_LOGITS)
        *ret = loss_teacher(logits, network_logits(o->teacher_net), batch->sequences, count, n,
                            t->outside);
    else
        *ret = loss_labels(logits, labels, batch->sequences, count, n, t->outside);
    return 0;
}

static int forward(struct trainer *t, const struct objective *o, const struct batch *batch,
                   struct err *err)
{
    struct network_dropout drop = {.hidden = t->settings.dropout,
                                   .attention = t->settings.dropout,
                                   .seed = t->settings.seed,
                                   .step = t->steps};
    int rc = network_forward(t->net, t->model->values, batch, &drop, err);

    if (rc < 0 || o->kind == OBJECTIVE_LABELS)
        return rc;
    drop.hidden = drop.attention = o->teacher_dropout;
    drop.seed ^= TEACHER_SEED;
    return network_forward(o->teacher_net, o->teacher->values, batch, &drop, err);
}

static void update(struct trainer *t, double rate, double norm)
{
    const struct trainer_settings *s = &t->settings;
    double steps = (double)++t->steps;
    struct adamw a = {.rate = rate,
                      .beta1 = s->beta1,
                      .beta2 = s->beta2,
                      .eps = s->eps,
                      .correct1 = 1 - pow(s->beta1, steps),
                      .correct2 = 1 - pow(s->beta2, steps),
                      .scale = s->clip > 0 && norm > s->clip ? s->clip / norm : 1};

    for (size_t i = 0; i < t->group_count; i++) {
        const struct trainer_group *g = &t->groups[i];

        a.decay = g->decays ? s->decay : 0;
        kernel_adamw(&a, t->model->values + g->at, t->gradients + g->at, t->m + g->at, t->v + g->at,
                     g->count);
    }
}

/* --- gradients: most rows of the embeddings are those of words that a batch does not have --- */

/* Zeros, everywhere: what the last batch has not touched is zero. */
static void clear_gradients(struct trainer *t)
{
    size_t hidden = t->model->config.hidden, rest = network_part(t->net, 0).count;

    for (size_t i = 0; i < t->row_count; i++)
        memset(t->gradients + t->rows[i] * hidden, 0, hidden * sizeof(*t->gradients));
    memset(t->gradients + rest, 0, (t->count - rest) * sizeof(*t->gradients));
}

static int find_rows(struct trainer *t, const struct batch *batch, struct err *err)
{
    size_t most = network_rows_max(t->net, batch);

    if (most > t->row_room) {
        rows_free(t);
        t->rows = secret_alloc(most * sizeof(*t->rows));
        t->packed = secret_alloc(most * t->model->config.hidden * sizeof(*t->packed));
        t->row_room = most;
        if (!t->rows || !t->packed)
            return err_set(err, -ENOMEM, "no memory for the gradients of a batch");
    }
    t->row_count = network_rows(t->net, batch, t->rows);
    return 0;
}

static void pack_rows(struct trainer *t)
{
    size_t hidden = t->model->config.hidden;

    for (size_t i = 0; i < t->row_count; i++)
        memcpy(t->packed + i * hidden, t->gradients + t->rows[i] * hidden,
               hidden * sizeof(*t->packed));
}

static void unpack_rows(struct trainer *t)
{
    size_t hidden = t->model->config.hidden;

    for (size_t i = 0; i < t->row_count; i++)
        memcpy(t->gradients + t->rows[i] * hidden, t->packed + i * hidden,
               hidden * sizeof(*t->packed));
}

static double gradient_norm(const struct trainer *t)
{
    size_t rest = network_part(t->net, 0).count;

    return sqrt(kernel_square_sum(t->packed, t->row_count * t->model->config.hidden) +
                kernel_square_sum(t->gradients + rest, t->count - rest));
}

/* Of @ctx, a trainer: what is done is summed while the backward pass goes on. */
static void sum_part(void *ctx, const struct network_part *part)
{
    struct trainer *t = ctx;
    float *at;
    size_t count;
    const char *name;

    ranks_move();
    if (!part)
        return;
    name = t->part_names[part->number];
    trace_span(TRACE_COMPUTE, name, t->mark_ns, time_ns());
    at = t->gradients + part->first;
    count = part->count;
    if (part->number == 0) {
        pack_rows(t);
        at = t->packed;
        count = t->row_count * t->model->config.hidden;
    }
    if (t->sum_rc == 0)
        t->sum_rc = ranks_sum(name, at, count, NULL);
    t->mark_ns = time_ns();
}

/* A rank without rows has nothing to add, in the same order. */
static void sum_nothing(struct trainer *t)
{
    for (size_t i = network_parts(t->net); i-- > 0;) {
        const struct network_part part = network_part(t->net, i);

        sum_part(t, &part);
    }
}

/* Of this rank's part: gradients, loss and penalty; then of the whole. */
static int find_gradients(struct trainer *t, const struct batch *batch, const double *labels,
                          const struct objective *objective, double figures[2], struct err *err)
{
    struct network_gradient from = {.range = t->settings.range, .done = sum_part, .ctx = t};
    int rc;

    t->sum_rc = 0;
    clear_gradients(t);
    rc = find_rows(t, batch, err);
    if (rc < 0)
        return rc;
    if (batch->sequences) {
        rc = forward(t, objective, batch, err);
        if (rc == 0)
            rc = find_loss(t, objective, batch, labels, &from, &figures[0], err);
        if (rc < 0)
            return rc;
        figures[1] = network_outside(t->net, &from.range);
        t->mark_ns = time_ns();
        rc = network_backward(t->net, t->model->values, &from, t->gradients, err);
    } else {
        sum_nothing(t);
    }
    if (rc == 0 && t->sum_rc < 0)
        rc = err_set(err, t->sum_rc, "ranks: a sum of gradients cannot begin");
    if (rc == 0)
        rc = ranks_wait(err);
    unpack_rows(t);
    return rc < 0 ? rc : ranks_sum_now(figures, 2, err);
}

int trainer_step(struct trainer *t, const struct batch *batch, const double *labels,
                 const struct objective *objective, double rate, struct step_figures *ret,
                 struct err *err)
{
    double figures[2] = {0, 0}, norm; /* loss, penalty */
    int rc = find_gradients(t, batch, labels, objective, figures, err);

    if (rc < 0)
        return rc;
    norm = gradient_norm(t);
    if (!isfinite(figures[0] + figures[1]) || !isfinite(norm))
        return err_set(err, -ERANGE,
                       "step %" PRIu64
                       ": the loss is %g, the gradient's norm %g: training has come "
                       "apart; take a smaller --rate",
                       t->steps, figures[0] + figures[1], norm);
    update(t, rate, norm);
    *ret = (struct step_figures){.loss = figures[0], .outside = figures[1], .norm = norm};
    return 0;
}
