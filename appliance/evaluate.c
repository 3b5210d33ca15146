#include "appliance/evaluate.h"

#include "appliance/answer.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "base/workers.h"

#include <libgen.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TERMINAL_NS UINT64_C(200000000)
#define FLOAT_ROWS  2 /* at once, for each thread of the float model: lengths differ */

struct run {
    const struct evaluation *e;
    size_t map[TASK_LABELS_MAX]; /* the model's logit of each of the task's labels */
    struct results results;
    struct results_file *file;
    size_t batch;               /* rows at once */
    struct encoding *encodings; /* (batch), secret memory */
    struct verdict verdicts[PLAN_BATCH_MAX];
    struct workers *team; /* of the float model where it is asked alone */

    uint64_t start_ns, shown_ns;
    size_t before, agree; /* rows of earlier runs; of this one, those that agree */
};

static const struct checkpoint *float_of(const struct evaluation *e)
{
    return e->owner->folder->checkpoint;
}

/* --- what the rows are of --- */

static json_t *hex_of(const uint8_t digest[HASH_BYTES])
{
    char text[2 * HASH_BYTES + 1];

    hex_encode(digest, HASH_BYTES, text);
    return json_string(text);
}

static int digest_float(const struct checkpoint *c, uint8_t ret[HASH_BYTES])
{
    struct hash *h = hash_new();

    if (!h)
        return -ENOMEM;
    for (size_t i = 0; i < c->config.layers; i++) {
        const uint8_t functions[] = {(uint8_t)c->config.functions[i].hidden,
                                     (uint8_t)c->config.functions[i].softmax};

        hash_add(h, functions, sizeof(functions));
    }
    hash_add(h, c->values, c->bytes);
    hash_end(h, ret);
    return 0;
}

/* Everything of a plan but which split of the weights it is of. */
static int digest_plan(const struct plan *plan, uint8_t ret[HASH_BYTES], struct err *err)
{
    struct plan form = *plan;
    uint8_t *bytes;
    size_t count;
    int rc;

    memset(form.model_id, 0, sizeof(form.model_id));
    memset(form.commitment, 0, sizeof(form.commitment));
    rc = plan_serialize(&form, &bytes, &count, err);
    if (rc < 0)
        return rc;
    free(bytes);
    memcpy(ret, form.hash, HASH_BYTES);
    return 0;
}

static json_t *name_functions(const struct model_config *c)
{
    for (size_t i = 1; i < c->layers; i++)
        if (c->functions[i].hidden != c->functions[0].hidden ||
            c->functions[i].softmax != c->functions[0].softmax)
            return json_string("mixed");
    return json_sprintf("%s+%s", hidden_act_name(c->functions[0].hidden),
                        softmax_act_name(c->functions[0].softmax));
}

/* As whoever shared it named it; of a float model alone its folder's name. */
static json_t *name_model(const struct evaluation *e)
{
    const struct plan *plan = e->owner->folder->plan;
    char *path = plan ? NULL : strdup(e->model_path);
    json_t *name = plan ? json_string(plan->name) : path ? json_string(basename(path)) : NULL;

    free(path);
    return name;
}

static json_t *name_labels(const struct task *t)
{
    json_t *labels = json_array();

    for (size_t i = 0; i < t->label_count; i++)
        json_array_append_new(labels, json_string(t->labels[i]));
    return labels;
}

