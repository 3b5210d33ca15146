/*
 * matrix product of masked wires x^ (rows x inner) and y^ (inner x cols), groups of batches at
 * once:
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

/* Rows that a kernel takes at once, at the least; multiply-adds that take tens of microseconds. */
#define PART_ROWS     8
#define PART_MACS_MIN ((size_t)1 << 18)

struct shape {
    size_t groups, batch, rows, inner, cols;
    size_t a_offset, a_group, a_batch, a_row;
    size_t b_offset, b_group, b_batch, b_row, b_col;
    size_t c_group, c_batch, c_row;
    bool one_sided;
};

static struct shape shape_of(const struct op *op)
{
    const int64_t *a = op->attr;
    struct shape s = {
        .groups = (size_t)a[MATMUL_GROUPS],
        .batch = (size_t)a[MATMUL_BATCH],
        .rows = (size_t)a[MATMUL_ROWS],
        .inner = (size_t)a[MATMUL_INNER],
        .cols = (size_t)a[MATMUL_COLS],
        .a_offset = (size_t)a[MATMUL_A_OFFSET],
        .a_group = (size_t)a[MATMUL_A_GROUP],
        .a_batch = (size_t)a[MATMUL_A_BATCH],
        .a_row = (size_t)a[MATMUL_A_ROW],
        .b_offset = (size_t)a[MATMUL_B_OFFSET],
        .b_group = (size_t)a[MATMUL_B_GROUP],
        .b_batch = (size_t)a[MATMUL_B_BATCH],
        .b_row = (size_t)a[MATMUL_B_ROW],
        .b_col = (size_t)a[MATMUL_B_COL],
        .one_sided = a[MATMUL_ONE_SIDED],
    };

    s.c_batch = a[MATMUL_BESIDE] ? s.cols : s.rows * s.cols;
    s.c_row = a[MATMUL_BESIDE] ? s.batch * s.cols : s.cols;
    s.c_group = s.batch * s.rows * s.cols;
    return s;
}

static size_t pairs(const struct shape *s)
{
    return s->groups * s->batch;
}

/* Where the matrices of pair @h begin, in elements. */
static size_t a_at(const struct shape *s, size_t h)
{
    return h / s->batch * s->a_group + h % s->batch * s->a_batch;
}

static size_t b_at(const struct shape *s, size_t h)
{
    return h / s->batch * s->b_group + h % s->batch * s->b_batch;
}

static size_t c_at(const struct shape *s, size_t h)
{
    return h / s->batch * s->c_group + h % s->batch * s->c_batch;
}

static bool fixed(const struct op *op)
{
    return operand_is_weight(op->in[MATMUL_B]);
}

static size_t out_count(const struct shape *s)
{
    return pairs(s) * s->rows * s->cols;
}

/* Whether x^ y^ of pair @h falls to @party. */
static bool is_turn(const struct shape *s, size_t h, unsigned int party)
{
    return (s->one_sided ? 1 : h % 2) == party;
}

/* How many do; the @turn-th of them; and which one @h is. */
static size_t turns(const struct shape *s, unsigned int party)
{
    return s->one_sided ? pairs(s) * party : (pairs(s) + 1 - party) / 2;
}

static size_t pair_of_turn(const struct shape *s, size_t turn, unsigned int party)
{
    return s->one_sided ? turn : 2 * turn + party;
}

static size_t turn_of_pair(const struct shape *s, size_t h)
{
    return s->one_sided ? h : h / 2;
}

static int infer_attrs(const struct op *op, struct err *err)
{
    for (int i = MATMUL_BATCH; i <= MATMUL_COLS; i++)
        if (op->attr[i] < 1 || op->attr[i] > PLAN_DIM_MAX)
            return err_set(err, -EINVAL, "a dimension of %" PRId64, op->attr[i]);
    for (int i = MATMUL_A_OFFSET; i <= MATMUL_B_COL; i++)
        if (op->attr[i] < 0 || op->attr[i] > (int64_t)PLAN_ELEMENTS_MAX)
            return err_set(err, -EINVAL, "an offset or stride of %" PRId64, op->attr[i]);
    if (op->attr[MATMUL_GROUPS] < 1 || op->attr[MATMUL_GROUPS] > PLAN_DIM_MAX)
        return err_set(err, -EINVAL, "%" PRId64 " groups", op->attr[MATMUL_GROUPS]);
    for (int i = MATMUL_A_GROUP; i <= MATMUL_B_GROUP; i++)
        if (op->attr[i] < 0 || op->attr[i] > (int64_t)PLAN_ELEMENTS_MAX)
            return err_set(err, -EINVAL, "groups %" PRId64 " apart", op->attr[i]);
    if (op->attr[MATMUL_BESIDE] < 0 || op->attr[MATMUL_BESIDE] > 1)
        return err_set(err, -EINVAL, "its results stand neither stacked nor side by side");
    if (op->attr[MATMUL_ONE_SIDED] < 0 || op->attr[MATMUL_ONE_SIDED] > 1)
        return err_set(err, -EINVAL, "its parties neither take turns nor leave it to one");
    return 0;
}

