/*
 * safetensors: one file of named tensors, read without trusting it.
 *
 * The file is: u64 length of the header, little endian; the header, a JSON object
 * {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": ...}; the data.  Opening
 * checks all of it before anyone reads a value: the header lies within the file and within its
 * limit, each entry's offsets agree with its shape and type, and the entries together cover the
 * data exactly once, with no overlap, no hole and no byte left over.  Values are read with pread(),
 * never mapped, so that a file that shrinks meanwhile is an error and not a signal.
 *
 * Every message names the file, and the tensor where there is one.
 */
#ifndef TRANSFORMER_SAFETENSORS_H
#define TRANSFORMER_SAFETENSORS_H

#include "base/base.h"

#define SAFETENSORS_FILE_BYTES_MAX   (UINT64_C(1) << 34)
#define SAFETENSORS_HEADER_BYTES_MAX (UINT64_C(1) << 24)
#define SAFETENSORS_TENSORS_MAX      65536
#define SAFETENSORS_NAME_BYTES_MAX   255
#define SAFETENSORS_RANK_MAX         8

struct safetensors;

/** One tensor, row-major. Owned by the file it came from. */
struct safetensors_entry {
    const char *name;  /* printable ASCII, at most SAFETENSORS_NAME_BYTES_MAX */
    const char *dtype; /* as the file says it: "F32", "I64", ... */
    size_t rank;       /* 0 is a scalar */
    size_t shape[SAFETENSORS_RANK_MAX];
    size_t elements;     /* product of shape */
    uint64_t begin, end; /* bytes, from the start of the data */
};

/**
 * Open @path and check its whole header. -EINVAL for anything that the format does not allow,
 * -EFBIG over a limit above, else what the system says. The caller closes.
 */
MUST_CHECK int safetensors_open(const char *path, struct safetensors **ret_file, struct err *err);

/** NULL is nothing. */
void safetensors_close(struct safetensors *s);

/** How many tensors, and each of them, ordered by name. */
size_t safetensors_count(const struct safetensors *s);
const struct safetensors_entry *safetensors_at(const struct safetensors *s, size_t index);

/** The tensor called @name, or NULL. */
const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name);

/**
 * All values of @entry as float: @ret holds entry->elements. F32 as it is, F16 and BF16 exactly.
 * -ENOTSUP for another type, -EINVAL at the first NaN or infinity, -EIO when the file has shrunk;
 * @ret is then partly written.
 * CT: reads in order whatever the values are; a refusal tells where the bad value stands.
 */
MUST_CHECK int safetensors_read(const struct safetensors *s, const struct safetensors_entry *entry,
                                float ret[], struct err *err);

#endif
