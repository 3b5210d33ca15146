/*
 * mpcformer bench load: questions that come when they come (Poisson, at one rate after the other),
 * whoever is still waiting. A latency counts from the moment at which its question came, not from
 * when a session was free for it, so that a cell that falls behind shows it (what is called
 * coordinated omission would hide it). Each client is a thread with a data owner's sessions.
 *
 * Without a rate every client asks again as soon as it has its answer: what the cell can do.
 */
#include "appliance/bench.h"
#include "appliance/exit.h"
#include "appliance/owner.h"
#include "appliance/report.h"
#include "appliance/tool.h"
#include "base/histogram.h"
#include "base/secret.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define RATES_MAX   32
#define SECONDS_MAX 86400
#define SEED        1
#define RETRY_MS    100 /* at no rate: who is refused comes again after that */

/* Of the words that a question is made of; the labels do not matter. */
static const char *const texts[] = {
    "a film that I will not forget",
    "two hours of my life that I want back",
    "warm and funny",
    "the plot is thin and the jokes are old",
    "everybody in it is having a ball",
    "dull",
    "a small masterpiece",
    "it tries hard, and that is all",
};

/* A rate of questions. */
struct rate {
    enum { RATE_MAX, RATE_PER_S, RATE_PERCENT /* of what RATE_MAX gave before */ } kind;
    double value;
};

struct options {
    const char *config, *page;
    struct rate rates[RATES_MAX];
    size_t rate_count, clients;
    unsigned int seconds;
    bool json;
};

/* From idle to twice what the cell can do. */
static const char sweep[] = "max,10%,25%,50%,75%,90%,100%,125%,150%,200%";

enum { OPTION_RATE = 256, OPTION_SWEEP, OPTION_SECONDS, OPTION_CLIENTS, OPTION_PAGE };

static const struct argp_option option_table[] = {
    {"config", 'c', "FILE", 0, "The owner's configuration (default: $" TOOL_CONFIG_VARIABLE ")", 0},
    {"rate", OPTION_RATE, "R,...", 0,
     "Questions a second, one rate after the other; max: each client asks again at once; N%: of "
     "what "
     "max gave before it (max)",
     0},
    {"sweep", OPTION_SWEEP, NULL, 0, "--rate max and ten to two hundred percent of it", 0},
    {"seconds", OPTION_SECONDS, "N", 0, "For as long, each rate (10)", 0},
    {"clients", OPTION_CLIENTS, "N", 0,
     "Sessions that questions wait for; a party serves 16 at once, and refuses more (8)", 0},
    {"page", OPTION_PAGE, "FILE", 0, "Draw it too, as `mpcformer report --load` does", 0},
    TOOL_OPTION_JSON_OF("Print one JSON object a rate, each on one line"),
    {0},
};

static bool read_rate(const char *word, struct rate *ret)
{
    char *end;

    *ret = (struct rate){RATE_MAX, 0};
    if (strcmp(word, "max") == 0)
        return true;
    ret->value = strtod(word, &end);
    ret->kind = end != word && strcmp(end, "%") == 0 ? RATE_PERCENT : RATE_PER_S;
    return end != word && (ret->kind == RATE_PERCENT || !*end) && ret->value > 0 &&
           ret->value <= 1e6;
}

static void take_rates(struct argp_state *state, struct options *o, const char *list)
{
    char *words = strdupa(list), *word;
    bool measured = false;

    o->rate_count = 0;
    while ((word = strsep(&words, ","))) {
        struct rate rate;

        if (!read_rate(word, &rate))
            argp_error(state, "--rate %s: questions a second, up to a million, N%%, or max", word);
        else if (rate.kind == RATE_PERCENT && !measured)
            argp_error(state, "--rate %s: of what? max has to stand before it", word);
        else if (o->rate_count == RATES_MAX)
            argp_error(state, "--rate: at most %d", RATES_MAX);
        else
            o->rates[o->rate_count++] = rate;
        measured |= rate.kind == RATE_MAX;
    }
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'c':
        o->config = text;
        return 0;
    case OPTION_RATE:
        take_rates(state, o, text);
        return 0;
    case OPTION_SWEEP:
        take_rates(state, o, sweep);
        return 0;
    case OPTION_PAGE:
        o->page = text;
        return 0;
    case OPTION_SECONDS:
        o->seconds = (unsigned int)bench_number(state, "seconds", text, 1, SECONDS_MAX);
        return 0;
    case OPTION_CLIENTS:
        o->clients = bench_number(state, "clients", text, 1, CLIENTS_MAX);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    default:
        return bench_option_none(key, text, state);
    }
}

/* --- one rate --- */

