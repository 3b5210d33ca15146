#include "appliance/audit.h"

#include "base/bytes.h"
#include "base/file.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)4 << 30)
#define RETRY_S        1

static const char magic[] = "mpcformer-audit 1 ";

#define HEADER_BYTES (sizeof(magic) - 1 + AUDIT_HEX_SIZE - 1)

struct audit {
    char *path;

    /* Of the lines: never held while the disk works. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char head[AUDIT_HEX_SIZE];
    uint64_t lines, pending_lines, lost, lost_told;
    char pending[AUDIT_PENDING_MAX];
    size_t pending_bytes;
    uint64_t minute_ns; /* since when refusals are counted */
    unsigned int refusals, unsaid;
    bool failing; /* the last try to write: lines go to the log too */
    bool ending;

    /* Of the file: taken before the other one. */
    pthread_mutex_t file_lock;
    int fd;
    pthread_t thread;
    bool started;
};

/* --- the chain --- */

static void chain(const char before[AUDIT_HEX_SIZE], const char *line, size_t count,
                  char ret_head[AUDIT_HEX_SIZE])
{
    char text[AUDIT_HEX_SIZE + LOG_LINE_MAX];
    uint8_t hash[HASH_BYTES];

    memcpy(text, before, AUDIT_HEX_SIZE - 1);
    memcpy(text + AUDIT_HEX_SIZE - 1, line, count);
    hash_bytes(text, AUDIT_HEX_SIZE - 1 + count, hash);
    hex_encode(hash, HASH_BYTES, ret_head);
}

static void chain_header(const char *header, char ret_head[AUDIT_HEX_SIZE])
{
    uint8_t hash[HASH_BYTES];

    hash_bytes(header, HEADER_BYTES, hash);
    hex_encode(hash, HASH_BYTES, ret_head);
}

/* --- reading --- */

static int verify_line(const char *line, size_t count, struct audit_found *f)
{
    const char *hash = line + count - (AUDIT_HEX_SIZE - 1);
    char head[AUDIT_HEX_SIZE];

    if (count < AUDIT_HEX_SIZE + 1 || count > AUDIT_HEX_SIZE + LOG_LINE_MAX - 1 || hash[-1] != ' ')
        return -EBADMSG;
    chain(f->head, line, (size_t)(hash - 1 - line), head);
    if (memcmp(head, hash, AUDIT_HEX_SIZE - 1) != 0)
        return -EBADMSG;
    memcpy(f->head, head, sizeof(head));
    return 0;
}

static int verify_text(const char *path, const char *text, size_t count, const char *look_for,
                       struct audit_found *f, size_t *ret_whole, struct err *err)
{
    size_t at = HEADER_BYTES + 1;

    if (count < at || memcmp(text, magic, sizeof(magic) - 1) != 0 || text[HEADER_BYTES] != '\n')
        return err_set(err, -EBADMSG, "%s: not an audit log of version 1", path);
    memcpy(f->before, text + sizeof(magic) - 1, AUDIT_HEX_SIZE - 1);
    chain_header(text, f->head);
    while (at < count) {
        const char *end = memchr(text + at, '\n', count - at);

        f->torn = !end;
        if (!end)
            break;
        f->lines++;
        if (verify_line(text + at, (size_t)(end - (text + at)), f) < 0)
            return err_set(err, -EBADMSG,
                           "%s:%" PRIu64 ": this line does not follow the one before it: one of "
                           "them was changed, or lines between them were removed",
                           path, f->lines + 1);
        f->seen |= look_for && strcmp(f->head, look_for) == 0;
        at = (size_t)(end - text) + 1;
    }
    *ret_whole = at;
    return 0;
}

int audit_verify(const char *path, const char *look_for, struct audit_found *ret_found,
                 struct err *err)
{
    struct audit_found f = {.lines = 0};
    size_t count, whole;
    uint8_t *text;
    int rc = file_read(path, FILE_BYTES_MAX, &text, &count, err);