/* Both factors below 2^29: the sums of five products of them cannot overflow 64 bits. */
static int infer_views(const struct plan *plan, const struct variant *v, const struct op *op,
                       const struct shape *s, struct err *err)
{
    uint64_t a_last = s->a_offset + (s->groups - 1) * s->a_group + (s->batch - 1) * s->a_batch +
                      (s->rows - 1) * s->a_row + s->inner - 1;
    uint64_t b_last = s->b_offset + (s->groups - 1) * s->b_group + (s->batch - 1) * s->b_batch +
                      (s->inner - 1) * s->b_row + (s->cols - 1) * s->b_col;

    if (a_last >= wire_elements(&v->wires[op->in[MATMUL_A]]))
        return err_set(err, -EINVAL, "it reads past its left input");
    if (fixed(op)) {
        const struct weight *w = plan_weight(plan, op->in[MATMUL_B]);

        if (w->ring != v->wires[op->in[MATMUL_A]].ring)
            return err_set(err, -EINVAL, "weight %s lies in a ring of %u bits", w->name, w->ring);
        if (w->use != WEIGHT_PRODUCT || pairs(s) != 1 || s->b_offset || w->rows != s->inner ||
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
        bias->cols != s->cols || bias->frac != frac ||
        (bias->rows != 1 && bias->rows < MIN(s->rows, v->tokens)))
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
        (s.rows > PLAN_ELEMENTS_MAX / s.cols || pairs(&s) > PLAN_ELEMENTS_MAX / (s.rows * s.cols)))
        rc = err_set(err, -EINVAL, "its result is too large");
    if (rc == 0)
        rc = infer_views(plan, v, op, &s, err);
    if (rc < 0)
        return rc;
    a = &v->wires[op->in[MATMUL_A]];
    *ret = (struct wire){.kind = WIRE_SHARE, .ring = a->ring};
    ret->rows = (uint32_t)(s.groups * (op->attr[MATMUL_BESIDE] ? s.rows : s.batch * s.rows));
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

/* A worker's own matrices of one pair: left, right as it is, right packed. */
struct pair {
    uint64_t *left, *dense;
    void *packed;
};

static size_t pair_words(const struct shape *s)
{
    return wire_padded((s->rows + s->cols) * s->inner) +
           kernels_right_bytes_max(s->inner, s->cols) / sizeof(uint64_t);
}

static struct pair pair_of(const struct walk *w, const struct shape *s, unsigned int worker)
{
    uint64_t *own = walk_own_words(w, worker);

    return (struct pair){.left = own,
                         .dense = own + s->rows * s->inner,
                         .packed = own + wire_padded((s->rows + s->cols) * s->inner)};
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    struct shape s = shape_of(op);
    size_t count = out_count(&s), most = MAX(turns(&s, 0), turns(&s, 1));
    size_t least = MIN(turns(&s, 0), turns(&s, 1));

    (void)plan;
    ret->bytes_tape = ring_bytes(count, v->wires[op->out].ring);
    ret->prepared_words = fixed(op) ? count : most * s.rows * s.cols;
    ret->scratch_words = 2 * count;
    ret->worker_words = fixed(op) ? 0 : pair_words(&s);
    ret->macs_online =
        (uint64_t)s.rows * s.inner * s.cols * (fixed(op) ? 1 : 2 * pairs(&s) - least);
}

/* Rows of the product after which those of its bias come again. */
static size_t bias_period(const struct walk *w, const struct op *op)
{
    return plan_weight(w->plan, op->in[MATMUL_BIAS])->rows == 1 ? 1 : w->variant->tokens;
}

/* --- clear --- */

/* Rows of A that one pass over B serves, and the columns of it that stay in a cache meanwhile. */
#define CLEAR_ROWS 4
#define CLEAR_COLS 512

/* Below this no sum of int64_t has wrapped, whatever doubles made of its bound. */
#define CLEAR_SURE 0x1p62

/* One pair's matrices; B's rows are in one piece, @b_row apart. */
struct clear_pair {
    const uint64_t *a, *b;
    uint64_t *c;
    double *exact;
    size_t b_row;
    double b_norm; /* no column of B is longer */
};

/* The length of the longest column of B; @sums has room for one a column. */
static double clear_norm_max(const struct shape *s, const struct clear_pair *p, double *sums)
{
    double max = 0;

    memset(sums, 0, s->cols * sizeof(*sums));
    for (size_t i = 0; i < s->inner; i++)
        for (size_t j = 0; j < s->cols; j++) {
            double y = (double)(int64_t)p->b[i * p->b_row + j];

            sums[j] += y * y;
        }
    for (size_t j = 0; j < s->cols; j++)
        max = fmax(max, sums[j]);
    return sqrt(max);
}

/* @n rows, n constant, of columns @first to @end. The clear executor's own business: most of a
 * one-hot row is zero. */
static inline void clear_rows(const struct shape *s, const struct clear_pair *p, size_t row,
                              size_t n, size_t first, size_t end)
{
    const uint64_t *a = p->a + row * s->a_row;
    uint64_t *restrict c = p->c + row * s->c_row;

    for (size_t i = 0; i < s->inner; i++) {
        const uint64_t *restrict b = p->b + i * p->b_row;
        uint64_t x[CLEAR_ROWS], any = 0;

        for (size_t k = 0; k < n; k++) {
            x[k] = a[k * s->a_row + i];
            any |= x[k];
        }
        for (size_t k = 0; any && k < n; k++)
            for (size_t j = first; j < end; j++)
                c[k * s->c_row + j] += x[k] * b[j];
    }
}

static void clear_columns(const struct shape *s, const struct clear_pair *p, size_t first,
                          size_t end)
{
    size_t row = 0;

    for (; row + CLEAR_ROWS <= s->rows; row += CLEAR_ROWS)
        clear_rows(s, p, row, CLEAR_ROWS, first, end);
    for (; row < s->rows; row++)
        clear_rows(s, p, row, 1, first, end);
}

/* What the row is without wrapping: itself, where Cauchy and Schwarz say so. */
static void clear_exact(const struct shape *s, const struct clear_pair *p, size_t row)
{
    const uint64_t *a = p->a + row * s->a_row, *c = p->c + row * s->c_row;
    double *exact = p->exact + row * s->c_row, sum = 0;
    bool sure;

    for (size_t i = 0; i < s->inner; i++)
        sum += (double)(int64_t)a[i] * (double)(int64_t)a[i];
    sure = sqrt(sum) * p->b_norm < CLEAR_SURE;
    for (size_t j = 0; j < s->cols; j++)
        exact[j] = sure ? (double)(int64_t)c[j] : 0;
    for (size_t i = 0; !sure && i < s->inner; i++)
        for (size_t j = 0; j < s->cols; j++)
            exact[j] += (double)(int64_t)a[i] * (double)(int64_t)p->b[i * p->b_row + j];
}

static void clear_multiply(const struct shape *s, const struct clear_pair *p)
{
    for (size_t row = 0; row < s->rows; row++)
        memset(p->c + row * s->c_row, 0, s->cols * sizeof(*p->c));
    for (size_t first = 0; first < s->cols; first += CLEAR_COLS)
        clear_columns(s, p, first, MIN(first + CLEAR_COLS, s->cols));
    for (size_t row = 0; row < s->rows; row++)
        clear_exact(s, p, row);
}

static void clear_addends(struct clear *c, const struct op *op, const struct shape *s, uint64_t *to,
                          double *exact)
{
    const uint64_t *bias = NULL, *n = NULL, *g = NULL;
    size_t bias_rows = 1;

    if (op->in[MATMUL_BIAS] != OPERAND_NONE) {
        bias = c->weights[op->in[MATMUL_BIAS] & ~OPERAND_WEIGHT];
        bias_rows = bias_period(&c->walk, op);
    }
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        n = walk_at(&c->walk, op->in[MATMUL_RESIDUAL]);
        g = c->weights[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];
    }
    for (size_t r = 0; r < s->rows; r++)
        for (size_t j = 0; j < s->cols; j++) {
            size_t at = r * s->cols + j;

            if (bias) {
                to[at] += bias[r % bias_rows * s->cols + j];
                exact[at] += (double)(int64_t)bias[r % bias_rows * s->cols + j];
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
    uint64_t *turned = malloc(s.inner * s.cols * sizeof(*turned));
    double *exact = malloc(out_count(&s) * sizeof(*exact));
    double *sums = malloc(s.cols * sizeof(*sums));
    int rc = exact && turned && sums ? 0 : -ENOMEM;

    b = fixed(op) ? c->weights[op->in[MATMUL_B] & ~OPERAND_WEIGHT]
                  : walk_at(&c->walk, op->in[MATMUL_B]) + s.b_offset;
    for (size_t h = 0; rc == 0 && h < pairs(&s); h++) {
        struct clear_pair p = {.a = a + a_at(&s, h),
                               .b = b + b_at(&s, h),
                               .c = to + c_at(&s, h),
                               .exact = exact + c_at(&s, h),
                               .b_row = s.b_row};

        if (s.b_col != 1) {
            for (size_t i = 0; i < s.inner; i++)
                for (size_t j = 0; j < s.cols; j++)
                    turned[i * s.cols + j] = p.b[i * s.b_row + j * s.b_col];
            p.b = turned;
            p.b_row = s.cols;
        }
        p.b_norm = clear_norm_max(&s, &p, sums);
        clear_multiply(&s, &p);
    }
    if (rc == 0) {
        clear_addends(c, op, &s, to, exact);
        rc = clear_check(c, op, exact, err);
    }
    free(turned);
    free(sums);
    free(exact);
    return rc;
}

/* --- products of a walk, shared out to its workers --- */

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
                              walk_own(m->walk, worker));
}

