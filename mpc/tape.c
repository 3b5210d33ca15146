#include "mpc/tape.h"

#include "base/secret.h"
#include "mpc/model.h"
#include "mpc/walk.h"

#include <stdlib.h>
#include <string.h>

static size_t blob_bytes(const struct variant *v, unsigned int party)
{
    return party == 1 ? v->tape_bytes : 0;
}

size_t tape_memory(const struct variant *variant, unsigned int party)
{
    return blob_bytes(variant, party) + variant->prepared_words * sizeof(uint64_t);
}

struct tape *tape_new(const struct plan *plan, const struct variant *variant, unsigned int party,
                      uint64_t number, const uint8_t seed[PRG_SEED_BYTES])
{
    struct tape *t = secret_alloc(sizeof(*t));

    if (!t)
        return NULL;
    *t = (struct tape){.number = number, .party = party, .plan = plan, .variant = variant};
    memcpy(t->seed, seed, PRG_SEED_BYTES);
    t->blob = secret_alloc(blob_bytes(variant, party));
    t->prepared = secret_alloc(variant->prepared_words * sizeof(uint64_t));
    if (!t->blob || !t->prepared) {
        tape_free(t);
        return NULL;
    }
    return t;
}

void tape_free(struct tape *t)
{
    if (!t)
        return;
    secret_free(t->blob, blob_bytes(t->variant, t->party));
    secret_free(t->prepared, t->variant->prepared_words * sizeof(uint64_t));
    secret_free(t, sizeof(*t));
}

int tape_add(struct tape *t, const void *bytes, size_t count)
{
    if (count > blob_bytes(t->variant, t->party) - t->blob_filled)
        return -EPROTO;
    memcpy(t->blob + t->blob_filled, bytes, count);
    t->blob_filled += count;
    return 0;
}

int tape_prepare(struct tape *t, const struct model *model)
{
    struct prepare p = {.model = model, .tape = t, .party = t->party};
    const struct variant *v = t->variant;
    uint64_t start = time_ns();
    int rc;

    if (!tape_complete(t))
        return -EINVAL;
    rc = walk_init_variant(&p.walk, t->plan, v);
    p.walk.kernels = model->kernels;
    p.prg = prg_new(t->seed);
    if (rc == 0 && !p.prg)
        rc = -ENOMEM;
    for (size_t i = 0; rc == 0 && i < v->op_count; i++) {
        const struct op_kind *kind = op_kind(v->ops[i].id);

        if (kind->prepare)
            kind->prepare(&p, &v->ops[i]);
    }
    prg_free(p.prg);
    walk_free(&p.walk);
    t->prepare_ns = time_ns() - start;
    return rc;
}
