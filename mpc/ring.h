/*
 * ring: arithmetic in Z_2^l, l a multiple of 8 in 32..64.
 *
 * An element is a uint64_t whose bits above l are unspecified: sums and products modulo 2^64 are
 * right modulo 2^l as they stand. The bits are cut only where they are looked at (truncation,
 * comparison) and on the wire, where an element takes exactly l/8 bytes, little endian.
 */
#ifndef MPC_RING_H
#define MPC_RING_H

#include "base/base.h"

#define RING_BITS_MIN 32
#define RING_BITS_MAX 64

static inline bool ring_valid(unsigned int ring)
{
    return ring >= RING_BITS_MIN && ring <= RING_BITS_MAX && ring % 8 == 0;
}

/** A ring that the input or a weight may have of its own: whole bytes, fewer than a plan's too. */
static inline bool ring_narrow_valid(unsigned int ring)
{
    return ring >= 16 && ring <= RING_BITS_MAX && ring % 8 == 0;
}

/** The low @bits ones; @bits in 1..64. */
static inline uint64_t ring_mask(unsigned int bits)
{
    return UINT64_MAX >> (64 - bits);
}

/** The signed value of the low @bits of @v. */
static inline int64_t ring_signed(uint64_t v, unsigned int bits)
{
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/** Bytes that @count elements take on the wire and on a tape. */
static inline size_t ring_bytes(size_t count, unsigned int ring)
{
    return count * (ring / 8);
}

/** Bytes of @count fields of @bits each, packed without gaps, zero-padded to a whole byte. */
static inline size_t ring_field_bytes(size_t count, unsigned int bits)
{
    return (count * bits + 7) / 8;
}

/** 64-bit words that hold @count bits. */
static inline size_t ring_bit_words(size_t count)
{
    return (count + 63) / 64;
}

/**
 * Packed fields of 1..63 bits (the truncation's corrections), least significant bit first.
 * CT: timing depends on @count and @bits.
 */
void ring_pack_fields(uint8_t *to, const uint64_t *from, size_t count, unsigned int bits);
void ring_unpack_fields(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits);

#endif
