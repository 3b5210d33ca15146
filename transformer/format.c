#include "transformer/format.h"

#include "transformer/functions.h"

#include <math.h>
#include <stdlib.h>

#define MANTISSA_BITS  18 /* more than the lines are good for is wasted */
#define CONTEXT_BITS   14 /* over 2 frac: of a context times a reciprocal */
#define ROOT_MORE_BITS 6  /* of an inverse root, over frac */
#define INPUT_RING_MIN 24 /* bits; so that a narrow table is no coarser than the plan's numbers */
#define TANH_RANGE_MIN 3
#define TANH_RANGE_MAX 7 /* in powers of two; beyond it steps are too wide */
#define SCORE_SHIFT    5 /* c of 2quad's (s + c)^2 */

/* Bits left of the point: |v| < 2^bits_of(v). */
static int bits_of(double v)
{
    return v > 0 ? (int)floor(log2(v)) + 1 : -64;
}

int format_log2(size_t v)
{
    int e = 0;

    while (v >>= 1)
        e++;
    return e;
}

double format_excess(size_t columns)
{
    return ldexp((double)columns, -format_log2(columns));
}

int format_mantissa(unsigned int ring)
{
    return MIN(MANTISSA_BITS, ((int)ring - 5) / 2);
}

struct choice {
    struct formats *f;
    const struct model_config *config;
    const struct ranges *seen;
    const struct bounds *bounds;
    struct err *err;
};

static int refuse(const struct formats *f, const char *what, size_t layer, double value,
                  struct err *err)
{
    return err_set(err, -ERANGE,
                   "layer %zu, %s: values reach %.3g on the sample text, which %d bits with %d "
                   "fraction bits do not hold: take a wider ring or fewer fraction bits",
                   layer, what, value, f->ring, f->frac);
}

/* @layer: -1 outside the layers. */
static int note(const struct choice *k, const char *what, int layer, enum promise_kind kind,
                double most, double holds)
{
    struct formats *f = k->f;
    size_t count = f->promise_count;
    struct promise *more = f->promises;

    if (!(count & (count - 1)))
        more = realloc(f->promises, (count ? 2 * count : 1) * sizeof(*more));
    if (!more)
        return err_set(k->err, -ENOMEM, "no memory for a model's promises");
    f->promises = more;
    f->promises[f->promise_count++] = (struct promise){what, layer, kind, most, holds};
    return 0;
}

/* Bits left of a product at @frac fraction bits, so that a guard can compare it, too. */
static int room_of(const struct formats *f, int frac)
{
    return f->ring - 3 - frac;
}

/* Fraction bits of a weight whose products (with x at frac) reach @top on sample text: so many that
 * there is a margin. */
static int choose_by_samples(const struct choice *k, const char *what, int layer, double top,
                             int *ret)
{
    const struct formats *f = k->f;
    int room = f->ring - 2 - f->frac - bits_of(top);
    int want = MIN(f->frac + FORMAT_MORE_BITS, room - RANGES_MARGIN_BITS), least = f->frac - 2;

    if (want < least)
        want = MIN(least, room - 1);
    if (want < least)
        return refuse(f, what, (size_t)MAX(layer, 0), top, k->err);
    *ret = want;
    return 0;
}

/* The same, of products that cannot reach more than @most. */
static int choose_weight(const struct choice *k, const char *what, int layer, double top,
                         double most, int *ret)
{
    const struct formats *f = k->f;
    int proven = MIN(room_of(f, f->frac) - bits_of(most), f->frac + FORMAT_MORE_BITS);
    int rc = 0;

    if (proven >= f->frac - 2)
        *ret = proven;
    else
        rc = choose_by_samples(k, what, layer, top, ret);
    return rc < 0 ? rc
                  : note(k, what, layer, proven >= f->frac - 2 ? PROMISE_PROVEN : PROMISE_SAMPLED,
                         most, ldexp(1, room_of(f, f->frac) - *ret));
}

/* A value at @frac fraction bits that will be truncated, and reaches @top on sample text: one bit
 * of room at least. */
static int need_room(const struct choice *k, const char *what, size_t layer, double top,
                     double most, int frac)
{
    const struct formats *f = k->f;
    double holds = ldexp(1, room_of(f, frac));

    if (bits_of(top) + frac + 1 > f->ring - 2)
        return refuse(f, what, layer, top, k->err);
    return note(k, what, (int)layer, most < holds ? PROMISE_PROVEN : PROMISE_SAMPLED, most, holds);
}

