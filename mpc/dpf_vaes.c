/* The kernels of distributed point functions on VAES and AVX2: two blocks a vector. */
#include "mpc/dpf_kernels.h"

#include <immintrin.h>

#define VEC_BLOCKS 2

typedef __m256i vec;

static inline vec vec_all(__m128i block)
{
    return _mm256_broadcastsi128_si256(block);
}

/* Blocks that count from @first. */
static inline vec vec_count(size_t first)
{
    return _mm256_set_epi64x(0, (int64_t)first + 1, 0, (int64_t)first);
}

static inline vec vec_load(const struct dpf_block *from)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

static inline void vec_store(struct dpf_block *to, vec v)
{
    _mm256_storeu_si256((__m256i *)(void *)to, v);
}

static inline void vec_store_children(struct dpf_block *to, vec left, vec right)
{
    vec_store(to, _mm256_permute2x128_si256(left, right, 0x20));
    vec_store(to + 2, _mm256_permute2x128_si256(left, right, 0x31));
}

static inline vec vec_xor(vec a, vec b)
{
    return _mm256_xor_si256(a, b);
}

static inline vec vec_and(vec a, vec b)
{
    return _mm256_and_si256(a, b);
}

/* All of a block's bits are its bit 0. */
static inline vec vec_control(vec v)
{
    return _mm256_srai_epi32(_mm256_slli_epi32(_mm256_shuffle_epi32(v, 0), 31), 31);
}

static inline vec vec_round(vec v, vec key)
{
    return _mm256_aesenc_epi128(v, key);
}

static inline vec vec_last(vec v, vec key)
{
    return _mm256_aesenclast_epi128(v, key);
}

#include "mpc/dpf_x86.h"

const struct dpf_kernels dpf_kernels_vaes = {
    .isa = "vaes", .key = key, .children = children, .leaves = leaves};
