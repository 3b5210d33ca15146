/* The models of a party: loaded, opened, kept, unloaded. */
#include "appliance/kept.h"
#include "appliance/log.h"
#include "appliance/party.h"
#include "base/bytes.h"
#include "base/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct served *served_find(struct party_state *p, const uint8_t id[PLAN_ID_BYTES])
{
    for (size_t i = 0; i < p->served_count; i++)
        if (!memcmp(p->served[i]->plan->model_id, id, PLAN_ID_BYTES)) {
            p->served[i]->users++;
            return p->served[i];
        }
    return NULL;
}

static void served_free(struct served *s)
{
    if (!s)
        return;
    party_free(s->party);
    input_free(s->input);
    model_free(s->model);
    plan_free(s->plan);
    free(s);
}

void served_put(struct party_state *p, struct served *s)
{
    bool last;

    pthread_mutex_lock(&p->lock);
    last = --s->users == 0;
    pthread_mutex_unlock(&p->lock);
    if (last)
        served_free(s);
}

enum served_state served_state_of(struct party_state *p, const struct served *s)
{
    enum served_state state;

    pthread_mutex_lock(&p->lock);
    state = s->state;
    pthread_mutex_unlock(&p->lock);
    return state;
}

size_t served_variant(const struct served *s, const struct variant *v)
{
    return (size_t)(v - s->plan->variants);
}

static int make_online(struct served *s, struct workers *workers, struct err *err)
{
    int rc = model_pack(s->model, kernels_here());

    if (rc == 0) {
        s->party = party_new(s->model, workers);
        s->input = input_new(s->plan, s->model->party);
        rc = s->party && s->input ? 0 : -ENOMEM;
    }
    return rc < 0 ? err_set(err, rc, "no memory to serve the model") : 0;
}

int party_opened(struct party_state *p, struct served *s, struct err *err)
{
    char path[PATH_MAX];
    int rc = kept_write_plan(p->config->state, s->id, s->plan, err);

    if (rc == 0)
        rc = kept_path(p->config->state, s->id, "open", path);
    if (rc == 0)
        rc = model_save(s->model, path, p->store_key, err);
    if (rc == 0)
        rc = make_online(s, p->workers, err);
    if (rc < 0)
        return err_set(err, rc, "cannot keep the opened model");
    pthread_mutex_lock(&p->lock);
    if (s->state != SERVED_PEER || s->gone)
        rc = err_set(err, -ESTALE, "%s",
                     s->gone ? "the model was unloaded while it was opened" : s->error.text);
    else
        s->state = SERVED_READY;
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    if (rc < 0) {
        unlink(path); /* of no use: its id is struck */
        return rc;
    }
    log_info("model-ready", log_text("model", s->id));
    return 0;
}

/* The opened model, if this party kept it: 1; 0 when there is none. */
static int load_kept(struct party_state *p, struct served *s, struct err *err)
{
    char open[PATH_MAX], unloaded[PATH_MAX];
    int rc = kept_path(p->config->state, s->id, "open", open);
    bool was_open;

    if (rc == 0)
        rc = kept_path(p->config->state, s->id, "unloaded", unloaded);
    if (rc < 0)
        return rc;
    was_open = access(open, F_OK) == 0;
    if (!was_open && access(unloaded, F_OK) < 0)
        return 0;
    rc = model_load(s->plan, p->party, was_open ? open : unloaded, p->store_key, &s->model, err);
    if (rc == 0)
        rc = make_online(s, p->workers, err);
    if (rc < 0)
        return rc;
    if (!was_open && rename(unloaded, open) < 0)
        return err_set(err, -errno, "%s: %s", unloaded, strerror(errno));
    s->state = SERVED_READY;
    return 1;
}

static int load_share(struct party_state *p, struct served *s, const char *share_path,
                      struct err *err)
{
    uint8_t digest[HASH_BYTES];
    int rc;

    if (!share_path)
        return err_set(err, -EINVAL,
                       "model %s was never opened here: give this party's share of the weights, "
                       "--share FILE",
                       s->id);
    rc = model_load_share(s->plan, p->party, share_path, &s->model, err);
    if (rc < 0)
        return rc;
    if (ledger_has_model(p->ledger, s->plan->model_id, digest))
        return err_set(err, -EEXIST,
                       "model id %s was used before, with %s weights: its mask may not be used "
                       "again. Run `mpcformer share` again for a new id",
                       s->id, memcmp(digest, s->model->digest, HASH_BYTES) ? "other" : "these");
    s->state = SERVED_SEED;
    return 0;
}

