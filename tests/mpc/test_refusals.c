/* What an operation, a finish and a part of a plan refuse, and how they say so. */
#include "mpc/plan.h"

#include "tests/mpc/samples.h"

#include <stdlib.h>
#include <string.h>

#define NONE OPERAND_NONE

/* Operands: */
enum { X, HAT, CUT, BITS, WIDE, SUM, WEIGHT, NARROW, BIAS, GAIN, NOTHING, BEYOND };

static const struct refusal {
    enum op_id id;
    uint8_t in_count, attr_count;
    uint8_t in[PLAN_INPUTS_MAX];
    int64_t attr[MATMUL_ATTRS_MAX];
    const char *text;
} refusals[] = {
    {OP_ID_END, 0, 0, {0}, {0}, "which this version does not know"},
    {OP_OPEN, 0, 0, {0}, {0}, "0 inputs and 0 attributes"},
    {OP_OPEN, 2, 0, {X, X}, {0}, "2 inputs"},
    {OP_OPEN, 1, 1, {X}, {0}, "1 attributes"},
    {OP_OPEN, 1, 0, {BEYOND}, {0}, "operand 0 names nothing"},
    {OP_OPEN, 1, 0, {NOTHING}, {0}, "operand 0 names nothing"},
    {OP_OPEN, 1, 0, {HAT}, {0}, "no share wire"},
    {OP_OPEN, 1, 0, {WEIGHT}, {0}, "no share wire"},
    {OP_UNMASK, 1, 0, {X}, {0}, "no masked wire"},
    {OP_INPUT, 0, 1, {0}, {12}, "an input of 12 bits"},
    {OP_INPUT, 0, 1, {0}, {INT64_MIN}, "an input of"},
    {OP_CUT, 1, 2, {HAT}, {8, 0}, "no share wire"},
    {OP_CUT, 1, 2, {X}, {0, 0}, "a shift of 0"},
    {OP_CUT, 1, 2, {X}, {41, 0}, "a shift of 41"},
    {OP_CUT, 1, 2, {X}, {8, INT64_MAX}, "more than 64"},
    {OP_CUT, 1, 2, {X}, {40, -40}, "-80 fraction bits"},
    {OP_MUL, 2, 0, {HAT, CUT}, {0}, "opened cut"},
    {OP_CUT, 1, 3, {X}, {7, 0, 1}, "no ring of 41 bits"},
    {OP_CUT, 1, 3, {X}, {40, 0, 1}, "no ring of 8 bits"},
    {OP_CUT, 1, 3, {X}, {8, 0, 2}, "no ring of 40 bits"},
    {OP_MUL, 2, 0, {X, HAT}, {0}, "no masked wire"},
    {OP_MUL, 2, 0, {HAT, X}, {0}, "no masked wire"},
    {OP_MUL, 2, 0, {HAT, WEIGHT}, {0}, "no masked wire"},
    {OP_MUL, 2, 0, {HAT, WIDE}, {0}, "do not fit elementwise"},
    {OP_SQUARE, 1, 1, {X}, {0}, "no masked wire"},
    {OP_SQUARE, 1, 1, {HAT}, {2}, "neither sums rows"},
    {OP_TRUNCATE, 1, 3, {HAT}, {8, 0}, "no share wire"},
    {OP_TRUNCATE, 1, 3, {X}, {0, 0}, "a shift of 0"},
    {OP_TRUNCATE, 1, 3, {X}, {47, 0}, "a shift of 47"},
    {OP_TRUNCATE, 1, 3, {X}, {INT64_MIN, 0}, "a shift of"},
    {OP_TRUNCATE, 1, 3, {X}, {8, INT64_MAX}, "more than 64"},
    {OP_TRUNCATE, 1, 3, {X}, {8, INT64_MIN}, "more than 64"},
    {OP_TRUNCATE, 1, 3, {X}, {8, 0, 40}, "a lift from 48 to 40"},
    {OP_TRUNCATE, 1, 3, {X}, {8, 0, 50}, "a lift from 48 to 50"},
    {OP_TRUNCATE, 1, 3, {X}, {8, 0, INT64_MAX}, "a lift from 48"},
    {OP_TRUNCATE, 1, 3, {X}, {8, 0, INT64_MIN}, "a lift from 48"},
    {OP_LENGTH_SCALE, 1, 0, {HAT}, {0}, "no share wire"},
    {OP_PRESENCE, 0, 0, {0}, {0}, "lengths are public here"},
    {OP_ADD_PRESENCE, 2, 2, {HAT, X}, {0}, "no share wire"},
    {OP_ADD_PRESENCE, 2, 2, {X, HAT}, {0}, "no share wire"},
    {OP_ADD_PRESENCE, 2, 2, {X, WEIGHT}, {0}, "no share wire"},
    {OP_ADD_PRESENCE, 2, 2, {SUM, SUM}, {0}, "not the tokens"},
    {OP_ADD_PRESENCE, 2, 2, {X, X}, {0}, "no presence of one column"},
    {OP_AFFINE, 1, 3, {X}, {1, 0, 65}, "more than 64"},
    {OP_AFFINE, 1, 3, {X}, {1, 0, INT64_MIN}, "more than 64"},
    {OP_AFFINE, 1, 3, {BITS}, {1, 0, 0}, "no share wire"},
    {OP_ADD, 2, 0, {X, SUM}, {0}, "differ in shape"},
    {OP_ADD, 2, 0, {X, HAT}, {0}, "differ in shape"},
    {OP_ADD, 2, 0, {X, WEIGHT}, {0}, "by a matrix product"},
    {OP_ROW_SUM, 1, 0, {WEIGHT}, {0}, "no share wire"},
    {OP_CENTRE, 1, 0, {BITS}, {0}, "no share wire"},
    {OP_LENGTH_MASK, 1, 0, {SUM}, {0}, "not the tokens"},
    {OP_RANGE, 1, 2, {X}, {5, 5}, "an empty range"},
    {OP_COMPARE, 1, 3, {X}, {48}, "no masked wire"},
    {OP_COMPARE, 1, 2, {HAT}, {48}, "2 attributes"},
    {OP_COMPARE, 1, 3, {HAT}, {49}, "49 bits of a wire"},
    {OP_COMPARE, 1, 3, {CUT}, {47}, "47 bits of a wire"},
    {OP_COMPARE, 1, 3, {HAT}, {1}, "1 bits of a wire"},
    {OP_COMPARE, 1, 3, {HAT}, {20, 19}, "a step of 19 bits"},
    {OP_COMPARE, 1, 3, {HAT}, {20, -1}, "a step of -1 bits"},
    {OP_COMPARE, 1, 4, {HAT}, {20, 3, 16, 12}, "threshold 12 is no whole number"},
    {OP_BIT_TO_RING, 1, 0, {X}, {0}, "holds no bits"},
    {OP_SELECT, 2, 0, {BITS, X}, {0}, "no masked wire"},
    {OP_SELECT, 2, 0, {HAT, HAT}, {0}, "holds no bits"},
    {OP_SELECT, 2, 0, {BITS, WIDE}, {0}, "not one row an element"},
    {OP_SELECT, 2, 1, {BITS, HAT}, {1}, "column 1 of 1"},
    {OP_SELECT, 2, 1, {BITS, HAT}, {-1}, "column -1 of 1"},
    {OP_LENGTH_MASK, 1, 1, {X}, {(int64_t)1 << 47}, "more than 48 bits"},
    {OP_DIFFERENCE, 2, 3, {HAT, CUT}, {6}, "opened cut"},
    {OP_DIFFERENCE, 2, 3, {X, HAT}, {6}, "no masked wire"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {0}, "0 of them"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {4, 3}, "columns 3 and 0 on"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {4, 0, 3}, "columns 0 and 3 on"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {4, -1, 0}, "columns -1 and 0 on"},
    {OP_DIFFERENCE, 2, 3, {HAT, HAT}, {INT64_MAX, 1, 1}, "of 6 and 6"},
    {OP_DIFFERENCE, 2, 3, {HAT, WIDE}, {6}, "of 6 and 5"},
    {OP_SPLINE, 2, 10, {X, BITS}, {0, 0, 0, 48}, "no masked wire"},
    {OP_SPLINE, 2, 10, {HAT, HAT}, {0, 0, 0, 48}, "holds no bits"},
    {OP_SPLINE, 2, 10, {WIDE, BITS}, {0, 0, 0, 48}, "not one row an element"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {2, 0, 0, 48}, "table 2 of 2"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {1, 0, 0, 48}, "3 terms for 3 columns"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 43, 0, 48}, "6 bits from bit 43 on"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, INT64_MIN, 0, 48}, "6 bits from bit"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 5, 48}, "drops 5 bits of 4"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, -1, 48}, "drops -1 bits"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, 50}, "a result of 50 bits"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, -8}, "a result of"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, 48, 65}, "65 fraction bits"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, 48, 0, 1}, "columns 1 and 0 of 1"},
    {OP_SPLINE, 2, 10, {HAT, BITS}, {0, 4, 0, 48, 0, 0, -2}, "columns 0 and -2 of 1"},
    {OP_DOT, 1, 4, {X}, {0, 0, 1, 1}, "2 factors for 6 columns"},
    {OP_DOT, 1, 8, {X}, {65, 0, 1, 1, 1, 1, 1, 1}, "65 fraction bits"},
    {OP_LOOKUP, 1, 3, {HAT}, {2}, "table 2 of 2"},
    {OP_LOOKUP, 1, 3, {HAT}, {-1}, "table -1 of 2"},
    {OP_LOOKUP, 1, 3, {HAT}, {0, 0, -65}, "-65 fraction bits"},
    {OP_LOOKUP, 1, 3, {X}, {0}, "no masked wire"},
    {OP_LOOKUP, 1, 3, {HAT}, {0, 43}, "6 bits from bit 43 on"},
    {OP_LOOKUP, 1, 3, {CUT}, {0, 41}, "6 bits from bit 41 on"},
    {OP_LOOKUP, 1, 3, {HAT}, {0, -1}, "from bit -1 on"},
    {OP_LOOKUP, 1, 3, {HAT}, {0, INT64_MAX}, "from bit"},
    {OP_LOOKUP, 2, 3, {HAT, X}, {0}, "no masked wire"},
    {OP_LOOKUP, 2, 3, {HAT, WIDE}, {0}, "not one element an index"},
    {OP_LOOKUP, 2, 3, {HAT, CUT}, {1}, "an entry and a slope"},
    {OP_VIEW, 1, 8, {BITS}, {1, 1, 1, [VIEW_GROUPS] = 1}, "no share or masked wire"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 0, [VIEW_GROUPS] = 1}, "a dimension of 0"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1, -1, [VIEW_GROUPS] = 1}, "stride of -1"},
    {OP_VIEW, 1, 8, {X}, {1, 1 << 24, 2, [VIEW_GROUPS] = 1}, "too long"},
    {OP_VIEW, 1, 8, {X}, {6, 1, 6, 1, 6, 0, [VIEW_GROUPS] = 1}, "past its input"},
    {OP_VIEW, 1, 8, {X}, {1, 2, 6, 0, 0, 31, [VIEW_GROUPS] = 1}, "past its input"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1}, "0 groups"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1, [VIEW_GROUPS] = (1 << 24) + 1}, "groups"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1, [VIEW_GROUPS] = 1, [VIEW_GROUP] = -1}, "-1 apart"},
    {OP_VIEW, 1, 8, {X}, {2, 1, 1, [VIEW_GROUPS] = 1 << 24}, "too many"},
    {OP_VIEW, 1, 8, {X}, {1, 1, 1, [VIEW_GROUPS] = 3, [VIEW_GROUP] = 18}, "past its input"},
    {OP_JOIN, 1, 2, {HAT}, {1}, "input 0 is no share"},
    {OP_JOIN, 2, 4, {X, WEIGHT}, {1}, "input 1 is no share"},
    {OP_JOIN, 2, 2, {X, X}, {1}, "2 numbers for 2 inputs"},
    {OP_JOIN, 1, 4, {X}, {1}, "4 numbers for 1 inputs"},
    {OP_OUTPUT, 1, 0, {X}, {0}, "the answer is not"},
    {OP_MATMUL, 5, 15, {X, HAT, NOTHING, NOTHING, NOTHING}, {0}, "no masked wire"},
    {OP_MATMUL, 5, 15, {CUT, HAT, NOTHING, NOTHING, NOTHING}, {0}, "opened cut"},
    {OP_MATMUL, 5, 15, {HAT, CUT, NOTHING, NOTHING, NOTHING}, {0}, "opened cut"},
    {OP_MATMUL,
     5,
     15,
     {HAT, NARROW, NOTHING, NOTHING, NOTHING},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "in a ring of 24 bits"},
    {OP_MATMUL, 5, 15, {NOTHING, HAT, NOTHING, NOTHING, NOTHING}, {0}, "no masked wire"},
    {OP_MATMUL, 5, 15, {HAT, NOTHING, NOTHING, NOTHING, NOTHING}, {0}, "no masked wire"},
    {OP_MATMUL, 5, 15, {HAT, HAT, NOTHING, NOTHING, NOTHING}, {0}, "a dimension of 0"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1 << 25, 1, [MATMUL_GROUPS] = 1},
     "a dimension"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, -1, [MATMUL_GROUPS] = 1},
     "stride of -1"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2, [MATMUL_GROUPS] = 1},
     "neither stacked"},
    {OP_MATMUL,
     5,
     16,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 1, [MATMUL_ONE_SIDED] = 2},
     "neither take turns"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, 36, [MATMUL_GROUPS] = 1},
     "past its left"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 2, 1, 0, 0, 0, 0, 0, 36, 0, 0, [MATMUL_GROUPS] = 1},
     "past its right"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1 << 24, 1 << 24, 1, 1 << 24, [MATMUL_GROUPS] = 1},
     "too large"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, BIAS, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 1},
     "only a fixed product takes a bias"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, NOTHING, NOTHING, NOTHING},
     {1, 6, 5, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "is not the 5 x 6"},
    {OP_MATMUL,
     5,
     15,
     {HAT, BIAS, NOTHING, NOTHING, NOTHING},
     {1, 6, 1, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "is not the 1 x 6"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, GAIN, NOTHING, NOTHING},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "does not fit the product"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, X, NOTHING, NOTHING},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "takes a bias, and a weight"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, BIAS, HAT, NOTHING},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "with a gain weight"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, BIAS, NOTHING, GAIN},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "no masked wire"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, BIAS, WIDE, GAIN},
     {1, 6, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 1},
     "do not fit the product"},
    {OP_MATMUL, 5, 15, {HAT, HAT, NOTHING, NOTHING, NOTHING}, {1, 1, 1, 1}, "0 groups"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = (1 << 24) + 1},
     "groups"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 1, [MATMUL_A_GROUP] = -1},
     "groups -1 apart"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 1, [MATMUL_B_GROUP] = INT64_MAX},
     "apart"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 3, [MATMUL_A_GROUP] = 18},
     "past its left"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1, 1, 1, 1, [MATMUL_GROUPS] = 3, [MATMUL_B_GROUP] = 18},
     "past its right"},
    {OP_MATMUL,
     5,
     15,
     {HAT, HAT, NOTHING, NOTHING, NOTHING},
     {1 << 24, 1, 1, 16, [MATMUL_GROUPS] = 2},
     "too large"},
    {OP_MATMUL,
     5,
     15,
     {HAT, WEIGHT, NOTHING, NOTHING, NOTHING},
     {1, 3, 6, 6, 0, 0, 6, 0, 0, 6, 1, 0, [MATMUL_GROUPS] = 2},
     "is not the 6 x 6"},
};

