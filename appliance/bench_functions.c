/*
 * mpcformer bench functions: what each pair of activation and softmax of MPCFormer's table costs,
 * beside exact GeLU and softmax. A row is `mpcformer bench bert` in a process of its own, so that a
 * row that does not fit or dies takes no other with it.
 */
#include "appliance/bench.h"
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "mpc/plan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTHS_MAX  16
#define ARGUMENTS    64
#define OUTPUT_BYTES ((size_t)1 << 20)
#define OURS         "mpcformer: " /* what a complaint begins with */

/* What Li et al., MPCFormer, ICLR 2023, report for IMDb and BERT-base: over the first row. */
static const struct pair {
    const char *hidden, *softmax;
    double mpcformer;
} pairs[] = {
    {"gelu", "softmax", 1},  {"quad", "softmax", 1.24}, {"gelu", "2relu", 1.76},
    {"quad", "2relu", 2.61}, {"gelu", "2quad", 2.65},   {"quad", "2quad", 5.26},
};

/* What `bench bert` is told, as it stands; it knows what may stand there. */
static const struct passed {
    int key;
    const char *name, *value, *help; /* value: unless said otherwise */
} passed[] = {
    {'l', "layers", "12", "Layers"},
    {'d', "hidden", "768", "Width of a token"},
    {'a', "heads", "12", "Heads"},
    {256, "ffn", NULL, "Width inside the feed-forward layers (4 times the hidden)"},
    {'v', "vocab", "30522", "Vocabulary"},
    {257, "batch", "1", "Queries at once, in one job"},
    {'r', "ring", "48", "Bits of a number"},
    {'f', "frac", "12", "Fraction bits of them"},
    {'n', "repeat", "3", "Repetitions"},
    {'w', "workers", "1", "Threads that each party works with"},
    {258, "link", "uring", "uring or dpdk, in a lab; mem: in one process"},
    {260, "length", "public", "Of tokens: public, or bucket, known to nobody"},
    {259, "shape", NULL, "Impose a line on the link, as in 10gbit,20us"},
};

struct options {
    const char *value[ARRAY_LENGTH(passed)]; /* NULL: not said */
    uint32_t tokens[LENGTHS_MAX];
    size_t token_count;
    bool pair[ARRAY_LENGTH(pairs)];
    bool json;
};

/* --- the command line --- */

static void take_tokens(struct argp_state *state, struct options *o, const char *text)
{
    char *copy = strdup(text), *rest = copy, *word;

    o->token_count = 0;
    while (copy && (word = strsep(&rest, ","))) {
        if (o->token_count == LENGTHS_MAX)
            argp_error(state, "--tokens %s: at most %d lengths", text, LENGTHS_MAX);
        o->tokens[o->token_count++] =
            (uint32_t)bench_number(state, "tokens", word, 1, PLAN_TOKENS_MAX);
    }
    free(copy);
}

static void name_pair(const struct pair *p, char *ret, size_t size)
{
    snprintf(ret, size, "%s+%s", p->hidden, p->softmax);
}

static void take_pairs(struct argp_state *state, struct options *o, const char *text)
{
    char *copy = strdup(text), *rest = copy, *word;

    memset(o->pair, 0, sizeof(o->pair));
    while (copy && (word = strsep(&rest, ","))) {
        size_t at = 0;
        char name[32];

        for (; at < ARRAY_LENGTH(pairs); at++) {
            name_pair(&pairs[at], name, sizeof(name));
            if (strcmp(name, word) == 0)
                break;
        }
        if (at == ARRAY_LENGTH(pairs))
            argp_error(state,
                       "--only %s: there are gelu and quad, each with +softmax, +2relu and "
                       "+2quad",
                       word);
        else
            o->pair[at] = true;
    }
    free(copy);
}

