/*
 * mpcformer job: jobs that are left somewhere and fetched later. A data owner who reaches the
 * parties leaves them there (cmd_job_owner.c). One who reaches only their operators splits a text
 * into two job files and adds the two answers; each operator hands one in at the control socket of
 * his appliance.
 *
 *     "job submit" input, output -> "job": ID; the answer is written when it is there
 *     "job list"                 -> "jobs": [{"job": ID, "state": STATE, "output": FILE, ...}]
 *     "job cancel" job           -> nothing more
 */
#include "appliance/cmd_job.h"
#include "appliance/answer.h"
#include "appliance/bench.h"
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/input.h"
#include "appliance/job_file.h"
#include "appliance/model_folder.h"
#include "appliance/tool.h"
#include "base/file.h"
#include "base/random.h"
#include "base/secret.h"

#include <argp.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_STEP_MS 100

/* How long an owner's `wait` does where it is not said, and at most. */
#define OWNER_WAIT_S     3600
#define OWNER_WAIT_S_MAX 86400

enum { OPTION_LENGTH = 256, OPTION_PRIORITY, OPTION_DEADLINE, OPTION_TIMEOUT };

static const struct argp_option option_table[] = {
    TOOL_OPTION_SOCKET,
    {"config", 'c', "FILE", 0,
     "The data owner's configuration: submit, list, wait and cancel are then its own, at both "
     "parties (default: $" TOOL_CONFIG_VARIABLE ", where no control socket is named)",
     0},
    TOOL_OPTION_JSON,
    {"priority", OPTION_PRIORITY, "N", 0,
     "submit, an owner's: 0 to 9, the higher goes first among its own jobs (5)", 0},
    {"deadline", OPTION_DEADLINE, "MS", 0,
     "submit, an owner's: begin within MS milliseconds, or refuse (an hour)", 0},
    {"timeout", OPTION_TIMEOUT, "S", 0, "wait, an owner's: give up after S seconds (3600)", 0},
    {"model", 'm', "DIR", 0, "split, reveal: the data owner's folder of the model", 0},
    {"input", 'i', "FILE", 0, "submit: the party's job file", 0},
    {"output", 'o', "PATH", 0, "submit: where the answer goes; split: the folder of both files", 0},
    {"length", OPTION_LENGTH, "MODE", 0, "split, submit: " MODEL_FOLDER_LENGTH_HELP, 0},
    {"wait", 'W', NULL, 0, "submit: return when the answer is written", 0},
    {0},
};

/* --- the data owner --- */

static int job_path(const char *folder, unsigned int party, char ret[PATH_MAX])
{
    char name[16];

    snprintf(name, sizeof(name), "party%u.job", party);
    return file_path(ret, PATH_MAX, folder, name);
}

/* Neither file is there, so that a text is never left with the half of another. */
static int check_paths(const char *folder, struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;

    for (unsigned int party = 0; rc == 0 && party < 2; party++) {
        rc = job_path(folder, party, path);
        if (rc == 0 && access(path, F_OK) == 0)
            rc = err_set(err, -EEXIST, "%s is there already; choose another folder", path);
    }
    return rc;
}

static int write_jobs(const struct plan *plan, const struct variant *v, const struct encoding *e,
                      const char *folder, struct err *err)
{
    struct message_submit m = {.variant = message_variant_of(v)};
    size_t bytes = input_bytes(plan, v);
    uint8_t *input[2] = {secret_alloc(bytes), secret_alloc(bytes)};
    char path[PATH_MAX];
    int rc = input[0] && input[1] ? 0 : -ENOMEM;

    input_lengths(v, e, 1, m.length);
    random_bytes(m.job, sizeof(m.job));
    memcpy(m.model, plan->model_id, sizeof(m.model));
    memcpy(m.plan_hash, plan->hash, sizeof(m.plan_hash));
    if (rc == 0)
        rc = input_share(plan, v, m.job, e, 1, input);
    if (rc < 0)
        err_set(err, rc, "no memory for the input");
    for (unsigned int party = 0; rc == 0 && party < 2; party++) {
        rc = job_path(folder, party, path);
        if (rc == 0)
            rc = job_file_write(path, party, &m, input[party], bytes, err);
    }
    secret_free(input[0], bytes);
    secret_free(input[1], bytes);
    return rc;
}

