/*
 * matrix product of masked wires x^ (rows x inner) and y^ (inner x cols), a batch of them at once:
 *
 *     [xy]_i = x^ (i y^ - [r_y]_i) - [r_x]_i y^ + [r_x r_y]_i
 *
 * with no communication; the dealer deals r_x r_y. Party 1's half is also
 *
 *     (x^ - [r_x]_1) (y^ - [r_y]_1) - [r_x]_1 [r_y]_1 + [r_x r_y]_1,
 *
 * one product online, where the last two terms wait since the tape came; party 0's stays two. Which
 * party x^ y^ falls to is free: in a batch the parties take turns. When y is a weight, i W^ -
 * [r_W]_i was packed once a model, and [r_x r_W]_i - [r_x]_i W^ is computed when the tape comes:
 * one product is left online. A fixed product may add a bias row (or a row a token) and gain *
 * residual at its own scale; the sum of both products shares one correction.
 */
#include "base/secret.h"
#include "mpc/model.h"
#include "mpc/ops/product.h"
#include "mpc/tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    size_t batch, rows, inner, cols;
    size_t a_offset, a_batch, a_row;
    size_t b_offset, b_batch, b_row, b_col;
    size_t c_batch, c_row;
};

static struct shape shape_of(const struct op *op)
{
    const int64_t *a = op->attr;
    struct shape s = {
        .batch = (size_t)a[MATMUL_BATCH],
        .rows = (size_t)a[MATMUL_ROWS],
        .inner = (size_t)a[MATMUL_INNER],
        .cols = (size_t)a[MATMUL_COLS],
        .a_offset = (size_t)a[MATMUL_A_OFFSET],
        .a_batch = (size_t)a[MATMUL_A_BATCH],
        .a_row = (size_t)a[MATMUL_A_ROW],
        .b_offset = (size_t)a[MATMUL_B_OFFSET],
        .b_batch = (size_t)a[MATMUL_B_BATCH],
        .b_row = (size_t)a[MATMUL_B_ROW],
        .b_col = (size_t)a[MATMUL_B_COL],
    };

    s.c_batch = a[MATMUL_BESIDE] ? s.cols : s.rows * s.cols;
    s.c_row = a[MATMUL_BESIDE] ? s.batch * s.cols : s.cols;
    return s;
}

static bool fixed(const struct op *op)
{
    return operand_is_weight(op->in[MATMUL_B]);
}

static size_t out_count(const struct shape *s)
{
    return s->batch * s->rows * s->cols;
}

/* Whether x^ y^ of matrix @h falls to @party. */
static bool turn_of(size_t h, unsigned int party)
{
    return h % 2 == party;
}

/* Matrices of the batch for which it does. */
static size_t turns(const struct shape *s, unsigned int party)
{
    return (s->batch + 1 - party) / 2;
}

static int infer_attrs(const struct op *op, struct err *err)
{
    for (int i = MATMUL_BATCH; i <= MATMUL_COLS; i++)
        if (op->attr[i] < 1 || op->attr[i] > PLAN_DIM_MAX)
            return err_set(err, -EINVAL, "a dimension of %" PRId64, op->attr[i]);
    for (int i = MATMUL_A_OFFSET; i <= MATMUL_B_COL; i++)
        if (op->attr[i] < 0 || op->attr[i] > (int64_t)PLAN_ELEMENTS_MAX)
            return err_set(err, -EINVAL, "an offset or stride of %" PRId64, op->attr[i]);
    if (op->attr[MATMUL_BESIDE] < 0 || op->attr[MATMUL_BESIDE] > 1)
        return err_set(err, -EINVAL, "its results stand neither stacked nor side by side");
    return 0;
}

