/* OpenMP, where the compiler has it: elsewhere one thread does everything. */
#ifndef DISTILL_THREADS_H
#define DISTILL_THREADS_H

#include <stddef.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/** How many threads a parallel region may have. */
static inline size_t threads_max(void)
{
#ifdef _OPENMP
    return (size_t)omp_get_max_threads();
#else
    return 1;
#endif
}

/** As many as that, from now on; where there is OpenMP. */
static inline void threads_set(size_t count)
{
#ifdef _OPENMP
    omp_set_num_threads((int)count);
#else
    (void)count;
#endif
}

/** This thread's number in its region, below threads_max(). */
static inline size_t threads_own(void)
{
#ifdef _OPENMP
    return (size_t)omp_get_thread_num();
#else
    return 0;
#endif
}

#endif
