/*
 * From XOR-shared bits to the ring. The dealer deals a random bit B as XOR shares (from the two
 * seeds) and as [B]; m = b XOR B is opened, and
 *
 *     bit to ring:  [b]   = m + (1 - 2m) [B]
 *     select:       [b x] = m [x] + (1 - 2m) (x^ [B] - [B r_x]).
 */
#include "base/secret.h"
#include "mpc/ops/product.h"
#include "mpc/tape.h"

#include <stdlib.h>
#include <string.h>

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    const struct wire *x;

    (void)plan;
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != WIRE_BITS)
        return err_set(err, -EINVAL, "its input holds no bits");
    *ret = v->wires[op->in[0]];
    ret->kind = WIRE_SHARE;
    ret->frac = 0;
    if (op->id != OP_SELECT)
        return 0;
    if (product_need_whole(v, op->in[1], err) < 0)
        return -EINVAL;
    x = &v->wires[op->in[1]];
    if (wire_elements(x) != ret->rows || x->ring != ret->ring)
        return err_set(err, -EINVAL, "its bits are not one row an element");
    ret->frac = x->frac;
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    const struct wire *out = &v->wires[op->out];
    size_t count = wire_elements(out), words = ring_bit_words(count);

    (void)plan;
    ret->bytes_online = words * sizeof(uint64_t);
    ret->rounds_online = 1;
    ret->bytes_tape = ring_bytes(count, out->ring) * (op->id == OP_SELECT ? 2 : 1);
    ret->scratch_words = 2 * words + 2 * count;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    const struct wire *out = op_wire(&c->walk, op->out);
    const uint64_t *bits = walk_at(&c->walk, op->in[0]);
    uint64_t *z = walk_at(&c->walk, op->out);

    (void)err;
    for (size_t i = 0; i < wire_elements(out); i++) {
        uint64_t bit = bits[i / 64] >> i % 64 & 1;

        z[i] = op->id == OP_SELECT ? bit * walk_at(&c->walk, op->in[1])[i / out->cols] : bit;
    }
    return 0;
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    const struct wire *out = op_wire(&d->walk, op->out);
    size_t count = wire_elements(out), words = ring_bit_words(count);
    uint64_t *b0 = d->walk.scratch, *b1 = b0 + words, *c = b1 + words, *scratch = c + count;

    prg_words(d->prg[0], op->index, STREAM_BITS, b0, words);
    prg_words(d->prg[1], op->index, STREAM_BITS, b1, words);
    for (size_t i = 0; i < count; i++)
        c[i] = (b0[i / 64] ^ b1[i / 64]) >> i % 64 & 1;
    op_deal_correction(d, op, STREAM_CORR, c, count, out->ring, tape, scratch);
    if (op->id != OP_SELECT)
        return;
    for (size_t i = 0; i < count; i++)
        c[i] *= walk_mask(&d->walk, op->in[1])[i / out->cols];
    op_deal_correction(d, op, STREAM_CORR_2, c, count, out->ring,
                       tape + ring_bytes(count, out->ring), scratch);
}

/* m in the words of the scratch; [B] in *ret_b, which has an element a bit. */
static int open_bits(struct online *o, const struct op *op, uint64_t *m, uint64_t *ret_b)
{
    const struct wire *out = op_wire(&o->walk, op->out);
    const uint64_t *bits = walk_at(&o->walk, op->in[0]);
    size_t count = wire_elements(out), words = ring_bit_words(count);

    prg_words(o->prg, op->index, STREAM_BITS, m, words);
    for (size_t i = 0; i < words; i++)
        m[i] ^= bits[i];
    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, 0, ret_b, count, out->ring);
    return op_open_bits(o, m, words);
}

static int to_ring_online(struct online *o, const struct op *op)
{
    size_t count = wire_elements(op_wire(&o->walk, op->out));
    uint64_t *m = o->walk.scratch, *z = walk_at(&o->walk, op->out), first = o->party == 0;
    int rc = open_bits(o, op, m, z);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint64_t bit = m[i / 64] >> i % 64 & 1;

        z[i] = first * bit + (1 - 2 * bit) * z[i];
    }
    return rc;
}

static int select_online(struct online *o, const struct op *op)
{
    const struct wire *out = op_wire(&o->walk, op->out);
    size_t count = wire_elements(out), words = ring_bit_words(count);
    const uint64_t *hat = walk_at(&o->walk, op->in[1]), *r = walk_mask(&o->walk, op->in[1]);
    uint64_t *m = o->walk.scratch, *b = m + words, *br = b + count;
    uint64_t *z = walk_at(&o->walk, op->out), first = o->party == 0;
    int rc = open_bits(o, op, m, b);

    if (rc < 0)
        return rc;
    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR_2, ring_bytes(count, out->ring), br,
                  count, out->ring);
    for (size_t i = 0; i < count; i++) {
        uint64_t bit = m[i / 64] >> i % 64 & 1;
        uint64_t xh = hat[i / out->cols], x = first * xh - r[i / out->cols];

        z[i] = bit * x + (1 - 2 * bit) * (xh * b[i] - br[i]);
    }
    return 0;
}

const struct op_kind op_bit_to_ring = {
    .name = "bit to ring",
    .inputs_min = 1,
    .inputs_max = 1,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = to_ring_online,
};

const struct op_kind op_select = {
    .name = "select",
    .inputs_min = 2,
    .inputs_max = 2,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = select_online,
};