static int add_served(struct party_state *p, struct served *s, struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->served_count; i++)
        if (!strcmp(p->served[i]->id, s->id))
            rc = err_set(err, -EEXIST, "model %s is loaded already", s->id);
    if (rc == 0 && p->served_count == PARTY_MODELS_MAX)
        rc = err_set(err, -ENOSPC, "%d models are loaded; unload one first", PARTY_MODELS_MAX);
    if (rc == 0) {
        p->served[p->served_count++] = s;
        party_changed(p);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static bool is_loaded(struct party_state *p, const struct plan *plan)
{
    struct served *s;

    pthread_mutex_lock(&p->lock);
    s = served_find(p, plan->model_id);
    pthread_mutex_unlock(&p->lock);
    if (s)
        served_put(p, s);
    return s != NULL;
}

int party_load(struct party_state *p, const char *plan_path, const char *share_path,
               char ret_id[2 * PLAN_ID_BYTES + 1], struct err *err)
{
    struct served *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return err_set(err, -ENOMEM, "no memory");
    s->users = 1;
    rc = plan_load(plan_path, &s->plan, err);
    if (rc < 0)
        goto fail;
    hex_encode(s->plan->model_id, PLAN_ID_BYTES, s->id);
    if (is_loaded(p, s->plan)) {
        rc = err_set(err, -EEXIST, "model %s is loaded already", s->id);
        goto fail;
    }
    rc = party_admit_model(p, s, err);
    if (rc == 0)
        rc = load_kept(p, s, err);
    if (rc == 0)
        rc = load_share(p, s, share_path, err);
    if (rc < 0)
        goto fail;
    rc = add_served(p, s, err);
    if (rc < 0)
        goto fail;
    memcpy(ret_id, s->id, sizeof(s->id));
    log_info("model-loaded", log_text("model", s->id), log_text("name", s->plan->name));
    return 0;
fail:
    served_free(s);
    return rc;
}

static int load_one(void *context, const char *plan_path, struct err *err)
{
    char id[2 * PLAN_ID_BYTES + 1];

    return party_load(context, plan_path, NULL, id, err);
}

int party_load_kept(struct party_state *p, struct err *err)
{
    const char *state = p->config->state;
    int rc = kept_seal_all(state, "open", p->store_key, MODEL_OPEN_MAGIC, err);

    if (rc == 0)
        rc = kept_seal_all(state, "unloaded", p->store_key, MODEL_OPEN_MAGIC, err);
    if (rc < 0)
        return rc;
    return kept_load_all(p->config->state, "open", load_one, p, err);
}

static struct served *take_out(struct party_state *p, const char *id)
{
    for (size_t i = 0; i < p->served_count; i++) {
        struct served *s = p->served[i];

        if (strcmp(s->id, id))
            continue;
        memmove(&p->served[i], &p->served[i + 1], (p->served_count - i - 1) * sizeof(*p->served));
        p->served_count--;
        s->gone = true;
        return s;
    }
    return NULL;
}

/* Tapes in preparation stay with the thread that prepares them; it looks at `gone`. */
static void drop_uses(struct party_state *p, struct served *s)
{
    static const struct err unloaded = {"the model was unloaded"};

    stock_discard(p, s);
    for (struct job *j = p->jobs, *next; j; j = next) {
        next = j->next;
        if (j->served == s && j->state == JOB_QUEUED)
            job_end(p, j, REFUSAL_FAILED, -ENOENT, &unloaded);
    }
    party_changed(p);
}

int party_unload(struct party_state *p, const char *id, struct err *err)
{
    char open[PATH_MAX], unloaded[PATH_MAX];
    struct served *s;

    pthread_mutex_lock(&p->lock);
    s = take_out(p, id);
    if (s)
        drop_uses(p, s);
    pthread_mutex_unlock(&p->lock);
    if (!s)
        return err_set(err, -ENOENT, "no model %s is loaded; `mpcformer model list` shows them",
                       id);
    if (kept_path(p->config->state, id, "open", open) == 0 &&
        kept_path(p->config->state, id, "unloaded", unloaded) == 0 && rename(open, unloaded) < 0 &&
        errno != ENOENT)
        log_error("model-not-put-away", log_text("model", id), log_text("error", strerror(errno)));
    served_put(p, s);
    log_info("model-unloaded", log_text("model", id));
    return 0;
}
