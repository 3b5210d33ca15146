#include "tests/mpc/replay.h"

#include "appliance/link_exchange.h"
#include "base/random.h"
#include "base/secret.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 60000

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "replay: %s failed\n", what);
    abort();
}

/* An exchange that writes down what it sends before the link frames it. */
struct tap {
    struct link_exchange inner; /* first: an exchange is this tap */
    struct replay_transcript *sent;
    uint8_t *(*reserve)(struct exchange *x, size_t bytes);
    int (*commit)(struct exchange *x);
    const uint8_t *(*take)(struct exchange *x, size_t bytes);
    const uint8_t *at;
    size_t bytes;
    size_t taken, flip_block;
};

static uint8_t *tap_reserve(struct exchange *x, size_t bytes)
{
    struct tap *t = (struct tap *)x;
    uint8_t *at = t->reserve(x, bytes);

    t->at = at;
    t->bytes = bytes;
    return at;
}

static int tap_commit(struct exchange *x)
{
    struct tap *t = (struct tap *)x;
    struct replay_transcript *to = t->sent;

    if (to->count + t->bytes > to->capacity) {
        to->capacity = 2 * (to->count + t->bytes);
        to->bytes = realloc(to->bytes, to->capacity);
        must(to->bytes, "memory");
    }
    memcpy(to->bytes + to->count, t->at, t->bytes);
    to->count += t->bytes;
    return t->commit(x);
}

static const uint8_t *tap_take(struct exchange *x, size_t bytes)
{
    struct tap *t = (struct tap *)x;
    const uint8_t *at = t->take(x, bytes);

    if (at && ++t->taken == t->flip_block)
        *(uint8_t *)(uintptr_t)at ^= 1;
    return at;
}

struct side {
    pthread_t thread;
    struct tap tap;
    struct model *model;
    struct party *party;
    const struct tape *tape;
    const uint64_t *input;
    uint64_t *output;
    const uint32_t *lengths;
    struct online_stats *stats;
    int rc;
};

static void *open_side(void *context)
{
    struct side *s = context;

    s->rc = model_open(s->model, &s->tap.inner.exchange);
    return NULL;
}

static void *run_side(void *context)
{
    struct side *s = context;

    s->rc = party_run(s->party, s->tape, &s->tap.inner.exchange, s->lengths, s->input, s->output,
                      s->stats);
    return NULL;
}

/* One link for all replays of the process: it takes longer to make than most plans take to run. A
 * link that saw an error is not used again. */
static struct link *links[2];

static void drop_links(void)
{
    link_free(links[0]);
    link_free(links[1]);
    links[0] = links[1] = NULL;
}

static void need_links(void)
{
    const struct link_options options = {.timeout_ms = TIMEOUT_MS, .busy_poll_us_max = 0};
    static bool registered;

    if (links[0])
        return;
    must(link_mem_new(NULL, &options, links, NULL) == 0, "the link");
    if (!registered)
        must(atexit(drop_links) == 0, "atexit");
    registered = true;
}

static void both_sides(struct side side[2], struct replay_transcript sent[2], void *(*body)(void *))
{
    need_links();
    for (unsigned int p = 0; p < 2; p++) {
        struct tap *t = &side[p].tap;

        link_exchange_init(&t->inner, links[p]);
        t->reserve = t->inner.exchange.reserve;
        t->commit = t->inner.exchange.commit;
        t->inner.exchange.reserve = tap_reserve;
        t->take = t->inner.exchange.take;
        t->inner.exchange.commit = tap_commit;
        t->inner.exchange.take = tap_take;
        t->sent = &sent[p];
        must(pthread_create(&side[p].thread, NULL, body, &side[p]) == 0, "a thread");
    }
    for (unsigned int p = 0; p < 2; p++)
        pthread_join(side[p].thread, NULL);
    if (side[0].rc < 0 || side[1].rc < 0)
        drop_links();
}

/* v = share[0] + share[1] with share[0] fresh, or zero. */
static void split(const uint64_t *v, size_t count, uint64_t *share[2], bool plain)
{
    if (plain)
        memset(share[0], 0, count * sizeof(*v));
    else
        random_bytes(share[0], count * sizeof(*v));
    for (size_t i = 0; i < count; i++)
        share[1][i] = v[i] - share[0][i];
    CT_SECRET(share[0], count * sizeof(*v));
    CT_SECRET(share[1], count * sizeof(*v));
}

static void draw_seeds(uint8_t seed[2][PRG_SEED_BYTES])
{
    random_bytes(seed, 2 * PRG_SEED_BYTES);
    CT_SECRET(seed, 2 * PRG_SEED_BYTES);
}

void replay_open(struct model *model[2], struct replay_transcript sent[2], size_t flip_block,
                 int ret_rc[2])
{
    struct side side[2] = {{.model = model[0]}, {.model = model[1]}};

    side[1].tap.flip_block = flip_block;

    both_sides(side, sent, open_side);
    ret_rc[0] = side[0].rc;
    ret_rc[1] = side[1].rc;
}

static unsigned int team_size = 1;

