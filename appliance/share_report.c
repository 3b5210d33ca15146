#include "appliance/share_report.h"

#include "base/bytes.h"
#include "mpc/cost.h"

#include <math.h>
#include <string.h>

/* To two places; null for what is not finite. */
static json_t *rounded(double v)
{
    return isfinite(v) ? json_real(round(v * 100) / 100) : json_null();
}

/* To three digits, likewise. */
static json_t *digits(double v)
{
    char text[32];

    snprintf(text, sizeof(text), "%.3g", v);
    return isfinite(v) ? json_real(strtod(text, NULL)) : json_null();
}

static json_t *whole(double v)
{
    return isfinite(v) ? json_integer((json_int_t)v) : json_null();
}

static json_t *place(const struct place *at)
{
    char text[PLACE_TEXT_MAX];

    place_text(at, text);
    return json_string(text);
}

static json_t *describe_headroom(const struct trial *t)
{
    json_t *list = json_array();

    for (size_t i = 0; i < OP_ID_END; i++) {
        const struct trial_row *row = &t->rows[i];

        if (row->seen)
            json_array_append_new(list,
                                  json_pack("{s:s, s:o, s:i, s:i, s:o}", "operation",
                                            op_kind((unsigned int)i)->name, "headroom_bits",
                                            rounded(row->headroom_bits), "tokens", (int)row->tokens,
                                            "number", (int)row->op, "at", place(&row->at)));
    }
    return list;
}

/* The weights that @op reads to sum up those of tokens that are there, or sets to 0 elsewhere. */
static const struct wire *squares_of(const struct variant *v, const struct op *op)
{
    const struct wire *w = op->id == OP_MATMUL ? &v->wires[op->in[0]] : NULL;

    if (op->id == OP_LENGTH_MASK && !op->attr_count)
        return &v->wires[op->out];
    /* One column a sequence, of opened presence. */
    return w && v->length == LENGTH_BUCKET && op->attr[MATMUL_COLS] == 1 &&
                   op->attr[MATMUL_B_ROW] == PRESENCE_COLS
               ? w
               : NULL;
}

/* Of every layer that has such weights: how many more fraction bits than the plan they are given,
 * before tokens that are not there are left out. */
static json_t *describe_squares(const struct plan *plan, const struct variant *v)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->op_count; i++) {
        const struct wire *w = squares_of(v, &v->ops[i]);

        if (w)
            json_array_append_new(list, json_integer(w->frac - plan->frac));
    }
    return list;
}

static json_t *describe_variants(const struct plan *plan)
{
    json_t *list = json_array();

    for (size_t i = 0; i < plan->variant_count; i++) {
        const struct variant *v = &plan->variants[i];
        struct cost c;

        cost_variant(plan, v, &c, NULL);
        json_array_append_new(
            list, json_pack("{s:i, s:s, s:i, s:I, s:I, s:I, s:I, s:o}", "tokens", (int)v->tokens,
                            "length", length_mode_names[v->length], "batch", (int)v->batch,
                            "bytes_online", (json_int_t)c.bytes_online, "rounds_online",
                            (json_int_t)c.rounds_online, "bytes_tape", (json_int_t)c.bytes_tape,
                            "macs_online", (json_int_t)c.macs_online, "squares_bits",
                            describe_squares(plan, v)));
    }
    return list;
}

static json_t *describe_promises(const struct compiled *m)
{
    static const char *const kinds[PROMISE_KINDS] = {
        [PROMISE_PROVEN] = "proven", [PROMISE_GUARDED] = "guarded", [PROMISE_SAMPLED] = "sampled"};
    json_t *list = json_array();

    for (size_t i = 0; i < m->promise_count; i++) {
        const struct promise *p = &m->promises[i];

        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o}", "promise", kinds[p->kind],
                                              "most", digits(p->most), "holds", digits(p->holds),
                                              "of", place(&(struct place){p->what, p->layer})));
    }
    return list;
}

/* One query in the longest bucket: what is said of a candidate's cost. */
static const struct variant *longest(const struct plan *plan)
{
    const struct variant *last = &plan->variants[plan->variant_count - 1];

    return plan_variant_exact(plan, last->tokens, last->length, 1);
}

static json_t *describe_candidate(const struct candidate *c, bool best)
{
    const struct compiled *m = c->compiled;
    double headroom = NAN, bound = NAN, error = NAN, room = NAN, bytes = NAN, rounds = NAN;
    const struct trial_row *at;
    struct cost cost;

    if (m) {
        cost_variant(m->plan, longest(m->plan), &cost, NULL);
        headroom = candidate_headroom(c, &at);
        bound = c->trial.error_bound;
        error = c->trial.float_error_max;
        room = c->trial.label_room;
        bytes = (double)cost.bytes_online;
        rounds = (double)cost.rounds_online;
    }
    return json_pack("{s:i, s:i, s:b, s:b, s:o, s:o, s:o, s:o, s:i, s:i, s:i, s:o, s:o, s:s}",
                     "ring", (int)c->ring, "frac", (int)c->frac, "fits", c->fits, "taken", best,
                     "headroom_bits", rounded(headroom), "error_bound", digits(bound),
                     "float_error_max", digits(error), "label_room", rounded(room), "proven",
                     (int)candidate_promises(c, PROMISE_PROVEN), "guarded",
                     (int)candidate_promises(c, PROMISE_GUARDED), "sampled",
                     (int)candidate_promises(c, PROMISE_SAMPLED), "bytes_online", whole(bytes),
                     "rounds_online", whole(rounds), "why", c->why.text);
}

static void describe_best(json_t *report, const struct candidate *c, const char *out)
{
    const struct plan *plan = c->compiled->plan;
    const struct trial *t = &c->trial;
    char id[2 * PLAN_ID_BYTES + 1], hash[2 * PLAN_HASH_BYTES + 1];
    const struct trial_row *at;
    double headroom = candidate_headroom(c, &at);
    json_t *best;

    hex_encode(plan->model_id, PLAN_ID_BYTES, id);
    hex_encode(plan->hash, PLAN_HASH_BYTES, hash);
    best = json_pack(
        "{s:s?, s:s?, s:s?, s:i, s:i, s:o, s:o, s:f, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:o}",
        "model_id", out ? id : NULL, "plan_hash", out ? hash : NULL, "out", out, "ring",
        (int)plan->ring, "frac", (int)plan->frac, "headroom_bits", rounded(headroom), "headroom_at",
        at ? place(&at->at) : json_null(), "error_bound", t->error_bound, "samples",
        (json_int_t)t->samples, "samples_same_label", (json_int_t)t->agree, "float_error_median",
        t->float_error_median, "float_error_max", t->float_error_max, "label_room",
        rounded(t->label_room), "headroom", describe_headroom(t), "variants",
        describe_variants(plan), "promises", describe_promises(c->compiled));
    if (best)
        json_object_update(report, best);
    json_object_set_new(report, "labels_only", json_boolean(plan_labels_only(plan)));
    json_decref(best);
}

json_t *share_report(const struct candidate tried[RECOMMEND_RINGS], const struct candidate *best,
                     const char *out)
{
    json_t *report = json_object(), *list = json_array();

    if (!report || !list) {
        json_decref(report);
        json_decref(list);
        return NULL;
    }
    for (size_t i = 0; i < RECOMMEND_RINGS; i++)
        if (tried[i].tried)
            json_array_append_new(list, describe_candidate(&tried[i], &tried[i] == best));
    json_object_set_new(report, "candidates", list);
    if (best)
        describe_best(report, best, out);
    return report;
}
