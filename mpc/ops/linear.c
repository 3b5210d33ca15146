/*
 * The local operations: public linear maps of shares, what comes in and what goes out. They send
 * nothing and take nothing from the tape; a public constant is added by party 0 alone.
 */
#include "base/secret.h"
#include "mpc/op.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int need_kind(const struct variant *v, const struct op *op, uint8_t kind, struct err *err)
{
    if (operand_is_weight(op->in[0]) || v->wires[op->in[0]].kind != kind)
        return err_set(err, -EINVAL, "its input is no %s wire",
                       kind == WIRE_SHARE ? "share" : "masked");
    return 0;
}

static const struct wire *first_in(const struct walk *w, const struct op *op)
{
    return op_wire(w, op->in[0]);
}

static void cost_nothing(const struct plan *plan, const struct variant *v, const struct op *op,
                         struct op_cost *ret)
{
    (void)plan, (void)v, (void)op, (void)ret;
}

/* --- input: the data owner's share of the one-hot rows --- */

static int input_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                       struct wire *ret, struct err *err)
{
    int64_t ring = op->attr[INPUT_RING];

    if (ring && !ring_narrow_valid((unsigned int)MIN((uint64_t)ring, 255u)))
        return err_set(err, -EINVAL, "an input of %" PRId64 " bits", ring);
    *ret = (struct wire){
        .kind = WIRE_SHARE,
        .ring = (uint8_t)(ring ? ring : plan->ring),
        .rows = v->batch * v->tokens,
        .cols = plan->vocabulary + plan->types,
    };
    return 0;
}

static int input_clear(struct clear *c, const struct op *op, struct err *err)
{
    (void)err;
    memcpy(walk_at(&c->walk, op->out), c->input,
           wire_elements(op_wire(&c->walk, op->out)) * sizeof(*c->input));
    return 0;
}

static int input_online(struct online *o, const struct op *op)
{
    uint64_t *to = walk_at(&o->walk, op->out);

    if (to != o->input)
        memcpy(to, o->input, wire_elements(op_wire(&o->walk, op->out)) * sizeof(*to));
    return 0;
}

const struct op_kind op_input = {
    .name = "input",
    .attrs_min = INPUT_ATTRS,
    .attrs_max = INPUT_ATTRS,
    .infer = input_infer,
    .cost = cost_nothing,
    .clear = input_clear,
    .online = input_online,
};

/* --- output: this party's share of the answer, cut to l bits before it leaves; and of how many
 * elements are outside of each guard --- */

static int output_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                        struct wire *ret, struct err *err)
{
    bool labels = op->attr_count > OUTPUT_LABELS && op->attr[OUTPUT_LABELS];
    const struct wire *in;
    int rc = need_kind(v, op, WIRE_SHARE, err);

    if (rc < 0)
        return rc;
    in = &v->wires[op->in[OUTPUT_LOGITS]];
    if (in->ring != plan->ring || in->frac != (labels ? 0 : plan->frac) ||
        wire_elements(in) != (size_t)v->batch * plan->labels)
        return err_set(err, -EINVAL, "the answer is not %u times %u labels in the plan's format",
                       v->batch, plan->labels);
    if ((op->input_count > OUTPUT_OUTSIDE) != (plan->guard_count > 0))
        return err_set(err, -EINVAL, "%u inputs with %zu guards", op->input_count,
                       plan->guard_count);
    if (op->input_count > OUTPUT_OUTSIDE) {
        in = operand_is_weight(op->in[OUTPUT_OUTSIDE]) ? NULL : &v->wires[op->in[OUTPUT_OUTSIDE]];
        if (!in || in->kind != WIRE_SHARE || in->ring != plan->ring || in->rows != v->batch ||
            in->cols != plan->guard_count)
            return err_set(err, -EINVAL, "what is outside is not %u times %zu counts", v->batch,
                           plan->guard_count);
    }
    ret->kind = 0;
    return 0;
}

/* One after the other, cut to l bits. */
static void give(const struct walk *w, const struct op *op, uint64_t *to)
{
    for (size_t i = 0; i < op->input_count; i++) {
        const uint64_t *x = walk_at(w, op->in[i]);

        for (size_t j = 0; j < wire_elements(op_wire(w, op->in[i])); j++)
            *to++ = x[j] & ring_mask(w->plan->ring);
    }
}