void replay_set_workers(unsigned int count)
{
    team_size = count;
}

static void make_teams(struct replay *r)
{
    const struct workers_options options = {.name = "replay", .count = team_size};

    for (size_t i = 0; i < ARRAY_LENGTH(r->team); i++)
        must(workers_new(&options, &r->team[i], NULL) == 0, "workers_new");
}

struct replay *replay_new(const struct plan *plan, const int64_t *const *weights,
                          const struct kernels *kernels)
{
    struct replay *r = calloc(1, sizeof(*r));
    uint8_t seed[2][PRG_SEED_BYTES];
    int rc[2];

    must(r, "memory");
    r->plan = plan;
    make_teams(r);
    draw_seeds(seed);
    r->masks = mask_weights_new(plan, (const uint8_t(*)[PRG_SEED_BYTES])seed, kernels);
    must(r->masks, "mask_weights_new");
    r->dealing = dealing_new(r->masks, r->team[2]);
    must(r->dealing, "dealing_new");
    for (unsigned int p = 0; p < 2; p++) {
        r->model[p] = model_new(plan, p);
        must(r->model[p], "model_new");
        memcpy(r->model[p]->mask_seed, seed[p], PRG_SEED_BYTES);
    }
    for (size_t i = 0; i < plan->weight_count; i++) {
        uint64_t *share[2] = {r->model[0]->values[i], r->model[1]->values[i]};

        split((const uint64_t *)weights[i], weight_elements(&plan->weights[i]), share, false);
    }
    replay_open(r->model, r->sent, 0, rc);
    must(rc[0] == 0 && rc[1] == 0, "model_open");
    for (unsigned int p = 0; p < 2; p++) {
        must(model_pack(r->model[p], kernels) == 0, "model_pack");
        r->party[p] = party_new(r->model[p], r->team[p]);
        must(r->party[p], "party_new");
    }
    return r;
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    for (unsigned int p = 0; p < 2; p++) {
        party_free(r->party[p]);
        model_free(r->model[p]);
        free(r->sent[p].bytes);
    }
    dealing_free(r->dealing);
    mask_weights_free(r->masks);
    for (size_t i = 0; i < ARRAY_LENGTH(r->team); i++)
        workers_free(r->team[i]);
    free(r);
}

struct delivery {
    struct replay *replay;
    struct tape *tape;
};

static int add_to_tape(void *context, const uint8_t *bytes, size_t count)
{
    struct delivery *d = context;

    d->replay->dealt_bytes += count;
    return tape_add(d->tape, bytes, count);
}

void replay_deal(struct replay *r, const struct variant *v, struct tape *ret_tape[2])
{
    struct delivery delivery = {.replay = r};
    uint8_t seed[2][PRG_SEED_BYTES];

    draw_seeds(seed);
    r->tapes++;
    r->dealt_bytes = 0;
    for (unsigned int p = 0; p < 2; p++) {
        ret_tape[p] = tape_new(r->plan, v, p, r->tapes, seed[p]);
        must(ret_tape[p], "tape_new");
    }
    delivery.tape = ret_tape[1];
    must(deal_tape(r->dealing, v, (const uint8_t(*)[PRG_SEED_BYTES])seed, add_to_tape, &delivery) ==
             0,
         "deal_tape");
    for (unsigned int p = 0; p < 2; p++)
        must(tape_prepare(ret_tape[p], r->model[p], r->team[2]) == 0, "tape_prepare");
}

int replay_run(struct replay *r, const struct variant *v, const uint32_t lengths[],
               const uint64_t *input, int64_t *ret_output)
{
    size_t count = variant_input_words(v), bytes = count * sizeof(uint64_t);
    size_t labels = plan_answers(r->plan, v);
    uint64_t *share[2] = {secret_alloc(bytes), secret_alloc(bytes)};
    struct side side[2];
    struct tape *tape[2];
    int rc;

    must(share[0] && share[1], "memory");
    split(input, count, share, r->input_plain);
    /* One party has it in place, the other elsewhere. */
    memcpy(party_input(r->party[0], v), share[0], bytes);
    replay_deal(r, v, tape);
    for (unsigned int p = 0; p < 2; p++) {
        side[p] = (struct side){.party = r->party[p],
                                .tape = tape[p],
                                .input = p ? share[p] : party_input(r->party[p], v),
                                .lengths = lengths,
                                .output = calloc(labels, sizeof(uint64_t)),
                                .stats = &r->stats[p]};
        must(side[p].output, "memory");
    }
    both_sides(side, r->sent, run_side);
    rc = side[0].rc < 0 ? side[0].rc : side[1].rc;
    for (unsigned int p = 0; p < 2; p++)
        CT_DECLASSIFY(side[p].output, labels * sizeof(uint64_t));
    for (size_t i = 0; rc == 0 && i < labels; i++)
        ret_output[i] = ring_signed(side[0].output[i] + side[1].output[i], r->plan->ring);
    for (unsigned int p = 0; p < 2; p++) {
        free(side[p].output);
        secret_free(share[p], bytes);
        tape_free(tape[p]);
    }
    return rc;
}
