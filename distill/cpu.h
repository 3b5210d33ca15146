/* What this room is compiled for. */
#ifndef DISTILL_CPU_H
#define DISTILL_CPU_H

#include <stdbool.h>

/** The kernels are made for x86-64-v3: no other path is there. */
static inline bool cpu_can_train(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

#endif
