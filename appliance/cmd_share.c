/*
 * mpcformer share: the model owner's step. It compiles a checkpoint into a plan, tries it on sample
 * text, and splits the weights between the parties.
 *
 *     OUT/plan.mpcf                      for both parties, the dealer and data owners: no secret
 *     OUT/party0.share, party1.share     one for each party, over a way that the other cannot read
 *     OUT/client/                        what a data owner needs: plan, vocabulary, config.json
 */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/share_files.h"
#include "appliance/share_report.h"
#include "appliance/tool.h"
#include "base/file.h"
#include "base/secret.h"
#include "transformer/sample.h"

#include <argp.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLE_BYTES_MAX ((size_t)16 << 20)
#define RING_DEFAULT     64 /* with --frac alone */

struct options {
    const char *model, *out, *sample;
    unsigned int ring, frac; /* ring 0: the one to recommend; frac 0: the ring's default */
    bool ring_set;
    bool report; /* recommend, and write nothing */
    uint32_t tokens[PLAN_VARIANTS_MAX];
    size_t token_count;   /* 0: the default buckets */
    unsigned int lengths; /* as in struct compile_options */
    uint32_t batches[PLAN_BATCH_MAX];
    size_t batch_count;
    bool labels_only;
    bool json;
};

enum { OPTION_LENGTH = 256, OPTION_LABELS_ONLY };

static const struct argp_option option_table[] = {
    {"model", 'm', "DIR", 0, "The checkpoint: config.json, weights (safetensors), vocabulary", 0},
    {"out", 'o', "DIR", 0, "Where plan and shares go; made if it is not there", 0},
    {"ring", 'r', "L", 0,
     "Bits of a number: 32, 40, 48, 56 or 64, or auto, the narrowest that will do (auto)", 0},
    {"frac", 'f', "F", 0, "Fraction bits of them (16 of 64, 12 of 48)", 0},
    {"report", 'R', NULL, 0, "Try every ring, say what speaks for it, and write nothing", 0},
    {"sample", 's', "FILE", 0, "Sample text, a line each, like the text to come", 0},
    {"tokens", 't', "LIST", 0, "Length buckets, such as 32,128 (16, 32, 64 ... the longest)", 0},
    {"length", OPTION_LENGTH, "MODE", 0,
     "Who may know how many tokens a text has: public, the parties; bucket, nobody; or both "
     "(bucket)",
     0},
    {"batch", 'b', "LIST", 0,
     "Answer several queries in one job as well, such as 4,16 (only one at a time)", 0},
    {"labels-only", OPTION_LABELS_ONLY, NULL, 0,
     "Answers are labels: nobody learns logits or probabilities, data owners neither", 0},
    TOOL_OPTION_JSON,
    {0},
};

/* --- files --- */

static const char *const outputs[] = {"plan.mpcf", "party0.share", "party1.share",
                                      "client/plan.mpcf", "client/config.json"};

static int out_path(const struct options *o, const char *name, char ret[PATH_MAX], struct err *err)
{
    int rc = file_path(ret, PATH_MAX, o->out, name);

    return rc < 0 ? err_set(err, rc, "%s/%s: the path is too long", o->out, name) : 0;
}

static int check_outputs(const struct options *o, struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(outputs); i++) {
        rc = out_path(o, outputs[i], path, err);
        if (rc == 0 && access(path, F_OK) == 0)
            rc = err_set(err, -EEXIST,
                         "%s: it is there already, and is never overwritten: every split is a new "
                         "model; take another --out",
                         path);
    }
    return rc;
}

static int write_file(const struct options *o, const char *name, unsigned int mode,
                      const void *bytes, size_t count, struct err *err)
{
    char path[PATH_MAX];
    int rc = out_path(o, name, path, err);

    return rc < 0 ? rc : file_write(path, mode, bytes, count, err);
}

/* @optional: one that is not there is none. */
static int copy_file(const struct options *o, const char *name, bool optional, struct err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    uint8_t *bytes;
    size_t count;
    int rc = file_path(from, sizeof(from), o->model, name);

    if (rc < 0)
        return err_set(err, rc, "%s/%s: the path is too long", o->model, name);
    if (optional && access(from, F_OK) < 0)
        return 0;
    rc = file_read(from, TOKENIZER_VOCAB_BYTES_MAX, &bytes, &count, err);
    if (rc < 0)
        return rc;
    snprintf(to, sizeof(to), "client/%s", name);
    rc = write_file(o, to, 0644, bytes, count, err);
    free(bytes);
    return rc;
}

static int write_all(const struct options *o, enum model_kind kind, struct compiled *m,
                     struct err *err)
{
    const char *vocabulary[TOKENIZER_FILES_MAX];
    size_t count = tokenizer_files(kind, vocabulary);
    char client[PATH_MAX];
    int rc = out_path(o, "client", client, err);