static int output_clear(struct clear *c, const struct op *op, struct err *err)
{
    (void)err;
    give(&c->walk, op, c->output);
    return 0;
}

static int output_online(struct online *o, const struct op *op)
{
    give(&o->walk, op, o->output);
    return 0;
}

const struct op_kind op_output = {
    .name = "output",
    .inputs_min = 1,
    .inputs_max = 2,
    .attrs_max = OUTPUT_ATTRS_MAX,
    .infer = output_infer,
    .cost = cost_nothing,
    .clear = output_clear,
    .online = output_online,
};

/* --- affine: y = factor x + add, relabelled --- */

static int affine_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                        struct wire *ret, struct err *err)
{
    int64_t frac;
    int rc = need_kind(v, op, WIRE_SHARE, err);

    (void)plan;
    if (rc < 0)
        return rc;
    *ret = v->wires[op->in[0]];
    if (op->attr[AFFINE_RELABEL] < -64 || op->attr[AFFINE_RELABEL] > 64)
        return err_set(err, -EINVAL, "it relabels by more than 64 bits");
    frac = ret->frac + op->attr[AFFINE_RELABEL];
    if (frac < -64 || frac > 64)
        return err_set(err, -EINVAL, "its result has %" PRId64 " fraction bits", frac);
    ret->frac = (int8_t)frac;
    return 0;
}

static void affine(const struct walk *w, const struct op *op, uint64_t add)
{
    const uint64_t *x = walk_at(w, op->in[0]);
    uint64_t *y = walk_at(w, op->out), factor = (uint64_t)op->attr[AFFINE_FACTOR];

    for (size_t i = 0; i < wire_elements(first_in(w, op)); i++)
        y[i] = factor * x[i] + add;
}

