#include "distill/course.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/secret.h"
#include "distill/course_state.h"
#include "distill/judge.h"
#include "distill/ranks.h"

#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOG_STEPS   50
#define PROGRESS_NS UINT64_C(1000000000)
#define PATIENT_NS  UINT64_C(60000000000) /* between lines where stderr is no terminal */

/* A course under way. */
struct run {
    const struct course *c;
    struct trainer *trainer;
    struct sheet sheet;
    uint32_t *order; /* (rows of train): this epoch's */
    size_t batches;  /* an epoch has */
    struct course_state at;
    uint8_t identity[HASH_BYTES];
    char state_path[PATH_MAX], log_path[PATH_MAX], model_path[PATH_MAX];
    FILE *log; /* rank 0's; NULL: another has the folder */
    uint64_t started_ns, saved_ns, shown_ns;
    uint64_t steps, tokens; /* of this process */
    struct step_figures last;
};

/* --- what course it is --- */

static void add_stage(struct writer *w, const struct stage *s)
{
    const double numbers[] = {s->rate, s->warmup};

    write_string(w, s->name);
    write_u64(w, s->kind);
    write_u64(w, s->epochs);
    write_u64(w, s->falls);
    write_bytes(w, numbers, sizeof(numbers));
}

/* All that the bits of the result depend on, but for the program and its number of threads. */
static int identify(const struct course *c, uint8_t ret[HASH_BYTES], struct err *err)
{
    const struct trainer_settings *s = &c->settings;
    const double numbers[] = {s->decay,       s->beta1,        s->beta2,
                              s->eps,         s->clip,         s->dropout,
                              s->range.limit, s->range.weight, c->objective.teacher_dropout};
    const struct model_config *k = &c->model->config;
    struct writer w = {.bytes = NULL};
    uint8_t digest[HASH_BYTES];

    for (size_t i = 0; i < c->stage_count; i++)
        add_stage(&w, &c->stages[i]);
    write_string(&w, c->task->name);
    write_bytes(&w, numbers, sizeof(numbers));
    write_u64(&w, s->seed);
    write_u64(&w, c->batch);
    write_u64(&w, c->patience);
    write_u64(&w, k->heads);
    write_u64(&w, c->train->count);
    write_u64(&w, c->train->tokens);
    write_bytes(&w, c->data_digest, HASH_BYTES);
    for (size_t i = 0; i < k->layers; i++) {
        write_u8(&w, (uint8_t)k->functions[i].hidden);
        write_u8(&w, (uint8_t)k->functions[i].softmax);
    }
    hash_bytes(c->model->values, c->model->bytes, digest);
    write_bytes(&w, digest, HASH_BYTES);
    if (c->objective.teacher) {
        hash_bytes(c->objective.teacher->values, c->objective.teacher->bytes, digest);
        write_bytes(&w, digest, HASH_BYTES);
    }
    if (s->precision != PRECISION_F32) /* so that states from before there was a choice go on */
        write_u64(&w, s->precision);
    if (!w.failed)
        hash_bytes(w.bytes, w.count, ret);
    writer_free(&w);
    return w.failed ? err_set(err, -ENOMEM, "no memory for training") : 0;
}

/* --- files --- */

static int find_paths(struct run *r, struct err *err)
{
    const char *out = r->c->out;

    if (file_path(r->state_path, PATH_MAX, out, "training.state") < 0 ||
        file_path(r->log_path, PATH_MAX, out, "log.tsv") < 0 ||
        file_path(r->model_path, PATH_MAX, out, "model.safetensors") < 0)
        return err_set(err, -ENAMETOOLONG, "%s: the path is too long", out);
    return 0;
}

/* What a process that was killed while it wrote has left. */
static void sweep(const char *path)
{
    char pattern[PATH_MAX + 8];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s.??????", path);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        unlink(found.gl_pathv[i]);
    globfree(&found);
}

static int save_state(struct run *r, struct err *err)
{
    long at;

    if (!r->log)
        return 0;
    if (fflush(r->log) != 0 || fsync(fileno(r->log)) < 0 || (at = ftell(r->log)) < 0)
        return err_set(err, -errno, "%s: cannot write: %s", r->log_path, strerror(errno));
    r->at.log_bytes = (uint64_t)at;
    r->saved_ns = time_ns();
    return course_state_save(r->state_path, r->identity, &r->at, r->trainer, err);
}

