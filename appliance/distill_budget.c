#include "appliance/distill_budget.h"

#include "appliance/recommend.h"
#include "appliance/shape.h"
#include "appliance/tool.h"
#include "base/bytes.h"
#include "base/file.h"
#include "distill/budget.h"
#include "distill/ranks.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHOICE_FILE      "budget.json"
#define CHOICE_BYTES_MAX ((size_t)1 << 20)

const struct budget_options budget_options_default = {.steps = 50, .rows = 256, .ring = 48};

enum { OPTION_BUDGET = 768, OPTION_RATES, OPTION_LINE, OPTION_STEPS, OPTION_ROWS, OPTION_RING };

static const struct argp_option option_table[] = {
    {"budget", OPTION_BUDGET, "MS", 0,
     "Keep the teacher's function in the layers where it matters most, as far as a query of "
     "--tokens "
     "takes no more than MS milliseconds online; elsewhere --hidden-act and --softmax-act",
     0},
    {"rates", OPTION_RATES, "FILE", 0,
     "What the parties' machines do, from `mpcformer bench functions --json` and `bench link "
     "--json`, or `bench rates --json` (built-in ones, of one machine)",
     0},
    {"line", OPTION_LINE, "LINE", 0, "Between the parties, such as 1gbit,5ms (that of the rates)",
     0},
    {"budget-steps", OPTION_STEPS, "N", 0,
     "Steps of the first stage before the loss of a choice is measured (50)", 0},
    {"budget-rows", OPTION_ROWS, "N", 0, "Of the training data that it is measured on (256)", 0},
    {"budget-ring", OPTION_RING, "L", 0, "Bits of the parties' numbers: 40, 48, 56 or 64 (48)", 0},
    {0},
};

