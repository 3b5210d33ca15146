#include "transformer/encoder.h"

#include "transformer/guard.h"
#include "transformer/label.h"

#include <math.h>
#include <stdlib.h>

/* A large table: few elements look up in it, and steps of 2^-8 for values up to 16. */
#define TANH_BITS 13

struct encoder {
    struct builder *b;
    const struct model_config *k;
    const struct formats *f;
    const struct operands *w;
    const struct functions *functions;
    size_t tokens, batch;

    /* Where lengths are secret: what the data owner shares (enum presence), its first column, and
     * what layers that need it read of it opened. OPERAND_NONE where there is none. */
    uint32_t presence, there;
    uint32_t opened, opened_there, scale; /* all of it, the first column, each sequence's scale */
};

static void at(struct encoder *e, const char *what, int layer)
{
    e->b->at = (struct place){what, layer};
}

/* A share at product scale, @frac fraction bits of weight too many: cut and open. */
static uint32_t cut_open(struct encoder *e, uint32_t x, int weight_frac)
{
    return build_open(e->b, build_truncate(e->b, x, weight_frac, e->f->frac));
}

/* Of a wire that is nowhere negative. */
static void guard_end(struct builder *b, uint32_t x, int64_t end)
{
    build_range(b, x, 0, end);
    build_guard(b, x, GUARD_NO_MIN, end);
}

/* The sum of squares of every row of @x, opened, is below @end; 0: it need not be looked at. */
static void guard_length(struct builder *b, uint32_t x, int64_t end)
{
    if (end)
        guard_end(b, build_square(b, x, true), end);
}

/*
 * Secret lengths. exp and relu are brought to 0 in the columns of tokens that are not there by a
 * number that is added to their scores, which is local. No number does that to (s + 5)^2, so before
 * such a layer the rows of those tokens are made 0, and with them their values, whose constant part
 * stands in the bias after attention (fold.c).
 */
static bool zeroes_rows(const struct encoder *e, size_t layer)
{
    return e->presence != OPERAND_NONE && layer < e->k->layers &&
           e->k->functions[layer].softmax == SOFTMAX_2QUAD;
}

/* What a LayerNorm does besides, to the rows of tokens that are not there. */
enum rows {
    ROWS_LIFT = 1, /* they may have lost what is normalised: some variance is added */
    ROWS_ZERO = 2, /* they come out as 0 */
};

/* The variance, with epsilon, and with the middle of its range more where a token is not there. */
static uint32_t variance(struct encoder *e, uint32_t d, const struct norm_format *k, int rows)
{
    struct builder *b = e->b;
    int frac = 2 * e->f->frac + format_log2(e->f->hidden);
    int64_t middle = (int64_t)1 << (frac + (k->inverse.lo + k->inverse.hi + 1) / 2);
    uint32_t s = build_affine(b, build_square(b, d, true), 1, k->epsilon, frac);

    if (!(rows & ROWS_LIFT))
        return s;
    return build_add(b, s, build_affine(b, e->there, -middle, middle, frac));
}

/* LayerNorm without gain and bias: shares of n^ at the plan's scale. */
static uint32_t normalise(struct encoder *e, uint32_t z, const struct norm_format *k, int rows)
{
    struct builder *b = e->b;
    int f = e->f->frac, log_n = format_log2(e->f->hidden);
    int shift = build_frac(b, z) - f + log_n - k->up;
    uint32_t d = build_cut(b, build_centre(b, z), shift, f);
    uint32_t s = variance(e, d, k, rows);

    if (rows & ROWS_ZERO)
        s = build_inverse_times(b, s, &k->inverse, e->opened_there);
    else
        s = build_open(b, build_inverse(b, s, &k->inverse));
    return build_truncate(b, build_mul(b, d, s), build_frac(b, s), f);
}

/* Where queries, keys and values stand. */
struct heads {
    size_t rows; /* of queries, in each sequence */
    struct batch_view query, key, value;
};

/* q k^T, stacked heads of each sequence; its scale is sqrt(head), less what the queries' weights
 * have of it, a power of two. */
static uint32_t scores(struct encoder *e, const struct heads *h)
{
    return build_batch(e->b, e->batch, e->k->heads, h->rows, e->f->head, e->tokens, h->query,
                       h->key);
}

/* Bits of that power of two. */
static int score_scale(const struct encoder *e)
{
    return format_log2(e->f->head) / 2;
}

/* Zero in the columns of tokens that are not there, where lengths are public. */
static uint32_t length_mask(struct encoder *e, uint32_t a)
{
    return e->presence == OPERAND_NONE ? build_length_mask(e->b, a) : a;
}