static int choose_norm(const struct formats *f, const char *what, size_t layer,
                       const struct span *variance, double epsilon, struct norm_format *ret,
                       struct err *err)
{
    int e = format_log2(f->hidden), g = f->tables->mantissa, low, high;
    double c = format_excess(f->hidden), scale;
    struct norm_format k = {.inverse = {.kind = INVERSE_ROOT, .tables = f->tables}};

    if (!(variance->least > 0) || !isfinite(variance->most))
        return err_set(err, -ERANGE, "layer %zu, %s: its input is constant on some sample text",
                       layer, what);
    k.up = (int)lrint(-0.25 * (log2(variance->least) + log2(variance->most)));
    scale = c * c * c * exp2(2 * k.up);
    low = bits_of(variance->least * scale) - 1;
    high = bits_of(variance->most * scale) - 1;
    k.inverse.hi = MIN(high + RANGES_MARGIN_BITS + 1, f->ring - 4 - 2 * f->frac - e) & ~1;
    k.inverse.lo = low - RANGES_MARGIN_BITS;
    k.variance_frac =
        MIN(MIN(g + 2 - k.inverse.lo, 2 * f->frac + e - 1), f->ring - 4 - k.inverse.hi);
    k.inverse.lo = MAX(k.inverse.lo, 4 - k.variance_frac);
    if (k.inverse.hi < high + 1 || k.inverse.lo > low - 1 || k.variance_frac + k.inverse.hi <= g)
        return refuse(f, what, layer, sqrt(variance->most), err);
    k.inverse.frac = MIN(MIN(f->frac + ROOT_MORE_BITS, f->ring - 4 - g + k.inverse.lo / 2),
                         f->ring - 3 - f->frac - (e + 2) / 2);
    k.inverse.shift = 2 * f->frac + e - k.variance_frac;
    k.epsilon = llrint(ldexp(epsilon * scale, 2 * f->frac + e));
    *ret = k;
    return 0;
}

/* How long a row less its mean may be for its sum of squares to fit. */
static double length_room(const struct formats *f, const struct norm_format *norm)
{
    double root = sqrt((double)f->hidden), unit = ldexp(1, -f->frac);

    return (exp2(room_of(f, 2 * f->frac) / 2.0) - root * unit) /
           ldexp(format_excess(f->hidden), norm->up);
}

/* How long a row may be that a sublayer's weight of @frac fraction bits reads: what comes out is
 * centred at the product's scale, n (z - mean) must fit. */
static double input_room(const struct formats *f, const struct sublayer_bounds *b,
                         const struct norm_format *norm, int frac)
{
    double element = ldexp(1, room_of(f, f->frac + frac)) / (double)f->hidden;

    return fmin((element - b->element_rest) / b->element,
                (length_room(f, norm) - b->length_rest) / b->length);
}

/*
 * Weight, and the end of the sum of squares of a row that it reads, for a guard; 0 where none is
 * needed. A sum may itself be too large to compare: @sum_most is what can come of it.
 */
static int choose_sublayer(const struct choice *k, const char *what, size_t layer,
                           enum reference_point variance, const struct sublayer_bounds *b,
                           double sum_most, int *ret_weight, struct norm_format *ret_norm,
                           int64_t *ret_end)
{
    const struct formats *f = k->f;
    double top = ranges_top(k->seen, variance + 1, layer) * (double)f->hidden, room;
    int w = f->frac + FORMAT_MORE_BITS, rc;
    enum promise_kind kind = PROMISE_PROVEN;

    *ret_end = 0;
    rc = choose_norm(f, what, layer, &k->seen->seen[layer][variance], k->config->layer_norm_eps,
                     ret_norm, k->err);
    if (rc < 0)
        return rc;
    while (w > f->frac && b->input > input_room(f, b, ret_norm, w))
        w--;
    room = input_room(f, b, ret_norm, w);
    if (b->input > room) {
        rc = choose_by_samples(k, what, (int)layer, top, &w);
        w = MIN(w, f->frac);
        room = input_room(f, b, ret_norm, w);
        kind = room > 0 && sum_most < ldexp(1, room_of(f, 2 * f->frac)) ? PROMISE_GUARDED
                                                                        : PROMISE_SAMPLED;
    }
    if (kind == PROMISE_GUARDED)
        *ret_end = llrint(floor(ldexp(room * room, 2 * f->frac)));
    *ret_weight = w;
    return rc < 0 ? rc : note(k, what, (int)layer, kind, b->input, room);
}

