#include "appliance/job_file.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/secret.h"

#include <stdlib.h>

#define MAGIC_BYTES 8

/* Far above what is written today: version 1 of a job was that large, and is refused by name. */
#define JOB_FILE_BYTES_MAX ((size_t)1 << 27)

static const char job_magic[MAGIC_BYTES + 1] = "MPCFJOB5";
static const char answer_magic[MAGIC_BYTES + 1] = "MPCFANS2";

/* The digest of what @w holds, and the file. @w is freed. */
static int finish(struct writer *w, const char *path, struct err *err)
{
    uint8_t hash[HASH_BYTES];
    int rc;

    if (!w->failed)
        hash_bytes(w->bytes, w->count, hash);
    write_bytes(w, hash, sizeof(hash));
    rc = w->failed ? err_set(err, -ENOMEM, "%s: no memory to write it", path)
                   : file_write(path, 0600, w->bytes, w->count, err);
    if (w->bytes)
        secret_wipe(w->bytes, w->count);
    writer_free(w);
    return rc;
}

/* The last byte of a magic is the version. */
static int check_magic(const char *path, const uint8_t *bytes, const char *magic, struct err *err)
{
    const size_t last = MAGIC_BYTES - 1;

    if (memcmp(bytes, magic, last))
        return err_set(err, -EPROTO, "%s: it does not begin with %s", path, magic);
    if (bytes[last] != (uint8_t)magic[last])
        return err_set(err, -EPROTO,
                       "%s: its version is %c; this program reads version %c: use the same release "
                       "as whoever made it",
                       path, bytes[last] > ' ' && bytes[last] < 0x7f ? bytes[last] : '?',
                       magic[last]);
    return 0;
}

/* The whole file, with magic and digest checked; @ret_r then stands behind the magic. */
static int start(const char *path, const char *magic, uint8_t **ret_bytes, size_t *ret_count,
                 struct reader *ret_r, struct err *err)
{
    uint8_t *bytes, hash[HASH_BYTES];
    size_t count;
    int rc = file_read(path, JOB_FILE_BYTES_MAX, &bytes, &count, err);

    if (rc < 0)
        return rc;
    if (count < MAGIC_BYTES + HASH_BYTES)
        rc = err_set(err, -EPROTO, "%s: it does not begin with %s", path, magic);
    else
        rc = check_magic(path, bytes, magic, err);
    if (rc < 0)
        goto fail;
    hash_bytes(bytes, count - HASH_BYTES, hash);
    if (memcmp(hash, bytes + count - HASH_BYTES, HASH_BYTES)) {
        rc = err_set(err, -EBADMSG, "%s: it is damaged: its digest does not match", path);
        goto fail;
    }
    reader_init(ret_r, bytes + MAGIC_BYTES, count - MAGIC_BYTES - HASH_BYTES);
    *ret_bytes = bytes;
    *ret_count = count;
    return 0;
fail:
    secret_wipe(bytes, count);
    free(bytes);
    return rc;
}

int job_file_write(const char *path, unsigned int party, const struct message_submit *submit,
                   const uint8_t *input, size_t input_bytes, struct err *err)
{
    struct writer w = {0};

    write_bytes(&w, job_magic, MAGIC_BYTES);
    write_u8(&w, (uint8_t)party);
    message_write_submit(&w, submit);
    write_bytes(&w, input, input_bytes);
    return finish(&w, path, err);
}

int job_file_read(const char *path, struct job_file *ret, struct err *err)
{
    struct job_file f = {.party = 0};
    struct reader r;
    int rc = start(path, job_magic, &f.bytes, &f.count, &r, err);

    if (rc < 0)
        return rc;
    f.party = read_u8(&r);
    message_read_submit(&r, &f.submit);
    f.input = r.at;
    f.input_bytes = r.left;
    if (!reader_ok(&r) || f.party > 1) {
        job_file_free(&f);
        return err_set(err, -EBADMSG, "%s: it cannot be read", path);
    }
    *ret = f;
    return 0;
}

void job_file_free(struct job_file *f)
{
    if (f->bytes)
        secret_wipe(f->bytes, f->count);
    free(f->bytes);
    *f = (struct job_file){.bytes = NULL};
}

int answer_file_write(const char *path, const struct plan *plan, unsigned int party,
                      const struct message_result *result, const uint64_t *output, size_t count,
                      struct err *err)
{
    struct writer w = {0};

    write_bytes(&w, answer_magic, MAGIC_BYTES);
    write_u8(&w, (uint8_t)party);
    write_bytes(&w, plan->hash, PLAN_HASH_BYTES);
    message_write_result(&w, result);
    message_write_share(&w, plan, output, count);
    return finish(&w, path, err);
}

int answer_file_read(const char *path, const struct plan *plan, unsigned int party,
                     struct message_result *ret_result, uint64_t *ret_output, size_t answers,
                     struct err *err)
{
    struct message_result result;
    const uint8_t *hash, *packed;
    unsigned int whose;
    struct reader r;
    uint8_t *bytes;
    size_t count;
    int rc = start(path, answer_magic, &bytes, &count, &r, err);

    if (rc < 0)
        return rc;
    whose = read_u8(&r);
    hash = read_bytes(&r, PLAN_HASH_BYTES);
    message_read_result(&r, &result);
    packed = read_bytes(&r, message_share_bytes(plan, answers));
    if (!hash || memcmp(hash, plan->hash, PLAN_HASH_BYTES) || !reader_done(&r)) {
        rc = err_set(err, -EINVAL, "%s: it answers a job of another plan", path);
    } else if (whose != party) {
        rc = err_set(err, -EINVAL, "%s: it is party%u's answer; give party%u's here", path, whose,
                     party);
    } else {
        kernels_here()->unpack(ret_output, packed, answers, plan->ring);
        *ret_result = result;
    }
    secret_wipe(bytes, count);
    free(bytes);
    return rc;
}
