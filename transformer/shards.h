/*
 * shards: the tensors of a model folder, whichever file they are in.
 *
 * One file, model.safetensors; or, where that is absent, those that model.safetensors.index.json
 * names: {"weight_map": {tensor: file, ...}}, files of the same folder.  Opening holds index and
 * files against each other: every tensor lies in the file that the index says, and nowhere else,
 * and no file has one that the index does not know. All messages name the file.
 */
#ifndef TRANSFORMER_SHARDS_H
#define TRANSFORMER_SHARDS_H

#include "transformer/safetensors.h"

#define SHARDS_MAX             256
#define SHARDS_INDEX_BYTES_MAX (UINT64_C(1) << 24)

struct shards;

/**
 * Open the weights in @folder and check all headers. -ENOENT: no such file, or one that the index
 * names is missing; -EINVAL, -EFBIG: what is wrong. The caller closes.
 */
MUST_CHECK int shards_open(const char *folder, struct shards **ret, struct err *err);

/** NULL is nothing. */
void shards_close(struct shards *s);

/** Whether @folder has weights to open at all: 0, or -ENOENT and what is missing. */
MUST_CHECK int shards_exist(const char *folder, struct err *err);

/** How many tensors in all, and each of them, ordered by name. */
size_t shards_count(const struct shards *s);
const struct safetensors_entry *shards_at(const struct shards *s, size_t index);

/** Number of the tensor called @name, or shards_count(). */
size_t shards_find(const struct shards *s, const char *name);

/** safetensors_read() of tensor number @index. */
MUST_CHECK int shards_read(const struct shards *s, size_t index, float ret[], struct err *err);

/** The one file, or the index: for messages. */
const char *shards_path(const struct shards *s);

#endif
