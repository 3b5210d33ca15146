/*
 * matrix product of masked wires x^ (rows x inner) and y^ (inner x cols), a batch of them at once:
 *
 *     [xy]_i = x^ (i y^ - [r_y]_i) - [r_x]_i y^ + [r_x r_y]_i
 *
 * with no communication; the dealer deals r_x r_y. When y is a weight, i W^ - [r_W]_i was packed
 * once a model, and [r_x r_W]_i - [r_x]_i W^ is computed when the tape comes: one product is left
 * online. A fixed product may add a bias row (or a row a token) and gain * residual at its own
 * scale; the sum of both products shares one correction.
 */
#include "base/secret.h"
#include "mpc/model.h"
#include "mpc/ops/product.h"
#include "mpc/tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows that a kernel takes at once, at the least; multiply-adds that take tens of microseconds. */
#define PART_ROWS     8
#define PART_MACS_MIN ((size_t)1 << 18)

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

static int infer_bias(const struct plan *plan, const struct op *op, const struct shape *s, int frac,
                      struct err *err)
{
    const struct weight *bias;

    if (op->in[MATMUL_BIAS] == OPERAND_NONE)
        return 0;
    if (!fixed(op) || !operand_is_weight(op->in[MATMUL_BIAS]))
        return err_set(err, -EINVAL, "only a fixed product takes a bias, and a weight");
    bias = plan_weight(plan, op->in[MATMUL_BIAS]);
    if (bias->use != WEIGHT_ADDED || bias->cols != s->cols || bias->frac != frac ||
        (bias->rows != 1 && bias->rows < s->rows))
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
    rc = product_need_masked(v, residual, err);
    if (rc < 0)
        return rc;
    n = &v->wires[residual];
    g = plan_weight(plan, gain);
    if (n->rows != s->rows || n->cols != s->cols || n->ring != v->wires[op->in[MATMUL_A]].ring ||
        g->use != WEIGHT_GAIN || g->rows != 1 || g->cols != s->cols || n->frac + g->frac != frac)
        return err_set(err, -EINVAL, "residual and gain %s do not fit the product", g->name);
    return 0;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    struct shape s = shape_of(op);
    const struct wire *a;
    int rc = product_need_masked(v, op->in[MATMUL_A], err);

    if (rc == 0 && !fixed(op))
        rc = product_need_masked(v, op->in[MATMUL_B], err);
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
        rc = infer_bias(plan, op, &s, ret->frac, err);
    if (rc == 0)
        rc = infer_residual(plan, v, op, &s, ret->frac, err);
    return rc;
}

