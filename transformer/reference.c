#include "transformer/reference.h"

#include "base/secret.h"

#include <math.h>
#include <string.h>

#define LANES       8     /* partial sums of a dot product: two SSE registers, one AVX */
#define ROWS        4     /* rows of a weight that share a load of the input */
#define SCORE_SHIFT 5     /* c of 2quad's (s + c)^2 */
#define RELU_EPS    1e-12 /* MPCFormer's; keeps a row without a positive score defined */

/* One inference. All activations lie in one block of secret memory. */
struct run {
    const struct checkpoint *c;
    const struct reference_observer *obs;
    size_t layer;
    size_t tokens, hidden, head; /* head: columns of one head */
    float *x;                    /* (token, hidden): what a layer reads, then what it has made */
    float *sum;                  /* (token, hidden): a sublayer's output */
    float *query, *key, *value;  /* (token, hidden) */
    float *context;              /* (token, hidden) */
    float *scores;               /* (token, token), of one head */
    float *ffn;                  /* (token, intermediate) */
    float *pooled;               /* (hidden) */
    float *logits;               /* (labels) */
};

struct range {
    double least, most;
};

static void range_add(struct range *r, double v)
{
    r->least = fmin(r->least, v);
    r->most = fmax(r->most, v);
}

static void see_range(const struct run *r, enum reference_point point, struct range range)
{
    if (r->obs)
        r->obs->see(r->obs->ctx, point, r->layer, range.least, range.most);
}

static void see(const struct run *r, enum reference_point point, const float *v, size_t count)
{
    struct range range = {INFINITY, -INFINITY};

    if (!r->obs)
        return;
    for (size_t i = 0; i < count; i++)
        range_add(&range, v[i]);
    see_range(r, point, range);
}

/* @x (in) with each of ROWS rows of @w (ROWS, in). */
static void dot_rows(const float *restrict x, const float *restrict w, size_t in, float ret[ROWS])
{
    float lane[ROWS][LANES] = {0};
    size_t i = 0;

    for (; i + LANES <= in; i += LANES)
        for (size_t row = 0; row < ROWS; row++)
            for (size_t j = 0; j < LANES; j++)
                lane[row][j] += x[i + j] * w[row * in + i + j];
    for (size_t row = 0; row < ROWS; row++) {
        float tail = 0;

        for (size_t j = i; j < in; j++)
            tail += x[j] * w[row * in + j];
        ret[row] = ((lane[row][0] + lane[row][4]) + (lane[row][1] + lane[row][5])) +
                   ((lane[row][2] + lane[row][6]) + (lane[row][3] + lane[row][7])) + tail;
    }
}

