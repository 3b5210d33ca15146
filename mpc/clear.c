#include "mpc/clear.h"

#include "mpc/walk.h"

#include <stdlib.h>
#include <string.h>

static int run(struct clear *c, struct err *err)
{
    const struct variant *v = c->walk.variant;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < v->op_count; i++)
        rc = op_kind(v->ops[i].id)->clear(c, &v->ops[i], err);
    return rc;
}

int clear_run(const struct plan *plan, const struct variant *v, const uint64_t *const *weights,
              const uint64_t *input, const uint32_t lengths[], enum clear_rounding rounding,
              const uint8_t seed[PRG_SEED_BYTES], struct clear_report *reports, int64_t *ret_output,
              struct err *err)
{
    struct clear c = {.weights = weights, .input = input, .rounding = rounding, .reports = reports};
    size_t answers = plan_answers(plan, v);
    uint64_t *output = calloc(answers, sizeof(*output));
    int rc = walk_init_variant(&c.walk, plan, v, NULL);

    memcpy(c.walk.length, lengths, v->batch * sizeof(*lengths));
    c.output = output;
    c.rounding_prg = prg_new(seed);
    if (rc == 0 && (!output || !c.rounding_prg))
        rc = -ENOMEM;
    rc = rc < 0 ? err_set(err, rc, "no memory for the clear executor") : run(&c, err);
    for (size_t i = 0; rc == 0 && i < answers; i++)
        ret_output[i] = ring_signed(output[i], plan->ring);
    prg_free(c.rounding_prg);
    walk_free(&c.walk);
    free(output);
    return rc;
}