    if (rc < 0)
        return rc;
    rc = verify_text(path, (char *)text, count, look_for, &f, &whole, err);
    free(text);
    if (rc == 0)
        *ret_found = f;
    return rc;
}

/* --- the file --- */

/* "... HEAD", a line; the chain goes on from it. */
static size_t make_header(struct audit *a, char ret[HEADER_BYTES + 2])
{
    snprintf(ret, HEADER_BYTES + 2, "%s%s\n", magic, a->head);
    chain_header(ret, a->head);
    return HEADER_BYTES + 1;
}

static int start_file(struct audit *a, int fd, struct err *err)
{
    char header[HEADER_BYTES + 2];
    int rc = file_write_all(fd, header, make_header(a, header));

    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    if (rc < 0)
        return err_set(err, rc, "%s: %s", a->path, strerror(-rc));
    return file_sync_folder(a->path, err);
}

static int go_on(struct audit *a, int fd, struct err *err)
{
    struct audit_found f = {.lines = 0};
    struct err why = {""};
    size_t count, whole;
    uint8_t *text;
    int rc = file_read(a->path, FILE_BYTES_MAX, &text, &count, err);

    if (rc < 0)
        return rc;
    /* Cut off while it was made: nothing was written behind it. */
    if (count <= HEADER_BYTES && memcmp(text, magic, MIN(count, sizeof(magic) - 1)) == 0) {
        rc = ftruncate(fd, 0) < 0 ? err_set(err, -errno, "%s: %s", a->path, strerror(errno))
                                  : start_file(a, fd, err);
        free(text);
        return rc;
    }
    rc = verify_text(a->path, (char *)text, count, NULL, &f, &whole, &why);
    free(text);
    if (rc < 0)
        return err_set(err, rc, "%s. Keep the file elsewhere to begin another", why.text);
    if (f.torn && ftruncate(fd, (off_t)whole) < 0)
        return err_set(err, -errno, "%s: its last line was cut off and cannot be removed: %s",
                       a->path, strerror(errno));
    memcpy(a->head, f.head, sizeof(f.head));
    return 0;
}

