/* mpcformer eval: a task's metric, in private and with the float model side by side. */
#include "appliance/bench.h"
#include "appliance/cmd.h"
#include "appliance/evaluate.h"
#include "appliance/exit.h"
#include "appliance/score.h"
#include "appliance/tool.h"

#include <argp.h>
#include <string.h>

#define BAD_LINES_SHOWN  10
#define PROGRESS_DEFAULT 60 /* seconds */
#define NUMBER_MAX       1000000000

struct options {
    const char *config, *model, *data, *results, *length;
    const struct task *task;
    size_t limit, batch; /* limit 0: all */
    unsigned int progress_s;
    bool float_only, check, strict, json;
};

enum { OPTION_FLOAT = 256, OPTION_CHECK, OPTION_STRICT, OPTION_PROGRESS, OPTION_LENGTH };

static const struct argp_option option_table[] = {
    {"config", 'c', "FILE", 0, "The owner's configuration (default: $" TOOL_CONFIG_VARIABLE ")", 0},
    {"task", 't', "TASK", 0, "The task that FILE is of (SST-2)", 0},
    {"data", 'd', "FILE", 0, "Its rows, laid out as GLUE's", 0},
    {"limit", 'l', "N", 0, "Stop after N rows", 0},
    {"results", 'r', "FILE", 0,
     "Keep every row's result there, and go on after those that are there already", 0},
    {"batch", 'b', "B", 0, "Rows at once, in one job (1)", 0},
    {"model", 'm', "DIR", 0,
     "Where the float model is (default: in the folder that the configuration names)", 0},
    {"length", OPTION_LENGTH, "MODE", 0, MODEL_FOLDER_LENGTH_HELP, 0},
    {"float-only", OPTION_FLOAT, NULL, 0, "Ask nobody: the float model in --model DIR alone", 0},
    {"check", OPTION_CHECK, NULL, 0, "Ask no model: read FILE and count its rows and labels", 0},
    {"strict", OPTION_STRICT, NULL, 0, "Refuse a file that has a bad line", 0},
    {"progress", OPTION_PROGRESS, "SECONDS", 0,
     "Say as often how far it is, where standard error is no terminal (60; 0: never)", 0},
    TOOL_OPTION_JSON,
    {0},
};

static const struct task *find_task(struct argp_state *state, const char *name)
{
    const struct task *t = task_find(name);
    char names[256];

    task_names(names, sizeof(names));
    if (!t)
        argp_error(state, "--task %s: there are %s", name, names);
    return t;
}

static void check_options(struct argp_state *state, const struct options *o)
{
    if (!o->data)
        argp_error(state, "say --data FILE");
    if (o->float_only && !o->model)
        argp_error(state, "--float-only is of the model in --model DIR: name it");
    if (o->length && (o->float_only || o->check))
        argp_error(state, "--length is of jobs that parties do");
    if (o->check && (o->float_only || o->results))
        argp_error(state, "--check asks no model");
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'c':
        options->config = argument;
        return 0;
    case 't':
        options->task = find_task(state, argument);
        return 0;
    case 'd':
        options->data = argument;
        return 0;
    case 'l':
        options->limit = bench_number(state, "limit", argument, 1, NUMBER_MAX);
        return 0;
    case 'r':
        options->results = argument;
        return 0;
    case 'b':
        options->batch = bench_number(state, "batch", argument, 1, PLAN_BATCH_MAX);
        return 0;
    case 'm':
        options->model = argument;
        return 0;
    case OPTION_LENGTH:
        options->length = argument;
        return 0;
    case OPTION_FLOAT:
        options->float_only = true;
        return 0;
    case OPTION_CHECK:
        options->check = true;
        return 0;
    case OPTION_STRICT:
        options->strict = true;
        return 0;
    case OPTION_PROGRESS:
        options->progress_s =
            (unsigned int)bench_number(state, "progress", argument, 0, NUMBER_MAX);
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": options only", argument);
        return 0;
    case ARGP_KEY_END:
        check_options(state, options);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- the data --- */

struct complaints {
    const struct options *options;
    size_t count;
};

static void complain(void *context, size_t line, const char *what)
{
    struct complaints *c = context;

    if (++c->count <= BAD_LINES_SHOWN)
        fprintf(stderr, "mpcformer: %s:%zu: the line %s; left out\n", c->options->data, line, what);
}

static int read_data(const struct options *o, struct task_data *ret, struct err *err)
{
    struct complaints complaints = {.options = o};
    const struct task_listener listener = {complain, &complaints};
    int rc = task_read(o->task, o->data, o->limit, &listener, ret, err);

    if (complaints.count > BAD_LINES_SHOWN)
        fprintf(stderr, "mpcformer: %s: %zu bad lines in all\n", o->data, complaints.count);
    if (rc == 0 && o->strict && ret->bad) {
        rc = err_set(err, -EINVAL, "%s: %zu bad lines, and --strict takes none", o->data, ret->bad);
        task_data_free(ret);
    }
    return rc;
}

