/*
 * prg_aes: AES-128 in counter mode, one implementation a CPU feature; for prg.c and its test.
 */
#ifndef MPC_PRG_AES_H
#define MPC_PRG_AES_H

#include "mpc/prg.h"

#define PRG_AES_ROUNDS 10

struct prg_aes_key {
    uint8_t round[PRG_AES_ROUNDS + 1][PRG_BLOCK_BYTES]; /* the first is the key itself */
};

struct prg_aes {
    const char *name;

    /** Fill in the rounds past the first. CT: constant. */
    void (*expand)(struct prg_aes_key *key);

    /**
     * @bytes of the cipher of be64(@high) || be64(@block), be64(@high) || be64(@block + 1), ...;
     * no byte past them is touched. CT: timing depends on @bytes.
     */
    void (*fill)(const struct prg_aes_key *key, uint64_t high, uint64_t block, uint8_t *ret,
                 size_t bytes);
};

/* prg_aes.c, once a feature. */
extern const struct prg_aes prg_aesni, prg_vaes256, prg_vaes512;

#endif
