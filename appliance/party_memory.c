/*
 * Memory is admitted before it is taken: what a model needs at this party follows from its plan.
 * One that is loaded counts with all it will take, although its arenas and tapes come later.
 */
#include "appliance/host_memory.h"
#include "appliance/party.h"
#include "base/bytes.h"
#include "mpc/walk.h"

static struct need need_of(const struct party_state *p, const struct plan *plan)
{
    struct need n = {.arenas =
                         walk_memory(plan, p->workers) + walk_memory(plan, p->offline_workers)};

    n.model = model_memory(plan, kernels_here(), &n.most);
    for (size_t i = 0; i < plan->variant_count; i++)
        n.tapes = MAX(n.tapes, p->config->tapes * tape_memory(&plan->variants[i], p->party));
    return n;
}

/* Without tapes. What reading and packing took beside the weights is free before arenas come. */
static uint64_t without_tapes(const struct served *s)
{
    uint64_t ready = (uint64_t)s->need.model + s->need.arenas;

    return s->state == SERVED_READY ? ready : MAX(ready, (uint64_t)s->need.most);
}

static uint64_t with_tapes(const struct served *s)
{
    uint64_t ready = (uint64_t)s->need.model + s->need.arenas + s->need.tapes;

    return s->state == SERVED_READY ? ready : MAX(ready, (uint64_t)s->need.most);
}

size_t party_stock_most(const struct party_state *p)
{
    uint64_t left = p->config->memory;

    if (!left)
        return p->stock_bytes_max;
    for (size_t i = 0; i < p->served_count; i++)
        left -= MIN(left, without_tapes(p->served[i]));
    return MIN((size_t)left, p->stock_bytes_max);
}

/* In MiB, a part of one counts as one. */
static uint64_t mib(uint64_t bytes)
{
    return (bytes + ((1u << 20) - 1)) >> 20;
}

static int refuse(const struct party_state *p, const struct served *s, uint64_t left,
                  const char *bound, struct err *err)
{
    return err_set(
        err, -ENOMEM,
        "model %s needs %" PRIu64 " MiB of memory here (%" PRIu64 " for its weights, %" PRIu64
        " until they are ready, %" PRIu64 " to work in, %" PRIu64
        " for %u tapes), and %s leaves %" PRIu64
        " beside the %zu that are loaded: unload one, `mpcformer model unload`, share it "
        "with shorter buckets or smaller batches, or give it more",
        s->id, mib(with_tapes(s)), mib(s->need.model), mib(s->need.most), mib(s->need.arenas),
        mib(s->need.tapes), p->config->tapes, bound, left >> 20, p->served_count);
}

/* Of `memory`: what models that are loaded do not need. */
static uint64_t left_of_bound(const struct party_state *p)
{
    uint64_t left = p->config->memory;

    for (size_t i = 0; i < p->served_count; i++)
        left -= MIN(left, with_tapes(p->served[i]));
    return left;
}

/* Of the host: what models that are loaded have not taken yet. One that is not ready may have taken
 * some of what it needs; all of it counts. */
static uint64_t left_of_host(const struct party_state *p, uint64_t left)
{
    uint64_t tapes = 0;

    for (size_t i = 0; i < p->served_count; i++) {
        const struct served *at = p->served[i];

        if (at->state == SERVED_READY)
            tapes += at->need.tapes;
        else
            left -= MIN(left, with_tapes(at));
    }
    tapes -= MIN(tapes, (uint64_t)p->stock_bytes);
    return left - MIN(left, tapes);
}

int party_admit_model(struct party_state *p, struct served *s, struct err *err)
{
    const char *host;
    uint64_t on_host = host_memory_left(&host), left;
    int rc = 0;

    s->need = need_of(p, s->plan);
    pthread_mutex_lock(&p->lock);
    left = left_of_bound(p);
    if (p->config->memory && with_tapes(s) > left)
        rc = refuse(p, s, left, "the key `memory`", err);
    left = left_of_host(p, on_host);
    if (rc == 0 && with_tapes(s) > left)
        rc = refuse(p, s, left, host, err);
    pthread_mutex_unlock(&p->lock);
    return rc;
}
