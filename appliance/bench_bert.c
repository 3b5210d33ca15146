/*
 * mpcformer bench bert: a private query, or a batch of them, of a BERT of any shape with random
 * weights, in a lab of its own or, with --link mem, in this process (bench_pair.h).
 *
 * In a lab each repetition is two queries with the same tokens. The first finds a tape in stock and
 * the dealer stopped (SIGSTOP): its online time is what a query costs. The second finds nothing in
 * stock and the dealer just set going again: its wall time is what the same query costs with its
 * preparation; meanwhile the dealer makes a third tape, which the next repetition finds in stock.
 * In this process a repetition is one query, whose parts are measured one after the other. At a
 * cell that runs elsewhere a data owner measures: a repetition is one query, and what it took is
 * what the parties and the dealer say. Answers are held against the clear executor's.
 */
#include "appliance/bench_bert.h"
#include "appliance/bench.h"
#include "appliance/bench_memory.h"
#include "appliance/bench_usage.h"
#include "appliance/exit.h"
#include "appliance/input.h"
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

#define TIMEOUT_MS 300000
#define REPEAT_MAX 1000

/* Between two looks at the stock. */
#define TAPE_STEP_MS 20

enum {
    OPTION_LINK = 512,
    OPTION_SHAPE,
    OPTION_CONFIG,
    OPTION_MODEL,
    OPTION_SOCKET,
    OPTION_PAUSE,
    OPTION_WRITE
};

static const struct argp_option option_table[] = {
    {"link", OPTION_LINK, "DRIVER", 0,
     "uring or dpdk: three processes in a lab; mem: both parties in this process (uring)", 0},
    {"shape", OPTION_SHAPE, "LINE", 0,
     "Impose a line on the link: its rate, its delay one way or both, as in 10gbit,20us", 0},
    {"write", OPTION_WRITE, "DIR", 0,
     "Measure nothing: write the model into DIR, as `mpcformer share` does, for operators to load",
     0},
    {"config", OPTION_CONFIG, "FILE", 0,
     "Measure as the data owner of this configuration, at a cell that runs and has loaded what "
     "--write wrote",
     0},
    {"model", OPTION_MODEL, "DIR", 0,
     "With --config: the folder client/ of that model (the configuration's `model`)", 0},
    {"socket", OPTION_SOCKET, "PATH", 0,
     "With --config: the control socket of an appliance that may be asked what it runs on; up to "
     "three times",
     0},
    {"pause", OPTION_PAUSE, "MS", 0,
     "With --config: between queries (twice as long as a tape takes to make)", 0},
    {"repeat", 'n', "N", 0, "Repetitions (5)", 0},
    {"workers", 'w', "N", 0,
     "Threads that each party works with, on CPUs of their own where there are enough (1)", 0},
    TOOL_OPTION_JSON,
    {0},
};

static void take_link(struct argp_state *state, struct bench_options *o, const char *text)
{
    o->memory = strcmp(text, "mem") == 0;
    if (!o->memory && config_link_parse(text, &o->link) < 0)
        argp_error(state, "--link %s: there are mem, uring and dpdk", text);
}

static void take_shape(struct argp_state *state, struct bench_options *o, const char *text)
{
    struct err err = {""};

    if (shape_parse(text, &o->shape, &err) < 0)
        argp_error(state, "--shape %s: %s", text, err.text);
    o->shape_text = text;
}

static void take_socket(struct argp_state *state, struct bench_options *o, const char *path)
{
    if (o->socket_count == BENCH_SOCKETS_MAX)
        argp_error(state, "--socket %s: a cell has %d appliances", path, BENCH_SOCKETS_MAX);
    o->sockets[o->socket_count++] = path;
}

/* What goes together. */
static void check(struct argp_state *state, const struct bench_options *o)
{
    bool here = o->memory || o->link != CONFIG_LINK_URING || o->shape_text || o->workers != 1;

    if (shape_faulty(&o->shape) && (o->memory || o->link != CONFIG_LINK_DPDK))
        argp_error(state, "--shape %s: only --link dpdk has packets to lose", o->shape_text);
    if ((o->config || o->write) && here)
        argp_error(state, "--link, --shape and --workers are of a lab: a cell that runs has its "
                          "own in its configurations");
    if (o->config && (o->write || o->model.said))
        argp_error(state, "--config measures the model that --model names: shape it with --write");
    if (!o->config && (o->folder || o->socket_count || o->pause_ms != BENCH_PAUSE_AUTO))
        argp_error(state, "--model, --socket and --pause go with --config");
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct bench_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case OPTION_LINK:
        take_link(state, o, text);
        return 0;
    case OPTION_SHAPE:
        take_shape(state, o, text);
        return 0;
    case OPTION_WRITE:
        o->write = text;
        return 0;
    case OPTION_CONFIG:
        o->config = text;
        return 0;
    case OPTION_MODEL:
        o->folder = text;
        return 0;
    case OPTION_SOCKET:
        take_socket(state, o, text);
        return 0;
    case OPTION_PAUSE:
        o->pause_ms = (unsigned int)bench_number(state, "pause", text, 0, TIMEOUT_MS);
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
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return bench_option_none(key, text, state);
    }
}

