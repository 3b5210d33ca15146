#include "tests/mpc/build.h"

#include "mpc/clear.h"
#include "mpc/cost.h"

#include <stdlib.h>
#include <string.h>

#define NONE OPERAND_NONE

static void need(int rc, const struct err *err)
{
    if (rc < 0)
        fail_msg("%s", err_text(err, rc));
}

static uint32_t add_op(struct build *b, enum op_id id, const uint32_t *in, size_t in_count,
                       const int64_t *attr, size_t attr_count)
{
    struct op op = {
        .id = (uint8_t)id, .input_count = (uint8_t)in_count, .attr_count = (uint8_t)attr_count};
    struct err err = {""};
    uint32_t out = NONE;

    assert_true(in_count <= PLAN_INPUTS_MAX && attr_count <= PLAN_ATTRS_MAX);
    for (size_t i = 0; i < in_count; i++)
        op.in[i] = in[i];
    for (size_t i = 0; i < attr_count; i++)
        op.attr[i] = attr[i];
    need(plan_add_op(b->plan, b->v, &op, &out, &err), &err);
    return out;
}

void build_start(struct build *b, unsigned int ring, uint32_t tokens, uint32_t columns)
{
    build_start_narrow(b, ring, 0, tokens, columns);
}

static void start(struct build *b, unsigned int ring, unsigned int narrow, uint32_t columns)
{
    *b = (struct build){.plan = plan_new(), .narrow = narrow};
    assert_non_null(b->plan);
    strcpy(b->plan->name, "test");
    b->plan->ring = (uint8_t)ring;
    b->plan->frac = BUILD_FRAC;
    b->plan->vocabulary = columns;
}

void build_start_narrow(struct build *b, unsigned int ring, unsigned int narrow, uint32_t tokens,
                        uint32_t columns)
{
    start(b, ring, narrow, columns);
    build_variant(b, tokens);
}

static void add_variant(struct build *b, uint32_t tokens, enum length_mode length, uint32_t batch)
{
    struct err err = {""};

    need(plan_add_variant(b->plan, tokens, length, batch, &b->v, &err), &err);
    b->x = add_op(b, OP_INPUT, NULL, 0, (int64_t[]){b->narrow}, INPUT_ATTRS);
    if (length == LENGTH_BUCKET)
        b->presence = add_op(b, OP_PRESENCE, NULL, 0, NULL, 0);
}

void build_variant_batch(struct build *b, uint32_t tokens, uint32_t batch)
{
    add_variant(b, tokens, LENGTH_PUBLIC, batch);
}

void build_start_bucket(struct build *b, unsigned int ring, unsigned int narrow, uint32_t tokens,
                        uint32_t batch, uint32_t columns)
{
    start(b, ring, narrow, columns);
    add_variant(b, tokens, LENGTH_BUCKET, batch);
}

void build_start_batch(struct build *b, unsigned int ring, uint32_t tokens, uint32_t batch,
                       uint32_t columns)
{
    start(b, ring, 0, columns);
    build_variant_batch(b, tokens, batch);
}

void build_variant(struct build *b, uint32_t tokens)
{
    build_variant_batch(b, tokens, 1);
}

void build_end(struct build *b)
{
    plan_free(b->plan);
    for (size_t i = 0; i < BUILD_WEIGHTS_MAX; i++)
        free(b->weights[i]);
}

uint32_t build_weight(struct build *b, enum weight_use use, uint32_t rows, uint32_t cols,
                      const int64_t *values)
{
    struct weight w = {.name = "weight",
                       .use = (uint8_t)use,
                       .ring = (uint8_t)(b->narrow ? b->narrow : b->plan->ring),
                       .rows = rows,
                       .cols = cols};
    struct err err = {""};
    size_t bytes = weight_elements(&w) * sizeof(*values);
    int64_t *copy = malloc(bytes);
    uint32_t operand;

    assert_non_null(copy);
    assert_true(b->plan->weight_count < BUILD_WEIGHTS_MAX);
    memcpy(copy, values, bytes);
    b->weights[b->plan->weight_count] = copy;
    need(plan_add_weight(b->plan, &w, &operand, &err), &err);
    return operand;
}

static uint32_t unary(struct build *b, enum op_id id, uint32_t x, const int64_t *attr, size_t count)
{
    return add_op(b, id, &x, 1, attr, count);
}

static uint32_t binary(struct build *b, enum op_id id, uint32_t x, uint32_t y)
{
    return add_op(b, id, (uint32_t[]){x, y}, 2, NULL, 0);
}

uint32_t build_open(struct build *b, uint32_t x)
{
    return unary(b, OP_OPEN, x, NULL, 0);
}

