#include "appliance/mask_backup.h"

#include "appliance/kept.h"
#include "appliance/ledger.h"
#include "appliance/mask_file.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION    1
#define MODELS_MAX 256
#define BYTES_MAX  ((size_t)1 << 30)

static const char magic[] = "MPCFBACK";

/* A model in a backup, or on its way there. */
struct saved {
    struct mask_record mask;
    char id[KEPT_ID_SIZE];
    uint8_t *plan; /* NULL: none */
    size_t plan_bytes;
};

struct saved_all {
    const char *state;
    const struct sealed_key *key;
    size_t count;
    struct saved model[MODELS_MAX]; /* in secret memory */
};

static struct saved_all *saved_new(const char *state, const struct sealed_key *key)
{
    struct saved_all *all = secret_alloc(sizeof(*all));

    if (all) {
        all->state = state;
        all->key = key;
    }
    return all;
}

static void saved_free(struct saved_all *all)
{
    for (size_t i = 0; all && i < all->count; i++)
        free(all->model[i].plan);
    secret_free(all, sizeof(*all));
}

static void plan_name(const struct saved *m, char ret[PLAN_NAME_MAX])
{
    struct plan *plan = NULL;

    snprintf(ret, PLAN_NAME_MAX, "-");
    if (m->plan && plan_parse(m->plan, m->plan_bytes, &plan, NULL) == 0) {
        snprintf(ret, PLAN_NAME_MAX, "%s", plan->name);
        plan_free(plan);
    }
}

static void tell(const struct saved *m, const char *what, mask_report *report, void *context)
{
    char name[PLAN_NAME_MAX];

    plan_name(m, name);
    report(context, m->id, name, what);
}

/* --- a dealer's folder --- */

static int path_of(const char *state, const char *id, const char *what, char ret[PATH_MAX],
                   struct err *err)
{
    int rc = kept_path(state, id, what, ret);

    return rc < 0 ? err_set(err, rc, "%s: path too long", state) : 0;
}

static int read_plan(struct saved_all *all, struct saved *m, struct err *err)
{
    char path[PATH_MAX];
    int rc = path_of(all->state, m->id, "plan", path, err);

    if (rc < 0 || access(path, F_OK) < 0)
        return rc;
    return file_read(path, PLAN_FILE_BYTES_MAX, &m->plan, &m->plan_bytes, err);
}

static int take_model(void *context, const char *id, struct err *err)
{
    struct saved_all *all = context;
    struct saved *m = &all->model[all->count];
    char path[PATH_MAX];
    int rc = path_of(all->state, id, "mask", path, err);

    if (rc == 0 && all->count == MODELS_MAX)
        rc = err_set(err, -E2BIG, "%s: more than %d models", all->state, MODELS_MAX);
    if (rc < 0)
        return rc;
    snprintf(m->id, sizeof(m->id), "%s", id);
    all->count++;
    rc = mask_file_read(path, all->key, &m->mask, err);
    return rc < 0 ? rc : read_plan(all, m, err);
}

static int read_state(const char *state, const struct sealed_key *key, struct saved_all **ret,
                      struct err *err)
{
    struct saved_all *all = saved_new(state, key);
    int rc = all ? 0 : err_set(err, -ENOMEM, "no memory");

    if (rc == 0 && access(state, F_OK) < 0)
        rc = err_set(err, -errno, "%s: %s", state, strerror(errno));
    if (rc == 0)
        rc = kept_each(state, "mask", take_model, all, err);
    if (rc < 0)
        saved_free(all);
    else
        *ret = all;
    return rc;
}

struct telling {
    mask_report *report;
    void *context;
};

static int tell_destroyed(void *context, const char *id, struct err *err)
{
    const struct telling *t = context;

    (void)err;
    t->report(t->context, id, "-", "destroyed");
    return 0;
}

