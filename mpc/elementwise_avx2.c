/* By hand for AVX2: sums under masks, and look-ups in tables of sixteen bits. */
#include "mpc/elementwise.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i load(const void *from)
{
    return _mm256_loadu_si256(from);
}

/* --- masked_sum --- */

/* Four rows are `cols` vectors. Word w of them belongs to row w / cols and to column w % cols. */
INLINE void sum_columns(uint64_t *ret, const uint64_t *table, const uint64_t *hot, size_t rows,
                        size_t cols)
{
    __m256i sum[4] = {0}, row[4];
    uint64_t word[16];

    for (size_t w = 0; w < 4 * cols; w++)
        word[w] = 1ull << w / cols;
    for (size_t v = 0; v < cols; v++)
        row[v] = load(word + 4 * v);
    for (; rows; rows -= 64) {
        __m256i bits = _mm256_set1_epi64x((int64_t)*hot++);

        for (size_t four = 0; four < 16; four++, table += 4 * cols) {
            for (size_t v = 0; v < cols; v++) {
                __m256i mask = _mm256_cmpeq_epi64(_mm256_and_si256(bits, row[v]), row[v]);

                sum[v] = _mm256_add_epi64(sum[v], _mm256_and_si256(mask, load(table + 4 * v)));
            }
            bits = _mm256_srli_epi64(bits, 4);
        }
    }
    memset(ret, 0, cols * sizeof(*ret));
    for (size_t v = 0; v < cols; v++)
        _mm256_storeu_si256((void *)(word + 4 * v), sum[v]);
    for (size_t w = 0; w < 4 * cols; w++)
        ret[w % cols] += word[w];
}

static void masked_sum(uint64_t *ret, const uint64_t *table, const uint64_t *hot, size_t rows,
                       size_t cols)
{
    switch (cols) {
    case 1:
        sum_columns(ret, table, hot, rows, 1);
        return;
    case 2:
        sum_columns(ret, table, hot, rows, 2);
        return;
    case 3:
        sum_columns(ret, table, hot, rows, 3);
        return;
    default:
        sum_columns(ret, table, hot, rows, 4);
    }
}

/* --- look_up --- */

/* Lanes in a step. */
#define LANES 32

/* Byte p of each of 32 elements, for every p: a transposition, as three shuffles of pairs. */
INLINE void byte_planes(__m256i plane[8], const uint64_t x[LANES])
{
    const __m256i pairs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));

    for (size_t i = 0; i < 8; i++)
        plane[i] = _mm256_shuffle_epi8(
            _mm256_loadu2_m128i((const void *)(x + 16 + 2 * i), (const void *)(x + 2 * i)), pairs);
    for (size_t round = 0; round < 3; round++) {
        __m256i from[8];

        memcpy(from, plane, sizeof(from));
        for (size_t i = 0; i < 4; i++) {
            plane[2 * i] = _mm256_unpacklo_epi16(from[i], from[i + 4]);
            plane[2 * i + 1] = _mm256_unpackhi_epi16(from[i], from[i + 4]);
        }
    }
}

/* Bit i: whether table i has the bit that digit i names. */
INLINE uint32_t look_up_lanes(__m256i table_low, __m256i table_high, __m256i digit)
{
    const __m256i powers = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m256i powers_high = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, -128));
    __m256i low, high, missing;

    /* Unpacking and packing work in halves: put the quarters where those halves want them. */
    digit = _mm256_permute4x64_epi64(digit, 0xd8);
    low = _mm256_shuffle_epi8(powers, digit);
    high = _mm256_shuffle_epi8(powers_high, digit);
    table_low = _mm256_and_si256(table_low, _mm256_unpacklo_epi8(low, high));
    table_high = _mm256_and_si256(table_high, _mm256_unpackhi_epi8(low, high));
    missing = _mm256_packs_epi16(_mm256_cmpeq_epi16(table_low, _mm256_setzero_si256()),
                                 _mm256_cmpeq_epi16(table_high, _mm256_setzero_si256()));
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(missing, 0xd8));
}