uint32_t build_unmask(struct build *b, uint32_t x)
{
    return unary(b, OP_UNMASK, x, NULL, 0);
}

uint32_t build_mul(struct build *b, uint32_t x, uint32_t y)
{
    return binary(b, OP_MUL, x, y);
}

uint32_t build_square(struct build *b, uint32_t x, bool sum_rows)
{
    return unary(b, OP_SQUARE, x, (int64_t[]){sum_rows}, SQUARE_ATTRS);
}

uint32_t build_truncate(struct build *b, uint32_t x, int64_t shift)
{
    /* Relabelled back to no fraction: tests look at units. */
    return unary(b, OP_TRUNCATE, x, (int64_t[]){shift, shift, 0}, TRUNCATE_ATTRS);
}

uint32_t build_lift(struct build *b, uint32_t x, int64_t shift)
{
    return unary(b, OP_TRUNCATE, x, (int64_t[]){shift, shift, b->plan->ring}, TRUNCATE_ATTRS);
}

uint32_t build_cut(struct build *b, uint32_t x, int64_t shift)
{
    return unary(b, OP_CUT, x, (int64_t[]){shift, shift}, CUT_ATTRS);
}

uint32_t build_cut_whole(struct build *b, uint32_t x, int64_t shift)
{
    return unary(b, OP_CUT, x, (int64_t[]){shift, shift, 1}, CUT_ATTRS_MAX);
}

uint32_t build_affine(struct build *b, uint32_t x, int64_t factor, int64_t add)
{
    return unary(b, OP_AFFINE, x, (int64_t[]){factor, add, 0}, AFFINE_ATTRS);
}

uint32_t build_add(struct build *b, uint32_t x, uint32_t y)
{
    return binary(b, OP_ADD, x, y);
}

uint32_t build_centre(struct build *b, uint32_t x)
{
    return unary(b, OP_CENTRE, x, NULL, 0);
}

uint32_t build_row_sum(struct build *b, uint32_t x)
{
    return unary(b, OP_ROW_SUM, x, NULL, 0);
}

uint32_t build_length_mask(struct build *b, uint32_t x)
{
    return unary(b, OP_LENGTH_MASK, x, NULL, 0);
}

uint32_t build_length_fill(struct build *b, uint32_t x, int64_t fill)
{
    return unary(b, OP_LENGTH_MASK, x, &fill, LENGTH_MASK_ATTRS_MAX);
}

uint32_t build_length_scale(struct build *b, uint32_t x)
{
    return unary(b, OP_LENGTH_SCALE, x, NULL, 0);
}

uint32_t build_add_presence(struct build *b, uint32_t x, int64_t factor, int64_t add)
{
    const int64_t one[VIEW_ATTRS] = {
        [VIEW_ROWS] = b->v->batch * b->v->tokens,
        [VIEW_BLOCKS] = 1,
        [VIEW_COLS] = 1,
        [VIEW_OFFSET] = PRESENCE_ONE,
        [VIEW_ROW] = PRESENCE_COLS,
    };

    return add_op(b, OP_ADD_PRESENCE, (uint32_t[]){x, build_view(b, b->presence, one)}, 2,
                  (int64_t[]){factor, add}, ADD_PRESENCE_ATTRS);
}

uint32_t build_compare(struct build *b, uint32_t x, const int64_t *thresholds, size_t count)
{
    return build_compare_narrow(b, x, b->plan->ring, thresholds, count);
}

uint32_t build_compare_narrow(struct build *b, uint32_t x, unsigned int bits,
                              const int64_t *thresholds, size_t count)
{
    return build_compare_coarse(b, x, bits, 0, thresholds, count);
}

uint32_t build_compare_coarse(struct build *b, uint32_t x, unsigned int bits, unsigned int shift,
                              const int64_t *thresholds, size_t count)
{
    int64_t attr[PLAN_ATTRS_MAX] = {[COMPARE_BITS] = bits, [COMPARE_SHIFT] = shift};

    assert_true(COMPARE_THRESHOLD + count <= PLAN_ATTRS_MAX);
    memcpy(attr + COMPARE_THRESHOLD, thresholds, count * sizeof(*thresholds));
    return unary(b, OP_COMPARE, x, attr, COMPARE_THRESHOLD + count);
}

uint32_t build_bit_to_ring(struct build *b, uint32_t bits)
{
    return unary(b, OP_BIT_TO_RING, bits, NULL, 0);
}

uint32_t build_select(struct build *b, uint32_t bits, uint32_t x)
{
    return binary(b, OP_SELECT, bits, x);
}