struct outcome {
    struct histogram latency; /* of what was answered, from when it came */
    struct histogram online;
    uint64_t refused, failed;
    struct err err; /* the first reason */
};

struct load {
    const struct options *options;
    double rate;
    uint64_t start_ns, end_ns;

    /* When the next question comes: whoever takes it moves it on. */
    pthread_mutex_t lock;
    uint64_t next_ns, random;
};

struct client_thread {
    struct load *load;
    struct owner owner;
    struct verdict verdict;
    struct outcome outcome;
    size_t number;
    pthread_t thread;
    bool there;
};

/* The moment of a question, or 0 when no more come. */
static uint64_t next_question(struct load *l)
{
    uint64_t at;

    if (l->rate == 0) {
        at = time_ns();
        return at < l->end_ns ? at : 0;
    }
    pthread_mutex_lock(&l->lock);
    at = l->next_ns;
    if (at < l->end_ns) {
        double uniform = (double)((bench_random(&l->random) >> 11) + 1) * 0x1p-53;

        l->next_ns += (uint64_t)(-log(uniform) / l->rate * 1e9);
    }
    pthread_mutex_unlock(&l->lock);
    return at < l->end_ns ? at : 0;
}

static void sleep_until(uint64_t at_ns)
{
    const struct timespec at = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static bool is_refusal(int rc)
{
    return rc == -EREMOTEIO || rc == -EAGAIN;
}

static void note(struct outcome *o, uint64_t came_ns, const struct verdict *v, int rc,
                 const struct err *err)
{
    if (rc == 0) {
        histogram_add(&o->latency, time_ns() - came_ns);
        histogram_add(&o->online, (uint64_t)(v->figures.online_ms * 1e6));
        return;
    }
    if (is_refusal(rc))
        o->refused++;
    else
        o->failed++;
    if (!o->err.text[0])
        o->err = *err;
}

static void *ask(void *context)
{
    struct client_thread *c = context;
    uint64_t at;

    for (size_t i = c->number; (at = next_question(c->load)) != 0; i++) {
        struct err err = {""};
        int rc;

        sleep_until(at);
        rc = owner_classify(&c->owner, texts[i % ARRAY_LENGTH(texts)], NULL, &c->verdict, &err);
        note(&c->outcome, at, &c->verdict, rc, &err);
        if (is_refusal(rc) && c->load->rate == 0)
            usleep(RETRY_MS * 1000);
    }
    return NULL;
}

static void add_outcome(struct outcome *to, const struct outcome *from)
{
    histogram_merge(&to->latency, &from->latency);
    histogram_merge(&to->online, &from->online);
    to->refused += from->refused;
    to->failed += from->failed;
    if (!to->err.text[0])
        to->err = from->err;
}

static int run_rate(const struct options *o, struct client_thread clients[], double rate,
                    struct outcome *ret, double *ret_seconds)
{
    struct load load = {.options = o, .rate = rate, .random = SEED};
    int rc = 0;

    pthread_mutex_init(&load.lock, NULL);
    load.start_ns = load.next_ns = time_ns();
    load.end_ns = load.start_ns + (uint64_t)o->seconds * 1000000000u;
    for (size_t i = 0; i < o->clients; i++) {
        clients[i].load = &load;
        clients[i].outcome = (struct outcome){.refused = 0};
    }
    for (size_t i = 0; rc == 0 && i < o->clients; i++) {
        rc = -pthread_create(&clients[i].thread, NULL, ask, &clients[i]);
        clients[i].there = rc == 0;
    }
    for (size_t i = 0; i < o->clients; i++) {
        if (!clients[i].there)
            continue;
        pthread_join(clients[i].thread, NULL);
        clients[i].there = false;
        add_outcome(ret, &clients[i].outcome);
    }
    *ret_seconds = (double)(time_ns() - load.start_ns) / 1e9;
    pthread_mutex_destroy(&load.lock);
    return rc;
}

/* --- what it prints --- */

static json_t *milliseconds(const struct histogram *h)
{
    static const struct {
        const char *name;
        unsigned int permille;
    } quantiles[] = {{"p50", 500}, {"p90", 900}, {"p99", 990}, {"p999", 999}};
    json_t *of = json_object();

    for (size_t i = 0; i < ARRAY_LENGTH(quantiles); i++)
        json_object_set_new(
            of, quantiles[i].name,
            h->count ? json_real((double)histogram_quantile(h, quantiles[i].permille) / 1e6)
                     : json_null());
    return of;
}

/* The row of a rate; @peak_per_s is the most that was answered at any rate up to this one. */
static json_t *describe(const struct options *o, double rate, const struct outcome *t,
                        double seconds, double *peak_per_s)
{
    double answered_per_s = (double)t->latency.count / seconds;
    json_t *line = json_object();

    *peak_per_s = fmax(*peak_per_s, answered_per_s);
    json_object_set_new(line, "offered_per_s", rate > 0 ? json_real(rate) : json_null());
    json_object_set_new(line, "answered_per_s", json_real(answered_per_s));
    json_object_set_new(line, "of_peak",
                        *peak_per_s > 0 ? json_real(answered_per_s / *peak_per_s) : json_null());
    json_object_set_new(line, "answered", json_integer((json_int_t)t->latency.count));
    json_object_set_new(line, "refused", json_integer((json_int_t)t->refused));
    json_object_set_new(line, "failed", json_integer((json_int_t)t->failed));
    json_object_set_new(line, "latency_ms", milliseconds(&t->latency));
    json_object_set_new(line, "online_ms", milliseconds(&t->online));
    json_object_set_new(line, "clients", json_integer((json_int_t)o->clients));
    json_object_set_new(line, "seconds", json_real(seconds));
    if (t->err.text[0])
        json_object_set_new(line, "reason", json_string(t->err.text));
    return line;
}

static int open_clients(const struct options *o, const char *path, struct client_thread clients[],
                        struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < o->clients; i++) {
        clients[i].number = i;
        struct err why = {""};

        rc = owner_open(path, false, NULL, &clients[i].owner, err);
        if (rc == 0)
            rc = verdict_new(&clients[i].owner, &clients[i].verdict, err);
        if (rc < 0)
            break;
        /* Whoever is one too many tries again when it has a question; its refusals are counted. */
        rc = client_connect(clients[i].owner.client, &why);
        rc = i > 0 && is_refusal(rc) ? 0 : rc;
        if (rc < 0)
            err_set(err, rc, "%s", err_text(&why, rc));
    }
    return rc;
}

