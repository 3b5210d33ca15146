#include "appliance/ledger.h"

#include "base/bytes.h"
#include "base/file.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024
#define FILE_BYTES_MAX ((size_t)4 << 30)
#define CHECK_DIGITS   8

static const char header[] = "mpcformer-ledger 1\n";

struct entry {
    uint8_t id[PLAN_ID_BYTES], digest[HASH_BYTES];
    bool struck;       /* the model id itself */
    uint64_t batch;    /* the highest */
    uint64_t floor;    /* numbers up to it are struck, whether they stand below or not */
    uint64_t *numbers; /* of tapes, ascending */
    size_t count, capacity;
};

struct ledger {
    pthread_mutex_t lock;
    int fd;
    off_t bytes; /* of the file that are known to be whole lines */
    bool broken; /* a failed append could not be undone: nothing more is struck */
    struct entry *entries;
    size_t count;
};

static struct entry *find(struct ledger *l, const uint8_t id[PLAN_ID_BYTES])
{
    for (size_t i = 0; i < l->count; i++)
        if (!memcmp(l->entries[i].id, id, PLAN_ID_BYTES))
            return &l->entries[i];
    return NULL;
}

static struct entry *find_or_add(struct ledger *l, const uint8_t id[PLAN_ID_BYTES])
{
    struct entry *e = find(l, id), *more;

    if (e)
        return e;
    more = realloc(l->entries, (l->count + 1) * sizeof(*more));
    if (!more)
        return NULL;
    l->entries = more;
    e = &l->entries[l->count++];
    *e = (struct entry){.count = 0};
    memcpy(e->id, id, PLAN_ID_BYTES);
    return e;
}

