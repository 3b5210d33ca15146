/*
 * lookup of a public table T of 2^m rows at a shared index: open v^ = idx + p modulo 2^m; the
 * dealer XOR-shares the one-hot vector h of p, and
 *
 *     S_0 = sum_j h_0[j] T[v^ - j],   S_1 = - sum_j h_1[j] T[v^ - j],   S_0 + S_1 = sg T[idx],
 *
 * with sg = h_0[p] - h_1[p] = +-1, which the dealer knows. S is opened under r_S; with [sg] and
 * [sg r_S] the entry is sg S^ - sg r_S. Two rounds. The index may be one off (it comes from a
 * faithful truncation), so tables have guard entries at both ends of their domain.
 */
#include "base/secret.h"
#include "mpc/op.h"
#include "mpc/tape.h"

#include <string.h>

static const struct table *table_of(const struct walk *w, const struct op *op)
{
    return &w->plan->tables[op->attr[LOOKUP_TABLE]];
}

/* 64-bit words of one one-hot vector; a table of fewer than 64 rows takes a whole word. */
static size_t hot_words(const struct table *t)
{
    return ring_bit_words((size_t)1 << t->bits);
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    int64_t frac = op->attr[LOOKUP_FRAC], number = op->attr[LOOKUP_TABLE];

    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != WIRE_SHARE)
        return err_set(err, -EINVAL, "its index is no share wire");
    if (number < 0 || (uint64_t)number >= plan->table_count)
        return err_set(err, -EINVAL, "it names table %" PRId64 " of %zu", number,
                       plan->table_count);
    if (frac < -64 || frac > 64)
        return err_set(err, -EINVAL, "its result has %" PRId64 " fraction bits", frac);
    *ret = v->wires[op->in[0]];
    if (wire_elements(ret) > PLAN_DIM_MAX)
        return err_set(err, -EINVAL, "%zu lookups at once", wire_elements(ret));
    ret->rows = (uint32_t)wire_elements(ret);
    ret->cols = plan->tables[number].cols;
    ret->frac = (int8_t)frac;
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    const struct table *t = &plan->tables[op->attr[LOOKUP_TABLE]];
    const struct wire *out = &v->wires[op->out];
    size_t count = out->rows, values = wire_elements(out);

    ret->bytes_online = count * sizeof(uint16_t) + ring_bytes(values, out->ring);
    ret->rounds_online = 2;
    ret->bytes_tape = count * hot_words(t) * sizeof(uint64_t) + ring_bytes(count, out->ring) +
                      ring_bytes(values, out->ring);
    ret->scratch_words = count * hot_words(t) + 3 * count + 4 * values;
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    const struct table *t = table_of(&c->walk, op);
    const struct wire *out = op_wire(&c->walk, op->out);
    const int64_t *index = (const int64_t *)walk_at(&c->walk, op->in[0]);
    uint64_t *z = walk_at(&c->walk, op->out);

    for (size_t i = 0; i < out->rows; i++) {
        /* One entry at each end is the guard of a faithful index. */
        if (index[i] < 1 || index[i] > (1 << t->bits) - 2)
            return err_set(err, -ERANGE,
                           "operation %u (lookup): index %" PRId64 " leaves a table of %d rows",
                           op->index, index[i], 1 << t->bits);
        for (size_t j = 0; j < t->cols; j++)
            z[i * t->cols + j] = (uint64_t)t->entries[(size_t)index[i] * t->cols + j];
    }
    return 0;
}

/* All ones when a == b, else zero, without a branch. */
static uint64_t equal_mask(uint64_t a, uint64_t b)
{
    uint64_t x = a ^ b;

    return ((x | (0 - x)) >> 63) - 1;
}

/* XOR the one-hot vector of @p into @hot, which is party 0's share; return party 0's bit at p. */
static uint64_t one_hot(uint64_t *hot, size_t words, uint64_t p)
{
    uint64_t one = 1ull << (p & 63), seen = 0;

    for (size_t w = 0; w < words; w++) {
        uint64_t here = equal_mask(w, p >> 6) & one;

        seen |= hot[w] & here;
        hot[w] ^= here;
    }
    return seen >> (p & 63);
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    const struct table *t = table_of(&d->walk, op);
    const struct wire *out = op_wire(&d->walk, op->out);
    size_t count = out->rows, values = wire_elements(out), words = hot_words(t);
    uint64_t *hot = d->walk.scratch, *p = hot + count * words, *p1 = p + count;
    uint64_t *r = p1 + count, *r1 = r + values, *scratch = r1 + values;

    prg_words(d->prg[0], op->index, STREAM_INDEX, 0, p, count);
    prg_words(d->prg[1], op->index, STREAM_INDEX, 0, p1, count);
    prg_words(d->prg[0], op->index, STREAM_TABLES, 0, hot, count * words);
    prg_words(d->prg[0], op->index, STREAM_MASK, 0, r, values);
    prg_words(d->prg[1], op->index, STREAM_MASK, 0, r1, values);
    for (size_t i = 0; i < count; i++) {
        uint64_t place = (p[i] + p1[i]) & ring_mask(t->bits);

        p[i] = 2 * one_hot(hot + i * words, words, place) - 1;
    }
    memcpy(tape, hot, count * words * sizeof(*hot));
    tape += count * words * sizeof(*hot);
    op_deal_correction(d, op, STREAM_CORR, p, count, out->ring, tape, scratch);
    for (size_t i = 0; i < values; i++)
        r[i] = p[i / t->cols] * (r[i] + r1[i]);
    op_deal_correction(d, op, STREAM_CORR_2, r, values, out->ring,
                       tape + ring_bytes(count, out->ring), scratch);
}

