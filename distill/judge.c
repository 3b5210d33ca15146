#include "distill/judge.h"

#include "distill/ranks.h"

#include <math.h>
#include <stdlib.h>

#define BATCH 64

/* The label that logit number @logit stands for; one that is none of the task's is label_count. */
static double label_of(const struct task *task, const size_t map[], size_t logit)
{
    size_t label = 0;

    while (label < task->label_count && map[label] != logit)
        label++;
    return (double)label;
}

static double answer(const struct task *task, const size_t map[], const float *logits, size_t count)
{
    size_t best = 0;

    if (!task->label_count)
        return (double)logits[0];
    for (size_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return label_of(task, map, best);
}

/* Rows @first to before @end, on a sheet of their own. */
static int answer_rows(struct network *net, const struct checkpoint *model, const struct corpus *c,
                       const struct task *task, const size_t map[], struct sheet *sheet,
                       size_t first, size_t count, double *given, double *right, struct err *err)
{
    uint32_t rows[BATCH];
    size_t labels = model->config.labels;
    int rc;

    for (size_t i = 0; i < count; i++)
        rows[i] = (uint32_t)(first + i);
    rc = sheet_fill(sheet, c, rows, count, err);
    if (rc == 0)
        rc = network_forward(net, model->values, &sheet->batch, NULL, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const float *logits = network_logits(net) + i * labels;

        for (size_t j = 0; rc == 0 && j < labels; j++)
            if (!isfinite(logits[j]))
                rc = err_set(err, -ERANGE, "row %zu: a logit is not finite: the model overflows",
                             first + i + 1);
        given[i] = answer(task, map, logits, labels);
        right[i] =
            task->label_count ? label_of(task, map, (size_t)sheet->labels[i]) : sheet->labels[i];
    }
    return rc;
}

int judge(struct network *net, const struct checkpoint *model, const struct corpus *c,
          const struct task *task, const size_t map[TASK_LABELS_MAX], double *ret, struct err *err)
{
    double *given = calloc(c->count, sizeof(*given)), *right = calloc(c->count, sizeof(*right));
    struct sheet sheet = {.labels = NULL};
    int rc = given && right ? 0 : err_set(err, -ENOMEM, "no memory for an evaluation");

    /* A rank answers every count-th batch: the batches of one process. */
    for (size_t at = ranks_own() * BATCH; rc == 0 && at < c->count; at += ranks_count() * BATCH)
        rc = answer_rows(net, model, c, task, map, &sheet, at, MIN(c->count - at, (size_t)BATCH),
                         given + at, right + at, err);
    if (rc == 0)
        rc = ranks_sum_now(given, c->count, err);
    if (rc == 0)
        rc = ranks_sum_now(right, c->count, err);
    if (rc == 0)
        rc = metric_compute(task->metrics[0], given, right, c->count, ret);
    sheet_free(&sheet);
    free(given);
    free(right);
    return rc;
}