/* By rows, since a packed right-hand side is one piece: as many each worker, in whole blocks, and
 * no fewer than are worth a wake-up. */
static size_t part_rows(const struct walk *w, const struct shape *s)
{
    size_t workers = workers_count(w->workers), row_macs = s->inner * s->cols;
    size_t rows = MAX((s->rows + workers - 1) / workers, PART_MACS_MIN / row_macs);

    return (rows + PART_ROWS - 1) / PART_ROWS * PART_ROWS;
}

/* The one matrix of a product with a weight. */
static void multiply(const struct walk *w, const struct shape *s, uint64_t *c, const uint64_t *a,
                     const void *right, unsigned int ring, bool add)
{
    struct multiplication m = {.walk = w,
                               .shape = s,
                               .c = c,
                               .a = a,
                               .right = right,
                               .part_rows = part_rows(w, s),
                               .ring = ring,
                               .add = add};

    workers_run(w->workers, multiply_part, &m, (s->rows + m.part_rows - 1) / m.part_rows);
}

/* A pair of a worker's own. */
static void multiply_pair(const struct walk *w, const struct shape *s, unsigned int worker,
                          uint64_t *c, size_t ldc, const uint64_t *a, size_t lda, unsigned int ring,
                          bool add)
{
    w->kernels->product(c, ldc, a, lda, pair_of(w, s, worker).packed, s->rows, s->inner, s->cols,
                        ring, add, walk_own(w, worker));
}

