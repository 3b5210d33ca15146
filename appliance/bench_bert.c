/*
 * mpcformer bench bert: a private query, or a batch of them, of a BERT of any shape with random
 * weights, in a lab of its own or, with --link mem, in this process (bench_pair.h).
 *
 * In a lab each repetition is two queries with the same tokens. The first finds a tape in stock and
 * the dealer stopped (SIGSTOP): its online time is what a query costs. The second finds nothing in
 * stock and the dealer just set going again: its wall time is what the same query costs with its
 * preparation. In this process a repetition is one query, whose parts are measured one after the
 * other. Answers are held against the clear executor's.
 */
#include "appliance/bench.h"
#include "appliance/bench_pair.h"
#include "appliance/client.h"
#include "appliance/exit.h"
#include "appliance/input.h"
#include "appliance/lab.h"
#include "appliance/shape.h"
#include "appliance/share_files.h"
#include "appliance/tool.h"
#include "base/workers.h"
#include "mpc/clear.h"
#include "mpc/cost.h"
#include "transformer/trial.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LABELS     2
#define TYPES      2
#define SAMPLES    2 /* that ranges and error bound are taken from */
#define SEED       1
#define TIMEOUT_MS 300000
#define REPEAT_MAX 1000

/* Between two looks at the stock. */
#define TAPE_STEP_MS 20

struct options {
    struct model_config config;
    uint32_t tokens, batch;
    unsigned int ring, frac;
    size_t repeat;
    unsigned int workers;
    bool memory;       /* the in-memory link, in this process */
    const char *shape; /* NULL: none */
    struct link_line line;
    bool json;
};

enum {
    OPTION_FFN = 256,
    OPTION_BATCH,
    OPTION_HIDDEN_ACT,
    OPTION_SOFTMAX_ACT,
    OPTION_LINK,
    OPTION_SHAPE
};

static const struct argp_option option_table[] = {
    {"layers", 'l', "N", 0, "Layers (2)", 0},
    {"hidden", 'd', "N", 0, "Width of a token (128)", 0},
    {"heads", 'a', "N", 0, "Heads (2)", 0},
    {"ffn", OPTION_FFN, "N", 0, "Width inside the feed-forward layers (4 times the hidden)", 0},
    {"tokens", 't', "N", 0, "Tokens of a query (128)", 0},
    {"batch", OPTION_BATCH, "B", 0, "Queries at once, in one job (1)", 0},
    {"vocab", 'v', "N", 0, "Vocabulary (30522)", 0},
    {"hidden-act", OPTION_HIDDEN_ACT, "NAME", 0, "quad", 0},
    {"softmax-act", OPTION_SOFTMAX_ACT, "NAME", 0, "2quad", 0},
    {"ring", 'r', "L", 0, "Bits of a number (64)", 0},
    {"frac", 'f', "F", 0, "Fraction bits of them (16)", 0},
    {"link", OPTION_LINK, "DRIVER", 0,
     "uring: three processes in a lab; mem: both parties in this process (uring)", 0},
    {"shape", OPTION_SHAPE, "LINE", 0,
     "Impose a line on the link: its rate, its delay one way or both, as in 10gbit,20us", 0},
    {"repeat", 'n', "N", 0, "Repetitions (5)", 0},
    {"workers", 'w', "N", 0,
     "Threads that each party works with, on CPUs of their own where there are enough (1)", 0},
    {"json", 'j', NULL, 0, "Print one JSON object on one line", 0},
    {0},
};

static void check(struct argp_state *state, struct options *o)
{
    struct model_config *k = &o->config;

    if (!k->intermediate)
        k->intermediate = MIN(4 * k->hidden, (size_t)MODEL_INTERMEDIATE_MAX);
    if (k->hidden % k->heads)
        argp_error(state, "--hidden %zu is not divided by --heads %zu", k->hidden, k->heads);
    if (k->vocab < o->tokens)
        argp_error(state, "--vocab %zu has not %u different tokens", k->vocab, o->tokens);
    if (!ring_valid(o->ring) || o->frac < 4 || o->frac >= o->ring / 2)
        argp_error(state, "--ring %u --frac %u: 32, 40, 48, 56 or 64, and from 4 to below half",
                   o->ring, o->frac);
}

static void take_link(struct argp_state *state, struct options *o, const char *text)
{
    o->memory = strcmp(text, "mem") == 0;
    if (!o->memory && strcmp(text, "uring") != 0)
        argp_error(state, "--link %s: this version has mem and uring", text);
}

