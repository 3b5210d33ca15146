#include "transformer/encoder.h"

#include <math.h>

/* tanh is taken on [-TANH_TOP, TANH_TOP]; the table has one guard entry at each end of it. */
#define TANH_ROWS (1 << TANH_TABLE_BITS)
#define TANH_TOP  (TANH_ROWS / 2 - 2) /* in steps */

struct encoder {
    struct builder *b;
    const struct model_config *k;
    const struct formats *f;
    const struct operands *w;
    size_t tokens;
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

/* LayerNorm without gain and bias: shares of n^ at the plan's scale. */
static uint32_t normalise(struct encoder *e, uint32_t z, const struct norm_format *k)
{
    struct builder *b = e->b;
    int f = e->f->frac, log_n = format_log2(e->f->hidden);
    int shift = build_frac(b, z) - f + log_n - k->up;
    uint32_t d = build_open(b, build_truncate(b, build_centre(b, z), shift, f));
    uint32_t s = build_square(b, d, true);

    s = build_truncate(b, s, 2 * f + log_n - k->variance_frac, k->variance_frac);
    if (k->epsilon)
        s = build_affine(b, s, 1, k->epsilon, k->variance_frac);
    s = build_inverse(b, s, &k->inverse);
    return build_truncate(b, build_mul(b, d, build_open(b, s)), k->inverse.frac, f);
}

/* Where queries, keys and values stand. */
struct heads {
    size_t rows; /* of queries */
    struct batch_view query, key, value;
};

/* Stacked heads of (s + 5)^2, zero in the columns of tokens that are not there. */
static uint32_t squared_scores(struct encoder *e, const struct heads *h, int square_frac)
{
    struct builder *b = e->b;
    int f = e->f->frac, shift = format_log2(e->f->head) / 2;
    uint32_t s = build_batch(b, e->k->heads, h->rows, e->f->head, e->tokens, h->query, h->key);

    s = build_truncate(b, s, f + shift, f);
    s = build_open(b, build_affine(b, s, 1, (int64_t)5 << f, f));
    s = build_truncate(b, build_square(b, s, false), 2 * f - square_frac, square_frac);
    return build_length_mask(b, s);
}

/* Context of @h, heads side by side, opened. */
static uint32_t attend(struct encoder *e, const struct heads *h, const struct attention_format *k)
{
    struct builder *b = e->b;
    size_t heads = e->k->heads, head = e->f->head;
    uint32_t a = squared_scores(e, h, k->square_frac);
    uint32_t inverse = build_inverse(b, build_row_sum(b, a), &k->inverse);
    const struct batch_view weights = {
        .wire = build_open(b, a), .batch = h->rows * e->tokens, .row = e->tokens};
    uint32_t c = build_batch(b, heads, h->rows, e->tokens, head, weights, h->value);

    c = build_truncate(b, c, build_frac(b, c) - k->context_frac, k->context_frac);
    c = build_mul(b, build_open(b, c), build_open(b, inverse));
    c = build_truncate(b, c, build_frac(b, c) - e->f->frac, e->f->frac);
    return build_open(b, build_beside(b, c, h->rows, heads, head, h->rows * head));
}

/* All rows of a layer's queries, keys and values from one product. */
static struct heads project(struct encoder *e, size_t i, uint32_t n)
{
    const struct layer_operands *w = &e->w->layers[i];
    size_t h = e->f->hidden, d = e->f->head;
    uint32_t x = build_linear(e->b, n, e->tokens, w->qkv, w->qkv_bias, OPERAND_NONE, OPERAND_NONE);

    x = cut_open(e, x, e->f->layers[i].qkv);
    return (struct heads){
        .rows = e->tokens,
        .query = {.wire = x, .batch = d, .row = 3 * h},
        .key = {.wire = x, .offset = h, .batch = d, .row = 1, .col = 3 * h},
        .value = {.wire = x, .offset = 2 * h, .batch = d, .row = 3 * h, .col = 1},
    };
}

/* The last layer: one query, of the first token. @first is its row of n^. */
static struct heads project_last(struct encoder *e, size_t i, uint32_t n, uint32_t first)
{
    const struct layer_operands *w = &e->w->layers[i];
    size_t h = e->f->hidden, d = e->f->head;
    uint32_t q, x;

