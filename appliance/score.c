#include "appliance/score.h"

#include "appliance/model_folder.h"
#include "appliance/tool.h"

#include <math.h>
#include <stdlib.h>

/* Both sides' answers to the rows, beside the right ones: (count) each. */
struct answers {
    double *given[2], *right, *errors;
    size_t count;
};

enum { PRIVATE, FLOAT };

static const char *const sides[] = {[PRIVATE] = "private", [FLOAT] = "float"};

/* There are no private logits to compare. */
static bool labels_only(const struct results *r)
{
    return json_is_true(json_object_get(r->head, "labels_only"));
}

double score_error(const struct results *r, size_t row)
{
    const struct result *of = &r->rows[row];
    double worst = 0;

    for (size_t i = 0; !of->outside && !labels_only(r) && i < r->labels; i++)
        worst = fmax(worst, fabs(of->logits[i] - of->float_logits[i]));
    return worst;
}

/* What a text that left the plan's range is taken to be: a label that is wrong, or a score of 0. */
static double no_answer(const struct results *r, size_t row)
{
    return r->task->label_count && r->rows[row].label == 0;
}

static double answer(const struct results *r, const double logits[])
{
    return r->task->label_count ? (double)logits_best(logits, r->labels) : logits[0];
}

static int answers_new(const struct results *r, size_t count, struct answers *ret)
{
    double *all = calloc(4 * count, sizeof(*all));

    if (!all)
        return -ENOMEM;
    *ret = (struct answers){.given = {all, all + count},
                            .right = all + 2 * count,
                            .errors = all + 3 * count,
                            .count = count};
    for (size_t i = 0; i < count; i++) {
        ret->given[PRIVATE][i] =
            r->rows[i].outside ? no_answer(r, i) : answer(r, r->rows[i].logits);
        ret->given[FLOAT][i] = answer(r, r->rows[i].float_logits);
        ret->right[i] = r->rows[i].label;
        ret->errors[i] = score_error(r, i);
    }
    return 0;
}

static void set_interval(json_t *to, const char *name, const double interval[2])
{
    char key[64];

    snprintf(key, sizeof(key), "%s_interval", name);
    json_object_set_new(to, key, json_pack("[f, f]", interval[0], interval[1]));
}

static int set_metric(json_t *to, enum metric m, const struct results *r, const struct answers *a)
{
    int rc = 0;

    for (int side = r->private ? PRIVATE : FLOAT; rc == 0 && side <= FLOAT; side++) {
        double value = 0, interval[2] = {0};

        rc = metric_compute(m, a->given[side], a->right, a->count, &value);
        if (rc == 0)
            rc = metric_interval(m, a->given[side], a->right, a->count, interval);
        json_object_set_new(to, sides[side], json_real(value));
        set_interval(to, sides[side], interval);
    }
    return rc;
}

static void set_agreement(json_t *to, const struct results *r, const struct answers *a)
{
    double apart_max = r->task->label_count ? 0 : SCORE_AGREE_PART * r->task->score_max;
    double interval[2];
    size_t agree = 0;

    for (size_t i = 0; i < a->count; i++)
        agree +=
            !r->rows[i].outside && fabs(a->given[PRIVATE][i] - a->given[FLOAT][i]) <= apart_max;
    metric_wilson(agree, a->count, interval);
    json_object_set_new(to, "agree", json_real((double)agree / (double)a->count));
    set_interval(to, "agree", interval);
    if (labels_only(r))
        return;
    json_object_set_new(to, "logit_error_median", json_real(tool_median(a->errors, a->count)));
    json_object_set_new(to, "logit_error_max", json_real(a->errors[a->count - 1])); /* sorted */
}

static void set_costs(json_t *to, const struct results *r, size_t count)
{
    double online = 0, offline = 0, bytes = 0, rounds = 0;

    for (size_t i = 0; i < count; i++) {
        const struct result *row = &r->rows[i];
        double part = 1 / (double)row->batch;

        online += row->online_ms * part;
        offline += row->offline_ms * part;
        bytes += (double)row->bytes_online * part;
        rounds += (double)row->rounds_online * part;
    }
    json_object_set_new(to, "online_ms_mean", json_real(online / (double)count));
    json_object_set_new(to, "offline_ms_mean", json_real(offline / (double)count));
    json_object_set_new(to, "bytes_online_mean", json_real(bytes / (double)count));
    json_object_set_new(to, "rounds_online_mean", json_real(rounds / (double)count));
}

static int describe(const struct results *r, const struct answers *a, json_t *to)
{
    const struct task *t = r->task;
    json_t *all = json_object();
    size_t cut = 0, outside = 0;
    int rc = 0;

    json_object_set_new(to, "task", json_string(t->name));
    json_object_set_new(to, "n", json_integer((json_int_t)a->count));
    json_object_set_new(to, "metric", json_string(metric_name(t->metrics[0])));
    for (size_t i = 0; rc == 0 && i < t->metric_count; i++) {
        json_t *of = json_object();

        rc = set_metric(of, t->metrics[i], r, a);
        if (i == 0 && json_object_update(to, of) < 0)
            rc = -ENOMEM;
        json_object_set_new(all, metric_name(t->metrics[i]), of);
    }
    if (r->private)
        set_agreement(to, r, a);
    json_object_set_new(to, "metrics", all);
    if (r->private)
        set_costs(to, r, a->count);
    for (size_t i = 0; i < a->count; i++)
        cut += r->rows[i].dropped > 0, outside += r->rows[i].outside;
    if (r->private)
        json_object_set_new(to, "outside", json_integer((json_int_t)outside));
    if (rc == 0 && json_object_set_new(to, "texts_cut", json_integer((json_int_t)cut)) < 0)
        rc = -ENOMEM;
    return rc;
}

int score_describe(const struct results *r, size_t count, json_t **ret, struct err *err)
{
    struct answers a = {.right = NULL};
    json_t *score = json_object();
    int rc = score ? answers_new(r, count, &a) : -ENOMEM;

    if (rc == 0)
        rc = describe(r, &a, score);
    free(a.given[0]);
    if (rc < 0) {
        json_decref(score);
        return err_set(err, rc, "no memory for the result");
    }
    *ret = score;
    return 0;
}
