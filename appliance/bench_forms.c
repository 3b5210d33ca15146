/*
 * mpcformer bench forms: what a query costs with all of the protocol's cheaper forms, without each
 * of them and without any, by the plan alone (mpc/cost.h). No query is run.
 */
#include "appliance/bench.h"
#include "appliance/bench_model.h"
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "mpc/cost.h"

#include <stdio.h>
#include <stdlib.h>

#define ALL_LEFT_OUT ((1u << FORMS) - 1)

struct options {
    struct bench_model model;
    bool json;
};

static const struct argp_option option_table[] = {
    TOOL_OPTION_JSON,
    {0},
};

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->model;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    default:
        return bench_option_none(key, text, state);
    }
}

/* One compilation: what is left out, and what is left to pay. */
struct row {
    const char *without;
    struct cost cost;
};

static int fill_row(const struct options *o, const struct checkpoint *c,
                    const struct encoding *samples, unsigned int without, struct row *ret,
                    struct err *err)
{
    struct compiled *m = NULL;
    int rc = bench_model_compile(&o->model, c, samples, without, &m, err);

    if (rc == 0)
        cost_variant(m->plan, m->plan->variants, &ret->cost, NULL);
    compiled_free(m);
    return rc;
}

/* The first row leaves out nothing, the last everything. */
static int fill_rows(const struct options *o, struct row rows[FORMS + 2], struct err *err)
{
    struct encoding *samples = calloc(BENCH_MODEL_SAMPLES, sizeof(*samples));
    struct checkpoint *c = NULL;
    int rc = samples ? bench_model_make(&o->model, &c, samples, err) : -ENOMEM;

    rows[0].without = "nothing";
    rows[FORMS + 1].without = "any";
    for (int i = 0; i < FORMS; i++)
        rows[i + 1].without = form_names[i];
    for (int i = 0; rc == 0 && i < FORMS + 2; i++)
        rc = fill_row(o, c, samples, i <= FORMS ? (1u << i) >> 1 : ALL_LEFT_OUT, &rows[i], err);
    checkpoint_free(c);
    free(samples);
    return rc;
}

static void print_people(const struct row rows[FORMS + 2])
{
    printf("%-10s %12s %7s %12s %8s %14s\n", "without", "MB online", "rounds", "MB of tape", "GMAC",
           "prepared words");
    for (int i = 0; i < FORMS + 2; i++) {
        const struct cost *c = &rows[i].cost;

        printf("%-10s %12.3f %7" PRIu64 " %12.3f %8.3f %14" PRIu64 "\n", rows[i].without,
               (double)c->bytes_online / 1e6, c->rounds_online, (double)c->bytes_tape / 1e6,
               (double)c->macs_online / 1e9, c->prepared_words);
    }
}

/* An exit code. */
static int print_json(const struct options *o, const struct row rows[FORMS + 2])
{
    json_t *list = json_array(), *all;

    for (int i = 0; i < FORMS + 2; i++) {
        const struct cost *c = &rows[i].cost;

        json_array_append_new(
            list, json_pack("{s:s, s:I, s:I, s:I, s:f, s:I}", "without", rows[i].without,
                            "bytes_online", (json_int_t)c->bytes_online, "rounds_online",
                            (json_int_t)c->rounds_online, "bytes_offline",
                            (json_int_t)c->bytes_tape, "gmac_online", (double)c->macs_online / 1e9,
                            "prepared_words", (json_int_t)c->prepared_words));
    }
    all = json_pack("{s:i, s:s, s:i, s:i, s:o}", "tokens", (int)o->model.tokens, "length",
                    length_mode_names[o->model.length], "ring", (int)o->model.ring, "frac",
                    (int)o->model.frac, "forms", list);
    if (!all) {
        fprintf(stderr, "mpcformer: no memory for the result\n");
        return EXIT_FAILED;
    }
    tool_print_json(stdout, all);
    json_decref(all);
    return EXIT_OK;
}

static const char doc[] =
    "Say what each cheaper form of the protocol saves for a BERT of this shape, by its plan alone: "
    "compiled with all forms, without each of them and without any.\v"
    "cut: what only elementwise products and lookups read is truncated and opened at once. narrow: "
    "input and embedding in a ring of their own. multiply: a looked-up entry is multiplied without "
    "being opened again. compare: comparisons of as few bits as there may be. scale: the scale of "
    "an inverse by one large lookup a row. turns: the parties take turns at the product that only "
    "one of them needs. Bytes are payload that a party sends, the tape is party1's, products and "
    "prepared words are those of the party that has more.\n\n"
    "Exit status: 0; 2 the command line is wrong; 3 failed.";

int bench_forms(int argc, char **argv)
{
    static const struct argp_child children[] = {{&bench_model_argp, 0, "The model:", -1}, {0}};
    static const struct argp argp = {option_table, take_option, NULL, doc, children, NULL, NULL};
    struct options o = {.model = bench_model_default};
    struct row rows[FORMS + 2] = {0};
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rc = fill_rows(&o, rows, &err);
    if (rc < 0)
        return tool_fail(&err, rc);
    if (o.json)
        return print_json(&o, rows);
    print_people(rows);
    return EXIT_OK;
}
