#include "mpc/deal.h"

#include "base/secret.h"
#include "mpc/walk.h"

#include <stdlib.h>

struct dealing {
    struct deal deal;
    uint8_t *section; /* the largest operation's part of a tape */
    size_t section_bytes;
};

struct dealing *dealing_new(const struct mask_weights *weights)
{
    const struct plan *plan = weights->plan;
    struct dealing *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->deal.weights = weights;
    for (size_t i = 0; i < plan->variant_count; i++)
        for (size_t j = 0; j < plan->variants[i].op_count; j++)
            d->section_bytes = MAX(d->section_bytes, plan->variants[i].ops[j].tape_bytes);
    d->section = secret_alloc(d->section_bytes);
    if (!d->section || walk_init(&d->deal.walk, plan) < 0) {
        dealing_free(d);
        return NULL;
    }
    d->deal.walk.kernels = weights->kernels;
    return d;
}

void dealing_free(struct dealing *d)
{
    if (!d)
        return;
    walk_free(&d->deal.walk);
    secret_free(d->section, d->section_bytes);
    free(d);
}

static int deal_ops(struct dealing *d, deal_emit *emit, void *context)
{
    const struct variant *v = d->deal.walk.variant;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < v->op_count; i++) {
        const struct op_kind *kind = op_kind(v->ops[i].id);

        if (kind->deal)
            kind->deal(&d->deal, &v->ops[i], d->section);
        if (v->ops[i].tape_bytes)
            rc = emit(context, d->section, v->ops[i].tape_bytes);
    }
    return rc;
}

int deal_tape(struct dealing *d, const struct variant *v, const uint8_t seed[2][PRG_SEED_BYTES],
              deal_emit *emit, void *context)
{
    int rc = -ENOMEM;

    d->deal.walk.variant = v;
    d->deal.prg[0] = prg_new(seed[0]);
    d->deal.prg[1] = prg_new(seed[1]);
    if (d->deal.prg[0] && d->deal.prg[1])
        rc = deal_ops(d, emit, context);
    walk_wipe(&d->deal.walk);
    secret_wipe(d->section, d->section_bytes);
    prg_free(d->deal.prg[0]);
    prg_free(d->deal.prg[1]);
    d->deal.prg[0] = d->deal.prg[1] = NULL;
    return rc;
}
