/* Floats rounded to bfloat16's mantissa, to nearest, ties to even. */
#include "distill/kernels.h"

#include <string.h>

static inline uint32_t rounded(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits + 0x7fff + (bits >> 16 & 1);
}

void kernel_narrow(const float *x, size_t count, uint16_t *ret)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        ret[i] = (uint16_t)(rounded(x[i]) >> 16);
}

void kernel_round(const float *x, size_t count, float *ret)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = rounded(x[i]) & 0xffff0000;

        memcpy(&ret[i], &bits, sizeof(bits));
    }
}
