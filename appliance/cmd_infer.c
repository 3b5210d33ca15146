/* mpcformer infer: classify texts in private. */
#include "appliance/answer.h"
#include "appliance/bench.h"
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/owner.h"
#include "appliance/tool.h"
#include "base/secret.h"

#include <argp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_WIDTH_MAX 20

struct options {
    const char *config, *model, *length;
    bool json, compare, pair;
    size_t batch;
    struct client_terms terms;
    char **texts;
    int text_count;
};

enum { OPTION_LENGTH = 256, OPTION_PRIORITY, OPTION_DEADLINE };

static const struct argp_option option_table[] = {
    {"config", 'c', "FILE", 0, "The owner's configuration (default: $" TOOL_CONFIG_VARIABLE ")", 0},
    TOOL_OPTION_JSON_OF("Print one JSON object a text, each on one line"),
    {"compare", 'C', NULL, 0, "Compute the float model's answer here and show it beside", 0},
    {"model", 'm', "DIR", 0,
     "Where the float model is (default: in the folder that the configuration names)", 0},
    {"batch", 'b', "B", 0, "Texts at once, in one job (1)", 0},
    {"length", OPTION_LENGTH, "MODE", 0, MODEL_FOLDER_LENGTH_HELP, 0},
    {"priority", OPTION_PRIORITY, "N", 0,
     "0 to 9: the higher goes first among this owner's jobs (5)", 0},
    {"deadline", OPTION_DEADLINE, "MS", 0,
     "A job that has not begun within MS milliseconds is refused (default: twice the parties' "
     "timeout_ms)",
     0},
    {"pair", 'p', NULL, 0, "Two sentences: two arguments, or lines of TEXT<tab>TEXT", 0},
    {0},
};

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'c':
        options->config = argument;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'C':
        options->compare = true;
        return 0;
    case 'm':
        options->model = argument;
        return 0;
    case 'b':
        options->batch = bench_number(state, "batch", argument, 1, PLAN_BATCH_MAX);
        return 0;
    case OPTION_LENGTH:
        options->length = argument;
        return 0;
    case OPTION_PRIORITY:
        options->terms.priority =
            (unsigned int)bench_number(state, "priority", argument, 0, TURNS_PRIORITY_MAX);
        return 0;
    case OPTION_DEADLINE:
        options->terms.deadline_ms =
            (uint32_t)bench_number(state, "deadline", argument, 1, MESSAGE_DEADLINE_MS_MAX);
        return 0;
    case 'p':
        options->pair = true;
        return 0;
    case ARGP_KEY_ARGS:
        options->texts = state->argv + state->next;
        options->text_count = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (options->model && !options->compare)
            argp_error(state, "--model is for --compare only");
        if (options->pair && options->text_count && options->text_count != 2)
            argp_error(state, "--pair takes two texts, or lines on standard input");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What is being done, over all texts. */
struct run {
    const struct options *options;
    struct owner owner;
    size_t texts, differ, outside;
    int label_width;

    /* Texts that wait for their job, and their answers. */
    struct encoding *encodings; /* (options->batch), secret memory */
    struct waiting {
        char *text, *pair;
    } waiting[PLAN_BATCH_MAX];
    struct verdict verdicts[PLAN_BATCH_MAX];
    size_t count;
};

static bool differs(const struct run *r, const struct verdict *v)
{
    return r->options->compare && !v->outside && !verdict_agrees(&r->owner, v);
}

static json_t *numbers(const double values[], size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, isnan(values[i]) ? json_null() : json_real(values[i]));
    return array;
}

/* Of a plan that gives labels only there are none. */
static json_t *private_logits(const struct run *r, const struct verdict *v)
{
    return plan_labels_only(r->owner.folder->plan) ? json_null() : numbers(v->logits, v->labels);
}

static int print_json(const struct run *r, const struct verdict *v, struct err *err)
{
    const struct client_figures *f = &v->figures;
    json_t *line = json_object(),
           *figures = json_pack(
               "{s:s?, s:o, s:f, s:f, s:I, s:I, s:I, s:I, s:s}", "outside",
               v->outside ? v->outside->name : NULL, "logits", private_logits(r, v), "online_ms",
               f->online_ms, "offline_ms", f->offline_party_ms + f->offline_dealer_ms,
               "bytes_online", (json_int_t)f->bytes_online, "rounds_online",
               (json_int_t)f->rounds_online, "bytes_upload", (json_int_t)f->bytes_upload, "batch",
               (json_int_t)r->count, "length", length_mode_names[r->owner.length]);

    if (!line || !figures)
        return err_set(err, -ENOMEM, "no memory for the answer");
    model_folder_describe(r->owner.folder, v->logits, v->probabilities, "", line);
    json_object_update_missing(line, figures);
    json_decref(figures);
    if (r->options->compare)
        model_folder_describe(r->owner.folder, v->float_logits, v->float_probabilities, "float_",
                              line);
    tool_print_json(stdout, line);
    json_decref(line);
    return 0;
}