static int split_text(const struct model_folder *f, const struct job_options *o, struct err *err)
{
    struct encoding *e = secret_alloc(sizeof(*e));
    const struct variant *v = NULL;
    enum length_mode mode;
    int rc = e ? model_folder_encode(f, o->arguments[0],
                                     o->argument_count > 1 ? o->arguments[1] : NULL, e, err)
               : err_set(err, -ENOMEM, "no memory for a text");

    if (rc == 0)
        rc = model_folder_length(f, o->length, &mode, err);
    if (rc == 0)
        rc = input_check(f->plan, e, 1, mode, &v, err);
    if (rc == 0)
        rc = file_make_folders(o->output, 0700, err);
    if (rc == 0)
        rc = check_paths(o->output, err);
    if (rc == 0)
        rc = write_jobs(f->plan, v, e, o->output, err);
    secret_free(e, sizeof(*e));
    return rc;
}

int job_print_answer(const struct model_folder *f, const double logits[], bool json,
                     struct err *err)
{
    size_t count = f->plan->labels, best = logits_best(logits, count);
    double *probabilities = calloc(count, sizeof(*probabilities));
    json_t *line = json_object();

    if (!probabilities || !line)
        return err_set(err, -ENOMEM, "no memory for the answer");
    logits_probabilities(logits, count, probabilities);
    model_folder_describe(f, logits, probabilities, "", line);
    if (json)
        tool_print_json(stdout, line);
    else if (f->config.regression)
        printf("%.4f\n", logits[0]);
    else if (plan_labels_only(f->plan))
        printf("%s\n", isnan(logits[0]) ? "none" : model_folder_label(f, best));
    else
        printf("%s %.4f\n", model_folder_label(f, best), probabilities[best]);
    json_decref(line);
    free(probabilities);
    return 0;
}

static int reveal(const struct model_folder *f, const struct job_options *o, struct err *err)
{
    const struct plan *plan = f->plan;
    const struct variant one = {.batch = 1};
    size_t answers = plan_answers(plan, &one), bytes = answers * sizeof(uint64_t);
    uint64_t *share[2] = {secret_alloc(bytes), secret_alloc(bytes)};
    const struct guard *outside = NULL;
    double *logits = secret_alloc(bytes);
    struct message_result result[2];
    int rc = share[0] && share[1] && logits ? 0 : err_set(err, -ENOMEM, "no memory");

    for (unsigned int p = 0; rc == 0 && p < 2; p++)
        rc = answer_file_read(o->arguments[p], plan, p, &result[p], share[p], answers, err);
    if (rc == 0 && memcmp(result[0].job, result[1].job, MESSAGE_ID_BYTES))
        rc = err_set(err, -EINVAL, "the two files answer two different jobs");
    if (rc == 0)
        answer_add(plan, &one, share, 1, logits, &outside);
    if (rc == 0 && outside)
        rc = err_set(err, -ERANGE, ANSWER_OUTSIDE, outside->name);
    if (rc == 0)
        rc = job_print_answer(f, logits, o->json, err);
    secret_free(share[0], bytes);
    secret_free(share[1], bytes);
    secret_free(logits, bytes);
    return rc;
}

static int with_model(const struct job_options *o,
                      int (*body)(const struct model_folder *, const struct job_options *,
                                  struct err *),
                      struct err *err)
{
    struct model_folder *f;
    int rc = model_folder_open(o->model, &f, err);

    if (rc < 0)
        return rc;
    rc = body(f, o, err);
    model_folder_free(f);
    return rc;
}

static int do_split(const struct job_options *o, struct err *err)
{
    return with_model(o, split_text, err);
}

static int do_reveal(const struct job_options *o, struct err *err)
{
    return with_model(o, reveal, err);
}

/* --- the operator --- */

static void print(const struct job_options *o, const json_t *reply)
{
    if (o->json)
        tool_print_json(stdout, reply);
    else
        tool_print_people(stdout, reply);
}