static int make_head(const struct evaluation *e, bool by_name, json_t **ret, struct err *err)
{
    const struct plan *plan = e->owner->folder->plan;
    uint8_t of_float[HASH_BYTES], of_plan[HASH_BYTES];
    int rc = digest_float(float_of(e), of_float);

    if (rc == 0 && plan)
        rc = digest_plan(plan, of_plan, err);
    if (rc < 0)
        return rc;
    *ret = json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:s*}",
                     "results", RESULTS_VERSION, "task", e->task->name, "data", e->data_path,
                     "data_sha256", hex_of(e->data->digest), "model", name_model(e), "functions",
                     name_functions(&float_of(e)->config), "ring",
                     plan ? json_integer(plan->ring) : json_null(), "frac",
                     plan ? json_integer(plan->frac) : json_null(), "plan_sha256",
                     plan ? hex_of(of_plan) : json_null(), "float_sha256", hex_of(of_float),
                     "labels", name_labels(e->task), "labels_by", by_name ? "name" : "number",
                     "error_bound", plan ? json_real(plan->error_bound) : json_null(), "length",
                     plan ? length_mode_names[e->owner->length] : NULL);
    if (plan && plan_labels_only(plan))
        json_object_set_new(*ret, "labels_only", json_true());
    return *ret ? 0 : err_set(err, -ENOMEM, "no memory for the results");
}

/* --- the rows --- */

static void show(struct run *r, size_t done, size_t all)
{
    bool terminal = isatty(STDERR_FILENO);
    uint64_t now = time_ns(), every = TERMINAL_NS;
    double seconds = (double)(now - r->start_ns) / 1e9;
    double rate = (double)(done - r->before) / seconds;

    if (!terminal)
        every = (uint64_t)r->e->progress_s * 1000000000;
    if (!every || (now - r->shown_ns < every && (done < all || !terminal)))
        return;
    r->shown_ns = now;
    fprintf(stderr, "%s%zu of %zu rows, %.2f a second, %.0f s left",
            terminal ? "\r" : "mpcformer: ", done, all, rate, (double)(all - done) / rate);
    if (r->results.private && r->results.task->label_count)
        fprintf(stderr, ", %zu of %zu agree", r->agree, done - r->before);
    fputs(terminal && done < all ? "   " : "\n", stderr);
}

static int add_row(struct run *r, const struct task_row *row, const struct verdict *v, size_t batch,
                   struct err *err)
{
    struct result found = {.index = r->results.count,
                           .line = row->line,
                           .label = row->label,
                           .tokens = v->tokens,
                           .dropped = v->dropped};

    for (size_t i = 0; i < r->results.labels; i++)
        found.float_logits[i] = v->float_logits[r->map[i]];
    if (!r->results.private)
        return results_add(r->file, &r->results, &found, NULL, err);
    found.outside = v->outside != NULL;
    if (found.outside)
        fprintf(stderr, "mpcformer: %s:%zu: " ANSWER_OUTSIDE "\n", r->e->data_path, row->line,
                v->outside->name);
    for (size_t i = 0; !found.outside && i < r->results.labels; i++)
        found.logits[i] = v->logits[r->map[i]];
    found.batch = batch;
    found.online_ms = v->figures.online_ms;
    found.offline_ms = v->figures.offline_party_ms + v->figures.offline_dealer_ms;
    found.bytes_online = v->figures.bytes_online;
    found.rounds_online = v->figures.rounds_online;
    r->agree += !found.outside && logits_best(found.logits, r->results.labels) ==
                                      logits_best(found.float_logits, r->results.labels);
    return results_add(r->file, &r->results, &found, &v->figures.stats, err);
}

struct float_job {
    struct run *r;
    int rc[PLAN_BATCH_MAX];
    struct err why[PLAN_BATCH_MAX];
};

static void classify_row(void *context, size_t row, unsigned int worker)
{
    struct float_job *job = context;
    const struct encoding *e = &job->r->encodings[row];
    struct verdict *v = &job->r->verdicts[row];

    (void)worker;
    v->tokens = e->count;
    v->dropped = e->dropped;
    job->rc[row] =
        reference_classify(float_of(job->r->e), e, v->float_logits, NULL, &job->why[row]);
}

static int classify_float(struct run *r, size_t count, struct err *err)
{
    struct float_job job = {.r = r};

    workers_run(r->team, classify_row, &job, count);
    for (size_t i = 0; i < count; i++)
        if (job.rc[i] < 0)
            return err_set(err, job.rc[i], "%s", err_text(&job.why[i], job.rc[i]));
    return 0;
}