static float dot(const float *restrict x, const float *restrict w, size_t in)
{
    float lane[LANES] = {0}, sum = 0;
    size_t i = 0;

    for (; i + LANES <= in; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += x[i + j] * w[i + j];
    for (size_t j = 0; j < LANES; j++)
        sum += lane[j];
    for (; i < in; i++)
        sum += x[i] * w[i];
    return sum;
}

/* y = x W^T + b: x (rows, in), w (out, in), b (out), y (rows, out). Rows inside, so that ROWS rows
 * of w stay in the first cache. */
static void linear(const float *x, size_t rows, size_t in, const float *w, const float *b,
                   size_t out, float *y)
{
    size_t o = 0;

    for (; o + ROWS <= out; o += ROWS)
        for (size_t t = 0; t < rows; t++) {
            float sum[ROWS];

            dot_rows(x + t * in, w + o * in, in, sum);
            for (size_t row = 0; row < ROWS; row++)
                y[t * out + o + row] = sum[row] + b[o + row];
        }
    for (; o < out; o++)
        for (size_t t = 0; t < rows; t++)
            y[t * out + o] = dot(x + t * in, w + o * in, in) + b[o];
}

/* In place on @x (token, hidden). @variance and the point after it are what is seen. */
static void layer_norm(const struct run *r, float *x, const float *gain, const float *bias,
                       enum reference_point variance)
{
    struct range variances = {INFINITY, -INFINITY}, centred = variances;

    for (size_t t = 0; t < r->tokens; t++) {
        float *row = x + t * r->hidden;
        double mean = 0, squares = 0, scale;

        for (size_t i = 0; i < r->hidden; i++)
            mean += row[i];
        mean /= (double)r->hidden;
        for (size_t i = 0; i < r->hidden; i++) {
            double d = row[i] - mean;

            squares += d * d;
            range_add(&centred, d);
        }
        squares /= (double)r->hidden;
        range_add(&variances, squares);
        scale = 1 / sqrt(squares + r->c->config.layer_norm_eps);
        for (size_t i = 0; i < r->hidden; i++)
            row[i] = (float)((row[i] - mean) * scale) * gain[i] + bias[i];
    }
    see_range(r, variance, variances);
    see_range(r, variance + 1, centred);
}

static float activation(enum hidden_act act, float x)
{
    switch (act) {
    case HIDDEN_GELU:
        return 0.5f * x * (1 + erff(x * (float)M_SQRT1_2));
    case HIDDEN_GELU_NEW:
        return 0.5f * x *
               (1 + tanhf((float)(M_2_SQRTPI * M_SQRT1_2) * (x + 0.044715f * x * x * x)));
    case HIDDEN_RELU:
        return x > 0 ? x : 0;
    case HIDDEN_QUAD:
        return 0.125f * x * x + 0.25f * x + 0.5f;
    case HIDDEN_TANH:
        return tanhf(x);
    case HIDDEN_ACTS:
        break;
    }
    return NAN;
}

/* One row of scores into probabilities. Returns the divisor. */
static double normalise(enum softmax_act act, float *s, size_t count)
{
    double floor = act == SOFTMAX_2RELU ? RELU_EPS / (double)count : 0;
    float most = -INFINITY;
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        most = fmaxf(most, s[i]);
    for (size_t i = 0; i < count; i++) {
        if (act == SOFTMAX_EXP)
            s[i] = expf(s[i] - most);
        else if (act == SOFTMAX_2RELU)
            s[i] = (float)((s[i] > 0 ? s[i] : 0) + floor);
        else
            s[i] = (s[i] + SCORE_SHIFT) * (s[i] + SCORE_SHIFT);
        sum += s[i];
    }
    for (size_t i = 0; i < count; i++)
        s[i] = (float)(s[i] / sum);
    return sum;
}

/* context = probabilities times values, for the head whose columns start at @at. */
static void weigh_values(const struct run *r, size_t at)
{
    for (size_t t = 0; t < r->tokens; t++) {
        float *to = r->context + t * r->hidden + at;

        memset(to, 0, r->head * sizeof(*to));
        for (size_t u = 0; u < r->tokens; u++) {
            float weight = r->scores[t * r->tokens + u];
            const float *value = r->value + u * r->hidden + at;

            for (size_t i = 0; i < r->head; i++)
                to[i] += weight * value[i];
        }
    }
}

static void attend_head(const struct run *r, size_t at)
{
    float scale = 1 / sqrtf((float)r->head);
    enum softmax_act act = r->c->config.functions[r->layer].softmax;
    struct range sums = {INFINITY, -INFINITY};
    size_t n = r->tokens;

    for (size_t t = 0; t < n; t++)
        for (size_t u = 0; u < n; u++)
            r->scores[t * n + u] =
                scale * dot(r->query + t * r->hidden + at, r->key + u * r->hidden + at, r->head);
    see(r, REFERENCE_SCORE, r->scores, n * n);
    for (size_t t = 0; t < n; t++)
        range_add(&sums, normalise(act, r->scores + t * n, n));
    if (act != SOFTMAX_EXP)
        see_range(r, REFERENCE_ROW_SUM, sums);
    weigh_values(r, at);
}

static void add(float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] += y[i];
}

static void attention(struct run *r, const struct layer_weights *w)
{
    size_t h = r->hidden, count = r->tokens * h;

    linear(r->x, r->tokens, h, w->query_w, w->query_b, h, r->query);
    linear(r->x, r->tokens, h, w->key_w, w->key_b, h, r->key);
    linear(r->x, r->tokens, h, w->value_w, w->value_b, h, r->value);
    see(r, REFERENCE_QUERY, r->query, count);
    see(r, REFERENCE_KEY, r->key, count);
    see(r, REFERENCE_VALUE, r->value, count);
    for (size_t at = 0; at < h; at += r->head)
        attend_head(r, at);
    see(r, REFERENCE_CONTEXT, r->context, count);
    linear(r->context, r->tokens, h, w->attention_w, w->attention_b, h, r->sum);
    add(r->x, r->sum, count);
    layer_norm(r, r->x, w->attention_gain, w->attention_bias, REFERENCE_ATTENTION_VARIANCE);
}

