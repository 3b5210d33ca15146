/*
 * prg: the streams that a seed of 32 bytes stands for.
 *
 * AES-128 in counter mode. Key and nonce are SHA-256("mpcformer prg 1" || seed): 16 bytes of key,
 * 8 bytes of nonce. Block b of the stream (index, purpose) is
 *
 *     AES(key, be64(nonce XOR (index << 32 | purpose)) || be64(b)),
 *
 * so that streams never overlap and any place of any stream can be reached at once.
 */
#ifndef MPC_PRG_H
#define MPC_PRG_H

#include "base/base.h"

#define PRG_SEED_BYTES  32
#define PRG_BLOCK_BYTES 16

struct prg;

/** NULL when there is no memory. @seed is not kept. */
MUST_CHECK struct prg *prg_new(const uint8_t seed[PRG_SEED_BYTES]);
void prg_free(struct prg *prg);

/** The first @bytes of stream (@index, @purpose). CT: timing depends on @bytes. */
void prg_bytes(struct prg *prg, uint32_t index, uint32_t purpose, void *ret, size_t bytes);

/** The first @count little-endian words of the stream: 8 bytes an element, cut by whoever looks. */
void prg_words(struct prg *prg, uint32_t index, uint32_t purpose, uint64_t *ret, size_t count);

#endif
