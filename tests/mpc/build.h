/*
 * build: small plans in a few lines, and their run against the clear executor, so that a test reads
 * as what it is about. Whatever is refused here fails the test with the reason.
 */
#ifndef TESTS_MPC_BUILD_H
#define TESTS_MPC_BUILD_H

#include "tests/mpc/replay.h"
#include "tests/random_fixed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BUILD_FRAC        8 /* of the plan's answers */
#define BUILD_WEIGHTS_MAX 8

/* Every ring in which the protocol runs. */
#define FOR_EACH_RING(ring)                                                                        \
    for (unsigned int ring = RING_BITS_MIN; ring <= RING_BITS_MAX; ring += 8)

struct build {
    struct plan *plan;
    struct variant *v;
    unsigned int narrow; /* the ring of input and weights; 0: the plan's */
    uint32_t x;          /* the input: a share wire, tokens x columns, no fraction */
    uint32_t presence;   /* where lengths are secret */
    int64_t *weights[BUILD_WEIGHTS_MAX]; /* by number */
    uint32_t outside;                    /* counts of the plan's guards, if it has any */
};

/** A plan with one variant and its input; build_end() takes all of it back. */
void build_start(struct build *b, unsigned int ring, uint32_t tokens, uint32_t columns);
void build_end(struct build *b);

/** Of @batch sequences. */
void build_start_batch(struct build *b, unsigned int ring, uint32_t tokens, uint32_t batch,
                       uint32_t columns);

/** With an input, and weights, in a ring of @narrow bits. */
void build_start_narrow(struct build *b, unsigned int ring, unsigned int narrow, uint32_t tokens,
                        uint32_t columns);

/** @values are copied. @return the operand. */
uint32_t build_weight(struct build *b, enum weight_use use, uint32_t rows, uint32_t cols,
                      const int64_t *values);

/** With lengths that are secret; @narrow: of the input, 0: the plan's. What runs it takes
 *  variant_input_words() of input. */
void build_start_bucket(struct build *b, unsigned int ring, unsigned int narrow, uint32_t tokens,
                        uint32_t batch, uint32_t columns);

/* Operations. Each returns the wire that comes out. */
uint32_t build_open(struct build *b, uint32_t x);
uint32_t build_unmask(struct build *b, uint32_t x);
uint32_t build_mul(struct build *b, uint32_t x, uint32_t y);
uint32_t build_square(struct build *b, uint32_t x, bool sum_rows);
uint32_t build_truncate(struct build *b, uint32_t x, int64_t shift);
uint32_t build_lift(struct build *b, uint32_t x, int64_t shift);
uint32_t build_cut(struct build *b, uint32_t x, int64_t shift);

/** Whole, in the ring of the bits that are left. */
uint32_t build_cut_whole(struct build *b, uint32_t x, int64_t shift);
uint32_t build_affine(struct build *b, uint32_t x, int64_t factor, int64_t add);
uint32_t build_add(struct build *b, uint32_t x, uint32_t y);
uint32_t build_centre(struct build *b, uint32_t x);
uint32_t build_row_sum(struct build *b, uint32_t x);
uint32_t build_length_mask(struct build *b, uint32_t x);
uint32_t build_length_fill(struct build *b, uint32_t x, int64_t fill);
uint32_t build_length_scale(struct build *b, uint32_t x);

/** x + factor + add in the columns of tokens that are there, x + add in others. */
uint32_t build_add_presence(struct build *b, uint32_t x, int64_t factor, int64_t add);
uint32_t build_compare(struct build *b, uint32_t x, const int64_t *thresholds, size_t count);

/** The same modulo 2^@bits. */
uint32_t build_compare_narrow(struct build *b, uint32_t x, unsigned int bits,
                              const int64_t *thresholds, size_t count);

/** And without the @shift lowest of them. */
uint32_t build_compare_coarse(struct build *b, uint32_t x, unsigned int bits, unsigned int shift,
                              const int64_t *thresholds, size_t count);
