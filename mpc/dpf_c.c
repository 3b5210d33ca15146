/* The kernels of distributed point functions without any CPU feature, over OpenSSL's AES. */
#include "mpc/dpf_lanes.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* Blocks in one call of the cipher. */
#define WIDE 256

/* A cipher that was keyed once cannot fail later. */
static void must(int ok)
{
    if (ok != 1)
        abort();
}

static void key(struct dpf_cipher *c, const uint8_t bytes[DPF_TWEAK_BYTES])
{
    must(EVP_EncryptInit_ex(c->evp, EVP_aes_128_ecb(), NULL, bytes, NULL));
}

/* H of @count blocks, at most WIDE. */
static void hash(const struct dpf_cipher *c, const struct dpf_block *x, size_t count,
                 struct dpf_block *ret)
{
    int done;

    must(EVP_EncryptUpdate(c->evp, (void *)ret, &done, (const void *)x, (int)(count * sizeof(*x))));
    for (size_t i = 0; i < count; i++) {
        ret[i].low ^= x[i].low;
        ret[i].high ^= x[i].high;
    }
}

/* @count inputs of H for each node: its seed XOR @first, @first + 1, .. */
static void inputs(const struct dpf_block *nodes, size_t nodes_count, uint64_t first, size_t count,
                   struct dpf_block *ret)
{
    for (size_t i = 0; i < nodes_count; i++)
        for (size_t j = 0; j < count; j++, ret++) {
            ret->low = (nodes[i].low & ~(uint64_t)1) ^ (first + j);
            ret->high = nodes[i].high;
        }
}

/* From the last node to the first, since the children of the first lie on those behind it. */
static void children(const struct dpf_cipher *c, struct dpf_block *nodes, size_t count,
                     const struct dpf_block correction[2])
{
    struct dpf_block x[WIDE], y[WIDE];

    while (count) {
        size_t part = (count - 1) % (WIDE / 2) + 1;

        count -= part;
        inputs(nodes + count, part, 0, 2, x);
        hash(c, x, 2 * part, y);
        for (size_t i = part; i-- > 0;) {
            uint64_t mask = -(nodes[count + i].low & 1);

            for (size_t j = 0; j < 2; j++) {
                struct dpf_block *child = &nodes[2 * (count + i) + j];

                child->low = y[2 * i + j].low ^ (correction[j].low & mask);
                child->high = y[2 * i + j].high ^ (correction[j].high & mask);
            }
        }
    }
}

static void leaves(const struct dpf_cipher *c, const struct dpf_block *nodes, size_t count,
                   const struct dpf_output *o, uint64_t *ret)
{
    struct dpf_block x[WIDE], y[WIDE];

    while (count) {
        size_t part = MIN(count, (size_t)WIDE / DPF_LEAF_BLOCKS);

        inputs(nodes, part, 2, DPF_LEAF_BLOCKS, x);
        hash(c, x, part * DPF_LEAF_BLOCKS, y);
        for (size_t i = 0; i < part; i++, ret += DPF_LEAF_BYTES * 8 / o->lane)
            dpf_finish(y + i * DPF_LEAF_BLOCKS, nodes[i].low & 1, o, ret);
        nodes += part;
        count -= part;
    }
}

const struct dpf_kernels dpf_kernels_c = {
    .isa = "c", .key = key, .children = children, .leaves = leaves};
