#include "distill/budget.h"

#include "distill/knapsack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES       2
#define SAMPLE_TOKENS 8
#define SAMPLE_SEED   1

/* How often less is chosen from, because the plan of the choice is dearer than its places' sum. */
#define TRIES 32

const char *budget_exact_name(const struct budget_place *p)
{
    return p->part == BUDGET_ACTIVATION ? hidden_act_name(p->exact.hidden)
                                        : softmax_act_name(p->exact.softmax);
}

const char *budget_cheap_name(const struct budget_place *p)
{
    return p->part == BUDGET_ACTIVATION ? hidden_act_name(p->cheap.hidden)
                                        : softmax_act_name(p->cheap.softmax);
}

/* --- costs --- */

/* Milliseconds of a query with @functions (layers): outside the layers, and in each. */
static int price_layers(const struct budget *b, const struct model_config *config,
                        const struct layer_functions *functions, double ret[], struct err *err)
{
    struct model_config k = *config;
    struct encoding *samples = calloc(SAMPLES, sizeof(*samples));
    const struct compile_options options = {.ring = b->ring,
                                            .frac = b->frac,
                                            .tokens = &b->tokens,
                                            .token_count = 1,
                                            .lengths = 1u << LENGTH_BUCKET,
                                            .samples = samples,
                                            .sample_count = SAMPLES};
    struct checkpoint *c = NULL;
    struct compiled *m = NULL;
    int rc = samples ? 0 : err_set(err, -ENOMEM, "no memory for a plan");

    memcpy(k.functions, functions, k.layers * sizeof(*functions));
    for (size_t s = 0; rc == 0 && s < SAMPLES; s++) {
        samples[s].count = MIN((size_t)b->tokens, (size_t)SAMPLE_TOKENS);
        for (size_t i = 0; i < samples[s].count; i++)
            samples[s].ids[i] = (uint32_t)((s * SAMPLE_TOKENS + i) % k.vocab);
    }
    if (rc == 0)
        rc = checkpoint_random(&k, SAMPLE_SEED, &c, err);
    if (rc == 0)
        rc = compile_model(c, &options, &m, err);
    checkpoint_free(c);
    if (rc == 0)
        rc = latency_layers(&b->rates, m, k.layers, ret, err);
    compiled_free(m);
    free(samples);
    return rc;
}

/* The same as one sum. */
static int price(const struct budget *b, const struct model_config *config,
                 const struct layer_functions *functions, double *ret, struct err *err)
{
    double *ms = calloc(config->layers + 1, sizeof(*ms));
    int rc = ms ? price_layers(b, config, functions, ms, err)
                : err_set(err, -ENOMEM, "no memory for a plan");

    *ret = 0;
    for (size_t i = 0; rc == 0 && i <= config->layers; i++)
        *ret += ms[i];
    free(ms);
    return rc;
}

static void set_part(struct layer_functions *f, enum budget_part part,
                     const struct layer_functions *from)
{
    if (part == BUDGET_ACTIVATION)
        f->hidden = from->hidden;
    else
        f->softmax = from->softmax;
}

/* What all places of one part cost more when they are exact, by layer: all of them at once, since
 * layers do not depend on each other but for what is shared (see the header). What that changes
 * outside of the layers is the first one's. */
static int price_part(const struct budget *b, const struct model_config *config,
                      enum budget_part part, const double *cheap, struct budget_choice *c,
                      struct err *err)
{
    struct layer_functions functions[MODEL_LAYERS_MAX];
    double *ms = calloc(config->layers + 1, sizeof(*ms));
    int rc = ms ? 0 : err_set(err, -ENOMEM, "no memory for a plan");