/* 0600, or what the umask leaves of 0640: a folder's owner may let a group read it. */
static int open_file(struct audit *a, int *ret_fd, struct err *err)
{
    int fd = open(a->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640), rc;

    if (fd < 0)
        return err_set(err, -errno, "%s: %s", a->path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        rc = err_set(err, -errno, "%s: another process writes it: %s", a->path, strerror(errno));
    else
        rc = go_on(a, fd, err);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

/* --- lines --- */

static void log_pending(const struct audit *a)
{
    const char *at = a->pending, *end = a->pending + a->pending_bytes, *stop;
    char line[LOG_LINE_MAX];

    for (; at < end && (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1) {
        snprintf(line, sizeof(line), "%.*s", (int)(stop - at), at);
        log_error("audit-waits", log_text("line", line));
    }
}

/* The lock is held. False: there is no room. */
static bool add_line(struct audit *a, const char *event, const struct log_field fields[])
{
    char line[LOG_LINE_MAX + AUDIT_HEX_SIZE + 1];
    size_t count = log_format(line, event, fields);

    if (a->pending_bytes + count + AUDIT_HEX_SIZE + 1 > sizeof(a->pending))
        return false;
    chain(a->head, line, count, a->head);
    if (a->failing)
        log_error("audit-waits", log_text("line", line));
    count += (size_t)snprintf(line + count, sizeof(line) - count, " %s\n", a->head);
    memcpy(a->pending + a->pending_bytes, line, count);
    a->pending_bytes += count;
    a->pending_lines++;
    a->lines++;
    return true;
}

void audit_write(struct audit *a, const char *event, const struct log_field fields[])
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    if (a->lost > a->lost_told &&
        add_line(a, "lines-lost",
                 (const struct log_field[]){log_number("count", (int64_t)(a->lost - a->lost_told)),
                                            {.key = NULL}}))
        a->lost_told = a->lost;
    if (a->lost > a->lost_told || !add_line(a, event, fields)) {
        a->lost++;
        log_write(LOG_LEVEL_ERROR, event, fields);
    }
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

/* Whether another one may be written this minute; *ret_unsaid of those before it were not. */
static bool take_refusal(struct audit *a, unsigned int *ret_unsaid)
{
    uint64_t now = time_ns();
    bool room;

    pthread_mutex_lock(&a->lock);
    if (now - a->minute_ns > 60 * 1000000000ull) {
        a->minute_ns = now;
        a->refusals = 0;
    }
    room = a->refusals < AUDIT_REFUSALS_MINUTE;
    *ret_unsaid = room ? a->unsaid : 0;
    a->refusals += room;
    a->unsaid = room ? 0 : a->unsaid + 1;
    pthread_mutex_unlock(&a->lock);
    return room;
}

void audit_write_refusal(struct audit *a, const char *event, const struct log_field fields[])
{
    unsigned int unsaid;

    if (!a || !take_refusal(a, &unsaid))
        return;
    if (unsaid)
        audit_note(a, "refusals-unsaid", log_number("count", unsaid));
    audit_write(a, event, fields);
}

bool audit_works(struct audit *a)
{
    bool works = true;

    if (!a)
        return true;
    pthread_mutex_lock(&a->lock);
    works = !a->failing;
    pthread_mutex_unlock(&a->lock);
    return works;
}

/* Write what there is now; *ret_done of it went out, also when it fails. */
static int write_some(int fd, const char *bytes, size_t count, size_t *ret_done)
{
    *ret_done = 0;
    while (*ret_done < count) {
        ssize_t n = write(fd, bytes + *ret_done, count - *ret_done);

        if (n < 0 && errno != EINTR)
            return -errno;
        *ret_done += (size_t)MAX(n, 0);
    }
    return 0;
}

/* What went out is gone from the front; the rest, perhaps half a line, waits. The lock is held. */
static void take_off(struct audit *a, size_t done)
{
    a->pending_bytes -= done;
    memmove(a->pending, a->pending + done, a->pending_bytes);
    a->pending_lines = 0;
    for (size_t i = 0; i < a->pending_bytes; i++)
        a->pending_lines += a->pending[i] == '\n';
}

static int failed(struct audit *a, int rc, struct err *err)
{
    if (!a->failing) {
        log_error("audit-not-written", log_text("file", a->path), log_text("error", strerror(-rc)));
        log_pending(a);
    }
    a->failing = true;
    return err_set(err, rc, "the audit log cannot be written: %s", strerror(-rc));
}

/* The file's lock is held; lines that are added meanwhile go behind those that are written. */
static int flush(struct audit *a, struct err *err)
{
    size_t count, done;
    int rc;

    pthread_mutex_lock(&a->lock);
    count = a->pending_bytes;
    pthread_mutex_unlock(&a->lock);
    rc = write_some(a->fd, a->pending, count, &done);
    pthread_mutex_lock(&a->lock);
    take_off(a, done);
    if (rc < 0) {
        rc = failed(a, rc, err);
    } else if (a->failing) {
        a->failing = false;
        log_info("audit-written", log_text("file", a->path));
    }
    pthread_mutex_unlock(&a->lock);
    return rc;
}

int audit_flush(struct audit *a, struct err *err)
{
    int rc;

    if (!a)
        return 0;
    pthread_mutex_lock(&a->file_lock);
    rc = flush(a, err);
    pthread_mutex_unlock(&a->file_lock);
    return rc;
}

/* A second later when it failed, else when there is more. */
static bool wait_for_lines(struct audit *a)
{
    struct timespec until;
    bool ending;

    pthread_mutex_lock(&a->lock);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RETRY_S;
    if (a->failing && !a->ending)
        pthread_cond_timedwait(&a->changed, &a->lock, &until);
    while (!a->pending_bytes && !a->ending)
        pthread_cond_wait(&a->changed, &a->lock);
    ending = a->ending;
    pthread_mutex_unlock(&a->lock);
    return !ending;
}

static void *audit_thread(void *state)
{
    struct audit *a = state;
    bool more;

    do {
        int fd = -1;

        more = wait_for_lines(a);
        pthread_mutex_lock(&a->file_lock);
        if (flush(a, NULL) == 0)
            fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
        pthread_mutex_unlock(&a->file_lock);
        /* Nobody waits for the disk, not even who has another line. */
        if (fd >= 0 && fdatasync(fd) < 0)
            log_error("audit-not-synced", log_text("file", a->path),
                      log_text("error", strerror(errno)));
        if (fd >= 0)
            close(fd);
    } while (more);
    return NULL;
}

int audit_open(const char *path, struct audit **ret_audit, struct err *err)
{
    struct audit *a = calloc(1, sizeof(*a));
    pthread_condattr_t attr;
    int rc;

    if (!a || !(a->path = strdup(path))) {
        free(a);
        return err_set(err, -ENOMEM, "no memory");
    }
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->file_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed, &attr);
    pthread_condattr_destroy(&attr);
    memset(a->head, '0', AUDIT_HEX_SIZE - 1);
    a->fd = -1;
    rc = open_file(a, &a->fd, err);
    if (rc == 0) {
        rc = -pthread_create(&a->thread, NULL, audit_thread, a);
        a->started = rc == 0;
    }
    if (rc < 0) {
        audit_close(a);
        return err_set(err, rc, "audit: %s", strerror(-rc));
    }
    pthread_setname_np(a->thread, "audit");
    *ret_audit = a;
    return 0;
}

void audit_close(struct audit *a)
{
    if (!a)
        return;
    if (a->started) {
        pthread_mutex_lock(&a->lock);
        a->ending = true;
        pthread_cond_signal(&a->changed);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    if (a->fd >= 0)
        close(a->fd);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->file_lock);
    pthread_cond_destroy(&a->changed);
    free(a->path);
    free(a);
}

static bool moved_away(const struct audit *a)
{
    struct stat here, there;

    return fstat(a->fd, &here) < 0 || stat(a->path, &there) < 0 || here.st_ino != there.st_ino ||
           here.st_dev != there.st_dev;
}

static int open_empty(const char *path, int *ret_fd, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);

    if (fd < 0)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return err_set(err, -EWOULDBLOCK, "%s: another process writes it", path);
    }
    *ret_fd = fd;
    return 0;
}

