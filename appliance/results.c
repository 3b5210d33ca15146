#include "appliance/results.h"

#include "base/bytes.h"
#include "base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* What every file begins with, as results_open() writes it. */
#define BEGINNING "{\"results\":"

struct results_file {
    char *path;
    int fd;
    uint64_t synced_ns;
};

/* --- rows in memory --- */

void results_free(struct results *r)
{
    json_decref(r->head);
    free(r->rows);
    *r = (struct results){.head = NULL};
}

int results_start(const json_t *head, struct results *ret, struct err *err)
{
    const char *task = json_string_value(json_object_get(head, "task"));
    struct results r = {.task = task ? task_find(task) : NULL};

    if (json_integer_value(json_object_get(head, "results")) != RESULTS_VERSION || !r.task)
        return err_set(err, -EBADMSG, "not the head of an evaluation's results of version %d",
                       RESULTS_VERSION);
    r.head = json_deep_copy(head);
    if (!r.head)
        return err_set(err, -ENOMEM, "no memory for results");
    r.labels = MAX(r.task->label_count, 1);
    r.private = json_is_string(json_object_get(head, "plan_sha256"));
    *ret = r;
    return 0;
}

static int add_row(struct results *r, const struct result *row,
                   const struct result_cost ops[OP_ID_END])
{
    struct result *more = r->rows;

    if ((r->count & (r->count - 1)) == 0)
        more = reallocarray(r->rows, r->count ? 2 * r->count : 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    r->rows = more;
    r->rows[r->count++] = *row;
    for (size_t i = 0; row->batch && i < OP_ID_END; i++) {
        r->ops[i].ms += ops[i].ms / (double)row->batch;
        r->ops[i].bytes += ops[i].bytes / (double)row->batch;
        r->ops[i].rounds += ops[i].rounds / (double)row->batch;
    }
    return 0;
}

/* --- a line --- */

static json_t *write_logits(const double logits[], size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_real(logits[i]));
    return list;
}

static json_t *write_ops(const struct result_cost ops[OP_ID_END])
{
    json_t *all = json_object();

    for (unsigned int i = 0; i < OP_ID_END; i++)
        if (ops[i].ms > 0 || ops[i].bytes > 0)
            json_object_set_new(all, op_kind(i)->name,
                                json_pack("[f, I, I]", ops[i].ms, (json_int_t)ops[i].bytes,
                                          (json_int_t)ops[i].rounds));
    return all;
}

static json_t *write_row(const struct results *r, const struct result *row,
                         const struct result_cost ops[OP_ID_END])
{
    json_t *line = json_pack("{s:I, s:I, s:f, s:o, s:I, s:I}", "index", (json_int_t)row->index,
                             "line", (json_int_t)row->line, "label", row->label, "float",
                             write_logits(row->float_logits, r->labels), "tokens",
                             (json_int_t)row->tokens, "dropped", (json_int_t)row->dropped);
    json_t *job =
        !row->batch
            ? NULL
            : json_pack("{s:o, s:I, s:f, s:f, s:I, s:I, s:o}", "private",
                        row->outside ? json_null() : write_logits(row->logits, r->labels), "batch",
                        (json_int_t)row->batch, "online_ms", row->online_ms, "offline_ms",
                        row->offline_ms, "bytes_online", (json_int_t)row->bytes_online,
                        "rounds_online", (json_int_t)row->rounds_online, "ops", write_ops(ops));

    if (line && row->batch && json_object_update(line, job) < 0) {
        json_decref(line);
        line = NULL;
    }
    json_decref(job);
    return line;
}

static bool read_logits(const json_t *list, size_t count, double ret[])
{
    for (size_t i = 0; i < count; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return false;
        ret[i] = json_number_value(json_array_get(list, i));
    }
    return json_array_size(list) == count;
}

unsigned int results_op(const char *name)
{
    for (unsigned int id = 1; id < OP_ID_END; id++)
        if (strcmp(op_kind(id)->name, name) == 0)
            return id;
    return 0;
}

