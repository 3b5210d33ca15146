/*
 * dpf: distributed point functions: two short keys, each of which alone says nothing, that two
 * parties expand to shares of a vector of zeros with a single 1, at a place that neither learns.
 * Elements are in Z_2^k, k in 1..64; bits above k are unspecified, as everywhere (mpc/ring.h).
 *
 * The construction is Boyle, Gilboa, Ishai, "Function Secret Sharing: Improvements and Extensions"
 * (CCS 2016), figure 1, with early termination. A node of the tree is 128 bits: a seed of 127 and
 * in bit 0 the control bit. Both parties' nodes are equal off the path to the place, and on it
 * their seeds are unrelated and their control bits differ. Level by level,
 *
 *     child j = H(seed XOR j) XOR control * (correction of the level, side j)            j = 0, 1
 *
 * and a leaf stands for 512 bits of output, in lanes of 8, 16, 32 or 64 bits, the least of them
 * that holds k: lane by lane, modulo 2^lane,
 *
 *     (-1)^party ((H(seed XOR 2) || .. || H(seed XOR 5)) + control * output correction).
 *
 * H(x) = AES_K(x) XOR x (Matyas-Meyer-Oseas) under a public K, the *tweak*. The construction needs
 * of G(seed) = H(seed XOR 0) || H(seed XOR 1) || .. only that it is a pseudorandom generator, which
 * is correlation robustness of H for a secret offset and public inputs; AES_K(x) XOR x has it in
 * the ideal cipher model (Guo, Katz, Wang, Yu, "Efficient and Secure Multiparty Computation from
 * Fixed-Key Block Ciphers", IEEE S&P 2020, section 7.2). Their further sigma(x) serves *circular*
 * correlation robustness, where the offset is added to what comes out too; nothing here does that.
 *
 * The tweak takes the place of one key fixed for ever. Whoever makes it a hash of job, model and
 * row has bound the key to them: expanded under any other tweak the two keys give noise. It also
 * keeps the keys of different rows apart for whoever attacks many at once (Guo, Katz, Wang, Weng,
 * Yu, "Better Concrete Security for Half-Gates Garbling (in the Multi-instance Setting)", CRYPTO
 * 2020, on re-keying), for the price of a key schedule a row.
 *
 * A key is
 *
 *     root seed                 16 bytes, bit 0 zero; the root's control bit is the party
 *     correction of each level  16 bytes, from the root; bit 0 is that of side 0's control bit
 *     controls                  u32; bit d is that of side 1's control bit at level d
 *     output correction         64 bytes, lane after lane
 *
 * and only the root seed differs between the two parties. All of it is secret.
 *
 * A party cannot tell whether a key is well formed, let alone whether the two belong together: any
 * bytes of the right length expand to some vector of the right length. What that does not harm
 * stands in docs/security.md.
 */
#ifndef MPC_DPF_H
#define MPC_DPF_H

#include "mpc/dpf_kernels.h"

#define DPF_DOMAIN_MAX (1u << 24)
#define DPF_RING_MAX   64
#define DPF_SEED_BYTES 16
#define DPF_LEVELS_MAX 21 /* log2(DPF_DOMAIN_MAX elements / 8 to a leaf) */

/** Bytes of a key; the largest that there is. */
size_t dpf_key_bytes(uint32_t domain, unsigned int ring);
#define DPF_KEY_BYTES_MAX                                                                          \
    (DPF_SEED_BYTES + DPF_LEVELS_MAX * sizeof(struct dpf_block) + 4 + DPF_LEAF_BYTES)

struct dpf;

/**
 * What making or expanding keys takes: of @domain elements (1..DPF_DOMAIN_MAX) in any ring. 16
 * bytes for each eight of them. One thread at a time. NULL when there is no memory.
 */
MUST_CHECK struct dpf *dpf_new(uint32_t domain, const struct dpf_kernels *kernels);
void dpf_free(struct dpf *d);

/** Wipe what the last key has left. */
void dpf_wipe(struct dpf *d);

/**
 * The keys of the point @id, below the domain, with payload 1 in Z_2^@ring (1..64 bits), in
 * @ret_keys[party]: dpf_key_bytes() each. @seeds: fresh random bytes for this one pair, half of
 * them for each party. CT: depends on domain, @ring and @tweak.
 */
void dpf_generate(struct dpf *d, unsigned int ring, const uint8_t tweak[DPF_TWEAK_BYTES],
                  uint32_t id, const uint8_t seeds[2 * DPF_SEED_BYTES], uint8_t *const ret_keys[2]);

/**
 * @party's share of the vector: domain elements. -EINVAL, and @ret is untouched, unless @key_bytes
 * is the length of a key. Allocates nothing. CT: depends on domain, @ring and @tweak.
 */
MUST_CHECK int dpf_expand(struct dpf *d, unsigned int ring, const uint8_t tweak[DPF_TWEAK_BYTES],
                          unsigned int party, const uint8_t *key, size_t key_bytes, uint64_t *ret);

#endif
