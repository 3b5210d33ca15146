#include "transformer/bounds.h"

#include "base/secret.h"
#include "transformer/fold.h"
#include "transformer/functions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns of a Gram matrix that are made at once: they stay in the second cache. */
#define BLOCK 16

/* A Gram matrix of as many rows is squared four times, a larger one once. */
#define SMALL 128

/* --- singular values --- */

/* t^T t of (n) rows of (m) columns, which is symmetric. */
static void gram(const float *t, size_t n, size_t m, float *ret)
{
    memset(ret, 0, m * m * sizeof(*ret));
    for (size_t block = 0; block < m; block += BLOCK)
        for (size_t k = 0; k < n; k++) {
            const float *row = t + k * m;

            for (size_t i = block; i < MIN(block + BLOCK, m); i++)
                for (size_t j = block; j < m; j++)
                    ret[i * m + j] += row[i] * row[j];
        }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < i; j++)
            ret[i * m + j] = ret[j * m + i];
}

/* The largest sum of magnitudes of a row. */
static double largest_row(const float *g, size_t m)
{
    double top = 0;

    for (size_t i = 0; i < m; i++) {
        double sum = 0;

        for (size_t j = 0; j < m; j++)
            sum += fabs((double)g[i * m + j]);
        top = fmax(top, sum);
    }
    return top;
}