/* What the scores become: squares, the rows' sums. */
static int choose_scores(const struct choice *k, size_t i)
{
    const struct formats *f = k->f;
    struct layer_format *l = &k->f->layers[i];
    enum softmax_act act = k->config->functions[i].softmax;
    double score = ranges_top(k->seen, REFERENCE_SCORE, i), most = k->bounds->layers[i].score;
    double power = exp2(floor(log2(sqrt((double)f->head))));
    double tokens = 2 * (double)MIN(k->config->positions_max, (size_t)PLAN_TOKENS_MAX), weight = 0;
    int rc = need_room(k, "scores", i, score * power, (most + SCORE_SHIFT) * power, 2 * f->frac);

    if (rc == 0 && act == SOFTMAX_2QUAD)
        rc = need_room(k, "scores squared", i, pow(score + SCORE_SHIFT, 2),
                       pow(most + SCORE_SHIFT, 2), 2 * f->frac);
    /* Their differences, too, and what is added to those that do not count. */
    if (rc == 0 && act != SOFTMAX_2QUAD)
        rc = need_room(k, "differences of scores", i, 2 * score * power, 2 * most * power,
                       2 * f->frac);
    if (act != SOFTMAX_EXP)
        weight = act == SOFTMAX_2QUAD ? pow(most + SCORE_SHIFT, 2) : most + 1;
    if (rc == 0 && weight > 0)
        rc = need_room(k, "sums of weights", i, 0, tokens * weight, f->frac);
    if (rc == 0)
        rc = note(k, "range of a row of weights", (int)i,
                  act == SOFTMAX_EXP ? PROMISE_PROVEN : PROMISE_GUARDED, NAN, NAN);
    if (rc < 0)
        return rc;
    l->row = k->seen->seen[i][REFERENCE_ROW_SUM];
    l->value_top = k->bounds->layers[i].value;
    if (act == SOFTMAX_2QUAD && !(l->row.least > 0))
        return err_set(k->err, -ERANGE, "layer %zu: all scores of a row are -5 on some sample text",
                       i);
    return 0;
}

/* The square of an activation's row is no longer than the square of its sum, for one that is
 * nowhere negative: a guard of the sum, too, where the row's length alone cannot be compared. */
static int choose_output(const struct choice *k, size_t i)
{
    const struct formats *f = k->f;
    struct layer_format *l = &k->f->layers[i];
    const struct layer_bounds *b = &k->bounds->layers[i];
    double most = b->output.input * b->output.input, room = ldexp(1, room_of(f, 2 * f->frac));
    double sum = b->inner_length * b->inner_length / 8;
    bool by_sum = k->config->functions[i].hidden == HIDDEN_QUAD && most >= room &&
                  sum < ldexp(1, room_of(f, 2 * f->frac) - 3);
    int rc = choose_sublayer(k, "feed-forward output", i, REFERENCE_OUTPUT_VARIANCE, &b->output,
                             by_sum ? room / 2 : most, &l->down, &l->output_norm, &l->hidden_end);

    if (by_sum && l->hidden_end)
        l->hidden_sum_end = llrint(floor(ldexp(sqrt(room / 2), f->frac)));
    return rc;
}

static int choose_layer(const struct choice *k, size_t i)
{
    const struct formats *f = k->f;
    struct layer_format *l = &k->f->layers[i];
    const struct layer_bounds *b = &k->bounds->layers[i];
    double root = sqrt((double)f->head), power = exp2(floor(log2(root)));
    enum hidden_act act = k->config->functions[i].hidden;
    double inner = ranges_top(k->seen, REFERENCE_FFN_INPUT, i) + activation_before(act);
    double top = ranges_top(k->seen, REFERENCE_QUERY, i) * power / root;
    int rc;

    top = fmax(top, ranges_top(k->seen, REFERENCE_KEY, i));
    top = fmax(top, ranges_top(k->seen, REFERENCE_VALUE, i));
    rc = choose_weight(k, "query, key and value", (int)i, top,
                       fmax(fmax(b->query, b->key), b->value), &l->qkv);
    if (rc == 0)
        rc = choose_scores(k, i);
    if (rc == 0)
        rc = choose_sublayer(k, "attention output", i, REFERENCE_ATTENTION_VARIANCE, &b->attention,
                             b->attention.input * b->attention.input, &l->attention,
                             &l->attention_norm, &l->context_end);
    if (rc == 0)
        rc = choose_weight(k, "feed-forward input", (int)i, inner, b->inner, &l->up);
    if (rc == 0 && act == HIDDEN_QUAD)
        rc = need_room(k, "feed-forward squares", i, inner * inner, b->inner * b->inner,
                       2 * f->frac);
    if (rc == 0)
        rc = choose_output(k, i);
    if (rc == 0)
        rc = note(k, "ranges of variances", (int)i, PROMISE_GUARDED, NAN, NAN);
    return rc;
}