static void test_refusals(void **state)
{
    const int64_t ones[3 << 6] = {1};
    uint32_t operand[BEYOND + 1];
    struct build b;

    (void)state;
    build_start(&b, 48, SAMPLE_TOKENS, SAMPLE_TOKENS);
    operand[X] = b.x;
    operand[HAT] = build_open(&b, b.x);
    operand[CUT] = build_cut(&b, b.x, 2);
    operand[BITS] = build_compare(&b, operand[HAT], ones, 1);
    operand[SUM] = build_row_sum(&b, b.x);
    operand[WIDE] =
        build_open(&b, build_linear(&b, operand[HAT], build_weight(&b, WEIGHT_PRODUCT, 6, 5, ones),
                                    NONE, NONE, NONE));
    operand[WEIGHT] = build_weight(&b, WEIGHT_PRODUCT, 6, 6, ones);
    b.narrow = 24;
    operand[NARROW] = build_weight(&b, WEIGHT_PRODUCT, 6, 6, ones);
    b.narrow = 0;
    operand[BIAS] = build_weight(&b, WEIGHT_ADDED, 1, 6, ones);
    operand[GAIN] = build_weight(&b, WEIGHT_GAIN, 1, 6, ones);
    operand[NOTHING] = NONE;
    operand[BEYOND] = 1000;
    build_lookup(&b, operand[HAT], 0, NONE, 6, 1, ones);
    build_lookup(&b, operand[HAT], 0, NONE, 6, 3, ones);
    for (size_t i = 0; i < ARRAY_LENGTH(refusals); i++) {
        const struct refusal *at = &refusals[i];
        struct op op = {
            .id = (uint8_t)at->id, .input_count = at->in_count, .attr_count = at->attr_count};
        size_t ops = b.v->op_count, wires = b.v->wire_count;
        struct err err = {""};
        uint32_t out = 12345;

        for (size_t j = 0; j < at->in_count; j++)
            op.in[j] = operand[at->in[j]];
        memcpy(op.attr, at->attr, sizeof(at->attr));
        if (plan_add_op(b.plan, b.v, &op, &out, &err) != -EINVAL || !strstr(err.text, at->text))
            fail_msg("case %zu: \"%s\" instead of \"%s\"", i, err.text, at->text);
        assert_non_null(strstr(err.text, "operation "));
        assert_int_equal(out, 12345);
        assert_true(b.v->op_count == ops && b.v->wire_count == wires);
    }
    build_end(&b);
}

