/*
 * AES-128 in counter mode by the CPU's own rounds. Compiled once a feature: PRG_BLOCKS blocks a
 * vector (1: AES-NI, 2: VAES on AVX2, 4: VAES on AVX-512), the table named PRG_AES.
 */
#include "mpc/prg_aes.h"

#include "base/secret.h"

#include <immintrin.h>
#include <string.h>

#if PRG_BLOCKS == 1
typedef __m128i vec;
#define BROADCAST(v)    (v)
#define BYTES(v, order) _mm_shuffle_epi8(v, order)
#define ROUND(v, key)   _mm_aesenc_si128(v, key)
#define LAST(v, key)    _mm_aesenclast_si128(v, key)
#define ADD(a, b)       _mm_add_epi64(a, b)
#define XOR(a, b)       _mm_xor_si128(a, b)
#define STORE(to, v)    _mm_storeu_si128((void *)(to), v)
#define FIRST_BLOCKS    _mm_setzero_si128()
#elif PRG_BLOCKS == 2
typedef __m256i vec;
#define BROADCAST(v)    _mm256_broadcastsi128_si256(v)
#define BYTES(v, order) _mm256_shuffle_epi8(v, order)
#define ROUND(v, key)   _mm256_aesenc_epi128(v, key)
#define LAST(v, key)    _mm256_aesenclast_epi128(v, key)
#define ADD(a, b)       _mm256_add_epi64(a, b)
#define XOR(a, b)       _mm256_xor_si256(a, b)
#define STORE(to, v)    _mm256_storeu_si256((void *)(to), v)
#define FIRST_BLOCKS    _mm256_setr_epi64x(0, 0, 0, 1)
#else
typedef __m512i vec;
#define BROADCAST(v)    _mm512_broadcast_i32x4(v)
#define BYTES(v, order) _mm512_shuffle_epi8(v, order)
#define ROUND(v, key)   _mm512_aesenc_epi128(v, key)
#define LAST(v, key)    _mm512_aesenclast_epi128(v, key)
#define ADD(a, b)       _mm512_add_epi64(a, b)
#define XOR(a, b)       _mm512_xor_si512(a, b)
#define STORE(to, v)    _mm512_storeu_si512((void *)(to), v)
#define FIRST_BLOCKS    _mm512_setr_epi64(0, 0, 0, 1, 0, 2, 0, 3)
#endif

/* Vectors in flight: they cover the latency of a round, and fit the registers beside its key. */
#define FLIGHT 8

#define FLIGHT_BYTES (FLIGHT * sizeof(vec))

static inline __m128i load(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}

/* The round constant is part of the instruction. */
#define NEXT_ROUND(key, r, constant)                                                               \
    next_round((key)->round[r], (key)->round[(r)-1],                                               \
               _mm_aeskeygenassist_si128(load((key)->round[(r)-1]), constant))

static inline void next_round(uint8_t *to, const uint8_t *from, __m128i assist)
{
    __m128i v = load(from);

    v = _mm_xor_si128(v, _mm_slli_si128(v, 4));
    v = _mm_xor_si128(v, _mm_slli_si128(v, 8));
    v = _mm_xor_si128(v, _mm_shuffle_epi32(assist, 0xff));
    _mm_storeu_si128((__m128i *)(void *)to, v);
}

/* FIPS 197, 5.2. */
static void expand(struct prg_aes_key *key)
{
    NEXT_ROUND(key, 1, 0x01);
    NEXT_ROUND(key, 2, 0x02);
    NEXT_ROUND(key, 3, 0x04);
    NEXT_ROUND(key, 4, 0x08);
    NEXT_ROUND(key, 5, 0x10);
    NEXT_ROUND(key, 6, 0x20);
    NEXT_ROUND(key, 7, 0x40);
    NEXT_ROUND(key, 8, 0x80);
    NEXT_ROUND(key, 9, 0x1b);
    NEXT_ROUND(key, 10, 0x36);
}

/* FLIGHT_BYTES from the counters on that start with @counter, low word first. */
static inline void encrypt(const struct prg_aes_key *key, vec counter, uint8_t *to)
{
    const vec order =
        BROADCAST(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 15, 14, 13, 12, 11, 10, 9, 8));
    const vec step = BROADCAST(_mm_set_epi64x(PRG_BLOCKS, 0));
    vec k = BROADCAST(load(key->round[0])), v[FLIGHT];

    for (size_t i = 0; i < FLIGHT; i++, counter = ADD(counter, step))
        v[i] = XOR(BYTES(counter, order), k);
    for (size_t r = 1; r < PRG_AES_ROUNDS; r++) {
        k = BROADCAST(load(key->round[r]));
        for (size_t i = 0; i < FLIGHT; i++)
            v[i] = ROUND(v[i], k);
    }
    k = BROADCAST(load(key->round[PRG_AES_ROUNDS]));
    for (size_t i = 0; i < FLIGHT; i++)
        STORE(to + i * sizeof(vec), LAST(v[i], k));
}

static void fill(const struct prg_aes_key *key, uint64_t high, uint64_t block, uint8_t *ret,
                 size_t bytes)
{
    const vec step = BROADCAST(_mm_set_epi64x(FLIGHT * PRG_BLOCKS, 0));
    vec counter = BROADCAST(_mm_set_epi64x((int64_t)block, (int64_t)__builtin_bswap64(high)));
    uint8_t last[FLIGHT_BYTES];

    counter = ADD(counter, FIRST_BLOCKS);
    for (; bytes >= FLIGHT_BYTES; bytes -= FLIGHT_BYTES, ret += FLIGHT_BYTES) {
        encrypt(key, counter, ret);
        counter = ADD(counter, step);
    }
    if (bytes) {
        encrypt(key, counter, last);
        memcpy(ret, last, bytes);
        secret_wipe(last, sizeof(last));
    }
}

const struct prg_aes PRG_AES = {.name = PRG_NAME, .expand = expand, .fill = fill};
