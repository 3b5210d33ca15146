/* The reference of every kernel but the product's. */
#include "mpc/kernels.h"

#include <string.h>

static void pack(uint8_t *to, const uint64_t *from, size_t count, unsigned int ring)
{
    size_t bytes = ring / 8;

    for (size_t i = 0; i < count; i++, to += bytes)
        memcpy(to, &from[i], bytes);
}

static void unpack(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring)
{
    size_t bytes = ring / 8;

    for (size_t i = 0; i < count; i++, from += bytes) {
        to[i] = 0;
        memcpy(&to[i], from, bytes);
    }
}

static void unpack_add(uint64_t *to, const uint8_t *from, size_t count, unsigned int ring)
{
    size_t bytes = ring / 8;

    for (size_t i = 0; i < count; i++, from += bytes) {
        uint64_t v = 0;

        memcpy(&v, from, bytes);
        to[i] += v;
    }
}

void kernels_fill_c(struct kernels *k)
{
    *k = (struct kernels){
        .pack = pack,
        .unpack = unpack,
        .unpack_add = unpack_add,
    };
}