/* The same rows the long way: (larger, smaller). */
static float *tall(const float *m, size_t rows, size_t cols)
{
    float *t = secret_alloc(rows * cols * sizeof(*t));

    for (size_t i = 0; t && i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            t[rows >= cols ? i * cols + j : j * rows + i] = m[i * cols + j];
    return t;
}

/* Of a Gram matrix @g: its largest eigenvalue is below the root of that of its square. */
static double power_bound(float *g, float *square, size_t m)
{
    double bound = largest_row(g, m), least = bound, scale = 1;

    for (int power = 2; bound > 0 && power <= (m <= SMALL ? 16 : 2); power *= 2) {
        float *swap = g;

        /* Kept near 1, so that powers stay in range. */
        for (size_t i = 0; i < m * m; i++)
            g[i] /= (float)bound;
        scale *= pow(bound, 2.0 / power);
        gram(g, m, m, square);
        g = square;
        square = swap;
        bound = largest_row(g, m);
        least = fmin(least, scale * pow(bound, 1.0 / power));
    }
    return least;
}

double bounds_singular(const float *m, size_t rows, size_t cols)
{
    size_t small = MIN(rows, cols), bytes = small * small * sizeof(float);
    float *t = tall(m, rows, cols), *g = secret_alloc(bytes), *square = secret_alloc(bytes);
    double bound = NAN;

    if (t && g && square) {
        gram(t, MAX(rows, cols), small, g);
        bound = sqrt(power_bound(g, square, small));
    }
    secret_free(t, rows * cols * sizeof(*t));
    secret_free(g, bytes);
    secret_free(square, bytes);
    return bound;
}

/* --- linear layers --- */

struct proof {
    const struct checkpoint *c;
    double normal;            /* length of a normalised row */
    double rounding;          /* of a weight */
    double step;              /* a unit of the last place */
    const float *gain, *bias; /* of the LayerNorm before */
    int rc;
};

static double length(const float *v, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += (double)v[i] * v[i];
    return sqrt(sum);
}

/* Of normalised rows: outputs @first to @first + @count - 1 of x -> (gain x + offset) w^T + b;
 * without @b of gain x w^T alone. */
struct image {
    double element;        /* the largest */
    double length;         /* of a row */
    double element_length; /* of a row of the largest of each */
};

static struct image image_of(struct proof *p, const float *w, const float *b, size_t first,
                             size_t count, double added)
{
    size_t in = p->c->config.hidden;
    float *m = secret_alloc(count * in * sizeof(*m));
    double bias_squares = 0, squares = 0;
    struct image image = {0};

    if (!m) {
        p->rc = -ENOMEM;
        return image;
    }
    for (size_t o = 0; o < count; o++) {
        const float *row = w + (first + o) * in;
        double bias = b ? b[first + o] + added : 0, most;

        for (size_t i = 0; i < in; i++) {
            m[o * in + i] = row[i] * p->gain[i];
            if (b)
                bias += (double)row[i] * p->bias[i];
        }
        most = p->normal * (length(m + o * in, in) + sqrt((double)in) * p->rounding) + fabs(bias);
        image.element = fmax(image.element, most);
        squares += most * most;
        bias_squares += bias * bias;
    }
    image.length = p->normal * (bounds_singular(m, count, in) +
                                sqrt((double)in * (double)count) * p->rounding) +
                   sqrt(bias_squares);
    if (isnan(image.length))
        p->rc = -ENOMEM;
    image.length = fmin(image.length, sqrt(squares));
    secret_free(m, count * in * sizeof(*m));
    return image;
}

/* @m: (out, in); each column less its mean over the outputs. */
static void centre(float *m, size_t out, size_t in)
{
    for (size_t i = 0; i < in; i++) {
        double sum = 0;

        for (size_t o = 0; o < out; o++)
            sum += m[o * in + i];
        for (size_t o = 0; o < out; o++)
            m[o * in + i] -= (float)(sum / (double)out);
    }
}

/* (y + after) w^T + b, of which y comes in; @after: (in). */
static void prove_sublayer(struct proof *p, const float *w, const float *b, size_t in,
                           const double *after, double input, struct sublayer_bounds *ret)
{
    size_t out = p->c->config.hidden;
    float *m = secret_alloc(out * in * sizeof(*m)), *bias = secret_alloc(out * sizeof(*bias));
    double gains = length(p->gain, out) / (double)out, gain_top = 0;

    *ret = (struct sublayer_bounds){.input = input};
    if (!m || !bias)
        p->rc = -ENOMEM;
    for (size_t o = 0; p->rc == 0 && o < out; o++) {
        double sum = (double)b[o] + p->bias[o];

        for (size_t i = 0; i < in; i++)
            sum += after[i] * w[o * in + i];
        bias[o] = (float)sum;
        gain_top = fmax(gain_top, fabs((double)p->gain[o]));
    }
    if (p->rc == 0) {
        memcpy(m, w, out * in * sizeof(*m));
        centre(m, out, in);
        centre(bias, out, 1);
        for (size_t o = 0; o < out; o++) {
            ret->element = fmax(ret->element, length(m + o * in, in));
            ret->element_rest =
                fmax(ret->element_rest,
                     p->normal * (fabs((double)p->gain[o]) + gains) + fabs((double)bias[o]));
        }
        ret->element += 2 * sqrt((double)in) * p->rounding;
        ret->length = bounds_singular(m, out, in) + sqrt((double)in * (double)out) * p->rounding;
        ret->length_rest = p->normal * (gain_top + p->rounding) + length(bias, out);
        if (isnan(ret->length))
            p->rc = -ENOMEM;
    }
    secret_free(m, out * in * sizeof(*m));
    secret_free(bias, out * sizeof(*bias));
}

/* --- a layer --- */

/* Values stand without what each of them has (fold.h). */
static void prove_attention(struct proof *p, size_t layer, const struct layer_weights *w,
                            struct layer_bounds *b)
{
    const struct model_config *k = &p->c->config;
    size_t head = k->hidden / k->heads;
    double *constant = calloc(k->hidden, sizeof(*constant)), squares = 0;

    if (!constant) {
        p->rc = -ENOMEM;
        return;
    }
    for (size_t j = 0; j < k->hidden; j++)
        constant[j] = fold_value_constant(p->c, layer, j);
    for (size_t h = 0; p->rc == 0 && h < k->heads; h++) {
        struct image query = image_of(p, w->query_w, w->query_b, h * head, head, 0);
        struct image key = image_of(p, w->key_w, w->key_b, h * head, head, 0);
        struct image value = image_of(p, w->value_w, NULL, h * head, head, 0);

        b->query = fmax(b->query, query.element);
        b->key = fmax(b->key, key.element);
        b->value = fmax(b->value, value.element);
        b->score = fmax(b->score, query.length * key.length / sqrt((double)head));
        squares += value.length * value.length;
    }
    prove_sublayer(p, w->attention_w, w->attention_b, k->hidden, constant,
                   (1 + BOUNDS_SLACK) * sqrt(squares), &b->attention);
    secret_wipe(constant, k->hidden * sizeof(*constant));
    free(constant);
}

/* The length of a row after the activation, which reads @x; without what the bias makes up for. */
static double activated(enum hidden_act act, const struct image *x, size_t count)
{
    double root = sqrt((double)count);

    switch (act) {
    case HIDDEN_QUAD:
        return x->element * x->length / 8;
    case HIDDEN_TANH:
        return root;
    case HIDDEN_RELU:
        return x->length;
    default: /* above -0.18, and below x */
        return x->length + 0.18 * root;
    }
}

static void prove_feed_forward(struct proof *p, enum hidden_act act, const struct layer_weights *w,
                               struct layer_bounds *b)
{
    const struct model_config *k = &p->c->config;
    size_t count = k->intermediate;
    struct image x =
        image_of(p, w->intermediate_w, w->intermediate_b, 0, count, activation_before(act));
    double rounding = FUNCTIONS_ERROR_UNITS * p->step * sqrt((double)count);
    double *after = calloc(count, sizeof(*after));

    if (!after) {
        p->rc = -ENOMEM;
        return;
    }
    for (size_t j = 0; j < count; j++)
        after[j] = activation_after(act);
    b->inner = x.element;
    b->inner_length = x.length;
    prove_sublayer(p, w->output_w, w->output_b, count, after,
                   (1 + BOUNDS_SLACK) * activated(act, &x, count) + rounding, &b->output);
    free(after);
}

static void prove_layers(struct proof *p, struct bounds *b)
{
    const struct model_config *k = &p->c->config;

    p->gain = p->c->embedding_gain;
    p->bias = p->c->embedding_bias;
    for (size_t i = 0; p->rc == 0 && i < k->layers; i++) {
        const struct layer_weights *w = &p->c->layers[i];

        prove_attention(p, i, w, &b->layers[i]);
        p->gain = w->attention_gain;
        p->bias = w->attention_bias;
        if (p->rc == 0)
            prove_feed_forward(p, k->functions[i].hidden, w, &b->layers[i]);
        p->gain = w->output_gain;
        p->bias = w->output_bias;
    }
}

/* --- both ends --- */

/* The largest that a row of @table, less its mean, adds to each column of @columns, and to a row's
 * length. */
static double add_table(const float *table, size_t rows, size_t hidden, double *columns)
{
    double top = 0;

    for (size_t j = 0; j < hidden; j++)
        columns[hidden + j] = 0;
    for (size_t r = 0; r < rows; r++) {
        const float *row = table + r * hidden;
        double sum = 0, squares = 0;

        for (size_t j = 0; j < hidden; j++)
            sum += row[j];
        for (size_t j = 0; j < hidden; j++) {
            double v = row[j] - sum / (double)hidden;

            columns[hidden + j] = fmax(columns[hidden + j], fabs(v));
            squares += v * v;
        }
        top = fmax(top, sqrt(squares));
    }
    for (size_t j = 0; j < hidden; j++)
        columns[j] += columns[hidden + j];
    return top;
}

static void prove_embedding(struct proof *p, struct bounds *b)
{
    const struct checkpoint *c = p->c;
    const struct model_config *k = &c->config;
    double *columns = calloc(2 * k->hidden, sizeof(*columns));

    if (!columns) {
        p->rc = -ENOMEM;
        return;
    }
    b->embedding_length = add_table(c->word_embeddings, k->vocab, k->hidden, columns) +
                          add_table(c->type_embeddings, k->types, k->hidden, columns) +
                          add_table(c->position_embeddings, k->positions_max, k->hidden, columns);
    for (size_t j = 0; j < k->hidden; j++)
        b->embedding = fmax(b->embedding, columns[j]);
    free(columns);
}

static void prove_head(struct proof *p, struct bounds *b)
{
    const struct checkpoint *c = p->c;
    size_t hidden = c->config.hidden;
    struct image x = image_of(p, c->pooler_w, c->pooler_b, 0, hidden, 0);
    double most = model_head_act(c->config.kind) == HIDDEN_TANH ? 1 : x.element;

    b->pooler = x.element;
    for (size_t o = 0; o < c->config.labels; o++) {
        double sum = fabs((double)c->classifier_b[o]);

        for (size_t i = 0; i < hidden; i++)
            sum += most * (fabs((double)c->classifier_w[o * hidden + i]) + p->rounding);
        b->logits = fmax(b->logits, (1 + BOUNDS_SLACK) * sum);
    }
}

int bounds_prove(const struct checkpoint *c, unsigned int frac, struct bounds *ret, struct err *err)
{
    struct bounds b = {.layers = calloc(c->config.layers, sizeof(*b.layers))};
    struct proof p = {
        .c = c,
        .normal = (1 + BOUNDS_SLACK) * sqrt((double)c->config.hidden),
        .rounding = ldexp(1, 1 - (int)frac),
        .step = ldexp(1, -(int)frac),
        .rc = b.layers ? 0 : -ENOMEM,
    };

    if (p.rc == 0)
        prove_embedding(&p, &b);
    if (p.rc == 0)
        prove_layers(&p, &b);
    if (p.rc == 0)
        prove_head(&p, &b);
    if (p.rc < 0) {
        bounds_free(&b);
        return err_set(err, p.rc, "no memory to prove bounds");
    }
    *ret = b;
    return 0;
}

void bounds_free(struct bounds *b)
{
    free(b->layers);
    b->layers = NULL;
}