/* --- dealer --- */

/* The masks' side of the pairs, at the dealer and at a party that prepares. */
struct masks {
    const struct walk *walk;
    struct shape shape;
    const uint64_t *ra, *rb;
    uint64_t *c;  /* the corrections, as the result lies */
    uint64_t *to; /* prepared: the matrices that are this party's turn, one after the other */
    unsigned int ring, party;
};

static struct masks masks_of(const struct walk *w, const struct op *op)
{
    struct masks m = {.walk = w, .shape = shape_of(op), .c = w->scratch};

    m.ring = op_wire(w, op->out)->ring;
    m.ra = walk_mask(w, op->in[MATMUL_A]) + m.shape.a_offset;
    if (!fixed(op))
        m.rb = walk_mask(w, op->in[MATMUL_B]) + m.shape.b_offset;
    return m;
}

static void deal_pair(void *context, size_t h, unsigned int worker)
{
    const struct masks *m = context;
    const struct shape *s = &m->shape;

    m->walk->kernels->pack_right(pair_of(m->walk, s, worker).packed, m->rb + b_at(s, h), s->b_row,
                                 s->b_col, s->inner, s->cols, m->ring);
    multiply_pair(m->walk, s, worker, m->c + c_at(s, h), s->c_row, m->ra + a_at(s, h), s->a_row,
                  m->ring, false);
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    struct masks m = masks_of(&d->walk, op);
    size_t count = out_count(&m.shape);

    if (fixed(op))
        multiply(&d->walk, &m.shape, m.c, m.ra,
                 d->weights->right[op->in[MATMUL_B] & ~OPERAND_WEIGHT], m.ring, false);
    else
        workers_run(d->walk.workers, deal_pair, &m, pairs(&m.shape));
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        const uint64_t *rn = walk_mask(&d->walk, op->in[MATMUL_RESIDUAL]);
        const uint64_t *rg = d->weights->right[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];

        for (size_t i = 0; i < count; i++)
            m.c[i] += rn[i] * rg[i % m.shape.cols];
    }
    op_deal_correction(d, op, STREAM_CORR, m.c, count, m.ring, tape, m.c + count);
}

