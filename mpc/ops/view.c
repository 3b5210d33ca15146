/*
 * view: blocks of a share or masked wire, placed side by side. Local: of a masked one the masks are
 * viewed like the values. It brings the heads of stacked results into the columns of one row, and
 * takes the one row or column that a later operation needs.
 */
#include "mpc/op.h"

#include <string.h>

static int infer(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err)
{
    const int64_t *a = op->attr;
    uint64_t last;

    (void)plan;
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind == WIRE_BITS)
        return err_set(err, -EINVAL, "its input is no share or masked wire");
    for (int i = VIEW_ROWS; i <= VIEW_COLS; i++)
        if (a[i] < 1 || a[i] > PLAN_DIM_MAX)
            return err_set(err, -EINVAL, "a dimension of %" PRId64, a[i]);
    if (a[VIEW_GROUPS] < 1 || a[VIEW_GROUPS] > PLAN_DIM_MAX || a[VIEW_GROUP] < 0 ||
        a[VIEW_GROUP] > (int64_t)PLAN_ELEMENTS_MAX)
        return err_set(err, -EINVAL, "%" PRId64 " groups, %" PRId64 " apart", a[VIEW_GROUPS],
                       a[VIEW_GROUP]);
    for (int i = VIEW_OFFSET; i <= VIEW_BLOCK; i++)
        if (a[i] < 0 || a[i] > (int64_t)PLAN_ELEMENTS_MAX)
            return err_set(err, -EINVAL, "an offset or stride of %" PRId64, a[i]);
    if (a[VIEW_BLOCKS] * a[VIEW_COLS] > PLAN_DIM_MAX)
        return err_set(err, -EINVAL, "its rows are too long");
    if (a[VIEW_GROUPS] * a[VIEW_ROWS] > PLAN_DIM_MAX)
        return err_set(err, -EINVAL, "its rows are too many");
    /* Dimensions below 2^25, strides below 2^29: nothing overflows. */
    last = (uint64_t)(a[VIEW_OFFSET] + (a[VIEW_GROUPS] - 1) * a[VIEW_GROUP] +
                      (a[VIEW_ROWS] - 1) * a[VIEW_ROW] + (a[VIEW_BLOCKS] - 1) * a[VIEW_BLOCK] +
                      a[VIEW_COLS] - 1);
    *ret = v->wires[op->in[0]];
    if (last >= wire_elements(ret))
        return err_set(err, -EINVAL, "it reads past its input");
    ret->rows = (uint32_t)(a[VIEW_GROUPS] * a[VIEW_ROWS]);
    ret->cols = (uint32_t)(a[VIEW_BLOCKS] * a[VIEW_COLS]);
    return 0;
}

static void cost(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret)
{
    (void)plan, (void)v, (void)op, (void)ret;
}

static void view(const struct op *op, uint64_t *y, const uint64_t *x)
{
    size_t cols = (size_t)op->attr[VIEW_COLS];

    x += op->attr[VIEW_OFFSET];
    for (int64_t g = 0; g < op->attr[VIEW_GROUPS]; g++, x += op->attr[VIEW_GROUP])
        for (int64_t r = 0; r < op->attr[VIEW_ROWS]; r++)
            for (int64_t b = 0; b < op->attr[VIEW_BLOCKS]; b++, y += cols)
                memcpy(y, x + r * op->attr[VIEW_ROW] + b * op->attr[VIEW_BLOCK], cols * sizeof(*y));
}

static int clear(struct clear *c, const struct op *op, struct err *err)
{
    (void)err;
    view(op, walk_at(&c->walk, op->out), walk_at(&c->walk, op->in[0]));
    return 0;
}

static void masks(const struct walk *w, const struct op *op)
{
    if (op_wire(w, op->out)->kind == WIRE_MASKED)
        view(op, walk_mask(w, op->out), walk_mask(w, op->in[0]));
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
    view(op, walk_at(&o->walk, op->out), walk_at(&o->walk, op->in[0]));
    masks(&o->walk, op);
    return 0;
}

const struct op_kind op_view = {
    .name = "view",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = VIEW_ATTRS,
    .attrs_max = VIEW_ATTRS,
    .infer = infer,
    .cost = cost,
    .clear = clear,
    .deal = deal,
    .prepare = prepare,
    .online = online,
};
