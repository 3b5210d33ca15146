/*
 * Activations and exponentials against float64, over all that the number format holds: every last
 * place where a function bends, and beyond it every power of two with a thousand steps between,
 * to the last value that is truncated faithfully. In the clear with both roundings, and in private.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mpc/clear.h"
#include "mpc/cost.h"
#include "tests/mpc/replay.h"
#include "tests/transformer/made.h"
#include "transformer/compile.h"
#include "transformer/functions.h"

#include <math.h>
#include <string.h>

#define COLS       512
#define ROWS       PLAN_BATCH_MAX
#define COUNT      (COLS * ROWS) /* values of a job */
#define SHIFT      14            /* bits that an activation's input has too many */
#define BEND       17            /* every last place up to here */
#define BEND_STEPS 1024          /* of a power of two beyond */

/* A plan of one composite: COUNT elements in, as many out. */
struct machine {
    struct plan *plan;
    struct functions functions;
    struct replay *replay; /* NULL: in the clear */
    enum clear_rounding rounding;
};

static double exact(enum hidden_act act, double x)
{
    switch (act) {
    case HIDDEN_GELU:
        return 0.5 * x * erfc(-x * M_SQRT1_2);
    case HIDDEN_GELU_NEW:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case HIDDEN_RELU:
        return x > 0 ? x : 0;
    case HIDDEN_TANH:
        return tanh(x);
    default:
        fail();
        return NAN;
    }
}

static struct builder start(struct machine *m, unsigned int ring, unsigned int frac,
                            const char *hidden_act, const char *softmax_act, uint32_t tokens,
                            enum length_mode length)
{
    struct model_config k = {.layers = 1};
    struct builder b = {.at = {"test", -1}};
    struct err err = {""};

