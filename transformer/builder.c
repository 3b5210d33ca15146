#include "transformer/builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const form_names[FORMS] = {
    [FORM_CUT] = "cut",         [FORM_NARROW] = "narrow", [FORM_MULTIPLY] = "multiply",
    [FORM_COMPARE] = "compare", [FORM_SCALE] = "scale",   [FORM_TURNS] = "turns",
};

void place_text(const struct place *at, char ret[PLACE_TEXT_MAX])
{
    if (at->layer < 0)
        snprintf(ret, PLACE_TEXT_MAX, "%s", at->what);
    else
        snprintf(ret, PLACE_TEXT_MAX, "layer %d, %s", at->layer, at->what);
}

static int note_place(struct builder *b)
{
    size_t count = b->variant->op_count;
    struct place *more;

    if (!(count & (count - 1))) {
        more = realloc(b->places, (count ? 2 * count : 1) * sizeof(*more));
        if (!more)
            return err_set(b->err, -ENOMEM, "no memory for the plan");
        b->places = more;
    }
    b->places[count] = b->at;
    return 0;
}

static uint32_t append(struct builder *b, const struct op *op)
{
    uint32_t out = OPERAND_NONE;
    char place[PLACE_TEXT_MAX];
    struct err why = {0};

    if (b->rc < 0)
        return OPERAND_NONE;
    b->rc = note_place(b);
    if (b->rc < 0)
        return OPERAND_NONE;
    b->rc = plan_add_op(b->plan, b->variant, op, &out, &why);
    if (b->rc < 0) {
        place_text(&b->at, place);
        err_set(b->err, b->rc, "%s: %s", place, err_text(&why, b->rc));
    }
    return out;
}

/* An operation of up to two inputs. */
static uint32_t simple(struct builder *b, enum op_id id, uint32_t x, uint32_t y,
                       const int64_t *attr, size_t count)
{
    struct op op = {.id = (uint8_t)id, .attr_count = (uint8_t)MIN(count, UINT8_MAX)};

    if (x != OPERAND_NONE)
        op.in[op.input_count++] = x;
    if (y != OPERAND_NONE)
        op.in[op.input_count++] = y;
    if (count)
        memcpy(op.attr, attr, MIN(count, PLAN_ATTRS_MAX) * sizeof(*attr));
    return append(b, &op);
}

int build_frac(const struct builder *b, uint32_t wire)
{
    return b->rc < 0 ? 0 : b->variant->wires[wire].frac;
}

size_t build_cols(const struct builder *b, uint32_t wire)
{
    return b->rc < 0 ? 0 : b->variant->wires[wire].cols;
}

size_t build_elements(const struct builder *b, uint32_t wire)
{
    return b->rc < 0 ? 0 : wire_elements(&b->variant->wires[wire]);
}

int build_bits(const struct builder *b, uint32_t wire)
{
    const struct wire *w;

    if (b->rc < 0)
        return 0;
    w = &b->variant->wires[wire];
    return w->cut ? w->cut : w->ring;
}

uint32_t build_input(struct builder *b, unsigned int ring)
{
    const int64_t attr[INPUT_ATTRS] = {[INPUT_RING] = ring};

    return simple(b, OP_INPUT, OPERAND_NONE, OPERAND_NONE, attr, INPUT_ATTRS);
}

uint32_t build_presence(struct builder *b)
{
    return simple(b, OP_PRESENCE, OPERAND_NONE, OPERAND_NONE, NULL, 0);
}

void build_output(struct builder *b, uint32_t logits, uint32_t outside)
{
    simple(b, OP_OUTPUT, logits, outside, NULL, 0);
}

void build_output_labels(struct builder *b, uint32_t labels, uint32_t outside)
{
    simple(b, OP_OUTPUT, labels, outside, (int64_t[]){[OUTPUT_LABELS] = 1}, OUTPUT_ATTRS_MAX);
}

uint32_t build_open(struct builder *b, uint32_t x)
{
    return simple(b, OP_OPEN, x, OPERAND_NONE, NULL, 0);
}