static void print_head(const struct run *r)
{
    bool score = r->owner.folder->config.regression;

    printf("%-*s  %6s  %10s  %10s  %8s  %6s", r->label_width, score ? "" : "label",
           score ? "score" : "prob.", "online ms", "offline ms", "MB", "rounds");
    if (r->options->compare)
        printf("  %-*s  %6s ", r->label_width, score ? "" : "float", score ? "float" : "prob.");
    printf("  text\n");
}

/* Label and probability, where it is @known, or the score. */
static void print_answer(const struct run *r, const double logits[], const double probabilities[],
                         bool known)
{
    bool score = r->owner.folder->config.regression;
    size_t best = logits_best(logits, r->owner.folder->plan->labels);

    printf("%-*.*s", r->label_width, r->label_width,
           isnan(logits[0]) ? "none"
           : score          ? ""
                            : model_folder_label(r->owner.folder, best));
    if (known)
        printf("  %6.4f", score ? logits[0] : probabilities[best]);
    else
        printf("  %6s", "-");
}

/* The text as a terminal can show it. */
static void print_text(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text);
}

static void print_row(const struct run *r, const struct verdict *v, const char *text,
                      const char *pair)
{
    const struct client_figures *f = &v->figures;

    if (r->texts == 0)
        print_head(r);
    print_answer(r, v->logits, v->probabilities, !plan_labels_only(r->owner.folder->plan));
    printf("  %10.1f  %10.1f  %8.3f  %6" PRIu64, f->online_ms,
           f->offline_party_ms + f->offline_dealer_ms, (double)f->bytes_online / 1e6,
           f->rounds_online);
    if (r->options->compare) {
        printf("  ");
        print_answer(r, v->float_logits, v->float_probabilities, true);
        printf(" %c", differs(r, v) ? '!' : ' ');
    }
    printf("  ");
    print_text(text);
    if (pair) {
        printf(" | ");
        print_text(pair);
    }
    putchar('\n');
}

/* Of the text that was answered last. */
static void warn_outside(struct run *r, const struct verdict *v)
{
    if (!v->outside)
        return;
    r->outside++;
    fprintf(stderr, "mpcformer: text %zu: " ANSWER_OUTSIDE "\n", r->texts, v->outside->name);
}

static void forget(char *text)
{
    if (text)
        secret_wipe(text, strlen(text));
    free(text);
}

/* The job of the texts that wait. */
static int answer(struct run *r, struct err *err)
{
    int rc =
        r->count ? owner_classify_batch(&r->owner, r->encodings, r->count, r->verdicts, err) : 0;

    for (size_t i = 0; i < r->count; i++) {
        const struct verdict *v = &r->verdicts[i];

        if (rc == 0 && r->options->json)
            rc = print_json(r, v, err);
        else if (rc == 0)
            print_row(r, v, r->waiting[i].text, r->waiting[i].pair);
        if (rc == 0) {
            r->texts++;
            r->differ += differs(r, v);
            warn_outside(r, v);
        }
        forget(r->waiting[i].text);
        forget(r->waiting[i].pair);
    }
    r->count = 0;
    fflush(stdout);
    return rc;
}

static int classify(struct run *r, const char *text, const char *pair, struct err *err)
{
    struct encoding *e = &r->encodings[r->count];
    struct waiting w = {.text = strdup(text), .pair = pair ? strdup(pair) : NULL};
    int rc = w.text && (w.pair || !pair) ? 0 : err_set(err, -ENOMEM, "no memory for a text");

    if (rc == 0)
        rc = model_folder_encode(r->owner.folder, text, pair, e, err);
    if (rc < 0) {
        forget(w.text);
        forget(w.pair);
        return rc;
    }
    if (e->dropped)
        fprintf(stderr, "mpcformer: text %zu is too long: its last %zu tokens were left out\n",
                r->texts + r->count + 1, e->dropped);
    r->waiting[r->count++] = w;
    return r->count < r->options->batch ? 0 : answer(r, err);
}

/* --- where texts come from --- */

static int classify_line(struct run *r, char *line, size_t count, struct err *err)
{
    char *pair = NULL;

    if (count && line[count - 1] == '\n')
        line[--count] = 0;
    if (count && line[count - 1] == '\r')
        line[--count] = 0;
    if (strlen(line) != count)
        return err_set(err, -EINVAL, "it holds a NUL");
    if (r->options->pair) {
        pair = strchr(line, '\t');
        if (!pair || strchr(pair + 1, '\t'))
            return err_set(err, -EINVAL, "it is no pair: write TEXT<tab>TEXT");
        *pair++ = 0;
    }
    return classify(r, line, pair, err);
}

