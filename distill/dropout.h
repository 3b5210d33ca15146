/*
 * dropout: which elements are dropped, as a function of a key and the element's number.
 *
 * Nothing is stored: the backward pass asks again and gets the same answer, any thread may ask for
 * any element, and a run that is resumed goes on with what it would have drawn.
 */
#ifndef DISTILL_DROPOUT_H
#define DISTILL_DROPOUT_H

#include "base/base.h"
#include "distill/real.h"

struct dropout {
    uint32_t key;       /* of a place in the network, at a step */
    uint32_t threshold; /* what draws less is dropped; 0: nothing is */
    real scale;         /* of what stays: 1 / (1 - p) */
    uint32_t first;     /* number of the first element, in what it is a part of */
};

static inline struct dropout dropout_none(void)
{
    return (struct dropout){.scale = 1};
}

/** splitmix64's output function: a good hash of 64 bits. */
static inline uint64_t mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/** Drop with probability @p (0 <= p < 1), at place @site of step @step of a run. */
static inline struct dropout dropout_at(double p, uint64_t seed, uint64_t step, uint32_t site)
{
    uint64_t key = mix64(mix64(mix64(seed + 0x9e3779b97f4a7c15) + step) + site);

    return (struct dropout){.key = (uint32_t)(key >> 32),
                            .threshold = (uint32_t)(p * 0x1p32),
                            .scale = (real)(1 / (1 - p))};
}

/** 0, or the scale. 32-bit arithmetic alone, so that compilers make vectors of it ("lowbias32", by
 *  C. Wellons). */
static inline real dropout_factor(struct dropout d, uint32_t index)
{
    uint32_t h = ((d.first + index) * 0x9e3779b9u) ^ d.key;

    h = (h ^ (h >> 16)) * 0x7feb352du;
    h = (h ^ (h >> 15)) * 0x846ca68bu;
    h ^= h >> 16;
    return h < d.threshold ? 0 : d.scale;
}

#endif
