#include "appliance/train.h"

#include "appliance/reach.h"
#include "appliance/tool.h"
#include "base/file.h"
#include "distill/ranks.h"
#include "distill/threads.h"
#include "distill/trace.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAD_LINES_SHOWN 10
#define THREADS_MAX     1024
#define VOCAB_FILE      "vocab.txt"

enum {
    OPTION_TRAIN = 256,
    OPTION_DEV,
    OPTION_ACT,
    OPTION_SOFTMAX,
    OPTION_TOKENS,
    OPTION_WARMUP,
    OPTION_DECAY,
    OPTION_CLIP,
    OPTION_RANGE,
    OPTION_RANGE_WEIGHT,
    OPTION_DROPOUT,
    OPTION_PRECISION,
    OPTION_FRACTION,
    OPTION_PATIENCE,
    OPTION_SAVE,
    OPTION_STEPS,
    OPTION_THREADS,
    OPTION_TRACE,
};

static const struct argp_option option_table[] = {
    {"task", 't', "TASK", 0, "CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, IMDb", 0},
    {"data", 'd', "DIR", 0, "Folder of train.tsv and dev.tsv, as GLUE has them", 0},
    {"train", OPTION_TRAIN, "FILE", 0, "Training data, instead of DIR/train.tsv", 0},
    {"dev", OPTION_DEV, "FILE", 0,
     "Development data, which chooses the epoch, instead of DIR/dev.tsv (MNLI: dev_matched.tsv)",
     0},
    {"hidden-act", OPTION_ACT, "NAMES", 0,
     "gelu, gelu_new, relu, quad, tanh (finetune: the model's, else gelu; distill: quad); one, or "
     "one a layer as in gelu,quad",
     0},
    {"softmax-act", OPTION_SOFTMAX, "NAMES", 0,
     "Likewise: softmax, 2relu, 2quad (finetune: the model's, else softmax; distill: 2quad)", 0},
    {"out", 'o', "DIR", 0, "Where the model goes; made if it is not there", 0},
    {"batch", 'b', "N", 0, "Sentences, or pairs, a step", 0},
    {"tokens", OPTION_TOKENS, "N", 0, "Longer ones are cut (128, 512 for IMDb)", 0},
    {"warmup", OPTION_WARMUP, "PART", 0, "Of all steps: the rate rises from 0 (0.1)", 0},
    {"decay", OPTION_DECAY, "D", 0, "Of weights, not of biases and norms (0.01)", 0},
    {"clip", OPTION_CLIP, "NORM", 0, "Largest norm of a gradient, 0 for any (1)", 0},
    {"clip-range", OPTION_RANGE, "R", 0,
     "Keep each stage of each layer between -R and R, by a penalty on what is outside; how far "
     "they "
     "reach is printed",
     0},
    {"clip-weight", OPTION_RANGE_WEIGHT, "W", 0, "Of that penalty beside the loss (1)", 0},
    {"dropout", OPTION_DROPOUT, "P", 0, "Probability", 0},
    {"precision", OPTION_PRECISION, "NAME", 0,
     "Of products with weights: f32, or bf16, which is less exact, and faster on CPUs with AMX or "
     "AVX-512 (f32)",
     0},
    {"fraction", OPTION_FRACTION, "PART", 0,
     "Use a random part of the training data, for as many steps as all of it", 0},
    {"patience", OPTION_PATIENCE, "N", 0, "Stop after N epochs without a better metric (never)", 0},
    {"seed", 's', "N", 0, "Of all that is random (1)", 0},
    {"save", OPTION_SAVE, "SECONDS", 0, "How much a kill may lose (300)", 0},
    {"steps", OPTION_STEPS, "N", 0, "Stop after N steps; the same command goes on", 0},
    {"threads", OPTION_THREADS, "N", 0, "(OMP_NUM_THREADS, else as many as there are CPUs)", 0},
    {"trace", OPTION_TRACE, "FILE", 0,
     "Write each layer's backward pass and each sum over ranks to FILE.RANK, for chrome://tracing",
     0},
    TOOL_OPTION_JSON,
    {0},
};

size_t train_whole(struct argp_state *state, const char *option, const char *text, size_t least,
                   size_t most)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value < least || value > most)
        argp_error(state, "--%s %s: a whole number from %zu to %zu", option, text, least, most);
    return (size_t)value;
}

double train_number(struct argp_state *state, const char *option, const char *text, double least,
                    double most)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= least && value <= most))
        argp_error(state, "--%s %s: a number from %g to %g", option, text, least, most);
    return value;
}