uint32_t build_select_column(struct build *b, uint32_t bits, int64_t column, uint32_t x)
{
    return add_op(b, OP_SELECT, (uint32_t[]){bits, x}, 2, &column, SELECT_ATTRS_MAX);
}

uint32_t build_difference(struct build *b, uint32_t x, uint32_t y,
                          const int64_t attrs[DIFFERENCE_ATTRS])
{
    return add_op(b, OP_DIFFERENCE, (uint32_t[]){x, y}, 2, attrs, DIFFERENCE_ATTRS);
}

uint32_t build_spline(struct build *b, uint32_t x, uint32_t of_bits, unsigned int bits,
                      unsigned int cols, const int64_t *entries,
                      const int64_t attrs[SPLINE_ATTRS_MAX])
{
    int64_t copy[SPLINE_ATTRS_MAX];
    struct err err = {""};

    memcpy(copy, attrs, sizeof(copy));
    need(plan_add_table(b->plan, bits, cols, entries, &copy[SPLINE_TABLE], &err), &err);
    return add_op(b, OP_SPLINE, (uint32_t[]){x, of_bits}, 2, copy,
                  SPLINE_TERM + SPLINE_TERMS * cols);
}

uint32_t build_dot(struct build *b, uint32_t x, int64_t constant, const int64_t *factors,
                   size_t count)
{
    int64_t attr[PLAN_ATTRS_MAX] = {[DOT_FRAC] = 0, [DOT_CONSTANT] = constant};

    assert_true(DOT_FACTOR + count <= PLAN_ATTRS_MAX);
    memcpy(attr + DOT_FACTOR, factors, count * sizeof(*factors));
    return unary(b, OP_DOT, x, attr, DOT_FACTOR + count);
}

uint32_t build_lookup(struct build *b, uint32_t x, unsigned int shift, uint32_t t,
                      unsigned int bits, unsigned int cols, const int64_t *entries)
{
    struct err err = {""};
    int64_t table;

    need(plan_add_table(b->plan, bits, cols, entries, &table, &err), &err);
    return add_op(b, OP_LOOKUP, (uint32_t[]){x, t}, t == NONE ? 1 : 2, (int64_t[]){table, shift, 0},
                  LOOKUP_ATTRS);
}

void build_range(struct build *b, uint32_t x, int64_t min, int64_t end)
{
    unary(b, OP_RANGE, x, (int64_t[]){min, end}, RANGE_ATTRS);
}

uint32_t build_view(struct build *b, uint32_t x, const int64_t attrs[VIEW_ATTRS])
{
    int64_t copy[VIEW_ATTRS];

    memcpy(copy, attrs, sizeof(copy));
    copy[VIEW_GROUPS] = MAX(copy[VIEW_GROUPS], 1);
    return unary(b, OP_VIEW, x, copy, VIEW_ATTRS);
}

uint32_t build_matmul(struct build *b, uint32_t x, uint32_t y, const int64_t attrs[MATMUL_ATTRS])
{
    int64_t copy[MATMUL_ATTRS];

    memcpy(copy, attrs, sizeof(copy));
    copy[MATMUL_GROUPS] = MAX(copy[MATMUL_GROUPS], 1);
    return add_op(b, OP_MATMUL, (uint32_t[]){x, y, NONE, NONE, NONE}, PLAN_INPUTS_MAX, copy,
                  MATMUL_ATTRS);
}

uint32_t build_linear(struct build *b, uint32_t x, uint32_t weight, uint32_t bias,
                      uint32_t residual, uint32_t gain)
{
    const struct weight *w = plan_weight(b->plan, weight);
    const struct wire *at = &b->v->wires[x];
    const int64_t attrs[MATMUL_ATTRS] = {
        [MATMUL_BATCH] = 1,      [MATMUL_ROWS] = at->rows,  [MATMUL_INNER] = w->rows,
        [MATMUL_COLS] = w->cols, [MATMUL_A_ROW] = at->cols, [MATMUL_B_ROW] = w->cols,
        [MATMUL_B_COL] = 1,      [MATMUL_GROUPS] = 1,
    };

    return add_op(b, OP_MATMUL, (uint32_t[]){x, weight, bias, residual, gain}, PLAN_INPUTS_MAX,
                  attrs, MATMUL_ATTRS);
}

uint32_t build_join(struct build *b, const uint32_t inputs[], size_t count, const int64_t attrs[])
{
    return add_op(b, OP_JOIN, inputs, count, attrs, JOIN_ATTRS * count);
}

void build_guard(struct build *b, const char *name)
{
    size_t number;

    assert_int_equal(plan_add_guard(b->plan, name, &number, NULL), 0);
}

