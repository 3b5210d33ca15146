#include "mpc/walk.h"

#include "base/secret.h"

#include <string.h>

static size_t arena_bytes(const struct walk *w)
{
    return w->arena_words * sizeof(uint64_t);
}

static size_t scratch_bytes(const struct walk *w)
{
    return w->scratch_words * sizeof(uint64_t);
}

static size_t own_bytes(const struct walk *w)
{
    return workers_count(w->workers) * (KERNELS_SCRATCH_BYTES + w->own_words * sizeof(uint64_t));
}

static int allocate(struct walk *w)
{
    w->arena = secret_alloc(arena_bytes(w));
    w->scratch = secret_alloc(scratch_bytes(w));
    w->own = secret_alloc(own_bytes(w));
    if (w->arena && w->scratch && w->own)
        return 0;
    walk_free(w);
    return -ENOMEM;
}

int walk_init_variant(struct walk *w, const struct plan *plan, const struct variant *v,
                      struct workers *workers)
{
    *w = (struct walk){
        .plan = plan,
        .variant = v,
        .kernels = kernels_here(),
        .workers = workers,
        .arena_words = v->arena_words,
        .scratch_words = v->scratch_words,
        .own_words = v->worker_words,
    };
    return allocate(w);
}

/* The most of every variant. */
static void size_for_all(struct walk *w, const struct plan *plan)
{
    for (size_t i = 0; i < plan->variant_count; i++) {
        w->arena_words = MAX(w->arena_words, plan->variants[i].arena_words);
        w->scratch_words = MAX(w->scratch_words, plan->variants[i].scratch_words);
        w->own_words = MAX(w->own_words, plan->variants[i].worker_words);
    }
}

int walk_init(struct walk *w, const struct plan *plan, struct workers *workers)
{
    *w = (struct walk){.plan = plan, .kernels = kernels_here(), .workers = workers};
    size_for_all(w, plan);
    return allocate(w);
}

size_t walk_memory(const struct plan *plan, struct workers *workers)
{
    struct walk w = {.workers = workers};

    size_for_all(&w, plan);
    return arena_bytes(&w) + scratch_bytes(&w) + own_bytes(&w);
}

void walk_wipe(struct walk *w)
{
    if (!w->variant)
        return;
    secret_wipe(w->arena, w->variant->arena_words * sizeof(uint64_t));
    secret_wipe(w->scratch, w->variant->scratch_words * sizeof(uint64_t));
    secret_wipe(w->own, own_bytes(w));
}

void walk_free(struct walk *w)
{
    secret_free(w->arena, arena_bytes(w));
    secret_free(w->scratch, scratch_bytes(w));
    secret_free(w->own, own_bytes(w));
    w->arena = w->scratch = NULL;
    w->own = NULL;
}