static int affine_clear(struct clear *c, const struct op *op, struct err *err)
{
    size_t count = wire_elements(first_in(&c->walk, op));
    const uint64_t *x = walk_at(&c->walk, op->in[0]);
    double *exact = malloc(count * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        exact[i] =
            (double)op->attr[AFFINE_FACTOR] * (double)(int64_t)x[i] + (double)op->attr[AFFINE_ADD];
    affine(&c->walk, op, (uint64_t)op->attr[AFFINE_ADD]);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static int affine_online(struct online *o, const struct op *op)
{
    affine(&o->walk, op, o->party == 0 ? (uint64_t)op->attr[AFFINE_ADD] : 0);
    return 0;
}

const struct op_kind op_affine = {
    .name = "affine",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = AFFINE_ATTRS,
    .attrs_max = AFFINE_ATTRS,
    .infer = affine_infer,
    .cost = cost_nothing,
    .clear = affine_clear,
    .online = affine_online,
};

/* --- add: z = x + y --- */

static int add_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                     struct wire *ret, struct err *err)
{
    const struct wire *y;
    int rc = need_kind(v, op, WIRE_SHARE, err);

    (void)plan;
    if (rc < 0)
        return rc;
    if (operand_is_weight(op->in[1]))
        return err_set(err, -EINVAL, "a weight is added by a matrix product");
    *ret = v->wires[op->in[0]];
    y = &v->wires[op->in[1]];
    if (y->kind != WIRE_SHARE || y->ring != ret->ring || y->frac != ret->frac ||
        y->rows != ret->rows || y->cols != ret->cols)
        return err_set(err, -EINVAL, "its two inputs differ in shape or format");
    return 0;
}

static void add(const struct walk *w, const struct op *op)
{
    const uint64_t *x = walk_at(w, op->in[0]), *y = walk_at(w, op->in[1]);
    uint64_t *z = walk_at(w, op->out);

    for (size_t i = 0; i < wire_elements(first_in(w, op)); i++)
        z[i] = x[i] + y[i];
}

static int add_clear(struct clear *c, const struct op *op, struct err *err)
{
    size_t count = wire_elements(first_in(&c->walk, op));
    const uint64_t *x = walk_at(&c->walk, op->in[0]), *y = walk_at(&c->walk, op->in[1]);
    double *exact = malloc(count * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        exact[i] = (double)(int64_t)x[i] + (double)(int64_t)y[i];
    add(&c->walk, op);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static int add_online(struct online *o, const struct op *op)
{
    add(&o->walk, op);
    return 0;
}

const struct op_kind op_add = {
    .name = "add",
    .inputs_min = 2,
    .inputs_max = 2,
    .infer = add_infer,
    .cost = cost_nothing,
    .clear = add_clear,
    .online = add_online,
};

/* --- centre: y = n x - sum of the row, exact, n times (x - mean) --- */

static int share_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                       struct wire *ret, struct err *err)
{
    int rc = need_kind(v, op, WIRE_SHARE, err);

    (void)plan;
    if (rc == 0)
        *ret = v->wires[op->in[0]];
    return rc;
}

static double row_total_exact(const uint64_t *x, size_t cols)
{
    double sum = 0;

    for (size_t i = 0; i < cols; i++)
        sum += (double)(int64_t)x[i];
    return sum;
}

static void centre(const struct walk *w, const struct op *op)
{
    const struct wire *in = first_in(w, op);

    w->kernels->centre(walk_at(w, op->out), walk_at(w, op->in[0]), in->rows, in->cols);
}

static int centre_clear(struct clear *c, const struct op *op, struct err *err)
{
    const struct wire *in = first_in(&c->walk, op);
    double *exact = malloc(wire_elements(in) * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t r = 0; r < in->rows; r++) {
        const uint64_t *x = walk_at(&c->walk, op->in[0]) + r * in->cols;
        double sum = row_total_exact(x, in->cols);

        for (size_t i = 0; i < in->cols; i++)
            exact[r * in->cols + i] = in->cols * (double)(int64_t)x[i] - sum;
    }
    centre(&c->walk, op);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static int centre_online(struct online *o, const struct op *op)
{
    centre(&o->walk, op);
    return 0;
}

static int centre_rows(struct online *o, const struct op *op, size_t first, size_t count)
{
    size_t cols = first_in(&o->walk, op)->cols;
    int rc = op_pull(o, op->in[0], (first + count) * cols);

    if (rc == 0)
        o->walk.kernels->centre(walk_at(&o->walk, op->out) + first * cols,
                                walk_at(&o->walk, op->in[0]) + first * cols, count, cols);
    return rc;
}

static bool always(const struct op *op)
{
    (void)op;
    return true;
}

const struct op_kind op_centre = {
    .name = "centre",
    .inputs_min = 1,
    .inputs_max = 1,
    .infer = share_infer,
    .cost = cost_nothing,
    .clear = centre_clear,
    .online = centre_online,
    .rows = centre_rows,
    .by_rows = always,
};

/* --- row sum --- */

static int row_sum_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                         struct wire *ret, struct err *err)
{
    int rc = share_infer(plan, v, op, ret, err);

    ret->cols = 1;
    return rc;
}

static void row_sum(const struct walk *w, const struct op *op)
{
    const struct wire *in = first_in(w, op);

    w->kernels->row_sum(walk_at(w, op->out), walk_at(w, op->in[0]), in->rows, in->cols);
}

static int row_sum_clear(struct clear *c, const struct op *op, struct err *err)
{
    const struct wire *in = first_in(&c->walk, op);
    double *exact = malloc(in->rows * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t r = 0; r < in->rows; r++)
        exact[r] = row_total_exact(walk_at(&c->walk, op->in[0]) + r * in->cols, in->cols);
    row_sum(&c->walk, op);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static int row_sum_online(struct online *o, const struct op *op)
{
    row_sum(&o->walk, op);
    return 0;
}

const struct op_kind op_row_sum = {
    .name = "row sum",
    .inputs_min = 1,
    .inputs_max = 1,
    .infer = row_sum_infer,
    .cost = cost_nothing,
    .clear = row_sum_clear,
    .online = row_sum_online,
};

/* --- length mask: zero, or what the plan says, in the columns of tokens that are not there; the
 * lengths are public --- */

/* Of a wire in which the sequences of a batch stand one after the other, as many rows each. */
static int sequences_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                           struct wire *ret, struct err *err)
{
    int rc = share_infer(plan, v, op, ret, err);

    if (rc == 0 && ret->rows % v->batch)
        return err_set(err, -EINVAL, "its %u rows are not %u sequences", ret->rows, v->batch);
    return rc;
}

static uint64_t length_mask_fill(const struct op *op)
{
    return op->attr_count > LENGTH_MASK_FILL ? (uint64_t)op->attr[LENGTH_MASK_FILL] : 0;
}

static int length_mask_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                             struct wire *ret, struct err *err)
{
    int rc = sequences_infer(plan, v, op, ret, err);

    if (rc == 0 && ret->cols != v->tokens)
        return err_set(err, -EINVAL, "its columns are not the tokens");
    if (rc == 0 && length_mask_fill(op) != (uint64_t)ring_signed(length_mask_fill(op), ret->ring))
        return err_set(err, -EINVAL, "it fills with more than %u bits", ret->ring);
    return rc;
}

static void length_mask(const struct walk *w, const struct op *op, uint64_t fill)
{
    const struct wire *in = first_in(w, op);
    size_t each = in->rows / w->variant->batch;

    for (size_t r = 0; r < in->rows; r++) {
        uint64_t *y = walk_at(w, op->out) + r * in->cols;
        size_t length = w->length[r / each];

        memcpy(y, walk_at(w, op->in[0]) + r * in->cols, length * sizeof(*y));
        for (size_t i = length; i < in->cols; i++)
            y[i] = fill;
    }
}

static int length_mask_clear(struct clear *c, const struct op *op, struct err *err)
{
    (void)err;
    length_mask(&c->walk, op, length_mask_fill(op));
    return 0;
}

static int length_mask_online(struct online *o, const struct op *op)
{
    length_mask(&o->walk, op, o->party == 0 ? length_mask_fill(op) : 0);
    return 0;
}

const struct op_kind op_length_mask = {
    .name = "length mask",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_max = LENGTH_MASK_ATTRS_MAX,
    .infer = length_mask_infer,
    .cost = cost_nothing,
    .clear = length_mask_clear,
    .online = length_mask_online,
};

/* --- length scale: 2^j x, for the largest 2^j <= tokens / length; the lengths are public --- */

static void length_scale(const struct walk *w, const struct op *op)
{
    size_t each = wire_elements(first_in(w, op)) / w->variant->batch;
    const uint64_t *x = walk_at(w, op->in[0]);
    uint64_t *y = walk_at(w, op->out);

    for (size_t s = 0; s < w->variant->batch; s++, x += each, y += each) {
        unsigned int up = variant_scale_bits(w->variant, w->length[s]);

        for (size_t i = 0; i < each; i++)
            y[i] = x[i] << up;
    }
}

static int length_scale_clear(struct clear *c, const struct op *op, struct err *err)
{
    size_t count = wire_elements(first_in(&c->walk, op)), each = count / c->walk.variant->batch;
    const uint64_t *x = walk_at(&c->walk, op->in[0]);
    double *exact = malloc(count * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        exact[i] = (double)(int64_t)x[i];
        for (double up = 2; up * c->walk.length[i / each] <= c->walk.variant->tokens; up *= 2)
            exact[i] *= 2;
    }
    length_scale(&c->walk, op);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static int length_scale_online(struct online *o, const struct op *op)
{
    length_scale(&o->walk, op);
    return 0;
}

const struct op_kind op_length_scale = {
    .name = "length scale",
    .inputs_min = 1,
    .inputs_max = 1,
    .infer = sequences_infer,
    .cost = cost_nothing,
    .clear = length_scale_clear,
    .online = length_scale_online,
};

/* --- unmask: a masked wire as shares again, x^ - r --- */

static int unmask_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                        struct wire *ret, struct err *err)
{
    int rc = need_kind(v, op, WIRE_MASKED, err);

    (void)plan;
    if (rc == 0) {
        *ret = v->wires[op->in[0]];
        ret->kind = WIRE_SHARE;
        ret->cut = 0;
    }
    return rc;
}

static int unmask_clear(struct clear *c, const struct op *op, struct err *err)
{
    (void)err;
    memcpy(walk_at(&c->walk, op->out), walk_at(&c->walk, op->in[0]),
           wire_elements(first_in(&c->walk, op)) * sizeof(uint64_t));
    return 0;
}

static int unmask_online(struct online *o, const struct op *op)
{
    const uint64_t *hat = walk_at(&o->walk, op->in[0]), *r = walk_mask(&o->walk, op->in[0]);
    uint64_t *y = walk_at(&o->walk, op->out), mine = o->party == 0;

    for (size_t i = 0; i < wire_elements(first_in(&o->walk, op)); i++)
        y[i] = mine * hat[i] - r[i];
    return 0;
}

const struct op_kind op_unmask = {
    .name = "unmask",
    .inputs_min = 1,
    .inputs_max = 1,
    .infer = unmask_infer,
    .cost = cost_nothing,
    .clear = unmask_clear,
    .online = unmask_online,
};

/* --- dot: y = constant + sum over columns of factor x, with public factors --- */

static int dot_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                     struct wire *ret, struct err *err)
{
    int rc = share_infer(plan, v, op, ret, err);

    if (rc < 0)
        return rc;
    if (op->attr_count != DOT_FACTOR + ret->cols)
        return err_set(err, -EINVAL, "%d factors for %u columns", op->attr_count - DOT_FACTOR,
                       ret->cols);
    if (op->attr[DOT_FRAC] < -64 || op->attr[DOT_FRAC] > 64)
        return err_set(err, -EINVAL, "its result has %" PRId64 " fraction bits",
                       op->attr[DOT_FRAC]);
    ret->cols = 1;
    ret->frac = (int8_t)op->attr[DOT_FRAC];
    return 0;
}

