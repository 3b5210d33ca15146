/*
 * Two files of one form: magic, u32 version, model id, plan hash, u8 party, 32 bytes, every weight
 * packed at l/8 bytes an element in the order of the plan, and the SHA-256 of all before it.
 *
 *   "MPCFSHAR"  a party's share of the weights, from the model owner; the 32 bytes are the salt
 *               of the plan's commitment to it
 *   "MPCFOPEN"  what a party keeps of an opened model: W^, the shares that are only added; the 32
 *               bytes are the seed of its share of the mask
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/sealed.h"
#include "base/secret.h"
#include "mpc/kernels.h"
#include "mpc/model.h"

#include <stdlib.h>

#define MAGIC_BYTES 8

static const char share_magic[MAGIC_BYTES + 1] = "MPCFSHAR";
static const char open_magic[MAGIC_BYTES + 1] = MODEL_OPEN_MAGIC;

#define HEADER_BYTES (MAGIC_BYTES + 4 + PLAN_ID_BYTES + PLAN_HASH_BYTES + 1 + PRG_SEED_BYTES)

static size_t body_bytes(const struct plan *plan)
{
    size_t bytes = 0;

    for (size_t i = 0; i < plan->weight_count; i++)
        bytes += weight_bytes(&plan->weights[i]);
    return bytes;
}

size_t model_file_bytes(const struct plan *plan)
{
    return HEADER_BYTES + body_bytes(plan) + HASH_BYTES;
}

static uint8_t *write_header(uint8_t *to, const char *magic, const struct plan *plan,
                             unsigned int party, const uint8_t seed_or_salt[PRG_SEED_BYTES])
{
    memcpy(to, magic, MAGIC_BYTES);
    store_le32(to + MAGIC_BYTES, MODEL_FILE_VERSION);
    to += MAGIC_BYTES + 4;
    memcpy(to, plan->model_id, PLAN_ID_BYTES);
    memcpy(to + PLAN_ID_BYTES, plan->hash, PLAN_HASH_BYTES);
    to += PLAN_ID_BYTES + PLAN_HASH_BYTES;
    *to++ = (uint8_t)party;
    memcpy(to, seed_or_salt, PRG_SEED_BYTES);
    return to + PRG_SEED_BYTES;
}

static void write_digest(uint8_t *bytes, size_t total)
{
    hash_bytes(bytes, total - HASH_BYTES, bytes + total - HASH_BYTES);
}

/* One weight into both parties' bodies: a random share, and what is left. */
static int split_weight(const struct plan *plan, size_t i, const int64_t *w, uint8_t *to[2])
{
    const struct weight *at = &plan->weights[i];
    size_t count = weight_elements(at), bytes = count * sizeof(uint64_t);
    uint64_t *share = secret_alloc(bytes);

    if (!share)
        return -ENOMEM;
    random_bytes(share, bytes);
    kernels_here()->pack(to[0], share, count, at->ring);
    for (size_t j = 0; j < count; j++)
        share[j] = (uint64_t)w[j] - share[j];
    kernels_here()->pack(to[1], share, count, at->ring);
    to[0] += weight_bytes(at);
    to[1] += weight_bytes(at);
    secret_free(share, bytes);
    return 0;
}

/* Salt and packed weights stand side by side in a file. */
static void commit(const uint8_t *file, size_t total, uint8_t ret[PLAN_HASH_BYTES])
{
    hash_bytes(file + HEADER_BYTES - PRG_SEED_BYTES,
               total - HASH_BYTES - (HEADER_BYTES - PRG_SEED_BYTES), ret);
}

static int split_all(struct plan *plan, const int64_t *const *weights, uint8_t *file[2],
                     struct err *err)
{
    uint8_t *to[2] = {file[0] + HEADER_BYTES, file[1] + HEADER_BYTES}, *bytes;
    size_t total = model_file_bytes(plan), count;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < plan->weight_count; i++)
        rc = split_weight(plan, i, weights[i], to);
    if (rc < 0)
        return err_set(err, rc, "no memory to split the weights");
    for (unsigned int p = 0; p < 2; p++) {
        random_bytes(file[p] + HEADER_BYTES - PRG_SEED_BYTES, PRG_SEED_BYTES);
        commit(file[p], total, plan->commitment[p]);
    }
    rc = plan_serialize(plan, &bytes, &count, err);
    if (rc == 0)
        free(bytes);
    return rc;
}

int model_split(struct plan *plan, const int64_t *const *weights, uint8_t *ret_share[2],
                struct err *err)
{
    size_t total = model_file_bytes(plan);
    uint8_t *file[2] = {secret_alloc(total), secret_alloc(total)};
    int rc = file[0] && file[1] ? split_all(plan, weights, file, err)
                                : err_set(err, -ENOMEM, "no memory to split the weights");

    if (rc < 0) {
        secret_free(file[0], total);
        secret_free(file[1], total);
        return rc;
    }
    for (unsigned int p = 0; p < 2; p++) {
        uint8_t salt[PRG_SEED_BYTES];

        memcpy(salt, file[p] + HEADER_BYTES - PRG_SEED_BYTES, sizeof(salt));
        write_header(file[p], share_magic, plan, p, salt);
        write_digest(file[p], total);
        ret_share[p] = file[p];
    }
    return 0;
}