/* 1 when the job is done, 0 while it is on its way, or why it failed. */
static int look(const struct job_options *o, const char *job, struct err *err)
{
    json_t *reply, *row;
    size_t i;
    int rc = tool_ask(o->socket, "job list", NULL, &reply, err);

    if (rc < 0)
        return rc;
    rc = -ENOENT;
    json_array_foreach(json_object_get(reply, "jobs"), i, row)
    {
        const char *id = json_string_value(json_object_get(row, "job"));
        const char *state = json_string_value(json_object_get(row, "state"));
        const char *why = json_string_value(json_object_get(row, "error"));

        if (!id || !state || strcmp(id, job))
            continue;
        rc = !strcmp(state, "done");
        if (!strcmp(state, "failed"))
            rc = err_set(err, -EREMOTEIO, "job %s: %s", job, why ? why : "failed");
    }
    json_decref(reply);
    return rc == -ENOENT ? err_set(err, rc, "the appliance has no job %s (any more)", job) : rc;
}

static int wait_for(const struct job_options *o, const char *job, struct err *err)
{
    int rc;

    while ((rc = look(o, job, err)) == 0)
        usleep(WAIT_STEP_MS * 1000);
    return rc < 0 ? rc : 0;
}

static int add_path(json_t *to, const char *name, const char *path, struct err *err)
{
    char here[PATH_MAX], absolute[2 * PATH_MAX];

    if (path[0] == '/')
        snprintf(absolute, sizeof(absolute), "%s", path);
    else if (getcwd(here, sizeof(here)))
        snprintf(absolute, sizeof(absolute), "%s/%s", here, path);
    else
        return err_set(err, -errno, "the working folder has no path");
    if (json_object_set_new(to, name, json_string(absolute)) < 0)
        return err_set(err, -EINVAL, "%s: the path is not UTF-8, so it cannot be sent", path);
    return 0;
}

static int do_submit(const struct job_options *o, struct err *err)
{
    json_t *arguments = json_object(), *reply;
    int rc = add_path(arguments, "input", o->input, err);

    if (rc == 0)
        rc = add_path(arguments, "output", o->output, err);
    if (rc < 0) {
        json_decref(arguments);
        return rc;
    }
    rc = tool_ask(o->socket, "job submit", arguments, &reply, err);
    if (rc < 0)
        return rc;
    print(o, reply);
    fflush(stdout);
    if (o->wait)
        rc = wait_for(o, json_string_value(json_object_get(reply, "job")), err);
    json_decref(reply);
    return rc;
}

static int do_list(const struct job_options *o, struct err *err)
{
    json_t *reply;
    int rc = tool_ask(o->socket, "job list", NULL, &reply, err);

    if (rc < 0)
        return rc;
    print(o, reply);
    json_decref(reply);
    return 0;
}

static int do_cancel(const struct job_options *o, struct err *err)
{
    json_t *reply;
    int rc =
        tool_ask(o->socket, "job cancel", json_pack("{s:s}", "job", o->arguments[0]), &reply, err);

    if (rc == 0)
        json_decref(reply);
    return rc;
}

static int do_wait(const struct job_options *o, struct err *err)
{
    return wait_for(o, o->arguments[0], err);
}

/* --- the command line --- */

/* Of two verbs of one name the first is the data owner's at the parties. */
static const struct verb {
    const char *name, *needs;
    bool at_parties;
    int arguments_min, arguments_max;
    bool model, input, output;
    int (*run)(const struct job_options *o, struct err *err);
} verbs[] = {
    {"split", "--model DIR --output DIR TEXT [TEXT]", false, 1, 2, true, false, true, do_split},
    {"submit", "TEXT..., of an owner; else --input FILE --output FILE", true, 1, INT_MAX, false,
     false, false, job_owner_submit},
    {"submit", "--input FILE --output FILE; of an owner, TEXT...", false, 0, 0, false, true, true,
     do_submit},
    {"list", "nothing more", true, 0, 0, false, false, false, job_owner_list},
    {"list", "nothing more", false, 0, 0, false, false, false, do_list},
    {"wait", "the job's id", true, 1, 1, false, false, false, job_owner_wait},
    {"wait", "the job's id", false, 1, 1, false, false, false, do_wait},
    {"cancel", "the job's id", true, 1, 1, false, false, false, job_owner_cancel},
    {"cancel", "the job's id", false, 1, 1, false, false, false, do_cancel},
    {"reveal", "--model DIR and both answers, party0's first", false, 2, 2, true, false, false,
     do_reveal},
};

