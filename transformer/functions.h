/*
 * functions: activations and the exponentials of softmax, as composites of operations.
 *
 * A function that is no polynomial is a curve: lines or parabolas between two thresholds, and
 * something plain outside of them. Comparisons with both thresholds tell where x is, on all of what
 * its wire holds; they and the spline (mpc/ops/spline.c) read the one cut wire of x.
 *
 *     gelu     0 below, the curve between, x above
 *     tanh     -1, the curve, 1
 *     exp      0, the curve; x <= 0 but for FUNCTIONS_EXP_SLACK
 *     relu     0, x: no curve
 *     quad     one square, of x + 1
 *
 * Against the function of the x that is cut, what comes out is off by at most FUNCTIONS_ERROR_UNITS
 * of the plan's last place, for every x.
 */
#ifndef TRANSFORMER_FUNCTIONS_H
#define TRANSFORMER_FUNCTIONS_H

#include "transformer/builder.h"
#include "transformer/config.h"

#define FUNCTIONS_ERROR_UNITS 5

/* Fraction bits of exponentials, over the plan's, where the ring has room. */
#define FUNCTIONS_EXP_MORE_BITS 4

/* How far above a row's largest score exp must be right: comparisons on the way to it are off by a
 * sixteenth each, nine of them for PLAN_TOKENS_MAX tokens. */
#define FUNCTIONS_EXP_SLACK 0.5625
#define FUNCTIONS_EXP_MOST  1.76 /* exp of it, rounded up */

struct curve {
    int64_t table;
    int frac;           /* of x in the table's terms */
    int step;           /* a row is 2^-step wide */
    int below;          /* log2 of how far below a threshold counts as either, in x */
    double from, to;    /* thresholds */
    int out_frac, ring; /* of what comes out */
    size_t columns;     /* of the table */
    int64_t terms[PLAN_TABLE_COLS_MAX * SPLINE_TERMS];
};

/* The curves of one plan; those that no layer uses have no table. */
struct functions {
    struct curve hidden[HIDDEN_ACTS], exp;
};

/** Into @plan, whose ring and fraction bits are set, what @config's layers use. -ERANGE where the
 *  ring has no room for a curve of so many fraction bits. */
MUST_CHECK int functions_add(struct plan *plan, const struct model_config *config,
                             struct functions *ret, struct err *err);

/** What an activation reads is x + this, by the bias before it. */
double activation_before(enum hidden_act act);

/** What it makes is less by this, which the bias after it makes up for. */
double activation_after(enum hidden_act act);

/** The activation of a share with @shift bits more than the plan's fraction; as a share. */
uint32_t build_activation(struct builder *b, uint32_t x, int shift, enum hidden_act act,
                          const struct functions *k);

/** x where it is positive, else 0, of a masked wire; as a share. */
uint32_t build_positive(struct builder *b, uint32_t x);

/**
 * exp(s - max) of every row of a share of scores, as a share of @frac fraction bits, at most 2; 0
 * in the columns of tokens that are not there: where lengths are secret, @presence says which are,
 * in one column. @score_frac: the scores' fraction bits, whatever the wire says. Right for all
 * scores below 2^(ring - 3) units, and below half of that where lengths are secret.
 */
uint32_t build_exponentials(struct builder *b, uint32_t s, uint32_t presence, int score_frac,
                            int frac, const struct functions *k);

#endif
