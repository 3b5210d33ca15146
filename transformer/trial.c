#include "transformer/trial.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "mpc/clear.h"
#include "transformer/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct run {
    struct compiled *m;
    const struct trial_options *o;
    struct clear_report **reports; /* (variant, operation) */
    double *worst;           /* (sample): the largest error of a logit against the float one */
    double *apart;           /* (sample): the two best logits of the float one */
    double *reference;       /* (label) */
    int64_t *floor, *random; /* (label, then guard) */
    double squares, deviation_max; /* of random rounding against the floor, in units */
    size_t deviations;
    struct trial result;
};

static size_t top_label(const int64_t *v, size_t count)
{
    size_t best = 0;

    for (size_t i = 1; i < count; i++)
        if (v[i] > v[best])
            best = i;
    return best;
}

/* The two largest; INFINITY where there is one. */
static double apart(const double *v, size_t count)
{
    double first = -INFINITY, second = -INFINITY;

    for (size_t i = 0; i < count; i++) {
        second = fmax(second, fmin(first, v[i]));
        first = fmax(first, v[i]);
    }
    return first - second;
}

/* Keeps the sample's worst logit. @return whether the label is the same. */
static bool compare_float(struct run *r, size_t sample)
{
    const struct plan *plan = r->m->plan;
    size_t best = 0;

    for (size_t i = 0; i < plan->labels; i++) {
        double off = fabs(ldexp((double)r->floor[i], -plan->frac) - r->reference[i]);

        r->worst[sample] = fmax(r->worst[sample], off);
        if (r->reference[i] > r->reference[best])
            best = i;
    }
    r->apart[sample] = apart(r->reference, plan->labels);
    return best == top_label(r->floor, plan->labels);
}

/* The clear executor's messages begin with the operation's number; people want its place. */
static int explain(const struct run *r, size_t variant, int rc, const struct err *why,
                   struct err *err)
{
    const struct variant *v = &r->m->plan->variants[variant];
    char place[PLACE_TEXT_MAX];
    unsigned int op;

    if (rc != -ERANGE || sscanf(why->text, "operation %u", &op) != 1 || op >= v->op_count)
        return err_set(err, rc, "%s", err_text(why, rc));
    place_text(&r->m->places[variant][op], place);
    return err_set(err, rc, "%s, %u tokens: %s", place, v->tokens, why->text);
}

static int run_clear(struct run *r, const struct variant *v, const uint64_t *input, uint32_t length,
                     enum clear_rounding rounding, uint64_t number, int64_t *ret, struct err *err)
{
    uint8_t seed[PRG_SEED_BYTES] = {0};
    const struct guard *outside;
    size_t variant = (size_t)(v - r->m->plan->variants);
    struct err why = {0};
    int rc;

    store_le64(seed, number);
    rc = clear_run(r->m->plan, v, (const uint64_t *const *)r->m->weights, input, &length, rounding,
                   seed, r->reports[variant], ret, &why);
    if (rc < 0)
        return explain(r, variant, rc, &why, err);
    outside = plan_outside(r->m->plan, v, ret, 0);
    return outside ? err_set(err, -ERANGE,
                             "%s, %u tokens: a sample comes nearer than a sixteenth to an end of "
                             "the range that it was compiled for",
                             outside->name, v->tokens)
                   : 0;
}

static void note_deviation(struct run *r)
{
    for (size_t i = 0; i < r->m->plan->labels; i++) {
        double d = fabs((double)(r->random[i] - r->floor[i]));

        r->squares += d * d;
        r->deviation_max = fmax(r->deviation_max, d);
        r->deviations++;
    }
}

static int run_variant(struct run *r, const struct variant *v, size_t sample, struct err *err)
{
    const struct encoding *e = &r->o->samples[sample];
    uint32_t length = v->length == LENGTH_PUBLIC ? (uint32_t)e->count : v->tokens;
    size_t bytes = variant_input_words(v) * sizeof(uint64_t);
    uint64_t *input = secret_alloc(bytes);
    int rc;

    if (!input)
        return err_set(err, -ENOMEM, "no memory for a sample");
    rc = compile_input(r->m->plan, v, e, input, err);
    if (rc == 0)
        rc = run_clear(r, v, input, length, CLEAR_FLOOR, 0, r->floor, err);
    for (unsigned int i = 0; rc == 0 && i < r->o->random_runs; i++) {
        rc = run_clear(r, v, input, length, CLEAR_RANDOM,
                       sample * (uint64_t)r->o->random_runs + i + 1, r->random, err);
        if (rc == 0)
            note_deviation(r);
    }
    secret_free(input, bytes);
    return rc;
}

/* In the smallest bucket, of every length mode that there is. */
static int run_sample(struct run *r, size_t sample, struct err *err)
{
    const struct encoding *e = &r->o->samples[sample];
    const struct checkpoint *c = r->o->checkpoint;
    int rc = c ? reference_classify(c, e, r->reference, NULL, err) : 0;
    bool any = false, agree = true;

    for (int length = 0; rc == 0 && length < LENGTH_MODES; length++) {
        const struct variant *v =
            plan_variant(r->m->plan, (uint32_t)e->count, (enum length_mode)length);

        if (!v)
            continue;
        any = true;
        rc = run_variant(r, v, sample, err);
        if (rc == 0 && c)
            agree &= compare_float(r, sample);
    }
    if (rc == 0 && !any)
        return err_set(err, -EINVAL, "a sample of %zu tokens is longer than every bucket",
                       e->count);
    r->result.agree += rc == 0 && c && agree;
    return rc;
}

