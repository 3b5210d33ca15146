#include "appliance/tape_store.h"

#include "appliance/messages.h"
#include "base/bytes.h"
#include "base/secret.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int tape_store_path(const char *folder, const struct tape_name *name, char ret[PATH_MAX])
{
    char id[2 * PLAN_ID_BYTES + 1];
    int n;

    hex_encode(name->model, PLAN_ID_BYTES, id);
    n = snprintf(ret, PATH_MAX, "%s/%s.%u.%" PRIu64, folder, id, name->variant, name->number);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Digits up to @end; -EINVAL for any other way to write a number. */
static int read_number(const char *text, char end, uint64_t max, uint64_t *ret, const char **ret_at)
{
    uint64_t n = 0;
    const char *c = text;

    for (; *c >= '0' && *c <= '9'; c++) {
        if (n > max / 10)
            return -EINVAL;
        n = 10 * n + (uint64_t)(*c - '0');
    }
    if (c == text || *c != end || n > max || (*text == '0' && c != text + 1))
        return -EINVAL;
    *ret = n;
    *ret_at = c + (end != 0);
    return 0;
}

static int parse_name(const char *text, struct tape_name *ret)
{
    char id[2 * PLAN_ID_BYTES + 1];
    uint64_t variant;

    if (strlen(text) < sizeof(id) || text[sizeof(id) - 1] != '.')
        return -EINVAL;
    memcpy(id, text, sizeof(id) - 1);
    id[sizeof(id) - 1] = 0;
    text += sizeof(id);
    if (hex_decode(id, ret->model, PLAN_ID_BYTES) < 0 ||
        read_number(text, '.', PLAN_VARIANTS_MAX, &variant, &text) < 0 ||
        read_number(text, 0, MESSAGE_TAPE_NUMBER_MAX, &ret->number, &text) < 0)
        return -EINVAL;
    ret->variant = (uint32_t)variant;
    return 0;
}

static size_t blob_bytes(const struct variant *v, unsigned int party)
{
    return party == 1 ? v->tape_bytes : 0;
}

size_t tape_store_bytes(const struct variant *v, unsigned int party)
{
    return SEALED_EXTRA_BYTES + MESSAGE_TAPE_BYTES + blob_bytes(v, party);
}

int tape_store_write(const char *folder, const struct sealed_key *key, const struct tape *tape,
                     uint64_t deal_ns, struct err *err)
{
    struct tape_name name = {.variant = (uint32_t)(tape->variant - tape->plan->variants),
                             .number = tape->number};
    struct message_tape m = {.number = tape->number,
                             .party = (uint8_t)tape->party,
                             .variant = message_variant_of(tape->variant),
                             .bytes = blob_bytes(tape->variant, tape->party),
                             .deal_ns = deal_ns};
    size_t bytes = m.bytes;
    struct writer w = {0};
    char path[PATH_MAX];
    int rc;

    memcpy(name.model, tape->plan->model_id, sizeof(name.model));
    memcpy(m.model, tape->plan->model_id, sizeof(m.model));
    memcpy(m.plan_hash, tape->plan->hash, sizeof(m.plan_hash));
    memcpy(m.seed, tape->seed, sizeof(m.seed));
    message_write_tape(&w, &m);
    secret_wipe(&m, sizeof(m));
    rc = w.failed ? -ENOMEM : tape_store_path(folder, &name, path);
    if (rc == 0)
        rc = sealed_write(path, key, (struct file_part[]){{w.bytes, w.count}, {tape->blob, bytes}},
                          2, err);
    if (w.bytes)
        secret_wipe(w.bytes, w.count);
    writer_free(&w);
    return rc < 0 ? err_set(err, rc, "%s: a tape cannot be kept", folder) : 0;
}

static int check(const struct message_tape *m, const struct plan *plan, unsigned int party,
                 const struct tape_name *name, const struct variant *v, size_t count,
                 struct err *err)
{
    if (memcmp(m->model, name->model, sizeof(m->model)) || m->number != name->number ||
        m->party != party || message_find_variant(plan, &m->variant) != v ||
        memcmp(m->plan_hash, plan->hash, sizeof(m->plan_hash)) ||
        m->bytes != blob_bytes(v, party) || count != MESSAGE_TAPE_BYTES + m->bytes)
        return err_set(err, -EINVAL, "it holds another tape than its name says");
    return 0;
}

static int parse_tape(const uint8_t *bytes, size_t count, const struct plan *plan,
                      unsigned int party, const struct tape_name *name, struct tape **ret_tape,
                      uint64_t *ret_deal_ns, struct err *err)
{
    const struct variant *v = &plan->variants[name->variant];
    struct message_tape m;
    struct tape *tape;
    struct reader r;
    int rc;

    reader_init(&r, bytes, MIN(count, MESSAGE_TAPE_BYTES));
    rc = message_read_tape(&r, &m, err);
    if (rc == 0)
        rc = check(&m, plan, party, name, v, count, err);
    tape = rc == 0 ? tape_new(plan, v, party, m.number, m.seed) : NULL;
    secret_wipe(m.seed, sizeof(m.seed));
    if (rc < 0)
        return rc;
    if (!tape)
        return err_set(err, -ENOMEM, "no memory for a tape");
    rc = tape_add(tape, bytes + MESSAGE_TAPE_BYTES, m.bytes);
    if (rc < 0) {
        tape_free(tape);
        return rc;
    }
    *ret_tape = tape;
    *ret_deal_ns = m.deal_ns;
    return 0;
}

int tape_store_read(const char *folder, const struct sealed_key *key, const struct plan *plan,
                    unsigned int party, const struct tape_name *name, struct tape **ret_tape,
                    uint64_t *ret_deal_ns, struct err *err)
{
    struct err why = {""};
    char path[PATH_MAX];
    uint8_t *bytes;
    size_t count;
    int rc = tape_store_path(folder, name, path);

    if (rc == 0)
        rc = sealed_read(path, key,
                         MESSAGE_TAPE_BYTES + blob_bytes(&plan->variants[name->variant], party),
                         &bytes, &count, err);
    if (rc < 0)
        return rc;
    rc = parse_tape(bytes, count, plan, party, name, ret_tape, ret_deal_ns, &why);
    secret_free(bytes, count);
    return rc < 0 ? err_set(err, rc, "%s: %s", path, err_text(&why, rc)) : 0;
}

static int sweep(DIR *dir, const char *folder, tape_store_keep *keep, void *context,
                 struct err *err)
{
    struct dirent *entry;

    while ((entry = readdir(dir))) {
        struct tape_name name;
        struct stat st;
        bool ours;

        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        ours = parse_name(entry->d_name, &name) == 0;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            keep(context, ours ? &name : NULL, (uint64_t)st.st_size))
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) < 0 && errno != ENOENT)
            return err_set(err, -errno, "%s: %s cannot be removed: %s", folder, entry->d_name,
                           strerror(errno));
    }
    return 0;
}

int tape_store_sweep(const char *folder, tape_store_keep *keep, void *context, struct err *err)
{
    int rc = file_make_folders(folder, 0700, err);
    DIR *dir;

    if (rc < 0)
        return rc;
    dir = opendir(folder);
    if (!dir)
        return err_set(err, -errno, "%s: %s", folder, strerror(errno));
    rc = sweep(dir, folder, keep, context, err);
    closedir(dir);
    return rc;
}