static void feed_forward(struct run *r, const struct layer_weights *w)
{
    const struct model_config *k = &r->c->config;
    size_t h = r->hidden, count = r->tokens * k->intermediate;

    linear(r->x, r->tokens, h, w->intermediate_w, w->intermediate_b, k->intermediate, r->ffn);
    see(r, REFERENCE_FFN_INPUT, r->ffn, count);
    for (size_t i = 0; i < count; i++)
        r->ffn[i] = activation(k->functions[r->layer].hidden, r->ffn[i]);
    see(r, REFERENCE_FFN_OUTPUT, r->ffn, count);
    linear(r->ffn, r->tokens, k->intermediate, w->output_w, w->output_b, h, r->sum);
    add(r->x, r->sum, r->tokens * h);
    layer_norm(r, r->x, w->output_gain, w->output_bias, REFERENCE_OUTPUT_VARIANCE);
}

static void embed(struct run *r, const struct encoding *e)
{
    const struct checkpoint *c = r->c;
    size_t h = r->hidden;

    for (size_t t = 0; t < r->tokens; t++) {
        memcpy(r->x + t * h, c->word_embeddings + e->ids[t] * h, h * sizeof(*r->x));
        if (c->config.types)
            add(r->x + t * h, c->type_embeddings + e->types[t] * h, h);
        add(r->x + t * h, c->position_embeddings + t * h, h);
    }
    layer_norm(r, r->x, c->embedding_gain, c->embedding_bias, REFERENCE_EMBEDDING_VARIANCE);
}

/* A layer on the first token's state, then the classifier. */
static void classify(struct run *r)
{
    const struct checkpoint *c = r->c;
    enum hidden_act act = model_head_act(c->config.kind);
    size_t h = r->hidden;

    linear(r->x, 1, h, c->pooler_w, c->pooler_b, h, r->pooled);
    see(r, REFERENCE_POOLER, r->pooled, h);
    for (size_t i = 0; i < h; i++)
        r->pooled[i] = activation(act, r->pooled[i]);
    linear(r->pooled, 1, h, c->classifier_w, c->classifier_b, c->config.labels, r->logits);
    see(r, REFERENCE_LOGITS, r->logits, c->config.labels);
}

static int check(const struct model_config *k, const struct encoding *e, struct err *err)
{
    if (!e->count || e->count > MIN(k->positions_max, ENCODING_TOKENS_MAX))
        return err_set(err, -EINVAL, "%zu tokens; the model takes 1 to %zu", e->count,
                       MIN(k->positions_max, (size_t)ENCODING_TOKENS_MAX));
    for (size_t t = 0; t < e->count; t++)
        if (e->ids[t] >= k->vocab || e->types[t] >= MAX(k->types, 1))
            return err_set(err, -EINVAL,
                           "token %zu is not of this model; was it made with another vocabulary?",
                           t);
    return 0;
}

/* Give each activation its place in @at. Returns how many floats that takes; NULL only counts. */
static size_t place(struct run *r, float *at)
{
    const struct model_config *k = &r->c->config;
    size_t h = r->tokens * k->hidden, used = 0;
    const struct {
        float **to;
        size_t count;
    } parts[] = {
        {&r->x, h},
        {&r->sum, h},
        {&r->query, h},
        {&r->key, h},
        {&r->value, h},
        {&r->context, h},
        {&r->scores, r->tokens * r->tokens},
        {&r->ffn, r->tokens * k->intermediate},
        {&r->pooled, k->hidden},
        {&r->logits, k->labels},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        if (at)
            *parts[i].to = at + used;
        used += parts[i].count;
    }
    return used;
}

int reference_classify(const struct checkpoint *c, const struct encoding *e, double ret_logits[],
                       const struct reference_observer *obs, struct err *err)
{
    const struct model_config *k = &c->config;
    struct run r = {.c = c, .obs = obs, .tokens = e->count};
    size_t bytes;
    float *block;
    int rc;

    rc = check(k, e, err);
    if (rc < 0)
        return rc;
    r.hidden = k->hidden;
    r.head = k->hidden / k->heads;
    bytes = place(&r, NULL) * sizeof(*block);
    block = secret_alloc(bytes);
    if (!block)
        return -ENOMEM;
    place(&r, block);
    embed(&r, e);
    for (size_t i = 0; i < k->layers; i++) {
        r.layer = i;
        attention(&r, &c->layers[i]);
        feed_forward(&r, &c->layers[i]);
    }
    r.layer = 0;
    classify(&r);
    for (size_t i = 0; i < k->labels && !rc; i++)
        if (!isfinite(r.logits[i]))
            rc = err_set(err, -ERANGE, "logit %zu is not finite: the model overflows on this text",
                         i);
    for (size_t i = 0; i < k->labels && !rc; i++)
        ret_logits[i] = r.logits[i];
    secret_free(block, bytes);
    return rc;
}
