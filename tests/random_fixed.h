/*
 * A stream in place of the kernel's randomness, the same in every run: for tests that compare bytes
 * with what they were yesterday, and for tests that want to fail the same way twice. It is linked
 * in place of base/random.c by test programs only, and serves one thread.
 */
#ifndef TESTS_RANDOM_FIXED_H
#define TESTS_RANDOM_FIXED_H

#include "base/random.h"

/** Start the stream over. Without it, the stream of seed 1 runs from the start of the program. */
void random_fixed_restart(uint64_t seed);

/** The seed in the environment's TEST_SEED, else 1; printed, and the stream started from it. */
uint64_t random_fixed_seed(void);

/** The next eight bytes; a number in @low..@high. */
uint64_t random_word(void);
int64_t random_in(int64_t low, int64_t high);
size_t random_count(size_t low, size_t high);

#endif