/* (s + 5)^2; of what is not there anything, where lengths are secret. */
static uint32_t squared_scores(struct encoder *e, const struct heads *h, int weight_frac)
{
    struct builder *b = e->b;
    int f = e->f->frac, shift = f + score_scale(e);
    uint32_t s = build_affine(b, scores(e, h), 1, (int64_t)5 << (f + shift), 2 * f);

    s = build_square(b, build_cut(b, s, shift, f), false);
    return length_mask(e, build_truncate(b, s, 2 * f - weight_frac, weight_frac));
}

/* relu(s) and a unit: a row without a positive score is uniform. Both 0 of what is not there. */
static uint32_t positive_scores(struct encoder *e, const struct heads *h, int weight_frac)
{
    struct builder *b = e->b;
    int f = e->f->frac;
    int64_t end = (int64_t)1 << (e->f->ring - 4);
    uint32_t s = scores(e, h);

    if (e->presence != OPERAND_NONE) {
        build_range(b, s, -end, end);
        s = build_add_presence(b, s, e->there, end, -end);
    }
    s = build_positive(b, build_cut(b, s, f + score_scale(e), f));
    if (weight_frac < f)
        s = build_truncate(b, s, f - weight_frac, weight_frac);
    if (e->presence != OPERAND_NONE)
        return build_add_presence(b, s, e->there, 1, 0);
    return build_length_mask(b, build_affine(b, s, 1, 1, weight_frac));
}

/* What a row of attention weighs values with, before it is divided by its sum. */
static uint32_t weights_of(struct encoder *e, const struct heads *h, enum softmax_act act,
                           int weight_frac)
{
    switch (act) {
    case SOFTMAX_2QUAD:
        return squared_scores(e, h, weight_frac);
    case SOFTMAX_2RELU:
        return positive_scores(e, h, weight_frac);
    default:
        return build_exponentials(e->b, scores(e, h), e->there, 2 * e->f->frac + score_scale(e),
                                  weight_frac, e->functions);
    }
}

/* The sums of opened weights over tokens that are there, times each sequence's scale. */
static uint32_t present_sums(struct encoder *e, size_t rows, uint32_t weights)
{
    const size_t each = e->k->heads * rows;
    const struct batch_view left = {.wire = weights, .group = each * e->tokens, .row = e->tokens};
    const struct batch_view right = {
        .wire = e->opened,
        .offset = PRESENCE_SCALED,
        .group = e->tokens * PRESENCE_COLS,
        .row = PRESENCE_COLS,
        .col = 1,
    };

    return build_batch(e->b, e->batch, 1, each, e->tokens, 1, left, right);
}

/* One over the sum of every row. One that grows with the tokens is brought to the bucket's length
 * and back; one of exponentials is at least 1. */
static uint32_t inverse_sums(struct encoder *e, uint32_t a, enum softmax_act act,
                             const struct inverse *k)
{
    struct builder *b = e->b;
    uint32_t sum = build_row_sum(b, a);

    if (act == SOFTMAX_EXP)
        return build_inverse(b, sum, k);
    return build_length_scale(b, build_inverse(b, build_length_scale(b, sum), k));
}

/* Context of @h, heads side by side, opened. */
static uint32_t attend(struct encoder *e, const struct heads *h, enum softmax_act act,
                       const struct attention_format *k)
{
    struct builder *b = e->b;
    size_t heads = e->k->heads, head = e->f->head;
    uint32_t a = weights_of(e, h, act, k->weight_frac), inverse, c;
    struct batch_view weights = {
        .group = heads * h->rows * e->tokens,
        .batch = h->rows * e->tokens,
        .row = e->tokens,
    };

    if (act == SOFTMAX_EXP || e->presence == OPERAND_NONE) {
        inverse = build_open(b, inverse_sums(e, a, act, &k->inverse));
        weights.wire = build_open(b, a);
    } else {
        weights.wire = build_open(b, a);
        inverse = present_sums(e, h->rows, weights.wire);
        inverse = build_inverse_times(b, inverse, &k->inverse, e->scale);
    }
    c = build_batch(b, e->batch, heads, h->rows, e->tokens, head, weights, h->value);
    c = build_cut(b, c, build_frac(b, c) - k->context_frac, k->context_frac);
    c = build_mul(b, c, inverse);
    c = build_truncate(b, c, build_frac(b, c) - e->f->frac, e->f->frac);
    return build_open(b, build_beside(b, c, h->rows, heads, head, h->rows * head, e->batch,
                                      heads * h->rows * head));
}