    if (rc == 0)
        rc = file_make_folders(client, 0700, err);
    if (rc == 0)
        rc = copy_file(o, "config.json", false, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = copy_file(o, vocabulary[i], false, err);
    if (rc == 0)
        rc = copy_file(o, "tokenizer_config.json", true, err);
    return rc < 0 ? rc : share_files_write(o->out, m, err);
}

/* --- the work --- */

struct job {
    const struct options *o;
    struct checkpoint *checkpoint;
    struct tokenizer *tokenizer;
    struct samples samples;
    struct candidate candidates[RECOMMEND_RINGS];
    size_t best; /* of them */
};

/* Overwritten line by line, and only where somebody looks. */
static void say(const char *what, size_t done, size_t all)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (all)
        fprintf(stderr, "\r\033[K%s: %zu of %zu", what, done, all);
    else
        fprintf(stderr, "\r\033[K%s", what);
}

static void say_trial(void *context, size_t done, size_t all)
{
    (void)context;
    say("trying the plan on sample text", done, all);
}

static int load_model(struct job *j, struct err *err)
{
    int rc;

    say("reading the model", 0, 0);
    rc = checkpoint_load(j->o->model, &j->checkpoint, err);
    if (rc < 0)
        return rc;
    return tokenizer_load(j->o->model, &j->checkpoint->config, &j->tokenizer, err);
}

static int load_samples(struct job *j, const struct compile_options *c, struct err *err)
{
    struct err why = {""};
    uint8_t *text = NULL;
    size_t count;
    int rc = 0;

    if (j->o->sample) {
        rc = file_read(j->o->sample, SAMPLE_BYTES_MAX, &text, &count, err);
        if (rc < 0)
            return rc;
        if (strlen((const char *)text) != count)
            rc = err_set(&why, -EINVAL, "it is no text: it has a NUL");
    }
    if (rc == 0)
        rc = samples_make(j->tokenizer, (const char *)text, c->tokens, c->token_count, &j->samples,
                          &why);
    if (text)
        secret_wipe(text, count);
    free(text);
    return rc < 0 ? err_set(err, rc, "%s: %s", j->o->sample ? j->o->sample : "built-in samples",
                            err_text(&why, rc))
                  : 0;
}

static int try_formats(struct job *j, const struct compile_options *c, struct err *err)
{
    const struct trial_options trial = {.checkpoint = j->checkpoint,
                                        .samples = j->samples.encodings,
                                        .sample_count = j->samples.count,
                                        .random_runs = 1,
                                        .progress = say_trial};
    struct candidate *one = &j->candidates[0];
    int rc;

    say("compiling", 0, 0);
    if (!j->o->ring)
        return recommend(c, &trial, j->o->report, j->candidates, &j->best, err);
    one->ring = j->o->ring;
    one->frac = j->o->frac ? j->o->frac : recommend_frac(j->o->ring);
    rc = candidate_try(one, c, &trial);
    return rc < 0 ? err_set(err, rc, "%s", err_text(&one->why, rc)) : 0;
}

static int work(struct job *j, struct err *err)
{
    uint32_t buckets[PLAN_VARIANTS_MAX];
    char name[PATH_MAX];
    struct compile_options c = {.ring = j->o->ring ? j->o->ring : RING_DEFAULT,
                                .frac = j->o->frac,
                                .tokens = j->o->tokens,
                                .token_count = j->o->token_count,
                                .lengths = j->o->lengths,
                                .batches = j->o->batches,
                                .batch_count = j->o->batch_count,
                                .labels_only = j->o->labels_only};
    int rc = j->o->report ? 0 : check_outputs(j->o, err);

    if (!c.frac)
        c.frac = recommend_frac(c.ring);
    if (rc == 0)
        rc = load_model(j, err);
    if (rc < 0)
        return rc;
    if (!c.token_count) {
        c.tokens = buckets;
        c.token_count = compile_buckets(j->checkpoint->config.positions_max, buckets);
    }
    rc = compile_options_check(&j->checkpoint->config, &c, err);
    if (rc == 0)
        rc = load_samples(j, &c, err);
    if (rc < 0)
        return rc;
    snprintf(name, sizeof(name), "%s", j->o->model);
    c.name = basename(name);
    c.samples = j->samples.encodings;
    c.sample_count = j->samples.count;
    rc = try_formats(j, &c, err);
    return rc < 0 || j->o->report
               ? rc
               : write_all(j->o, j->checkpoint->config.kind, j->candidates[j->best].compiled, err);
}

static void job_free(struct job *j)
{
    candidates_free(j->candidates);
    samples_free(&j->samples);
    tokenizer_free(j->tokenizer);
    checkpoint_free(j->checkpoint);
}

/* --- options --- */

static unsigned int take_number(struct argp_state *state, const char *option, const char *text,
                                unsigned int most)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || v < 1 || v > most)
        argp_error(state, "--%s %s: not a number from 1 to %u", option, text, most);
    return (unsigned int)v;
}

static void take_tokens(struct argp_state *state, char *list, struct options *o)
{
    o->token_count = 0;
    for (char *rest = list, *one; (one = strsep(&rest, ","));) {
        if (o->token_count == PLAN_VARIANTS_MAX)
            argp_error(state, "--tokens: more than %d length buckets", PLAN_VARIANTS_MAX);
        o->tokens[o->token_count++] = take_number(state, "tokens", one, PLAN_TOKENS_MAX);
    }
}