enum { OPTION_ONLY = 320 };

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    for (size_t i = 0; i < ARRAY_LENGTH(passed); i++)
        if (key == passed[i].key) {
            o->value[i] = text;
            return 0;
        }
    switch (key) {
    case 't':
        take_tokens(state, o, text);
        return 0;
    case OPTION_ONLY:
        take_pairs(state, o, text);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    default:
        return bench_option_none(key, text, state);
    }
}

/* Passed ones, and ours. */
static void list_options(struct argp_option ret[ARRAY_LENGTH(passed) + 4])
{
    static char help[ARRAY_LENGTH(passed)][128];
    size_t n = ARRAY_LENGTH(passed);

    for (size_t i = 0; i < n; i++) {
        const struct passed *p = &passed[i];

        snprintf(help[i], sizeof(help[i]), p->value ? "%s (%s)" : "%s", p->help, p->value);
        ret[i] = (struct argp_option){p->name, p->key, "X", 0, help[i], 0};
    }
    ret[n] = (struct argp_option){"tokens", 't', "LIST", 0, "Tokens of a query (128,512)", 0};
    ret[n + 1] = (struct argp_option){
        "only", OPTION_ONLY, "LIST", 0, "Some pairs, such as gelu+softmax,quad+2quad (all)", 0};
    ret[n + 2] = (struct argp_option)TOOL_OPTION_JSON_OF("Print a JSON object a row");
    ret[n + 3] = (struct argp_option){0};
}

static const char *value_of(const struct options *o, const char *name)
{
    size_t i = 0;

    while (strcmp(passed[i].name, name) != 0)
        i++;
    return o->value[i] ? o->value[i] : passed[i].value;
}

/* --- a row --- */

/* In the child: bench bert, whose output and complaints go to @out and @complaints. */
static int run_bert(const struct options *o, const struct pair *p, uint32_t tokens, int out,
                    int complaints)
{
    char text[ARGUMENTS][64], *argv[ARGUMENTS + 1] = {NULL}, number[16];
    int argc = 0;

    snprintf(text[argc++], sizeof(*text), "mpcformer bench bert");
    for (size_t i = 0; i < ARRAY_LENGTH(passed); i++) {
        const char *value = value_of(o, passed[i].name);

        if (value)
            snprintf(text[argc++], sizeof(*text), "--%s=%s", passed[i].name, value);
    }
    snprintf(number, sizeof(number), "%u", tokens);
    snprintf(text[argc++], sizeof(*text), "--tokens=%s", number);
    snprintf(text[argc++], sizeof(*text), "--hidden-act=%s", p->hidden);
    snprintf(text[argc++], sizeof(*text), "--softmax-act=%s", p->softmax);
    snprintf(text[argc++], sizeof(*text), "--json");
    for (int i = 0; i < argc; i++)
        argv[i] = text[i];
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(complaints, STDERR_FILENO) < 0)
        return EXIT_FAILED;
    return bench_bert(argc, argv);
}

/* What a child wrote to @file, as text. */
static void read_back(FILE *file, char *ret, size_t size)
{
    size_t count;

    rewind(file);
    count = fread(ret, 1, size - 1, file);
    while (count && ret[count - 1] == '\n')
        count--;
    ret[count] = 0;
}

struct outcome {
    int code; /* of the child; -1: a signal ended it */
    json_t *figures;
    char complaint[512];
};

/* Of a child that ended. */
static void conclude(int status, FILE *out, FILE *complaints, struct outcome *ret)
{
    char *text = malloc(OUTPUT_BYTES), said[sizeof(ret->complaint)];

    if (text)
        read_back(out, text, OUTPUT_BYTES);
    read_back(complaints, said, sizeof(said));
    snprintf(ret->complaint, sizeof(ret->complaint), "%s",
             said + (strncmp(said, OURS, strlen(OURS)) == 0 ? strlen(OURS) : 0));
    ret->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    ret->figures = text ? json_loads(text, 0, NULL) : NULL;
    if (WIFSIGNALED(status))
        snprintf(ret->complaint, sizeof(ret->complaint), "ended by signal %d%s", WTERMSIG(status),
                 WTERMSIG(status) == SIGKILL ? ": out of memory?" : "");
    free(text);
}