/* The first place whose number is not below @number. */
static size_t place_of(const struct entry *e, uint64_t number)
{
    size_t low = 0, high = e->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (e->numbers[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_tape(const struct entry *e, uint64_t number)
{
    size_t at = place_of(e, number);

    return number <= e->floor || (at < e->count && e->numbers[at] == number);
}

/* For a line's numbers. */
static int make_room(struct entry *e)
{
    size_t capacity = e->capacity ? 2 * e->capacity : 64;
    uint64_t *more;

    if (e->count + LEDGER_RESERVE_MAX <= e->capacity)
        return 0;
    more = realloc(e->numbers, capacity * sizeof(*more));
    if (!more)
        return -ENOMEM;
    e->numbers = more;
    e->capacity = capacity;
    return 0;
}

static void insert(struct entry *e, uint64_t number)
{
    size_t at = place_of(e, number);

    memmove(e->numbers + at + 1, e->numbers + at, (e->count - at) * sizeof(*e->numbers));
    e->numbers[at] = number;
    e->count++;
}

/* --- lines --- */

static void check_of(const char *line, size_t count, char ret[CHECK_DIGITS + 1])
{
    uint8_t hash[HASH_BYTES];

    hash_bytes(line, count, hash);
    hex_encode(hash, CHECK_DIGITS / 2, ret);
}

static int read_number(const char *text, uint64_t *ret)
{
    char *end;

    *ret = strtoull(text, &end, 10);
    return *text < '0' || *text > '9' || *end ? -EBADMSG : 0;
}

/* Numbers of a tape line, or of a reserve line. */
static int read_numbers(struct entry *e, char *text)
{
    for (size_t i = 0; text; i++) {
        char *word = strsep(&text, ",");
        uint64_t number;

        if (i == LEDGER_RESERVE_MAX || read_number(word, &number) < 0 || has_tape(e, number))
            return -EBADMSG;
        insert(e, number);
    }
    return 0;
}

static int read_batch(struct entry *e, const char *text)
{
    uint64_t batch;
    int rc = read_number(text, &batch);

    if (rc == 0)
        e->batch = MAX(e->batch, batch);
    return rc;
}

static int read_floor(struct entry *e, const char *text)
{
    uint64_t floor;
    int rc = read_number(text, &floor);

    if (rc == 0)
        e->floor = MAX(e->floor, floor);
    return rc;
}

/* Without its check; the check is verified by now. */
static int read_entry(struct ledger *l, char *line)
{
    char *words[5] = {0}, *rest = line;
    uint8_t id[PLAN_ID_BYTES];
    struct entry *e;
    size_t count = 0;

    while (count < ARRAY_LENGTH(words) && (words[count] = strsep(&rest, " ")))
        count++;
    if (count < 3 || rest || hex_decode(words[1], id, sizeof(id)) < 0)
        return -EBADMSG;
    e = find_or_add(l, id);
    if (!e || make_room(e) < 0)
        return -ENOMEM;
    if (!strcmp(words[0], "model") && count == 3) {
        e->struck = true;
        return hex_decode(words[2], e->digest, HASH_BYTES) < 0 ? -EBADMSG : 0;
    }
    if (!strcmp(words[0], "tape") && count == 5)
        return strchr(words[2], ',') ? -EBADMSG : read_numbers(e, words[2]);
    if (!strcmp(words[0], "reserve") && count == 5)
        return read_batch(e, words[2]) < 0 ? -EBADMSG : read_numbers(e, words[4]);
    if (!strcmp(words[0], "floor") && count == 4)
        return read_batch(e, words[2]) < 0 ? -EBADMSG : read_floor(e, words[3]);
    return -EBADMSG;
}

static int read_line(struct ledger *l, char *line, size_t count)
{
    char check[CHECK_DIGITS + 1];
    char *at = line + count - CHECK_DIGITS;

    if (count < CHECK_DIGITS + 2 || at[-1] != ' ')
        return -EBADMSG;
    check_of(line, (size_t)(at - 1 - line), check);
    if (memcmp(check, at, CHECK_DIGITS))
        return -EBADMSG;
    at[-1] = 0;
    return read_entry(l, line);
}

/* Why a file that does not begin as a ledger does is none. */
static int check_version(const char *path, const char *text, size_t count, struct err *err)
{
    size_t word = strcspn(header, "0123456789");
    int digits = 0;

    while (word + (size_t)digits < count && text[word + (size_t)digits] >= '0' &&
           text[word + (size_t)digits] <= '9' && digits < 9)
        digits++;
    if (count < word || memcmp(text, header, word) || !digits)
        return err_set(err, -EBADMSG, "%s: is no ledger", path);
    return err_set(
        err, -EBADMSG,
        "%s: a ledger of version %.*s; this appliance reads version %c: start the release "
        "that wrote it",
        path, digits, text + word, header[word]);
}

static int parse(struct ledger *l, const char *path, char *text, size_t count, struct err *err)
{
    size_t at = sizeof(header) - 1, line_number = 1;

    if (count < at || memcmp(text, header, at))
        return check_version(path, text, count, err);
    while (at < count) {
        char *end = memchr(text + at, '\n', count - at);
        int rc;

        line_number++;
        if (!end)
            break; /* cut off by a crash, so never acted on */
        *end = 0;
        rc = read_line(l, text + at, (size_t)(end - (text + at)));
        if (rc < 0)
            return err_set(err, rc,
                           "%s:%zu: damaged; a struck tape may be hidden in it. Unload every "
                           "model, move the state folder away and share the models again",
                           path, line_number);
        at = (size_t)(end - text) + 1;
    }
    l->bytes = (off_t)at;
    return 0;
}

static int undo(struct ledger *l)
{
    return ftruncate(l->fd, l->bytes) < 0 || fdatasync(l->fd) < 0 ? -errno : 0;
}

static int append(struct ledger *l, char *line, size_t size, struct err *err)
{
    size_t count = strlen(line);
    char check[CHECK_DIGITS + 1];
    int rc;

    if (l->broken)
        return err_set(err, -EIO,
                       "the ledger could not be written before; restart the appliance when its "
                       "disk is well");
    check_of(line, count, check);
    snprintf(line + count, size - count, " %s\n", check);
    rc = file_write_all(l->fd, line, strlen(line));
    if (rc == 0 && fdatasync(l->fd) < 0)
        rc = -errno;
    if (rc < 0) {
        l->broken = undo(l) < 0;
        return err_set(err, rc, "cannot strike off in the ledger: %s; nothing was sent",
                       strerror(-rc));
    }
    l->bytes += (off_t)strlen(line);
    return 0;
}

/* --- the file --- */

static int start_file(struct ledger *l, const char *path, struct err *err)
{
    int rc = file_write_all(l->fd, header, sizeof(header) - 1);

    if (rc == 0 && fsync(l->fd) < 0)
        rc = -errno;
    if (rc < 0)
        return err_set(err, rc, "%s: %s", path, strerror(-rc));
    l->bytes = sizeof(header) - 1;
    return file_sync_folder(path, err);
}

static int read_file(struct ledger *l, const char *path, struct err *err)
{
    uint8_t *text;
    size_t count;
    int rc = file_read(path, FILE_BYTES_MAX, &text, &count, err);

    if (rc < 0)
        return rc;
    /* A file shorter than its header was cut off while it was made: nothing was struck in it. */
    if (count < sizeof(header) - 1 && !memcmp(text, header, count)) {
        rc = ftruncate(l->fd, 0) < 0 ? -errno : start_file(l, path, err);
    } else {
        rc = parse(l, path, (char *)text, count, err);
        if (rc == 0 && (size_t)l->bytes < count)
            rc = undo(l);
    }
    free(text);
    return rc < 0 ? err_set(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}

int ledger_open(const char *path, struct ledger **ret_ledger, struct err *err)
{
    struct ledger *l = calloc(1, sizeof(*l));
    int rc;

    if (!l)
        return err_set(err, -ENOMEM, "no memory");
    pthread_mutex_init(&l->lock, NULL);
    l->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (l->fd < 0) {
        rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
    } else if (flock(l->fd, LOCK_EX | LOCK_NB) < 0) {
        rc = err_set(err, -errno, "%s: another process uses this state folder: %s", path,
                     strerror(errno));
    } else {
        rc = read_file(l, path, err);
    }
    if (rc < 0) {
        ledger_close(l);
        return rc;
    }
    *ret_ledger = l;
    return 0;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    for (size_t i = 0; i < l->count; i++)
        free(l->entries[i].numbers);
    free(l->entries);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static int strike_model(struct ledger *l, const uint8_t *id, const uint8_t *digest, struct err *err)
{
    char line[LINE_MAX_BYTES], hex[2 * PLAN_ID_BYTES + 1], digest_hex[2 * HASH_BYTES + 1];
    struct entry *e = find_or_add(l, id);
    int rc;

    if (!e)
        return err_set(err, -ENOMEM, "no memory for the ledger");
    hex_encode(id, PLAN_ID_BYTES, hex);
    if (e->struck)
        return err_set(err, -EEXIST,
                       "model id %s was used before, with %s weights: its mask may not be used "
                       "again. Run `mpcformer share` again for a new id",
                       hex, memcmp(e->digest, digest, HASH_BYTES) ? "other" : "these");
    hex_encode(digest, HASH_BYTES, digest_hex);
    snprintf(line, sizeof(line), "model %s %s", hex, digest_hex);
    rc = append(l, line, sizeof(line), err);
    if (rc == 0) {
        e->struck = true;
        memcpy(e->digest, digest, HASH_BYTES);
    }
    return rc;
}

int ledger_strike_model(struct ledger *l, const uint8_t id[PLAN_ID_BYTES],
                        const uint8_t digest[HASH_BYTES], struct err *err)
{
    int rc;

    pthread_mutex_lock(&l->lock);
    rc = strike_model(l, id, digest, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

bool ledger_has_model(struct ledger *l, const uint8_t id[PLAN_ID_BYTES],
                      uint8_t ret_digest[HASH_BYTES])
{
    const struct entry *e;
    bool struck;

    pthread_mutex_lock(&l->lock);
    e = find(l, id);
    struck = e && e->struck;
    if (struck)
        memcpy(ret_digest, e->digest, HASH_BYTES);
    pthread_mutex_unlock(&l->lock);
    return struck;
}

static int strike_tape(struct ledger *l, const uint8_t *id, uint64_t number,
                       const uint8_t *plan_hash, const uint8_t *job, struct err *err)
{
    char line[LINE_MAX_BYTES], id_hex[2 * PLAN_ID_BYTES + 1];
    char hash_hex[2 * PLAN_HASH_BYTES + 1], job_hex[2 * LEDGER_JOB_BYTES + 1];
    struct entry *e = find_or_add(l, id);
    int rc;

    if (!e || make_room(e) < 0)
        return err_set(err, -ENOMEM, "no memory for the ledger");
    hex_encode(id, PLAN_ID_BYTES, id_hex);
    if (has_tape(e, number))
        return err_set(err, -EEXIST, "tape %" PRIu64 " of model %s was used before", number,
                       id_hex);
    hex_encode(plan_hash, PLAN_HASH_BYTES, hash_hex);
    hex_encode(job, LEDGER_JOB_BYTES, job_hex);
    snprintf(line, sizeof(line), "tape %s %" PRIu64 " %s %s", id_hex, number, hash_hex, job_hex);
    rc = append(l, line, sizeof(line), err);
    if (rc == 0)
        insert(e, number);
    return rc;
}

int ledger_strike_tape(struct ledger *l, const uint8_t id[PLAN_ID_BYTES], uint64_t number,
                       const uint8_t plan_hash[PLAN_HASH_BYTES],
                       const uint8_t job[LEDGER_JOB_BYTES], struct err *err)
{
    int rc;

    pthread_mutex_lock(&l->lock);
    rc = strike_tape(l, id, number, plan_hash, job, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static int reserve(struct ledger *l, const uint8_t *id, uint64_t batch, const uint8_t *plan_hash,
                   const uint64_t numbers[], size_t count, struct err *err)
{
    char line[LINE_MAX_BYTES], id_hex[2 * PLAN_ID_BYTES + 1], hash_hex[2 * PLAN_HASH_BYTES + 1];
    struct entry *e = find_or_add(l, id);
    int at, rc;

    if (!e || make_room(e) < 0)
        return err_set(err, -ENOMEM, "no memory for the ledger");
    hex_encode(id, PLAN_ID_BYTES, id_hex);
    hex_encode(plan_hash, PLAN_HASH_BYTES, hash_hex);
    at = snprintf(line, sizeof(line), "reserve %s %" PRIu64 " %s ", id_hex, batch, hash_hex);
    for (size_t i = 0; i < count; i++) {
        if (has_tape(e, numbers[i]))
            return err_set(err, -EEXIST, "tape %" PRIu64 " of model %s was used before", numbers[i],
                           id_hex);
        at +=
            snprintf(line + at, sizeof(line) - (size_t)at, "%s%" PRIu64, i ? "," : "", numbers[i]);
    }
    rc = append(l, line, sizeof(line), err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        insert(e, numbers[i]);
    if (rc == 0)
        e->batch = MAX(e->batch, batch);
    return rc;
}

int ledger_reserve(struct ledger *l, const uint8_t id[PLAN_ID_BYTES], uint64_t batch,
                   const uint8_t plan_hash[PLAN_HASH_BYTES], const uint64_t numbers[], size_t count,
                   struct err *err)
{
    int rc;

    if (!count || count > LEDGER_RESERVE_MAX)
        return err_set(err, -EINVAL, "%zu tapes cannot be struck off at once", count);
    pthread_mutex_lock(&l->lock);
    rc = reserve(l, id, batch, plan_hash, numbers, count, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static int raise_floor(struct ledger *l, const uint8_t *id, uint64_t batch, uint64_t number,
                       struct err *err)
{
    char line[LINE_MAX_BYTES], id_hex[2 * PLAN_ID_BYTES + 1];
    struct entry *e = find_or_add(l, id);
    int rc;

    if (!e)
        return err_set(err, -ENOMEM, "no memory for the ledger");
    hex_encode(id, PLAN_ID_BYTES, id_hex);
    snprintf(line, sizeof(line), "floor %s %" PRIu64 " %" PRIu64, id_hex, batch, number);
    rc = append(l, line, sizeof(line), err);
    if (rc == 0) {
        e->batch = MAX(e->batch, batch);
        e->floor = MAX(e->floor, number);
    }
    return rc;
}

int ledger_floor(struct ledger *l, const uint8_t id[PLAN_ID_BYTES], uint64_t batch, uint64_t number,
                 struct err *err)
{
    int rc;

    pthread_mutex_lock(&l->lock);
    rc = raise_floor(l, id, batch, number, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

uint64_t ledger_batch(struct ledger *l, const uint8_t id[PLAN_ID_BYTES])
{
    const struct entry *e;
    uint64_t batch;

    pthread_mutex_lock(&l->lock);
    e = find(l, id);
    batch = e ? e->batch : 0;
    pthread_mutex_unlock(&l->lock);
    return batch;
}

bool ledger_has_tape(struct ledger *l, const uint8_t id[PLAN_ID_BYTES], uint64_t number)
{
    const struct entry *e;
    bool has;

    pthread_mutex_lock(&l->lock);
    e = find(l, id);
    has = e && has_tape(e, number);
    pthread_mutex_unlock(&l->lock);
    return has;
}

uint64_t ledger_tape_max(struct ledger *l, const uint8_t id[PLAN_ID_BYTES])
{
    const struct entry *e;
    uint64_t max;

    pthread_mutex_lock(&l->lock);
    e = find(l, id);
    max = e ? MAX(e->floor, e->count ? e->numbers[e->count - 1] : 0) : 0;
    pthread_mutex_unlock(&l->lock);
    return max;
}
