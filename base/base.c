#include "base/base.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int err_set(struct err *err, int code, const char *format, ...)
{
    if (err && !err->text[0]) {
        va_list args;

        va_start(args, format);
        vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
    }
    return code;
}

const char *err_text(const struct err *err, int code)
{
    return err && err->text[0] ? err->text : strerror(code < 0 ? -code : code);
}

uint64_t time_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t time_wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

int size_mul(size_t count, size_t size, size_t *ret_bytes)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        return -EOVERFLOW;
    *ret_bytes = bytes;
    return 0;
}