int mask_list(const char *state, const struct sealed_key *key, mask_report *report, void *context,
              struct err *err)
{
    struct saved_all *all;
    int rc = read_state(state, key, &all, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < all->count; i++)
        tell(&all->model[i], all->model[i].plan ? "loaded" : "unloaded", report, context);
    saved_free(all);
    return kept_each(state, "destroyed", tell_destroyed, &(struct telling){report, context}, err);
}

/* --- a backup --- */

#define RECORD_BYTES (PLAN_ID_BYTES + PLAN_HASH_BYTES + 2 * PRG_SEED_BYTES + 8 + 8 + 4)

static void write_record(const struct saved *m, uint8_t to[RECORD_BYTES])
{
    memcpy(to, m->mask.model, PLAN_ID_BYTES);
    to += PLAN_ID_BYTES;
    memcpy(to, m->mask.plan_hash, PLAN_HASH_BYTES);
    to += PLAN_HASH_BYTES;
    memcpy(to, m->mask.seed, 2 * PRG_SEED_BYTES);
    to += 2 * PRG_SEED_BYTES;
    store_le64(to, m->mask.reserved);
    store_le64(to + 8, m->mask.batch);
    store_le32(to + 16, (uint32_t)m->plan_bytes);
}

static int write_backup(const struct saved_all *all, const char *path,
                        const struct sealed_key *backup_key, struct err *err)
{
    uint8_t(*records)[RECORD_BYTES] = secret_alloc(MODELS_MAX * RECORD_BYTES);
    struct file_part parts[1 + 2 * MODELS_MAX];
    uint8_t head[sizeof(magic) - 1 + 8];
    size_t count = 0;
    int rc;

    if (!records)
        return err_set(err, -ENOMEM, "no memory");
    memcpy(head, magic, sizeof(magic) - 1);
    store_le32(head + sizeof(magic) - 1, VERSION);
    store_le32(head + sizeof(magic) - 1 + 4, (uint32_t)all->count);
    parts[count++] = (struct file_part){head, sizeof(head)};
    for (size_t i = 0; i < all->count; i++) {
        write_record(&all->model[i], records[i]);
        parts[count++] = (struct file_part){records[i], RECORD_BYTES};
        parts[count++] = (struct file_part){all->model[i].plan, all->model[i].plan_bytes};
    }
    rc = sealed_write(path, backup_key, parts, count, err);
    secret_free(records, MODELS_MAX * RECORD_BYTES);
    return rc;
}

int mask_backup(const char *state, const struct sealed_key *key, const char *path,
                const struct sealed_key *backup_key, mask_report *report, void *context,
                struct err *err)
{
    struct saved_all *all;
    int rc = read_state(state, key, &all, err);

    if (rc < 0)
        return rc;
    rc = write_backup(all, path, backup_key, err);
    for (size_t i = 0; rc == 0 && i < all->count; i++)
        tell(&all->model[i], "saved", report, context);
    saved_free(all);
    return rc;
}

static int read_record(struct reader *r, struct saved *m)
{
    const uint8_t *model = read_bytes(r, PLAN_ID_BYTES), *hash = read_bytes(r, PLAN_HASH_BYTES);
    const uint8_t *seeds = read_bytes(r, sizeof(m->mask.seed)), *plan;

    m->mask.reserved = read_u64(r);
    m->mask.batch = read_u64(r);
    m->plan_bytes = read_u32(r);
    plan = read_bytes(r, m->plan_bytes);
    if (!reader_ok(r))
        return -EPROTO;
    memcpy(m->mask.model, model, PLAN_ID_BYTES);
    memcpy(m->mask.plan_hash, hash, PLAN_HASH_BYTES);
    memcpy(m->mask.seed, seeds, sizeof(m->mask.seed));
    hex_encode(model, PLAN_ID_BYTES, m->id);
    if (!m->plan_bytes)
        return 0;
    m->plan = malloc(m->plan_bytes);
    if (!m->plan)
        return -ENOMEM;
    memcpy(m->plan, plan, m->plan_bytes);
    return 0;
}