uint32_t build_bit_to_ring(struct build *b, uint32_t bits);
uint32_t build_select(struct build *b, uint32_t bits, uint32_t x);

/** By one column of the bits. */
uint32_t build_select_column(struct build *b, uint32_t bits, int64_t column, uint32_t x);

/** @attrs by enum difference_attr. */
uint32_t build_difference(struct build *b, uint32_t x, uint32_t y,
                          const int64_t attrs[DIFFERENCE_ATTRS]);

/** A table of 2^@bits rows and @cols columns; @attrs by enum spline_attr, its own number is put in.
 */
uint32_t build_spline(struct build *b, uint32_t x, uint32_t of_bits, unsigned int bits,
                      unsigned int cols, const int64_t *entries,
                      const int64_t attrs[SPLINE_ATTRS_MAX]);
uint32_t build_dot(struct build *b, uint32_t x, int64_t constant, const int64_t *factors,
                   size_t count);

/** At x / 2^@shift; times @t, or OPERAND_NONE. */
uint32_t build_lookup(struct build *b, uint32_t x, unsigned int shift, uint32_t t,
                      unsigned int bits, unsigned int cols, const int64_t *entries);

/** @attrs by enum view_attr; no groups: one. */
uint32_t build_view(struct build *b, uint32_t x, const int64_t attrs[VIEW_ATTRS]);

/** @attrs by enum join_attr, of each input. */
uint32_t build_join(struct build *b, const uint32_t inputs[], size_t count, const int64_t attrs[]);

/** A guard of the plan. */
void build_guard(struct build *b, const char *name);

/** Gives no wire. */
void build_range(struct build *b, uint32_t x, int64_t min, int64_t end);

/** @attrs by enum matmul_attr; no groups: one. */
uint32_t build_matmul(struct build *b, uint32_t x, uint32_t y, const int64_t attrs[MATMUL_ATTRS]);

/** x (all of it) times the weight, plus bias and gain * residual; OPERAND_NONE where there is none.
 */
uint32_t build_linear(struct build *b, uint32_t x, uint32_t weight, uint32_t bias,
                      uint32_t residual, uint32_t gain);

/** @y's elements, at whatever scale, are the answer, and b->outside of the guards; the plan is then
 * complete and has its hash. */
void build_finish(struct build *b, uint32_t y);

/** The same in two steps, for a plan of more variants than one: an answer each, then build_seal().
 */
void build_answer(struct build *b, uint32_t y);
void build_variant(struct build *b, uint32_t tokens);
void build_variant_batch(struct build *b, uint32_t tokens, uint32_t batch);
void build_seal(struct build *b);

/** What the clear executor says, in @ret: plan_answers() values; every sequence has @length tokens.
 */
void build_clear(const struct build *b, uint32_t length, const int64_t *input, int64_t *ret);

/** The plan's dealer and parties, on @kernels. */
struct replay *build_replay(const struct build *b, const struct kernels *kernels);

/** Run a job, and check what it cost against the cost reader, byte for byte, round for round. */
void build_run(const struct build *b, struct replay *r, uint32_t length, const int64_t *input,
               int64_t *ret);

/** The same two with a length for each sequence. */
void build_clear_lengths(const struct build *b, const uint32_t lengths[], const int64_t *input,
                         int64_t *ret);
void build_run_lengths(const struct build *b, struct replay *r, const uint32_t lengths[],
                       const int64_t *input, int64_t *ret);

/** A job's answer must be @expected, exactly. */
void build_expect(const struct build *b, const int64_t *input, const int64_t *expected);

/** A job's answer must be the clear executor's, exactly; of every token there is. */
void build_agree(const struct build *b, const int64_t *input);

/** @count numbers in @low..@high, about one in four of them at an end. */
void build_noise(int64_t *ret, size_t count, int64_t low, int64_t high);

/** The largest number of @bits bits. */
int64_t number_top(unsigned int bits);

#endif