/* Both factors below 2^29: the sums of four products of them cannot overflow 64 bits. */
static int infer_views(const struct plan *plan, const struct variant *v, const struct op *op,
                       const struct shape *s, struct err *err)
{
    uint64_t a_last =
        s->a_offset + (s->batch - 1) * s->a_batch + (s->rows - 1) * s->a_row + s->inner - 1;
    uint64_t b_last = s->b_offset + (s->batch - 1) * s->b_batch + (s->inner - 1) * s->b_row +
                      (s->cols - 1) * s->b_col;

    if (a_last >= wire_elements(&v->wires[op->in[MATMUL_A]]))
        return err_set(err, -EINVAL, "it reads past its left input");
    if (fixed(op)) {
        const struct weight *w = plan_weight(plan, op->in[MATMUL_B]);

        if (w->ring != v->wires[op->in[MATMUL_A]].ring)
            return err_set(err, -EINVAL, "weight %s lies in a ring of %u bits", w->name, w->ring);
        if (w->use != WEIGHT_PRODUCT || s->batch != 1 || s->b_offset || w->rows != s->inner ||
            w->cols != s->cols || s->b_row != s->cols || s->b_col != 1)
            return err_set(err, -EINVAL, "weight %s is not the %zu x %zu it multiplies by", w->name,
                           s->inner, s->cols);
        return 0;
    }
    if (b_last >= wire_elements(&v->wires[op->in[MATMUL_B]]))
        return err_set(err, -EINVAL, "it reads past its right input");
    return 0;
}

static int infer_bias(const struct plan *plan, const struct variant *v, const struct op *op,
                      const struct shape *s, int frac, struct err *err)
{
    const struct weight *bias;

    if (op->in[MATMUL_BIAS] == OPERAND_NONE)
        return 0;
    if (!fixed(op) || !operand_is_weight(op->in[MATMUL_BIAS]))
        return err_set(err, -EINVAL, "only a fixed product takes a bias, and a weight");
    bias = plan_weight(plan, op->in[MATMUL_BIAS]);
    if (bias->use != WEIGHT_ADDED || bias->ring < v->wires[op->in[MATMUL_A]].ring ||
        bias->cols != s->cols || bias->frac != frac || (bias->rows != 1 && bias->rows < s->rows))
        return err_set(err, -EINVAL, "bias %s does not fit the product", bias->name);
    return 0;
}

static int infer_residual(const struct plan *plan, const struct variant *v, const struct op *op,
                          const struct shape *s, int frac, struct err *err)
{
    uint32_t residual = op->in[MATMUL_RESIDUAL], gain = op->in[MATMUL_GAIN];
    const struct wire *n;
    const struct weight *g;
    int rc;

    if (residual == OPERAND_NONE && gain == OPERAND_NONE)
        return 0;
    if (!fixed(op) || !operand_is_weight(gain))
        return err_set(err, -EINVAL, "only a fixed product takes a residual, with a gain weight");
    rc = product_need_whole(v, residual, err);
    if (rc < 0)
        return rc;
    n = &v->wires[residual];
    g = plan_weight(plan, gain);
    if (n->rows != s->rows || n->cols != s->cols || n->ring != v->wires[op->in[MATMUL_A]].ring ||
        g->use != WEIGHT_GAIN || g->ring < n->ring || g->rows != 1 || g->cols != s->cols ||
        n->frac + g->frac != frac)
        return err_set(err, -EINVAL, "residual and gain %s do not fit the product", g->name);
    return 0;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    struct shape s = shape_of(op);
    const struct wire *a;
    int rc = product_need_whole(v, op->in[MATMUL_A], err);

    if (rc == 0 && !fixed(op))
        rc = product_need_whole(v, op->in[MATMUL_B], err);
    if (rc == 0)
        rc = infer_attrs(op, err);
    if (rc == 0 &&
        (s.rows > PLAN_ELEMENTS_MAX / s.cols || s.batch > PLAN_ELEMENTS_MAX / (s.rows * s.cols)))
        rc = err_set(err, -EINVAL, "its result is too large");
    if (rc == 0)
        rc = infer_views(plan, v, op, &s, err);
    if (rc < 0)
        return rc;
    a = &v->wires[op->in[MATMUL_A]];
    *ret = (struct wire){.kind = WIRE_SHARE, .ring = a->ring};
    ret->rows = (uint32_t)(op->attr[MATMUL_BESIDE] ? s.rows : s.batch * s.rows);
    ret->cols = (uint32_t)(op->attr[MATMUL_BESIDE] ? s.batch * s.cols : s.cols);
    if (fixed(op)) {
        rc = product_frac(a->frac, plan_weight(plan, op->in[MATMUL_B])->frac, &ret->frac, err);
    } else if (v->wires[op->in[MATMUL_B]].ring != a->ring) {
        rc = err_set(err, -EINVAL, "its inputs lie in two rings");
    } else {
        rc = product_frac(a->frac, v->wires[op->in[MATMUL_B]].frac, &ret->frac, err);
    }
    if (rc == 0)
        rc = infer_bias(plan, v, op, &s, ret->frac, err);
    if (rc == 0)
        rc = infer_residual(plan, v, op, &s, ret->frac, err);
    return rc;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    struct shape s = shape_of(op);
    size_t count = out_count(&s);
    size_t right = kernels_right_bytes_max(s.inner, s.cols) / sizeof(uint64_t);

    (void)plan;
    ret->bytes_tape = ring_bytes(count, v->wires[op->out].ring);
    ret->prepared_words = fixed(op) ? count : turns(&s, 0) * s.rows * s.cols;
    ret->scratch_words =
        MAX(2 * count, wire_padded(MAX(count, (s.rows + s.cols) * s.inner)) + right);
    ret->macs_online =
        (uint64_t)s.rows * s.inner * s.cols * (fixed(op) ? 1 : s.batch + s.batch / 2);
}