static int parse_backup(struct saved_all *all, const uint8_t *bytes, size_t count)
{
    const uint8_t *head;
    struct reader r;
    uint32_t models;
    int rc = 0;

    reader_init(&r, bytes, count);
    head = read_bytes(&r, sizeof(magic) - 1);
    if (!head || memcmp(head, magic, sizeof(magic) - 1) || read_u32(&r) != VERSION)
        return -EPROTO;
    models = read_u32(&r);
    if (models > MODELS_MAX)
        return -EPROTO;
    while (rc == 0 && all->count < models)
        rc = read_record(&r, &all->model[all->count++]);
    return rc < 0 ? rc : reader_done(&r) ? 0 : -EPROTO;
}

static int read_backup(const char *path, const struct sealed_key *backup_key, struct saved_all *all,
                       struct err *err)
{
    uint8_t *bytes;
    size_t count;
    int rc = sealed_read(path, backup_key, BYTES_MAX, &bytes, &count, err);

    if (rc < 0)
        return rc;
    rc = parse_backup(all, bytes, count);
    secret_free(bytes, count);
    return rc < 0 ? err_set(err, rc, "%s: no backup of masks of version %d", path, VERSION) : 0;
}

/* --- back --- */

/* What is made by root is the dealer's, whose folder it is. */
static int give(const char *path, const char *state, struct err *err)
{
    struct stat st;

    if (stat(state, &st) < 0 || (geteuid() == 0 && chown(path, st.st_uid, st.st_gid) < 0))
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    return 0;
}

static int lock_state(const char *state, struct ledger **ret_lock, struct err *err)
{
    char path[PATH_MAX];
    int rc = file_make_folders(state, 0700, err);

    if (rc == 0)
        rc = file_path(path, sizeof(path), state, "ledger");
    if (rc == 0)
        rc = ledger_open(path, ret_lock, err);
    return rc < 0 ? rc : give(path, state, err);
}

/* 1: it is there already; 0: it is not. */
static int compare(const struct saved_all *all, const struct saved *m, struct err *err)
{
    char mask[PATH_MAX], destroyed[PATH_MAX];
    struct mask_record *there;
    int rc = path_of(all->state, m->id, "mask", mask, err);

    if (rc == 0)
        rc = path_of(all->state, m->id, "destroyed", destroyed, err);
    if (rc < 0)
        return rc;
    if (access(destroyed, F_OK) == 0)
        return err_set(err, -EEXIST, "the mask of model %s was destroyed here, and stays so",
                       m->id);
    if (access(mask, F_OK) < 0)
        return errno == ENOENT ? 0 : err_set(err, -errno, "%s: %s", mask, strerror(errno));
    there = secret_alloc(sizeof(*there));
    if (!there)
        return err_set(err, -ENOMEM, "no memory");
    rc = mask_file_read(mask, all->key, there, err);
    if (rc == 0)
        rc = secret_equal(there->seed, m->mask.seed, sizeof(there->seed))
                 ? 1
                 : err_set(err, -EEXIST, "%s: model %s has another mask here", mask, m->id);
    secret_free(there, sizeof(*there));
    return rc;
}

/* The plan last, as a model is kept: where a mask stands without one, the model is not loaded. */
static int put_back(const struct saved_all *all, const struct saved *m, struct err *err)
{
    char mask[PATH_MAX], plan[PATH_MAX];
    int rc = path_of(all->state, m->id, "mask", mask, err);

    if (rc == 0)
        rc = path_of(all->state, m->id, "plan", plan, err);
    if (rc == 0)
        rc = mask_file_write(mask, all->key, &m->mask, err);
    if (rc == 0)
        rc = give(mask, all->state, err);
    if (rc == 0 && m->plan)
        rc = file_write(plan, 0640, m->plan, m->plan_bytes, err);
    return rc == 0 && m->plan ? give(plan, all->state, err) : rc;
}

static int make_models(const char *state, struct err *err)
{
    char folder[PATH_MAX];
    int rc = file_path(folder, sizeof(folder), state, "models");

    if (rc == 0)
        rc = file_make_folders(folder, 0700, err);
    return rc < 0 ? rc : give(folder, state, err);
}