/* All rows of a layer's queries, keys and values from one product. */
static struct heads project(struct encoder *e, size_t i, uint32_t n)
{
    const struct layer_operands *w = &e->w->layers[i];
    size_t h = e->f->hidden, d = e->f->head, all = e->batch * e->tokens, each = e->tokens * 3 * h;
    uint32_t x = build_linear(e->b, n, all, w->qkv, w->qkv_bias, OPERAND_NONE, OPERAND_NONE);

    x = cut_open(e, x, e->f->layers[i].qkv);
    return (struct heads){
        .rows = e->tokens,
        .query = {.wire = x, .group = each, .batch = d, .row = 3 * h},
        .key = {.wire = x, .offset = h, .group = each, .batch = d, .row = 1, .col = 3 * h},
        .value = {.wire = x, .offset = 2 * h, .group = each, .batch = d, .row = 3 * h, .col = 1},
    };
}

/* The last layer: one query a sequence, of the first token. @first is their rows of n^. */
static struct heads project_last(struct encoder *e, size_t i, uint32_t n, uint32_t first)
{
    const struct layer_operands *w = &e->w->layers[i];
    size_t h = e->f->hidden, d = e->f->head, all = e->batch * e->tokens, each = e->tokens * 2 * h;
    uint32_t q, x;

    q = build_linear(e->b, first, e->batch, w->query, w->query_bias, OPERAND_NONE, OPERAND_NONE);
    q = cut_open(e, q, e->f->layers[i].qkv);
    x = build_linear(e->b, n, all, w->qkv, w->qkv_bias, OPERAND_NONE, OPERAND_NONE);
    x = cut_open(e, x, e->f->layers[i].qkv);
    return (struct heads){
        .rows = 1,
        .query = {.wire = q, .group = h, .batch = d, .row = h},
        .key = {.wire = x, .group = each, .batch = d, .row = 1, .col = 2 * h},
        .value = {.wire = x, .offset = h, .group = each, .batch = d, .row = 2 * h, .col = 1},
    };
}

/* The last layer has rows of first tokens only, which are all there. */
static int rows_after_attention(const struct encoder *e, size_t i, bool last)
{
    return !last && zeroes_rows(e, i) ? ROWS_LIFT : 0;
}

/* n^ in and out, as shares; the last layer leaves the first row of each sequence only. */
static uint32_t layer(struct encoder *e, size_t i, uint32_t share, bool last)
{
    const struct layer_operands *w = &e->w->layers[i];
    const struct layer_format *k = &e->f->layers[i];
    const struct layer_functions *functions = &e->k->functions[i];
    struct builder *b = e->b;
    struct attention_format attention;
    uint32_t n = build_open(b, share), x, residual = n;
    int number = (int)i;
    struct heads heads;
    size_t rows;

    if (b->rc == 0)
        b->rc =
            format_attention(e->f, i, functions->softmax, (uint32_t)e->tokens, &attention, b->err);
    if (b->rc < 0)
        return OPERAND_NONE;
    at(e, "attention", number);
    if (last)
        residual = build_open(
            b, build_beside(b, share, 1, 1, e->f->hidden, 0, e->batch, e->tokens * e->f->hidden));
    heads = last ? project_last(e, i, n, residual) : project(e, i, n);
    rows = e->batch * heads.rows;
    x = attend(e, &heads, functions->softmax, &attention);
    guard_length(b, x, k->context_end);
    x = build_linear(b, x, rows, w->attention, w->attention_bias, residual, w->attention_gain);
    at(e, "LayerNorm after attention", number);
    n = build_open(b, normalise(e, x, &k->attention_norm, rows_after_attention(e, i, last)));
    at(e, "feed-forward", number);
    x = build_linear(b, n, rows, w->up, w->up_bias, OPERAND_NONE, OPERAND_NONE);
    x = build_activation(b, x, k->up, functions->hidden, e->functions);
    if (k->hidden_sum_end)
        guard_end(b, build_row_sum(b, x), k->hidden_sum_end);
    x = build_open(b, x);
    guard_length(b, x, k->hidden_end);
    x = build_linear(b, x, rows, w->down, w->down_bias, n, w->down_gain);
    at(e, "LayerNorm after feed-forward", number);
    return normalise(e, x, &k->output_norm,
                     rows_after_attention(e, i, last) | (zeroes_rows(e, i + 1) ? ROWS_ZERO : 0));
}

