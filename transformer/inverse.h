/*
 * inverse: reciprocal and inverse square root of a whole wire, as a composite of operations.
 *
 * For x in [2^lo, 2^(hi+1)) find the power of two u that brings t = x u 2^-hi near 1 (for a root a
 * power of four), look up the line that is 1/t or 1/sqrt(t) there, and multiply its value with u,
 * or the root of u: 1/x = u 2^-hi / t. Where there are few rows u comes from one large lookup at
 * the upper bits of x, two rounds; where there are many, or the range is wide, from comparisons
 * with the powers of two between, which take less tape.
 *
 * Out of range the result would be wrong: a range operation says what was promised, which the clear
 * executor checks, and a guard (transformer/guard.h) counts what does not keep to it.
 */
#ifndef TRANSFORMER_INVERSE_H
#define TRANSFORMER_INVERSE_H

#include "transformer/builder.h"

enum inverse_kind { INVERSE_RECIPROCAL, INVERSE_ROOT, INVERSE_KINDS };

/* The lookups that all inverses of one plan share. */
struct inverse_tables {
    int mantissa;                 /* fraction bits of t and of 1/t, g */
    int64_t scale[INVERSE_KINDS]; /* u, at the upper bits of x */
    int64_t root_scale;           /* the root of the root's u */
    int64_t line[INVERSE_KINDS];  /* value and slope of the inverse of t */
};

struct inverse {
    enum inverse_kind kind;
    int lo, hi;                /* powers of two: 2^lo <= x < 2^(hi+1); hi is even for a root */
    int shift;                 /* x comes with as many bits too many, 0 if none */
    int frac;                  /* fraction bits of what comes out */
    bool lo_proven, hi_proven; /* that end of the range needs no guard */
    const struct inverse_tables *tables;
};

/**
 * Into @plan. @mantissa: such that products of two of them fit the ring. @factor: of the roots.
 */
MUST_CHECK int inverse_add_tables(struct plan *plan, int mantissa, double factor,
                                  struct inverse_tables *ret, struct err *err);

/** @x: a share wire of one column. Returns a share wire of the same shape. */
uint32_t build_inverse(struct builder *b, uint32_t x, const struct inverse *k);

/** Masked, and times @y, a whole masked wire without fraction bits of an element for each, or for
 *  as many of them one after the other. In the rounds of a truncation and an opening; with k->frac
 *  fraction bits, or as many as there are. */
uint32_t build_inverse_times(struct builder *b, uint32_t x, const struct inverse *k, uint32_t y);

#endif
