/* made: plans that a test builds by hand. */
#ifndef TESTS_TRANSFORMER_MADE_H
#define TESTS_TRANSFORMER_MADE_H

#include "transformer/builder.h"

/** A plan without variants, of 8 fraction bits. */
struct plan *made_plan(unsigned int ring, uint32_t vocabulary, uint32_t labels);

/** The plan of @b is complete: finish it, and free what else the builder holds. */
void made_finish(struct builder *b);

#endif