/* --- clear --- */

static void clear_row(const struct shape *s, const uint64_t *a, const uint64_t *b, uint64_t *c,
                      double *exact)
{
    memset(c, 0, s->cols * sizeof(*c));
    memset(exact, 0, s->cols * sizeof(*exact));
    for (size_t i = 0; i < s->inner; i++) {
        uint64_t x = a[i];
        double xd = (double)(int64_t)x;

        if (!x)
            continue; /* the clear executor's own business: most of a one-hot row is zero */
        for (size_t j = 0; j < s->cols; j++) {
            uint64_t y = b[i * s->b_row + j * s->b_col];

            c[j] += x * y;
            exact[j] += xd * (double)(int64_t)y;
        }
    }
}

static void clear_addends(struct clear *c, const struct op *op, const struct shape *s, uint64_t *to,
                          double *exact)
{
    const uint64_t *bias = NULL, *n = NULL, *g = NULL;
    size_t bias_row = 0;

    if (op->in[MATMUL_BIAS] != OPERAND_NONE) {
        bias = c->weights[op->in[MATMUL_BIAS] & ~OPERAND_WEIGHT];
        bias_row = plan_weight(c->walk.plan, op->in[MATMUL_BIAS])->rows == 1 ? 0 : s->cols;
    }
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        n = walk_at(&c->walk, op->in[MATMUL_RESIDUAL]);
        g = c->weights[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];
    }
    for (size_t r = 0; r < s->rows; r++)
        for (size_t j = 0; j < s->cols; j++) {
            size_t at = r * s->cols + j;

            if (bias) {
                to[at] += bias[r * bias_row + j];
                exact[at] += (double)(int64_t)bias[r * bias_row + j];
            }
            if (n) {
                to[at] += n[at] * g[j];
                exact[at] += (double)(int64_t)n[at] * (double)(int64_t)g[j];
            }
        }
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    struct shape s = shape_of(op);
    const uint64_t *a = walk_at(&c->walk, op->in[MATMUL_A]) + s.a_offset, *b;
    uint64_t *to = walk_at(&c->walk, op->out);
    double *exact = malloc(out_count(&s) * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    b = fixed(op) ? c->weights[op->in[MATMUL_B] & ~OPERAND_WEIGHT]
                  : walk_at(&c->walk, op->in[MATMUL_B]) + s.b_offset;
    for (size_t h = 0; h < s.batch; h++)
        for (size_t r = 0; r < s.rows; r++) {
            size_t at = h * s.c_batch + r * s.c_row;

            clear_row(&s, a + h * s.a_batch + r * s.a_row, b + h * s.b_batch, to + at, exact + at);
        }
    clear_addends(c, op, &s, to, exact);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

/* Matrix c from @a and a packed right-hand side. */
static void multiply(const struct walk *w, const struct shape *s, uint64_t *c, size_t ldc,
                     const uint64_t *a, size_t lda, const void *right, unsigned int ring, bool add)
{
    w->kernels->product(c, ldc, a, lda, right, s->rows, s->inner, s->cols, ring, add,
                        w->product_scratch);
}

/* --- dealer --- */

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    struct shape s = shape_of(op);
    size_t count = out_count(&s);
    const uint64_t *ra = walk_mask(&d->walk, op->in[MATMUL_A]) + s.a_offset;
    uint64_t *c = d->walk.scratch, *right = c + wire_padded(count);
    unsigned int ring = op_wire(&d->walk, op->out)->ring;

    if (fixed(op))
        multiply(&d->walk, &s, c, s.c_row, ra, s.a_row,
                 d->weights->right[op->in[MATMUL_B] & ~OPERAND_WEIGHT], ring, false);
    for (size_t h = 0; !fixed(op) && h < s.batch; h++) {
        const uint64_t *rb = walk_mask(&d->walk, op->in[MATMUL_B]) + s.b_offset + h * s.b_batch;

        d->walk.kernels->pack_right(right, rb, s.b_row, s.b_col, s.inner, s.cols, ring);
        multiply(&d->walk, &s, c + h * s.c_batch, s.c_row, ra + h * s.a_batch, s.a_row, right, ring,
                 false);
    }
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        const uint64_t *rn = walk_mask(&d->walk, op->in[MATMUL_RESIDUAL]);
        const uint64_t *rg = d->weights->right[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];

        for (size_t i = 0; i < count; i++)
            c[i] += rn[i] * rg[i % s.cols];
    }
    op_deal_correction(d, op, STREAM_CORR, c, count, ring, tape, c + count);
}

