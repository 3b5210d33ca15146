/* bench_memory: whether a benchmark's processes have room, before they are started. */
#ifndef APPLIANCE_BENCH_MEMORY_H
#define APPLIANCE_BENCH_MEMORY_H

#include "transformer/compile.h"

/** Of the weights alone, before any is made: as bench_memory_check(). */
MUST_CHECK int bench_memory_check_weights(const struct model_config *c, struct err *err);

/**
 * -ENOMEM, with what is needed and what there is, when queries of @v would not fit what the host
 * says is available: weights and arenas of all who hold them, and of tapes one in use, and where
 * @lab is set one in stock. An estimate, of what is large only.
 */
MUST_CHECK int bench_memory_check(const struct compiled *m, const struct variant *v, bool lab,
                                  struct err *err);

#endif