    assert_int_equal(model_config_set_hidden(&k, hidden_act, &err), 0);
    assert_int_equal(model_config_set_softmax(&k, softmax_act, &err), 0);
    *m = (struct machine){.plan = plan_new()};
    assert_non_null(m->plan);
    b.plan = m->plan;
    m->plan->ring = (uint8_t)ring;
    m->plan->frac = (uint8_t)frac;
    m->plan->vocabulary = 1;
    if (functions_add(m->plan, &k, &m->functions, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(plan_add_variant(m->plan, tokens, length, ROWS, &b.variant, NULL), 0);
    return b;
}

static void finish(struct machine *m, struct builder *b, uint32_t y, bool private)
{
    struct err err = {""};

    b->err = &err;
    m->plan->labels = (uint32_t)(wire_elements(&b->variant->wires[y]) / ROWS);
    if (build_frac(b, y) != m->plan->frac)
        y = build_affine(b, y, 1, 0, m->plan->frac);
    build_output(b, y, OPERAND_NONE);
    made_finish(b);
    if (private)
        m->replay = replay_new(m->plan, NULL, kernels_here());
}

static void run(struct machine *m, const int64_t *x, const uint32_t lengths[ROWS], int64_t *ret)
{
    const struct variant *v = m->plan->variants;
    const uint8_t seed[PRG_SEED_BYTES] = {3};
    struct err err = {""};

    if (m->replay)
        assert_int_equal(replay_run(m->replay, v, lengths, (const uint64_t *)x, ret), 0);
    else if (clear_run(m->plan, v, NULL, (const uint64_t *)x, lengths, m->rounding, seed, NULL, ret,
                       &err) < 0)
        fail_msg("%s", err.text);
}

static void end(struct machine *m)
{
    replay_free(m->replay);
    plan_free(m->plan);
}

/* --- activations --- */

struct sweep {
    struct machine m;
    enum hidden_act act;
    int64_t x[COUNT];
    size_t count;
    double worst, worst_at; /* in units of the last place */
};

static void flush(struct sweep *s)
{
    static int64_t y[COUNT];
    uint32_t lengths[ROWS];
    int frac = s->m.plan->frac;

    for (size_t i = 0; i < ROWS; i++)
        lengths[i] = COLS;
    while (s->count < COUNT)
        s->x[s->count++] = 0;
    run(&s->m, s->x, lengths, y);
    for (size_t i = 0; i < COUNT; i++) {
        double x = ldexp((double)s->x[i], -frac);
        double off = fabs((double)y[i] - ldexp(exact(s->act, x), frac));

        if (off > s->worst) {
            s->worst = off;
            s->worst_at = x;
        }
    }
    s->count = 0;
}

static void add(struct sweep *s, int64_t x)
{
    s->x[s->count++] = x;
    if (s->count == COUNT)
        flush(s);
}

/* Where a function bends every @stride-th value; beyond it up to what the format truncates. */
static void sweep(struct sweep *s, int64_t stride)
{
    int frac = s->m.plan->frac;
    int64_t bend = (int64_t)BEND << frac, last = ((int64_t)1 << (s->m.plan->ring - 2 - SHIFT)) - 1;

    for (int64_t x = -bend; x <= bend; x += stride)
        add(s, x);
    for (int64_t power = (int64_t)1 << (frac + 4); power <= last; power *= 2)
        for (int64_t i = 0; i < BEND_STEPS; i += stride)
            for (int sign = -1; sign <= 1; sign += 2)
                add(s, sign * MIN(power + power / BEND_STEPS * i, last));
    for (int64_t near = -2; near <= 0; near++) {
        add(s, last + near);
        add(s, -last - near);
    }
    flush(s);
}

static void check_activation(unsigned int ring, unsigned int frac, const char *name,
                             enum hidden_act act, int64_t stride, enum clear_rounding rounding,
                             bool private)
{
    struct sweep *s = calloc(1, sizeof(*s));
    struct builder b;
    uint32_t x;

    assert_non_null(s);
    s->act = act;
    b = start(&s->m, ring, frac, name, "2quad", COLS, LENGTH_PUBLIC);
    x = build_affine(&b, build_input(&b, ring), (int64_t)1 << SHIFT, 0, (int)frac + SHIFT);
    x = build_activation(&b, x, SHIFT, act, &s->m.functions);
    finish(&s->m, &b, x, private);
    s->m.rounding = rounding;
    sweep(s, stride);
    print_message("# %s at %u/%u: %.2f units, at %.6g\n", name, ring, frac, s->worst, s->worst_at);
    if (s->worst > FUNCTIONS_ERROR_UNITS)
        fail_msg("%s at %u/%u is off by %.2f units at %.9g", name, ring, frac, s->worst,
                 s->worst_at);
    end(&s->m);
    free(s);
}

static void check_all(unsigned int ring, unsigned int frac, int64_t stride,
                      enum clear_rounding rounding, bool private)
{
    check_activation(ring, frac, "gelu", HIDDEN_GELU, stride, rounding, private);
    check_activation(ring, frac, "gelu_new", HIDDEN_GELU_NEW, stride, rounding, private);
    check_activation(ring, frac, "relu", HIDDEN_RELU, stride, rounding, private);
    check_activation(ring, frac, "tanh", HIDDEN_TANH, stride, rounding, private);
}

static void activations_are_right_everywhere_at_48_12(void **state)
{
    (void)state;
    check_all(48, 12, 1, CLEAR_FLOOR, false);
    check_all(48, 12, 1, CLEAR_RANDOM, false);
}

static void activations_are_right_everywhere_at_64_16(void **state)
{
    (void)state;
    check_all(64, 16, 1, CLEAR_FLOOR, false);
    check_all(64, 16, 1, CLEAR_RANDOM, false);
}

/* Of every format in which there is room for them. */
static void activations_are_right_in_other_formats(void **state)
{
    static const unsigned int formats[][2] = {{32, 8},  {40, 10}, {40, 11}, {48, 9},
                                              {48, 13}, {48, 14}, {56, 15}, {56, 18},
                                              {64, 20}, {64, 22}, {64, 24}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(formats); i++) {
        unsigned int ring = formats[i][0], frac = formats[i][1];

        check_all(ring, frac, 1 + (frac > 12 ? (int64_t)1 << (frac - 12) : 0), CLEAR_RANDOM, false);
    }
}

static void private_activations_are_right(void **state)
{
    (void)state;
    check_all(48, 12, 17, CLEAR_FLOOR, true);
    check_all(64, 16, 257, CLEAR_FLOOR, true);
}

static void a_format_without_room_is_refused(void **state)
{
    struct model_config k = {.layers = 1};
    struct functions functions;
    struct plan *plan = plan_new();
    struct err err = {""}, other = {""};

    (void)state;
    assert_non_null(plan);
    plan->ring = 48;
    plan->frac = 20;
    assert_int_equal(model_config_set_softmax(&k, "2quad", NULL), 0);
    assert_int_equal(functions_add(plan, &k, &functions, &err), -ERANGE);
    assert_non_null(strstr(err.text, "gelu: a ring of 48 bits"));
    assert_int_equal(model_config_set_hidden(&k, "quad", NULL), 0);
    assert_int_equal(model_config_set_softmax(&k, "softmax", NULL), 0);
    assert_int_equal(functions_add(plan, &k, &functions, &other), -ERANGE);
    assert_non_null(strstr(other.text, "softmax: a ring of 48 bits"));
    plan_free(plan);
}

/* --- softmax --- */

#define SCORE_MORE(frac)                                                                           \
    ((int)(frac) + 3) /* bits of a score over frac: a product, a head's scale */

struct softmax {
    struct machine m;
    uint32_t tokens;
    double worst; /* of a probability, in units of the plan's last place */
};

static void softmax_start(struct softmax *s, unsigned int ring, unsigned int frac, uint32_t tokens,
                          enum length_mode length, bool private)
{
    struct builder b = start(&s->m, ring, frac, "quad", "softmax", tokens, length);
    uint32_t x = build_input(&b, ring), there = OPERAND_NONE, rows;
    int score_frac = (int)frac + SCORE_MORE(frac);

    if (length == LENGTH_BUCKET)
        there = build_every(&b, build_presence(&b), PRESENCE_ONE, PRESENCE_COLS);
    /* The input has a token a row: bring a sequence into one. */
    rows = build_beside(&b, x, 1, tokens, 1, 1, ROWS, tokens);
    rows = build_affine(&b, rows, (int64_t)1 << SCORE_MORE(frac), 0, score_frac);
    finish(&s->m, &b,
           build_exponentials(&b, rows, there, score_frac, (int)frac + 4, &s->m.functions),
           private);
    s->tokens = tokens;
    s->worst = 0;
}

/* One row of scores in units of 2^-frac a sequence; the columns from @lengths on do not count, and
 * whoever runs it is told so, or is not. */
static void softmax_check(struct softmax *s, int64_t *x, const uint32_t lengths[ROWS])
{
    const struct variant *v = s->m.plan->variants;
    int64_t *y = calloc((size_t)ROWS * s->tokens, sizeof(*y));
    uint64_t *presence = (uint64_t *)x + variant_presence_at(v);
    bool secret = v->length == LENGTH_BUCKET;
    int frac = s->m.plan->frac;
    uint32_t told[ROWS];

    assert_non_null(y);
    for (size_t r = 0; r < ROWS; r++) {
        told[r] = secret ? s->tokens : lengths[r];
        if (secret)
            compile_presence(v, lengths[r], presence + r * s->tokens * PRESENCE_COLS);
    }
    run(&s->m, x, told, y);
    for (size_t r = 0; r < ROWS; r++) {
        const int64_t *row = x + r * s->tokens, *weight = y + r * s->tokens;
        double most = -INFINITY, sum = 0, weights = 0;

        for (size_t i = 0; i < lengths[r]; i++)
            most = fmax(most, ldexp((double)row[i], -frac));
        for (size_t i = 0; i < lengths[r]; i++) {
            sum += exp(ldexp((double)row[i], -frac) - most);
            weights += (double)weight[i];
        }
        assert_true(ldexp(weights, -frac - 4) > 0.99);
        for (size_t i = 0; i < s->tokens; i++) {
            double want = i < lengths[r] ? exp(ldexp((double)row[i], -frac) - most) / sum : 0;

            if (i >= lengths[r])
                assert_int_equal(weight[i], 0);
            s->worst = fmax(s->worst, ldexp(fabs((double)weight[i] / weights - want), frac));
        }
    }
    free(y);
}

/* Every distance from the largest, to where nothing is left, in all places of a row, and rows at
 * all heights that a score may have: every place of the format there. */
static void check_softmax(unsigned int ring, unsigned int frac, uint32_t tokens,
                          enum length_mode length, int64_t stride, enum clear_rounding rounding,
                          bool private)
{
    int bits = (int)ring - 3 - (length == LENGTH_BUCKET) - SCORE_MORE(frac);
    int64_t *x, distance = 0, limit = ((int64_t)1 << bits) - 1, end_at = (int64_t)20 << frac;
    uint32_t lengths[ROWS];
    struct softmax s;
    int64_t height = -limit;

    softmax_start(&s, ring, frac, tokens, length, private);
    x = calloc(variant_input_words(s.m.plan->variants), sizeof(*x));
    assert_non_null(x);
    s.m.rounding = rounding;
    while (distance < end_at) {
        for (uint32_t r = 0; r < ROWS; r++) {
            lengths[r] = 1 + (uint32_t)(distance / stride + r) % tokens;
            for (uint32_t i = 0; i < tokens; i++) {
                int64_t below = (i + r) % tokens == 1 ? 0 : distance;

                /* Those that do not count are the largest there are, or the least. */
                x[r * tokens + i] = i < lengths[r] ? MAX(height - below, -limit - 1)
                                    : i % 8 == 7   ? -limit - 1
                                                   : limit;
                distance += stride;
            }
            height += 2 * (limit / 1000) + 1;
            if (height > limit)
                height -= 2 * limit;
        }
        softmax_check(&s, x, lengths);
    }
    print_message("# softmax of %u, %s lengths, at %u/%u: %.2f units\n", tokens,
                  length_mode_names[length], ring, frac, s.worst);
    assert_true(s.worst <= FUNCTIONS_ERROR_UNITS);
    end(&s.m);
    free(x);
}

static void softmax_is_right_everywhere(void **state)
{
    (void)state;
    for (int rounding = CLEAR_FLOOR; rounding <= CLEAR_RANDOM; rounding++) {
        check_softmax(48, 12, 1, LENGTH_PUBLIC, 1, (enum clear_rounding)rounding, false);
        check_softmax(48, 12, 3, LENGTH_PUBLIC, 1, (enum clear_rounding)rounding, false);
        check_softmax(48, 12, 128, LENGTH_PUBLIC, 1, (enum clear_rounding)rounding, false);
        check_softmax(64, 16, 7, LENGTH_PUBLIC, 1, (enum clear_rounding)rounding, false);
        check_softmax(64, 16, 512, LENGTH_PUBLIC, 1, (enum clear_rounding)rounding, false);
        check_softmax(40, 11, 24, LENGTH_PUBLIC, 1, (enum clear_rounding)rounding, false);
    }
}

static void softmax_of_a_secret_length_is_right_everywhere(void **state)
{
    (void)state;
    check_softmax(48, 12, 1, LENGTH_BUCKET, 1, CLEAR_FLOOR, false);
    check_softmax(48, 12, 128, LENGTH_BUCKET, 1, CLEAR_RANDOM, false);
    check_softmax(64, 16, 512, LENGTH_BUCKET, 7, CLEAR_RANDOM, false);
    check_softmax(40, 11, 24, LENGTH_BUCKET, 1, CLEAR_FLOOR, false);
    check_softmax(48, 12, 31, LENGTH_BUCKET, 13, CLEAR_FLOOR, true);
}

static void private_softmax_is_right(void **state)
{
    (void)state;
    check_softmax(48, 12, 31, LENGTH_PUBLIC, 13, CLEAR_FLOOR, true);
    check_softmax(64, 16, 31, LENGTH_PUBLIC, 201, CLEAR_FLOOR, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_right_everywhere_at_48_12),
        cmocka_unit_test(activations_are_right_everywhere_at_64_16),
        cmocka_unit_test(activations_are_right_in_other_formats),
        cmocka_unit_test(private_activations_are_right),
        cmocka_unit_test(a_format_without_room_is_refused),
        cmocka_unit_test(softmax_is_right_everywhere),
        cmocka_unit_test(softmax_of_a_secret_length_is_right_everywhere),
        cmocka_unit_test(private_softmax_is_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
