#include "appliance/bench_pair.h"

#include "appliance/answer.h"
#include "appliance/bench.h"
#include "appliance/input.h"
#include "appliance/link_exchange.h"
#include "appliance/shape.h"
#include "base/random.h"
#include "base/secret.h"
#include "mpc/deal.h"
#include "mpc/online.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 300000

/* One party, and what its thread is to do. */
struct side {
    struct bench_pair *pair;
    int cpu; /* -1: anywhere */
    struct link *link;
    struct link_exchange exchange;
    struct model *model;
    struct party *party;
    struct tape *tape;
    uint32_t length[PLAN_BATCH_MAX];
    struct input *expander;
    uint8_t *input;   /* as its owner sends it */
    uint64_t *output; /* room for the largest answer */
    struct online_stats stats;
    uint64_t online_ns;
    int rc;
};

struct bench_pair {
    const struct compiled *compiled;
    struct mask_weights *masks;
    struct dealing *dealing;
    struct side side[2];
    pthread_barrier_t prepared;
    uint64_t tapes;

    /* Of the query. */
    const struct variant *variant;
    uint8_t job[MESSAGE_ID_BYTES];
    size_t input_bytes;
};

static size_t output_bytes(const struct bench_pair *b)
{
    const struct plan *plan = b->compiled->plan;

    return PLAN_BATCH_MAX * (plan->labels + plan->guard_count) * sizeof(uint64_t);
}

/* --- both sides at once --- */

static int both_sides(struct bench_pair *b, void *(*body)(void *))
{
    pthread_t thread;
    int rc = -pthread_create(&thread, NULL, body, &b->side[1]);

    if (rc < 0)
        return rc;
    body(&b->side[0]);
    pthread_join(thread, NULL);
    return MIN(b->side[0].rc, b->side[1].rc);
}

static void *open_side(void *context)
{
    struct side *s = context;

    bench_pin(s->cpu);
    s->rc = model_open(s->model, &s->exchange.exchange);
    if (s->rc == 0)
        s->rc = model_pack(s->model, kernels_here());
    return NULL;
}

static int run_online(const struct bench_pair *b, struct side *s)
{
    uint64_t *rows = party_input(s->party, b->variant);
    int rc = input_expand(s->expander, b->variant, b->job, s->input, b->input_bytes, rows);

    return rc < 0 ? rc
                  : party_run(s->party, s->tape, &s->exchange.exchange, s->length, rows, s->output,
                              &s->stats);
}

static void *run_side(void *context)
{
    struct side *s = context;
    const struct side *other = &s->pair->side[s == &s->pair->side[0]];
    uint64_t start;

    bench_pin(s->cpu);
    s->rc = tape_prepare(s->tape, s->model, NULL);
    pthread_barrier_wait(&s->pair->prepared);
    if (s->rc < 0 || other->rc < 0)
        return NULL;
    /* Nobody is still to look at the other's code when it changes. */
    pthread_barrier_wait(&s->pair->prepared);
    start = time_ns();
    s->rc = run_online(s->pair, s);
    s->online_ns = time_ns() - start;
    return NULL;
}

/* --- set up --- */

static int make_links(struct bench_pair *b, const struct shape *shape, struct err *err)
{
    const struct link_options options = {.timeout_ms = TIMEOUT_MS,
                                         .busy_poll_us_max = LINK_BUSY_POLL_US};
    struct seal_keys *keys = seal_keys_new();
    struct link *links[2];
    int rc = keys ? 0 : -ENOMEM;

    if (rc == 0) {
        random_bytes(keys, sizeof(*keys));
        rc = link_mem_new(keys, &options, links, err);
    }
    seal_keys_free(keys);
    for (unsigned int p = 0; rc == 0 && p < 2; p++)
        b->side[p].link = links[p];
    for (unsigned int p = 0; rc == 0 && p < 2; p++) {
        if (shape_set(shape))
            rc = link_shape_new(links[p], &options, &shape->line, &b->side[p].link, err);
        link_exchange_init(&b->side[p].exchange, b->side[p].link);
    }
    return rc;
}

static void split(const uint64_t *v, size_t count, uint64_t *share0, uint64_t *share1)
{
    random_bytes(share0, count * sizeof(*share0));
    for (size_t i = 0; i < count; i++)
        share1[i] = v[i] - share0[i];
}

static int make_models(struct bench_pair *b)
{
    const struct plan *plan = b->compiled->plan;
    struct model *model[2];
    uint8_t seed[2][PRG_SEED_BYTES];

    random_bytes(seed, sizeof(seed));
    b->masks = mask_weights_new(plan, (const uint8_t(*)[PRG_SEED_BYTES])seed, kernels_here());
    b->dealing = b->masks ? dealing_new(b->masks, NULL) : NULL;
    for (unsigned int p = 0; p < 2; p++) {
        model[p] = b->side[p].model = model_new(plan, p);
        if (model[p])
            memcpy(model[p]->mask_seed, seed[p], PRG_SEED_BYTES);
    }
    secret_wipe(seed, sizeof(seed));
    if (!b->dealing || !model[0] || !model[1])
        return -ENOMEM;
    for (size_t i = 0; i < plan->weight_count; i++)
        split((const uint64_t *)b->compiled->weights[i], weight_elements(&plan->weights[i]),
              model[0]->values[i], model[1]->values[i]);
    return 0;
}

