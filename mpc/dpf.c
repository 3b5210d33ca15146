#include "mpc/dpf.h"

#include "base/bytes.h"
#include "base/secret.h"

#include <openssl/evp.h>
#include <stdlib.h>

#define LEVEL_BYTES    sizeof(struct dpf_block)
#define CONTROLS_BYTES 4

/* Where the parts of a key of @depth levels begin. */
#define LEVEL_AT(level)    (DPF_SEED_BYTES + (level)*LEVEL_BYTES)
#define CONTROLS_AT(depth) LEVEL_AT(depth)
#define OUTPUT_AT(depth)   (CONTROLS_AT(depth) + CONTROLS_BYTES)
#define KEY_BYTES(depth)   (OUTPUT_AT(depth) + DPF_LEAF_BYTES)

_Static_assert(KEY_BYTES(DPF_LEVELS_MAX) == DPF_KEY_BYTES_MAX, "the largest key");

/* What a key is like, and its tree. */
struct shape {
    unsigned int lane;       /* bits */
    unsigned int lanes_log2; /* of a leaf */
    unsigned int depth;
    size_t leaf_count;
};

struct dpf {
    const struct dpf_kernels *kernels;
    uint32_t domain;
    struct dpf_cipher cipher;
    struct dpf_block *nodes; /* (leaves of the widest lane + DPF_SPARE_NODES) */
};

static struct shape shape_of(uint32_t domain, unsigned int ring)
{
    struct shape s = {.lane = 8, .lanes_log2 = 6};

    while (s.lane < ring) {
        s.lane *= 2;
        s.lanes_log2--;
    }
    s.leaf_count = (((size_t)domain - 1) >> s.lanes_log2) + 1;
    while ((size_t)1 << s.depth < s.leaf_count)
        s.depth++;
    return s;
}

size_t dpf_key_bytes(uint32_t domain, unsigned int ring)
{
    return KEY_BYTES(shape_of(domain, ring).depth);
}

static size_t nodes_bytes(const struct dpf *d)
{
    return (shape_of(d->domain, DPF_RING_MAX).leaf_count + DPF_SPARE_NODES) * sizeof(*d->nodes);
}

struct dpf *dpf_new(uint32_t domain, const struct dpf_kernels *kernels)
{
    static const uint8_t any_key[DPF_TWEAK_BYTES];
    struct dpf *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->kernels = kernels;
    d->domain = domain;
    d->nodes = secret_alloc(nodes_bytes(d));
    d->cipher.evp = EVP_CIPHER_CTX_new();
    if (!d->nodes || !d->cipher.evp ||
        EVP_EncryptInit_ex(d->cipher.evp, EVP_aes_128_ecb(), NULL, any_key, NULL) != 1) {
        dpf_free(d);
        return NULL;
    }
    return d;
}

void dpf_free(struct dpf *d)
{
    if (!d)
        return;
    secret_free(d->nodes, nodes_bytes(d));
    EVP_CIPHER_CTX_free(d->cipher.evp);
    free(d);
}

void dpf_wipe(struct dpf *d)
{
    secret_wipe(d->nodes, nodes_bytes(d));
}

static struct dpf_block load_block(const uint8_t *from)
{
    return (struct dpf_block){load_le64(from), load_le64(from + 8)};
}

static void store_block(uint8_t *to, const struct dpf_block *b)
{
    store_le64(to, b->low);
    store_le64(to + 8, b->high);
}

static struct dpf_block root_of(const uint8_t *seed, unsigned int party)
{
    struct dpf_block root = load_block(seed);

    root.low = (root.low & ~(uint64_t)1) | party;
    return root;
}

static struct dpf_block xor_masked(struct dpf_block a, struct dpf_block b, uint64_t mask)
{
    return (struct dpf_block){a.low ^ (b.low & mask), a.high ^ (b.high & mask)};
}

/* --- making keys --- */

/* The correction of a level whose path goes to side @bit; the children are party 0's two, then
 * party 1's. The seeds of the side that is left become equal, its control bits too; those of the
 * other side become different. */
static void make_correction(const struct dpf_block children[4], uint64_t bit,
                            struct dpf_block ret[2])
{
    struct dpf_block left = xor_masked(children[0], children[2], UINT64_MAX);
    struct dpf_block right = xor_masked(children[1], children[3], UINT64_MAX);
    struct dpf_block seed = xor_masked(right, xor_masked(left, right, UINT64_MAX), -bit);

    ret[0] = ret[1] = seed;
    ret[0].low = (seed.low & ~(uint64_t)1) | ((left.low ^ bit ^ 1) & 1);
    ret[1].low = (seed.low & ~(uint64_t)1) | ((right.low ^ bit) & 1);
}