static void check_finish(struct build *b, const char *text)
{
    struct err err = {""};

    assert_true(plan_finish(b->plan, &err) < 0);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" instead of \"%s\"", err.text, text);
    build_end(b);
}

static void test_finish(void **state)
{
    struct variant *v;
    struct err err = {""};
    struct build b;
    uint32_t wire;

    (void)state;
    build_start(&b, 33, 2, 2);
    check_finish(&b, "a ring of 33 bits");
    build_start(&b, 48, 2, 2);
    b.plan->frac = 24;
    check_finish(&b, "24 fraction bits");
    build_start(&b, 48, 2, 2);
    check_finish(&b, "labels"); /* none yet */
    build_start(&b, 48, 2, 2);
    b.plan->labels = 1;
    check_finish(&b, "no one input and output");
    build_start(&b, 48, 2, 2);
    build_answer(&b, b.x);
    b.plan->error_bound = -1;
    check_finish(&b, "error bound");
    build_start(&b, 48, 2, 2);
    build_answer(&b, b.x);
    assert_int_equal(plan_add_variant(b.plan, 3, LENGTH_PUBLIC, 1, &v, &err), 0);
    check_finish(&b, "empty variant");

    /* Secret lengths without presence, which is the second operation or none. */
    build_start(&b, 48, 2, 2);
    build_answer(&b, b.x);
    b.v->length = LENGTH_BUCKET;
    check_finish(&b, "takes presence 0 times for bucket lengths");
    build_start_bucket(&b, 48, 0, 2, 1, 2);
    assert_int_equal(plan_add_op(b.plan, b.v, &(struct op){.id = OP_PRESENCE}, &wire, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "not the second operation"));
    build_end(&b);
}