static void dot(const struct walk *w, const struct op *op, uint64_t constant)
{
    const struct wire *in = first_in(w, op);
    const uint64_t *x = walk_at(w, op->in[0]);
    uint64_t *y = walk_at(w, op->out);

    for (size_t r = 0; r < in->rows; r++, x += in->cols) {
        y[r] = constant;
        for (size_t i = 0; i < in->cols; i++)
            y[r] += (uint64_t)op->attr[DOT_FACTOR + i] * x[i];
    }
}

static int dot_clear(struct clear *c, const struct op *op, struct err *err)
{
    const struct wire *in = first_in(&c->walk, op);
    const uint64_t *x = walk_at(&c->walk, op->in[0]);
    double *exact = malloc(in->rows * sizeof(*exact));
    int rc;

    if (!exact)
        return -ENOMEM;
    for (size_t r = 0; r < in->rows; r++, x += in->cols) {
        exact[r] = (double)op->attr[DOT_CONSTANT];
        for (size_t i = 0; i < in->cols; i++)
            exact[r] += (double)op->attr[DOT_FACTOR + i] * (double)(int64_t)x[i];
    }
    dot(&c->walk, op, (uint64_t)op->attr[DOT_CONSTANT]);
    rc = clear_check(c, op, exact, err);
    free(exact);
    return rc;
}

