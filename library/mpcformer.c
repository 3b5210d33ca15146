#include "library/mpcformer.h"

#include "appliance/owner.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert(MPCFORMER_ERROR_SIZE >= ERR_TEXT_MAX, "a text of ours fits");

struct mpcformer {
    struct owner owner;
    size_t batch_max;
    struct encoding *encodings;              /* (batch_max), secret memory */
    struct verdict verdicts[PLAN_BATCH_MAX]; /* (batch_max) */
};

static int fail(const struct err *err, int rc, char error[MPCFORMER_ERROR_SIZE])
{
    if (rc < 0 && error)
        snprintf(error, MPCFORMER_ERROR_SIZE, "%s", err_text(err, rc));
    return rc;
}

/* Of the mode that the owner's jobs have. */
static size_t batch_max(const struct owner *o)
{
    uint32_t max = PLAN_BATCH_MAX;

    while (max > 1 && !plan_variant_batch(o->folder->plan, 1, o->length, max))
        max--;
    return max;
}

static int make_room(struct mpcformer *m, struct err *err)
{
    int rc = 0;

    m->batch_max = batch_max(&m->owner);
    m->encodings = secret_alloc(m->batch_max * sizeof(*m->encodings));
    if (!m->encodings)
        rc = err_set(err, -ENOMEM, "no memory for %zu texts", m->batch_max);
    for (size_t i = 0; rc == 0 && i < m->batch_max; i++)
        rc = verdict_new(&m->owner, &m->verdicts[i], err);
    return rc;
}

int mpcformer_open(const char *path, struct mpcformer **ret, char error[MPCFORMER_ERROR_SIZE])
{
    struct mpcformer *m = calloc(1, sizeof(*m));
    struct err err = {""};
    int rc = m ? owner_open(path, false, NULL, &m->owner, &err) : -ENOMEM;

    if (rc == 0)
        rc = make_room(m, &err);
    if (rc == 0)
        rc = client_connect(m->owner.client, &err);
    if (rc == 0)
        *ret = m;
    else
        mpcformer_close(m);
    return fail(&err, rc, error);
}

void mpcformer_close(struct mpcformer *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->batch_max; i++)
        verdict_free(&m->verdicts[i]);
    secret_free(m->encodings, m->batch_max * sizeof(*m->encodings));
    owner_close(&m->owner);
    free(m);
}

size_t mpcformer_outputs(const struct mpcformer *m)
{
    return m->owner.folder->config.labels;
}

const char *mpcformer_label(const struct mpcformer *m, size_t number)
{
    const struct model_folder *f = m->owner.folder;

    return f->config.regression || number >= f->config.labels ? NULL
                                                              : model_folder_label(f, number);
}

size_t mpcformer_batch_max(const struct mpcformer *m)
{
    return m->batch_max;
}

static struct mpcformer_answer answer_of(const struct mpcformer *m, const struct verdict *v)
{
    struct mpcformer_answer a = {.logits = v->logits, .dropped = v->dropped};
    size_t best;

    if (v->outside) {
        a.outside = v->outside->name;
        return a;
    }
    best = logits_best(v->logits, v->labels);
    a.label = mpcformer_label(m, best);
    if (plan_labels_only(m->owner.folder->plan))
        a.logits = NULL;
    else
        a.probability = v->probabilities[best];
    return a;
}

int mpcformer_ask(struct mpcformer *m, const struct mpcformer_text texts[], size_t count,
                  struct mpcformer_answer ret[], char error[MPCFORMER_ERROR_SIZE])
{
    struct err err = {""};
    int rc = count ? owner_check_batch(&m->owner, count, &err)
                   : err_set(&err, -EINVAL, "a question without a text");

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = model_folder_encode(m->owner.folder, texts[i].text, texts[i].pair, &m->encodings[i],
                                 &err);
    if (rc == 0)
        rc = owner_classify_batch(&m->owner, m->encodings, count, m->verdicts, &err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        ret[i] = answer_of(m, &m->verdicts[i]);
    return fail(&err, rc, error);
}
