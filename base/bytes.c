#include "base/bytes.h"

#include <stdlib.h>

void reader_init(struct reader *r, const void *bytes, size_t count)
{
    *r = (struct reader){.at = bytes, .left = count};
}

bool reader_ok(const struct reader *r)
{
    return !r->failed;
}

bool reader_done(const struct reader *r)
{
    return !r->failed && r->left == 0;
}

const uint8_t *read_bytes(struct reader *r, size_t count)
{
    const uint8_t *at = r->at;

    if (r->failed || count > r->left) {
        r->failed = true;
        return NULL;
    }
    r->at += count;
    r->left -= count;
    return at;
}

uint8_t read_u8(struct reader *r)
{
    const uint8_t *p = read_bytes(r, 1);

    return p ? *p : 0;
}

uint16_t read_u16(struct reader *r)
{
    const uint8_t *p = read_bytes(r, 2);

    return p ? load_le16(p) : 0;
}

uint32_t read_u32(struct reader *r)
{
    const uint8_t *p = read_bytes(r, 4);

    return p ? load_le32(p) : 0;
}

uint64_t read_u64(struct reader *r)
{
    const uint8_t *p = read_bytes(r, 8);

    return p ? load_le64(p) : 0;
}

void read_string(struct reader *r, char *ret, size_t size)
{
    size_t count = read_u16(r);
    const uint8_t *p;

    ret[0] = 0;
    if (count >= size) {
        r->failed = true;
        return;
    }
    p = read_bytes(r, count);
    if (!p || memchr(p, 0, count)) {
        r->failed = true;
        return;
    }
    memcpy(ret, p, count);
    ret[count] = 0;
}

void writer_free(struct writer *w)
{
    free(w->bytes);
    *w = (struct writer){0};
}

static bool reserve(struct writer *w, size_t count)
{
    size_t need, capacity;
    uint8_t *bytes;

    if (w->failed || __builtin_add_overflow(w->count, count, &need)) {
        w->failed = true;
        return false;
    }
    if (need <= w->capacity)
        return true;
    capacity = MAX(need, 2 * w->capacity);
    /* Not realloc(): what it leaves behind may be secret. */
    bytes = malloc(capacity);
    if (!bytes) {
        w->failed = true;
        return false;
    }
    if (w->bytes) {
        memcpy(bytes, w->bytes, w->count);
        explicit_bzero(w->bytes, w->count);
        free(w->bytes);
    }
    w->bytes = bytes;
    w->capacity = capacity;
    return true;
}

void write_bytes(struct writer *w, const void *bytes, size_t count)
{
    if (!count || !reserve(w, count))
        return;
    memcpy(w->bytes + w->count, bytes, count);
    w->count += count;
}

void write_u8(struct writer *w, uint8_t v)
{
    write_bytes(w, &v, sizeof(v));
}

void write_u16(struct writer *w, uint16_t v)
{
    write_bytes(w, &v, sizeof(v));
}

void write_u32(struct writer *w, uint32_t v)
{
    write_bytes(w, &v, sizeof(v));
}

void write_u64(struct writer *w, uint64_t v)
{
    write_bytes(w, &v, sizeof(v));
}

void write_string(struct writer *w, const char *text)
{
    size_t count = strlen(text);

    if (count > UINT16_MAX) {
        w->failed = true;
        return;
    }
    write_u16(w, (uint16_t)count);
    write_bytes(w, text, count);
}

void hex_encode(const uint8_t *bytes, size_t count, char *ret)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret[2 * count] = 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex_decode(const char *text, uint8_t *ret, size_t count)
{
    if (strlen(text) != 2 * count)
        return -EINVAL;
    for (size_t i = 0; i < 2 * count; i++)
        if (hex_digit(text[i]) < 0)
            return -EINVAL;
    for (size_t i = 0; i < count; i++)
        ret[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return 0;
}