static void take_length(struct argp_state *state, const char *name, struct options *o)
{
    enum length_mode mode;

    if (strcmp(name, "both") == 0)
        o->lengths = 1u << LENGTH_PUBLIC | 1u << LENGTH_BUCKET;
    else if (length_mode_parse(name, &mode) == 0)
        o->lengths = 1u << mode;
    else
        argp_error(state, "--length %s: there are public, bucket and both", name);
}

/* Beside one query at a time, which is always there. */
static void take_batches(struct argp_state *state, char *list, struct options *o)
{
    o->batch_count = 1;
    for (char *rest = list, *one; (one = strsep(&rest, ","));) {
        unsigned int batch = take_number(state, "batch", one, PLAN_BATCH_MAX);

        if (batch == 1)
            continue;
        if (batch <= o->batches[o->batch_count - 1])
            argp_error(state, "--batch %s: write the list in rising order", one);
        o->batches[o->batch_count++] = batch;
    }
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'm':
        o->model = argument;
        return 0;
    case 'o':
        o->out = argument;
        return 0;
    case 's':
        o->sample = argument;
        return 0;
    case 'r':
        o->ring =
            strcmp(argument, "auto") ? take_number(state, "ring", argument, RING_BITS_MAX) : 0;
        if (o->ring && !ring_valid(o->ring))
            argp_error(state, "--ring %s: not auto, 32, 40, 48, 56 or 64", argument);
        o->ring_set = true;
        return 0;
    case 'f':
        o->frac = take_number(state, "frac", argument, RING_BITS_MAX);
        return 0;
    case 'R':
        o->report = true;
        return 0;
    case 't':
        take_tokens(state, argument, o);
        return 0;
    case 'b':
        take_batches(state, argument, o);
        return 0;
    case OPTION_LENGTH:
        take_length(state, argument, o);
        return 0;
    case OPTION_LABELS_ONLY:
        o->labels_only = true;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": share takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        if (!o->model || !o->out != o->report)
            argp_error(state, "say --model DIR and either --out DIR or --report");
        if (o->report && (o->ring || o->frac))
            argp_error(state, "--report tries every ring, with its own fraction bits");
        if (o->frac && !o->ring_set)
            o->ring = RING_DEFAULT;
        if (o->frac && !o->ring)
            argp_error(state, "--frac %u: of which --ring?", o->frac);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char doc[] =
    "Compile a model and split its weights between the two parties.\v"
    "Each party gets its share file and the plan; the dealer and data owners get the plan (data "
    "owners the folder OUT/client). A share alone says nothing; both together are the weights, so "
    "send them different ways.\n\n"
    "With --length bucket, nobody but its owner learns more of a text's length than its bucket "
    "(--tokens); it takes a round or a few more. A job asks for one of the modes that are here.\n\n"
    "Without --ring the narrowest number format is taken of which every sample keeps its label, "
    "with "
    "twice the error too, three bits are left in the range that the samples come nearest to "
    "leaving, "
    "and no promise rests on the samples alone: what weights do not prove is guarded when the plan "
    "runs, and a text that leaves a range has no answer. headroom_bits is how many times a value "
    "could double there; error_bound is what rounding may move a logit by, found by trial; "
    "squares_bits are the powers of two by which a layer's squares of 2quad, or relus of 2relu, "
    "are "
    "scaled.\n\n"
    "Exit status: 0 done; 2 wrong usage; 3 failed, or no number format will do.";

/* Without what is certain anyway, and what only somebody who looks for a fault wants. */
static void print_people(json_t *report)
{
    json_t *promises = json_object_get(report, "promises");

    for (size_t i = json_array_size(promises); i-- > 0;)
        if (!strcmp(json_string_value(json_object_get(json_array_get(promises, i), "promise")),
                    "proven"))
            json_array_remove(promises, i);
    json_object_del(report, "headroom");
    tool_print_people(stdout, report);
}

/* Of all that was tried, and of the one that was taken, or NULL. */
static int print_report(const struct job *j, const struct candidate *best)
{
    json_t *report = share_report(j->candidates, best, j->o->out);

    if (!report)
        return -ENOMEM;
    if (j->o->json)
        tool_print_json(stdout, report);
    else
        print_people(report);
    json_decref(report);
    return 0;
}

int cmd_share(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options options = {.lengths = 1u << LENGTH_BUCKET, .batches = {1}, .batch_count = 1};
    struct job job = {.o = &options};
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = work(&job, &err);
    say("", 0, 0);
    if (rc < 0) {
        if (options.report && job.candidates[0].tried)
            (void)!print_report(&job, NULL);
        job_free(&job);
        return tool_fail(&err, rc);
    }
    rc = print_report(&job, &job.candidates[job.best]);
    job_free(&job);
    return rc < 0 ? tool_fail(NULL, rc) : EXIT_OK;
}