    memcpy(functions, config->functions, sizeof(functions));
    for (size_t i = 0; i < c->place_count; i++)
        if (c->places[i].part == part)
            set_part(&functions[c->places[i].layer], part, &c->places[i].exact);
    if (rc == 0)
        rc = price_layers(b, config, functions, ms, err);
    for (size_t i = 0; rc == 0 && i < c->place_count; i++) {
        struct budget_place *p = &c->places[i];

        if (p->part != part)
            continue;
        p->ms_cheap = cheap[1 + p->layer];
        p->ms_exact = ms[1 + p->layer];
        if (p->layer == 0)
            p->ms_exact += ms[0] - cheap[0];
    }
    free(ms);
    return rc;
}

static int price_places(const struct budget *b, const struct model_config *config,
                        struct budget_choice *c, struct err *err)
{
    double *cheap = calloc(config->layers + 1, sizeof(*cheap));
    int rc = cheap ? price_layers(b, config, config->functions, cheap, err)
                   : err_set(err, -ENOMEM, "no memory for a plan");

    c->ms_cheap = 0;
    for (size_t i = 0; rc == 0 && i <= config->layers; i++)
        c->ms_cheap += cheap[i];
    if (rc == 0)
        rc = price_part(b, config, BUDGET_ATTENTION, cheap, c, err);
    if (rc == 0)
        rc = price_part(b, config, BUDGET_ACTIVATION, cheap, c, err);
    free(cheap);
    return rc;
}

/* --- places and losses --- */

static void add_place(struct budget_choice *c, size_t layer, enum budget_part part,
                      const struct layer_functions *exact, const struct layer_functions *cheap)
{
    bool differs = part == BUDGET_ACTIVATION ? exact->hidden != cheap->hidden
                                             : exact->softmax != cheap->softmax;

    if (differs)
        c->places[c->place_count++] =
            (struct budget_place){.layer = layer, .part = part, .exact = *exact, .cheap = *cheap};
}

/* Layer i of the student is taught by the last of the teacher's i-th share. */
static void find_places(const struct budget *b, const struct model_config *config,
                        struct budget_choice *c)
{
    const struct model_config *teacher = &b->probe.teacher->config;
    size_t share = teacher->layers / config->layers;

    for (size_t i = 0; i < config->layers; i++) {
        const struct layer_functions *exact = &teacher->functions[(i + 1) * share - 1];

        add_place(c, i, BUDGET_ATTENTION, exact, &config->functions[i]);
        add_place(c, i, BUDGET_ACTIVATION, exact, &config->functions[i]);
    }
}

/* The functions of a choice: those of @config, and the exact ones where they are kept. */
static void set_functions(const struct model_config *config, const struct budget_choice *c,
                          struct layer_functions ret[MODEL_LAYERS_MAX])
{
    memcpy(ret, config->functions, sizeof(config->functions));
    for (size_t i = 0; i < c->place_count; i++)
        if (c->places[i].kept)
            set_part(&ret[c->places[i].layer], c->places[i].part, &c->places[i].exact);
}

static void keep_all(struct budget_choice *c, bool kept)
{
    for (size_t i = 0; i < c->place_count; i++)
        c->places[i].kept = kept;
}

static int probe(const struct budget *b, const struct model_config *config,
                 const struct budget_choice *c, double *ret, struct err *err)
{
    struct model_config k = *config;

    set_functions(config, c, k.functions);
    return probe_loss(&b->probe, &k, ret, err);
}

static int probe_places(const struct budget *b, const struct model_config *config,
                        struct budget_choice *c, struct err *err)
{
    int rc;

    keep_all(c, true);
    rc = probe(b, config, c, &c->loss_exact, err);
    for (size_t i = 0; rc == 0 && i < c->place_count; i++) {
        struct budget_place *p = &c->places[i];

        p->kept = false;
        rc = probe(b, config, c, &p->loss, err);
        p->loss -= c->loss_exact;
        p->kept = true;
        if (b->progress)
            b->progress(b->context, i + 1, c->place_count);
    }
    return rc;
}

/* --- the choice --- */

/* In whole nanoseconds, so that sums of equal prices are equal. */
static uint64_t price_of(const struct budget_place *p)
{
    return (uint64_t)ceil(fmax(0, p->ms_exact - p->ms_cheap) * 1e6);
}

