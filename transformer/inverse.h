/*
 * inverse: reciprocal and inverse square root of a whole wire, as a composite of operations.
 *
 * For x in [2^lo, 2^(hi+1)): compare with the powers of two between; the bits, taken to the ring,
 * give 2^(hi-e) and so t = x 2^-e in [1, 2]; a lookup of 512 entries gives a first y, one Newton
 * step y (2 - t y), or y (3 - t y^2) / 2, a good one; the same bits give the power of two (times
 * a public factor) that takes it back. 19 and 21 rounds (one less at l=32) for any number of
 * elements.
 *
 * Out of range the result would be silently wrong: a range operation says what was promised, which
 * the clear executor checks.
 */
#ifndef TRANSFORMER_INVERSE_H
#define TRANSFORMER_INVERSE_H

#include "transformer/builder.h"

#define INVERSE_TABLE_BITS 9

enum inverse_kind { INVERSE_RECIPROCAL, INVERSE_ROOT, INVERSE_KINDS };

struct inverse {
    enum inverse_kind kind;
    int lo, hi;    /* powers of two: 2^lo <= x < 2^(hi+1) */
    int frac;      /* fraction bits of what comes out */
    double factor; /* times this */
    int mantissa;  /* fraction bits g of t and y; less than frac of x + hi */
    int64_t table; /* what inverse_add_table() made, for this kind and mantissa */
};

/** The lookup's table, into @plan. */
MUST_CHECK int inverse_add_table(struct plan *plan, enum inverse_kind kind, int mantissa,
                                 int64_t *ret, struct err *err);

/** @x: a share wire of one column. Returns a share wire of the same shape. */
uint32_t build_inverse(struct builder *b, uint32_t x, const struct inverse *k);

#endif