/* A packed right-hand side follows words in the scratch, where it may start. */
static size_t aligned_words(size_t words)
{
    size_t unit = KERNELS_ALIGN / sizeof(uint64_t);

    return (words + unit - 1) / unit * unit;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    struct shape s = shape_of(op);
    size_t count = out_count(&s);
    size_t right = kernels_right_bytes_max(s.inner, s.cols) / sizeof(uint64_t);

    (void)plan;
    ret->bytes_tape = ring_bytes(count, v->wires[op->out].ring);
    ret->prepared_words = fixed(op) ? count : 0;
    ret->scratch_words = MAX(2 * count, aligned_words(MAX(count, s.inner * s.cols)) + right);
    ret->macs_online = (fixed(op) ? 1u : 2u) * (uint64_t)count * s.inner;
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

struct multiplication {
    const struct walk *walk;
    const struct shape *shape;
    uint64_t *c;
    const uint64_t *a;
    const void *right;
    size_t part_rows;
    unsigned int ring;
    bool add;
};

static void multiply_part(void *context, size_t part, unsigned int worker)
{
    const struct multiplication *m = context;
    const struct shape *s = m->shape;
    size_t first = part * m->part_rows, rows = MIN(m->part_rows, s->rows - first);

    m->walk->kernels->product(m->c + first * s->c_row, s->c_row, m->a + first * s->a_row, s->a_row,
                              m->right, rows, s->inner, s->cols, m->ring, m->add,
                              m->walk->product_scratch + worker * KERNELS_SCRATCH_BYTES);
}

/* By rows, since a packed right-hand side is one piece: as many each worker, in whole blocks, and
 * no fewer than are worth a wake-up. */
static size_t part_rows(const struct walk *w, const struct shape *s)
{
    size_t workers = workers_count(w->workers), row_macs = s->inner * s->cols;
    size_t rows = MAX((s->rows + workers - 1) / workers, PART_MACS_MIN / row_macs);

    return (rows + PART_ROWS - 1) / PART_ROWS * PART_ROWS;
}

/* Matrix @h of the batch's result, from @a and a packed right-hand side. */
static void multiply(const struct walk *w, const struct shape *s, size_t h, uint64_t *c,
                     const uint64_t *a, const void *right, unsigned int ring, bool add)
{
    struct multiplication m = {.walk = w,
                               .shape = s,
                               .c = c + h * s->c_batch,
                               .a = a + h * s->a_batch,
                               .right = right,
                               .part_rows = part_rows(w, s),
                               .ring = ring,
                               .add = add};

    workers_run(w->workers, multiply_part, &m, (s->rows + m.part_rows - 1) / m.part_rows);
}

/* --- dealer --- */

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    struct shape s = shape_of(op);
    size_t count = out_count(&s);
    const uint64_t *ra = walk_mask(&d->walk, op->in[MATMUL_A]) + s.a_offset;
    uint64_t *c = d->walk.scratch, *right = c + aligned_words(count);
    unsigned int ring = op_wire(&d->walk, op->out)->ring;

    if (fixed(op))
        multiply(&d->walk, &s, 0, c, ra, d->weights->right[op->in[MATMUL_B] & ~OPERAND_WEIGHT],
                 d->walk.plan->ring, false);
    for (size_t h = 0; !fixed(op) && h < s.batch; h++) {
        const uint64_t *rb = walk_mask(&d->walk, op->in[MATMUL_B]) + s.b_offset + h * s.b_batch;

        d->walk.kernels->pack_right(right, rb, s.b_row, s.b_col, s.inner, s.cols, ring);
        multiply(&d->walk, &s, h, c, ra, right, ring, false);
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

static void prepare(struct prepare *p, const struct op *op)
{
    struct shape s = shape_of(op);
    size_t count = out_count(&s);
    uint64_t *to, *c = p->walk.scratch;

    if (!fixed(op))
        return;
    to = op_prepared(p->tape, op);
    multiply(&p->walk, &s, 0, to, walk_mask(&p->walk, op->in[MATMUL_A]) + s.a_offset,
             p->model->right_hat[op->in[MATMUL_B] & ~OPERAND_WEIGHT], p->walk.plan->ring, false);
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        const uint64_t *rn = walk_mask(&p->walk, op->in[MATMUL_RESIDUAL]);
        const uint64_t *g = p->model->right_hat[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];

        for (size_t i = 0; i < count; i++)
            to[i] += rn[i] * g[i % s.cols];
    }
    op_correction(p->prg, p->tape, p->party, op, STREAM_CORR, 0, c, count,
                  op_wire(&p->walk, op->out)->ring);
    for (size_t i = 0; i < count; i++)
        to[i] = c[i] - to[i];
}

static void online_fixed(struct online *o, const struct op *op, const struct shape *s)
{
    const uint64_t *hat = walk_at(&o->walk, op->in[MATMUL_A]) + s->a_offset;
    const uint64_t *bias = NULL, *n = NULL, *g = NULL;
    uint64_t *to = walk_at(&o->walk, op->out);
    size_t bias_row = 0;

    memcpy(to, op_prepared(o->tape, op), out_count(s) * sizeof(*to));
    multiply(&o->walk, s, 0, to, hat, o->model->right_online[op->in[MATMUL_B] & ~OPERAND_WEIGHT],
             o->walk.plan->ring, true);
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

/* dense = factor * hat - mask, gathered from a strided view; then packed. */
static const void *pack_view(struct online *o, const struct shape *s, const uint64_t *hat,
                             const uint64_t *mask, uint64_t factor, unsigned int ring)
{
    uint64_t *dense = o->walk.scratch, *right = dense + aligned_words(s->inner * s->cols);

    for (size_t i = 0; i < s->inner; i++)
        for (size_t j = 0; j < s->cols; j++) {
            size_t at = i * s->b_row + j * s->b_col;

            dense[i * s->cols + j] = factor * hat[at] - (mask ? mask[at] : 0);
        }
    o->walk.kernels->pack_right(right, dense, s->cols, 1, s->inner, s->cols, ring);
    return right;
}

static void online_wires(struct online *o, const struct op *op, const struct shape *s)
{
    const uint64_t *a = walk_at(&o->walk, op->in[MATMUL_A]) + s->a_offset;
    const uint64_t *ra = walk_mask(&o->walk, op->in[MATMUL_A]) + s->a_offset;
    const uint64_t *b = walk_at(&o->walk, op->in[MATMUL_B]) + s->b_offset;
    const uint64_t *rb = walk_mask(&o->walk, op->in[MATMUL_B]) + s->b_offset;
    unsigned int ring = op_wire(&o->walk, op->out)->ring;
    uint64_t *to = walk_at(&o->walk, op->out);

    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, 0, to, out_count(s), ring);
    for (size_t h = 0; h < s->batch; h++) {
        const void *right;

        right = pack_view(o, s, b + h * s->b_batch, rb + h * s->b_batch, o->party, ring);
        multiply(&o->walk, s, h, to, a, right, ring, true);
        right = pack_view(o, s, b + h * s->b_batch, NULL, UINT64_MAX, ring);
        multiply(&o->walk, s, h, to, ra, right, ring, true);
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