uint32_t build_truncate(struct builder *b, uint32_t x, int shift, int frac)
{
    const int64_t attr[TRUNCATE_ATTRS] = {
        [TRUNCATE_SHIFT] = shift,
        [TRUNCATE_RELABEL] = frac - (build_frac(b, x) - shift),
    };

    return simple(b, OP_TRUNCATE, x, OPERAND_NONE, attr, TRUNCATE_ATTRS);
}

uint32_t build_cut(struct builder *b, uint32_t x, int shift, int frac)
{
    const int64_t attr[CUT_ATTRS] = {
        [CUT_SHIFT] = shift,
        [CUT_RELABEL] = frac - (build_frac(b, x) - shift),
    };

    if (build_without(b, FORM_CUT))
        return build_open(b, build_truncate(b, x, shift, frac));
    return simple(b, OP_CUT, x, OPERAND_NONE, attr, CUT_ATTRS);
}

uint32_t build_cut_whole(struct builder *b, uint32_t x, int shift, int frac)
{
    const int64_t attr[CUT_ATTRS_MAX] = {
        [CUT_SHIFT] = shift,
        [CUT_RELABEL] = frac - (build_frac(b, x) - shift),
        [CUT_WHOLE] = 1,
    };

    return simple(b, OP_CUT, x, OPERAND_NONE, attr, CUT_ATTRS_MAX);
}

uint32_t build_truncate_lift(struct builder *b, uint32_t x, int shift, int frac)
{
    const int64_t attr[TRUNCATE_ATTRS] = {
        [TRUNCATE_SHIFT] = shift,
        [TRUNCATE_RELABEL] = frac - (build_frac(b, x) - shift),
        [TRUNCATE_RING] = b->plan->ring,
    };

    return simple(b, OP_TRUNCATE, x, OPERAND_NONE, attr, TRUNCATE_ATTRS);
}

uint32_t build_lift(struct builder *b, uint32_t x)
{
    const int64_t attr[TRUNCATE_ATTRS] = {[TRUNCATE_RING] = b->plan->ring};

    return simple(b, OP_TRUNCATE, x, OPERAND_NONE, attr, TRUNCATE_ATTRS);
}

uint32_t build_linear(struct builder *b, uint32_t x, size_t rows, uint32_t weight, uint32_t bias,
                      uint32_t residual, uint32_t gain)
{
    const struct weight *w = plan_weight(b->plan, weight);
    struct op op = {
        .id = OP_MATMUL,
        .input_count = 5,
        .in = {x, weight, bias, residual, gain},
        .attr_count = MATMUL_ATTRS,
        .attr =
            {
                [MATMUL_GROUPS] = 1,
                [MATMUL_BATCH] = 1,
                [MATMUL_ROWS] = (int64_t)rows,
                [MATMUL_INNER] = w->rows,
                [MATMUL_COLS] = w->cols,
                [MATMUL_A_ROW] = w->rows,
                [MATMUL_B_ROW] = w->cols,
                [MATMUL_B_COL] = 1,
            },
    };

    return append(b, &op);
}

uint32_t build_batch(struct builder *b, size_t groups, size_t count, size_t rows, size_t inner,
                     size_t cols, struct batch_view left, struct batch_view right)
{
    struct op op = {
        .id = OP_MATMUL,
        .input_count = 5,
        .in = {left.wire, right.wire, OPERAND_NONE, OPERAND_NONE, OPERAND_NONE},
        .attr_count = MATMUL_ATTRS,
        .attr =
            {
                [MATMUL_GROUPS] = (int64_t)groups,
                [MATMUL_BATCH] = (int64_t)count,
                [MATMUL_ROWS] = (int64_t)rows,
                [MATMUL_INNER] = (int64_t)inner,
                [MATMUL_COLS] = (int64_t)cols,
                [MATMUL_A_OFFSET] = (int64_t)left.offset,
                [MATMUL_A_GROUP] = (int64_t)left.group,
                [MATMUL_A_BATCH] = (int64_t)left.batch,
                [MATMUL_A_ROW] = (int64_t)left.row,
                [MATMUL_B_OFFSET] = (int64_t)right.offset,
                [MATMUL_B_GROUP] = (int64_t)right.group,
                [MATMUL_B_BATCH] = (int64_t)right.batch,
                [MATMUL_B_ROW] = (int64_t)right.row,
                [MATMUL_B_COL] = (int64_t)right.col,
            },
    };

    if (build_without(b, FORM_TURNS)) {
        op.attr_count = MATMUL_ATTRS_MAX;
        op.attr[MATMUL_ONE_SIDED] = 1;
    }
    return append(b, &op);
}