/* Whether it is the owner who asks: it says so, brings texts, or there is nobody else to ask. */
static bool is_owner(const struct job_options *o)
{
    if (o->config || o->socket || o->input)
        return o->config;
    return (o->verb && !strcmp(o->verb, "submit")) ||
           (getenv(TOOL_CONFIG_VARIABLE) && !getenv(TOOL_SOCKET_VARIABLE));
}

static const struct verb *find_verb(const struct job_options *o)
{
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++)
        if (o->verb && !strcmp(verbs[i].name, o->verb) && (!verbs[i].at_parties || is_owner(o)))
            return &verbs[i];
    return NULL;
}

static void check(struct argp_state *state, const struct job_options *o)
{
    const struct verb *v = find_verb(o);

    if (!v) {
        argp_error(state, "say split, submit, list, wait, cancel or reveal");
        return;
    }
    if (o->argument_count < v->arguments_min || o->argument_count > v->arguments_max ||
        v->model != (o->model != NULL) || v->input != (o->input != NULL) ||
        v->output != (o->output != NULL))
        argp_error(state, "%s takes %s", v->name, v->needs);
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct job_options *o = state->input;

    switch (key) {
    case 's':
        o->socket = argument;
        return 0;
    case 'c':
        o->config = argument;
        return 0;
    case OPTION_PRIORITY:
        o->terms.priority =
            (unsigned int)bench_number(state, "priority", argument, 0, TURNS_PRIORITY_MAX);
        return 0;
    case OPTION_DEADLINE:
        o->terms.deadline_ms =
            (uint32_t)bench_number(state, "deadline", argument, 1, MESSAGE_DEADLINE_MS_MAX);
        return 0;
    case OPTION_TIMEOUT:
        o->wait_s = (unsigned int)bench_number(state, "timeout", argument, 0, OWNER_WAIT_S_MAX);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case 'm':
        o->model = argument;
        return 0;
    case 'i':
        o->input = argument;
        return 0;
    case 'o':
        o->output = argument;
        return 0;
    case OPTION_LENGTH:
        o->length = argument;
        return 0;
    case 'W':
        o->wait = true;
        return 0;
    case ARGP_KEY_ARGS:
        o->verb = state->argv[state->next];
        o->arguments = state->argv + state->next + 1;
        o->argument_count = state->argc - state->next - 1;
        return 0;
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cmd_job(int argc, char **argv)
{
    static const struct argp argp = {
        option_table, take_option, "split|submit|list|wait|cancel|reveal [ARGUMENT...]",
        "Leave a query with the parties and fetch its answer later; or pass it as files.\v"
        "The data owner, with --config: submit leaves a job for each TEXT at both parties and "
        "prints its id; wait fetches the answer, which is kept for 10 minutes; list shows the "
        "owner's jobs, cancel ends one that has not begun. Owners take turns by the time that "
        "their jobs take; a priority counts among an owner's own jobs.\n\n"
        "As files: the data owner splits TEXT into a job file a party, and reveals the answer from "
        "both parties' answer files. Each operator submits his file, and gives back the answer "
        "that is written; he lists, waits for and cancels jobs, an owner's too.\n\n"
        "Exit status: 0 done; 2 wrong usage; 3 failed; 4 reveal: no answer, since a value left the "
        "range that the plan was made for."};
    struct job_options o = {.terms = CLIENT_TERMS_USUAL, .wait_s = OWNER_WAIT_S};
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rc = find_verb(&o)->run(&o, &err);
    if (rc < 0)
        tool_fail(&err, rc);
    return rc == -ERANGE ? EXIT_OUTSIDE : rc < 0 ? EXIT_FAILED : EXIT_OK;
}