static void check(struct argp_state *state, const struct budget_options *o)
{
    struct shape shape;
    struct err err = {""};

    if (o->more && !(o->ms > 0))
        argp_error(state,
                   "--rates, --line, --budget-steps, --budget-rows and --budget-ring go with "
                   "--budget MS");
    if (o->line && (shape_parse(o->line, &shape, &err) < 0 || shape_faulty(&shape)))
        argp_error(state, "--line %s: %s", o->line,
                   err.text[0] ? err.text : "a rate and a delay, without faults");
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct budget_options *o = state->input;

    o->more |= key > OPTION_BUDGET && key <= OPTION_RING;
    switch (key) {
    case OPTION_BUDGET:
        o->ms = train_number(state, "budget", text, 1e-3, 1e9);
        return 0;
    case OPTION_RATES:
        o->rates = text;
        return 0;
    case OPTION_LINE:
        o->line = text;
        return 0;
    case OPTION_STEPS:
        o->steps = train_whole(state, "budget-steps", text, 0, 1000000);
        return 0;
    case OPTION_ROWS:
        o->rows = train_whole(state, "budget-rows", text, 1, 1000000);
        return 0;
    case OPTION_RING:
        o->ring = (unsigned int)train_whole(state, "budget-ring", text, 40, RING_BITS_MAX);
        if (!ring_valid(o->ring))
            argp_error(state, "--budget-ring %s: 40, 48, 56 or 64", text);
        return 0;
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp budget_argp = {option_table, take_option, NULL, NULL};

/* --- what is asked --- */

static int read_rates(const struct budget_options *o, struct rates *ret, struct err *err)
{
    struct shape shape = {.faults = {0}};
    int rc = 0;

    *ret = rates_default;
    if (o->rates)
        rc = rates_read(o->rates, ret, err);
    if (rc == 0 && o->line)
        rc = shape_parse(o->line, &shape, err);
    if (rc == 0)
        rates_put_on_line(ret, shape.line.delay_us * 1e3,
                          shape.line.bits_per_s ? 8e9 / (double)shape.line.bits_per_s : 0);
    return rc;
}

/* The bucket of a text of as many tokens as the task's may have. */
static uint32_t bucket_of(const struct train_options *t, const struct model_config *config)
{
    uint32_t buckets[PLAN_VARIANTS_MAX];
    size_t count = compile_buckets(config->positions_max, buckets), i = 0;

    while (i + 1 < count && buckets[i] < t->tokens)
        i++;
    return buckets[i];
}

static void show(void *context, size_t done, size_t all)
{
    (void)context;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\rmpcformer: place %zu of %zu%s", done, all, done < all ? "" : "\n");
}

static void add_functions(struct writer *w, const struct model_config *k)
{
    for (size_t i = 0; i < k->layers; i++) {
        write_u8(w, (uint8_t)k->functions[i].hidden);
        write_u8(w, (uint8_t)k->functions[i].softmax);
    }
}

/* All that a choice depends on, but for the program and its number of threads. */
static int identify(const struct budget *b, const struct train_data *d,
                    const struct model_config *config, char ret[2 * HASH_BYTES + 1],
                    struct err *err)
{
    const double numbers[] = {b->ms,
                              b->probe.rate,
                              b->probe.settings.decay,
                              b->probe.settings.clip,
                              b->probe.settings.range.limit,
                              b->probe.settings.range.weight};
    const uint64_t counts[] = {b->tokens,      b->ring,        b->frac,
                               b->probe.rows,  b->probe.steps, b->probe.batch,
                               config->layers, d->train.count, b->probe.settings.seed};
    const struct checkpoint *teacher = b->probe.teacher;
    struct writer w = {.bytes = NULL};
    uint8_t digest[HASH_BYTES];

    write_bytes(&w, numbers, sizeof(numbers));
    write_bytes(&w, counts, sizeof(counts));
    write_bytes(&w, &b->rates, sizeof(b->rates));
    write_bytes(&w, d->digest, HASH_BYTES);
    add_functions(&w, config);
    add_functions(&w, &teacher->config);
    hash_bytes(teacher->values, teacher->bytes, digest);
    write_bytes(&w, digest, HASH_BYTES);
    if (!w.failed) {
        hash_bytes(w.bytes, w.count, digest);
        hex_encode(digest, HASH_BYTES, ret);
    }
    writer_free(&w);
    return w.failed ? err_set(err, -ENOMEM, "no memory for a choice") : 0;
}

/* --- the choice as JSON --- */

static json_t *describe_place(const struct budget_place *p, bool probed)
{
    json_t *row = json_pack("{s:I, s:s, s:s, s:s, s:f, s:f}", "layer", (json_int_t)p->layer,
                            "place", p->part == BUDGET_ACTIVATION ? "activation" : "attention",
                            "exact", budget_exact_name(p), "cheap", budget_cheap_name(p),
                            "ms_exact", p->ms_exact, "ms_cheap", p->ms_cheap);

    if (probed)
        json_object_set_new(row, "loss_if_cheap", json_real(p->loss));
    json_object_set_new(row, "kept", json_boolean(p->kept));
    return row;
}

static json_t *describe(const struct budget *b, const struct budget_choice *c,
                        const struct model_config *config, const char *identity)
{
    json_t *places = json_array(), *hidden = json_array(), *softmax = json_array(), *all;

    for (size_t i = 0; i < config->layers; i++) {
        json_array_append_new(hidden, json_string(hidden_act_name(c->functions[i].hidden)));
        json_array_append_new(softmax, json_string(softmax_act_name(c->functions[i].softmax)));
    }
    for (size_t i = 0; i < c->place_count; i++)
        json_array_append_new(places, describe_place(&c->places[i], c->probed));
    all = json_pack("{s:s, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:o, s:o, s:o}", "of", identity,
                    "budget_ms", b->ms, "ms", c->ms, "ms_all_exact", c->ms_exact, "ms_all_cheap",
                    c->ms_cheap, "tokens", (json_int_t)b->tokens, "places_kept",
                    (json_int_t)c->kept_count, "places_in_all", (json_int_t)c->place_count,
                    "hidden_act", hidden, "softmax_act", softmax, "places", places);
    if (all && c->probed) {
        json_object_set_new(all, "loss_all_exact", json_real(c->loss_exact));
        json_object_set_new(all, "loss_predicted", json_real(c->loss_predicted));
        json_object_set_new(all, "loss_measured", json_real(c->loss));
    }
    return all;
}

static void print(const struct train_options *t, json_t *choice)
{
    json_t *shown = json_copy(choice);

    json_object_del(shown, "of");
    if (t->json) {
        json_t *line = json_pack("{s:O}", "budget", shown);

        tool_print_json(stdout, line);
        json_decref(line);
    } else {
        json_object_del(shown, "hidden_act");
        json_object_del(shown, "softmax_act");
        tool_print_people(stdout, shown);
    }
    json_decref(shown);
    fflush(stdout); /* long before the training ends */
    if (json_object_get(choice, "loss_measured"))
        return;
    fprintf(stderr, "mpcformer: every exact function fits the budget: all are kept\n");
}

/* "gelu,quad", as --hidden-act takes it, in the choice at @key. */
static int set_names(const json_t *choice, const char *key, struct model_config *config,
                     int (*set)(struct model_config *, const char *, struct err *), struct err *err)
{
    const json_t *list = json_object_get(choice, key);
    size_t count = json_array_size(list), room = 1;
    char *names;
    int rc;

    for (size_t i = 0; i < count; i++)
        room += json_string_length(json_array_get(list, i)) + 1;
    names = calloc(room, 1);
    if (!names)
        return err_set(err, -ENOMEM, "no memory for a choice");
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));

        snprintf(names + strlen(names), room - strlen(names), "%s%s", i ? "," : "",
                 name ? name : "");
    }
    rc = set(config, names, err);
    free(names);
    return rc;
}