static int dot_online(struct online *o, const struct op *op)
{
    dot(&o->walk, op, o->party == 0 ? (uint64_t)op->attr[DOT_CONSTANT] : 0);
    return 0;
}

const struct op_kind op_dot = {
    .name = "dot",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = DOT_FACTOR + 1,
    .attrs_max = PLAN_ATTRS_MAX,
    .infer = dot_infer,
    .cost = cost_nothing,
    .clear = dot_clear,
    .online = dot_online,
};

/* --- range: a promise about a wire that only the clear executor can see kept --- */

static int range_infer(const struct plan *plan, const struct variant *v, const struct op *op,
                       struct wire *ret, struct err *err)
{
    int rc = need_kind(v, op, WIRE_SHARE, err);

    (void)plan;
    if (rc == 0 && op->attr[RANGE_MIN] >= op->attr[RANGE_END])
        return err_set(err, -EINVAL, "an empty range");
    ret->kind = 0;
    return rc;
}

static int range_clear(struct clear *c, const struct op *op, struct err *err)
{
    const int64_t *x = (const int64_t *)walk_at(&c->walk, op->in[0]);
    int64_t low = op->attr[RANGE_MIN], end = op->attr[RANGE_END];

    for (size_t i = 0; i < wire_elements(first_in(&c->walk, op)); i++) {
        if (c->reports) {
            struct clear_report *report = &c->reports[op->index];

            if (report->value_min == 0 || (double)x[i] < report->value_min)
                report->value_min = (double)x[i];
        }
        clear_note(c, op, fabs((double)x[i]), (double)end);
        if (x[i] < low || x[i] >= end)
            return err_set(err, -ERANGE,
                           "operation %u: a value of %" PRId64 " units leaves the range %" PRId64
                           "..%" PRId64 " that the plan was compiled for; share the model again "
                           "with sample text like this one",
                           op->index, x[i], low, end);
    }
    return 0;
}

const struct op_kind op_range = {
    .name = "range",
    .inputs_min = 1,
    .inputs_max = 1,
    .attrs_min = RANGE_ATTRS,
    .attrs_max = RANGE_ATTRS,
    .infer = range_infer,
    .cost = cost_nothing,
    .clear = range_clear,
};
