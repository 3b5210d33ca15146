#include "base/histogram.h"

/* Below 8 a bucket a value; from there on eight a power of 2. */
static size_t bucket_of(uint64_t ns)
{
    unsigned int power, shift;

    ns = MIN(ns, ((uint64_t)1 << 40) - 1);
    if (ns < 8)
        return (size_t)ns;
    power = 63 - (unsigned int)__builtin_clzll(ns);
    shift = power - 3;
    return (size_t)8 * (power - 3) + (size_t)(ns >> shift);
}

static uint64_t bound_of(size_t bucket)
{
    size_t power = bucket / 8 - 1; /* above 2^3 */

    return bucket < 16 ? bucket : ((uint64_t)(bucket % 8 + 9) << power) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->bucket[bucket_of(ns)]++;
    h->count++;
    h->sum_ns += ns;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    to->count += from->count;
    to->sum_ns += from->sum_ns;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->bucket[i] += from->bucket[i];
}

uint64_t histogram_quantile(const struct histogram *h, unsigned int permille)
{
    uint64_t rank = (h->count * permille + 999) / 1000, seen = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS && h->count > 0; i++) {
        seen += h->bucket[i];
        if (seen >= rank && seen > 0)
            return bound_of(i);
    }
    return 0;
}

uint64_t histogram_below(const struct histogram *h, unsigned int power)
{
    size_t end = MIN((size_t)8 * (power - 2), HISTOGRAM_BUCKETS);
    uint64_t count = 0;

    for (size_t i = 0; i < end; i++)
        count += h->bucket[i];
    return count;
}
