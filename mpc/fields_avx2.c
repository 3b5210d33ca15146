/*
 * Fields on AVX2. Eight fields are `bits` bytes, a group. Packing has a body for every width: two
 * fields a lane where they are whole bytes, else shifts by constants. Unpacking takes the eight
 * bytes from a field's first byte on, two fields a lane, for any width up to 57; past that a field
 * may have a ninth byte. A group reads or writes up to SLACK bytes past its end, so the last ones
 * go through a buffer.
 */
#include "mpc/elementwise.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define SLACK        15
#define SHUFFLE_BITS 57
#define GROUP_BYTES  (64 + SLACK + 1)

/* Groups that can be handled in place: as many bytes as SLACK follow them. */
static size_t groups_in_place(size_t count, unsigned int bits)
{
    size_t bytes = ring_field_bytes(count, bits);

    return bytes < SLACK ? 0 : MIN(count / 8, (bytes - SLACK) / bits);
}

/* --- packing --- */

INLINE void pack_group(uint8_t *to, const uint64_t *from, unsigned int bits)
{
    uint64_t held = 0;
    unsigned int held_bits = 0;

#pragma GCC unroll 8
    for (size_t k = 0; k < 8; k++) {
        uint64_t field = from[k] & ring_mask(bits);

        held |= field << held_bits;
        held_bits += bits;
        if (held_bits >= 64) {
            memcpy(to, &held, 8);
            to += 8;
            held_bits -= 64;
            held = held_bits ? field >> (bits - held_bits) : 0;
        }
    }
    if (held_bits)
        memcpy(to, &held, 8);
}

/* Two fields of 4 n bits are whole bytes: a lane. */
struct lanes {
    __m256i mask, shift, even, odd;
    size_t bytes;
};

INLINE struct lanes lanes_of(unsigned int bits)
{
    uint8_t even[16], odd[16];
    __m256i shift = _mm256_set_epi64x(bits % 8, 0, bits % 8, 0);

    for (unsigned int i = 0; i < 16; i++) {
        even[i] = 8 * i < bits ? (uint8_t)i : 0x80;
        odd[i] = 8 * i + 8 > bits && 4 * i < bits ? (uint8_t)(8 + i - bits / 8) : 0x80;
    }
    return (struct lanes){
        .mask = _mm256_set1_epi64x((int64_t)ring_mask(bits)),
        .shift = shift,
        .even = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)even)),
        .odd = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)odd)),
        .bytes = bits / 4,
    };
}

INLINE void pack_lanes(uint8_t *to, const uint64_t *from, const struct lanes *l)
{
    for (size_t half = 0; half < 2; half++, to += 2 * l->bytes) {
        __m256i v = _mm256_loadu_si256((const void *)(from + 4 * half));

        v = _mm256_sllv_epi64(_mm256_and_si256(v, l->mask), l->shift);
        v = _mm256_or_si256(_mm256_shuffle_epi8(v, l->even), _mm256_shuffle_epi8(v, l->odd));
        _mm_storeu_si128((void *)to, _mm256_castsi256_si128(v));
        _mm_storeu_si128((void *)(to + l->bytes), _mm256_extracti128_si256(v, 1));
    }
}

INLINE void pack_width(uint8_t *to, const uint64_t *from, size_t count, unsigned int bits)
{
    size_t groups = groups_in_place(count, bits);
    struct lanes l = lanes_of(bits);

    for (size_t i = 0; i < groups; i++, to += bits, from += 8)
        if (bits % 4 == 0)
            pack_lanes(to, from, &l);
        else
            pack_group(to, from, bits);
    for (size_t left = count - 8 * groups, n; left; left -= n, to += bits, from += 8) {
        uint64_t fields[8] = {0};
        uint8_t packed[GROUP_BYTES];

        n = MIN(left, (size_t)8);
        memcpy(fields, from, n * sizeof(*fields));
        pack_group(packed, fields, bits);
        memcpy(to, packed, ring_field_bytes(n, bits));
    }
}

/* --- unpacking --- */

INLINE uint64_t field_at(const uint8_t *from, unsigned int at, unsigned int bits)
{
    uint64_t v;

    memcpy(&v, from + at / 8, 8);
    v >>= at % 8;
    if (at % 8 + bits > 64)
        v |= (uint64_t)from[at / 8 + 8] << (64 - at % 8);
    return v & ring_mask(bits);
}