/* --- parties --- */

static void prepare_fixed(struct prepare *p, const struct op *op)
{
    struct masks m = masks_of(&p->walk, op);
    size_t count = out_count(&m.shape);
    uint64_t *to = op_prepared(p->tape, op);

    multiply(&p->walk, &m.shape, to, m.ra, p->model->right_hat[op->in[MATMUL_B] & ~OPERAND_WEIGHT],
             m.ring, false);
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        const uint64_t *rn = walk_mask(&p->walk, op->in[MATMUL_RESIDUAL]);
        const uint64_t *g = p->model->right_hat[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];

        for (size_t i = 0; i < count; i++)
            to[i] += rn[i] * g[i % m.shape.cols];
    }
    op_correction(p->prg, p->tape, p->party, op, STREAM_CORR, 0, m.c, count, m.ring);
    for (size_t i = 0; i < count; i++)
        to[i] = m.c[i] - to[i];
}

/* [r_x r_y] - [r_x] [r_y] */
static void prepare_pair(void *context, size_t turn, unsigned int worker)
{
    const struct masks *m = context;
    const struct shape *s = &m->shape;
    size_t h = pair_of_turn(s, turn, m->party);
    const uint64_t *c = m->c + c_at(s, h);
    uint64_t *to = m->to + turn * s->rows * s->cols;

    m->walk->kernels->pack_right(pair_of(m->walk, s, worker).packed, m->rb + b_at(s, h), s->b_row,
                                 s->b_col, s->inner, s->cols, m->ring);
    multiply_pair(m->walk, s, worker, to, s->cols, m->ra + a_at(s, h), s->a_row, m->ring, false);
    for (size_t r = 0; r < s->rows; r++, c += s->c_row, to += s->cols)
        for (size_t j = 0; j < s->cols; j++)
            to[j] = c[j] - to[j];
}

static void prepare(struct prepare *p, const struct op *op)
{
    struct masks m = masks_of(&p->walk, op);

    if (fixed(op)) {
        prepare_fixed(p, op);
        return;
    }
    m.party = p->party;
    m.to = op_prepared(p->tape, op);
    op_correction(p->prg, p->tape, p->party, op, STREAM_CORR, 0, m.c, out_count(&m.shape), m.ring);
    workers_run(p->walk.workers, prepare_pair, &m, turns(&m.shape, m.party));
}

/* The addends of row @r, at its own scale. */
static void add_addends(const struct online *o, const struct op *op, const struct shape *s,
                        size_t r, uint64_t *row)
{
    if (op->in[MATMUL_BIAS] != OPERAND_NONE) {
        size_t at = r % bias_period(&o->walk, op) * s->cols;
        const uint64_t *bias = o->model->values[op->in[MATMUL_BIAS] & ~OPERAND_WEIGHT];

        for (size_t j = 0; j < s->cols; j++)
            row[j] += bias[at + j];
    }
    if (op->in[MATMUL_RESIDUAL] != OPERAND_NONE) {
        const uint64_t *n = walk_at(&o->walk, op->in[MATMUL_RESIDUAL]) + r * s->cols;
        const uint64_t *g = o->model->right_online[op->in[MATMUL_GAIN] & ~OPERAND_WEIGHT];

        for (size_t j = 0; j < s->cols; j++)
            row[j] += n[j] * g[j];
    }
}