int encoder_add_tanh(struct plan *plan, int frac, int range, int64_t *ret, struct err *err)
{
    int64_t *entries = malloc((2 * sizeof(*entries)) << TANH_BITS);
    double step = ldexp(1, range + 1 - TANH_BITS);
    int rc;

    if (!entries)
        return err_set(err, -ENOMEM, "no memory for a table");
    for (int i = 0; i < 1 << TANH_BITS; i++) {
        /* Row i is found by x between the steps i - 1 and i + 1; the upper half is negative. */
        double x = (i < 1 << (TANH_BITS - 1) ? i : i - (1 << TANH_BITS)) * step, v = tanh(x);
        double slope = rint(ldexp(1 - v * v, frac));

        entries[2 * i] = llrint(ldexp(v, 2 * frac) - slope * ldexp(x, frac));
        entries[2 * i + 1] = (int64_t)slope;
    }
    rc = plan_add_table(plan, TANH_BITS, 2, entries, ret, err);
    free(entries);
    return rc;
}

/* Of a share at product scale, @weight_frac fraction bits too many. */
static uint32_t build_tanh(struct encoder *e, uint32_t x, int weight_frac, int64_t table)
{
    struct builder *b = e->b;
    int f = e->f->frac, range = e->f->tanh_range;
    int64_t top = (int64_t)1 << (f + weight_frac + range);

    /* One step more than the last row of the positive half is the first of the negative one. */
    build_range(b, x, -top, top - (top >> (TANH_BITS - 1)));
    if (!e->f->tanh_proven)
        build_guard(b, x, -top, top - (top >> (TANH_BITS - 1)));
    x = build_cut(b, x, weight_frac, f);
    x = build_lookup(b, x, f + range + 1 - TANH_BITS, x, table, 2 * f);
    return build_truncate(b, x, f, f);
}

/* What the data owner says of tokens that are there, and of it opened what some layer reads. */
static void take_presence(struct encoder *e)
{
    struct builder *b = e->b;
    bool sums = false, zero = false;

    e->presence = build_presence(b);
    e->there = build_every(b, e->presence, PRESENCE_ONE, PRESENCE_COLS);
    for (size_t i = 0; i < e->k->layers; i++) {
        sums |= e->k->functions[i].softmax != SOFTMAX_EXP;
        zero |= zeroes_rows(e, i);
    }
    if (!sums)
        return;
    e->opened = build_open(b, e->presence);
    /* The first token is always there. */
    e->scale = build_every(b, e->opened, PRESENCE_SCALED, e->tokens * PRESENCE_COLS);
    if (zero)
        e->opened_there = build_every(b, e->opened, PRESENCE_ONE, PRESENCE_COLS);
}

void encoder_build(struct builder *b, const struct encoder_parts *parts)
{
    const struct model_config *k = parts->config;
    const struct formats *f = parts->formats;
    const struct operands *w = parts->operands;
    enum hidden_act act = model_head_act(k->kind);
    struct encoder e = {
        .b = b,
        .k = k,
        .f = f,
        .w = w,
        .functions = parts->functions,
        .tokens = b->variant->tokens,
        .batch = b->variant->batch,
        .presence = OPERAND_NONE,
        .there = OPERAND_NONE,
        .opened = OPERAND_NONE,
        .opened_there = OPERAND_NONE,
        .scale = OPERAND_NONE,
    };
    uint32_t x;

    at(&e, "embedding", -1);
    x = build_input(b, (unsigned int)f->input_ring);
    if (b->variant->length == LENGTH_BUCKET)
        take_presence(&e);
    x = build_open(b, x);
    x = build_linear(b, x, e.batch * e.tokens, w->embedding, w->position, OPERAND_NONE,
                     OPERAND_NONE);
    if (f->input_ring < f->ring)
        x = build_lift(b, x);
    x = normalise(&e, x, &f->embedding_norm, zeroes_rows(&e, 0) ? ROWS_ZERO : 0);
    for (size_t i = 0; i < k->layers; i++)
        x = layer(&e, i, x, i + 1 == k->layers);
    at(&e, "pooler", -1);
    x = build_linear(b, build_open(b, x), e.batch, w->pooler, w->pooler_bias, OPERAND_NONE,
                     OPERAND_NONE);
    x = act == HIDDEN_TANH ? build_tanh(&e, x, f->pooler, parts->tanh_table)
                           : build_activation(b, x, f->pooler, act, parts->functions);
    at(&e, "classifier", -1);
    x = build_linear(b, build_open(b, x), e.batch, w->classifier, w->classifier_bias, OPERAND_NONE,
                     OPERAND_NONE);
    x = build_truncate(b, x, f->classifier, f->frac);
    if (parts->labels_only) {
        at(&e, "label", -1);
        x = build_labels(b, x, MIN(f->ring, f->ring - f->classifier + 2));
        build_output_labels(b, x, build_outside(b));
    } else {
        build_output(b, x, build_outside(b));
    }
}
