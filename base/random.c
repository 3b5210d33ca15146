#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *ret, size_t bytes)
{
    uint8_t *at = ret;

    while (bytes) {
        ssize_t n = getrandom(at, MIN(bytes, (size_t)1 << 20), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fprintf(stderr, "getrandom failed: %d; no secret can be drawn on this kernel\n", errno);
            abort();
        }
        at += n;
        bytes -= (size_t)n;
    }
}