static int classify_lines(struct run *r, struct err *err)
{
    size_t size = 0, number = 0;
    char *line = NULL;
    ssize_t count;
    int rc = 0;

    while (rc == 0 && (count = getline(&line, &size, stdin)) >= 0) {
        struct err why = {""};

        number++;
        rc = classify_line(r, line, (size_t)count, &why);
        if (rc < 0)
            err_set(err, rc, "standard input, line %zu: %s", number, err_text(&why, rc));
    }
    if (rc == 0 && ferror(stdin))
        rc = err_set(err, -EIO, "standard input cannot be read");
    if (line)
        secret_wipe(line, size);
    free(line);
    return rc;
}

static int classify_arguments(struct run *r, struct err *err)
{
    char **texts = r->options->texts;
    int rc = 0;

    if (r->options->pair)
        return classify(r, texts[0], texts[1], err);
    for (int i = 0; rc == 0 && i < r->options->text_count; i++)
        rc = classify(r, texts[i], NULL, err);
    return rc;
}

/* Of the column of labels: a score has none. */
static int label_width(const struct model_folder *f)
{
    size_t width = f->config.regression ? 0 : strlen("label");

    for (size_t i = 0; !f->config.regression && i < f->config.labels; i++)
        width = MAX(width, MIN(strlen(model_folder_label(f, i)), (size_t)LABEL_WIDTH_MAX));
    return (int)width;
}

static int classify_all(struct run *r, struct err *err)
{
    size_t batch = r->options->batch;
    int rc = 0;

    r->encodings = secret_alloc(batch * sizeof(*r->encodings));
    if (!r->encodings)
        rc = err_set(err, -ENOMEM, "no memory for %zu texts", batch);
    for (size_t i = 0; rc == 0 && i < batch; i++)
        rc = verdict_new(&r->owner, &r->verdicts[i], err);
    r->label_width = label_width(r->owner.folder);
    if (rc == 0)
        rc = client_connect(r->owner.client, err);
    if (rc == 0)
        rc = r->options->text_count ? classify_arguments(r, err) : classify_lines(r, err);
    if (rc == 0)
        rc = answer(r, err);
    for (size_t i = 0; i < r->count; i++) {
        forget(r->waiting[i].text);
        forget(r->waiting[i].pair);
    }
    for (size_t i = 0; i < batch; i++)
        verdict_free(&r->verdicts[i]);
    secret_free(r->encodings, batch * sizeof(*r->encodings));
    return rc;
}

static const char doc[] =
    "Classify each TEXT, or each line of standard input, without showing it to anybody.\v"
    "The text is turned into tokens here and split between the two parties; neither learns it, nor "
    "the answer. Times are the parties' own: online is what a query waits for, offline what the "
    "dealer and the parties did for it ahead. With --batch they, and what was sent, are of the "
    "whole job, which waits until there are B texts or no more to come; they may have any lengths, "
    "and all of them take the length bucket of the longest. With --length bucket that bucket is "
    "all that anybody learns of how long they are.\n\n"
    "The answer of a regression is a score: label and probabilities are null with --json.\n\n"
    "Exit status: 0 done; 1 with --compare, a label differs from the float model's, or a score is "
    "a hundredth off (of itself, and at least of 1); 2 the command line or the configuration is "
    "wrong; 3 failed; 4 a text has no answer (its label is none, or null, and outside says where), "
    "since a value left the range that the plan was made for.";

int cmd_infer(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, "[TEXT...]", doc};
    struct options options = {.batch = 1, .terms = CLIENT_TERMS_USUAL};
    struct run run = {.options = &options};
    struct err err = {""};
    const char *path;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = owner_config_path(options.config, &path, &err);
    if (rc == 0)
        rc = owner_open(path, options.compare, options.model, &run.owner, &err);
    if (rc == 0 && options.length)
        rc = owner_set_length(&run.owner, options.length, &err);
    if (rc == 0)
        rc = owner_check_batch(&run.owner, options.batch, &err);
    if (rc < 0) {
        owner_close(&run.owner);
        tool_fail(&err, rc);
        return EXIT_USAGE;
    }
    client_set_terms(run.owner.client, &options.terms);
    rc = classify_all(&run, &err);
    owner_close(&run.owner);
    if (rc < 0)
        return tool_fail(&err, rc);
    if (run.differ)
        fprintf(stderr, "mpcformer: %zu of %zu answers differ from the float model's\n", run.differ,
                run.texts);
    return run.outside ? EXIT_OUTSIDE : run.differ ? EXIT_NEGATIVE : EXIT_OK;
}
