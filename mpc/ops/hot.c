#include "mpc/ops/hot.h"

int hot_need_rows(const struct plan *plan, const struct wire *x, int64_t number, int64_t shift,
                  struct err *err)
{
    if (number < 0 || (uint64_t)number >= plan->table_count)
        return err_set(err, -EINVAL, "it names table %" PRId64 " of %zu", number,
                       plan->table_count);
    if (shift < 0 || shift > RING_BITS_MAX ||
        shift + plan->tables[number].bits > (x->cut ? x->cut : x->ring))
        return err_set(err, -EINVAL, "an index of %u bits from bit %" PRId64 " on",
                       plan->tables[number].bits, shift);
    if (wire_elements(x) > PLAN_DIM_MAX)
        return err_set(err, -EINVAL, "%zu lookups at once", wire_elements(x));
    return 0;
}

/* All ones when a == b, else zero, without a branch. */
static uint64_t equal_mask(uint64_t a, uint64_t b)
{
    uint64_t x = a ^ b;

    return ((x | (0 - x)) >> 63) - 1;
}

uint64_t hot_deal(uint64_t *hot, size_t words, uint64_t p)
{
    uint64_t one = 1ull << (p & 63), seen = 0;

    for (size_t w = 0; w < words; w++) {
        uint64_t here = equal_mask(w, p >> 6) & one;

        seen |= hot[w] & here;
        hot[w] ^= here;
    }
    return 2 * (seen >> (p & 63)) - 1;
}

void hot_sum(const struct walk *w, const struct table *table, const uint64_t *hot, uint64_t v,
             unsigned int party, unsigned int ring, uint64_t *ret, size_t stride)
{
    uint64_t rows = 1ull << table->bits, sum[PLAN_TABLE_COLS_MAX] = {0};
    size_t first = rows - 1 - (v & (rows - 1));

    if (table->pairs && ring + table->bits <= 32) {
        w->kernels->masked_sum(sum, table->pairs + first, hot, rows, 1);
        sum[1] = sum[0] >> 32;
        sum[0] &= UINT32_MAX;
    } else {
        w->kernels->masked_sum(sum, (const uint64_t *)table->backward + first * table->cols, hot,
                               rows, table->cols);
    }
    for (size_t c = 0; c < table->cols; c++)
        ret[c * stride] = party == 0 ? sum[c] : 0 - sum[c];
}