static int measure(const struct options *o, const struct pair *p, uint32_t tokens,
                   struct outcome *ret)
{
    FILE *out = tmpfile(), *complaints = tmpfile();
    int status = 0, rc = out && complaints ? 0 : -errno;
    pid_t child = -1;

    fflush(NULL); /* what waits here is not the child's to write */
    if (rc == 0 && (child = fork()) < 0)
        rc = -errno;
    if (child == 0)
        exit(run_bert(o, p, tokens, fileno(out), fileno(complaints)));
    if (rc == 0 && TEMP_FAILURE_RETRY(waitpid(child, &status, 0)) < 0)
        rc = -errno;
    if (rc == 0)
        conclude(status, out, complaints, ret);
    if (out)
        fclose(out);
    if (complaints)
        fclose(complaints);
    return rc;
}

/* --- the table --- */

/* "BERT-base", "BERT-base, 2 of 12 layers", "2 layers of 128". */
static json_t *name_model(const struct options *o)
{
    static const struct {
        const char *name, *layers, *hidden, *heads, *ffn;
    } known[] = {{"BERT-base", "12", "768", "12", "3072"},
                 {"BERT-large", "24", "1024", "16", "4096"}};
    const char *layers = value_of(o, "layers"), *hidden = value_of(o, "hidden");
    const char *ffn = value_of(o, "ffn");

    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (strcmp(known[i].hidden, hidden) != 0 ||
            strcmp(known[i].heads, value_of(o, "heads")) != 0 ||
            (ffn && strcmp(known[i].ffn, ffn) != 0))
            continue;
        if (strcmp(known[i].layers, layers) == 0)
            return json_string(known[i].name);
        return json_sprintf("%s, %s of %s layers", known[i].name, layers, known[i].layers);
    }
    return json_sprintf("%s layer%s of %s", layers, strcmp(layers, "1") == 0 ? "" : "s", hidden);
}

