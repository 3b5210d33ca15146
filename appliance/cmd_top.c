/* mpcformer top: what appliances are doing, again and again, on a terminal. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/tool.h"

#include <argp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS_MAX 16
#define BAR_WIDTH   40

struct options {
    const char *sockets[SOCKETS_MAX];
    size_t socket_count;
    double interval_s;
    unsigned long count; /* 0: until it is interrupted */
};

/* An appliance as it was told of last, and before. */
struct seen {
    json_t *now, *before;
    uint64_t now_ns, before_ns;
    char name[32];
};

static const struct argp_option option_table[] = {
    TOOL_OPTION_SOCKET_OF("An appliance's control socket; may be given for several"),
    {"interval", 'i', "SECONDS", 0, "Between two looks (1)", 0},
    {"count", 'c', "N", 0, "Looks, then end (until interrupted)", 0},
    {0},
};

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *o = state->input;
    char *end;

    switch (key) {
    case 's':
        if (o->socket_count == SOCKETS_MAX)
            argp_error(state, "--socket: at most %d", SOCKETS_MAX);
        o->sockets[o->socket_count++] = argument;
        return 0;
    case 'i':
        o->interval_s = strtod(argument, &end);
        if (*end || end == argument || !(o->interval_s >= 0.1 && o->interval_s <= 3600))
            argp_error(state, "--interval %s: 0.1 to 3600 seconds", argument);
        return 0;
    case 'c':
        o->count = strtoul(argument, &end, 10);
        if (*end || end == argument || *argument == '-' || !o->count)
            argp_error(state, "--count %s: 1 or more", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- differences --- */

static double number(const json_t *from, const char *outer, const char *inner)
{
    const json_t *at = outer ? json_object_get(from, outer) : from;

    return json_number_value(json_object_get(at, inner));
}

/* A second; 0 at the first look, and when the process began anew. */
static double rate(const struct seen *s, const char *outer, const char *inner)
{
    double more = number(s->now, outer, inner) - number(s->before, outer, inner);

    return s->before && more > 0 ? more * 1e9 / (double)(s->now_ns - s->before_ns) : 0;
}

/* Of bucket @i of the histogram of online times: since the look before, or in all at the first. */
static double fell_in(const struct seen *s, size_t i)
{
    const json_t *now = json_object_get(json_object_get(s->now, "online_histogram"), "below");
    const json_t *old = json_object_get(json_object_get(s->before, "online_histogram"), "below");
    double count = json_number_value(json_array_get(now, i)) -
                   (i ? json_number_value(json_array_get(now, i - 1)) : 0);

    count -= json_number_value(json_array_get(old, i)) -
             (i ? json_number_value(json_array_get(old, i - 1)) : 0);
    return count > 0 ? count : 0;
}

static const json_t *bounds_of(const struct seen *s)
{
    return json_object_get(json_object_get(s->now, "online_histogram"), "bounds_s");
}

/* The upper bound in ms of the bucket that holds the @part of all jobs; 0: there are none. */
static double quantile_ms(const struct seen *s, double part)
{
    const json_t *bounds = bounds_of(s);
    double all = 0, at = 0;

    for (size_t i = 0; i < json_array_size(bounds); i++)
        all += fell_in(s, i);
    for (size_t i = 0; all > 0 && i < json_array_size(bounds); i++) {
        at += fell_in(s, i);
        if (at >= part * all)
            return 1e3 * json_number_value(json_array_get(bounds, i));
    }
    return 0;
}

/* --- on the screen --- */

static void print_party(const struct seen *s)
{
    printf("%8.1f %7.0f %6.0f %8.1f %8.1f %6.0f %9.2f %7.0f %7.0f", rate(s, NULL, "jobs_done"),
           number(s->now, NULL, "jobs_waiting"), number(s->now, NULL, "jobs_failed"),
           quantile_ms(s, 0.5), quantile_ms(s, 0.99), number(s->now, NULL, "tapes"),
           rate(s, "link", "sent_wire_bytes") / 1e6, 100 * rate(s, "threads_cpu_s", "online"),
           100 * rate(s, "threads_cpu_s", "worker"));
}

static void print_dealer(const struct seen *s)
{
    const json_t *models = json_object_get(s->now, "models"),
                 *old = json_object_get(s->before, "models");
    double dealt = 0;

    for (size_t i = 0; i < json_array_size(models); i++)
        dealt += number(json_array_get(models, i), NULL, "tapes_dealt");
    for (size_t i = 0; i < json_array_size(old); i++)
        dealt -= number(json_array_get(old, i), NULL, "tapes_dealt");
    printf("%.1f tapes dealt a second, dealing %.0f %% of a core",
           s->before && dealt > 0 ? dealt * 1e9 / (double)(s->now_ns - s->before_ns) : 0,
           100 * rate(s, "threads_cpu_s", "dealing"));
}

static void print_bars(const struct seen *s)
{
    const json_t *bounds = bounds_of(s);
    double most = 0;

    for (size_t i = 0; i < json_array_size(bounds); i++)
        most = MAX(most, fell_in(s, i));
    for (size_t i = 0; i < json_array_size(bounds); i++) {
        double count = fell_in(s, i), upper = json_number_value(json_array_get(bounds, i));
        int width = most > 0 ? (int)(count / most * BAR_WIDTH + 0.5) : 0;

        if (count > 0)
            printf("  online < %8.1f ms %6.0f %.*s\n", 1e3 * upper, count, MAX(width, 1),
                   "########################################");
    }
}

static void print_one(const struct seen *s, const struct err *err)
{
    const char *state = json_string_value(json_object_get(s->now, "state"));
    bool dealer = !json_object_get(s->now, "jobs_done");

    printf("%-8.31s ", s->name);
    if (!s->now) {
        printf("%s\n", err->text);
        return;
    }
    (dealer ? print_dealer : print_party)(s);
    printf("\n  %s%s\n",
           json_is_true(json_object_get(s->now, "ready")) ? "" : "NOT READY: ", state ? state : "");
    if (!dealer)
        print_bars(s);
}

static void look(const char *socket, struct seen *s, struct err *err)
{
    const char *role;

    json_decref(s->before);
    s->before = s->now;
    s->before_ns = s->now_ns;
    s->now = NULL;
    if (tool_ask(socket, "status", NULL, &s->now, err) < 0) {
        /* Another process answers next time, if one does. */
        json_decref(s->before);
        s->before = NULL;
        return;
    }
    s->now_ns = time_ns();
    role = json_string_value(json_object_get(s->now, "role"));
    snprintf(s->name, sizeof(s->name), "%s", role ? role : "?");
}

static void look_at_all(const struct options *o, struct seen seen[], bool clear)
{
    char now[32];
    time_t t = time(NULL);
    struct tm tm;

    strftime(now, sizeof(now), "%H:%M:%S", localtime_r(&t, &tm));
    if (clear)
        fputs("\033[H\033[J", stdout);
    printf("%-8s %8s %7s %6s %8s %8s %6s %9s %7s %7s\n", now, "jobs/s", "waiting", "failed",
           "p50 ms", "p99 ms", "tapes", "link MB/s", "online%", "worker%");
    for (size_t i = 0; i < o->socket_count; i++) {
        struct err err = {""};

        look(o->sockets[i], &seen[i], &err);
        print_one(&seen[i], &err);
    }
    putchar('\n');
    fflush(stdout);
}

static void wait_s(double s)
{
    struct timespec t = {.tv_sec = (time_t)s};

    t.tv_nsec = (long)((s - (double)t.tv_sec) * 1e9);
    nanosleep(&t, NULL);
}

int cmd_top(int argc, char **argv)
{
    static const struct argp argp = {
        option_table, take_option, NULL,
        "Show what appliances are doing, again and again.\v"
        "Jobs and bytes of the link a second, and percent of one core that the online thread and "
        "the workers were busy, since the look before; of the jobs that were answered since then "
        "(at the first look, of all) the online time that half and 99 of 100 stayed below, as "
        "powers of two ns, and how many took how long. Where the output is no terminal, one look "
        "follows the other."};
    struct options o = {.interval_s = 1};
    struct seen seen[SOCKETS_MAX] = {{.now = NULL}};
    bool some = false;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    if (!o.socket_count)
        o.sockets[o.socket_count++] = tool_socket(NULL);
    for (size_t i = 0; i < o.socket_count; i++)
        snprintf(seen[i].name, sizeof(seen[i].name), "%zu", i + 1);
    for (unsigned long i = 0; !o.count || i < o.count; i++) {
        if (i)
            wait_s(o.interval_s);
        look_at_all(&o, seen, isatty(STDOUT_FILENO));
        if (ferror(stdout))
            break;
    }
    for (size_t i = 0; i < o.socket_count; i++) {
        some |= seen[i].now != NULL;
        json_decref(seen[i].now);
        json_decref(seen[i].before);
    }
    return some ? EXIT_OK : EXIT_FAILED;
}