static int restore(struct saved_all *all, mask_report *report, void *context, struct err *err)
{
    bool there[MODELS_MAX];
    int rc = make_models(all->state, err);

    for (size_t i = 0; rc >= 0 && i < all->count; i++) {
        rc = compare(all, &all->model[i], err);
        there[i] = rc == 1;
    }
    for (size_t i = 0; rc >= 0 && i < all->count; i++) {
        rc = there[i] ? 0 : put_back(all, &all->model[i], err);
        if (rc == 0)
            tell(&all->model[i], there[i] ? "there already" : "restored", report, context);
    }
    return MIN(rc, 0);
}

int mask_restore(const char *state, const struct sealed_key *key, const char *path,
                 const struct sealed_key *backup_key, mask_report *report, void *context,
                 struct err *err)
{
    struct saved_all *all = saved_new(state, key);
    struct ledger *lock = NULL;
    int rc = all ? read_backup(path, backup_key, all, err) : err_set(err, -ENOMEM, "no memory");

    if (rc == 0)
        rc = lock_state(state, &lock, err);
    if (rc == 0)
        rc = restore(all, report, context, err);
    ledger_close(lock);
    saved_free(all);
    return rc;
}

/* --- gone --- */

/* First it is said that none may be drawn again, then it goes. */
static int destroy(const char *state, const struct saved *m, struct err *err)
{
    char mask[PATH_MAX], plan[PATH_MAX], destroyed[PATH_MAX];
    int rc = path_of(state, m->id, "mask", mask, err);

    if (rc == 0)
        rc = path_of(state, m->id, "plan", plan, err);
    if (rc == 0)
        rc = path_of(state, m->id, "destroyed", destroyed, err);
    if (rc == 0)
        rc = file_write(destroyed, 0640, "", 0, err);
    if (rc == 0)
        rc = give(destroyed, state, err);
    if (rc < 0)
        return rc;
    if (unlink(mask) < 0)
        return err_set(err, -errno, "%s: %s", mask, strerror(errno));
    if (unlink(plan) < 0 && errno != ENOENT)
        return err_set(err, -errno, "%s: %s", plan, strerror(errno));
    return file_sync_folder(mask, err);
}

struct destroying {
    struct saved_all *all;
    const char *id;
};

/* The mask itself is not read: it may be damaged, or its key lost. */
static int choose(void *context, const char *id, struct err *err)
{
    const struct destroying *d = context;
    struct saved *m = &d->all->model[d->all->count];

    if (d->id && strcmp(d->id, id) != 0)
        return 0;
    if (d->all->count == MODELS_MAX)
        return err_set(err, -E2BIG, "%s: more than %d models", d->all->state, MODELS_MAX);
    snprintf(m->id, sizeof(m->id), "%s", id);
    d->all->count++;
    return read_plan(d->all, m, err);
}

int mask_destroy(const char *state, const char *id, mask_report *report, void *context,
                 struct err *err)
{
    struct saved_all *all = saved_new(state, NULL);
    struct ledger *lock = NULL;
    int rc = all ? 0 : err_set(err, -ENOMEM, "no memory");

    if (rc == 0 && access(state, F_OK) < 0)
        rc = err_set(err, -errno, "%s: %s", state, strerror(errno));
    if (rc == 0)
        rc = lock_state(state, &lock, err);
    if (rc == 0)
        rc = kept_each(state, "mask", choose, &(struct destroying){all, id}, err);
    if (rc == 0 && !all->count)
        rc = err_set(err, -ENOENT, "%s: no mask of %s is here; `mpcformer dealer list` shows them",
                     state, id ? id : "any model");
    for (size_t i = 0; rc == 0 && i < all->count; i++) {
        rc = destroy(state, &all->model[i], err);
        if (rc == 0)
            tell(&all->model[i], "destroyed", report, context);
    }
    ledger_close(lock);
    saved_free(all);
    return rc;
}
