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
#include "appliance/tool.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/secret.h"
#include "mpc/cost.h"
#include "transformer/sample.h"
#include "transformer/trial.h"

#include <argp.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLE_BYTES_MAX ((size_t)16 << 20)
#define RING_DEFAULT     64

/* Of each ring, where accuracy and headroom are in balance. */
static const unsigned int frac_default[RING_BITS_MAX / 8 + 1] = {
    [4] = 8, [5] = 11, [6] = 12, [7] = 14, [8] = 16};

struct options {
    const char *model, *out, *sample;
    unsigned int ring, frac; /* frac 0: the ring's default */
    uint32_t tokens[PLAN_VARIANTS_MAX];
    size_t token_count; /* 0: the default buckets */
    uint32_t batches[PLAN_BATCH_MAX];
    size_t batch_count;
    bool json;
};

static const struct argp_option option_table[] = {
    {"model", 'm', "DIR", 0, "The checkpoint: config.json, weights (safetensors), vocabulary", 0},
    {"out", 'o', "DIR", 0, "Where plan and shares go; made if it is not there", 0},
    {"ring", 'r', "L", 0, "Bits of a number: 32, 40, 48, 56 or 64 (64); 48 is faster", 0},
    {"frac", 'f', "F", 0, "Fraction bits of them (16 of 64, 12 of 48)", 0},
    {"sample", 's', "FILE", 0, "Sample text, a line each, like the text to come", 0},
    {"tokens", 't', "LIST", 0, "Length buckets, such as 32,128 (16, 32, 64 ... the longest)", 0},
    {"batch", 'b', "LIST", 0,
     "Answer several queries in one job as well, such as 4,16 (only one at a time)", 0},
    {"json", 'j', NULL, 0, "Print one JSON object on one line", 0},
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
    struct compiled *compiled;
    struct trial trial;
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

static int compile_and_try(struct job *j, const struct compile_options *c, struct err *err)
{
    const struct trial_options trial = {.checkpoint = j->checkpoint,
                                        .samples = j->samples.encodings,
                                        .sample_count = j->samples.count,
                                        .random_runs = 1,
                                        .progress = say_trial};
    int rc;

    say("compiling", 0, 0);
    rc = compile_model(j->checkpoint, c, &j->compiled, err);
    return rc < 0 ? rc : trial_run(j->compiled, &trial, &j->trial, err);
}

static int work(struct job *j, struct err *err)
{
    uint32_t buckets[PLAN_VARIANTS_MAX];
    char name[PATH_MAX];
    struct compile_options c = {.ring = j->o->ring,
                                .frac = j->o->frac,
                                .tokens = j->o->tokens,
                                .token_count = j->o->token_count,
                                .batches = j->o->batches,
                                .batch_count = j->o->batch_count};
    int rc = check_outputs(j->o, err);

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
    rc = compile_and_try(j, &c, err);
    return rc < 0 ? rc : write_all(j->o, j->checkpoint->config.kind, j->compiled, err);
}

static void job_free(struct job *j)
{
    compiled_free(j->compiled);
    samples_free(&j->samples);
    tokenizer_free(j->tokenizer);
    checkpoint_free(j->checkpoint);
}

/* --- the report --- */

static json_t *rounded(double bits)
{
    return json_real(round(bits * 100) / 100);
}

static json_t *describe_headroom(const struct trial *t)
{
    json_t *list = json_array();
    char at[PLACE_TEXT_MAX];

    for (size_t i = 0; i < OP_ID_END; i++) {
        const struct trial_row *row = &t->rows[i];

        if (!row->seen)
            continue;
        place_text(&row->at, at);
        json_array_append_new(list, json_pack("{s:s, s:o, s:i, s:i, s:s}", "operation",
                                              op_kind((unsigned int)i)->name, "headroom_bits",
                                              rounded(row->headroom_bits), "tokens",
                                              (int)row->tokens, "number", (int)row->op, "at", at));
    }
    return list;
}

static json_t *describe_variants(const struct plan *plan)
{
    json_t *list = json_array();

    for (size_t i = 0; i < plan->variant_count; i++) {
        const struct variant *v = &plan->variants[i];
        struct cost c;

        cost_variant(plan, v, &c, NULL);
        json_array_append_new(
            list, json_pack("{s:i, s:i, s:I, s:I, s:I, s:I}", "tokens", (int)v->tokens, "batch",
                            (int)v->batch, "bytes_online", (json_int_t)c.bytes_online,
                            "rounds_online", (json_int_t)c.rounds_online, "bytes_tape",
                            (json_int_t)c.bytes_tape, "macs_online", (json_int_t)c.macs_online));
    }
    return list;
}

static json_t *describe(const struct job *j)
{
    const struct plan *plan = j->compiled->plan;
    const struct trial *t = &j->trial;
    char id[2 * PLAN_ID_BYTES + 1], hash[2 * PLAN_HASH_BYTES + 1];

    hex_encode(plan->model_id, PLAN_ID_BYTES, id);
    hex_encode(plan->hash, PLAN_HASH_BYTES, hash);
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:o, s:f, s:I, s:I, s:f, s:f, s:o, s:o}",
                     "model_id", id, "plan_hash", hash, "out", j->o->out, "ring", (int)plan->ring,
                     "frac", (int)plan->frac, "headroom_bits", rounded(t->headroom_bits),
                     "error_bound", t->error_bound, "samples", (json_int_t)t->samples,
                     "samples_same_label", (json_int_t)t->agree, "float_error_median",
                     t->float_error_median, "float_error_max", t->float_error_max, "headroom",
                     describe_headroom(t), "variants", describe_variants(plan));
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
        o->ring = take_number(state, "ring", argument, RING_BITS_MAX);
        if (!ring_valid(o->ring))
            argp_error(state, "--ring %s: not 32, 40, 48, 56 or 64", argument);
        return 0;
    case 'f':
        o->frac = take_number(state, "frac", argument, RING_BITS_MAX);
        return 0;
    case 't':
        take_tokens(state, argument, o);
        return 0;
    case 'b':
        take_batches(state, argument, o);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": share takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        if (!o->model || !o->out)
            argp_error(state, "say --model DIR and --out DIR");
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
    "headroom_bits is how many times the nearest value on the sample text could double before the "
    "number format fails; error_bound is what rounding may move a logit by, found by trial.";

int cmd_share(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options options = {.ring = RING_DEFAULT, .batches = {1}, .batch_count = 1};
    struct job job = {.o = &options};
    struct err err = {""};
    json_t *report;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    if (!options.frac)
        options.frac = frac_default[options.ring / 8];
    rc = work(&job, &err);
    say("", 0, 0);
    if (rc < 0) {
        job_free(&job);
        return tool_fail(&err, rc);
    }
    report = describe(&job);
    job_free(&job);
    if (!report)
        return tool_fail(NULL, -ENOMEM);
    if (options.json)
        tool_print_json(stdout, report);
    else
        tool_print_people(stdout, report);
    json_decref(report);
    return EXIT_OK;
}
