#include "mpc/op.h"

#include "base/secret.h"
#include "mpc/tape.h"

#include <math.h>
#include <string.h>

static const struct op_kind *const kinds[OP_ID_END] = {
    [OP_INPUT] = &op_input,
    [OP_OPEN] = &op_open_kind,
    [OP_CUT] = &op_cut,
    [OP_MATMUL] = &op_matmul,
    [OP_MUL] = &op_mul,
    [OP_SQUARE] = &op_square,
    [OP_TRUNCATE] = &op_truncate,
    [OP_AFFINE] = &op_affine,
    [OP_ADD] = &op_add,
    [OP_CENTRE] = &op_centre,
    [OP_ROW_SUM] = &op_row_sum,
    [OP_LENGTH_MASK] = &op_length_mask,
    [OP_LENGTH_SCALE] = &op_length_scale,
    [OP_UNMASK] = &op_unmask,
    [OP_RANGE] = &op_range,
    [OP_COMPARE] = &op_compare,
    [OP_BIT_TO_RING] = &op_bit_to_ring,
    [OP_DOT] = &op_dot,
    [OP_SELECT] = &op_select,
    [OP_LOOKUP] = &op_lookup,
    [OP_VIEW] = &op_view,
    [OP_OUTPUT] = &op_output,
};

const struct op_kind *op_kind(unsigned int id)
{
    return id < OP_ID_END ? kinds[id] : NULL;
}

const uint8_t *op_tape(const struct tape *tape, const struct op *op)
{
    return tape->blob + op->tape_offset;
}

uint64_t *op_prepared(const struct tape *tape, const struct op *op)
{
    return tape->prepared + op->prepared_offset;
}

void op_correction(struct prg *prg, const struct tape *tape, unsigned int party,
                   const struct op *op, enum op_stream stream, size_t at, uint64_t *ret,
                   size_t count, unsigned int ring)
{
    if (party == 0)
        prg_words(prg, op->index, stream, ret, count);
    else
        kernels_here()->unpack(ret, op_tape(tape, op) + at, count, ring);
}

void op_deal_correction(struct deal *d, const struct op *op, enum op_stream stream,
                        const uint64_t *value, size_t count, unsigned int ring, uint8_t *tape,
                        uint64_t *scratch)
{
    prg_words(d->prg[0], op->index, stream, scratch, count);
    for (size_t i = 0; i < count; i++)
        scratch[i] = value[i] - scratch[i];
    d->walk.kernels->pack(tape, scratch, count, ring);
}

void op_fields(struct prg *prg, const struct tape *tape, unsigned int party, const struct op *op,
               enum op_stream stream, size_t at, uint64_t *ret, size_t count, unsigned int bits)
{
    if (party == 0)
        prg_words(prg, op->index, stream, ret, count);
    else
        ring_unpack_fields(ret, op_tape(tape, op) + at, count, bits);
}

void op_deal_fields(struct deal *d, const struct op *op, enum op_stream stream,
                    const uint64_t *value, size_t count, unsigned int bits, uint8_t *tape,
                    uint64_t *scratch)
{
    prg_words(d->prg[0], op->index, stream, scratch, count);
    for (size_t i = 0; i < count; i++)
        scratch[i] = value[i] - scratch[i];
    ring_pack_fields(tape, scratch, count, bits);
}

static void fill_words(void *context, size_t first, size_t count, uint8_t *to)
{
    const uint64_t *words = context;

    memcpy(to, words + first, count * sizeof(*words));
}

static void xor_words(void *context, size_t first, size_t count, const uint8_t *from)
{
    uint64_t *words = context;

    for (size_t i = 0; i < count; i++) {
        uint64_t theirs;

        memcpy(&theirs, from + i * sizeof(theirs), sizeof(theirs));
        words[first + i] ^= theirs;
    }
}

int op_open_bits(struct online *o, uint64_t *words, size_t count)
{
    CT_DECLASSIFY(words, count * sizeof(*words));
    return exchange_all(o->exchange, count, sizeof(*words), fill_words, xor_words, words);
}

struct opening {
    uint64_t *hat;
    unsigned int ring;
    const struct kernels *kernels;
};

static void fill_elements(void *context, size_t first, size_t count, uint8_t *to)
{
    const struct opening *open = context;

    open->kernels->pack(to, open->hat + first, count, open->ring);
}

static void add_elements(void *context, size_t first, size_t count, const uint8_t *from)
{
    const struct opening *open = context;

    open->kernels->unpack_add(open->hat + first, from, count, open->ring);
}

int op_open(struct online *o, const uint64_t *share, const uint64_t *mask, uint64_t *hat,
            size_t count, unsigned int ring)
{
    struct opening open = {.hat = hat, .ring = ring, .kernels = o->walk.kernels};

    for (size_t i = 0; i < count; i++)
        hat[i] = share[i] + mask[i];
    CT_DECLASSIFY(hat, count * sizeof(*hat));
    return exchange_all(o->exchange, count, ring / 8, fill_elements, add_elements, &open);
}

void clear_note(struct clear *c, const struct op *op, double value_max, double limit)
{
    struct clear_report *report;

    if (!c->reports)
        return;
    report = &c->reports[op->index];
    report->op = op->index;
    if (value_max < report->value_max)
        return;
    report->value_max = value_max;
    report->headroom_bits = log2(limit / fmax(value_max, 1));
}

/* The fraction of a unit that a floor drops is the chance of the ceiling. */
int op_clear_truncate(struct clear *c, const struct op *op, unsigned int shift, struct err *err)
{
    const struct wire *in = op_wire(&c->walk, op->in[0]);
    const int64_t *x = (const int64_t *)walk_at(&c->walk, op->in[0]);
    uint64_t *y = walk_at(&c->walk, op->out), *draw = c->walk.scratch;
    double limit = ldexp(1, in->ring - 2) - ldexp(1, (int)shift), top = 0;

    if (c->rounding == CLEAR_RANDOM)
        prg_words(c->rounding_prg, op->index, STREAM_BITS, draw, wire_elements(in));
    for (size_t i = 0; i < wire_elements(in); i++) {
        uint64_t up = c->rounding == CLEAR_RANDOM ? draw[i] & ((1ull << shift) - 1) : 0;

        top = fmax(top, fabs((double)x[i]));
        y[i] = (uint64_t)((int64_t)((uint64_t)x[i] + up) >> shift);
    }
    clear_note(c, op, top, limit);
    if (top > limit)
        return err_set(err, -ERANGE,
                       "operation %u (%s): a value of %.3g units is past the %.3g that a ring of "
                       "%u bits truncates faithfully; take a wider ring or fewer fraction bits",
                       op->index, op_kind(op->id)->name, top, limit, in->ring);
    return 0;
}

int clear_check(struct clear *c, const struct op *op, const double *exact, struct err *err)
{
    const struct wire *w = op_wire(&c->walk, op->out);
    uint64_t *value = walk_at(&c->walk, op->out);
    double limit = ldexp(1, w->ring - 1), top = 0;

    for (size_t i = 0; i < wire_elements(w); i++) {
        value[i] = (uint64_t)ring_signed(value[i], w->ring);
        top = fmax(top, fabs(exact[i]));
    }
    clear_note(c, op, top, limit);
    /* Sums of exact doubles may be off in their last places: those are far below the limit. */
    if (top >= limit * (1 - 1e-6))
        return err_set(err, -ERANGE,
                       "operation %u (%s): a value of %.3g units leaves the ring of %u bits; take "
                       "a wider ring or fewer fraction bits",
                       op->index, op_kind(op->id)->name, top, w->ring);
    return 0;
}
