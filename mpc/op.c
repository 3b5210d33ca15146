#include "mpc/op.h"

#include "base/secret.h"
#include "mpc/tape.h"

#include <assert.h>
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
    [OP_DIFFERENCE] = &op_difference,
    [OP_SPLINE] = &op_spline,
    [OP_JOIN] = &op_join,
    [OP_PRESENCE] = &op_presence,
    [OP_ADD_PRESENCE] = &op_add_presence,
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
        prg_words(prg, op->index, stream, 0, ret, count);
    else
        kernels_here()->unpack(ret, op_tape(tape, op) + at, count, ring);
}

void op_deal_correction(struct deal *d, const struct op *op, enum op_stream stream,
                        const uint64_t *value, size_t count, unsigned int ring, uint8_t *tape,
                        uint64_t *scratch)
{
    prg_words(d->prg[0], op->index, stream, 0, scratch, count);
    for (size_t i = 0; i < count; i++)
        scratch[i] = value[i] - scratch[i];
    d->walk.kernels->pack(tape, scratch, count, ring);
}

void op_fields(const struct online *o, const struct op *op, enum op_stream stream, size_t at,
               size_t first, uint64_t *ret, size_t count, unsigned int bits)
{
    if (o->party == 0)
        prg_words(o->prg, op->index, stream, first, ret, count);
    else
        o->walk.kernels->unpack_fields(ret, op_tape(o->tape, op) + at + first / 8 * bits, count,
                                       bits);
}

void op_deal_fields(struct deal *d, const struct op *op, enum op_stream stream,
                    const uint64_t *value, size_t count, unsigned int bits, uint8_t *tape,
                    uint64_t *scratch)
{
    prg_words(d->prg[0], op->index, stream, 0, scratch, count);
    for (size_t i = 0; i < count; i++)
        scratch[i] = value[i] - scratch[i];
    d->walk.kernels->pack_fields(tape, scratch, count, bits);
}

/* --- streams --- */

/* Rows that a streamed product computes at once: enough for a packed weight to be worth its way
 * through the cache, few enough that the first are on the wire while the last are computed. */
#define ROWS_AT_ONCE 64

uint8_t op_spend_on(struct online *o, uint8_t kind)
{
    uint64_t now = time_ns();
    uint8_t before = o->kind;

    if (before)
        o->stats->kind[before].ns += now - o->mark_ns;
    o->mark_ns = now;
    o->kind = kind;
    return before;
}

void op_begin(struct online *o, struct online_stats *stats)
{
    o->stats = stats;
    o->mark_ns = time_ns();
    o->kind = 0;
    for (unsigned int i = 0; i < 2; i++)
        o->rounds[i].round = (struct round){0};
    memset(o->rows_ready, 0, o->walk.variant->wire_count * sizeof(*o->rows_ready));
}

static int take(struct online *o, struct op_round *r, size_t units)
{
    uint8_t before;
    int rc;

    if (r->round.taken >= units)
        return 0;
    before = op_spend_on(o, r->kind);
    rc = exchange_take(o->exchange, &r->round, units);
    op_spend_on(o, before);
    return rc;
}

static int compute_rows(struct online *o, const struct op *op, size_t rows)
{
    uint32_t *ready = &o->rows_ready[op->out];
    uint8_t before = op_spend_on(o, op->id);
    int rc = 0;

    while (rc == 0 && *ready < rows) {
        size_t count = MIN((size_t)ROWS_AT_ONCE, op_wire(&o->walk, op->out)->rows - *ready);

        rc = op_kind(op->id)->rows(o, op, *ready, count);
        *ready += (uint32_t)count;
    }
    op_spend_on(o, before);
    return rc;
}

int op_pull(struct online *o, uint32_t wire, size_t elements)
{
    const struct wire *w = op_wire(&o->walk, wire);
    struct op_round *r = &o->rounds[o->newest];

    if (w->streamed)
        return compute_rows(o, &o->walk.variant->ops[w->maker], (elements + w->cols - 1) / w->cols);
    if (r->round.taken == r->round.count || r->out != wire)
        return 0;
    return take(o, r, MIN((elements + r->unit_elements - 1) / r->unit_elements, r->round.count));
}

int op_settle(struct online *o)
{
    struct op_round *r = &o->rounds[o->newest];

    return take(o, r, r->round.count);
}

static int pull_units(void *context, size_t first, size_t count)
{
    /* The context stands in the round that it is of. */
    struct op_round *r = (void *)((uint8_t *)context - offsetof(struct op_round, context));
    const struct wire *in = op_wire(&r->online->walk, r->in);

    return op_pull(r->online, r->in, MIN((first + count) * r->unit_elements, wire_elements(in)));
}

int op_send(struct online *o, const struct op *op, size_t units, size_t unit_bytes,
            size_t unit_elements, exchange_fill *fill, exchange_use *use, const void *context,
            size_t context_bytes)
{
    struct op_round *before = &o->rounds[o->newest], *r = &o->rounds[!o->newest];
    size_t block;
    int rc;

    /* No more than the rows that a streamed input is computed by. */
    block = ROWS_AT_ONCE * op_wire(&o->walk, op->in[0])->cols / unit_elements;
    r->round = (struct round){.count = units,
                              .unit_bytes = unit_bytes,
                              .block = wire_padded(MAX(block, (size_t)EXCHANGE_UNITS)),
                              .ready = pull_units,
                              .fill = fill,
                              .use = use,
                              .context = r->context};
    r->online = o;
    r->in = op->in[0];
    r->out = op->out;
    r->unit_elements = unit_elements;
    r->kind = op->id;
    assert(context_bytes <= sizeof(r->context));
    memcpy(r->context, context, context_bytes);
    rc = exchange_send(o->exchange, &r->round, &before->round);
    if (rc == 0)
        rc = take(o, before, before->round.count);
    o->newest = !o->newest;
    return rc;
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

void op_opening_fill(void *context, size_t first, size_t count, uint8_t *to)
{
    const struct op_opening *open = context;
    uint64_t *mask = open->mask + first;

    prg_words(open->o->prg, open->op->index, STREAM_MASK, first, mask, count);
    open->o->walk.kernels->hide(open->hat + first, to, open->share + first, mask, count,
                                open->ring);
    CT_DECLASSIFY(open->hat + first, count * sizeof(*open->hat));
}

void op_opening_use(void *context, size_t first, size_t count, const uint8_t *from)
{
    const struct op_opening *open = context;

    open->o->walk.kernels->unpack_add(open->hat + first, from, count, open->ring);
}

int op_open(struct online *o, const struct op *op, const uint64_t *share, uint64_t *mask,
            uint64_t *hat, size_t count, unsigned int ring)
{
    struct op_opening open = {
        .o = o, .op = op, .share = share, .mask = mask, .hat = hat, .ring = ring};

    return exchange_all(o->exchange, count, ring / 8, op_opening_fill, op_opening_use, &open);
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
        prg_words(c->rounding_prg, op->index, STREAM_BITS, 0, draw, wire_elements(in));
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
