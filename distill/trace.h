/* trace: what was done when, as Chrome's trace events (chrome://tracing and ui.perfetto.dev draw
 * them). A process has one; without trace_open() nothing is kept. One thread writes. */
#ifndef DISTILL_TRACE_H
#define DISTILL_TRACE_H

#include "base/base.h"

/* Lines of the drawing. */
enum trace_line { TRACE_COMPUTE, TRACE_RANKS };

/** Into the file @path.RANK. -errno. */
MUST_CHECK int trace_open(const char *path, size_t rank, struct err *err);

/** @name (a constant): without quotes. */
void trace_span(enum trace_line line, const char *name, uint64_t begin_ns, uint64_t end_ns);

/** Whole now. -EIO when it could not be written. */
MUST_CHECK int trace_close(struct err *err);

#endif