static void take_task(struct argp_state *state, const char *name, struct train_options *o)
{
    char names[128];

    o->task = task_find(name);
    task_names(names, sizeof(names));
    if (!o->task)
        argp_error(state, "--task %s: it may be one of %s", name, names);
}

static void check_options(struct argp_state *state, struct train_options *o)
{
    if (!o->task)
        argp_error(state, "say --task TASK");
    if (!o->data && !(o->train && o->dev))
        argp_error(state, "say --data DIR, or --train FILE and --dev FILE");
    if (!o->out)
        argp_error(state, "say --out DIR");
    if (o->settings.range.limit > 0)
        o->settings.range.weight = o->range_weight > 0 ? o->range_weight : 1;
    if (!o->tokens)
        o->tokens = o->task && strcmp(o->task->name, "IMDb") == 0 ? 512 : 128;
}

/* Options of numbers. */
static error_t take_number(int key, const char *text, struct argp_state *state,
                           struct train_options *o)
{
    switch (key) {
    case 'b':
        o->batch = train_whole(state, "batch", text, 1, 65536);
        return 0;
    case OPTION_TOKENS:
        o->tokens = train_whole(state, "tokens", text, ENCODING_TOKENS_MIN, ENCODING_TOKENS_MAX);
        return 0;
    case OPTION_WARMUP:
        o->warmup = train_number(state, "warmup", text, 0, 0.99);
        return 0;
    case OPTION_DECAY:
        o->settings.decay = train_number(state, "decay", text, 0, 1);
        return 0;
    case OPTION_CLIP:
        o->settings.clip = train_number(state, "clip", text, 0, 1e9);
        return 0;
    case OPTION_RANGE:
        o->settings.range.limit = train_number(state, "clip-range", text, 1e-3, 1e6);
        return 0;
    case OPTION_RANGE_WEIGHT:
        o->range_weight = train_number(state, "clip-weight", text, 1e-6, 1e6);
        return 0;
    case OPTION_DROPOUT:
        o->settings.dropout = train_number(state, "dropout", text, 0, 0.9);
        return 0;
    case OPTION_FRACTION:
        o->fraction = train_number(state, "fraction", text, 1e-6, 1);
        return 0;
    case OPTION_PATIENCE:
        o->patience = train_whole(state, "patience", text, 1, COURSE_EPOCHS_MAX);
        return 0;
    case 's':
        o->settings.seed = train_whole(state, "seed", text, 0, UINT32_MAX);
        return 0;
    case OPTION_SAVE:
        o->save_s = train_whole(state, "save", text, 1, 1000000);
        return 0;
    case OPTION_STEPS:
        o->steps = train_whole(state, "steps", text, 1, SIZE_MAX);
        return 0;
    case OPTION_THREADS:
        threads_set(train_whole(state, "threads", text, 1, THREADS_MAX));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct train_options *o = state->input;

    switch (key) {
    case 't':
        take_task(state, argument, o);
        return 0;
    case 'd':
        o->data = argument;
        return 0;
    case OPTION_TRAIN:
        o->train = argument;
        return 0;
    case OPTION_DEV:
        o->dev = argument;
        return 0;
    case OPTION_ACT:
        o->hidden_act = argument;
        return 0;
    case OPTION_SOFTMAX:
        o->softmax_act = argument;
        return 0;
    case 'o':
        o->out = argument;
        return 0;
    case OPTION_PRECISION:
        if (strcmp(argument, "f32") != 0 && strcmp(argument, "bf16") != 0)
            argp_error(state, "--precision %s: it may be f32 or bf16", argument);
        o->settings.precision = strcmp(argument, "bf16") == 0 ? PRECISION_BF16 : PRECISION_F32;
        return 0;
    case OPTION_TRACE:
        o->trace = argument;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case ARGP_KEY_END:
        check_options(state, o);
        return 0;
    default:
        return take_number(key, argument, state, o);
    }
}

const struct argp train_argp = {option_table, take_option, NULL, NULL};

struct train_options train_defaults(void)
{
    return (struct train_options){
        .warmup = 0.1, .fraction = 1, .save_s = 300, .settings = trainer_defaults()};
}

int train_functions(const struct train_options *o, struct model_config *config, struct err *err)
{
    struct err why = {""};
    int rc = o->hidden_act ? model_config_set_hidden(config, o->hidden_act, &why) : 0;

    if (rc < 0)
        return err_set(err, rc, "--hidden-act %s: %s", o->hidden_act, err_text(&why, rc));
    rc = o->softmax_act ? model_config_set_softmax(config, o->softmax_act, &why) : 0;
    if (rc < 0)
        return err_set(err, rc, "--softmax-act %s: %s", o->softmax_act, err_text(&why, rc));
    return 0;
}

/* --- the data --- */

struct complaints {
    const char *path;
    size_t count;
};

static void complain(void *context, size_t line, const char *what)
{
    struct complaints *c = context;

    if (++c->count <= BAD_LINES_SHOWN)
        fprintf(stderr, "mpcformer: %s:%zu: the line %s; left out\n", c->path, line, what);
}

static int read_file(const struct train_options *o, const char *path, const char *name,
                     struct task_data *ret, struct err *err)
{
    char made[PATH_MAX];
    struct complaints complaints = {path ? path : made, 0};
    const struct task_listener listener = {complain, &complaints};
    int rc;

