/*
 * Fields on AVX-512 with VBMI. Eight fields are `bits` bytes and one vector: a field is shifted to
 * its place within its first byte (bits <= 57, so that it stays in its word), and bytes move by a
 * permutation. Masks end loads and stores at the last byte. Fields share a byte with one neighbour
 * at most where bits >= 8. The other widths go the way of AVX2.
 */
#include "mpc/elementwise.h"

#include <immintrin.h>

#define BITS_MIN 8
#define BITS_MAX 57

struct layout {
    __m512i shift; /* of each field within its first byte */
    __m512i even, odd;
    __mmask64 has_even,
        has_odd;    /* bytes of a group that have bits of an even field, of an odd one */
    __m512i spread; /* for unpack: the eight bytes from a field's first on */
    __m512i mask;
};

static struct layout layout_of(unsigned int bits)
{
    uint8_t even[64] = {0}, odd[64] = {0}, spread[64];
    uint64_t shift[8], has_even = 0, has_odd = 0;

    for (unsigned int k = 0; k < 8; k++) {
        unsigned int first = k * bits / 8;

        shift[k] = k * bits % 8;
        for (unsigned int t = 0; t < 8; t++)
            spread[8 * k + t] = (uint8_t)(first + t);
        for (unsigned int at = first; at <= (k * bits + bits - 1) / 8; at++) {
            (k % 2 ? odd : even)[at] = (uint8_t)(8 * k + at - first);
            *(k % 2 ? &has_odd : &has_even) |= 1ull << at;
        }
    }
    return (struct layout){
        .shift = _mm512_loadu_si512(shift),
        .even = _mm512_loadu_si512(even),
        .odd = _mm512_loadu_si512(odd),
        .has_even = has_even,
        .has_odd = has_odd,
        .spread = _mm512_loadu_si512(spread),
        .mask = _mm512_set1_epi64((int64_t)ring_mask(bits)),
    };
}

static inline __m512i join(const struct layout *l, __m512i v)
{
    v = _mm512_sllv_epi64(_mm512_and_si512(v, l->mask), l->shift);
    return _mm512_or_si512(_mm512_maskz_permutexvar_epi8(l->has_even, l->even, v),
                           _mm512_maskz_permutexvar_epi8(l->has_odd, l->odd, v));
}

static inline __m512i split(const struct layout *l, __m512i v)
{
    v = _mm512_srlv_epi64(_mm512_permutexvar_epi8(l->spread, v), l->shift);
    return _mm512_and_si512(v, l->mask);
}

void fields_pack_avx512(uint8_t *to, const uint64_t *from, size_t count, unsigned int bits)
{
    struct layout l;

    if (bits < BITS_MIN || bits > BITS_MAX) {
        fields_pack_avx2(to, from, count, bits);
        return;
    }
    l = layout_of(bits);
    for (size_t n; count; count -= n, from += 8, to += bits) {
        __m512i v;

        n = MIN(count, (size_t)8);
        v = _mm512_maskz_loadu_epi64((__mmask8)ring_mask((unsigned int)n), from);
        _mm512_mask_storeu_epi8(to, ring_mask((unsigned int)ring_field_bytes(n, bits)),
                                join(&l, v));
    }
}

static inline void unpack(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits,
                          bool add)
{
    struct layout l = layout_of(bits);

    for (size_t n; count; count -= n, to += 8, from += bits) {
        __mmask8 fields;
        __m512i v;

        n = MIN(count, (size_t)8);
        fields = (__mmask8)ring_mask((unsigned int)n);
        v = _mm512_maskz_loadu_epi8(ring_mask((unsigned int)ring_field_bytes(n, bits)), from);
        v = split(&l, v);
        if (add)
            v = _mm512_add_epi64(v, _mm512_maskz_loadu_epi64(fields, to));
        _mm512_mask_storeu_epi64(to, fields, v);
    }
}

void fields_unpack_avx512(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits)
{
    if (bits < BITS_MIN || bits > BITS_MAX)
        fields_unpack_avx2(to, from, count, bits);
    else
        unpack(to, from, count, bits, false);
}

void fields_add_avx512(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits)
{
    if (bits < BITS_MIN || bits > BITS_MAX)
        fields_add_avx2(to, from, count, bits);
    else
        unpack(to, from, count, bits, true);
}
