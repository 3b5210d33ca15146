/* mpcformer report: evaluations, a speed table, a cell under load, trainings as one HTML page. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/report.h"
#include "appliance/tool.h"
#include "base/file.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#define SPEED_BYTES_MAX ((size_t)64 << 20)

struct options {
    const char *out, *speed, *load;
    const char *evals[REPORT_EVALS_MAX];
    size_t eval_count;
    const char *courses[REPORT_COURSES_MAX];
    size_t course_count;
};

static const struct argp_option option_table[] = {
    {"out", 'o', "FILE", 0, "Where the page goes, such as report.html", 0},
    {"eval", 'e', "RESULTS", 0, "What `mpcformer eval --results` wrote; as often as there are", 0},
    {"speed", 's', "FILE", 0, "What `mpcformer bench functions --json` printed", 0},
    {"load", 'l', "FILE", 0, "What `mpcformer bench load --json` printed", 0},
    {"course", 'c', "LOG", 0,
     "The log.tsv that a training leaves: its curves; as often as there are", 0},
    {0},
};

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'o':
        o->out = argument;
        return 0;
    case 's':
        o->speed = argument;
        return 0;
    case 'l':
        o->load = argument;
        return 0;
    case 'e':
        if (o->eval_count == REPORT_EVALS_MAX)
            argp_error(state, "--eval: at most %d times", REPORT_EVALS_MAX);
        o->evals[o->eval_count++] = argument;
        return 0;
    case 'c':
        if (o->course_count == REPORT_COURSES_MAX)
            argp_error(state, "--course: at most %d times", REPORT_COURSES_MAX);
        o->courses[o->course_count++] = argument;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": say --eval RESULTS", argument);
        return 0;
    case ARGP_KEY_END:
        if (!o->out)
            argp_error(state, "say --out FILE");
        if (!o->eval_count && !o->speed && !o->load && !o->course_count)
            argp_error(state,
                       "of what? Say --eval RESULTS, --speed FILE, --load FILE or --course LOG");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A row of each bench is told by its member. */
static const char *const speed_members[] = {"online_ms_median", "error", NULL};
static const char *const load_members[] = {"offered_per_s", NULL};

static bool has_one_of(const json_t *row, const char *const members[])
{
    for (; *members; members++)
        if (json_object_get(row, *members))
            return true;
    return false;
}

static int read_rows(const char *path, const char *bench, const char *const members[], json_t *rows,
                     struct err *err)
{
    char *text, *rest, *line;
    uint8_t *bytes;
    size_t count, number = 0;
    int rc = file_read(path, SPEED_BYTES_MAX, &bytes, &count, err);

    if (rc < 0)
        return rc;
    text = rest = (char *)bytes;
    while (rc == 0 && (line = strsep(&rest, "\n"))) {
        json_t *row;

        number++;
        if (!*line)
            continue;
        row = json_loads(line, 0, NULL);
        if (!has_one_of(row, members))
            rc = err_set(err, -EINVAL, "%s:%zu: no row of `mpcformer bench %s --json`", path,
                         number, bench);
        else if (json_array_append(rows, row) < 0)
            rc = -ENOMEM;
        json_decref(row);
    }
    free(text);
    return rc;
}

static int read_all(const struct options *o, struct report *r, struct err *err)
{
    int rc = 0;

    r->evals = calloc(MAX(o->eval_count, 1), sizeof(*r->evals));
    r->speed = json_array();
    r->load = json_array();
    if (!r->evals || !r->speed || !r->load)
        return -ENOMEM;
    for (; rc == 0 && r->eval_count < o->eval_count; r->eval_count += rc == 0)
        rc = results_read(o->evals[r->eval_count], &r->evals[r->eval_count], err);
    for (size_t i = 0; rc == 0 && i < o->course_count; i++) {
        r->courses[i].name = o->courses[i];
        rc = curves_read(o->courses[i], &r->courses[i].curves, err);
        r->course_count += rc == 0;
    }
    if (rc == 0 && o->speed)
        rc = read_rows(o->speed, "functions", speed_members, r->speed, err);
    if (rc == 0 && o->load)
        rc = read_rows(o->load, "load", load_members, r->load, err);
    return rc;
}

static int write_page(const struct options *o, struct err *err)
{
    struct report r = {.evals = NULL};
    int rc = read_all(o, &r, err);

    if (rc == 0)
        rc = report_write(&r, o->out, err);
    for (size_t i = 0; i < r.eval_count; i++)
        results_free(&r.evals[i]);
    for (size_t i = 0; i < r.course_count; i++)
        curves_free(&r.courses[i].curves);
    free(r.evals);
    json_decref(r.speed);
    json_decref(r.load);
    return rc;
}

static const char doc[] =
    "Make one HTML page of evaluations, of a speed table, of a cell under load and of trainings.\v"
    "The page has a table of accuracy in private and in the clear, the distribution of the logit "
    "error, the table of speed, and where a query's time and bytes go; of a cell under load "
    "latency "
    "and what was answered against what was offered; of a training its loss, metric and rate. It "
    "needs no other file.";

int cmd_report(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc, NULL, NULL, NULL};
    struct options options = {.out = NULL};
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = write_page(&options, &err);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}
