/* mpcformer eval: a task's metric, in private and with the float model side by side. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/owner.h"
#include "appliance/tool.h"

#include <argp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAD_LINES_SHOWN 10
#define PROGRESS_NS     UINT64_C(200000000)

struct options {
    const char *config, *model, *data;
    unsigned long limit; /* 0: all */
    bool json;
};

static const struct argp_option option_table[] = {
    {"config", 'c', "FILE", 0, "The owner's configuration (default: $" TOOL_CONFIG_VARIABLE ")", 0},
    {"task", 't', "TASK", 0, "SST-2, which is the default", 0},
    {"data", 'd', "FILE", 0, "Lines of sentence<tab>label under a line that says so", 0},
    {"limit", 'l', "N", 0, "Stop after N sentences", 0},
    {"model", 'm', "DIR", 0,
     "Where the float model is (default: in the folder that the configuration names)", 0},
    {"json", 'j', NULL, 0, "Print one JSON object on one line", 0},
    {0},
};

static error_t take_limit(struct argp_state *state, const char *text, unsigned long *ret_limit)
{
    char *end;

    errno = 0;
    *ret_limit = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || *ret_limit < 1)
        argp_error(state, "--limit %s: a number from 1 on", text);
    return 0;
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'c':
        options->config = argument;
        return 0;
    case 't':
        if (strcmp(argument, "SST-2") != 0)
            argp_error(state, "--task %s: this version knows SST-2", argument);
        return 0;
    case 'd':
        options->data = argument;
        return 0;
    case 'l':
        return take_limit(state, argument, &options->limit);
    case 'm':
        options->model = argument;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_END:
        if (!options->data)
            argp_error(state, "say --data FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- the data --- */

struct sample {
    char *text;
    size_t label;
};

struct samples {
    struct sample *at;
    size_t count, bad;
};

static void samples_free(struct samples *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->at[i].text);
    free(s->at);
}

/* What is wrong with a line; NULL when nothing is. */
static const char *read_line(char *line, size_t count, size_t labels, struct sample *ret)
{
    char *tab = strrchr(line, '\t'), *end;
    unsigned long label;

    if (strlen(line) != count)
        return "holds a NUL";
    if (!tab)
        return "has no tab: it is to be sentence<tab>label";
    if (memchr(line, '\t', (size_t)(tab - line)))
        return "has more than two columns";
    if (line + strspn(line, " ") == tab)
        return "has no sentence";
    label = strtoul(tab + 1, &end, 10);
    if (tab[1] < '0' || tab[1] > '9' || *end)
        return "has no number as its label";
    if (label >= labels)
        return "has a label that the model does not have";
    *tab = 0;
    ret->text = line;
    ret->label = label;
    return NULL;
}

static int add_sample(struct samples *s, const struct sample *found, struct err *err)
{
    struct sample *more = s->at;

    if ((s->count & (s->count - 1)) == 0)
        more = realloc(s->at, (s->count ? 2 * s->count : 1) * sizeof(*more));
    if (!more)
        return err_set(err, -ENOMEM, "no memory for the data");
    s->at = more;
    s->at[s->count].label = found->label;
    s->at[s->count].text = strdup(found->text);
    if (!s->at[s->count].text)
        return err_set(err, -ENOMEM, "no memory for the data");
    s->count++;
    return 0;
}

static size_t chomp(char *line, size_t count)
{
    while (count && (line[count - 1] == '\n' || line[count - 1] == '\r'))
        line[--count] = 0;
    return count;
}

static int read_lines(FILE *in, const struct options *o, size_t labels, struct samples *ret,
                      struct err *err)
{
    size_t size = 0, number = 0;
    char *line = NULL;
    ssize_t got;
    int rc = 0;

    while (rc == 0 && (got = getline(&line, &size, in)) >= 0 &&
           (!o->limit || ret->count < o->limit)) {
        size_t count = chomp(line, (size_t)got);
        struct sample found;
        const char *wrong;

        if (++number == 1) {
            if (strcmp(line, "sentence\tlabel") != 0)
                rc =
                    err_set(err, -EINVAL, "%s:1: it is to say sentence<tab>label (SST-2)", o->data);
            continue;
        }
        wrong = read_line(line, count, labels, &found);
        if (!wrong)
            rc = add_sample(ret, &found, err);
        else if (++ret->bad <= BAD_LINES_SHOWN)
            fprintf(stderr, "mpcformer: %s:%zu: %s; left out\n", o->data, number, wrong);
    }
    if (rc == 0 && ferror(in))
        rc = err_set(err, -EIO, "%s cannot be read", o->data);
    if (rc == 0 && !ret->count)
        rc = err_set(err, -EINVAL, "%s: there is no sentence in it", o->data);
    free(line);
    return rc;
}