/* --- parties --- */

static void prepare_fixed(struct prepare *p, const struct op *op, const struct shape *s)
{
    size_t count = out_count(s);
    uint64_t *to = op_prepared(p->tape, op), *c = p->walk.scratch;
    unsigned int ring = op_wire(&p->walk, op->out)->ring;

    multiply(&p->walk, s, to, s->c_row, walk_mask(&p->walk, op->in[MATMUL_A]) + s->a_offset,
             s->a_row, p->model->right_hat[op->in[MATMUL_B] & ~OPERAND_WEIGHT], ring, false);
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        const uint64_t *rn = walk_mask(&p->walk, op->in[MATMUL_RESIDUAL]);
        const uint64_t *g = p->model->right_hat[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];

        for (size_t i = 0; i < count; i++)
            to[i] += rn[i] * g[i % s->cols];
    }
    op_correction(p->prg, p->tape, p->party, op, STREAM_CORR, 0, c, count, ring);
    for (size_t i = 0; i < count; i++)
        to[i] = c[i] - to[i];
}

/* [r_x r_y] - [r_x] [r_y] of the matrices that are this party's turn, one after the other. */
static void prepare_wires(struct prepare *p, const struct op *op, const struct shape *s)
{
    const uint64_t *ra = walk_mask(&p->walk, op->in[MATMUL_A]) + s->a_offset;
    const uint64_t *rb = walk_mask(&p->walk, op->in[MATMUL_B]) + s->b_offset;
    uint64_t *to = op_prepared(p->tape, op), *c = p->walk.scratch;
    uint64_t *right = c + wire_padded(out_count(s));
    unsigned int ring = op_wire(&p->walk, op->out)->ring;

    op_correction(p->prg, p->tape, p->party, op, STREAM_CORR, 0, c, out_count(s), ring);
    for (size_t h = 0; h < s->batch; h++) {
        if (!turn_of(h, p->party))
            continue;
        p->walk.kernels->pack_right(right, rb + h * s->b_batch, s->b_row, s->b_col, s->inner,
                                    s->cols, ring);
        multiply(&p->walk, s, to, s->cols, ra + h * s->a_batch, s->a_row, right, ring, false);
        for (size_t r = 0; r < s->rows; r++, to += s->cols)
            for (size_t j = 0; j < s->cols; j++)
                to[j] = c[h * s->c_batch + r * s->c_row + j] - to[j];
    }
}

static void prepare(struct prepare *p, const struct op *op)
{
    struct shape s = shape_of(op);

    if (fixed(op))
        prepare_fixed(p, op, &s);
    else
        prepare_wires(p, op, &s);
}

