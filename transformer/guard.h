/*
 * guard: what a plan checks of itself while it runs.
 *
 * A range that the compiler cannot prove (transformer/bounds.h) is compared when the plan runs:
 * every element that was promised to lie in it is less than its end and no less than its least, or
 * is counted. Nobody but the data owner learns the counts, which come with the answer.
 *
 * Comparisons can wait, so all of a variant's are made together, at its end: the distances from
 * both ends stand side by side on one wire, which is cut and compared with 0. That is four rounds
 * for any number of guards. Values that come after one that left its range may be anything: the
 * first guard with a count says where it began.
 */
#ifndef TRANSFORMER_GUARD_H
#define TRANSFORMER_GUARD_H

#include "transformer/builder.h"

/* An end that is proven, or of no importance. */
#define GUARD_NO_MIN INT64_MIN
#define GUARD_NO_END INT64_MAX

/**
 * @x, a share in the plan's ring, stays in @min <= x < @end units, of which the last or first
 * sixteenth may be counted as outside. The guard is called as the place where the builder is; a
 * place may have several, whose counts are added. |x| < 2^(ring - 3) must be certain.
 */
void build_guard(struct builder *b, uint32_t x, int64_t min, int64_t end);

/** After all else: of every sequence a row of the plan's guards, how many elements are outside of
 *  each. OPERAND_NONE where there is no guard. */
uint32_t build_outside(struct builder *b);

#endif
