#include "distill/probe.h"

#include "base/secret.h"
#include "distill/loss.h"
#include "distill/student.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH      64
#define ORDER_SEED UINT64_C(0x70726f6265) /* not the order of an epoch */

/* A student on its way through a probe. */
struct pupil {
    const struct probe *p;
    struct trainer *trainer;
    struct sheet sheet;
    uint32_t *order; /* (rows of the training set) */
};

/* Step by step through what is not measured on, and round again; where all is, through that. */
static int learn(struct pupil *s, struct err *err)
{
    const struct probe *p = s->p;
    const struct objective objective = {
        .kind = OBJECTIVE_HIDDEN, .teacher = p->teacher, .teacher_net = p->teacher_net};
    size_t first = p->rows < p->train->count ? p->rows : 0, at = first;
    struct step_figures figures;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < p->steps; i++) {
        size_t count = MIN(p->batch, p->train->count - at);

        rc = sheet_fill(&s->sheet, p->train, s->order + at, count, err);
        if (rc == 0)
            rc = trainer_step(s->trainer, &s->sheet.batch, s->sheet.labels, &objective, p->rate,
                              &figures, err);
        at += count;
        if (at == p->train->count)
            at = first;
    }
    return rc;
}

/* Of the rows on the sheet, summed. */
static double distance(const struct probe *p, const real *given, const real *right, size_t count,
                       real *gradient)
{
    size_t labels = p->teacher->config.labels;
    double n = (double)count;

    if (labels == 1)
        return n * loss_square(given, right, count, count, gradient);
    return n * (loss_teacher(given, right, count, labels, count, gradient) -
                loss_teacher(right, right, count, labels, count, gradient));
}

static int measure(struct pupil *s, double *ret, struct err *err)
{
    const struct probe *p = s->p;
    real *gradient = calloc(BATCH * p->teacher->config.labels, sizeof(*gradient));
    int rc = gradient ? 0 : err_set(err, -ENOMEM, "no memory for a probe");
    double sum = 0;

    for (size_t at = 0, count; rc == 0 && at < p->rows; at += count) {
        count = MIN(p->rows - at, (size_t)BATCH);
        rc = sheet_fill(&s->sheet, p->train, s->order + at, count, err);
        if (rc == 0)
            rc = network_forward(s->trainer->net, s->trainer->model->values, &s->sheet.batch, NULL,
                                 err);
        if (rc == 0)
            rc = network_forward(p->teacher_net, p->teacher->values, &s->sheet.batch, NULL, err);
        if (rc == 0)
            sum += distance(p, network_logits(s->trainer->net), network_logits(p->teacher_net),
                            count, gradient);
    }
    free(gradient);
    if (rc == 0 && !isfinite(sum))
        rc = err_set(err, -ERANGE, "a student's answers are not finite: it overflows");
    if (rc == 0)
        *ret = sum / (double)p->rows;
    return rc;
}

int probe_loss(const struct probe *p, const struct model_config *config, double *ret,
               struct err *err)
{
    struct trainer_settings settings = p->settings;
    struct checkpoint *student = NULL;
    struct pupil s = {.p = p, .order = calloc(p->train->count, sizeof(*s.order))};
    int rc = s.order ? student_new(config, p->teacher, true, settings.seed, &student, err)
                     : err_set(err, -ENOMEM, "no memory for a probe");

    settings.dropout = 0;
    if (rc == 0)
        rc = trainer_new(student, &settings, &s.trainer, err);
    if (rc == 0) {
        corpus_shuffle(p->train->count, settings.seed ^ ORDER_SEED, 0, s.order);
        rc = learn(&s, err);
    }
    if (rc == 0)
        rc = measure(&s, ret, err);
    trainer_free(s.trainer);
    checkpoint_free(student);
    sheet_free(&s.sheet);
    free(s.order);
    return rc;
}