static void online_fixed(struct online *o, const struct op *op, const struct shape *s)
{
    const uint64_t *hat = walk_at(&o->walk, op->in[MATMUL_A]) + s->a_offset;
    const uint64_t *bias = NULL, *n = NULL, *g = NULL;
    uint64_t *to = walk_at(&o->walk, op->out);
    size_t bias_row = 0;

    memcpy(to, op_prepared(o->tape, op), out_count(s) * sizeof(*to));
    multiply(&o->walk, s, to, s->c_row, hat, s->a_row,
             o->model->right_online[op->in[MATMUL_B] & ~OPERAND_WEIGHT],
             op_wire(&o->walk, op->out)->ring, true);
    if (op->in[MATMUL_BIAS] != OPERAND_NONE) {
        bias = o->model->values[op->in[MATMUL_BIAS] & ~OPERAND_WEIGHT];
        bias_row = plan_weight(o->walk.plan, op->in[MATMUL_BIAS])->rows == 1 ? 0 : s->cols;
    }
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        n = walk_at(&o->walk, op->in[MATMUL_RESIDUAL]);
        g = o->model->right_online[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];
    }
    for (size_t r = 0; r < s->rows; r++) {
        uint64_t *row = to + r * s->cols;

        if (bias)
            for (size_t j = 0; j < s->cols; j++)
                row[j] += bias[r * bias_row + j];
        if (n)
            for (size_t j = 0; j < s->cols; j++)
                row[j] += n[r * s->cols + j] * g[j];
    }
}

/* A matrix of a wire, gathered from a strided view: plus * hat + minus * mask. */
struct gather {
    const uint64_t *hat, *mask;
    size_t rows, cols, row, col;
};

static void gather(uint64_t *to, const struct gather *g, uint64_t plus, uint64_t minus)
{
    for (size_t i = 0; i < g->rows; i++)
        for (size_t j = 0; j < g->cols; j++, to++) {
            size_t at = i * g->row + j * g->col;

            *to = plus * g->hat[at] - minus * g->mask[at];
        }
}

/* Of one pair of matrices, with the corrections in @to already. */
static void multiply_pair(struct online *o, const struct shape *s, const struct gather *a,
                          const struct gather *b, bool turn, unsigned int ring, uint64_t *to)
{
    uint64_t *left = o->walk.scratch, *dense = left + s->rows * s->inner;
    uint64_t *right = left + wire_padded((s->rows + s->cols) * s->inner);

    gather(dense, b, turn, 1);
    o->walk.kernels->pack_right(right, dense, s->cols, 1, s->inner, s->cols, ring);
    if (turn)
        gather(left, a, 1, 1);
    multiply(&o->walk, s, to, s->c_row, turn ? left : a->hat, turn ? s->inner : s->a_row, right,
             ring, true);
    if (turn)
        return;
    gather(left, a, 0, 1);
    o->walk.kernels->pack_right(right, b->hat, s->b_row, s->b_col, s->inner, s->cols, ring);
    multiply(&o->walk, s, to, s->c_row, left, s->inner, right, ring, true);
}

static void online_wires(struct online *o, const struct op *op, const struct shape *s)
{
    struct gather a = {.hat = walk_at(&o->walk, op->in[MATMUL_A]) + s->a_offset,
                       .mask = walk_mask(&o->walk, op->in[MATMUL_A]) + s->a_offset,
                       .rows = s->rows,
                       .cols = s->inner,
                       .row = s->a_row,
                       .col = 1};
    struct gather b = {.hat = walk_at(&o->walk, op->in[MATMUL_B]) + s->b_offset,
                       .mask = walk_mask(&o->walk, op->in[MATMUL_B]) + s->b_offset,
                       .rows = s->inner,
                       .cols = s->cols,
                       .row = s->b_row,
                       .col = s->b_col};
    const uint64_t *prepared = op_prepared(o->tape, op);
    uint64_t *to = walk_at(&o->walk, op->out);
    unsigned int ring = op_wire(&o->walk, op->out)->ring;

    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, 0, to, out_count(s), ring);
    for (size_t h = 0; h < s->batch; h++, to += s->c_batch) {
        bool turn = turn_of(h, o->party);

        for (size_t r = 0; turn && r < s->rows; r++, prepared += s->cols)
            memcpy(to + r * s->c_row, prepared, s->cols * sizeof(*to));
        multiply_pair(o, s, &a, &b, turn, ring, to);
        a.hat += s->a_batch;
        a.mask += s->a_batch;
        b.hat += s->b_batch;
        b.mask += s->b_batch;
    }
}

static int online(struct online *o, const struct op *op)
{
    struct shape s = shape_of(op);

    if (fixed(op))
        online_fixed(o, op, &s);
    else
        online_wires(o, op, &s);
    return 0;
}

const struct op_kind op_matmul = {
    .name = "matmul",
    .inputs_min = 5,
    .inputs_max = 5,
    .attrs_min = MATMUL_ATTRS,
    .attrs_max = MATMUL_ATTRS,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .prepare = prepare,
    .online = online,
};