uint32_t build_mul(struct builder *b, uint32_t x, uint32_t y)
{
    return simple(b, OP_MUL, x, y, NULL, 0);
}

uint32_t build_square(struct builder *b, uint32_t x, bool sum_rows)
{
    const int64_t attr[SQUARE_ATTRS] = {[SQUARE_SUM_ROWS] = sum_rows};

    return simple(b, OP_SQUARE, x, OPERAND_NONE, attr, SQUARE_ATTRS);
}

uint32_t build_add(struct builder *b, uint32_t x, uint32_t y)
{
    return simple(b, OP_ADD, x, y, NULL, 0);
}

uint32_t build_affine(struct builder *b, uint32_t x, int64_t factor, int64_t add, int frac)
{
    const int64_t attr[AFFINE_ATTRS] = {
        [AFFINE_FACTOR] = factor,
        [AFFINE_ADD] = add,
        [AFFINE_RELABEL] = frac - build_frac(b, x),
    };

    return simple(b, OP_AFFINE, x, OPERAND_NONE, attr, AFFINE_ATTRS);
}

uint32_t build_centre(struct builder *b, uint32_t x)
{
    return simple(b, OP_CENTRE, x, OPERAND_NONE, NULL, 0);
}

uint32_t build_row_sum(struct builder *b, uint32_t x)
{
    return simple(b, OP_ROW_SUM, x, OPERAND_NONE, NULL, 0);
}

uint32_t build_length_mask(struct builder *b, uint32_t x)
{
    return simple(b, OP_LENGTH_MASK, x, OPERAND_NONE, NULL, 0);
}

uint32_t build_length_fill(struct builder *b, uint32_t x, int64_t fill)
{
    return simple(b, OP_LENGTH_MASK, x, OPERAND_NONE, (int64_t[]){[LENGTH_MASK_FILL] = fill},
                  LENGTH_MASK_ATTRS_MAX);
}

uint32_t build_length_scale(struct builder *b, uint32_t x)
{
    return simple(b, OP_LENGTH_SCALE, x, OPERAND_NONE, NULL, 0);
}

uint32_t build_add_presence(struct builder *b, uint32_t x, uint32_t presence, int64_t factor,
                            int64_t add)
{
    const int64_t attr[ADD_PRESENCE_ATTRS] = {
        [ADD_PRESENCE_FACTOR] = factor,
        [ADD_PRESENCE_ADD] = add,
    };

    return simple(b, OP_ADD_PRESENCE, x, presence, attr, ADD_PRESENCE_ATTRS);
}

void build_range(struct builder *b, uint32_t x, int64_t min, int64_t end)
{
    const int64_t attr[RANGE_ATTRS] = {[RANGE_MIN] = min, [RANGE_END] = end};

    simple(b, OP_RANGE, x, OPERAND_NONE, attr, RANGE_ATTRS);
}

uint32_t build_compare(struct builder *b, uint32_t x, int bits, int shift,
                       const int64_t *thresholds, size_t count)
{
    int64_t attr[PLAN_ATTRS_MAX] = {[COMPARE_BITS] = bits, [COMPARE_SHIFT] = shift};

    if (build_without(b, FORM_COMPARE)) {
        attr[COMPARE_BITS] = build_bits(b, x);
        attr[COMPARE_SHIFT] = 0;
    }
    count = MIN(count, (size_t)PLAN_ATTRS_MAX - COMPARE_THRESHOLD);
    memcpy(attr + COMPARE_THRESHOLD, thresholds, count * sizeof(*thresholds));
    return simple(b, OP_COMPARE, x, OPERAND_NONE, attr, COMPARE_THRESHOLD + count);
}

uint32_t build_bit_to_ring(struct builder *b, uint32_t bits)
{
    return simple(b, OP_BIT_TO_RING, bits, OPERAND_NONE, NULL, 0);
}