/* One level down, in place: @nodes are the two parties', and so they are afterwards. */
static void go_down(struct dpf *d, uint64_t bit, struct dpf_block ret_correction[2])
{
    static const struct dpf_block none[2];
    struct dpf_block *n = d->nodes;
    uint64_t control[2] = {n[0].low & 1, n[1].low & 1};

    d->kernels->children(&d->cipher, n, 2, none);
    make_correction(n, bit, ret_correction);
    for (size_t party = 0; party < 2; party++) {
        struct dpf_block kept[2];

        for (size_t side = 0; side < 2; side++)
            kept[side] = xor_masked(n[2 * party + side], ret_correction[side], -control[party]);
        n[party] = xor_masked(kept[0], xor_masked(kept[0], kept[1], UINT64_MAX), -bit);
    }
}

/* A leaf as its party would have it without a correction, in words of 64 bits. */
static void bare_leaf(struct dpf *d, size_t party, uint64_t ret[DPF_LEAF_BYTES / 8])
{
    static const struct dpf_output bare = {.lane = 64};

    d->kernels->leaves(&d->cipher, d->nodes + party, 1, &bare, ret);
}

/* (-1)^t1 (unit - leaf0 + leaf1) in every lane: what the one control bit that is set adds. */
static void make_output(struct dpf *d, unsigned int lane, uint32_t at, uint8_t ret[DPF_LEAF_BYTES])
{
    uint64_t leaf[2][DPF_LEAF_BYTES / 8], sign = -(d->nodes[1].low & 1);
    const size_t bytes = lane / 8;

    bare_leaf(d, 0, leaf[0]);
    bare_leaf(d, 1, leaf[1]);
    for (size_t i = 0; i < DPF_LEAF_BYTES / bytes; i++) {
        uint64_t a = 0, b = 0, sum;

        memcpy(&a, (const uint8_t *)leaf[0] + i * bytes, bytes);
        memcpy(&b, (const uint8_t *)leaf[1] + i * bytes, bytes);
        sum = (uint64_t)(i == at) - a + b;
        sum = (sum ^ sign) - sign;
        memcpy(ret + i * bytes, &sum, bytes);
    }
    secret_wipe(leaf, sizeof(leaf));
}

void dpf_generate(struct dpf *d, unsigned int ring, const uint8_t tweak[DPF_TWEAK_BYTES],
                  uint32_t id, const uint8_t seeds[2 * DPF_SEED_BYTES], uint8_t *const ret_keys[2])
{
    const struct shape s = shape_of(d->domain, ring);
    uint32_t leaf = id >> s.lanes_log2, controls = 0;
    struct dpf_block correction[2];
    uint8_t *key = ret_keys[0];

    d->kernels->key(&d->cipher, tweak);
    d->nodes[0] = root_of(seeds, 0);
    d->nodes[1] = root_of(seeds + DPF_SEED_BYTES, 1);
    for (unsigned int level = 0; level < s.depth; level++) {
        go_down(d, leaf >> (s.depth - 1 - level) & 1, correction);
        store_block(key + LEVEL_AT(level), &correction[0]);
        controls |= (uint32_t)(correction[1].low & 1) << level;
    }
    store_le32(key + CONTROLS_AT(s.depth), controls);
    make_output(d, s.lane, id & ((1u << s.lanes_log2) - 1), key + OUTPUT_AT(s.depth));
    memcpy(ret_keys[1], key, KEY_BYTES(s.depth));
    for (unsigned int party = 0; party < 2; party++) {
        struct dpf_block root = root_of(seeds + party * DPF_SEED_BYTES, 0);

        store_block(ret_keys[party], &root);
    }
}

/* --- expanding them --- */

/* From the root to the leaves, in place. */
static void grow(struct dpf *d, const struct shape *s, const uint8_t *key)
{
    uint32_t controls = load_le32(key + CONTROLS_AT(s->depth));

    for (unsigned int level = 0; level < s->depth; level++) {
        size_t count = ((s->leaf_count - 1) >> (s->depth - level)) + 1;
        struct dpf_block correction[2];

        correction[0] = correction[1] = load_block(key + LEVEL_AT(level));
        correction[1].low = (correction[1].low & ~(uint64_t)1) | (controls >> level & 1);
        d->kernels->children(&d->cipher, d->nodes, count, correction);
    }
}

int dpf_expand(struct dpf *d, unsigned int ring, const uint8_t tweak[DPF_TWEAK_BYTES],
               unsigned int party, const uint8_t *key, size_t key_bytes, uint64_t *ret)
{
    const struct shape s = shape_of(d->domain, ring);
    struct dpf_output o = {.lane = s.lane, .party = party};
    size_t whole = d->domain >> s.lanes_log2, words = whole << s.lanes_log2;
    uint64_t last[DPF_LEAF_BYTES];

    if (key_bytes != KEY_BYTES(s.depth))
        return -EINVAL;
    d->kernels->key(&d->cipher, tweak);
    d->nodes[0] = root_of(key, party);
    grow(d, &s, key);
    memcpy(o.correction, key + OUTPUT_AT(s.depth), sizeof(o.correction));
    d->kernels->leaves(&d->cipher, d->nodes, whole, &o, ret);
    if (whole < s.leaf_count) {
        d->kernels->leaves(&d->cipher, d->nodes + whole, 1, &o, last);
        memcpy(ret + words, last, (d->domain - words) * sizeof(*ret));
        secret_wipe(last, sizeof(last));
    }
    return 0;
}