static void say(const char *what)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "mpcformer: %s\n", what);
}

/* --- the model and the right answers --- */

static int compile_random(struct bench *b, struct err *err)
{
    struct encoding samples[BENCH_MODEL_SAMPLES];
    const struct trial_options trial = {
        .samples = samples, .sample_count = BENCH_MODEL_SAMPLES, .random_runs = 1};
    struct checkpoint *checkpoint = NULL;
    struct trial report;
    int rc = bench_memory_check_weights(&b->o->model.config, err);

    if (rc == 0)
        rc = bench_model_make(&b->o->model, &checkpoint, samples, err);
    if (rc == 0)
        rc = bench_model_compile(&b->o->model, checkpoint, samples, 0, &b->compiled, err);
    checkpoint_free(checkpoint);
    if (rc < 0)
        return rc;
    b->variant = plan_variant_exact(b->compiled->plan, b->o->model.tokens, b->o->model.length,
                                    b->o->model.batch);
    rc = bench_memory_check(b->compiled, b->variant, !b->o->memory, err);
    if (rc < 0)
        return rc;
    return b->plan ? bench_model_adopt(b->compiled, b->plan, err)
                   : trial_run(b->compiled, &trial, &report, err);
}

/* Of job @job. */
static const struct encoding *texts_of(const struct bench *b, size_t job)
{
    return b->texts + job * b->o->model.batch;
}

static double *expected_of(const struct bench *b, size_t job)
{
    return b->expected + job * b->o->model.batch * BENCH_MODEL_LABELS;
}

static int expect(const struct bench *b, size_t job, uint64_t *input, struct err *err)
{
    static const uint8_t no_seed[PRG_SEED_BYTES];
    const struct plan *plan = b->compiled->plan;
    int64_t *output = calloc(plan_answers(plan, b->variant), sizeof(*output));
    uint32_t lengths[PLAN_BATCH_MAX];
    int rc = output ? compile_input(plan, b->variant, texts_of(b, job), input, err) : -ENOMEM;

    input_lengths(b->variant, texts_of(b, job), b->o->model.batch, lengths);
    if (rc == 0)
        rc = clear_run(plan, b->variant, (const uint64_t *const *)b->compiled->weights, input,
                       lengths, CLEAR_FLOOR, no_seed, NULL, output, err);
    for (size_t i = 0; rc == 0 && i < b->o->model.batch * BENCH_MODEL_LABELS; i++)
        expected_of(b, job)[i] = ldexp((double)output[i], -plan->frac);
    free(output);
    return rc;
}

static int make_queries(struct bench *b, struct err *err)
{
    uint64_t random = BENCH_MODEL_SEED + 1;
    uint64_t *input = calloc(variant_input_words(b->variant), sizeof(*input));
    size_t jobs = b->o->repeat + 1, count = jobs * b->o->model.batch;
    int rc = input ? 0 : -ENOMEM;

    b->texts = calloc(count, sizeof(*b->texts));
    b->expected = calloc(count * BENCH_MODEL_LABELS, sizeof(*b->expected));
    if (!b->texts || !b->expected)
        rc = -ENOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = bench_model_tokens(&b->o->model, &random, &b->texts[i]);
    for (size_t i = 0; rc == 0 && i < jobs; i++)
        rc = expect(b, i, input, err);
    free(input);
    return rc;
}

/* --- measuring: in the lab's child, or here --- */

static int run_job(const struct bench *b, size_t job, struct client_figures *ret_figures,
                   struct measured *m, struct err *err)
{
    const struct encoding *texts = texts_of(b, job);
    double logits[PLAN_BATCH_MAX * BENCH_MODEL_LABELS];
    int rc = b->pair ? bench_pair_run(b->pair, b->variant, texts, logits, ret_figures, err)
                     : client_run(b->client, texts, b->o->model.batch, b->o->model.length, logits,
                                  ret_figures, err);

