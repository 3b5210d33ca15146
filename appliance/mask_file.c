#include "appliance/mask_file.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/secret.h"

#define VERSION 2

int mask_file_write(const char *path, const struct sealed_key *key, const struct mask_record *m,
                    struct err *err)
{
    uint8_t hash[HASH_BYTES];
    struct writer w = {0};
    int rc;

    write_bytes(&w, MASK_MAGIC, sizeof(MASK_MAGIC) - 1);
    write_u32(&w, VERSION);
    write_bytes(&w, m->model, sizeof(m->model));
    write_bytes(&w, m->plan_hash, sizeof(m->plan_hash));
    write_bytes(&w, m->seed, sizeof(m->seed));
    write_u64(&w, m->reserved);
    write_u64(&w, m->batch);
    if (!w.failed)
        hash_bytes(w.bytes, w.count, hash);
    write_bytes(&w, hash, sizeof(hash));
    rc = w.failed ? err_set(err, -ENOMEM, "no memory")
                  : sealed_write(path, key, &(struct file_part){w.bytes, w.count}, 1, err);
    if (w.bytes)
        secret_wipe(w.bytes, w.count);
    writer_free(&w);
    return rc;
}

static int parse(const uint8_t *bytes, size_t count, struct mask_record *ret, struct err *err)
{
    const uint8_t *head, *model, *plan_hash, *seeds, *digest;
    uint8_t hash[HASH_BYTES];
    struct reader r;
    uint32_t version;

    reader_init(&r, bytes, count);
    head = read_bytes(&r, sizeof(MASK_MAGIC) - 1);
    version = read_u32(&r);
    if (!head || memcmp(head, MASK_MAGIC, sizeof(MASK_MAGIC) - 1) || version < 1 ||
        version > VERSION)
        return err_set(err, -EPROTO, "it is no mask file of version 1 or %d", VERSION);
    model = read_bytes(&r, PLAN_ID_BYTES);
    plan_hash = read_bytes(&r, PLAN_HASH_BYTES);
    seeds = read_bytes(&r, sizeof(ret->seed));
    ret->reserved = read_u64(&r);
    ret->batch = version > 1 ? read_u64(&r) : 0;
    digest = read_bytes(&r, HASH_BYTES);
    if (!reader_done(&r))
        return err_set(err, -EBADMSG, "it has %zu bytes, too few or too many", count);
    hash_bytes(bytes, count - HASH_BYTES, hash);
    if (memcmp(hash, digest, HASH_BYTES))
        return err_set(err, -EBADMSG, "it is damaged: its digest does not match");
    memcpy(ret->model, model, sizeof(ret->model));
    memcpy(ret->plan_hash, plan_hash, sizeof(ret->plan_hash));
    memcpy(ret->seed, seeds, sizeof(ret->seed));
    return 0;
}

int mask_file_read(const char *path, const struct sealed_key *key, struct mask_record *ret,
                   struct err *err)
{
    struct err why = {""};
    uint8_t *bytes;
    size_t count;
    int rc = sealed_read(path, key, MASK_FILE_BYTES_MAX, &bytes, &count, err);

    if (rc < 0)
        return rc;
    rc = parse(bytes, count, ret, &why);
    secret_free(bytes, count);
    return rc < 0 ? err_set(err, rc, "%s: %s", path, why.text) : 0;
}
