#include "tests/random_fixed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 1;

void random_fixed_restart(uint64_t seed)
{
    state = seed;
}

uint64_t random_fixed_seed(void)
{
    const char *text = getenv("TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 1;

    printf("# TEST_SEED=%" PRIu64 "\n", seed);
    random_fixed_restart(seed);
    return seed;
}

/* splitmix64: good enough to look random to every test here, and secret from nobody. */
uint64_t random_word(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

int64_t random_in(int64_t low, int64_t high)
{
    uint64_t span = (uint64_t)high - (uint64_t)low + 1;

    return (int64_t)((uint64_t)low + (span ? random_word() % span : random_word()));
}

size_t random_count(size_t low, size_t high)
{
    return (size_t)random_in((int64_t)low, (int64_t)high);
}

void random_bytes(void *ret, size_t bytes)
{
    uint8_t *at = ret;

    while (bytes) {
        uint64_t word = random_word();
        size_t n = MIN(bytes, sizeof(word));

        memcpy(at, &word, n);
        at += n;
        bytes -= n;
    }
}