/* @path, when it is there: *ret stays NULL when not. */
static int load(const char *path, const char *identity, json_t **ret, struct err *err)
{
    const char *of;
    uint8_t *bytes;
    json_t *choice;
    size_t count;
    int rc;

    if (access(path, F_OK) < 0)
        return 0;
    rc = file_read(path, CHOICE_BYTES_MAX, &bytes, &count, err);
    if (rc < 0)
        return rc;
    choice = json_loadb((const char *)bytes, count, 0, NULL);
    free(bytes);
    of = json_string_value(json_object_get(choice, "of"));
    if (!of || strcmp(of, identity) != 0) {
        json_decref(choice);
        return err_set(err, -EINVAL,
                       "%s: is the choice of another command: give that one, or take another --out",
                       path);
    }
    *ret = choice;
    return 0;
}

static int search(const struct budget *b, const struct model_config *config, const char *path,
                  const char *identity, json_t **ret, struct err *err)
{
    struct budget_choice *c = calloc(1, sizeof(*c));
    int rc = c ? budget_choose(b, config, c, err) : err_set(err, -ENOMEM, "no memory for a choice");
    json_t *choice = rc == 0 ? describe(b, c, config, identity) : NULL;
    char *text = choice ? json_dumps(choice, JSON_INDENT(1)) : NULL;

    if (rc == 0)
        rc = text ? file_write(path, 0644, text, strlen(text), err)
                  : err_set(err, -ENOMEM, "no memory for a choice");
    if (rc == 0)
        *ret = choice;
    else
        json_decref(choice);
    free(text);
    free(c);
    return rc;
}

/* The choice that is there, or a new one, in @config. A probe sums over no ranks. */
static int choose(const struct budget *b, const char *path, const char *identity,
                  struct model_config *config, json_t **ret, struct err *err)
{
    int rc = load(path, identity, ret, err);

    if (rc == 0 && !*ret && ranks_count() > 1)
        rc = err_set(err, -ENOTSUP,
                     "a budget is searched in one process: give the same command once without "
                     "mpirun, with --steps 1, then this one goes on from there");
    if (rc == 0 && !*ret)
        rc = search(b, config, path, identity, ret, err);
    if (rc == 0)
        rc = set_names(*ret, "hidden_act", config, model_config_set_hidden, err);
    if (rc == 0)
        rc = set_names(*ret, "softmax_act", config, model_config_set_softmax, err);
    return rc;
}

int budget_apply(const struct budget_options *o, const struct train_options *t,
                 const struct train_data *d, const struct objective *teacher, double rate,
                 struct model_config *config, struct err *err)
{
    struct budget b = {
        .ms = o->ms,
        .tokens = bucket_of(t, config),
        .ring = o->ring,
        .frac = recommend_frac(o->ring),
        .probe = {.train = &d->train,
                  .teacher = teacher->teacher,
                  .teacher_net = teacher->teacher_net,
                  .settings = t->settings,
                  .rows = MIN(o->rows, d->train.count),
                  .steps = o->steps,
                  .batch = t->batch,
                  .rate = rate},
        .progress = show,
    };
    char path[PATH_MAX], identity[2 * HASH_BYTES + 1];
    json_t *choice = NULL;
    int rc = read_rates(o, &b.rates, err);

    if (rc == 0 && file_path(path, sizeof(path), t->out, CHOICE_FILE) < 0)
        rc = err_set(err, -ENAMETOOLONG, "%s: the path is too long", t->out);
    if (rc == 0)
        rc = identify(&b, d, config, identity, err);
    if (rc == 0 && ranks_own() == 0)
        rc = choose(&b, path, identity, config, &choice, err);
    if (rc == 0)
        rc = ranks_copy(config->functions, sizeof(config->functions), err);
    if (rc == 0 && choice)
        print(t, choice);
    json_decref(choice);
    return rc;
}