static int read_data(const struct options *o, size_t labels, struct samples *ret, struct err *err)
{
    FILE *in = fopen(o->data, "re");
    int rc;

    if (!in)
        return err_set(err, -errno, "%s: %s", o->data, strerror(errno));
    rc = read_lines(in, o, labels, ret, err);
    fclose(in);
    if (ret->bad > BAD_LINES_SHOWN)
        fprintf(stderr, "mpcformer: %s: %zu bad lines in all\n", o->data, ret->bad);
    return rc;
}

/* --- the figures --- */

struct score {
    size_t n, right, float_right, agree;
    size_t outside; /* sentences without an answer: they left the plan's range */
    double *errors; /* (n): of a sentence's worst logit; 0 without an answer */
    double online_ms;
};

static void count_sample(struct score *s, const struct sample *sample, const struct verdict *v)
{
    size_t best = logits_best(v->logits, v->labels);
    size_t float_best = logits_best(v->float_logits, v->labels);
    double worst = 0;

    for (size_t i = 0; !v->outside && i < v->labels; i++)
        worst = fmax(worst, fabs(v->logits[i] - v->float_logits[i]));
    s->errors[s->n++] = worst;
    s->outside += v->outside != NULL;
    s->right += !v->outside && best == sample->label;
    s->float_right += float_best == sample->label;
    s->agree += !v->outside && best == float_best;
    s->online_ms += v->figures.online_ms;
}

static void show_progress(const struct score *s, size_t all, uint64_t start, uint64_t *last)
{
    uint64_t now = time_ns();
    double seconds = (double)(now - start) / 1e9, rate = (double)s->n / seconds;

    if (!isatty(STDERR_FILENO) || (now - *last < PROGRESS_NS && s->n < all))
        return;
    *last = now;
    fprintf(stderr, "\r%zu of %zu, %.2f a second, %.0f s left, agree %.4f   %s", s->n, all, rate,
            (double)(all - s->n) / rate, (double)s->agree / (double)s->n, s->n == all ? "\n" : "");
}

static int run_samples(struct owner *o, const struct samples *samples, struct score *ret,
                       struct err *err)
{
    uint64_t start = time_ns(), last = 0;
    struct verdict v = {.labels = 0};
    int rc = verdict_new(o, &v, err);

    if (rc == 0)
        rc = client_connect(o->client, err);
    for (size_t i = 0; rc == 0 && i < samples->count; i++) {
        rc = owner_classify(o, samples->at[i].text, NULL, &v, err);
        if (rc == 0) {
            count_sample(ret, &samples->at[i], &v);
            show_progress(ret, samples->count, start, &last);
        }
    }
    verdict_free(&v);
    return rc;
}

static int print_score(const struct options *o, struct score *s, size_t bad, struct err *err)
{
    double n = (double)s->n;
    double median = tool_median(s->errors, s->n);
    json_t *score = json_pack("{s:I, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I}", "n",
                              (json_int_t)s->n, "metric", "accuracy", "private",
                              (double)s->right / n, "float", (double)s->float_right / n, "agree",
                              (double)s->agree / n, "logit_error_max", s->errors[s->n - 1],
                              "logit_error_median", median, "online_ms_mean", s->online_ms / n,
                              "bad_lines", (json_int_t)bad, "outside", (json_int_t)s->outside);

    if (!score)
        return err_set(err, -ENOMEM, "no memory for the result");
    if (o->json)
        tool_print_json(stdout, score);
    else
        tool_print_people(stdout, score);
    json_decref(score);
    return 0;
}

static int evaluate(struct owner *owner, const struct options *o, struct err *err)
{
    struct samples samples = {.at = NULL};
    struct score score = {.n = 0};
    int rc = read_data(o, owner->folder->config.labels, &samples, err);

    if (rc == 0) {
        score.errors = calloc(samples.count, sizeof(*score.errors));
        rc = score.errors ? run_samples(owner, &samples, &score, err)
                          : err_set(err, -ENOMEM, "no memory for the result");
    }
    if (rc == 0)
        rc = print_score(o, &score, samples.bad, err);
    free(score.errors);
    samples_free(&samples);
    return rc;
}

static const char doc[] =
    "Evaluate the model that the parties serve, in private, beside the float model here.\v"
    "FILE is laid out as GLUE's SST-2: a first line `sentence<tab>label`, then a sentence and the "
    "number of its label a line. Lines that are not are named, counted and left out. `private` and "
    "`float` are fractions of right labels, `agree` of sentences with the same label in both; the "
    "logit error of a sentence is that of its worst logit. A sentence that leaves the range that "
    "the "
    "plan was made for has no label, and counts as wrong: `outside` says how many.";

int cmd_eval(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options options = {.config = NULL};
    struct owner owner = {.config = NULL};
    struct err err = {""};
    const char *path;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = owner_config_path(options.config, &path, &err);
    if (rc == 0)
        rc = owner_open(path, true, options.model, &owner, &err);
    if (rc < 0) {
        tool_fail(&err, rc);
        return EXIT_USAGE;
    }
    rc = evaluate(&owner, &options, &err);
    owner_close(&owner);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}
