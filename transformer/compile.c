#include "transformer/compile.h"

#include "base/random.h"
#include "base/secret.h"
#include "transformer/encoder.h"
#include "transformer/label.h"
#include "transformer/ranges.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKET_FIRST 16

size_t compile_buckets(size_t positions_max, uint32_t ret[PLAN_VARIANTS_MAX])
{
    size_t most = MIN(positions_max, PLAN_TOKENS_MAX), count = 0;

    for (size_t tokens = BUCKET_FIRST; tokens < most; tokens *= 2)
        ret[count++] = (uint32_t)tokens;
    ret[count++] = (uint32_t)most;
    return count;
}

static bool has_length(const struct compile_options *o, int length)
{
    return o->lengths ? o->lengths >> length & 1 : length == LENGTH_PUBLIC;
}

static size_t variant_count(const struct compile_options *o)
{
    size_t lengths = 0;

    for (int length = 0; length < LENGTH_MODES; length++)
        lengths += has_length(o, length);
    return o->token_count * lengths * o->batch_count;
}

static int batches_check(const struct compile_options *o, struct err *err)
{
    if (!o->batch_count || o->batches[0] != 1)
        return err_set(err, -EINVAL, "no variant for one query at once");
    if (variant_count(o) > PLAN_VARIANTS_MAX)
        return err_set(
            err, -EINVAL, "%zu length buckets for each of %zu batches%s: take %d in all",
            o->token_count, o->batch_count,
            variant_count(o) > o->token_count * o->batch_count ? ", lengths public and secret" : "",
            PLAN_VARIANTS_MAX);
    for (size_t i = 1; i < o->batch_count; i++)
        if (o->batches[i] > PLAN_BATCH_MAX || o->batches[i] <= o->batches[i - 1])
            return err_set(err, -EINVAL, "a batch of %u queries: they rise, from 1 to %d",
                           o->batches[i], PLAN_BATCH_MAX);
    return 0;
}

int compile_options_check(const struct model_config *k, const struct compile_options *o,
                          struct err *err)
{
    size_t most = MIN(k->positions_max, PLAN_TOKENS_MAX);

    if (!ring_valid(o->ring))
        return err_set(err, -EINVAL, "a ring of %u bits: take a multiple of 8 from 32 to 64",
                       o->ring);
    if (o->frac < 8 || 2 * o->frac > o->ring - 8)
        return err_set(err, -EINVAL, "%u fraction bits: a ring of %u bits takes 8 to %u", o->frac,
                       o->ring, (o->ring - 8) / 2);
    if (!o->token_count || o->token_count > PLAN_VARIANTS_MAX)
        return err_set(err, -EINVAL, "%zu length buckets: take 1 to %d", o->token_count,
                       PLAN_VARIANTS_MAX);
    for (size_t i = 0; i < o->token_count; i++)
        if (o->tokens[i] < ENCODING_TOKENS_MIN || o->tokens[i] > most ||
            (i && o->tokens[i] <= o->tokens[i - 1]))
            return err_set(err, -EINVAL,
                           "a length bucket of %u tokens: they rise, from %d to %zu for this model",
                           o->tokens[i], ENCODING_TOKENS_MIN, most);
    if (o->labels_only && (k->regression || k->labels < 2 || k->labels > LABEL_MOST))
        return err_set(err, -EINVAL,
                       k->regression ? "labels only: a regression has a score and no label"
                                     : "labels only: of %u labels, and it takes 2 to %d",
                       (unsigned int)k->labels, LABEL_MOST);
    return batches_check(o, err);
}

/* The largest sum that a row of each embedding table can give, a column at a time. */
static double embedding_top(const struct checkpoint *c)
{
    const float *tables[3] = {c->word_embeddings, c->type_embeddings, c->position_embeddings};
    const size_t rows[3] = {c->config.vocab, c->config.types, c->config.positions_max};
    double top = 0;

    for (size_t j = 0; j < c->config.hidden; j++) {
        double sum = 0;

        for (size_t i = 0; i < 3; i++) {
            double most = 0;

            for (size_t r = 0; r < rows[i]; r++)
                most = fmax(most, fabs((double)tables[i][r * c->config.hidden + j]));
            sum += most;
        }
        top = fmax(top, sum);
    }
    return top;
}

static int build_variant(struct compiled *m, const struct compile_options *o,
                         const struct encoder_parts *parts, uint32_t tokens,
                         enum length_mode length, uint32_t batch, struct err *err)
{
    struct builder b = {.plan = m->plan, .err = err, .without = o->without};
    size_t number = m->plan->variant_count;

    b.rc = plan_add_variant(m->plan, tokens, length, batch, &b.variant, err);
    if (b.rc == 0) {
        encoder_build(&b, parts);
        m->places[number] = b.places;
    }
    free(b.lanes);
    return b.rc;
}

static int build_variants(struct compiled *m, const struct compile_options *o,
                          const struct encoder_parts *parts, struct err *err)
{
    int rc = 0;

    m->places = calloc(variant_count(o), sizeof(*m->places));
    if (!m->places)
        return err_set(err, -ENOMEM, "no memory for the plan");
    for (size_t t = 0; t < o->token_count; t++)
        for (int length = 0; length < LENGTH_MODES; length++)
            for (size_t i = 0; rc == 0 && has_length(o, length) && i < o->batch_count; i++)
                rc = build_variant(m, o, parts, o->tokens[t], (enum length_mode)length,
                                   o->batches[i], err);
    return rc < 0 ? rc : plan_finish(m->plan, err);
}

