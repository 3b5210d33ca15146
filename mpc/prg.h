/*
 * prg: the streams that a seed of 32 bytes stands for.
 *
 * AES-128 in counter mode. Key and nonce are SHA-256("mpcformer prg 1" || seed): 16 bytes of key,
 * 8 bytes of nonce. Block b of the stream (index, purpose) is
 *
 *     AES(key, be64(nonce XOR (index << 32 | purpose)) || be64(b)),
 *
 * so that streams never overlap and any place of any stream can be reached at once.
 *
 * A prg does not change once it is made: any number of threads may draw from one at a time.
 */
#ifndef MPC_PRG_H
#define MPC_PRG_H

#include "base/base.h"

#define PRG_SEED_BYTES  32
#define PRG_BLOCK_BYTES 16

struct prg;

/** The ciphers: all give the same streams. */
enum prg_cipher {
    PRG_EVP, /* OpenSSL's: where the CPU has none of the others; allocates in every call */
    PRG_AESNI,
    PRG_VAES256,
    PRG_VAES512,
    PRG_CIPHERS,
};

/** Whether this CPU can run @cipher, and what people call it. */
bool prg_cipher_here(enum prg_cipher cipher);
const char *prg_cipher_name(enum prg_cipher cipher);

/** The fastest cipher that is here. */
enum prg_cipher prg_cipher_best(void);

/** NULL when there is no memory. @seed is not kept. */
MUST_CHECK struct prg *prg_new(const uint8_t seed[PRG_SEED_BYTES]);

/** The same with a cipher of the caller's choice, which must be here. */
MUST_CHECK struct prg *prg_new_with(const uint8_t seed[PRG_SEED_BYTES], enum prg_cipher cipher);
void prg_free(struct prg *prg);

/**
 * Words @first to @first + @count - 1 of stream (@index, @purpose), little endian, 8 bytes an
 * element, cut by whoever looks. @first is even: a block starts there. No byte past the last word
 * is touched. CT: timing depends on @count.
 */
void prg_words(const struct prg *prg, uint32_t index, uint32_t purpose, size_t first, uint64_t *ret,
               size_t count);

#endif