void build_answer(struct build *b, uint32_t y)
{
    const struct wire *at = &b->v->wires[y];

    b->plan->labels = (uint32_t)wire_elements(at) / b->v->batch;
    if (at->frac != BUILD_FRAC)
        y = unary(b, OP_AFFINE, y, (int64_t[]){1, 0, BUILD_FRAC - at->frac}, AFFINE_ATTRS);
    add_op(b, OP_OUTPUT, (uint32_t[]){y, b->outside}, b->plan->guard_count ? 2 : 1, NULL, 0);
}

void build_seal(struct build *b)
{
    struct err err = {""};
    uint8_t *bytes;
    size_t count;

    need(plan_finish(b->plan, &err), &err);
    need(plan_serialize(b->plan, &bytes, &count, &err), &err); /* gives the plan its hash */
    free(bytes);
}

void build_finish(struct build *b, uint32_t y)
{
    build_answer(b, y);
    build_seal(b);
}

static void all_lengths(uint32_t length, uint32_t ret[PLAN_BATCH_MAX])
{
    for (size_t i = 0; i < PLAN_BATCH_MAX; i++)
        ret[i] = length;
}

void build_clear(const struct build *b, uint32_t length, const int64_t *input, int64_t *ret)
{
    uint32_t lengths[PLAN_BATCH_MAX];

    all_lengths(length, lengths);
    build_clear_lengths(b, lengths, input, ret);
}

void build_clear_lengths(const struct build *b, const uint32_t lengths[], const int64_t *input,
                         int64_t *ret)
{
    static const uint8_t seed[PRG_SEED_BYTES];
    struct err err = {""};

    need(clear_run(b->plan, b->v, (const uint64_t *const *)b->weights, (const uint64_t *)input,
                   lengths, CLEAR_FLOOR, seed, NULL, ret, &err),
         &err);
}

struct replay *build_replay(const struct build *b, const struct kernels *kernels)
{
    return replay_new(b->plan, (const int64_t *const *)b->weights, kernels);
}

static void check_cost(const struct build *b, const struct replay *r)
{
    struct cost total, kinds[OP_ID_END];

    cost_variant(b->plan, b->v, &total, kinds);
    for (unsigned int p = 0; p < 2; p++) {
        const struct online_stats *s = &r->stats[p];

        assert_int_equal(s->bytes, total.bytes_online);
        assert_int_equal(s->rounds, total.rounds_online);
        for (unsigned int id = 0; id < OP_ID_END; id++) {
            assert_int_equal(s->kind[id].bytes, kinds[id].bytes_online);
            assert_int_equal(s->kind[id].rounds, kinds[id].rounds_online);
        }
    }
    assert_int_equal(total.ops, b->v->op_count);
    assert_int_equal(total.bytes_tape, b->v->tape_bytes);
    assert_int_equal(r->dealt_bytes, b->v->tape_bytes);
}

void build_run(const struct build *b, struct replay *r, uint32_t length, const int64_t *input,
               int64_t *ret)
{
    uint32_t lengths[PLAN_BATCH_MAX];

    all_lengths(length, lengths);
    build_run_lengths(b, r, lengths, input, ret);
}

void build_run_lengths(const struct build *b, struct replay *r, const uint32_t lengths[],
                       const int64_t *input, int64_t *ret)
{
    assert_int_equal(replay_run(r, b->v, lengths, (const uint64_t *)input, ret), 0);
    check_cost(b, r);
}

void build_expect(const struct build *b, const int64_t *input, const int64_t *expected)
{
    struct replay *r = build_replay(b, kernels_here());
    int64_t got[PLAN_LABELS_MAX];

    build_run(b, r, b->v->tokens, input, got);
    for (size_t i = 0; i < plan_answers(b->plan, b->v); i++)
        if (got[i] != expected[i])
            fail_msg("ring %u: answer %zu of %u is %" PRId64 ", not %" PRId64, b->plan->ring, i,
                     b->plan->labels, got[i], expected[i]);
    replay_free(r);
}

void build_agree(const struct build *b, const int64_t *input)
{
    int64_t expected[PLAN_LABELS_MAX];

    build_clear(b, b->v->tokens, input, expected);
    build_expect(b, input, expected);
}

void build_noise(int64_t *ret, size_t count, int64_t low, int64_t high)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t pick = random_word() % 8;

        ret[i] = pick == 0 ? low : pick == 1 ? high : random_in(low, high);
    }
}

int64_t number_top(unsigned int bits)
{
    return (int64_t)ring_mask(bits - 1);
}
