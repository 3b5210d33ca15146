/*
 * From XOR-shared bits to the ring. The dealer deals a random bit B as XOR shares (from the two
 * seeds) and as [B]; m = b XOR B is opened, and [b] = m + (1 - 2m) [B].
 */
#include "base/secret.h"
#include "mpc/op.h"
#include "mpc/tape.h"

#include <string.h>

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    (void)plan;
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != WIRE_BITS)
        return err_set(err, -EINVAL, "its input holds no bits");
    *ret = v->wires[op->in[0]];
    ret->kind = WIRE_SHARE;
    ret->frac = 0;
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
    ret->bytes_tape = ring_bytes(count, out->ring);
    ret->scratch_words = 2 * words + 2 * count;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    const struct wire *out = op_wire(&c->walk, op->out);
    const uint64_t *bits = walk_at(&c->walk, op->in[0]);
    uint64_t *z = walk_at(&c->walk, op->out);

    (void)err;
    for (size_t i = 0; i < wire_elements(out); i++)
        z[i] = bits[i / 64] >> i % 64 & 1;
    return 0;
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    const struct wire *out = op_wire(&d->walk, op->out);
    size_t count = wire_elements(out), words = ring_bit_words(count);
    uint64_t *b0 = d->walk.scratch, *b1 = b0 + words, *c = b1 + words, *scratch = c + count;

    prg_words(d->prg[0], op->index, STREAM_BITS, 0, b0, words);
    prg_words(d->prg[1], op->index, STREAM_BITS, 0, b1, words);
    for (size_t i = 0; i < count; i++)
        c[i] = (b0[i / 64] ^ b1[i / 64]) >> i % 64 & 1;
    op_deal_correction(d, op, STREAM_CORR, c, count, out->ring, tape, scratch);
}

static int online(struct online *o, const struct op *op)
{
    const struct wire *out = op_wire(&o->walk, op->out);
    const uint64_t *bits = walk_at(&o->walk, op->in[0]);
    uint64_t *m = o->walk.scratch, *z = walk_at(&o->walk, op->out), first = o->party == 0;
    size_t count = wire_elements(out), words = ring_bit_words(count);
    int rc;

    prg_words(o->prg, op->index, STREAM_BITS, 0, m, words);
    for (size_t i = 0; i < words; i++)
        m[i] ^= bits[i];
    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, 0, z, count, out->ring);
    rc = op_open_bits(o, m, words);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint64_t bit = m[i / 64] >> i % 64 & 1;

        z[i] = first * bit + (1 - 2 * bit) * z[i];
    }
    return rc;
}

const struct op_kind op_bit_to_ring = {
    .name = "bit to ring",
    .inputs_min = 1,
    .inputs_max = 1,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