static int check_header(const struct plan *plan, unsigned int party, const char *magic,
                        const uint8_t *bytes, size_t count, struct err *err)
{
    const uint8_t *id = bytes + MAGIC_BYTES + 4, *hash = id + PLAN_ID_BYTES;
    uint8_t digest[HASH_BYTES];

    if (count < HEADER_BYTES + HASH_BYTES || memcmp(bytes, magic, MAGIC_BYTES))
        return err_set(err, -EPROTO, "it does not begin as a file %s does", magic);
    if (load_le32(bytes + MAGIC_BYTES) != MODEL_FILE_VERSION)
        return err_set(err, -EPROTO,
                       "its version is %u; this program reads version %d: share the model again "
                       "with a matching mpcformer",
                       load_le32(bytes + MAGIC_BYTES), MODEL_FILE_VERSION);
    if (memcmp(id, plan->model_id, PLAN_ID_BYTES))
        return err_set(err, -EINVAL, "it belongs to another model id than the plan");
    if (memcmp(hash, plan->hash, PLAN_HASH_BYTES))
        return err_set(err, -EINVAL, "it belongs to another plan of this model id");
    if (hash[PLAN_HASH_BYTES] != party)
        return err_set(err, -EINVAL, "it is party%u's, and this is party%u", hash[PLAN_HASH_BYTES],
                       party);
    if (count != model_file_bytes(plan))
        return err_set(err, -EBADMSG, "it has %zu bytes where the plan says %zu: truncated?", count,
                       model_file_bytes(plan));
    hash_bytes(bytes, count - HASH_BYTES, digest);
    if (memcmp(digest, bytes + count - HASH_BYTES, HASH_BYTES))
        return err_set(err, -EBADMSG, "it is damaged: its digest does not match");
    commit(bytes, count, digest);
    if (magic == share_magic && memcmp(digest, plan->commitment[party], sizeof(digest)))
        return err_set(err, -EINVAL,
                       "it holds other weights than this model id was split with; share the "
                       "model again for a new id");
    return 0;
}

static int read_model(const struct plan *plan, unsigned int party, const char *magic,
                      const uint8_t *bytes, size_t count, struct model **ret_model, struct err *err)
{
    const uint8_t *at = bytes + HEADER_BYTES;
    struct model *m;
    int rc = check_header(plan, party, magic, bytes, count, err);

    if (rc < 0)
        return rc;
    m = model_new(plan, party);
    if (!m)
        return err_set(err, -ENOMEM, "no memory for %zu bytes of weights", count);
    if (magic == open_magic)
        memcpy(m->mask_seed, at - PRG_SEED_BYTES, PRG_SEED_BYTES);
    for (size_t i = 0; i < plan->weight_count; i++) {
        const struct weight *w = &plan->weights[i];

        kernels_here()->unpack(m->values[i], at, weight_elements(w), w->ring);
        at += weight_bytes(w);
    }
    memcpy(m->digest, bytes + count - HASH_BYTES, HASH_BYTES);
    m->opened = magic == open_magic;
    *ret_model = m;
    return 0;
}

static int load(const struct plan *plan, unsigned int party, const char *magic, const char *path,
                const struct sealed_key *key, struct model **ret_model, struct err *err)
{
    struct err why = {0};
    uint8_t *bytes;
    size_t count;
    int rc = sealed_read(path, key, model_file_bytes(plan), &bytes, &count, err);

    if (rc < 0)
        return rc;
    rc = read_model(plan, party, magic, bytes, count, ret_model, &why);
    secret_free(bytes, count);
    return rc < 0 ? err_set(err, rc, "%s: %s", path, err_text(&why, rc)) : 0;
}

int model_load_share(const struct plan *plan, unsigned int party, const char *path,
                     struct model **ret_model, struct err *err)
{
    return load(plan, party, share_magic, path, NULL, ret_model, err);
}

int model_load(const struct plan *plan, unsigned int party, const char *path,
               const struct sealed_key *key, struct model **ret_model, struct err *err)
{
    return load(plan, party, open_magic, path, key, ret_model, err);
}

int model_save(const struct model *m, const char *path, const struct sealed_key *key,
               struct err *err)
{
    size_t total = model_file_bytes(m->plan);
    uint8_t *bytes, *to;
    int rc;

    if (m->kernels)
        return err_set(err, -EINVAL, "a model that is packed cannot be saved");
    bytes = secret_alloc(total);
    if (!bytes)
        return err_set(err, -ENOMEM, "no memory to save a model");
    to = write_header(bytes, open_magic, m->plan, m->party, m->mask_seed);
    for (size_t i = 0; i < m->plan->weight_count; i++) {
        const struct weight *w = &m->plan->weights[i];

        kernels_here()->pack(to, m->values[i], weight_elements(w), w->ring);
        to += weight_bytes(w);
    }
    write_digest(bytes, total);
    rc = sealed_write(path, key, &(struct file_part){bytes, total}, 1, err);
    secret_free(bytes, total);
    return rc;
}
