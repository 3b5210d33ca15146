#include "transformer/label.h"

/* Columns 0 to n - t - 1 of every distance t < n, or t to n - 1, side by side. */
static uint32_t sides(struct builder *b, uint32_t x, size_t n, bool later)
{
    struct builder_join parts[LABEL_MOST];

    for (size_t t = 1; t < n; t++)
        parts[t - 1] =
            (struct builder_join){build_columns(b, x, later ? t : 0, n - t), later ? -1 : 1, 0};
    return build_join_all(b, parts, n - 1);
}

/* g_ij of every pair, by distance j - i. */
static uint32_t compare_pairs(struct builder *b, uint32_t x, size_t n, int bits)
{
    const int64_t zero = 0;
    uint32_t earlier = sides(b, x, n, false), later = sides(b, x, n, true);
    uint32_t apart = build_open(b, build_add(b, earlier, later));

    x = build_bit_to_ring(b, build_compare(b, apart, bits, 0, &zero, 1));
    return build_reshape(b, x, n * (n - 1) / 2);
}

/* Of every logit the wins at distance @t, whose g are @pairs. @x: any row of n, for zeros. */
static uint32_t wins_at(struct builder *b, uint32_t pairs, uint32_t x, size_t t)
{
    uint32_t zeros = build_columns(b, x, 0, t), first, last;

    first = build_join(b, (struct builder_join[]){{pairs, 1, 0}, {zeros, 0, 0}}, 2);
    last = build_join(b, (struct builder_join[]){{zeros, 0, 0}, {pairs, -1, 1}}, 2);
    return build_add(b, first, last);
}

uint32_t build_labels(struct builder *b, uint32_t logits, int bits)
{
    size_t n = b->plan->labels, at = 0;
    const int64_t all = (int64_t)n - 1;
    uint32_t pairs = compare_pairs(b, logits, n, bits), wins = OPERAND_NONE;

    for (size_t t = 1; t < n; at += n - t, t++) {
        uint32_t more = wins_at(b, build_columns(b, pairs, at, n - t), logits, t);

        wins = t == 1 ? more : build_add(b, wins, more);
    }
    if (n == 2)
        return wins;
    wins = build_compare(b, build_open(b, wins), 65 - __builtin_clzll((uint64_t)all), 0, &all, 1);
    return build_reshape(b, build_bit_to_ring(b, wins), n);
}
