/*
 * difference of two masked wires, as a masked wire: z^ = x^ - y^ under r_z = r_x - r_y. Local, and
 * nothing is opened: whoever knows x^ and y^ knows z^, and the dealer knows both masks.
 */
#include "mpc/op.h"
#include "mpc/ops/product.h"

#include <stdlib.h>

/* Where a row of x and of y begins, and whether y has one element for all of a row. */
struct shape {
    const struct wire *x, *y, *z;
    size_t x_col, y_col, y_step;
};

static struct shape shape_of(const struct walk *w, const struct op *op)
{
    struct shape s = {
        .x = op_wire(w, op->in[0]),
        .y = op_wire(w, op->in[1]),
        .z = op_wire(w, op->out),
        .x_col = (size_t)op->attr[DIFFERENCE_X],
        .y_col = (size_t)op->attr[DIFFERENCE_Y],
    };

    s.y_step = s.y->cols > 1;
    return s;
}

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    int64_t cols = op->attr[DIFFERENCE_COLS], at_x = op->attr[DIFFERENCE_X];
    int64_t at_y = op->attr[DIFFERENCE_Y], y_cols;
    const struct wire *x, *y;
    int rc = product_need_whole(v, op->in[0], err);

    (void)plan;
    if (rc == 0)
        rc = product_need_whole(v, op->in[1], err);
    if (rc < 0)
        return rc;
    x = &v->wires[op->in[0]];
    y = &v->wires[op->in[1]];
    if (x->ring != y->ring || x->frac != y->frac || x->rows != y->rows)
        return err_set(err, -EINVAL, "its two inputs differ in rows or format");
    y_cols = y->cols > 1 ? cols : 1;
    if (cols < 1 || cols > x->cols || at_x < 0 || at_x > x->cols - cols || y_cols > y->cols ||
        at_y < 0 || at_y > y->cols - y_cols)
        return err_set(err, -EINVAL,
                       "columns %" PRId64 " and %" PRId64 " on, %" PRId64 " of them, of %u and %u",
                       at_x, at_y, cols, x->cols, y->cols);
    *ret = *x;
    ret->cols = (uint32_t)cols;
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    (void)plan, (void)v, (void)op, (void)ret;
}

static void subtract(const struct shape *s, uint64_t *z, const uint64_t *x, const uint64_t *y)
{
    x += s->x_col;
    y += s->y_col;
    for (size_t row = 0; row < s->z->rows; row++, z += s->z->cols, x += s->x->cols, y += s->y->cols)
        for (size_t i = 0; i < s->z->cols; i++)
            z[i] = x[i] - y[i * s->y_step];
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    struct shape s = shape_of(&c->walk, op);
    const int64_t *x = (const int64_t *)walk_at(&c->walk, op->in[0]) + s.x_col;
    const int64_t *y = (const int64_t *)walk_at(&c->walk, op->in[1]) + s.y_col;
    double *exact = malloc(wire_elements(s.z) * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t i = 0; i < wire_elements(s.z); i++) {
        size_t row = i / s.z->cols, col = i % s.z->cols;

        exact[i] = (double)x[row * s.x->cols + col] - (double)y[row * s.y->cols + col * s.y_step];
    }
    subtract(&s, walk_at(&c->walk, op->out), walk_at(&c->walk, op->in[0]),
             walk_at(&c->walk, op->in[1]));
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static void masks(const struct walk *w, const struct op *op)
{
    struct shape s = shape_of(w, op);

    subtract(&s, walk_mask(w, op->out), walk_mask(w, op->in[0]), walk_mask(w, op->in[1]));
}

static void deal(struct deal *d, const struct op *op, uint8_t *tape)
{
    (void)tape;
    masks(&d->walk, op);
}

static void prepare(struct prepare *p, const struct op *op)
{
    masks(&p->walk, op);
}

static int online(struct online *o, const struct op *op)
{
    struct shape s = shape_of(&o->walk, op);

    subtract(&s, walk_at(&o->walk, op->out), walk_at(&o->walk, op->in[0]),
             walk_at(&o->walk, op->in[1]));
    masks(&o->walk, op);
    return 0;
}

const struct op_kind op_difference = {
    .name = "difference",
    .inputs_min = 2,
    .inputs_max = 2,
    .attrs_min = DIFFERENCE_ATTRS,
    .attrs_max = DIFFERENCE_ATTRS,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .prepare = prepare,
    .online = online,
};