static int print(const struct options *o, json_t *figures, struct err *err)
{
    if (!figures)
        return err_set(err, -ENOMEM, "no memory for the result");
    if (o->json)
        tool_print_json(stdout, figures);
    else
        tool_print_people(stdout, figures);
    json_decref(figures);
    return 0;
}

static int print_counts(const struct options *o, const struct task_data *data, struct err *err)
{
    json_t *figures = json_pack("{s:s, s:I, s:I}", "task", o->task->name, "n",
                                (json_int_t)data->count, "bad_lines", (json_int_t)data->bad);
    json_t *labels = json_object();

    for (size_t i = 0; i < o->task->label_count; i++) {
        size_t count = 0;

        for (size_t j = 0; j < data->count; j++)
            count += data->rows[j].label == (double)i;
        json_object_set_new(labels, o->task->labels[i], json_integer((json_int_t)count));
    }
    if (o->task->label_count)
        json_object_set(figures, "labels", labels);
    json_decref(labels);
    return print(o, figures, err);
}

/* --- the figures --- */

static int print_score(const struct options *o, const struct results *r,
                       const struct task_data *data, size_t before, struct err *err)
{
    json_t *score = NULL;
    int rc = score_describe(r, data->count, &score, err);

    if (rc < 0)
        return rc;
    json_object_set_new(score, "bad_lines", json_integer((json_int_t)data->bad));
    json_object_set(score, "labels_by", json_object_get(r->head, "labels_by"));
    json_object_set_new(score, "rows_kept", json_integer((json_int_t)MIN(before, data->count)));
    return print(o, score, err);
}

static int run(const struct options *o, struct owner *owner, struct err *err)
{
    struct results results = {.head = NULL};
    struct task_data data = {.rows = NULL};
    size_t before = 0;
    int rc = read_data(o, &data, err);

    if (rc == 0 && o->check) {
        rc = print_counts(o, &data, err);
    } else if (rc == 0) {
        const struct evaluation e = {.owner = owner,
                                     .task = o->task,
                                     .data = &data,
                                     .data_path = o->data,
                                     .results_path = o->results,
                                     .model_path = o->model,
                                     .batch = o->batch,
                                     .progress_s = o->progress_s};

        rc = evaluate(&e, &results, &before, err);
        if (rc == 0)
            rc = print_score(o, &results, &data, before, err);
    }
    results_free(&results);
    task_data_free(&data);
    return rc;
}

/* Whom to ask. */
static int open_owner(const struct options *o, struct owner *ret, struct err *err)
{
    const char *path;
    int rc;

    if (o->check)
        return 0;
    if (o->float_only)
        return model_folder_open_float(o->model, &ret->folder, err);
    rc = owner_config_path(o->config, &path, err);
    if (rc == 0)
        rc = owner_open(path, true, o->model, ret, err);
    if (rc == 0 && o->length)
        rc = owner_set_length(ret, o->length, err);
    return rc < 0 ? rc : owner_check_batch(ret, o->batch, err);
}

static const char doc[] =
    "Evaluate the model that the parties serve, in private, beside the float model here.\v"
    "TASK is CoLA, SST-2, MRPC, STS-B, QQP, MNLI, MNLI-mm, QNLI, RTE or IMDb, and FILE a file of "
    "its rows with labels as GLUE has it (MRPC: or as Microsoft does; IMDb: "
    "sentence<tab>label). Lines that are none of the task's rows are named, counted and left out. "
    "A label is "
    "the model's of that name, or, where its names are others, of that number in GLUE's order.\n\n"
    "`private` and `float` are the task's metric, from 0 to 1 (a correlation: from -1 on); `agree` "
    "is the part of rows with the same answer in both, or scores at most 0.1 apart; the logit "
    "error of a row is that of its worst logit. An interval holds 95 %.\n\n"
    "With --results, whatever ends the run, the same command goes on where it stopped; "
    "`mpcformer report` draws what is in FILE.";

int cmd_eval(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options options = {
        .task = task_find("SST-2"), .batch = 1, .progress_s = PROGRESS_DEFAULT};
    struct owner owner = {.config = NULL};
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = open_owner(&options, &owner, &err);
    if (rc < 0) {
        owner_close(&owner);
        tool_fail(&err, rc);
        return EXIT_USAGE;
    }
    rc = run(&options, &owner, &err);
    owner_close(&owner);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}
