/* The dealer's models. A mask file is rewritten for every block of numbers, and for every batch. */
#include "appliance/dealer.h"
#include "appliance/kept.h"
#include "appliance/log.h"
#include "base/bytes.h"
#include "base/random.h"
#include "base/secret.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Numbers are reserved by the block: one durable write a block; a restart skips what is left. */
#define NUMBERS_BLOCK 64

static int write_mask(struct dealer_state *d, const struct mask_record *mask, struct err *err)
{
    char path[PATH_MAX], id[KEPT_ID_SIZE];
    int rc;

    hex_encode(mask->model, PLAN_ID_BYTES, id);
    rc = kept_path(d->config->state, id, "mask", path);
    return rc < 0 ? rc : mask_file_write(path, d->store_key, mask, err);
}

static int read_mask(struct dealer_state *d, struct dealt_model *m, const char *path,
                     struct err *err)
{
    int rc = mask_file_read(path, d->store_key, &m->mask, err);

    if (rc < 0)
        return rc;
    if (memcmp(m->mask.model, m->plan->model_id, PLAN_ID_BYTES) ||
        memcmp(m->mask.plan_hash, m->plan->hash, PLAN_HASH_BYTES))
        return err_set(err, -EINVAL,
                       "%s: this model id was dealt for under another plan; share the model again",
                       path);
    m->next = m->mask.reserved;
    return 0;
}

/* An id whose mask was destroyed never gets another one. */
static int draw_mask(struct dealer_state *d, struct dealt_model *m, struct err *err)
{
    char destroyed[PATH_MAX];
    int rc = kept_path(d->config->state, m->id, "destroyed", destroyed);

    if (rc < 0)
        return rc;
    if (access(destroyed, F_OK) == 0 || errno != ENOENT)
        return err_set(err, -EEXIST,
                       "the mask of model %s was destroyed here: share the model again, for a new "
                       "id",
                       m->id);
    memcpy(m->mask.model, m->plan->model_id, PLAN_ID_BYTES);
    memcpy(m->mask.plan_hash, m->plan->hash, PLAN_HASH_BYTES);
    random_bytes(m->mask.seed, sizeof(m->mask.seed));
    m->next = m->mask.reserved = 1;
    return write_mask(d, &m->mask, err);
}

/* What makes it loaded again after a restart. A plan that is there is this one: see the mask. */
static int keep_plan(struct dealer_state *d, const struct dealt_model *m, struct err *err)
{
    char path[PATH_MAX];
    int rc = kept_path(d->config->state, m->id, "plan", path);

    if (rc < 0 || access(path, F_OK) == 0)
        return rc;
    return kept_write_plan(d->config->state, m->id, m->plan, err);
}

static void model_free_dealt(struct dealt_model *m)
{
    if (!m)
        return;
    dealing_free(m->dealing);
    mask_weights_free(m->masks);
    plan_free(m->plan);
    secret_free(m, sizeof(*m));
}

struct dealt_model *dealer_find(struct dealer_state *d, const uint8_t id[PLAN_ID_BYTES])
{
    struct dealt_model *found = NULL;

    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->model_count; i++)
        if (!memcmp(d->models[i]->plan->model_id, id, PLAN_ID_BYTES)) {
            found = d->models[i];
            found->users++;
        }
    pthread_mutex_unlock(&d->lock);
    return found;
}

void dealer_put(struct dealer_state *d, struct dealt_model *m)
{
    bool last;

    pthread_mutex_lock(&d->lock);
    last = --m->users == 0;
    pthread_mutex_unlock(&d->lock);
    if (last)
        model_free_dealt(m);
}

static int add(struct dealer_state *d, struct dealt_model *m, struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&d->lock);
    if (d->model_count == DEALER_MODELS_MAX)
        rc = err_set(err, -ENOSPC, "%d models are loaded; unload one first", DEALER_MODELS_MAX);
    else
        d->models[d->model_count++] = m;
    pthread_mutex_unlock(&d->lock);
    eventfd_write(d->wake, 1);
    return rc;
}

