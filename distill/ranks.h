/*
 * ranks: the processes that train one model together, started by mpirun.
 *
 * Each takes rows with its share of every batch's tokens; sums over all of them make of the parts
 * what one process would have computed. Every rank makes the same calls in the same order. A sum's
 * order of additions depends on the number of ranks alone, and all ranks get the same bits. This is
 * the one module that knows MPI: a build without it, and a process that mpirun has not started, has
 * one rank, for which all of this does nothing.
 *
 * What ranks send each other is as secret as the model and is not encrypted.
 */
#ifndef DISTILL_RANKS_H
#define DISTILL_RANKS_H

#include "base/base.h"

/** Once, before all else. -ENOTSUP: mpirun has started several, and the build has no MPI. */
MUST_CHECK int ranks_start(struct err *err);

size_t ranks_own(void); /* from 0 on */
size_t ranks_count(void);

/** Begin to sum @x (count) over all ranks, in place; @name (a constant) is for the trace. @x may
 *  not be touched until ranks_wait(). At most RANKS_SUMS_MAX at once. -EIO. */
#define RANKS_SUMS_MAX 128
MUST_CHECK int ranks_sum(const char *name, float *x, size_t count, struct err *err);

/** Move on what has begun, without waiting: sums go on only within calls of this module. */
void ranks_move(void);

/** Until all that has begun is done. -EIO. */
MUST_CHECK int ranks_wait(struct err *err);

/** Sum @x (count) over all ranks, now. -EIO. */
MUST_CHECK int ranks_sum_now(double *x, size_t count, struct err *err);

/** What rank 0 has, to all. -EIO. */
MUST_CHECK int ranks_copy(void *x, size_t bytes, struct err *err);

/** -EINVAL, calling it @what, unless every rank has the same @x. */
MUST_CHECK int ranks_compare(const char *what, const void *x, size_t bytes, struct err *err);

/** At the end, with exit code @code: whether all came here with a failure too, which rank 0 has
 *  then told; false: this rank has failed alone, or none has. */
bool ranks_all_failed(int code);

/** Leave; with a @code other than 0 that not @all share, every rank is ended. */
void ranks_stop(int code, bool all);

#endif
