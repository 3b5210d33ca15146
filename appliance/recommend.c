#include "appliance/recommend.h"

#include <math.h>
#include <stdio.h>

unsigned int recommend_frac(unsigned int ring)
{
    static const unsigned int frac[RING_BITS_MAX / 8 + 1] = {
        [4] = 8, [5] = 11, [6] = 12, [7] = 14, [8] = 16};

    return frac[ring / 8];
}

double candidate_headroom(const struct candidate *c, const struct trial_row **ret_at)
{
    const struct trial_row *row = &c->trial.guarded;

    *ret_at = row->seen ? row : NULL;
    return row->seen ? row->headroom_bits : INFINITY;
}

size_t candidate_promises(const struct candidate *c, enum promise_kind kind)
{
    size_t count = 0;

    for (size_t i = 0; c->compiled && i < c->compiled->promise_count; i++)
        count += c->compiled->promises[i].kind == kind;
    return count;
}

/* Of one that works: whether it will do. */
static void judge(struct candidate *c)
{
    const struct compiled *m = c->compiled;
    const struct trial_row *at;
    char place[PLACE_TEXT_MAX];

    for (size_t i = 0; i < m->promise_count; i++)
        if (m->promises[i].kind == PROMISE_SAMPLED) {
            place_text(&(struct place){m->promises[i].what, m->promises[i].layer}, place);
            err_set(&c->why, -ERANGE, "%s: only sample text says that it fits", place);
            return;
        }
    if (c->trial.agree < c->trial.samples || c->trial.label_room < RECOMMEND_LABEL_ROOM) {
        err_set(&c->why, -ERANGE,
                "%zu of %zu samples keep their label, %.1f times the error would change one",
                c->trial.agree, c->trial.samples, c->trial.label_room);
    } else if (candidate_headroom(c, &at) < RECOMMEND_HEADROOM_BITS) {
        place_text(&at->at, place);
        err_set(&c->why, -ERANGE, "%s: %.1f bits of headroom", place, at->headroom_bits);
    } else {
        c->fits = true;
    }
}

/* The same model once more, with answers that are labels. What a trial says is of its logits. */
static int keep_labels(struct candidate *c, struct compile_options *o,
                       const struct trial_options *trial)
{
    struct compiled *labels;
    int rc;

    o->labels_only = true;
    rc = compile_model(trial->checkpoint, o, &labels, &c->why);
    if (rc < 0)
        return rc;
    labels->plan->error_bound = c->compiled->plan->error_bound;
    compiled_free(c->compiled);
    c->compiled = labels;
    return 0;
}

int candidate_try(struct candidate *c, const struct compile_options *options,
                  const struct trial_options *trial)
{
    struct compile_options o = *options;
    int rc;

    o.ring = c->ring;
    o.frac = c->frac;
    o.labels_only = false;
    c->tried = true;
    rc = compile_model(trial->checkpoint, &o, &c->compiled, &c->why);
    if (rc == 0)
        rc = trial_run(c->compiled, trial, &c->trial, &c->why);
    if (rc == 0 && options->labels_only)
        rc = keep_labels(c, &o, trial);
    if (rc < 0) {
        compiled_free(c->compiled);
        c->compiled = NULL;
    } else {
        judge(c);
    }
    return rc;
}

int recommend(const struct compile_options *options, const struct trial_options *trial, bool all,
              struct candidate ret[RECOMMEND_RINGS], size_t *ret_best, struct err *err)
{
    struct compile_options o = *options;
    struct ranges seen = {0};
    bool found = false;
    int rc = 0;

    for (size_t i = 0; i < RECOMMEND_RINGS; i++) {
        ret[i] = (struct candidate){.ring = RING_BITS_MIN + 8 * (unsigned int)i};
        ret[i].frac = recommend_frac(ret[i].ring);
    }
    if (!o.seen) {
        rc = ranges_measure(trial->checkpoint, o.samples, o.sample_count, &seen, err);
        o.seen = &seen;
    }
    for (size_t i = 0; rc == 0 && i < RECOMMEND_RINGS && (all || !found); i++) {
        rc = candidate_try(&ret[i], &o, trial);
        if (rc < 0 && rc != -ERANGE)
            err_set(err, rc, "%s", err_text(&ret[i].why, rc));
        else
            rc = 0;
        if (ret[i].fits && !found)
            *ret_best = i;
        found |= ret[i].fits;
    }
    if (o.seen == &seen)
        ranges_free(&seen);
    if (rc == 0 && !found)
        rc = err_set(err, -ERANGE, "no number format will do; of %u bits: %s",
                     ret[RECOMMEND_RINGS - 1].ring, ret[RECOMMEND_RINGS - 1].why.text);
    return rc;
}

void candidates_free(struct candidate c[RECOMMEND_RINGS])
{
    for (size_t i = 0; i < RECOMMEND_RINGS; i++) {
        compiled_free(c[i].compiled);
        c[i].compiled = NULL;
    }
}