/* One-hot rows have no fraction bits, so the tables' scale is the sum's own. What a sum of them can
 * reach is known, so nothing is left over; centred in the plan's ring it must fit that. */
static int choose_embedding(const struct choice *k, double top, bool narrow)
{
    struct formats *f = k->f;
    double centred = ranges_top(k->seen, REFERENCE_EMBEDDING_CENTRED, 0) * (double)f->hidden;
    double most = k->bounds->embedding * (double)f->hidden;
    int least, proven, rc;

    rc = choose_norm(f, "embedding", 0, &k->seen->seen[0][REFERENCE_EMBEDDING_VARIANCE],
                     k->config->layer_norm_eps, &f->embedding_norm, k->err);
    if (rc < 0)
        return rc;
    least = f->frac + f->embedding_norm.up;
    /* Each of the three that are summed is rounded. */
    top += ldexp(1.5, -least);
    f->input_ring = f->ring;
    if (narrow)
        f->input_ring = MIN(MAX((least + bits_of(top) + 2 + 7) / 8 * 8, INPUT_RING_MIN), f->ring);
    f->table = MIN(f->input_ring - 2 - bits_of(top), least + f->frac);
    proven = room_of(f, bits_of(most));
    f->table = MIN(f->table, MAX(proven, f->ring - 2 - bits_of(centred) - RANGES_MARGIN_BITS));
    if (f->table < least)
        return refuse(f, "embedding", 0, top, k->err);
    rc = note(k, "embedding", -1, f->table <= proven ? PROMISE_PROVEN : PROMISE_SAMPLED, most,
              ldexp(1, room_of(f, f->table)));
    if (rc == 0)
        rc =
            note(k, "length of an embedding", -1,
                 k->bounds->embedding_length < length_room(f, &f->embedding_norm) ? PROMISE_PROVEN
                                                                                  : PROMISE_SAMPLED,
                 k->bounds->embedding_length, length_room(f, &f->embedding_norm));
    return rc < 0 ? rc : note(k, "range of an embedding's variance", -1, PROMISE_GUARDED, NAN, NAN);
}

/* Of tanh, whose table ends a step before 2^tanh_range. */
static bool tanh_proven(const struct formats *f, double most)
{
    return bits_of(most * (1 + BOUNDS_SLACK)) <= f->tanh_range;
}

static int choose_head(const struct choice *k)
{
    struct formats *f = k->f;
    double top = ranges_top(k->seen, REFERENCE_POOLER, 0), most = k->bounds->pooler;
    bool tanh = model_head_act(k->config->kind) == HIDDEN_TANH;
    int rc = choose_weight(k, "pooler", -1, top, most, &f->pooler);

    f->tanh_range = MAX(bits_of(top) + RANGES_MARGIN_BITS, TANH_RANGE_MIN);
    f->tanh_range = MIN(f->tanh_range, TANH_RANGE_MAX);
    if (rc == 0 && tanh && bits_of(top) > f->tanh_range)
        return refuse(f, "pooler", 0, top, k->err);
    f->tanh_proven = tanh_proven(f, most);
    if (rc == 0 && tanh)
        rc = note(k, "range of tanh", -1, f->tanh_proven ? PROMISE_PROVEN : PROMISE_GUARDED, most,
                  ldexp(1, f->tanh_range));
    return rc < 0 ? rc
                  : choose_weight(k, "classifier", -1, ranges_top(k->seen, REFERENCE_LOGITS, 0),
                                  k->bounds->logits, &f->classifier);
}