    if (!path && file_path(made, sizeof(made), o->data, name) < 0)
        return err_set(err, -ENAMETOOLONG, "%s/%s: the path is too long", o->data, name);
    rc = task_read(o->task, complaints.path, 0, &listener, ret, err);
    if (complaints.count > BAD_LINES_SHOWN)
        fprintf(stderr, "mpcformer: %s: %zu bad lines in all\n", complaints.path, complaints.count);
    return rc;
}

static const char *dev_name(const struct task *task)
{
    if (strcmp(task->name, "MNLI") == 0)
        return "dev_matched.tsv";
    return strcmp(task->name, "MNLI-mm") == 0 ? "dev_mismatched.tsv" : "dev.tsv";
}

static int tokenize(const struct train_options *o, const struct model_config *config,
                    const struct tokenizer *t, const struct task_data files[2],
                    struct train_data *d, struct err *err)
{
    size_t longest = MIN(o->tokens, config->positions_max);
    bool by_name;
    int rc = task_map_labels(o->task, config, d->map, &by_name, err);

    if (rc == 0 && o->task->pair && config->kind == MODEL_BERT && config->types < 2)
        rc = err_set(err, -EINVAL, "%s has pairs of texts; the model knows one type of token only",
                     o->task->name);
    if (rc == 0)
        rc = corpus_make(o->task, &files[0], d->map, t, longest, &d->train, err);
    if (rc == 0)
        rc = corpus_make(o->task, &files[1], d->map, t, longest, &d->dev, err);
    if (rc == 0 && o->fraction < 1)
        rc = corpus_thin(&d->train, o->fraction, o->settings.seed, err);
    if (rc == 0)
        fprintf(stderr,
                "mpcformer: %zu rows of %.1f tokens to train on, %zu cut; %zu to choose by\n",
                d->train.count, (double)d->train.tokens / (double)d->train.count, d->train.cut,
                d->dev.count);
    return rc;
}

int train_read(const struct train_options *o, const struct model_config *config,
               struct train_data *ret, struct err *err)
{
    struct train_data d = {.fraction = o->fraction};
    struct task_data files[2] = {{.rows = NULL}, {.rows = NULL}};
    uint8_t digests[2 * HASH_BYTES];
    struct tokenizer *t = NULL;
    int rc = tokenizer_load(o->out, config, &t, err);

    if (rc == 0)
        rc = read_file(o, o->train, "train.tsv", &files[0], err);
    if (rc == 0)
        rc = read_file(o, o->dev, dev_name(o->task), &files[1], err);
    if (rc == 0)
        rc = tokenize(o, config, t, files, &d, err);
    memcpy(digests, files[0].digest, HASH_BYTES);
    memcpy(digests + HASH_BYTES, files[1].digest, HASH_BYTES);
    hash_bytes(digests, sizeof(digests), d.digest);
    task_data_free(&files[0]);
    task_data_free(&files[1]);
    tokenizer_free(t);
    if (rc < 0)
        train_data_free(&d);
    else
        *ret = d;
    return rc;
}

void train_data_free(struct train_data *d)
{
    corpus_free(&d->train);
    corpus_free(&d->dev);
}

size_t train_epochs(const struct train_data *d, size_t epochs)
{
    return (size_t)MIN((double)COURSE_EPOCHS_MAX, round((double)epochs / d->fraction));
}

/* --- the course --- */

/* Keep the file @from in the folder of the result, as @name. One that is there already must be the
 * same: nothing there is overwritten. */
static int keep_file(const struct train_options *o, const char *from, const char *name,
                     struct err *err)
{
    char to[PATH_MAX];
    uint8_t *bytes = NULL, *there = NULL;
    size_t count, there_count;
    int rc = file_path(to, sizeof(to), o->out, name);

