/*
 * Byte strings from outside and for outside: little-endian loads and stores, and a reader and a
 * writer that cannot run over.  Every parser of a file or a message goes through these.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/base.h"

#include <string.h>

static inline uint16_t load_le16(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t load_le32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t load_le64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void store_le32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline void store_le64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "loads and stores assume little endian");

/*
 * A reader of @left bytes at @at.  A read past the end sets @failed, yields zeros (or NULL) and
 * moves nothing; a parser may therefore read a whole record and ask reader_ok() once.
 */
struct reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

void reader_init(struct reader *r, const void *bytes, size_t count);
bool reader_ok(const struct reader *r);

/** True when nothing failed and nothing is left. */
bool reader_done(const struct reader *r);

uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);

/** @count bytes in place, valid as long as the buffer; NULL past the end. */
const uint8_t *read_bytes(struct reader *r, size_t count);

/** u16 length and that many bytes, copied to @ret with a NUL; fails when longer than @size - 1
 *  or when a NUL stands inside. */
void read_string(struct reader *r, char *ret, size_t size);

/*
 * A growing buffer.  An allocation failure sets @failed; later writes do nothing.  The owner frees
 * it with writer_free() and may hand @bytes over by setting it to NULL.
 */
struct writer {
    uint8_t *bytes;
    size_t count, capacity;
    bool failed;
};

void writer_free(struct writer *w);
void write_bytes(struct writer *w, const void *bytes, size_t count);
void write_u8(struct writer *w, uint8_t v);
void write_u16(struct writer *w, uint16_t v);
void write_u32(struct writer *w, uint32_t v);
void write_u64(struct writer *w, uint64_t v);
void write_string(struct writer *w, const char *text);

/** Lower-case hexadecimal of @count bytes and a NUL: @ret holds 2 * @count + 1. */
void hex_encode(const uint8_t *bytes, size_t count, char *ret);

/** Exactly @count bytes from 2 * @count hexadecimal digits; -EINVAL otherwise. */
MUST_CHECK int hex_decode(const char *text, uint8_t *ret, size_t count);

#endif