/* Its header is the first that waits for the new file; until then all lines are in the old one. */
static int change_file(struct audit *a, struct err *err)
{
    int fd = -1, rc = open_empty(a->path, &fd, err);

    if (rc < 0)
        return rc;
    rc = flush(a, err);
    pthread_mutex_lock(&a->lock);
    if (rc == 0 && a->pending_bytes)
        rc = err_set(err, -EAGAIN, "the audit log is busy: reload again");
    if (rc == 0) {
        a->pending_bytes = make_header(a, a->pending);
        pthread_cond_signal(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    if (rc < 0) {
        unlink(a->path);
        close(fd);
        return rc;
    }
    close(a->fd);
    a->fd = fd;
    return file_sync_folder(a->path, err);
}

int audit_rotate(struct audit *a, struct err *err)
{
    int rc = 0;

    if (!a)
        return 0;
    pthread_mutex_lock(&a->file_lock);
    if (moved_away(a))
        rc = change_file(a, err);
    pthread_mutex_unlock(&a->file_lock);
    return rc;
}

void audit_describe(struct audit *a, struct audit_state *ret_state)
{
    pthread_mutex_lock(&a->lock);
    *ret_state =
        (struct audit_state){.lines = a->lines, .pending = a->pending_lines, .lost = a->lost};
    memcpy(ret_state->head, a->head, sizeof(a->head));
    pthread_mutex_unlock(&a->lock);
}