uint32_t build_select(struct builder *b, uint32_t bits, int64_t column, uint32_t x)
{
    return simple(b, OP_SELECT, bits, x, (int64_t[]){[SELECT_COLUMN] = column}, SELECT_ATTRS_MAX);
}

uint32_t build_dot(struct builder *b, uint32_t x, int64_t constant, const int64_t *factors,
                   size_t count, int frac)
{
    int64_t attr[PLAN_ATTRS_MAX] = {[DOT_FRAC] = frac, [DOT_CONSTANT] = constant};

    if (DOT_FACTOR + count > PLAN_ATTRS_MAX) {
        b->rc = b->rc < 0 ? b->rc : err_set(b->err, -E2BIG, "%s: %zu factors", b->at.what, count);
        return OPERAND_NONE;
    }
    memcpy(attr + DOT_FACTOR, factors, count * sizeof(*factors));
    return simple(b, OP_DOT, x, OPERAND_NONE, attr, DOT_FACTOR + count);
}

/* A column of @rows, which has a row for each element of @like, in the shape of that. */
static uint32_t column(struct builder *b, uint32_t rows, size_t at, uint32_t like)
{
    const struct wire *t, *r;

    if (b->rc < 0)
        return OPERAND_NONE;
    t = &b->variant->wires[like];
    r = &b->variant->wires[rows];
    return simple(b, OP_VIEW, rows, OPERAND_NONE,
                  (int64_t[VIEW_ATTRS]){
                      [VIEW_ROWS] = t->rows,
                      [VIEW_BLOCKS] = t->cols,
                      [VIEW_COLS] = 1,
                      [VIEW_OFFSET] = (int64_t)at,
                      [VIEW_ROW] = (int64_t)t->cols * r->cols,
                      [VIEW_BLOCK] = r->cols,
                      [VIEW_GROUPS] = 1,
                  },
                  VIEW_ATTRS);
}

/* The lookup of a line, with its slope opened. */
static uint32_t multiply_opened(struct builder *b, uint32_t rows, uint32_t t, size_t cols, int frac)
{
    uint32_t y = build_mul(b, t, build_open(b, column(b, rows, cols - 1, t)));

    y = build_affine(b, y, 1, 0, frac);
    return cols > 1 ? build_add(b, y, column(b, rows, 0, t)) : y;
}

uint32_t build_lookup(struct builder *b, uint32_t x, int shift, uint32_t t, int64_t table, int frac)
{
    const int64_t attr[LOOKUP_ATTRS] = {
        [LOOKUP_TABLE] = table, [LOOKUP_SHIFT] = shift, [LOOKUP_FRAC] = frac};

    if (!build_without(b, FORM_MULTIPLY))
        return simple(b, OP_LOOKUP, x, t, attr, LOOKUP_ATTRS);
    x = simple(b, OP_LOOKUP, x, OPERAND_NONE, attr, LOOKUP_ATTRS);
    return multiply_opened(b, x, t, b->plan->tables[table].cols, frac);
}

uint32_t build_spline(struct builder *b, uint32_t x, uint32_t bits, const struct builder_spline *k)
{
    int64_t attr[PLAN_ATTRS_MAX] = {
        [SPLINE_TABLE] = k->table, [SPLINE_SHIFT] = k->shift, [SPLINE_DROP] = k->drop,
        [SPLINE_RING] = k->ring,   [SPLINE_FRAC] = k->frac,   [SPLINE_TO] = k->to,
    };

    memcpy(attr + SPLINE_TERM, k->terms, SPLINE_TERMS * k->columns * sizeof(*attr));
    return simple(b, OP_SPLINE, x, bits, attr, SPLINE_TERM + SPLINE_TERMS * k->columns);
}

uint32_t build_difference(struct builder *b, uint32_t x, uint32_t y, size_t cols, size_t at_x,
                          size_t at_y)
{
    const int64_t attr[DIFFERENCE_ATTRS] = {
        [DIFFERENCE_COLS] = (int64_t)cols,
        [DIFFERENCE_X] = (int64_t)at_x,
        [DIFFERENCE_Y] = (int64_t)at_y,
    };

    return simple(b, OP_DIFFERENCE, x, y, attr, DIFFERENCE_ATTRS);
}

