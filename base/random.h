/* The one source of fresh randomness. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include "base/base.h"

/**
 * Fill @ret with @bytes from the kernel's generator. Never short, never blocks after boot; ends the
 * process if the kernel has no generator, since nothing here may go on without one.
 *
 * A test binary that links tests/random_fixed.c in place of base/random.c gets a stream that is
 * the same in every run (for golden transcripts); no program that is installed does.
 */
void random_bytes(void *ret, size_t bytes);

#endif
