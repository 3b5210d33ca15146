/*
 * dpf_x86: the kernels of distributed point functions over AES instructions, for whatever vector
 * the including file has: `vec` of VEC_BLOCKS blocks and the vec_*() below that it defines.
 *
 * Eight vectors are in flight, which hides the latency of a round.
 */
#include "mpc/dpf_lanes.h"

#include <immintrin.h>

#define FLIGHT       8
#define LEAF_VECS    (DPF_LEAF_BLOCKS / VEC_BLOCKS)
#define GROUP_NODES  (FLIGHT / 2 * VEC_BLOCKS) /* whose children are one flight */
#define GROUP_LEAVES (FLIGHT / LEAF_VECS)

_Static_assert(2 * GROUP_NODES <= DPF_SPARE_NODES, "a ragged group stays within the spare nodes");

static inline __m128i next_key(__m128i key, __m128i assist)
{
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
    return _mm_xor_si128(key, _mm_shuffle_epi32(assist, 0xff));
}

static void key(struct dpf_cipher *c, const uint8_t bytes[DPF_TWEAK_BYTES])
{
    __m128i *k = (__m128i *)(void *)c->round_keys;

    k[0] = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    k[1] = next_key(k[0], _mm_aeskeygenassist_si128(k[0], 0x01));
    k[2] = next_key(k[1], _mm_aeskeygenassist_si128(k[1], 0x02));
    k[3] = next_key(k[2], _mm_aeskeygenassist_si128(k[2], 0x04));
    k[4] = next_key(k[3], _mm_aeskeygenassist_si128(k[3], 0x08));
    k[5] = next_key(k[4], _mm_aeskeygenassist_si128(k[4], 0x10));
    k[6] = next_key(k[5], _mm_aeskeygenassist_si128(k[5], 0x20));
    k[7] = next_key(k[6], _mm_aeskeygenassist_si128(k[6], 0x40));
    k[8] = next_key(k[7], _mm_aeskeygenassist_si128(k[7], 0x80));
    k[9] = next_key(k[8], _mm_aeskeygenassist_si128(k[8], 0x1b));
    k[10] = next_key(k[9], _mm_aeskeygenassist_si128(k[9], 0x36));
}

static inline __m128i block(const struct dpf_block *b)
{
    return _mm_load_si128((const __m128i *)(const void *)b);
}

static inline void load_keys(const struct dpf_cipher *c, vec keys[DPF_ROUND_KEYS])
{
    for (size_t i = 0; i < DPF_ROUND_KEYS; i++)
        keys[i] = vec_all(block(&c->round_keys[i]));
}

/* H of a flight. */
static inline void hash(const vec keys[DPF_ROUND_KEYS], const vec x[FLIGHT], vec ret[FLIGHT])
{
    for (size_t i = 0; i < FLIGHT; i++)
        ret[i] = vec_xor(x[i], keys[0]);
    for (size_t r = 1; r < DPF_ROUND_KEYS - 1; r++)
        for (size_t i = 0; i < FLIGHT; i++)
            ret[i] = vec_round(ret[i], keys[r]);
    for (size_t i = 0; i < FLIGHT; i++)
        ret[i] = vec_xor(vec_last(ret[i], keys[DPF_ROUND_KEYS - 1]), x[i]);
}

static inline vec seed_of(vec node)
{
    return vec_xor(node, vec_and(node, vec_all(_mm_set_epi64x(0, 1))));
}

static inline void group_children(const vec keys[DPF_ROUND_KEYS], const vec correction[2],
                                  const struct dpf_block *nodes, struct dpf_block *ret)
{
    const vec one = vec_all(_mm_set_epi64x(0, 1));
    vec node[FLIGHT / 2], x[FLIGHT], y[FLIGHT];

    for (size_t i = 0; i < FLIGHT / 2; i++) {
        node[i] = vec_load(nodes + i * VEC_BLOCKS);
        x[2 * i] = seed_of(node[i]);
        x[2 * i + 1] = vec_xor(x[2 * i], one);
    }
    hash(keys, x, y);
    for (size_t i = 0; i < FLIGHT / 2; i++) {
        vec mask = vec_control(node[i]);

        vec_store_children(ret + 2 * i * VEC_BLOCKS,
                           vec_xor(y[2 * i], vec_and(mask, correction[0])),
                           vec_xor(y[2 * i + 1], vec_and(mask, correction[1])));
    }
}

/* From the last group to the first, since the children of the first lie on those behind it. */
static void children(const struct dpf_cipher *c, struct dpf_block *nodes, size_t count,
                     const struct dpf_block correction[2])
{
    const vec sides[2] = {vec_all(block(&correction[0])), vec_all(block(&correction[1]))};
    vec keys[DPF_ROUND_KEYS];

    load_keys(c, keys);
    for (size_t group = (count + GROUP_NODES - 1) / GROUP_NODES; group-- > 0;)
        group_children(keys, sides, nodes + group * GROUP_NODES, nodes + 2 * group * GROUP_NODES);
}

static inline void group_blocks(const vec keys[DPF_ROUND_KEYS], const struct dpf_block *nodes,
                                struct dpf_block ret[GROUP_LEAVES * DPF_LEAF_BLOCKS])
{
    vec x[FLIGHT], y[FLIGHT];

    for (size_t i = 0; i < FLIGHT; i++)
        x[i] = vec_xor(seed_of(vec_all(block(&nodes[i / LEAF_VECS]))),
                       vec_count(2 + i % LEAF_VECS * VEC_BLOCKS));
    hash(keys, x, y);
    for (size_t i = 0; i < FLIGHT; i++)
        vec_store(ret + i * VEC_BLOCKS, y[i]);
}

static void leaves(const struct dpf_cipher *c, const struct dpf_block *nodes, size_t count,
                   const struct dpf_output *o, uint64_t *ret)
{
    struct dpf_block raw[GROUP_LEAVES * DPF_LEAF_BLOCKS] __attribute__((aligned(64)));
    vec keys[DPF_ROUND_KEYS];

    load_keys(c, keys);
    for (size_t at = 0; at < count; at += GROUP_LEAVES) {
        group_blocks(keys, nodes + at, raw);
        for (size_t i = 0; i < MIN(count - at, (size_t)GROUP_LEAVES); i++) {
            dpf_finish(raw + i * DPF_LEAF_BLOCKS, nodes[at + i].low & 1, o, ret);
            ret += DPF_LEAF_BYTES * 8 / o->lane;
        }
    }
}