    if (rc < 0)
        return err_set(err, rc, "%s/%s: the path is too long", o->out, name);
    rc = file_read(from, TOKENIZER_VOCAB_BYTES_MAX, &bytes, &count, err);
    if (rc == 0 && access(to, F_OK) < 0) {
        rc = file_write(to, 0644, bytes, count, err);
    } else if (rc == 0) {
        rc = file_read(to, TOKENIZER_VOCAB_BYTES_MAX, &there, &there_count, err);
        if (rc == 0 && (there_count != count || memcmp(bytes, there, count) != 0))
            rc = err_set(err, -EEXIST, "%s: is not the same as %s; take another --out", to, from);
    }
    free(there);
    free(bytes);
    return rc;
}

int train_begin(const struct train_options *o, const char *vocabulary, struct err *err)
{
    int rc = file_make_folders(o->out, 0755, err);

    return rc < 0 ? rc : keep_file(o, vocabulary, VOCAB_FILE, err);
}

int train_begin_as(const struct train_options *o, const char *folder, enum model_kind kind,
                   struct err *err)
{
    const char *names[TOKENIZER_FILES_MAX + 1];
    size_t needed = tokenizer_files(kind, names), count = needed;
    int rc = file_make_folders(o->out, 0755, err);

    names[count++] = "tokenizer_config.json";
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char path[PATH_MAX];

        if (file_path(path, sizeof(path), folder, names[i]) < 0)
            return err_set(err, -ENAMETOOLONG, "%s/%s: the path is too long", folder, names[i]);
        if (i < needed || access(path, F_OK) == 0)
            rc = keep_file(o, path, names[i], err);
    }
    return rc;
}

static int print_result(const struct train_options *o, const struct course_result *r,
                        double teacher, json_t *reach, struct err *err)
{
    json_t *line = json_pack("{s:f, s:s, s:I, s:I, s:f, s:b, s:b}", "dev_metric", r->best, "metric",
                             metric_name(o->task->metrics[0]), "epochs", (json_int_t)r->epochs,
                             "best_epoch", (json_int_t)r->best_epoch, "tokens_per_s",
                             r->tokens_per_s, "resumed", r->resumed, "finished", r->finished);

    if (line && !isnan(teacher))
        json_object_set_new(line, "teacher_dev_metric", json_real(teacher));
    if (line && reach)
        json_object_set(line, "reach", reach);
    if (!line)
        return err_set(err, -ENOMEM, "no memory for the result");
    if (o->json)
        tool_print_json(stdout, line);
    else
        tool_print_people(stdout, line);
    json_decref(line);
    if (!r->finished)
        fprintf(stderr, "mpcformer: stopped where --steps says; the same command goes on\n");
    return 0;
}

static int say_precision(const struct train_options *o, struct err *err)
{
    struct narrow *n = NULL;
    int rc = o->settings.precision == PRECISION_BF16 ? narrow_new(&n, err) : 0;

    if (n && !narrow_is_native(n))
        fprintf(stderr,
                "mpcformer: this CPU has no products of bf16: its floats are rounded, which "
                "is as inexact and slower than f32\n");
    narrow_free(n);
    return rc;
}

/* What --clip-range has done: of the model that the course began with, at @before, and of the one
 * that is in the folder now. */
static int compare_reach(const struct train_options *o, const struct ranges *before,
                         const struct corpus *dev, json_t **ret, struct err *err)
{
    struct checkpoint *c = NULL;
    struct ranges after = {0};
    int rc = checkpoint_load(o->out, &c, err);

    if (rc == 0)
        rc = reach_measure(c, dev, &after, err);
    if (rc == 0)
        *ret = reach_rows(before, &after);
    ranges_free(&after);
    checkpoint_free(c);
    return rc;
}

int train_run(const struct train_options *o, struct course *course, const struct train_data *d,
              double teacher, struct err *err)
{
    bool clips = o->settings.range.weight > 0 && !ranks_own();
    struct course_result result;
    struct ranges before = {0};
    json_t *reach = NULL;
    int rc = say_precision(o, err);

    if (rc == 0 && o->trace)
        rc = trace_open(o->trace, ranks_own(), err);
    if (rc == 0 && clips)
        rc = reach_measure(course->model, &d->dev, &before, err);
    course->task = o->task;
    course->train = &d->train;
    course->dev = &d->dev;
    course->map = d->map;
    course->settings = o->settings;
    course->batch = o->batch;
    course->patience = o->patience;
    course->save_ns = o->save_s * UINT64_C(1000000000);
    course->steps_max = o->steps;
    course->out = o->out;
    memcpy(course->data_digest, d->digest, HASH_BYTES);
    if (rc == 0)
        rc = course_run(course, &result, err);
    if (rc == 0 && clips && result.finished)
        rc = compare_reach(o, &before, &d->dev, &reach, err);
    if (rc == 0)
        rc = print_result(o, &result, teacher, reach, err);
    json_decref(reach);
    ranges_free(&before);
    return rc;
}