static bool read_ops(json_t *all, struct result_cost ret[OP_ID_END])
{
    const char *name;
    json_t *of;

    json_object_foreach(all, name, of)
    {
        unsigned int id = results_op(name);

        if (!id || json_array_size(of) != 3)
            return false;
        ret[id] = (struct result_cost){json_number_value(json_array_get(of, 0)),
                                       json_number_value(json_array_get(of, 1)),
                                       json_number_value(json_array_get(of, 2))};
    }
    return true;
}

static bool read_job(json_t *line, size_t labels, struct result *row,
                     struct result_cost ops[OP_ID_END])
{
    json_t *private = NULL, *all = NULL;
    json_int_t batch = 0, bytes = 0, rounds = 0;

    if (json_unpack(line, "{s:o, s:I, s:F, s:F, s:I, s:I, s:o}", "private", &private, "batch",
                    &batch, "online_ms", &row->online_ms, "offline_ms", &row->offline_ms,
                    "bytes_online", &bytes, "rounds_online", &rounds, "ops", &all) < 0 ||
        batch < 1 || bytes < 0 || rounds < 0)
        return false;
    row->batch = (size_t)batch;
    row->bytes_online = (uint64_t)bytes;
    row->rounds_online = (uint64_t)rounds;
    row->outside = json_is_null(private);
    return (row->outside || read_logits(private, labels, row->logits)) && read_ops(all, ops);
}

static int read_line(struct results *r, const char *text, size_t count)
{
    struct result_cost ops[OP_ID_END] = {{0}};
    struct result row = {.index = 0};
    json_t *line = json_loadb(text, count, 0, NULL), *floats = NULL;
    json_int_t index = -1, number = 0, tokens = 0, dropped = 0;
    bool right = line && json_unpack(line, "{s:I, s:I, s:F, s:o, s:I, s:I}", "index", &index,
                                     "line", &number, "label", &row.label, "float", &floats,
                                     "tokens", &tokens, "dropped", &dropped) == 0;

    right = right && index == (json_int_t)r->count && number > 0 && tokens > 0 && dropped >= 0 &&
            read_logits(floats, r->labels, row.float_logits);
    row.index = (size_t)index;
    row.line = (size_t)number;
    row.tokens = (size_t)tokens;
    row.dropped = (size_t)dropped;
    right = right && (!r->private || read_job(line, r->labels, &row, ops));
    json_decref(line);
    return right ? add_row(r, &row, ops) : -EBADMSG;
}

/* --- a file --- */

/* *ret_used: without a last line that was cut off. */
static int parse(const char *path, const char *text, size_t count, struct results *r,
                 size_t *ret_used, struct err *err)
{
    size_t at = 0;
    const char *end;
    int rc = 0;

    for (size_t line = 1; rc == 0 && (end = memchr(text + at, '\n', count - at)); line++) {
        size_t length = (size_t)(end - (text + at));
        json_t *head = line == 1 ? json_loadb(text, length, 0, NULL) : NULL;

        if (line == 1)
            rc = results_start(head, r, NULL);
        else
            rc = read_line(r, text + at, length);
        json_decref(head);
        at += length + 1;
        if (rc == -EBADMSG)
            rc = err_set(err, rc, "%s:%zu: %s", path, line,
                         line == 1 ? "no results of an evaluation, or another version's"
                                   : "damaged: remove this line and those after it");
    }
    *ret_used = at;
    return rc;
}

static int read_file(const char *path, struct results *ret, size_t *ret_used, struct err *err)
{
    struct results r = {.head = NULL};
    uint8_t *text;
    size_t count;
    int rc = file_read(path, RESULTS_BYTES_MAX, &text, &count, err);

    if (rc < 0)
        return rc;
    rc = parse(path, (const char *)text, count, &r, ret_used, err);
    /* No line is whole: only the beginning of a first one may be overwritten. */
    if (rc == 0 && !r.head && memcmp(text, BEGINNING, MIN(count, strlen(BEGINNING))) != 0)
        rc = err_set(err, -EBADMSG, "%s: no results of an evaluation", path);
    free(text);
    if (rc < 0)
        results_free(&r);
    else
        *ret = r;
    return rc;
}

int results_read(const char *path, struct results *ret, struct err *err)
{
    size_t used;
    int rc = read_file(path, ret, &used, err);

    if (rc == 0 && !ret->count) {
        results_free(ret);
        rc = err_set(err, -EBADMSG, "%s: there are no results in it yet", path);
    }
    return rc;
}