/* Of places that may cost @most nanoseconds more in all than they do cheap. One that costs nothing
 * is kept whatever it loses. */
static int choose(struct budget_choice *c, uint64_t most, struct err *err)
{
    struct thing things[2 * MODEL_LAYERS_MAX];
    bool taken[2 * MODEL_LAYERS_MAX] = {false};
    int rc;

    for (size_t i = 0; i < c->place_count; i++)
        things[i] = (struct thing){price_of(&c->places[i]), c->places[i].loss};
    rc = knapsack(things, c->place_count, most, taken, err);
    for (size_t i = 0; rc == 0 && i < c->place_count; i++)
        c->places[i].kept = taken[i] || !things[i].price;
    return rc;
}

/* With places kept that cost nothing, all others cheap. */
static double least_of(const struct budget_choice *c)
{
    double ms = c->ms_cheap;

    for (size_t i = 0; i < c->place_count; i++)
        ms -= fmax(0, c->places[i].ms_cheap - c->places[i].ms_exact);
    return ms;
}

static int refuse(const struct budget *b, const struct budget_choice *c, double least,
                  struct err *err)
{
    return err_set(err, -ERANGE,
                   "a query of %u tokens takes %.3f ms with every cheap function and %.3f ms with "
                   "every exact one: the budget must be at least %.3f ms",
                   b->tokens, c->ms_cheap, c->ms_exact, ceil(least * 1e3) / 1e3);
}

/* Within the budget by the plan of the choice, and not only by the sum of its places. */
static int choose_and_price(const struct budget *b, const struct model_config *config,
                            struct budget_choice *c, struct err *err)
{
    uint64_t most = (uint64_t)((b->ms - least_of(c)) * 1e6);

    for (int i = 0; i < TRIES; i++) {
        uint64_t over;
        int rc = choose(c, most, err);

        set_functions(config, c, c->functions);
        if (rc == 0)
            rc = price(b, config, c->functions, &c->ms, err);
        if (rc < 0 || c->ms <= b->ms)
            return rc;
        over = (uint64_t)ceil((c->ms - b->ms) * 1e6);
        most -= MIN(most, over);
    }
    keep_all(c, false);
    set_functions(config, c, c->functions);
    c->ms = c->ms_cheap;
    return c->ms <= b->ms ? 0 : refuse(b, c, c->ms, err);
}

static int choose_by_loss(const struct budget *b, const struct model_config *config,
                          struct budget_choice *c, struct err *err)
{
    int rc = price_places(b, config, c, err);

    if (rc == 0 && least_of(c) > b->ms)
        return refuse(b, c, least_of(c), err);
    if (rc == 0)
        rc = probe_places(b, config, c, err);
    if (rc == 0)
        rc = choose_and_price(b, config, c, err);
    for (size_t i = 0; i < c->place_count; i++)
        c->loss_predicted += c->places[i].kept ? 0 : c->places[i].loss;
    if (rc == 0)
        rc = probe(b, config, c, &c->loss, err);
    c->loss -= c->loss_exact;
    c->probed = true;
    return rc;
}

int budget_choose(const struct budget *b, const struct model_config *config,
                  struct budget_choice *ret, struct err *err)
{
    struct budget_choice *c = calloc(1, sizeof(*c));
    int rc;

    if (!c)
        return err_set(err, -ENOMEM, "no memory for a choice");
    find_places(b, config, c);
    keep_all(c, true);
    set_functions(config, c, c->functions);
    rc = price(b, config, c->functions, &c->ms_exact, err);
    c->ms = c->ms_exact;
    if (rc == 0 && c->ms_exact <= b->ms)
        rc = price_places(b, config, c, err);
    else if (rc == 0)
        rc = choose_by_loss(b, config, c, err);
    for (size_t i = 0; i < c->place_count; i++)
        c->kept_count += c->places[i].kept;
    if (rc == 0)
        *ret = *c;
    free(c);
    return rc;
}