static void take_shape(struct argp_state *state, struct options *o, const char *text)
{
    struct err err = {""};

    if (shape_parse(text, &o->line, &err) < 0)
        argp_error(state, "--shape %s: %s", text, err.text);
    o->shape = text;
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'l':
        o->config.layers = bench_number(state, "layers", text, 1, MODEL_LAYERS_MAX);
        return 0;
    case 'd':
        o->config.hidden = bench_number(state, "hidden", text, 1, MODEL_HIDDEN_MAX);
        return 0;
    case 'a':
        o->config.heads = bench_number(state, "heads", text, 1, MODEL_HEADS_MAX);
        return 0;
    case OPTION_FFN:
        o->config.intermediate = bench_number(state, "ffn", text, 1, MODEL_INTERMEDIATE_MAX);
        return 0;
    case 't':
        o->tokens = (uint32_t)bench_number(state, "tokens", text, 1, PLAN_TOKENS_MAX);
        return 0;
    case OPTION_BATCH:
        o->batch = (uint32_t)bench_number(state, "batch", text, 1, PLAN_BATCH_MAX);
        return 0;
    case 'v':
        o->config.vocab = bench_number(state, "vocab", text, 1, MODEL_VOCAB_MAX);
        return 0;
    case OPTION_HIDDEN_ACT:
        if (strcmp(text, "quad") != 0)
            argp_error(state, "--hidden-act %s: this version has quad", text);
        return 0;
    case OPTION_SOFTMAX_ACT:
        if (strcmp(text, "2quad") != 0)
            argp_error(state, "--softmax-act %s: this version has 2quad", text);
        return 0;
    case 'r':
        o->ring = (unsigned int)bench_number(state, "ring", text, RING_BITS_MIN, RING_BITS_MAX);
        return 0;
    case 'f':
        o->frac = (unsigned int)bench_number(state, "frac", text, 1, RING_BITS_MAX);
        return 0;
    case OPTION_LINK:
        take_link(state, o, text);
        return 0;
    case OPTION_SHAPE:
        take_shape(state, o, text);
        return 0;
    case 'n':
        o->repeat = bench_number(state, "repeat", text, 1, REPEAT_MAX);
        return 0;
    case 'w':
        o->workers = (unsigned int)bench_number(state, "workers", text, 1, WORKERS_MAX);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": options only", text);
        return 0;
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void say(const char *what)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "mpcformer: %s\n", what);
}

/* --- the model and the right answers --- */

struct bench {
    const struct options *o;
    struct compiled *compiled;
    const struct variant *variant;
    struct encoding *texts;  /* (o->repeat + 1, o->batch): the first are for the warm-up */
    double *expected;        /* (o->repeat + 1, o->batch, LABELS) */
    struct lab *lab;         /* or NULL, with --link mem */
    struct client *client;   /* in the lab's child */
    struct bench_pair *pair; /* with --link mem */
};

/* Different tokens, drawn by a shuffle. */
static int draw_tokens(const struct options *o, uint64_t *random, struct encoding *ret)
{
    uint32_t *ids = malloc(o->config.vocab * sizeof(*ids));

    if (!ids)
        return -ENOMEM;
    for (uint32_t i = 0; i < o->config.vocab; i++)
        ids[i] = i;
    *ret = (struct encoding){.count = o->tokens};
    for (uint32_t i = 0; i < o->tokens; i++) {
        size_t at = i + bench_random(random) % (o->config.vocab - i);

        ret->ids[i] = ids[at];
        ids[at] = ids[i];
    }
    free(ids);
    return 0;
}

static int compile_random(struct bench *b, struct err *err)
{
    const uint32_t batches[2] = {1, b->o->batch};
    struct encoding samples[SAMPLES];
    const struct compile_options options = {.ring = b->o->ring,
                                            .frac = b->o->frac,
                                            .name = "bench",
                                            .tokens = &b->o->tokens,
                                            .token_count = 1,
                                            .batches = batches,
                                            .batch_count = b->o->batch > 1 ? 2 : 1,
                                            .samples = samples,
                                            .sample_count = SAMPLES};
    const struct trial_options trial = {
        .samples = samples, .sample_count = SAMPLES, .random_runs = 1};
    struct checkpoint *checkpoint = NULL;
    uint64_t random = SEED;
    struct trial report;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < SAMPLES; i++)
        rc = draw_tokens(b->o, &random, &samples[i]);
    if (rc == 0)
        rc = checkpoint_random(&b->o->config, SEED, &checkpoint, err);
    if (rc == 0)
        rc = compile_model(checkpoint, &options, &b->compiled, err);
    checkpoint_free(checkpoint);
    if (rc == 0)
        rc = trial_run(b->compiled, &trial, &report, err);
    if (rc == 0)
        b->variant = plan_variant_exact(b->compiled->plan, b->o->tokens, b->o->batch);
    return rc;
}

