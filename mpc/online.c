#include "mpc/online.h"

#include "base/secret.h"
#include "mpc/walk.h"

#include <stdlib.h>
#include <string.h>

struct party {
    struct online online;
};

struct party *party_new(const struct model *model, struct workers *workers)
{
    struct party *p = calloc(1, sizeof(*p));
    size_t wires = 0;

    if (!p)
        return NULL;
    for (size_t i = 0; i < model->plan->variant_count; i++)
        wires = MAX(wires, model->plan->variants[i].wire_count);
    p->online.rows_ready = calloc(wires + 1, sizeof(*p->online.rows_ready));
    if (!p->online.rows_ready || walk_init(&p->online.walk, model->plan, workers) < 0) {
        free(p->online.rows_ready);
        free(p);
        return NULL;
    }
    p->online.walk.kernels = model->kernels;
    p->online.model = model;
    p->online.party = model->party;
    return p;
}

void party_free(struct party *p)
{
    if (!p)
        return;
    walk_free(&p->online.walk);
    free(p->online.rows_ready);
    free(p);
}

void party_wipe(struct party *p)
{
    walk_wipe(&p->online.walk);
}

uint64_t *party_input(struct party *p, const struct variant *v)
{
    p->online.walk.variant = v;
    return walk_at(&p->online.walk, 0); /* the first operation's, since no other has no input */
}

static int run_op(struct online *o, const struct op *op, struct online_stats *stats)
{
    const struct op_kind *kind = op_kind(op->id);
    struct exchange *x = o->exchange;
    uint64_t bytes = x->bytes_sent, rounds = x->rounds;
    int rc = 0;

    /* Made when it is asked for. */
    if (op->out != OPERAND_NONE && op_wire(&o->walk, op->out)->streamed)
        return 0;
    if (!kind->pulls)
        rc = op_settle(o);
    op_spend_on(o, op->id);
    if (rc == 0 && kind->online)
        rc = kind->online(o, op);
    stats->kind[op->id].bytes += x->bytes_sent - bytes;
    stats->kind[op->id].rounds += x->rounds - rounds;
    return rc;
}

static bool lengths_fit(const struct variant *v, const uint32_t lengths[])
{
    for (size_t i = 0; i < v->batch; i++)
        if (lengths[i] < (v->length == LENGTH_BUCKET ? v->tokens : 1) || lengths[i] > v->tokens)
            return false;
    return true;
}

int party_run(struct party *p, const struct tape *tape, struct exchange *x,
              const uint32_t lengths[], const uint64_t *input, uint64_t *ret_output,
              struct online_stats *stats)
{
    struct online *o = &p->online;
    const struct variant *v = tape->variant;
    uint64_t start = time_ns(), bytes = x->bytes_sent, rounds = x->rounds;
    int rc = 0;

    memset(stats, 0, sizeof(*stats));
    if (tape->plan != o->model->plan || !tape_complete(tape) || !lengths_fit(v, lengths))
        return -EINVAL;
    o->prg = prg_new(tape->seed);
    if (!o->prg)
        return -ENOMEM;
    o->walk.variant = v;
    memcpy(o->walk.length, lengths, v->batch * sizeof(*lengths));
    o->tape = tape;
    o->exchange = x;
    o->input = input;
    o->output = ret_output;
    op_begin(o, stats);
    for (size_t i = 0; rc == 0 && i < v->op_count; i++)
        rc = run_op(o, &v->ops[i], stats);
    op_spend_on(o, 0);
    prg_free(o->prg);
    o->prg = NULL;
    stats->ns = time_ns() - start;
    stats->bytes = x->bytes_sent - bytes;
    stats->rounds = x->rounds - rounds;
    return rc;
}