static double number_of(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

/* Of the row that others are held against, at the same length; 0: there is none. */
struct base {
    double online_ms, total_ms;
};

static json_t *make_row(const struct options *o, const struct pair *p, uint32_t tokens,
                        const struct outcome *outcome, const struct base *base)
{
    char name[32];
    json_t *row;

    name_pair(p, name, sizeof(name));
    row = json_pack("{s:o, s:s, s:i, s:i, s:f}", "model", name_model(o), "functions", name,
                    "tokens", (int)tokens, "layers", atoi(value_of(o, "layers")),
                    "speedup_mpcformer", p->mpcformer);
    if (!outcome->figures) {
        json_object_set_new(row, "error", json_string(outcome->complaint));
        return row;
    }
    if (base->online_ms > 0) {
        json_object_set_new(
            row, "speedup_online",
            json_real(base->online_ms / number_of(outcome->figures, "online_ms_median")));
        json_object_set_new(
            row, "speedup_total",
            json_real(base->total_ms / number_of(outcome->figures, "total_ms_median")));
    }
    if (json_object_update(row, outcome->figures) < 0) {
        json_decref(row);
        return NULL;
    }
    return row;
}

static void print_number(const json_t *row, const char *key, int width, int digits, double by)
{
    if (json_object_get(row, key))
        printf("  %*.*f", width, digits, number_of(row, key) * by);
    else
        printf("  %*s", width, "-");
}

static void print_people(const json_t *row, bool head)
{
    const char *error = json_string_value(json_object_get(row, "error"));

    if (head)
        printf("%s\n%-13s  %6s  %10s  %10s  %9s  %6s  %8s  %8s  %9s\n",
               json_string_value(json_object_get(row, "model")), "functions", "tokens", "online ms",
               "total ms", "MB", "rounds", "speed-up", "in total", "MPCFormer");
    printf("%-13s", json_string_value(json_object_get(row, "functions")));
    print_number(row, "tokens", 6, 0, 1);
    if (error) {
        printf("  %s\n", error);
    } else {
        print_number(row, "online_ms_median", 10, 1, 1);
        print_number(row, "total_ms_median", 10, 1, 1);
        print_number(row, "bytes_online", 9, 3, 1e-6);
        print_number(row, "rounds_online", 6, 0, 1);
        print_number(row, "speedup_online", 8, 2, 1);
        print_number(row, "speedup_total", 8, 2, 1);
        print_number(row, "speedup_mpcformer", 9, 2, 1);
        puts(json_is_true(json_object_get(row, "correct")) ? "" : "  NOT CORRECT");
    }
    fflush(stdout);
}

/* An exit code. */
static int run_pair(const struct options *o, size_t at, uint32_t tokens, struct base *base,
                    bool head)
{
    struct outcome outcome = {.figures = NULL};
    struct err err = {""};
    int rc = measure(o, &pairs[at], tokens, &outcome);
    json_t *row;

    if (rc < 0)
        return tool_fail(&err, rc);
    if (outcome.code == EXIT_USAGE) {
        fprintf(stderr, "%s\n", outcome.complaint);
        return EXIT_USAGE;
    }
    if (outcome.figures && at == 0)
        *base = (struct base){number_of(outcome.figures, "online_ms_median"),
                              number_of(outcome.figures, "total_ms_median")};
    row = make_row(o, &pairs[at], tokens, &outcome, base);
    json_decref(outcome.figures);
    if (!row)
        return tool_fail(&err, -ENOMEM);
    if (o->json)
        tool_print_json(stdout, row);
    else
        print_people(row, head);
    json_decref(row);
    return outcome.code == EXIT_OK ? EXIT_OK : EXIT_NEGATIVE;
}

/* An exit code: the first that is bad, where that says the next would be no better; or the last. */
static int run_pairs(const struct options *o)
{
    int worst = EXIT_OK;
    bool head = true;

    for (size_t t = 0; t < o->token_count; t++) {
        struct base base = {0};

        for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++) {
            int code;

            if (!o->pair[i])
                continue;
            if (isatty(STDERR_FILENO))
                fprintf(stderr, "mpcformer: %s+%s, %u tokens\n", pairs[i].hidden, pairs[i].softmax,
                        o->tokens[t]);
            code = run_pair(o, i, o->tokens[t], &base, head);
            if (code == EXIT_USAGE || code == EXIT_FAILED)
                return code;
            worst = MAX(worst, code);
            head = false;
        }
    }
    return worst;
}

static const char doc[] =
    "Measure a private query of a BERT with each pair of activation and softmax of MPCFormer's "
    "table.\v"
    "Each row is `mpcformer bench bert` with the same options, which says what its figures are; "
    "the shape is BERT-base's unless said otherwise. speed-up is that of online_ms_median over "
    "gelu+softmax's at the same length, in total that of total_ms_median; MPCFormer is what its "
    "authors report for IMDb. A row that could not be measured, such as one whose tapes do not fit "
    "in memory, says why.\n\n"
    "Exit status: 0 all measured, all correct; 1 a row was not; 2 the command line is wrong; 3 "
    "failed.";

int bench_functions(int argc, char **argv)
{
    struct argp_option option_table[ARRAY_LENGTH(passed) + 4];
    const struct argp argp = {option_table, take_option, NULL, doc, NULL, NULL, NULL};
    struct options o = {.tokens = {128, 512}, .token_count = 2};

    for (size_t i = 0; i < ARRAY_LENGTH(pairs); i++)
        o.pair[i] = true;
    list_options(option_table);
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    return run_pairs(&o);
}