/* Of job @job. */
static const struct encoding *texts_of(const struct bench *b, size_t job)
{
    return b->texts + job * b->o->batch;
}

static double *expected_of(const struct bench *b, size_t job)
{
    return b->expected + job * b->o->batch * LABELS;
}

static int expect(const struct bench *b, size_t job, uint64_t *input, struct err *err)
{
    static const uint8_t no_seed[PRG_SEED_BYTES];
    const struct plan *plan = b->compiled->plan;
    int64_t output[PLAN_BATCH_MAX * LABELS];
    uint32_t lengths[PLAN_BATCH_MAX];
    int rc = compile_input(plan, b->variant, texts_of(b, job), input, err);

    input_lengths(b->variant, texts_of(b, job), b->o->batch, lengths);
    if (rc == 0)
        rc = clear_run(plan, b->variant, (const uint64_t *const *)b->compiled->weights, input,
                       lengths, CLEAR_FLOOR, no_seed, NULL, output, err);
    for (size_t i = 0; rc == 0 && i < plan_answers(plan, b->variant); i++)
        expected_of(b, job)[i] = ldexp((double)output[i], -plan->frac);
    return rc;
}

static int make_queries(struct bench *b, struct err *err)
{
    uint64_t random = SEED + 1;
    uint64_t *input = calloc(wire_elements(&b->variant->wires[0]), sizeof(*input));
    size_t jobs = b->o->repeat + 1, count = jobs * b->o->batch;
    int rc = input ? 0 : -ENOMEM;

    b->texts = calloc(count, sizeof(*b->texts));
    b->expected = calloc(count * LABELS, sizeof(*b->expected));
    if (!b->texts || !b->expected)
        rc = -ENOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = draw_tokens(b->o, &random, &b->texts[i]);
    for (size_t i = 0; rc == 0 && i < jobs; i++)
        rc = expect(b, i, input, err);
    free(input);
    return rc;
}

/* --- measuring: in the lab's child, or here --- */

struct measured {
    double *online_ms, *total_ms, *party_ms, *dealer_ms; /* (repeat) each */
    double error_max;
    uint64_t bytes, rounds, upload;
    struct online_stats stats; /* summed over the repetitions */
};

static int run_job(const struct bench *b, size_t job, struct client_figures *ret_figures,
                   struct measured *m, struct err *err)
{
    const struct encoding *texts = texts_of(b, job);
    double logits[PLAN_BATCH_MAX * LABELS];
    int rc = b->pair ? bench_pair_run(b->pair, b->variant, texts, logits, ret_figures, err)
                     : client_run(b->client, texts, b->o->batch, logits, ret_figures, err);

    for (size_t i = 0; rc == 0 && i < b->o->batch * LABELS; i++)
        m->error_max = fmax(m->error_max, fabs(logits[i] - expected_of(b, job)[i]));
    return rc;
}

static void add_stats(struct online_stats *to, const struct online_stats *from)
{
    for (size_t i = 0; i < OP_ID_END; i++) {
        to->kind[i].ns += from->kind[i].ns;
        to->kind[i].bytes += from->kind[i].bytes;
        to->kind[i].rounds += from->kind[i].rounds;
    }
}

/* Tapes in stock at a party, of the one model and variant there is. */
static int count_tapes(const struct bench *b, const char *control, struct err *err)
{
    char socket[PATH_MAX];
    json_t *reply, *tapes;
    int rc = lab_path(b->lab, control, socket, err);

    if (rc == 0)
        rc = tool_ask(socket, "model list", NULL, &reply, err);
    if (rc < 0)
        return rc;
    tapes = json_object_get(json_array_get(json_object_get(reply, "models"), 0), "tapes");
    rc = (int)json_integer_value(json_object_iter_value(json_object_iter(tapes)));
    json_decref(reply);
    return rc;
}

/* A query whose dealer is stopped would wait for a tape for ever. */
static int await_tapes(const struct bench *b, struct err *err)
{
    uint64_t deadline = time_ns() + (uint64_t)TIMEOUT_MS * 1000000;

    while (time_ns() < deadline) {
        int at0 = count_tapes(b, "party0.control", err);
        int at1 = at0 < 0 ? at0 : count_tapes(b, "party1.control", err);

        if (at0 < 0 || at1 < 0)
            return MIN(at0, at1);
        if (at0 && at1)
            return 0;
        usleep(TAPE_STEP_MS * 1000);
    }
    return err_set(err, -ETIMEDOUT, "no tape came in %d ms", TIMEOUT_MS);
}