static double headroom(const struct op *op, const struct clear_report *report)
{
    double bits = report->headroom_bits;

    double least = (double)op->attr[RANGE_MIN], seen = report->value_min;

    if (op->id != OP_RANGE)
        return bits;
    if (least > 0)
        bits = fmin(bits, log2(seen / least));
    else if (seen < 0)
        bits = fmin(bits, log2(least / seen));
    return bits;
}

/* Of the ends of a range that a guard watches; the others are certain. */
static double guarded_headroom(const struct variant *v, const struct op *range,
                               const struct clear_report *report)
{
    double bits = INFINITY;

    for (size_t i = range->index; i < v->op_count; i++)
        for (size_t j = 0; v->ops[i].id == OP_JOIN && j < v->ops[i].input_count; j++)
            if (v->ops[i].in[j] == range->in[0])
                bits = fmin(bits, v->ops[i].attr[JOIN_ATTRS * j + JOIN_FACTOR] < 0
                                      ? report->headroom_bits
                                      : headroom(range, report));
    return bits;
}

static void collect_guarded(struct run *r, size_t variant, size_t op)
{
    const struct variant *v = &r->m->plan->variants[variant];
    struct trial_row *row = &r->result.guarded;
    double bits = guarded_headroom(v, &v->ops[op], &r->reports[variant][op]);

    if (bits < (row->seen ? row->headroom_bits : INFINITY))
        *row = (struct trial_row){true, r->m->places[variant][op], v->tokens, (uint32_t)op, bits};
}

static void collect(struct run *r)
{
    r->result.headroom_bits = INFINITY;
    for (size_t i = 0; i < r->m->plan->variant_count; i++) {
        const struct variant *v = &r->m->plan->variants[i];

        for (size_t j = 0; j < v->op_count; j++) {
            const struct clear_report *report = &r->reports[i][j];
            struct trial_row *row = &r->result.rows[v->ops[j].id];
            double bits = headroom(&v->ops[j], report);

            if (v->ops[j].id == OP_RANGE && report->value_max > 0)
                collect_guarded(r, i, j);
            if (report->value_max <= 0 || (row->seen && row->headroom_bits <= bits))
                continue;
            *row = (struct trial_row){true, r->m->places[i][j], v->tokens, (uint32_t)j, bits};
            r->result.headroom_bits = fmin(r->result.headroom_bits, bits);
        }
    }
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void conclude(struct run *r)
{
    struct plan *plan = r->m->plan;
    struct trial *t = &r->result;
    double units = TRIAL_SPREADS * sqrt(r->squares / (double)r->deviations);

    units = fmax(fmax(units, TRIAL_TIMES * r->deviation_max), TRIAL_UNITS_MIN);
    t->error_bound = plan->error_bound = ldexp(units, -plan->frac);
    t->samples = r->o->sample_count;
    t->label_room = INFINITY;
    for (size_t i = 0; r->o->checkpoint && i < t->samples; i++)
        if (r->apart[i] >= TRIAL_UNDECIDED)
            t->label_room = fmin(t->label_room, r->apart[i] / 2 / (r->worst[i] + t->error_bound));
    qsort(r->worst, t->samples, sizeof(*r->worst), order);
    t->float_error_median = r->worst[t->samples / 2];
    t->float_error_max = r->worst[t->samples - 1];
    collect(r);
}

static int allocate(struct run *r)
{
    const struct plan *plan = r->m->plan;

    r->worst = calloc(r->o->sample_count, sizeof(*r->worst));
    r->apart = calloc(r->o->sample_count, sizeof(*r->apart));
    r->reference = calloc(plan->labels, sizeof(*r->reference));
    r->floor = calloc(plan->labels + plan->guard_count, sizeof(*r->floor));
    r->random = calloc(plan->labels + plan->guard_count, sizeof(*r->random));
    r->reports = calloc(plan->variant_count, sizeof(*r->reports));
    if (!r->worst || !r->apart || !r->reference || !r->floor || !r->random || !r->reports)
        return -ENOMEM;
    for (size_t i = 0; i < plan->variant_count; i++) {
        r->reports[i] = calloc(plan->variants[i].op_count, sizeof(**r->reports));
        if (!r->reports[i])
            return -ENOMEM;
    }
    return 0;
}

static void release(struct run *r)
{
    for (size_t i = 0; r->reports && i < r->m->plan->variant_count; i++)
        free(r->reports[i]);
    free(r->reports);
    free(r->worst);
    free(r->apart);
    free(r->reference);
    free(r->floor);
    free(r->random);
}

int trial_run(struct compiled *m, const struct trial_options *o, struct trial *ret, struct err *err)
{
    struct run r = {.m = m, .o = o};
    int rc;

    if (!o->sample_count || !o->random_runs)
        return err_set(err, -EINVAL, "a trial needs sample text and a random run");
    rc = allocate(&r);
    if (rc < 0)
        err_set(err, rc, "no memory for a trial");
    for (size_t i = 0; rc == 0 && i < o->sample_count; i++) {
        rc = run_sample(&r, i, err);
        if (rc == 0 && o->progress)
            o->progress(o->context, i + 1, o->sample_count);
    }
    if (rc == 0) {
        conclude(&r);
        *ret = r.result;
    }
    release(&r);
    return rc;
}
