#include "mpc/kernels.h"

#include "mpc/elementwise.h"

#include <pthread.h>
#include <string.h>

unsigned int kernels_cpu_features(void)
{
    unsigned int features = 0;

    if (__builtin_cpu_supports("avx2"))
        features |= KERNELS_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        features |= KERNELS_AVX512;
    if (__builtin_cpu_supports("avx512vbmi"))
        features |= KERNELS_VBMI;
    return features;
}

struct kernels kernels_choose(unsigned int features)
{
    const unsigned int elementwise512 = KERNELS_AVX2 | KERNELS_AVX512 | KERNELS_VBMI;
    struct kernels k;

    kernels_fill_c(&k);
    elementwise_loops_c(&k);
    if (features & KERNELS_AVX2) {
        kernels_fill_avx2(&k);
        elementwise_fill_avx2(&k);
    }
    if ((features & elementwise512) == elementwise512)
        elementwise_fill_avx512(&k);
    return k;
}

static struct kernels here;

static void choose_here(void)
{
    here = kernels_choose(kernels_cpu_features());
}

const struct kernels *kernels_here(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose_here);
    return &here;
}

size_t kernels_right_words(size_t inner, size_t cols)
{
    return (cols + KERNELS_PANEL - 1) / KERNELS_PANEL * KERNELS_PANEL * inner;
}

void kernels_pack_right(uint64_t *to, const uint64_t *b, size_t row_stride, size_t col_stride,
                        size_t inner, size_t cols)
{
    for (size_t panel = 0; panel < cols; panel += KERNELS_PANEL) {
        size_t width = MIN(cols - panel, (size_t)KERNELS_PANEL);

        for (size_t i = 0; i < inner; i++, to += KERNELS_PANEL) {
            const uint64_t *row = b + i * row_stride + panel * col_stride;

            for (size_t j = 0; j < width; j++)
                to[j] = row[j * col_stride];
            for (size_t j = width; j < KERNELS_PANEL; j++)
                to[j] = 0;
        }
    }
}
