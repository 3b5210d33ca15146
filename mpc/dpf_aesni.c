/* The kernels of distributed point functions on AES-NI: a block a vector. */
#include "mpc/dpf_kernels.h"

#include <immintrin.h>

#define VEC_BLOCKS 1

typedef __m128i vec;

static inline vec vec_all(__m128i block)
{
    return block;
}

/* A block that counts from @first. */
static inline vec vec_count(size_t first)
{
    return _mm_set_epi64x(0, (int64_t)first);
}

static inline vec vec_load(const struct dpf_block *from)
{
    return _mm_load_si128((const __m128i *)(const void *)from);
}

static inline void vec_store(struct dpf_block *to, vec v)
{
    _mm_store_si128((__m128i *)(void *)to, v);
}

static inline void vec_store_children(struct dpf_block *to, vec left, vec right)
{
    vec_store(to, left);
    vec_store(to + 1, right);
}

static inline vec vec_xor(vec a, vec b)
{
    return _mm_xor_si128(a, b);
}

static inline vec vec_and(vec a, vec b)
{
    return _mm_and_si128(a, b);
}

/* All of a block's bits are its bit 0. */
static inline vec vec_control(vec v)
{
    return _mm_srai_epi32(_mm_slli_epi32(_mm_shuffle_epi32(v, 0), 31), 31);
}

static inline vec vec_round(vec v, vec key)
{
    return _mm_aesenc_si128(v, key);
}

static inline vec vec_last(vec v, vec key)
{
    return _mm_aesenclast_si128(v, key);
}

#include "mpc/dpf_x86.h"

const struct dpf_kernels dpf_kernels_aesni = {
    .isa = "aesni", .key = key, .children = children, .leaves = leaves};