static void note_online(struct measured *m, size_t i, const struct client_figures *f)
{
    m->online_ms[i] = f->online_ms;
    m->bytes = f->bytes_online;
    m->upload = f->bytes_upload;
    m->rounds = f->rounds_online;
    add_stats(&m->stats, &f->stats);
}

static void note_total(struct measured *m, size_t i, const struct client_figures *f)
{
    m->total_ms[i] = (double)f->wall_ns / 1e6;
    m->party_ms[i] = f->offline_party_ms;
    m->dealer_ms[i] = f->offline_dealer_ms;
}

static int repeat_lab(const struct bench *b, size_t i, struct measured *m, struct err *err)
{
    pid_t dealer = lab_pid(b->lab, ROLE_DEALER);
    struct client_figures f;
    int rc = await_tapes(b, err);

    if (rc == 0)
        rc = lab_settle(b->lab, err);
    if (rc < 0)
        return rc;
    kill(dealer, SIGSTOP);
    rc = run_job(b, i + 1, &f, m, err);
    kill(dealer, SIGCONT);
    if (rc < 0)
        return rc;
    note_online(m, i, &f);
    rc = run_job(b, i + 1, &f, m, err);
    if (rc == 0)
        note_total(m, i, &f);
    return rc;
}

static int repeat_here(const struct bench *b, size_t i, struct measured *m, struct err *err)
{
    struct client_figures f;
    int rc = run_job(b, i + 1, &f, m, err);

    if (rc < 0)
        return rc;
    note_online(m, i, &f);
    note_total(m, i, &f);
    return 0;
}

static json_t *describe_ops(const struct measured *m, size_t repeat_count)
{
    json_t *ops = json_array();

    for (size_t i = 0; i < OP_ID_END; i++) {
        const uint64_t ns = m->stats.kind[i].ns, bytes = m->stats.kind[i].bytes;

        if (!ns && !bytes)
            continue;
        json_array_append_new(ops, json_pack("{s:s, s:f, s:I, s:I}", "kind",
                                             op_kind((unsigned int)i)->name, "ms",
                                             (double)ns / 1e6 / (double)repeat_count, "bytes",
                                             (json_int_t)(bytes / repeat_count), "rounds",
                                             (json_int_t)(m->stats.kind[i].rounds / repeat_count)));
    }
    return ops;
}

/* An exit code. */
static int report(const struct bench *b, struct measured *m)
{
    const struct plan *plan = b->compiled->plan;
    size_t n = b->o->repeat;
    bool correct = m->error_max <= plan->error_bound;
    double online = tool_median(m->online_ms, n);
    char shape[SHAPE_TEXT_SIZE];
    struct cost cost;
    json_t *figures;

    cost_variant(plan, b->variant, &cost, NULL);
    shape_format(&b->o->line, shape);
    figures = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:b, s:f, s:f, s:i, s:i, s:i, "
        "s:i, s:i, s:s, s:s, s:o}",
        "online_ms_median", online, "online_ms_per_query_median", online / b->o->batch,
        "online_ms_min", m->online_ms[0], "total_ms_median", tool_median(m->total_ms, n),
        "offline_party_ms_median", tool_median(m->party_ms, n), "offline_dealer_ms_median",
        tool_median(m->dealer_ms, n), "bytes_online", (json_int_t)m->bytes, "bytes_offline",
        (json_int_t)cost.bytes_tape, "bytes_upload", (json_int_t)m->upload, "rounds_online",
        (json_int_t)m->rounds, "gmac_online", (double)cost.macs_online / 1e9, "correct", correct,
        "error_max", m->error_max, "error_bound", plan->error_bound, "ring", plan->ring, "frac",
        plan->frac, "batch", (int)b->o->batch, "repeat", (int)n, "workers", (int)b->o->workers,
        "link", b->o->memory ? "mem" : "uring", "shape", shape, "ops", describe_ops(m, n));
    if (!figures) {
        fprintf(stderr, "mpcformer: no memory for the result\n");
        return EXIT_FAILED;
    }
    if (b->o->json)
        tool_print_json(stdout, figures);
    else
        tool_print_people(stdout, figures);
    json_decref(figures);
    return correct ? EXIT_OK : EXIT_NEGATIVE;
}

static int measure_all(const struct bench *b, struct measured *m, struct err *err)
{
    struct client_figures f;
    int rc = run_job(b, 0, &f, m, err);

    for (size_t i = 0; rc == 0 && i < b->o->repeat; i++) {
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "mpcformer: repetition %zu of %zu\n", i + 1, b->o->repeat);
        rc = b->pair ? repeat_here(b, i, m, err) : repeat_lab(b, i, m, err);
    }
    return rc;
}

