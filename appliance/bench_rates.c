/*
 * mpcformer bench rates: what a machine and its link do an operation, from what other benches have
 * measured there (transformer/latency.h), and how near the model comes to what it was made from.
 */
#include "appliance/bench.h"
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "base/file.h"
#include "transformer/latency.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_BYTES_MAX ((size_t)16 << 20)

struct options {
    const char *rates, *against;
    bool json;
};

static const struct argp_option option_table[] = {
    {"rates", 'r', "FILE", 0, "What was measured, as JSON (the built-in rates)", 0},
    {"against", 'a', "FILE", 0, "Lines of `bench functions --json` to hold them against", 0},
    TOOL_OPTION_JSON_OF("Print JSON objects, a line each"),
    {0},
};

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'r':
        o->rates = text;
        return 0;
    case 'a':
        o->against = text;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    default:
        return bench_option_none(key, text, state);
    }
}

static void print(const struct options *o, json_t *object)
{
    if (o->json)
        tool_print_json(stdout, object);
    else
        tool_print_people(stdout, object);
    json_decref(object);
}

/* A line of @text as a row of a bench: predicted beside measured. */
static int compare(const struct rates *r, const char *line, json_t *rows)
{
    json_t *row = json_loads(line, 0, NULL);
    const json_t *name = json_object_get(row, "functions");
    double measured = json_number_value(json_object_get(row, "online_ms_median"));
    double predicted = row ? latency_of_row(r, row) : -1;

    if (measured > 0 && predicted >= 0)
        json_array_append_new(rows,
                              json_pack("{s:s, s:f, s:f, s:f}", "functions",
                                        name ? json_string_value(name) : "", "online_ms", measured,
                                        "predicted_ms", predicted, "ratio", predicted / measured));
    json_decref(row);
    return measured > 0 && predicted >= 0 ? 0 : -EINVAL;
}

static int compare_all(const struct options *o, const struct rates *r, json_t *rows,
                       struct err *err)
{
    uint8_t *bytes = NULL;
    char *rest, *line, *text;
    size_t count, number = 0;
    int rc = file_read(o->against, ROWS_BYTES_MAX, &bytes, &count, err);

    if (rc < 0)
        return rc;
    rest = text = strndup((const char *)bytes, count);
    rc = text ? 0 : -ENOMEM;
    while (rc == 0 && (line = strsep(&rest, "\n"))) {
        number++;
        if (*line && compare(r, line, rows) < 0)
            rc = err_set(err, -EINVAL, "%s:%zu: no measured row, or of an operation without a rate",
                         o->against, number);
    }
    free(text);
    free(bytes);
    return rc;
}

static const char doc[] =
    "Say what a unit of each operation's work, a round and a byte take, from what `mpcformer bench "
    "functions --json` and `mpcformer bench link --json` have printed.\v"
    "FILE may hold lines of both; without the link's the built-in round and byte are taken. What "
    "is "
    "printed with --json is a file of rates itself, as `mpcformer distill --budget` takes it. "
    "--against holds the latency that the rates predict beside the one that was measured.\n\n"
    "Exit status: 0; 2 the command line is wrong; 3 failed.";

int bench_rates(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc, NULL, NULL, NULL};
    struct options o = {.rates = NULL};
    struct rates rates = rates_default;
    struct err err = {""};
    json_t *rows;
    int rc = 0;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rows = json_array();
    if (o.rates)
        rc = rates_read(o.rates, &rates, &err);
    if (rc == 0 && o.against)
        rc = compare_all(&o, &rates, rows, &err);
    if (rc < 0) {
        json_decref(rows);
        return tool_fail(&err, rc);
    }
    if (o.against)
        print(&o, json_pack("{s:o}", "rows", rows));
    else
        json_decref(rows);
    if (!o.against)
        print(&o, rates_json(&rates));
    return EXIT_OK;
}