/* The log is also the lock: two trainings in one folder would undo each other. */
static int open_log(struct run *r, struct err *err)
{
    int fd = open(r->log_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644), rc = 0;

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
        rc = err_set(err, -EBUSY, "%s: another training is at work here", r->c->out);
    else if (fd < 0 || !(r->log = fdopen(fd, "r+e")))
        rc = err_set(err, -errno, "%s: cannot be written: %s", r->log_path, strerror(errno));
    if (rc < 0 && fd >= 0)
        close(fd);
    else if (rc == 0)
        setvbuf(r->log, NULL, _IOLBF, 0); /* who watches sees each line */
    return rc;
}

/* The log as far as the state goes. */
static int cut_log(struct run *r, struct err *err)
{
    off_t at = (off_t)r->at.log_bytes;

    if (ftruncate(fileno(r->log), at) < 0 || fseeko(r->log, at, SEEK_SET) < 0)
        return err_set(err, -errno, "%s: cannot be written: %s", r->log_path, strerror(errno));
    if (!at)
        fprintf(r->log, "stage\tepoch\tstep\tof\tloss\toutside\tgradient\trate\ttokens_per_s\t%s\n",
                metric_name(r->c->task->metrics[0]));
    return 0;
}

/* The state's numbers, where a disk may have changed them. */
static bool is_sane(const struct run *r)
{
    const struct course_state *s = &r->at;

    return s->stage < r->c->stage_count && s->epoch <= r->c->stages[s->stage].epochs &&
           s->batch <= r->batches && s->log_bytes <= INT64_MAX;
}

static int begin_here(struct run *r, struct course_result *ret, struct err *err)
{
    int rc = open_log(r, err);

    if (rc < 0)
        return rc;
    rc = course_state_load(r->state_path, r->identity, &r->at, r->trainer, err);
    ret->resumed = rc == 0;
    if (rc == -ENOENT && access(r->model_path, F_OK) == 0)
        return err_set(err, -EEXIST,
                       "%s: is there, and no training.state beside it: a finished model is not "
                       "overwritten; take another --out",
                       r->model_path);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (!is_sane(r))
        return err_set(err, -EINVAL, "%s: is damaged: remove it", r->state_path);
    sweep(r->state_path);
    sweep(r->model_path);
    rc = cut_log(r, err);
    return rc < 0 ? rc : save_state(r, err);
}

/* Rank 0 has the folder; the others begin with what it has read there, or end as it does. */
static int begin(struct run *r, struct course_result *ret, struct err *err)
{
    struct trainer *t = r->trainer;
    struct {
        void *at;
        size_t bytes;
    } parts[] = {{ret, sizeof(*ret)},           {&r->at, sizeof(r->at)},
                 {&t->steps, sizeof(t->steps)}, {t->model->values, t->model->bytes},
                 {t->m, t->model->bytes},       {t->v, t->model->bytes}};
    int first = ranks_own() ? 0 : begin_here(r, ret, err);
    int rc = ranks_copy(&first, sizeof(first), err);

    if (rc == 0 && first < 0)
        return err_set(err, first, "rank 0 cannot begin");
    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(parts); i++)
        rc = ranks_copy(parts[i].at, parts[i].bytes, err);
    return rc;
}

/* --- figures --- */

static double tokens_per_s(const struct run *r)
{
    return (double)r->tokens / ((double)(time_ns() - r->started_ns) / 1e9);
}

static double rate_at(const struct run *r, const struct stage *s)
{
    double all = (double)(s->epochs * r->batches);
    double step = (double)(r->at.epoch * r->batches + r->at.batch), rising = s->warmup * all;

    if (step < rising)
        return s->rate * (step + 1) / rising;
    return s->falls ? s->rate * (all - step) / (all - rising) : s->rate;
}

static double seconds_left(const struct run *r)
{
    const struct course *c = r->c;
    double steps = -(double)(r->at.epoch * r->batches + r->at.batch);

    for (size_t i = r->at.stage; i < c->stage_count; i++)
        steps += (double)(c->stages[i].epochs * r->batches);
    return steps * (double)(time_ns() - r->started_ns) / 1e9 / (double)MAX(r->steps, UINT64_C(1));
}