static void fill_index(void *context, size_t first, size_t count, uint8_t *to)
{
    const uint64_t *v = context;

    for (size_t i = 0; i < count; i++)
        memcpy(to + 2 * i, &v[first + i], 2);
}

static void add_index(void *context, size_t first, size_t count, const uint8_t *from)
{
    uint64_t *v = context;

    for (size_t i = 0; i < count; i++) {
        uint16_t theirs;

        memcpy(&theirs, from + 2 * i, 2);
        v[first + i] += theirs;
    }
}

/* v^ = idx + p modulo 2^m, in @v. */
static int open_index(struct online *o, const struct op *op, const struct table *t, uint64_t *v,
                      size_t count)
{
    const uint64_t *index = walk_at(&o->walk, op->in[0]);
    int rc;

    prg_words(o->prg, op->index, STREAM_INDEX, 0, v, count);
    for (size_t i = 0; i < count; i++)
        v[i] = (index[i] + v[i]) & ring_mask(t->bits);
    CT_DECLASSIFY(v, count * sizeof(*v));
    rc = exchange_all(o->exchange, count, sizeof(uint16_t), fill_index, add_index, v);
    for (size_t i = 0; i < count; i++)
        v[i] &= ring_mask(t->bits);
    return rc;
}

/* S: every row of the table is read; the secret bits only mask what is added. */
static void masked_sum(const struct table *t, const uint64_t *hot, uint64_t v, uint64_t *ret)
{
    uint64_t rows = 1ull << t->bits;

    memset(ret, 0, t->cols * sizeof(*ret));
    for (uint64_t j = 0; j < rows; j++) {
        const int64_t *entry = t->entries + ((v - j) & (rows - 1)) * t->cols;
        uint64_t mask = 0 - (hot[j / 64] >> j % 64 & 1);

        for (size_t c = 0; c < t->cols; c++)
            ret[c] += mask & (uint64_t)entry[c];
    }
}

static int online(struct online *o, const struct op *op)
{
    const struct table *t = table_of(&o->walk, op);
    const struct wire *out = op_wire(&o->walk, op->out);
    size_t count = out->rows, values = wire_elements(out), words = hot_words(t);
    size_t hot_bytes = count * words * sizeof(uint64_t);
    uint64_t *hot = o->walk.scratch, *v = hot + count * words, *sg = v + count;
    uint64_t *s = sg + count, *r = s + values, *hat = r + values, *sgr = hat + values;
    uint64_t *z = walk_at(&o->walk, op->out);
    int rc = open_index(o, op, t, v, count);

    if (rc < 0)
        return rc;
    if (o->party == 0)
        prg_words(o->prg, op->index, STREAM_TABLES, 0, hot, count * words);
    else
        memcpy(hot, op_tape(o->tape, op), hot_bytes);
    for (size_t i = 0; i < count; i++)
        masked_sum(t, hot + i * words, v[i], s + i * t->cols);
    for (size_t i = 0; i < values; i++)
        s[i] *= o->party == 0 ? 1 : UINT64_MAX;
    prg_words(o->prg, op->index, STREAM_MASK, 0, r, values);
    rc = op_open(o, s, r, hat, values, out->ring);
    if (rc < 0)
        return rc;
    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, hot_bytes, sg, count, out->ring);
    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR_2,
                  hot_bytes + ring_bytes(count, out->ring), sgr, values, out->ring);
    for (size_t i = 0; i < values; i++)
        z[i] = sg[i / t->cols] * hat[i] - sgr[i];
    return 0;
}

const struct op_kind op_lookup = {
    .name = "lookup",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = LOOKUP_ATTRS,
    .attrs_max = LOOKUP_ATTRS,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .online = online,
};
