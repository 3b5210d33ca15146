/*
 * dpf_kernels: the inner loops of mpc/dpf.h, one table a CPU feature. Portable C over OpenSSL is
 * the truth; all are bit-exact. CT: timing and addresses depend on counts and on the tweak only.
 */
#ifndef MPC_DPF_KERNELS_H
#define MPC_DPF_KERNELS_H

#include "base/base.h"

#define DPF_TWEAK_BYTES 16
#define DPF_LEAF_BLOCKS 4
#define DPF_LEAF_BYTES  64
#define DPF_ROUND_KEYS  11

/* Nodes behind the last that a kernel may read, and write with no meaning. */
#define DPF_SPARE_NODES 32

/* A node: seed, and control bit in bit 0 of @low. */
struct dpf_block {
    uint64_t low, high;
} __attribute__((aligned(16)));

/* AES-128 under a public key: for each table as it likes it. */
struct dpf_cipher {
    struct dpf_block round_keys[DPF_ROUND_KEYS];
    struct evp_cipher_ctx_st *evp;
};

struct dpf_output {
    struct dpf_block correction[DPF_LEAF_BLOCKS];
    unsigned int lane; /* bits: 8, 16, 32, 64 */
    unsigned int party;
};

struct dpf_kernels {
    const char *isa;

    void (*key)(struct dpf_cipher *c, const uint8_t key[DPF_TWEAK_BYTES]);

    /** Put the 2 * @count children in the place of @count nodes. @correction: of each side. */
    void (*children)(const struct dpf_cipher *c, struct dpf_block *nodes, size_t count,
                     const struct dpf_block correction[2]);

    /** The output of @count leaves, @o->lane bits to a word: 512 / @o->lane words each. */
    void (*leaves)(const struct dpf_cipher *c, const struct dpf_block *nodes, size_t count,
                   const struct dpf_output *o, uint64_t *ret);
};

enum dpf_feature {
    DPF_AESNI = 1u << 0, /* and AVX2 */
    DPF_VAES = 1u << 1,
};

/** What this CPU has, as a set of enum dpf_feature. */
unsigned int dpf_cpu_features(void);

/** The best table for a set of features (masked for tests); for this CPU. */
const struct dpf_kernels *dpf_kernels_choose(unsigned int features);
const struct dpf_kernels *dpf_kernels_here(void);

/* One a file; for dpf_kernels_choose() only. */
extern const struct dpf_kernels dpf_kernels_c, dpf_kernels_aesni, dpf_kernels_vaes;

#endif