static void show(struct run *r, const struct stage *s)
{
    bool terminal = isatty(STDERR_FILENO);
    uint64_t now = time_ns();

    if (r->c->quiet || !r->log || now - r->shown_ns < (terminal ? PROGRESS_NS : PATIENT_NS))
        return;
    r->shown_ns = now;
    fprintf(stderr,
            "%s%s: epoch %" PRIu64 " of %zu, step %" PRIu64 " of %zu, loss %.4f, rate %.2e, "
            "%.0f tokens a second, %.0f s left%s",
            terminal ? "\r" : "", s->name, r->at.epoch + 1, s->epochs, r->at.batch, r->batches,
            r->at.loss_sum / (double)MAX(r->at.batch, UINT64_C(1)), rate_at(r, s), tokens_per_s(r),
            seconds_left(r), terminal ? "   " : "\n");
}

static void log_step(struct run *r, const struct stage *s, double rate)
{
    fprintf(r->log, "%s\t%" PRIu64 "\t%" PRIu64 "\t%zu\t%.6g\t%.6g\t%.6g\t%.6g\t%.0f\t\n", s->name,
            r->at.epoch + 1, r->at.batch, r->batches, r->last.loss, r->last.outside, r->last.norm,
            rate, tokens_per_s(r));
}

static void log_epoch(struct run *r, const struct stage *s, double loss, double metric)
{
    fprintf(r->log, "%s\t%" PRIu64 "\tepoch\t%zu\t%.6g\t\t\t\t%.0f\t%.6g\n", s->name, r->at.epoch,
            r->batches, loss, tokens_per_s(r), metric);
    if (!r->c->quiet)
        fprintf(stderr, "%s%s: epoch %" PRIu64 " of %zu: loss %.4f, %s on dev %.4f\n",
                isatty(STDERR_FILENO) ? "\r" : "", s->name, r->at.epoch, s->epochs, loss,
                metric_name(r->c->task->metrics[0]), metric);
}

/* --- training --- */

static bool is_enough(const struct run *r)
{
    return r->c->steps_max && r->steps >= r->c->steps_max;
}

static int train_batch(struct run *r, const struct stage *s, struct err *err)
{
    const struct course *c = r->c;
    struct objective objective = c->objective;
    size_t at = r->at.batch * c->batch, count = MIN(c->train->count - at, c->batch);
    const uint32_t *rows = r->order + at;
    size_t first = corpus_cut(c->train, rows, count, ranks_own(), ranks_count());
    size_t end = corpus_cut(c->train, rows, count, ranks_own() + 1, ranks_count());
    double rate = rate_at(r, s);
    int rc = sheet_fill_part(&r->sheet, c->train, rows, count, first, end, err);

    objective.kind = s->kind;
    if (rc == 0)
        rc = trainer_step(r->trainer, &r->sheet.batch, r->sheet.labels, &objective, rate, &r->last,
                          err);
    if (rc < 0)
        return rc;
    r->at.batch++;
    r->at.loss_sum += r->last.loss;
    r->tokens += r->sheet.batch.whole.tokens;
    if (r->log && r->at.batch % LOG_STEPS == 0)
        log_step(r, s, rate);
    show(r, s);
    r->steps++;
    return time_ns() - r->saved_ns >= c->save_ns ? save_state(r, err) : 0;
}

static int end_epoch(struct run *r, const struct stage *s, bool last_stage, struct err *err)
{
    const struct course *c = r->c;
    double loss = r->at.loss_sum / (double)r->batches, metric = 0;
    int rc = judge(r->trainer->net, c->model, c->dev, c->task, c->map, &metric, err);

    if (rc < 0)
        return rc;
    r->at.epoch++;
    r->at.epochs++;
    r->at.batch = 0;
    r->at.loss_sum = 0;
    if (r->log)
        log_epoch(r, s, loss, metric);
    /* Of equals the first; where a penalty is at work, the last, which reaches out the least. */
    if (!r->at.best_epoch || metric > r->at.best ||
        (metric == r->at.best && c->settings.range.weight > 0)) {
        r->at.best = metric;
        r->at.best_epoch = r->at.epoch;
        if (last_stage && r->log)
            rc = checkpoint_save(c->model, c->out, err);
    }
    return rc < 0 ? rc : save_state(r, err);
}