/* The next @count rows, in one job. */
static int run_job(struct run *r, size_t count, struct err *err)
{
    const struct task_row *rows = &r->e->data->rows[r->results.count];
    struct owner *o = r->e->owner;
    struct err why = {""};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = model_folder_encode(o->folder, rows[i].text, rows[i].pair, &r->encodings[i], &why);
        if (rc < 0)
            err_set(err, rc, "%s:%zu: %s", r->e->data_path, rows[i].line, err_text(&why, rc));
    }
    if (rc == 0)
        rc = o->client ? owner_classify_batch(o, r->encodings, count, r->verdicts, err)
                       : classify_float(r, count, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = add_row(r, &rows[i], &r->verdicts[i], count, err);
    return rc;
}

static int run_rows(struct run *r, struct err *err)
{
    const struct evaluation *e = r->e;
    size_t all = e->data->count;
    int rc = 0;

    r->start_ns = r->shown_ns = time_ns();
    r->before = r->results.count;
    if (e->owner->client && r->before < all)
        rc = client_connect(e->owner->client, err);
    while (rc == 0 && r->results.count < all) {
        rc = run_job(r, MIN(r->batch, all - r->results.count), err);
        if (rc == 0)
            show(r, r->results.count, all);
    }
    if (rc < 0 && r->file && r->results.count)
        fprintf(stderr, "mpcformer: %zu rows are in %s: the same command goes on after them\n",
                r->results.count, e->results_path);
    return rc;
}

/* --- the whole of it --- */

/* A thread on each CPU that this process may use. */
static int float_team(struct run *r, struct err *err)
{
    struct workers_options options = {.name = "float", .count = 1};
    cpu_set_t cpus;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        options.count = MIN((unsigned int)CPU_COUNT(&cpus), PLAN_BATCH_MAX / FLOAT_ROWS);
    r->batch = options.count * FLOAT_ROWS;
    return workers_new(&options, &r->team, err);
}

static int prepare(struct run *r, struct err *err)
{
    int rc = 0;

    r->batch = r->e->batch;
    if (!r->e->owner->client)
        rc = float_team(r, err);
    r->encodings = secret_alloc(r->batch * sizeof(*r->encodings));
    if (rc == 0 && !r->encodings)
        rc = err_set(err, -ENOMEM, "no memory for %zu texts", r->batch);
    for (size_t i = 0; rc == 0 && i < r->batch; i++)
        rc = verdict_new(r->e->owner, &r->verdicts[i], err);
    return rc;
}

static int open_results(struct run *r, struct err *err)
{
    const struct model_config *config = &r->e->owner->folder->config;
    json_t *head = NULL;
    bool by_name;
    int rc = task_map_labels(r->e->task, config, r->map, &by_name, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; !by_name && i < r->e->task->label_count; i++)
        if (strncmp(config->label_names[i], "LABEL_", strlen("LABEL_")) != 0)
            fprintf(stderr, "mpcformer: the model's label \"%s\" is taken as %s's \"%s\"\n",
                    config->label_names[i], r->e->task->name, r->e->task->labels[i]);
    rc = make_head(r->e, by_name, &head, err);
    if (rc == 0)
        rc = r->e->results_path ? results_open(r->e->results_path, head, &r->file, &r->results, err)
                                : results_start(head, &r->results, err);
    json_decref(head);
    return rc;
}

int evaluate(const struct evaluation *e, struct results *ret, size_t *ret_before, struct err *err)
{
    struct run r = {.e = e};
    int rc = open_results(&r, err), closed;

    if (rc == 0)
        rc = prepare(&r, err);
    if (rc == 0)
        rc = run_rows(&r, err);
    closed = results_close(r.file, err);
    for (size_t i = 0; i < r.batch; i++)
        verdict_free(&r.verdicts[i]);
    secret_free(r.encodings, r.batch * sizeof(*r.encodings));
    workers_free(r.team);
    if (rc == 0)
        rc = closed;
    if (rc < 0) {
        results_free(&r.results);
        return rc;
    }
    *ret = r.results;
    *ret_before = r.before;
    return 0;
}