static int make_parties(struct bench_pair *b)
{
    for (unsigned int p = 0; p < 2; p++) {
        struct side *s = &b->side[p];

        s->party = party_new(s->model, NULL);
        s->expander = input_new(b->compiled->plan, p);
        s->output = secret_alloc(output_bytes(b));
        if (!s->party || !s->expander || !s->output)
            return -ENOMEM;
    }
    return 0;
}

int bench_pair_new(const struct compiled *m, const struct shape *shape, struct bench_pair **ret,
                   struct err *err)
{
    struct bench_pair *b = calloc(1, sizeof(*b));
    int cpus[2], rc;

    if (!b)
        return -ENOMEM;
    b->compiled = m;
    pthread_barrier_init(&b->prepared, NULL, 2);
    bench_cpus(cpus);
    for (unsigned int p = 0; p < 2; p++) {
        b->side[p].pair = b;
        b->side[p].cpu = cpus[p];
    }
    rc = make_links(b, shape, err);
    if (rc == 0)
        rc = make_models(b);
    if (rc == 0)
        rc = both_sides(b, open_side);
    if (rc == 0)
        rc = make_parties(b);
    if (rc < 0) {
        bench_pair_free(b);
        return err_set(err, rc, "setting up both parties: %s", strerror(-rc));
    }
    *ret = b;
    return 0;
}

void bench_pair_free(struct bench_pair *b)
{
    if (!b)
        return;
    for (unsigned int p = 0; p < 2; p++) {
        struct side *s = &b->side[p];

        party_free(s->party);
        input_free(s->expander);
        model_free(s->model);
        link_free(s->link);
        secret_free(s->output, output_bytes(b));
    }
    dealing_free(b->dealing);
    mask_weights_free(b->masks);
    pthread_barrier_destroy(&b->prepared);
    free(b);
}

/* --- a query --- */

static int add_to_tape(void *context, const uint8_t *bytes, size_t count)
{
    return tape_add(context, bytes, count);
}

static int deal(struct bench_pair *b, const struct variant *v, uint64_t *ret_ns)
{
    uint8_t seed[2][PRG_SEED_BYTES];
    uint64_t start = time_ns();
    int rc = 0;

    random_bytes(seed, sizeof(seed));
    b->tapes++;
    for (unsigned int p = 0; rc == 0 && p < 2; p++) {
        b->side[p].tape = tape_new(b->compiled->plan, v, p, b->tapes, seed[p]);
        rc = b->side[p].tape ? 0 : -ENOMEM;
    }
    if (rc == 0)
        rc = deal_tape(b->dealing, v, (const uint8_t(*)[PRG_SEED_BYTES])seed, add_to_tape,
                       b->side[1].tape);
    secret_wipe(seed, sizeof(seed));
    *ret_ns = time_ns() - start;
    return rc;
}

/* With the inputs in place. */
static int deal_and_run(struct bench_pair *b, struct client_figures *ret_figures)
{
    struct side *s = b->side;
    uint64_t deal_ns, prepare_ns, online_ns;
    int rc = deal(b, b->variant, &deal_ns);

    if (rc == 0)
        rc = both_sides(b, run_side);
    if (rc == 0) {
        prepare_ns = MAX(s[0].tape->prepare_ns, s[1].tape->prepare_ns);
        online_ns = MAX(s[0].online_ns, s[1].online_ns);
        *ret_figures = (struct client_figures){
            .online_ms = (double)online_ns / 1e6,
            .offline_party_ms = (double)prepare_ns / 1e6,
            .offline_dealer_ms = (double)deal_ns / 1e6,
            .bytes_online = MAX(s[0].stats.bytes, s[1].stats.bytes),
            .rounds_online = MAX(s[0].stats.rounds, s[1].stats.rounds),
            .bytes_upload = b->input_bytes,
            .wall_ns = deal_ns + prepare_ns + online_ns,
            .stats = s[0].stats,
        };
    }
    for (unsigned int p = 0; p < 2; p++) {
        tape_free(s[p].tape);
        s[p].tape = NULL;
        party_wipe(s[p].party);
        input_wipe(s[p].expander);
    }
    return rc;
}

int bench_pair_run(struct bench_pair *b, const struct variant *v, const struct encoding e[],
                   double ret_logits[], struct client_figures *ret_figures, struct err *err)
{
    const struct plan *plan = b->compiled->plan;
    size_t bytes = input_bytes(plan, v);
    uint8_t *inputs[2] = {secret_alloc(bytes), secret_alloc(bytes)};
    struct side *s = b->side;
    const struct variant *smallest;
    int rc = inputs[0] && inputs[1] ? input_check(plan, e, v->batch, v->length, &smallest, err)
                                    : -ENOMEM;

    b->variant = v;
    b->input_bytes = bytes;
    random_bytes(b->job, sizeof(b->job));
    for (unsigned int p = 0; p < 2; p++) {
        input_lengths(v, e, v->batch, s[p].length);
        s[p].input = inputs[p];
    }
    if (rc == 0)
        rc = input_share(plan, v, b->job, e, v->batch, inputs);
    if (rc == 0)
        rc = deal_and_run(b, ret_figures);
    if (rc == 0)
        answer_add(plan, v, (uint64_t *const[2]){s[0].output, s[1].output}, v->batch, ret_logits,
                   ret_figures->outside);
    for (unsigned int p = 0; p < 2; p++) {
        secret_free(inputs[p], bytes);
        s[p].input = NULL;
    }
    return rc < 0 ? err_set(err, rc, "running both parties: %s", strerror(-rc)) : 0;
}