static int fixed_rows(struct online *o, const struct op *op, size_t first, size_t count)
{
    struct shape s = shape_of(op);
    const uint64_t *hat = walk_at(&o->walk, op->in[MATMUL_A]) + s.a_offset + first * s.a_row;
    uint64_t *to = walk_at(&o->walk, op->out) + first * s.cols;
    size_t end = first + count;
    int rc = op_pull(o, op->in[MATMUL_A], s.a_offset + (end - 1) * s.a_row + s.inner);

    if (rc == 0 && op->in[MATMUL_RESIDUAL] != OPERAND_NONE)
        rc = op_pull(o, op->in[MATMUL_RESIDUAL], end * s.cols);
    if (rc < 0)
        return rc;
    s.rows = count;
    memcpy(to, op_prepared(o->tape, op) + first * s.cols, count * s.cols * sizeof(*to));
    multiply(&o->walk, &s, to, hat, o->model->right_online[op->in[MATMUL_B] & ~OPERAND_WEIGHT],
             op_wire(&o->walk, op->out)->ring, true);
    for (size_t r = first; r < end; r++, to += s.cols)
        add_addends(o, op, &s, r, to);
    return 0;
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

struct batch {
    const struct walk *walk;
    struct shape shape;
    struct gather a, b; /* of the first pair */
    const uint64_t *prepared;
    uint64_t *to; /* holds the corrections */
    unsigned int ring, party;
};

static void online_pair(void *context, size_t h, unsigned int worker)
{
    const struct batch *batch = context;
    const struct walk *w = batch->walk;
    const struct shape *s = &batch->shape;
    struct pair own = pair_of(w, s, worker);
    struct gather a = batch->a, b = batch->b;
    uint64_t *to = batch->to + c_at(s, h);
    bool turn = is_turn(s, h, batch->party);

    a.hat += a_at(s, h);
    a.mask += a_at(s, h);
    b.hat += b_at(s, h);
    b.mask += b_at(s, h);
    for (size_t r = 0; turn && r < s->rows; r++)
        memcpy(to + r * s->c_row, batch->prepared + (turn_of_pair(s, h) * s->rows + r) * s->cols,
               s->cols * sizeof(*to));
    gather(own.dense, &b, turn, 1);
    w->kernels->pack_right(own.packed, own.dense, s->cols, 1, s->inner, s->cols, batch->ring);
    if (turn)
        gather(own.left, &a, 1, 1);
    multiply_pair(w, s, worker, to, s->c_row, turn ? own.left : a.hat, turn ? s->inner : s->a_row,
                  batch->ring, true);
    if (turn)
        return;
    gather(own.left, &a, 0, 1);
    w->kernels->pack_right(own.packed, b.hat, s->b_row, s->b_col, s->inner, s->cols, batch->ring);
    multiply_pair(w, s, worker, to, s->c_row, own.left, s->inner, batch->ring, true);
}

static void online_wires(struct online *o, const struct op *op, const struct shape *s)
{
    const struct walk *w = &o->walk;
    struct batch batch = {
        .walk = w,
        .shape = *s,
        .a = {.hat = walk_at(w, op->in[MATMUL_A]) + s->a_offset,
              .mask = walk_mask(w, op->in[MATMUL_A]) + s->a_offset,
              .rows = s->rows,
              .cols = s->inner,
              .row = s->a_row,
              .col = 1},
        .b = {.hat = walk_at(w, op->in[MATMUL_B]) + s->b_offset,
              .mask = walk_mask(w, op->in[MATMUL_B]) + s->b_offset,
              .rows = s->inner,
              .cols = s->cols,
              .row = s->b_row,
              .col = s->b_col},
        .prepared = op_prepared(o->tape, op),
        .to = walk_at(w, op->out),
        .ring = op_wire(w, op->out)->ring,
        .party = o->party,
    };

    op_correction(o->prg, o->tape, o->party, op, STREAM_CORR, 0, batch.to, out_count(s),
                  batch.ring);
    workers_run(w->workers, online_pair, &batch, pairs(s));
}

static int online(struct online *o, const struct op *op)
{
    struct shape s = shape_of(op);

    if (fixed(op))
        return fixed_rows(o, op, 0, s.rows);
    online_wires(o, op, &s);
    return 0;
}

const struct op_kind op_matmul = {
    .name = "matmul",
    .inputs_min = 5,
    .inputs_max = 5,
    .attrs_min = MATMUL_ATTRS,
    .attrs_max = MATMUL_ATTRS_MAX,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .prepare = prepare,
    .online = online,
    .rows = fixed_rows,
    .by_rows = fixed,
};