static int prepare(struct dealer_state *d, struct dealt_model *m, struct err *err)
{
    char path[PATH_MAX];
    int rc = kept_path(d->config->state, m->id, "mask", path);

    if (rc < 0)
        return rc;
    /* Only where there is none for certain may one be drawn. */
    if (access(path, F_OK) == 0)
        rc = read_mask(d, m, path, err);
    else if (errno == ENOENT)
        rc = draw_mask(d, m, err);
    else
        rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
    if (rc < 0)
        return rc;
    m->masks =
        mask_weights_new(m->plan, (const uint8_t(*)[PRG_SEED_BYTES])m->mask.seed, kernels_here());
    m->dealing = m->masks ? dealing_new(m->masks, d->workers) : NULL;
    if (!m->dealing)
        return err_set(err, -ENOMEM, "no memory for the masks of this model");
    return keep_plan(d, m, err);
}

int dealer_load(struct dealer_state *d, const char *plan_path, char ret_id[2 * PLAN_ID_BYTES + 1],
                struct err *err)
{
    struct dealt_model *m = secret_alloc(sizeof(*m)), *old;
    int rc;

    if (!m)
        return err_set(err, -ENOMEM, "no memory");
    m->users = 1;
    rc = plan_load(plan_path, &m->plan, err);
    if (rc < 0)
        goto fail;
    hex_encode(m->plan->model_id, PLAN_ID_BYTES, m->id);
    old = dealer_find(d, m->plan->model_id);
    if (old) {
        dealer_put(d, old);
        rc = err_set(err, -EEXIST, "model %s is loaded already", m->id);
        goto fail;
    }
    rc = prepare(d, m, err);
    if (rc == 0)
        rc = add(d, m, err);
    if (rc < 0)
        goto fail;
    memcpy(ret_id, m->id, sizeof(m->id));
    log_info("model-ready", log_text("model", m->id), log_text("name", m->plan->name));
    return 0;
fail:
    model_free_dealt(m);
    return rc;
}

static int load_one(void *context, const char *plan_path, struct err *err)
{
    char id[2 * PLAN_ID_BYTES + 1];

    return dealer_load(context, plan_path, id, err);
}

/* A mask without a plan is an unloaded model's: kept, so that the id can never get a second one. */
int dealer_load_kept(struct dealer_state *d, struct err *err)
{
    int rc = kept_seal_all(d->config->state, "mask", d->store_key, MASK_MAGIC, err);

    if (rc < 0)
        return rc;
    return kept_load_all(d->config->state, "mask", load_one, d, err);
}

int dealer_unload(struct dealer_state *d, const char *id, struct err *err)
{
    struct dealt_model *found = NULL;
    char plan[PATH_MAX];

    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->model_count; i++)
        if (!strcmp(d->models[i]->id, id)) {
            found = d->models[i];
            memmove(&d->models[i], &d->models[i + 1],
                    (d->model_count - i - 1) * sizeof(*d->models));
            d->model_count--;
            break;
        }
    pthread_mutex_unlock(&d->lock);
    if (!found)
        return err_set(err, -ENOENT, "no model %s is loaded; `mpcformer model list` shows them",
                       id);
    if (kept_path(d->config->state, id, "plan", plan) == 0 && unlink(plan) < 0)
        log_error("plan-not-removed", log_text("plan", plan), log_text("error", strerror(errno)));
    dealer_put(d, found);
    atomic_store(&d->renew, true);
    eventfd_write(d->wake, 1);
    log_info("model-unloaded", log_text("model", id));
    return 0;
}

int dealer_number(struct dealer_state *d, struct dealt_model *m, uint64_t *ret_number,
                  struct err *err)
{
    if (m->next >= m->mask.reserved) {
        uint64_t before = m->mask.reserved;
        int rc;

        m->mask.reserved = m->next + NUMBERS_BLOCK;
        rc = write_mask(d, &m->mask, err);
        if (rc < 0) {
            m->mask.reserved = before;
            return rc;
        }
    }
    *ret_number = m->next++;
    return 0;
}

int dealer_mark(struct dealer_state *d, struct dealt_model *m, uint64_t batch, struct err *err)
{
    uint64_t before = m->mask.batch;
    int rc;

    if (batch <= before)
        return 0;
    m->mask.batch = batch;
    rc = write_mask(d, &m->mask, err);
    if (rc < 0)
        m->mask.batch = before;
    return rc;
}

void dealer_skip_to(struct dealer_state *d, struct dealt_model *m, uint64_t max)
{
    (void)d;
    if (max < m->next)
        return;
    log_warning("numbers-skipped", log_text("model", m->id), log_number("to", (int64_t)max));
    m->next = max + 1;
}