static void test_parts(void **state)
{
    const int64_t entries[4] = {0};
    struct weight w = {.name = "w", .use = WEIGHT_PRODUCT, .ring = 48, .rows = 1, .cols = 0};
    struct variant *v = NULL;
    struct err err[7] = {{""}};
    uint32_t operand = 77;
    int64_t table = 77;
    struct build b;

    (void)state;
    build_start(&b, 48, 2, 2);
    assert_int_equal(plan_add_weight(b.plan, &w, &operand, &err[0]), -EINVAL);
    assert_non_null(strstr(err[0].text, "weight w"));
    w.cols = 1;
    w.ring = 8;
    assert_int_equal(plan_add_weight(b.plan, &w, &operand, NULL), -EINVAL);
    assert_int_equal(plan_add_table(b.plan, 5, 1, entries, &table, NULL), -EINVAL);
    assert_int_equal(plan_add_table(b.plan, 17, 1, entries, &table, &err[1]), -EINVAL);
    assert_int_equal(plan_add_table(b.plan, 6, 5, entries, &table, &err[2]), -EINVAL);
    assert_int_equal(plan_add_variant(b.plan, 2, LENGTH_PUBLIC, 1, &v, &err[3]), -EINVAL);
    assert_non_null(strstr(err[3].text, "order of length"));
    assert_int_equal(plan_add_variant(b.plan, 1, LENGTH_PUBLIC, 2, &v, NULL), -EINVAL);
    assert_int_equal(plan_add_variant(b.plan, PLAN_TOKENS_MAX + 1, LENGTH_PUBLIC, 1, &v, &err[4]),
                     -EINVAL);
    assert_int_equal(plan_add_variant(b.plan, 2, LENGTH_PUBLIC, 0, &v, NULL), -EINVAL);
    assert_int_equal(plan_add_variant(b.plan, 2, LENGTH_PUBLIC, PLAN_BATCH_MAX + 1, &v, &err[5]),
                     -EINVAL);
    assert_non_null(strstr(err[5].text, "33 sequences"));
    assert_int_equal(plan_add_variant(b.plan, 2, LENGTH_MODES, 1, &v, &err[6]), -EINVAL);
    assert_non_null(strstr(err[6].text, "of lengths 2"));
    assert_true(operand == 77 && table == 77 && !v);
    build_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_parts),
    };

    random_fixed_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