int formats_choose(const struct model_config *config, const struct ranges *seen,
                   const struct bounds *bounds, double embedding_top, unsigned int ring,
                   unsigned int frac, bool narrow, const struct inverse_tables *tables,
                   struct formats *ret, struct err *err)
{
    struct formats f = {
        .ring = (int)ring,
        .frac = (int)frac,
        .tables = tables,
        .hidden = config->hidden,
        .head = config->hidden / config->heads,
        .layers = calloc(config->layers, sizeof(*f.layers)),
    };
    const struct choice k = {&f, config, seen, bounds, err};
    int rc;

    if (!f.layers)
        return err_set(err, -ENOMEM, "no memory for %zu layers", config->layers);
    rc = choose_embedding(&k, embedding_top, narrow);
    for (size_t i = 0; rc == 0 && i < config->layers; i++)
        rc = choose_layer(&k, i);
    if (rc == 0)
        rc = choose_head(&k);
    if (rc < 0) {
        formats_free(&f);
        return rc;
    }
    *ret = f;
    return 0;
}

void formats_free(struct formats *f)
{
    free(f->layers);
    free(f->promises);
    f->layers = NULL;
    f->promises = NULL;
}

/* What a row of weights sums up to. Of exponentials it is known; of the others it is what was seen,
 * scaled by the length, which brings any to more than half of the bucket. The unit that is added to
 * every relu(s) is the least that a row of those can be. */
static struct span row_sums(const struct formats *f, const struct layer_format *l,
                            enum softmax_act act, int weight_frac, uint32_t tokens)
{
    struct span sum = {l->row.least * 0.5 * tokens, l->row.most * tokens};
    /* A reciprocal's range reaches past its mantissa. */
    double reach = ldexp(2, f->tables->mantissa - weight_frac);

    if (act == SOFTMAX_EXP)
        return (struct span){0.5, FUNCTIONS_EXP_MOST * tokens};
    if (act == SOFTMAX_2RELU)
        sum = (struct span){ldexp(0.5 * tokens, -weight_frac), fmax(sum.most, reach)};
    return sum;
}

int format_attention(const struct formats *f, size_t layer, enum softmax_act act, uint32_t tokens,
                     struct attention_format *ret, struct err *err)
{
    const struct layer_format *l = &f->layers[layer];
    int want = act == SOFTMAX_EXP ? f->frac + FUNCTIONS_EXP_MORE_BITS : f->frac;
    /* Where it is known what can come there need be nothing left over. */
    int more = act == SOFTMAX_EXP ? 0 : RANGES_MARGIN_BITS;
    int less = act == SOFTMAX_2QUAD ? RANGES_MARGIN_BITS : 0;
    int high, low, sum, room = f->ring - 2 - bits_of(l->value_top);
    struct span row = row_sums(f, l, act, f->frac, tokens);
    struct attention_format a = {.inverse = {.kind = INVERSE_RECIPROCAL, .tables = f->tables}};

    /* A context is no larger than its values, and before the division as much larger as the row's
     * sum, which its range bounds. */
    high = bits_of(row.most) - 1;
    a.weight_frac = MIN(want, room - f->frac - high - 1 - more / 2);
    row = row_sums(f, l, act, a.weight_frac, tokens);
    low = bits_of(row.least) - 1;
    a.inverse.hi =
        MIN(MIN(high + more, room - f->frac - a.weight_frac - 1), f->ring - 4 - a.weight_frac);
    a.inverse.lo = MAX(low - less, (less > 0 ? 2 : 0) - a.weight_frac);
    /* What is left for context and reciprocal is divided so that both are as good, relatively, at a
     * row sum in the middle. */
    sum = MIN(room, 2 * f->frac + CONTEXT_BITS);
    a.inverse.frac = MIN((int)lrint(0.5 * (sum + log2(row.least) + log2(row.most))),
                         f->ring - 4 - f->tables->mantissa + a.inverse.lo);
    a.context_frac = MIN(sum - a.inverse.frac, a.weight_frac + f->frac - 1);
    a.inverse.lo_proven = act != SOFTMAX_2QUAD;
    a.inverse.hi_proven = act == SOFTMAX_EXP;
    if (a.weight_frac < 2 || a.inverse.hi < high + (more > 0) || a.inverse.lo > low - (less > 0) ||
        a.inverse.frac < high + 4 || a.weight_frac + a.inverse.hi <= f->tables->mantissa)
        return refuse(f, "attention over its row sum", layer, row.most, err);
    *ret = a;
    return 0;
}
