#include "transformer/guard.h"

#include <stdlib.h>
#include <string.h>

/* A threshold may be off by as much of itself. */
#define SLACK_BITS 4

/* Distances from one end: factor x + add is no less than 0. */
struct guard_lane {
    uint32_t wire;
    int64_t factor, end; /* of factor x, the least */
    size_t guard, cols;  /* cols: elements of one sequence */
};

static void add_lane(struct builder *b, uint32_t x, int64_t factor, int64_t least)
{
    struct guard_lane lane = {.wire = x, .factor = factor, .end = least};
    char place[PLACE_TEXT_MAX];
    struct guard_lane *more;
    size_t count = b->lane_count;

    if (b->rc < 0)
        return;
    place_text(&b->at, place);
    b->rc = plan_add_guard(b->plan, place, &lane.guard, b->err);
    if (b->rc < 0)
        return;
    if (!(count & (count - 1))) {
        more = realloc(b->lanes, (count ? 2 * count : 1) * sizeof(*more));
        if (!more) {
            b->rc = err_set(b->err, -ENOMEM, "no memory for the plan");
            return;
        }
        b->lanes = more;
    }
    lane.cols = wire_elements(&b->variant->wires[x]) / b->variant->batch;
    b->lanes[b->lane_count++] = lane;
}

void build_guard(struct builder *b, uint32_t x, int64_t min, int64_t end)
{
    if (min != GUARD_NO_MIN)
        add_lane(b, x, 1, min);
    if (end != GUARD_NO_END)
        add_lane(b, x, -1, 1 - end);
}

/* Bits that no threshold needs. */
static int spare_bits(const struct builder *b)
{
    int bits = b->plan->ring - 8 + SLACK_BITS;

    for (size_t i = 0; i < b->lane_count; i++) {
        int64_t end = b->lanes[i].end;
        uint64_t far = (uint64_t)(end < 0 ? -end : end);

        bits = MIN(bits, 63 - __builtin_clzll(far | 1));
    }
    return bits - SLACK_BITS;
}

/*
 * The bits of every distance that is no less than 0. A distance that is cut by s bits counts as 0
 * from 1 - 2^s on: so that much is taken from it before.
 */
static uint32_t compare(struct builder *b, struct builder_join *parts)
{
    int shift = spare_bits(b);
    const int64_t zero = 0;
    uint32_t x;

    for (size_t i = 0; i < b->lane_count; i++)
        parts[i] = (struct builder_join){
            .wire = b->lanes[i].wire,
            .factor = b->lanes[i].factor,
            .add = -b->lanes[i].end - (shift > 0 ? ((int64_t)1 << shift) - 1 : 0),
        };
    x = build_join_all(b, parts, b->lane_count);
    x = shift > 0 ? build_cut(b, x, shift, 0) : build_open(b, x);
    return build_bit_to_ring(b, build_compare(b, x, build_bits(b, x), 0, &zero, 1));
}

/* How many of columns @at to @at + @cols - 1 of every sequence, of @all, are not there. */
static struct builder_join count(struct builder *b, uint32_t bits, size_t at, size_t cols,
                                 size_t all)
{
    uint32_t x = b->rc < 0 ? OPERAND_NONE : build_rows(b, bits, b->variant->batch, cols, at, all);

    return (struct builder_join){build_row_sum(b, x), -1, (int64_t)cols};
}

uint32_t build_outside(struct builder *b)
{
    size_t guards = b->plan->guard_count, all = 0, at = 0, lane = 0;
    struct builder_join *parts;
    uint32_t bits, out;

    if (b->rc < 0 || !b->lane_count)
        return OPERAND_NONE;
    parts = calloc(MAX(b->lane_count, guards), sizeof(*parts));
    if (!parts) {
        b->rc = err_set(b->err, -ENOMEM, "no memory for the plan");
        return OPERAND_NONE;
    }
    for (size_t i = 0; i < b->lane_count; i++)
        all += b->lanes[i].cols;
    bits = compare(b, parts);
    for (size_t g = 0; b->rc == 0 && g < guards; g++) {
        size_t cols = 0;

        /* Places come one after the other, and so do the lanes of one. */
        for (; lane < b->lane_count && b->lanes[lane].guard == g; lane++)
            cols += b->lanes[lane].cols;
        if (!cols) {
            b->rc = err_set(b->err, -EINVAL, "variants with different guards");
            break;
        }
        parts[g] = count(b, bits, at, cols, all);
        at += cols;
    }
    out = b->rc < 0 ? OPERAND_NONE : build_join_all(b, parts, guards);
    free(parts);
    return out;
}