    q = build_linear(e->b, first, 1, w->query, w->query_bias, OPERAND_NONE, OPERAND_NONE);
    q = cut_open(e, q, e->f->layers[i].qkv);
    x = build_linear(e->b, n, e->tokens, w->qkv, w->qkv_bias, OPERAND_NONE, OPERAND_NONE);
    x = cut_open(e, x, e->f->layers[i].qkv);
    return (struct heads){
        .rows = 1,
        .query = {.wire = q, .batch = d, .row = h},
        .key = {.wire = x, .batch = d, .row = 1, .col = 2 * h},
        .value = {.wire = x, .offset = h, .batch = d, .row = 2 * h, .col = 1},
    };
}

/* n^ in and out, as shares; the last layer leaves the first row only. */
static uint32_t layer(struct encoder *e, size_t i, uint32_t share, bool last)
{
    const struct layer_operands *w = &e->w->layers[i];
    const struct layer_format *k = &e->f->layers[i];
    struct builder *b = e->b;
    struct attention_format attention;
    uint32_t n = build_open(b, share), x, residual = n;
    int f = e->f->frac, number = (int)i;
    struct heads heads;

    if (b->rc == 0)
        b->rc = format_attention(e->f, i, (uint32_t)e->tokens, &attention, b->err);
    if (b->rc < 0)
        return OPERAND_NONE;
    at(e, "attention", number);
    if (last)
        residual = build_open(b, build_beside(b, share, 1, 1, e->f->hidden, 0));
    heads = last ? project_last(e, i, n, residual) : project(e, i, n);
    x = attend(e, &heads, &attention);
    x = build_linear(b, x, heads.rows, w->attention, w->attention_bias, residual,
                     w->attention_gain);
    at(e, "LayerNorm after attention", number);
    n = build_open(b, normalise(e, x, &k->attention_norm));
    at(e, "feed-forward", number);
    x = cut_open(e, build_linear(b, n, heads.rows, w->up, w->up_bias, OPERAND_NONE, OPERAND_NONE),
                 k->up);
    x = build_open(b, build_truncate(b, build_square(b, x, false), f + 3, f));
    x = build_linear(b, x, heads.rows, w->down, w->down_bias, n, w->down_gain);
    at(e, "LayerNorm after feed-forward", number);
    return normalise(e, x, &k->output_norm);
}

int encoder_add_tanh(struct plan *plan, int frac, int64_t *ret, struct err *err)
{
    int64_t entries[2 * TANH_ROWS];

    for (int i = 0; i < TANH_ROWS; i++) {
        double v = tanh(ldexp(i - 1 - TANH_TOP, -TANH_STEP_BITS));

        entries[2 * i] = llrint(ldexp(v, 2 * frac));
        entries[2 * i + 1] = llrint(ldexp(1 - v * v, frac));
    }
    return plan_add_table(plan, TANH_TABLE_BITS, 2, entries, ret, err);
}

/* x where it lies within the table, else the end it lies beyond. */
static uint32_t clamp(struct builder *b, uint32_t x, int64_t top, int frac)
{
    const int64_t ends[2] = {-top, top}, inside[2] = {1, -1}, beyond[2] = {top, top};
    uint32_t bits = build_compare(b, x, ends, 2);

    return build_add(b, build_dot(b, build_select(b, bits, x), 0, inside, 2, frac),
                     build_dot(b, build_bit_to_ring(b, bits), -top, beyond, 2, frac));
}

/* tanh(x) = T + T' (x - its grid point), by one lookup of value and slope: to 1e-4. */
static uint32_t build_tanh(struct encoder *e, uint32_t x, int64_t table)
{
    const int64_t value[2] = {1, 0}, slope[2] = {0, 1};
    int f = e->f->frac, cut = f - TANH_STEP_BITS;
    int64_t top = (int64_t)TANH_TOP << cut, step = (int64_t)1 << cut;
    struct builder *b = e->b;
    uint32_t index, rest, entry, product;

    /* From zero on, with the guard entry below. */
    x = build_affine(b, clamp(b, x, top, f), 1, top + step, f);
    index = build_truncate(b, x, cut, 0);
    entry = build_lookup(b, index, table, f);
    rest = build_add(b, x, build_affine(b, index, -step, 0, f));
    product = build_mul(b, build_open(b, build_dot(b, entry, 0, slope, 2, f)), build_open(b, rest));
    x = build_add(b, product, build_dot(b, entry, 0, value, 2, 2 * f));
    return build_truncate(b, x, f, f);
}

void encoder_build(struct builder *b, const struct model_config *k, const struct formats *f,
                   const struct operands *w, int64_t tanh_table)
{
    struct encoder e = {.b = b, .k = k, .f = f, .w = w, .tokens = b->variant->tokens};
    uint32_t x;

    at(&e, "embedding", -1);
    x = build_linear(b, build_open(b, build_input(b)), e.tokens, w->embedding, w->position,
                     OPERAND_NONE, OPERAND_NONE);
    x = normalise(&e, x, &f->embedding_norm);
    for (size_t i = 0; i < k->layers; i++)
        x = layer(&e, i, x, i + 1 == k->layers);
    at(&e, "pooler", -1);
    x = build_linear(b, build_open(b, x), 1, w->pooler, w->pooler_bias, OPERAND_NONE, OPERAND_NONE);
    x = build_tanh(&e, cut_open(&e, x, f->pooler), tanh_table);
    at(&e, "classifier", -1);
    x = build_linear(b, build_open(b, x), 1, w->classifier, w->classifier_bias, OPERAND_NONE,
                     OPERAND_NONE);
    build_output(b, build_truncate(b, x, f->classifier, f->frac));
}