uint32_t build_unmask(struct builder *b, uint32_t x)
{
    return simple(b, OP_UNMASK, x, OPERAND_NONE, NULL, 0);
}

uint32_t build_rows(struct builder *b, uint32_t x, size_t rows, size_t cols, size_t at,
                    size_t stride)
{
    const int64_t attr[VIEW_ATTRS] = {
        [VIEW_ROWS] = (int64_t)rows,  [VIEW_BLOCKS] = 1,
        [VIEW_COLS] = (int64_t)cols,  [VIEW_OFFSET] = (int64_t)at,
        [VIEW_ROW] = (int64_t)stride, [VIEW_GROUPS] = 1,
    };

    return simple(b, OP_VIEW, x, OPERAND_NONE, attr, VIEW_ATTRS);
}

uint32_t build_join(struct builder *b, const struct builder_join parts[], size_t count)
{
    struct op op = {
        .id = OP_JOIN,
        .input_count = (uint8_t)count,
        .attr_count = (uint8_t)(JOIN_ATTRS * count),
    };

    for (size_t i = 0; i < count; i++) {
        op.in[i] = parts[i].wire;
        op.attr[JOIN_ATTRS * i + JOIN_FACTOR] = parts[i].factor;
        op.attr[JOIN_ATTRS * i + JOIN_ADD] = parts[i].add;
    }
    return append(b, &op);
}

uint32_t build_join_all(struct builder *b, struct builder_join parts[], size_t count)
{
    do {
        size_t made = 0;

        for (size_t i = 0; i < count; i += PLAN_INPUTS_MAX, made++)
            parts[made] = (struct builder_join){
                build_join(b, parts + i, MIN(count - i, (size_t)PLAN_INPUTS_MAX)), 1, 0};
        count = made;
    } while (count > 1);
    return parts[0].wire;
}

uint32_t build_columns(struct builder *b, uint32_t x, size_t at, size_t count)
{
    const struct wire *w;

    if (b->rc < 0)
        return OPERAND_NONE;
    w = &b->variant->wires[x];
    return build_rows(b, x, w->rows, count, at, w->cols);
}

uint32_t build_like(struct builder *b, uint32_t x, uint32_t like)
{
    return column(b, x, 0, like);
}

static uint32_t rows_apart(struct builder *b, uint32_t x, size_t at, size_t stride, size_t cols)
{
    if (b->rc < 0)
        return OPERAND_NONE;
    return simple(b, OP_VIEW, x, OPERAND_NONE,
                  (int64_t[VIEW_ATTRS]){
                      [VIEW_ROWS] = (int64_t)(wire_elements(&b->variant->wires[x]) / stride),
                      [VIEW_BLOCKS] = 1,
                      [VIEW_COLS] = (int64_t)cols,
                      [VIEW_OFFSET] = (int64_t)at,
                      [VIEW_ROW] = (int64_t)stride,
                      [VIEW_GROUPS] = 1,
                  },
                  VIEW_ATTRS);
}

uint32_t build_reshape(struct builder *b, uint32_t x, size_t cols)
{
    return rows_apart(b, x, 0, cols, cols);
}

uint32_t build_every(struct builder *b, uint32_t x, size_t at, size_t stride)
{
    return rows_apart(b, x, at, stride, 1);
}

uint32_t build_beside(struct builder *b, uint32_t x, size_t rows, size_t blocks, size_t cols,
                      size_t stride, size_t groups, size_t group)
{
    const int64_t attr[VIEW_ATTRS] = {
        [VIEW_ROWS] = (int64_t)rows,    [VIEW_BLOCKS] = (int64_t)blocks,
        [VIEW_COLS] = (int64_t)cols,    [VIEW_ROW] = (int64_t)cols,
        [VIEW_BLOCK] = (int64_t)stride, [VIEW_GROUPS] = (int64_t)groups,
        [VIEW_GROUP] = (int64_t)group,
    };

    return simple(b, OP_VIEW, x, OPERAND_NONE, attr, VIEW_ATTRS);
}
