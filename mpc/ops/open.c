/* open: [x] -> x^ = x + r. One round, l/8 bytes an element. */
#include "mpc/op.h"

#include <string.h>

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    (void)plan;
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != WIRE_SHARE)
        return err_set(err, -EINVAL, "its input is no share wire");
    *ret = v->wires[op->in[0]];
    ret->kind = WIRE_MASKED;
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    const struct wire *out = &v->wires[op->out];

    (void)plan;
    ret->bytes_online = ring_bytes(wire_elements(out), out->ring);
    ret->rounds_online = 1;
    ret->scratch_words = wire_elements(out);
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    (void)err;
    memcpy(walk_at(&c->walk, op->out), walk_at(&c->walk, op->in[0]),
           wire_elements(op_wire(&c->walk, op->out)) * sizeof(uint64_t));
    return 0;
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    size_t count = wire_elements(op_wire(&d->walk, op->out));
    uint64_t *r = walk_mask(&d->walk, op->out), *r1 = d->walk.scratch;

    (void)tape;
    prg_words(d->prg[0], op->index, STREAM_MASK, 0, r, count);
    prg_words(d->prg[1], op->index, STREAM_MASK, 0, r1, count);
    for (size_t i = 0; i < count; i++)
        r[i] += r1[i];
}

static void prepare(struct prepare *p, const struct op *op)
{
    prg_words(p->prg, op->index, STREAM_MASK, 0, walk_mask(&p->walk, op->out),
              wire_elements(op_wire(&p->walk, op->out)));
}

static int online(struct online *o, const struct op *op)
{
    const struct wire *out = op_wire(&o->walk, op->out);
    const struct op_opening open = {
        .o = o,
        .op = op,
        .share = walk_at(&o->walk, op->in[0]),
        .mask = walk_mask(&o->walk, op->out),
        .hat = walk_at(&o->walk, op->out),
        .ring = out->ring,
    };

    return op_send(o, op, wire_elements(out), out->ring / 8, 1, op_opening_fill, op_opening_use,
                   &open, sizeof(open));
}

const struct op_kind op_open_kind = {
    .name = "open",
    .inputs_min = 1,
    .inputs_max = 1,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .prepare = prepare,
    .online = online,
    .pulls = true,
};