static bool stage_is_over(const struct run *r, const struct stage *s)
{
    return r->at.epoch == s->epochs ||
           (s->kind != OBJECTIVE_HIDDEN && r->c->patience && r->at.best_epoch &&
            r->at.epoch - r->at.best_epoch >= r->c->patience);
}

/* Until the stage is over, or it is enough for this time. */
static int run_stage(struct run *r, const struct stage *s, bool last_stage, struct err *err)
{
    const struct course *c = r->c;
    int rc = 0;

    while (rc == 0 && !stage_is_over(r, s) && !is_enough(r)) {
        corpus_shuffle(c->train->count, c->settings.seed + r->at.stage, r->at.epoch, r->order);
        while (rc == 0 && r->at.batch < r->batches && !is_enough(r))
            rc = train_batch(r, s, err);
        if (rc == 0 && r->at.batch == r->batches)
            rc = end_epoch(r, s, last_stage, err);
    }
    return rc;
}

/* The stage after begins with moments and a count of steps of its own. */
static void next_stage(struct run *r)
{
    const uint64_t epochs = r->at.epochs;

    r->at = (struct course_state){.stage = r->at.stage + 1, .epochs = epochs};
    trainer_reset(r->trainer);
}

/* A last stage of no epochs has chosen nothing: the result is what the one before made. */
static int save_last(struct run *r, struct err *err)
{
    const struct course *c = r->c;
    int rc = judge(r->trainer->net, c->model, c->dev, c->task, c->map, &r->at.best, err);

    return rc < 0 || !r->log ? rc : checkpoint_save(c->model, c->out, err);
}

/* *ret_finished: to the end. */
static int run_stages(struct run *r, bool *ret_finished, struct err *err)
{
    const struct course *c = r->c;

    for (;;) {
        const struct stage *s = &c->stages[r->at.stage];
        bool last = r->at.stage + 1 == c->stage_count;
        int rc = run_stage(r, s, last, err);

        if (rc < 0)
            return rc;
        if (!stage_is_over(r, s))
            return save_state(r, err);
        if (last) {
            *ret_finished = true;
            return r->at.best_epoch ? 0 : save_last(r, err);
        }
        next_stage(r);
    }
}

static int finish(struct run *r, struct err *err)
{
    if (fflush(r->log) != 0 || ferror(r->log))
        return err_set(err, -EIO, "%s: cannot write", r->log_path);
    if (unlink(r->state_path) < 0)
        return err_set(err, -errno, "%s: %s", r->state_path, strerror(errno));
    return file_sync_folder(r->state_path, err);
}

int course_run(const struct course *c, struct course_result *ret, struct err *err)
{
    struct run r = {.c = c, .order = calloc(c->train->count, sizeof(*r.order))};
    struct course_result result = {.resumed = false};
    int rc = r.order ? find_paths(&r, err) : err_set(err, -ENOMEM, "no memory for training");

    r.batches = (c->train->count + c->batch - 1) / c->batch;
    if (rc == 0)
        rc = identify(c, r.identity, err);
    if (rc == 0)
        rc = ranks_compare("options, a model or data", r.identity, HASH_BYTES, err);
    if (rc == 0)
        rc = trainer_new(c->model, &c->settings, &r.trainer, err);
    if (rc == 0)
        rc = begin(&r, &result, err);
    r.started_ns = r.shown_ns = time_ns();
    if (rc == 0)
        rc = run_stages(&r, &result.finished, err);
    if (rc == 0 && result.finished && r.log)
        rc = finish(&r, err);
    if (rc == 0) {
        result.best = r.at.best;
        result.best_epoch = r.at.best_epoch;
        result.epochs = r.at.epochs;
        result.tokens_per_s = tokens_per_s(&r);
        *ret = result;
    }
    if (r.log)
        fclose(r.log);
    trainer_free(r.trainer);
    sheet_free(&r.sheet);
    free(r.order);
    return rc;
}
