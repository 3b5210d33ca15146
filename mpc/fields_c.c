/* The reference. */
#include "mpc/elementwise.h"

/* Wide enough for a field of 64 bits behind 7 that wait. */
__extension__ typedef unsigned __int128 wide;

void fields_pack_c(uint8_t *to, const uint64_t *from, size_t count, unsigned int bits)
{
    wide held = 0;
    unsigned int held_bits = 0;
    uint64_t mask = ring_mask(bits);

    for (size_t i = 0; i < count; i++) {
        held |= (wide)(from[i] & mask) << held_bits;
        held_bits += bits;
        while (held_bits >= 8) {
            *to++ = (uint8_t)held;
            held >>= 8;
            held_bits -= 8;
        }
    }
    if (held_bits)
        *to = (uint8_t)held;
}

void fields_unpack_c(uint64_t *to, const uint8_t *from, size_t count, unsigned int bits)
{
    wide held = 0;
    unsigned int held_bits = 0;
    uint64_t mask = ring_mask(bits);

    for (size_t i = 0; i < count; i++) {
        while (held_bits < bits) {
            held |= (wide)*from++ << held_bits;
            held_bits += 8;
        }
        to[i] = (uint64_t)held & mask;
        held >>= bits;
        held_bits -= bits;
    }
}
