#include "mpc/dpf_kernels.h"

#include <cpuid.h>

#define CPUID_7_ECX_VAES (1u << 9)

unsigned int dpf_cpu_features(void)
{
    unsigned int a, b, c = 0, d;

    /* AVX2 also says that the kernel keeps the wide registers. */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("aes"))
        return 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & CPUID_7_ECX_VAES))
        return DPF_AESNI | DPF_VAES;
    return DPF_AESNI;
}

const struct dpf_kernels *dpf_kernels_choose(unsigned int features)
{
    return features & DPF_VAES    ? &dpf_kernels_vaes
           : features & DPF_AESNI ? &dpf_kernels_aesni
                                  : &dpf_kernels_c;
}

const struct dpf_kernels *dpf_kernels_here(void)
{
    return dpf_kernels_choose(dpf_cpu_features());
}