INLINE void unpack_group(uint64_t *to, const uint8_t *from, unsigned int bits, bool add)
{
    for (unsigned int k = 0; k < 8; k++)
        to[k] = field_at(from, k * bits, bits) + (add ? to[k] : 0);
}

struct layout {
    size_t at[4];                     /* first bytes of fields 0, 2, 4 and 6 */
    __m256i bytes[2], shift[2], mask; /* of fields 0..3, 4..7 */
};

static struct layout layout_of(unsigned int bits)
{
    uint8_t bytes[64];
    uint64_t shift[8];
    struct layout l = {.mask = _mm256_set1_epi64x((int64_t)ring_mask(bits))};

    for (unsigned int k = 0; k < 8; k++) {
        unsigned int first = k * bits / 8;

        if (k % 2 == 0)
            l.at[k / 2] = first;
        shift[k] = k * bits % 8;
        for (unsigned int t = 0; t < 8; t++)
            bytes[8 * k + t] = (uint8_t)(first + t - l.at[k / 2]);
    }
    for (size_t half = 0; half < 2; half++) {
        l.bytes[half] = _mm256_loadu_si256((const void *)(bytes + 32 * half));
        l.shift[half] = _mm256_loadu_si256((const void *)(shift + 4 * half));
    }
    return l;
}

INLINE void shuffle_group(uint64_t *to, const uint8_t *from, const struct layout *l, bool add)
{
    for (size_t half = 0; half < 2; half++) {
        const uint8_t *low = from + l->at[2 * half], *high = from + l->at[2 * half + 1];
        __m256i *at = (void *)(to + 4 * half);
        __m256i v = _mm256_loadu2_m128i((const void *)high, (const void *)low);

        v = _mm256_shuffle_epi8(v, l->bytes[half]);
        v = _mm256_and_si256(_mm256_srlv_epi64(v, l->shift[half]), l->mask);
        _mm256_storeu_si256(at, add ? _mm256_add_epi64(v, _mm256_loadu_si256(at)) : v);
    }
}

INLINE void group(uint64_t *to, const uint8_t *from, const struct layout *l, unsigned int bits,
                  bool add)
{
    if (bits <= SHUFFLE_BITS)
        shuffle_group(to, from, l, add);
    else
        unpack_group(to, from, bits, add);
}

INLINE void unpack(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits, bool add)
{
    size_t groups = groups_in_place(count, bits);
    struct layout l = layout_of(bits);

    for (size_t i = 0; i < groups; i++, to += 8, from += bits)
        group(to, from, &l, bits, add);
    for (size_t left = count - 8 * groups, n; left; left -= n, to += 8, from += bits) {
        uint8_t packed[GROUP_BYTES] = {0};
        uint64_t fields[8] = {0};

        n = MIN(left, (size_t)8);
        memcpy(packed, from, ring_field_bytes(n, bits));
        memcpy(fields, to, add ? n * sizeof(*fields) : 0);
        group(fields, packed, &l, bits, add);
        memcpy(to, fields, n * sizeof(*fields));
    }
}

void fields_unpack_avx2(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits)
{
    unpack(to, from, count, bits, false);
}

void fields_add_avx2(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits)
{
    unpack(to, from, count, bits, true);
}

/* --- one body a width --- */

#define EIGHT(X, from)                                                                             \
    X(from) X(from + 1) X(from + 2) X(from + 3) X(from + 4) X(from + 5) X(from + 6) X(from + 7)

#define WIDTH(bits)                                                                                \
    case bits:                                                                                     \
        pack_width(to, from, count, bits);                                                         \
        return;

void fields_pack_avx2(uint8_t *to, const uint64_t *from, size_t count, unsigned int bits)
{
    switch (bits) {
        EIGHT(WIDTH, 1)
        EIGHT(WIDTH, 9)
        EIGHT(WIDTH, 17)
        EIGHT(WIDTH, 25)
        EIGHT(WIDTH, 33)
        EIGHT(WIDTH, 41)
        EIGHT(WIDTH, 49)
        EIGHT(WIDTH, 57)
    }
}