/* -EINVAL when the rows in @path, under the head @theirs, are not of what @ours says. */
static int check_same(const json_t *theirs, const json_t *ours, const char *path, struct err *err)
{
    static const struct {
        const char *key, *name;
    } what[] = {{"task", "task"},
                {"data_sha256", "data file"},
                {"float_sha256", "float model"},
                {"plan_sha256", "plan (functions, formats, lengths)"},
                {"length", "length mode"},
                {"labels_by", "reading of the labels"}};

    for (size_t i = 0; i < ARRAY_LENGTH(what); i++) {
        const json_t *there = json_object_get(theirs, what[i].key);
        const json_t *here = json_object_get(ours, what[i].key);

        /* A float model's has no length mode. */
        if (there != here && !json_equal(there, here))
            return err_set(err, -EINVAL,
                           "%s: holds results of another %s; name another file, or remove it", path,
                           what[i].name);
    }
    return 0;
}

static int write_line(struct results_file *f, const json_t *line, struct err *err)
{
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    uint64_t now = time_ns();
    size_t count;
    int rc;

    if (!text)
        return err_set(err, -ENOMEM, "no memory for a result");
    count = strlen(text);
    text[count] = '\n'; /* in place of the NUL: a line is one write */
    rc = file_write_all(f->fd, text, count + 1);
    free(text);
    if (rc == 0 && now - f->synced_ns > RESULTS_SYNC_NS) {
        f->synced_ns = now;
        rc = fdatasync(f->fd) < 0 ? -errno : 0;
    }
    return rc < 0 ? err_set(err, rc, "%s: %s", f->path, strerror(-rc)) : 0;
}

/* What stands in the file becomes *r, without a last line that was cut off; or it gets its head. */
static int begin(struct results_file *f, const json_t *head, struct results *r, struct err *err)
{
    size_t used = 0;
    int rc = read_file(f->path, r, &used, err);

    if (rc < 0)
        return rc;
    if (ftruncate(f->fd, (off_t)used) < 0)
        return err_set(err, -errno, "%s: %s", f->path, strerror(errno));
    if (r->head)
        return check_same(r->head, head, f->path, err);
    rc = results_start(head, r, err);
    if (rc == 0)
        rc = write_line(f, head, err);
    return rc < 0 ? rc : file_sync_folder(f->path, err);
}

int results_open(const char *path, const json_t *head, struct results_file **ret_file,
                 struct results *ret, struct err *err)
{
    struct results_file *f = calloc(1, sizeof(*f));
    struct results r = {.head = NULL};
    int rc;

    if (!f || !(f->path = strdup(path))) {
        free(f);
        return err_set(err, -ENOMEM, "no memory for results");
    }
    f->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (f->fd < 0)
        rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
    else if (flock(f->fd, LOCK_EX | LOCK_NB) < 0)
        rc = err_set(err, -errno, "%s: another process writes it: %s", path, strerror(errno));
    else
        rc = begin(f, head, &r, err);
    if (rc < 0) {
        results_free(&r);
        (void)!results_close(f, NULL);
        return rc;
    }
    *ret_file = f;
    *ret = r;
    return 0;
}

int results_add(struct results_file *f, struct results *to, const struct result *row,
                const struct online_stats *stats, struct err *err)
{
    struct result_cost ops[OP_ID_END] = {{0}};
    json_t *line;
    int rc = 0;

    for (size_t i = 0; stats && i < OP_ID_END; i++)
        ops[i] = (struct result_cost){(double)stats->kind[i].ns / 1e6, (double)stats->kind[i].bytes,
                                      (double)stats->kind[i].rounds};
    if (f) {
        line = write_row(to, row, ops);
        rc = write_line(f, line, err);
        json_decref(line);
    }
    return rc < 0 ? rc : add_row(to, row, ops);
}

int results_close(struct results_file *f, struct err *err)
{
    int rc = 0;

    if (!f)
        return 0;
    if (f->fd >= 0 && fdatasync(f->fd) < 0)
        rc = err_set(err, -errno, "%s: %s", f->path, strerror(errno));
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f);
    return rc;
}
