/*
 * The dealer's models. ID.mask: "MPCFMASK", u32 version, model id, plan hash, two seeds, u64 first
 * tape number never reserved, SHA-256 of all before it. Rewritten for every block of numbers.
 */
#include "appliance/dealer.h"
#include "appliance/kept.h"
#include "appliance/log.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/secret.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MASK_VERSION 1

/* Numbers are reserved by the block: one durable write a block; a restart skips what is left. */
#define NUMBERS_BLOCK 64

static const char magic[8] = "MPCFMASK";

#define MASK_FILE_BYTES                                                                            \
    (sizeof(magic) + 4 + PLAN_ID_BYTES + PLAN_HASH_BYTES + 2 * PRG_SEED_BYTES + 8 + HASH_BYTES)

static int write_mask(struct dealer_state *d, const struct dealt_model *m, uint64_t reserved,
                      struct err *err)
{
    char path[PATH_MAX];
    uint8_t hash[HASH_BYTES];
    struct writer w = {0};
    int rc = kept_path(d->config->state, m->id, "mask", path);

    write_bytes(&w, magic, sizeof(magic));
    write_u32(&w, MASK_VERSION);
    write_bytes(&w, m->plan->model_id, PLAN_ID_BYTES);
    write_bytes(&w, m->plan->hash, PLAN_HASH_BYTES);
    write_bytes(&w, m->mask_seed, sizeof(m->mask_seed));
    write_u64(&w, reserved);
    if (!w.failed)
        hash_bytes(w.bytes, w.count, hash);
    write_bytes(&w, hash, sizeof(hash));
    if (rc == 0)
        rc = w.failed ? -ENOMEM : file_write(path, 0600, w.bytes, w.count, err);
    if (w.bytes)
        secret_wipe(w.bytes, w.count);
    writer_free(&w);
    return rc;
}

static int parse_mask(struct dealt_model *m, const uint8_t *bytes, size_t count, struct err *err)
{
    uint8_t hash[HASH_BYTES];
    struct reader r;
    const uint8_t *head, *id, *plan_hash, *seeds;
    uint32_t version;

    if (count != MASK_FILE_BYTES)
        return err_set(err, -EBADMSG, "it has %zu bytes, not %zu", count, MASK_FILE_BYTES);
    hash_bytes(bytes, count - HASH_BYTES, hash);
    reader_init(&r, bytes, count);
    head = read_bytes(&r, sizeof(magic));
    version = read_u32(&r);
    id = read_bytes(&r, PLAN_ID_BYTES);
    plan_hash = read_bytes(&r, PLAN_HASH_BYTES);
    seeds = read_bytes(&r, sizeof(m->mask_seed));
    m->reserved = read_u64(&r);
    if (memcmp(head, magic, sizeof(magic)) || version != MASK_VERSION)
        return err_set(err, -EPROTO, "it is no mask file of version %d", MASK_VERSION);
    if (memcmp(hash, bytes + count - HASH_BYTES, HASH_BYTES))
        return err_set(err, -EBADMSG, "it is damaged: its digest does not match");
    if (memcmp(id, m->plan->model_id, PLAN_ID_BYTES) ||
        memcmp(plan_hash, m->plan->hash, PLAN_HASH_BYTES))
        return err_set(err, -EINVAL,
                       "this model id was dealt for under another plan; share the model again");
    memcpy(m->mask_seed, seeds, sizeof(m->mask_seed));
    m->next = m->reserved;
    return 0;
}

static int read_mask(struct dealer_state *d, struct dealt_model *m, struct err *err)
{
    char path[PATH_MAX];
    struct err why = {0};
    uint8_t *bytes;
    size_t count;
    int rc = kept_path(d->config->state, m->id, "mask", path);

    if (rc == 0)
        rc = file_read(path, MASK_FILE_BYTES, &bytes, &count, err);
    if (rc < 0)
        return rc;
    rc = parse_mask(m, bytes, count, &why);
    secret_wipe(bytes, count);
    free(bytes);
    return rc < 0 ? err_set(err, rc, "%s: %s", path, why.text) : 0;
}

static int draw_mask(struct dealer_state *d, struct dealt_model *m, struct err *err)
{
    random_bytes(m->mask_seed, sizeof(m->mask_seed));
    m->next = m->reserved = 1;
    return write_mask(d, m, m->reserved, err);
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
        rc = read_mask(d, m, err);
    else if (errno == ENOENT)
        rc = draw_mask(d, m, err);
    else
        rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
    if (rc < 0)
        return rc;
    m->masks =
        mask_weights_new(m->plan, (const uint8_t(*)[PRG_SEED_BYTES])m->mask_seed, kernels_here());
    m->dealing = m->masks ? dealing_new(m->masks) : NULL;
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
    if (m->next >= m->reserved) {
        uint64_t reserved = m->next + NUMBERS_BLOCK;
        int rc = write_mask(d, m, reserved, err);

        if (rc < 0)
            return rc;
        m->reserved = reserved;
    }
    *ret_number = m->next++;
    return 0;
}

void dealer_skip_to(struct dealer_state *d, struct dealt_model *m, uint64_t max)
{
    (void)d;
    if (max < m->next)
        return;
    log_warning("numbers-skipped", log_text("model", m->id), log_number("to", (int64_t)max));
    m->next = max + 1;
}