    for (size_t i = 0; rc == 0 && i < b->o->model.batch * BENCH_MODEL_LABELS; i++)
        m->error_max = fmax(m->error_max, fabs(logits[i] - expected_of(b, job)[i]));
    for (size_t i = 0; rc == 0 && i < b->o->model.batch; i++)
        m->outside += ret_figures->outside[i] != NULL;
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

/* Until a tape is in stock and nobody has anything left to do. */
static int await_rest(const struct bench *b, struct bench_usage *ret_usage, struct err *err)
{
    int rc = await_tapes(b, err);

    if (rc == 0)
        rc = lab_settle(b->lab, err);
    return rc < 0 ? rc : bench_usage_read(b->lab, ret_usage, err);
}

static void note_spent(struct measured *m, size_t i, const struct bench_usage usage[3])
{
    struct bench_spent spent;

    bench_usage_spent(&usage[0], &usage[1], &usage[2], &spent);
    m->online_cpu_ms[i] = spent.online_cpu_ms;
    m->prepare_cpu_ms[i] = spent.prepare_cpu_ms;
    m->deal_cpu_ms[i] = spent.deal_cpu_ms;
    m->party_bytes = spent.party_bytes;
    m->tape_bytes = spent.tape_bytes;
}

static int repeat_lab(const struct bench *b, size_t i, struct measured *m, struct err *err)
{
    pid_t dealer = lab_pid(b->lab, ROLE_DEALER);
    struct bench_usage usage[3];
    struct client_figures f;
    int rc = await_rest(b, &usage[0], err);

    if (rc < 0)
        return rc;
    kill(dealer, SIGSTOP);
    rc = run_job(b, i + 1, &f, m, err);
    if (rc == 0)
        rc = lab_settle(b->lab, err);
    if (rc == 0)
        rc = bench_usage_read(b->lab, &usage[1], err);
    kill(dealer, SIGCONT);
    if (rc < 0)
        return rc;
    note_online(m, i, &f);
    rc = run_job(b, i + 1, &f, m, err);
    if (rc == 0)
        rc = await_rest(b, &usage[2], err);
    if (rc < 0)
        return rc;
    note_total(m, i, &f);
    note_spent(m, i, usage);
    return 0;
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

static void note_cell(struct measured *m, size_t i, const struct client_figures *f)
{
    note_online(m, i, f);
    note_total(m, i, f);
    m->total_ms[i] = f->online_ms + f->offline_party_ms + f->offline_dealer_ms;
    m->wall_ms[i] = (double)f->wall_ns / 1e6;
}

/* The stock is not to be seen from here: it fills up, and then nobody works, in a while. */
static void rest(const struct bench *b, const struct client_figures *last)
{
    double ms = 2 * (last->offline_party_ms + last->offline_dealer_ms);

    if (b->o->pause_ms != BENCH_PAUSE_AUTO)
        ms = b->o->pause_ms;
    usleep((useconds_t)(MIN(ms, (double)TIMEOUT_MS) * 1e3));
}

static int repeat_cell(const struct bench *b, size_t i, struct client_figures *f,
                       struct measured *m, struct err *err)
{
    int rc;

    rest(b, f);
    rc = run_job(b, i + 1, f, m, err);
    if (rc == 0)
        note_cell(m, i, f);
    return rc;
}

static int measure_all(const struct bench *b, struct measured *m, struct err *err)
{
    struct client_figures f;
    int rc = run_job(b, 0, &f, m, err);

    for (size_t i = 0; rc == 0 && i < b->o->repeat; i++) {
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "mpcformer: repetition %zu of %zu\n", i + 1, b->o->repeat);
        if (b->lab)
            rc = repeat_lab(b, i, m, err);
        else
            rc = b->pair ? repeat_here(b, i, m, err) : repeat_cell(b, i, &f, m, err);
    }
    return rc;
}

/* An exit code. */
static int measure(const struct bench *b)
{
    size_t n = b->o->repeat;
    double *all = calloc(8 * n, sizeof(*all));
    struct measured m = {.online_ms = all,
                         .total_ms = all + n,
                         .party_ms = all + 2 * n,
                         .dealer_ms = all + 3 * n,
                         .online_cpu_ms = all + 4 * n,
                         .prepare_cpu_ms = all + 5 * n,
                         .deal_cpu_ms = all + 6 * n,
                         .wall_ms = all + 7 * n};
    struct err err = {""};
    int rc = all ? measure_all(b, &m, &err) : -ENOMEM;
    int code = rc < 0 ? tool_fail(&err, rc) : bench_bert_report(b, &m);

    free(all);
    return code;
}

/* An exit code. */
static int measure_here(struct bench *b)
{
    struct err err = {""};
    int rc = bench_pair_new(b->compiled, &b->o->shape, &b->pair, &err);
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
    const struct lab_options options = {.tapes = 1,
                                        .timeout_ms = TIMEOUT_MS,
                                        .workers = b->o->workers,
                                        .link = b->o->link,
                                        .shape = b->o->shape_text};
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

/* --- a cell that runs --- */

/* An exit code. */
static int measure_cell(struct bench *b, const struct config *config)
{
    struct err err = {""};
    int rc = client_new(config, b->compiled->plan, &b->client, &err);
    int code = rc < 0 ? tool_fail(&err, rc) : measure(b);

    client_free(b->client);
    return code;
}

/* The owner's configuration, and the model that is to be measured. */
static int read_cell(struct bench *b, struct bench_options *o, struct config **ret_config,
                     struct err *err)
{
    struct config *config;
    int rc = config_load_owner(o->config, &config, err);

    if (rc < 0)
        return rc;
    rc = bench_model_read(o->folder ? o->folder : config->model, &o->model, &b->plan, err);
    if (rc < 0)
        config_free(config);
    else
        *ret_config = config;
    return rc;
}

/* An exit code. */
static int write_model(const struct bench *b)
{
    struct err err = {""};
    int rc = bench_model_write(&b->o->model, b->o->write, b->compiled, &err);

    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}

/* An exit code. */
static int work(struct bench *b, const struct config *config)
{
    if (b->o->write)
        return write_model(b);
    if (config) {
        say("asking the cell");
        return measure_cell(b, config);
    }
    say(b->o->memory ? "starting both parties here" : "starting party0, party1 and the dealer");
    return b->o->memory ? measure_here(b) : measure_lab(b);
}

static const char doc[] =
    "Measure a private query of a BERT of this shape, with random weights, on this machine or, "
    "with --config, at a cell that runs.\v"
    "online_ms is from the proposal of a job until both parties have their share of the answer, "
    "with a tape in stock and the dealer stopped. total_ms is the wall time of a job that finds "
    "nothing in stock: dealing, preparation, online, and the owner's part. offline_* are the "
    "dealer's making of a tape and the slower party's preparation of it. bytes are of the party "
    "that sends more; bytes_offline is party1's tape; bytes_upload is the input, to one party. ops "
    "are means over the repetitions at "
    "party0. *_cpu_ms are CPU time of a process, the larger of both parties': of the query, of "
    "the preparation of a tape, of the dealer's making of one. party_rss_bytes is what a party "
    "has resident with a tape in stock, tape_bytes_memory the tape's part of it. correct: every "
    "logit of every query is within error_bound of the clear executor's. With --batch all of this "
    "is of the whole batch, but online_ms_per_query_median.\n\n"
    "With --link mem both parties are threads of this process, pinned to a core each, over sealed "
    "memory: online_ms is then from both having their input and tape until both have their share "
    "of the answer, and total_ms the sum of dealing, the slower party's preparation and that.\n\n"
    "With --config the parties and the dealer are those of an owner's configuration, wherever they "
    "are; their operators have loaded plan and shares of a model that --write wrote. online_ms and "
    "offline_* are what they say, total_ms is the sum of the three, and wall_ms is what the owner "
    "sees, tokens to logits. A tape is in stock when a query comes unless --pause is too short. "
    "host and nic are this machine's, appliances what those say whose --socket is given.\n\n"
    "Exit status: 0 correct; 1 not; 2 the command line is wrong; 3 failed.";

int bench_bert(int argc, char **argv)
{
    static const struct argp_child children[] = {{&bench_model_argp, 0, "The model:", -1}, {0}};
    static const struct argp argp = {option_table, take_option, NULL, doc, children};
    struct bench_options o = {
        .model = bench_model_default, .repeat = 5, .workers = 1, .pause_ms = BENCH_PAUSE_AUTO};
    struct bench b = {.o = &o};
    struct config *config = NULL;
    struct err err = {""};
    int code, rc = 0;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    if (o.config)
        rc = read_cell(&b, &o, &config, &err);
    if (rc == 0) {
        say("compiling a random model");
        rc = compile_random(&b, &err);
    }
    if (rc == 0 && !o.write) {
        say("computing the right answers in the clear");
        rc = make_queries(&b, &err);
    }
    code = rc < 0 ? tool_fail(&err, rc) : work(&b, config);
    free(b.texts);
    free(b.expected);
    compiled_free(b.compiled);
    plan_free(b.plan);
    config_free(config);
    return code;
}