/* Both halves of the tables of 32 lanes, of which the first is @at. */
INLINE void tables_of(__m256i ret[2], const uint16_t *tables, size_t at, size_t spread)
{
    if (spread == 1) {
        ret[0] = load(tables + at);
        ret[1] = load(tables + at + LANES / 2);
    } else if (spread == 2) {
        __m256i v = _mm256_permute4x64_epi64(load(tables + at / 2), 0xd8);

        ret[0] = _mm256_unpacklo_epi16(v, v);
        ret[1] = _mm256_unpackhi_epi16(v, v);
    } else {
        uint16_t lane[LANES];

        for (size_t i = 0; i < LANES; i++)
            lane[i] = tables[(at + i) / spread];
        ret[0] = load(lane);
        ret[1] = load(lane + LANES / 2);
    }
}

/* Whole words of @count lanes. */
INLINE void look_up_words(uint64_t *bits, size_t bit_stride, const uint16_t *tables,
                          size_t table_stride, const uint64_t *x, size_t count, unsigned int first,
                          unsigned int digits, size_t spread)
{
    for (size_t at = 0; at < count; at += 64) {
        __m256i plane[2][8];

        byte_planes(plane[0], x + at);
        byte_planes(plane[1], x + at + LANES);
        for (unsigned int d = 0; d < digits; d++) {
            uint64_t word = 0;

            for (size_t half = 0; half < 2; half++) {
                __m256i table[2], digit = plane[half][(first + d) / 2];

                digit = _mm256_srl_epi16(digit, _mm_cvtsi32_si128((first + d) % 2 * 4));
                digit = _mm256_and_si256(digit, _mm256_set1_epi8(15));
                tables_of(table, tables + d * table_stride, at + LANES * half, spread);
                word |= (uint64_t)look_up_lanes(table[0], table[1], digit) << LANES * half;
            }
            bits[d * bit_stride + at / 64] = word;
        }
    }
}

/* The last lanes: tables of zeros stand behind them. */
static void look_up_rest(uint64_t *bits, size_t bit_stride, const uint16_t *tables,
                         size_t table_stride, const uint64_t *x, size_t at, size_t count,
                         unsigned int first, unsigned int digits, size_t spread)
{
    uint64_t lane[64] = {0};

    memcpy(lane, x + at, (count - at) * sizeof(*x));
    for (unsigned int d = 0; d < digits; d++) {
        uint16_t table[64] = {0};

        for (size_t i = at; i < count; i++)
            table[i - at] = tables[d * table_stride + i / spread];
        look_up_words(&bits[d * bit_stride + at / 64], 0, table, 0, lane, 64, first + d, 1, 1);
    }
}

static void look_up(uint64_t *bits, size_t bit_stride, const uint16_t *tables, size_t table_stride,
                    const uint64_t *x, size_t count, unsigned int first, unsigned int digits,
                    size_t spread)
{
    size_t whole = count / 64 * 64;

    if (spread == 1)
        look_up_words(bits, bit_stride, tables, table_stride, x, whole, first, digits, 1);
    else if (spread == 2)
        look_up_words(bits, bit_stride, tables, table_stride, x, whole, first, digits, 2);
    else
        look_up_words(bits, bit_stride, tables, table_stride, x, whole, first, digits, spread);
    if (whole < count)
        look_up_rest(bits, bit_stride, tables, table_stride, x, whole, count, first, digits,
                     spread);
}

void elementwise_fill_avx2(struct kernels *k)
{
    elementwise_loops_avx2(k);
    k->pack = fields_pack_avx2;
    k->unpack = fields_unpack_avx2;
    k->unpack_add = fields_add_avx2;
    k->masked_sum = masked_sum;
    k->look_up = look_up;
}
