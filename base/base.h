/*
 * base: what every room needs and none owns.
 *
 * Errors.  Every function returns 0 or a negative errno.  A function that can say more takes a
 * `struct err *` (may be NULL) and fills it through err_set(), which returns its own code, so that
 * one line reports and returns:
 *
 *     return err_set(err, -EINVAL, "%s: header says %" PRIu64 " bytes, the file has %zu", ...);
 *
 * The text says what is wrong and what to do, for a person, without a trailing newline.  The first
 * error wins: err_set() on an err that is already set keeps the older text.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)       ((a) < (b) ? (a) : (b))
#define MAX(a, b)       ((a) > (b) ? (a) : (b))

#define ERR_TEXT_MAX 512

struct err {
    char text[ERR_TEXT_MAX];
};

/** Keep the text in @err (if not NULL and not set yet) and return @code unchanged. */
int err_set(struct err *err, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/** The text of @err, or strerror(-@code) when nobody said more. */
const char *err_text(const struct err *err, int code);

/** Monotonic time. */
uint64_t time_ns(void);

/** Wall time in milliseconds since 1970: only for messages and certificates. */
uint64_t time_wall_ms(void);

/** @count * @size, or -EOVERFLOW with @ret_bytes untouched. */
MUST_CHECK int size_mul(size_t count, size_t size, size_t *ret_bytes);

#endif