/* One rate after the other, each printed when it is done. */
static int run_rates(const struct options *o, struct client_thread clients[], json_t *rows,
                     bool *ret_failed)
{
    double saturation = 0, peak = 0;

    for (size_t i = 0; i < o->rate_count; i++) {
        struct outcome total = {.refused = 0};
        const struct rate *at = &o->rates[i];
        double seconds, rate = at->kind == RATE_PERCENT ? at->value / 100 * saturation : at->value;
        json_t *row;
        int rc = run_rate(o, clients, rate, &total, &seconds);

        if (rc < 0)
            return rc;
        if (at->kind == RATE_MAX)
            saturation = fmax((double)total.latency.count / seconds, 1e-3);
        row = describe(o, rate, &total, seconds, &peak);
        (o->json ? tool_print_json : tool_print_people)(stdout, row);
        fflush(stdout);
        json_array_append_new(rows, row);
        *ret_failed |= total.failed > 0;
    }
    return 0;
}

static int run(const struct options *o, bool *ret_failed, struct err *err)
{
    struct client_thread *clients = calloc(o->clients, sizeof(*clients));
    struct report report = {.load = json_array()};
    const char *path;
    int rc = clients ? owner_config_path(o->config, &path, err) : -ENOMEM;

    if (rc == 0)
        rc = open_clients(o, path, clients, err);
    if (rc == 0)
        rc = run_rates(o, clients, report.load, ret_failed);
    if (rc == 0 && o->page)
        rc = report_write(&report, o->page, err);
    json_decref(report.load);
    for (size_t i = 0; clients && i < o->clients; i++) {
        verdict_free(&clients[i].verdict);
        owner_close(&clients[i].owner);
    }
    free(clients);
    return rc;
}

static const char doc[] =
    "Ask a cell at one rate after the other, and say how long answers took.\v"
    "Questions come at random (Poisson), whether earlier ones were answered or not; latency counts "
    "from then, so it has the wait for one of the --clients. A rate ends when all its questions "
    "were answered, refused or lost. answered_per_s is over all that time, of_peak what part that "
    "is of "
    "the most that was answered at a rate so far.\n\n"
    "    mpcformer lab -- mpcformer bench load --rate max,5,10,20\n"
    "    mpcformer lab -- mpcformer bench load --sweep --page load.html\n\n"
    "Exit status: 0 measured, and none was lost (refused ones are counted); 1 a question failed; 2 "
    "the command line is wrong; 3 the cell cannot be asked.";

int bench_load(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options o = {.rate_count = 1, .seconds = 10, .clients = 8};
    struct err err = {""};
    bool failed = false;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rc = run(&o, &failed, &err);
    if (rc < 0)
        return tool_fail(&err, rc);
    return failed ? EXIT_NEGATIVE : EXIT_OK;
}