static int compile(struct compiled *m, const struct checkpoint *c, const struct compile_options *o,
                   struct err *err)
{
    struct operands operands = {0};
    struct formats formats = {0};
    struct ranges seen = {0};
    const struct ranges *reached = o->seen ? o->seen : &seen;
    struct bounds bounds = {0};
    struct inverse_tables tables;
    struct functions functions;
    struct encoder_parts parts = {
        .config = &c->config,
        .formats = &formats,
        .operands = &operands,
        .functions = &functions,
        .labels_only = o->labels_only,
    };
    int rc = inverse_add_tables(m->plan, format_mantissa(o->ring),
                                sqrt(format_excess(c->config.hidden)), &tables, err);

    if (rc == 0)
        rc = functions_add(m->plan, &c->config, &functions, err);
    if (rc == 0 && !o->seen)
        rc = ranges_measure(c, o->samples, o->sample_count, &seen, err);
    if (rc == 0)
        rc = bounds_prove(c, o->frac, &bounds, err);
    if (rc == 0)
        rc = formats_choose(&c->config, reached, &bounds, embedding_top(c), o->ring, o->frac,
                            !(o->without >> FORM_NARROW & 1), &tables, &formats, err);
    if (rc == 0 && model_head_act(c->config.kind) == HIDDEN_TANH)
        rc = encoder_add_tanh(m->plan, (int)o->frac, formats.tanh_range, &parts.tanh_table, err);
    if (rc == 0)
        rc = fold_weights(m, c, &formats, o->tokens[o->token_count - 1], &operands, err);
    if (rc == 0)
        rc = build_variants(m, o, &parts, err);
    if (rc == 0) {
        m->promises = formats.promises;
        m->promise_count = formats.promise_count;
        formats.promises = NULL;
    }
    free(operands.layers);
    bounds_free(&bounds);
    formats_free(&formats);
    ranges_free(&seen);
    return rc;
}

static void describe(struct plan *plan, const struct checkpoint *c, const struct compile_options *o)
{
    random_bytes(plan->model_id, sizeof(plan->model_id));
    snprintf(plan->name, sizeof(plan->name), "%s", o->name ? o->name : "");
    plan->ring = (uint8_t)o->ring;
    plan->frac = (uint8_t)o->frac;
    plan->vocabulary = (uint32_t)c->config.vocab;
    plan->types = (uint32_t)c->config.types;
    plan->labels = (uint32_t)c->config.labels;
}

int compile_model(const struct checkpoint *c, const struct compile_options *options,
                  struct compiled **ret, struct err *err)
{
    uint32_t buckets[PLAN_VARIANTS_MAX];
    static const uint32_t one = 1;
    struct compile_options o = *options;
    struct compiled *m;
    int rc;

    if (!o.batches) {
        o.batches = &one;
        o.batch_count = 1;
    }
    if (!o.tokens) {
        o.tokens = buckets;
        o.token_count = compile_buckets(c->config.positions_max, buckets);
    }
    rc = compile_options_check(&c->config, &o, err);
    if (rc < 0)
        return rc;
    m = calloc(1, sizeof(*m));
    if (m)
        m->plan = plan_new();
    if (!m || !m->plan) {
        compiled_free(m);
        return err_set(err, -ENOMEM, "no memory for the plan");
    }
    describe(m->plan, c, &o);
    rc = compile(m, c, &o, err);
    if (rc < 0) {
        compiled_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

void compiled_free(struct compiled *m)
{
    if (!m)
        return;
    for (size_t i = 0; m->weights && i < m->plan->weight_count; i++)
        secret_free(m->weights[i], weight_elements(&m->plan->weights[i]) * sizeof(**m->weights));
    for (size_t i = 0; m->places && i < m->plan->variant_count; i++)
        free(m->places[i]);
    free(m->places);
    free(m->promises);
    free(m->weights);
    plan_free(m->plan);
    free(m);
}

static int input_rows(const struct plan *plan, const struct variant *v, const struct encoding *e,
                      uint64_t *ret, struct err *err)
{
    size_t cols = (size_t)plan->vocabulary + plan->types;

    if (!e->count || e->count > v->tokens)
        return err_set(err, -EINVAL, "%zu tokens; this variant takes 1 to %u", e->count, v->tokens);
    for (size_t t = 0; t < e->count; t++)
        if (e->ids[t] >= plan->vocabulary || e->types[t] >= MAX(plan->types, 1))
            return err_set(err, -EINVAL, "token %zu is not of this model's vocabulary", t);
    memset(ret, 0, v->tokens * cols * sizeof(*ret));
    for (size_t t = 0; t < v->tokens; t++) {
        size_t from = MIN(t, e->count - 1);

        ret[t * cols + e->ids[from]] = 1;
        if (plan->types)
            ret[t * cols + plan->vocabulary + e->types[from]] = 1;
    }
    return 0;
}

void compile_presence(const struct variant *v, size_t count, uint64_t *ret)
{
    uint64_t scaled = (uint64_t)1 << variant_scale_bits(v, (uint32_t)count);

    for (size_t t = 0; t < v->tokens; t++, ret += PRESENCE_COLS) {
        ret[PRESENCE_ONE] = t < count;
        ret[PRESENCE_SCALED] = t < count ? scaled : 0;
    }
}

int compile_input(const struct plan *plan, const struct variant *v, const struct encoding e[],
                  uint64_t *ret, struct err *err)
{
    size_t each = v->tokens * ((size_t)plan->vocabulary + plan->types);
    int rc = 0;

    for (size_t s = 0; rc == 0 && s < v->batch; s++) {
        rc = input_rows(plan, v, &e[s], ret + s * each, err);
        if (rc == 0 && v->length == LENGTH_BUCKET)
            compile_presence(v, e[s].count,
                             ret + variant_presence_at(v) + s * v->tokens * PRESENCE_COLS);
    }
    return rc;
}