/* An exit code. */
static int measure(const struct bench *b)
{
    size_t n = b->o->repeat;
    double *all = calloc(4 * n, sizeof(*all));
    struct measured m = {
        .online_ms = all, .total_ms = all + n, .party_ms = all + 2 * n, .dealer_ms = all + 3 * n};
    struct err err = {""};
    int rc = all ? measure_all(b, &m, &err) : -ENOMEM;
    int code = rc < 0 ? tool_fail(&err, rc) : report(b, &m);

    free(all);
    return code;
}

/* An exit code. */
static int measure_here(struct bench *b)
{
    struct err err = {""};
    int rc = bench_pair_new(b->compiled, &b->o->line, &b->pair, &err);
    int code = rc < 0 ? tool_fail(&err, rc) : measure(b);

    bench_pair_free(b->pair);
    return code;
}

/* --- the lab --- */

/* In the lab's child: an exit code. */
static int measure_client(void *context)
{
    struct bench *b = context;
    struct config *config = NULL;
    char path[PATH_MAX];
    struct err err = {""};
    int rc = lab_path(b->lab, "owner.conf", path, &err), code;

    if (rc == 0)
        rc = config_load_owner(path, &config, &err);
    if (rc == 0)
        rc = client_new(config, b->compiled->plan, &b->client, &err);
    code = rc < 0 ? tool_fail(&err, rc) : measure(b);
    client_free(b->client);
    config_free(config);
    return code;
}

static int start(struct bench *b, struct err *err)
{
    const struct lab_options options = {
        .tapes = 1, .timeout_ms = TIMEOUT_MS, .workers = b->o->workers, .shape = b->o->shape};
    char model[PATH_MAX];
    int rc = lab_new(NULL, &b->lab, err);

    if (rc == 0)
        rc = lab_path(b->lab, "model", model, err);
    if (rc == 0)
        rc = share_files_write(model, b->compiled, err);
    if (rc == 0)
        rc = lab_start(b->lab, &options, err);
    return rc;
}

/* An exit code. */
static int measure_lab(struct bench *b)
{
    struct err err = {""};
    int rc = start(b, &err);
    int code = rc < 0 ? tool_fail(&err, rc) : lab_run(b->lab, measure_client, b);

    lab_free(b->lab);
    return code;
}

static const char doc[] =
    "Measure a private query of a BERT of this shape, with random weights, on this machine.\v"
    "online_ms is from the proposal of a job until both parties have their share of the answer, "
    "with a tape in stock and the dealer stopped. total_ms is the wall time of a job that finds "
    "nothing in stock: dealing, preparation, online, and the owner's part. offline_* are the "
    "dealer's making of a tape and the slower party's preparation of it. bytes are of the party "
    "that sends more; bytes_offline is party1's tape; bytes_upload is the input, to one party. ops "
    "are means over the repetitions at party0. With --batch all of them are of the whole batch, "
    "but "
    "online_ms_per_query_median. correct: every logit of every query is within error_bound of the "
    "clear executor's.\n\n"
    "With --link mem both parties are threads of this process, pinned to a core each, over sealed "
    "memory: online_ms is then from both having their input and tape until both have their share "
    "of the answer, and total_ms the sum of dealing, the slower party's preparation and that.\n\n"
    "Exit status: 0 correct; 1 not; 2 the command line is wrong; 3 failed.";

int bench_bert(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options o = {.config = {.layers = 2,
                                   .hidden = 128,
                                   .heads = 2,
                                   .vocab = 30522,
                                   .positions_max = PLAN_TOKENS_MAX,
                                   .types = TYPES,
                                   .layer_norm_eps = 1e-12,
                                   .hidden_act = HIDDEN_QUAD,
                                   .softmax_act = SOFTMAX_2QUAD,
                                   .labels = LABELS,
                                   .lower_case = true},
                        .tokens = 128,
                        .batch = 1,
                        .ring = 64,
                        .frac = 16,
                        .repeat = 5,
                        .workers = 1};
    struct bench b = {.o = &o};
    struct err err = {""};
    int code, rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    say("compiling a random model");
    rc = compile_random(&b, &err);
    if (rc == 0) {
        say("computing the right answers in the clear");
        rc = make_queries(&b, &err);
    }
    if (rc < 0) {
        code = tool_fail(&err, rc);
    } else {
        say(o.memory ? "starting both parties here" : "starting party0, party1 and the dealer");
        code = o.memory ? measure_here(&b) : measure_lab(&b);
    }
    free(b.texts);
    free(b.expected);
    compiled_free(b.compiled);
    return code;
}
