/*
 * builder: one variant of a plan, written down operation by operation, so that the compiler reads
 * like the formulas it follows.
 *
 * Every function appends one operation and returns the wire that comes out. The first failure is
 * kept in @rc and in @err; whatever follows it appends nothing and returns OPERAND_NONE, so that a
 * caller asks once, at the end. Each operation is noted with the place in the model it belongs to,
 * for messages to people.
 */
#ifndef TRANSFORMER_BUILDER_H
#define TRANSFORMER_BUILDER_H

#include "mpc/op.h"

/* Where in the model an operation stands. */
struct place {
    const char *what; /* "scores", "LayerNorm after attention" */
    int layer;        /* -1 outside the layers */
};

#define PLACE_TEXT_MAX 96

/* The cheaper forms, and what stands in place of one that is left out. */
enum form {
    FORM_CUT,      /* truncated and opened at once: truncated, then opened */
    FORM_NARROW,   /* input and embedding in a ring of their own: in the plan's */
    FORM_MULTIPLY, /* an entry that was looked up is multiplied as it is: opened, and multiplied */
    FORM_COMPARE,  /* comparisons of as few bits as there may be: of all the wire's */
    FORM_SCALE,    /* an inverse's scale by one large lookup: by comparisons */
    FORM_TURNS,    /* parties take turns at x^ y^: party 1 has them all */
    FORMS,
};

/* "cut", "narrow" and so on. */
extern const char *const form_names[FORMS];

/** "layer 0, scores", or without the layer. */
void place_text(const struct place *at, char ret[PLACE_TEXT_MAX]);

struct guard_lane;

struct builder {
    struct plan *plan;
    struct variant *variant;
    struct place at;          /* of what is appended from now on */
    struct place *places;     /* (operations so far); the caller frees */
    struct guard_lane *lanes; /* of guards (transformer/guard.h); the caller frees */
    size_t lane_count;
    unsigned int without; /* bit i: not in form i */
    int rc;
    struct err *err;
};

/* A view of a wire as groups of batches of matrices, in elements. */
struct batch_view {
    uint32_t wire;
    size_t offset, group, batch, row, col;
};

/** One-hot rows, in a ring of @ring bits. */
uint32_t build_input(struct builder *b, unsigned int ring);

/** Of variants with secret lengths; right after the input. */
uint32_t build_presence(struct builder *b);

/** @outside: as build_outside() makes it, or OPERAND_NONE. */
void build_output(struct builder *b, uint32_t logits, uint32_t outside);

/** The same of labels: build_labels(). */
void build_output_labels(struct builder *b, uint32_t labels, uint32_t outside);
uint32_t build_open(struct builder *b, uint32_t x);

/** x / 2^shift, with @frac fraction bits whatever @x says: a power of two is free here. */
uint32_t build_truncate(struct builder *b, uint32_t x, int shift, int frac);

/** The same, opened at once, for what only elementwise products and lookups read. */
uint32_t build_cut(struct builder *b, uint32_t x, int shift, int frac);

/** The same, whole, in the ring of the bits that are left: whole bytes. */
uint32_t build_cut_whole(struct builder *b, uint32_t x, int shift, int frac);

/** x / 2^shift in the plan's ring, from its own. */
uint32_t build_truncate_lift(struct builder *b, uint32_t x, int shift, int frac);

/** x in the plan's ring, from a narrower one. */
uint32_t build_lift(struct builder *b, uint32_t x);

/** x w + bias + residual gain; @x is rows x inner from its first element on. @bias, @residual and
 *  @gain (the last two together) may be OPERAND_NONE. */
uint32_t build_linear(struct builder *b, uint32_t x, size_t rows, uint32_t weight, uint32_t bias,
                      uint32_t residual, uint32_t gain);

/** @groups times @count products (rows x inner) (inner x cols), their results stacked. */
uint32_t build_batch(struct builder *b, size_t groups, size_t count, size_t rows, size_t inner,
                     size_t cols, struct batch_view left, struct batch_view right);

uint32_t build_mul(struct builder *b, uint32_t x, uint32_t y);
uint32_t build_square(struct builder *b, uint32_t x, bool sum_rows);
uint32_t build_add(struct builder *b, uint32_t x, uint32_t y);

/** factor x + add, in units of the last place, with @frac fraction bits. */
uint32_t build_affine(struct builder *b, uint32_t x, int64_t factor, int64_t add, int frac);

uint32_t build_centre(struct builder *b, uint32_t x);
uint32_t build_row_sum(struct builder *b, uint32_t x);
uint32_t build_length_mask(struct builder *b, uint32_t x);
uint32_t build_length_fill(struct builder *b, uint32_t x, int64_t fill);
uint32_t build_length_scale(struct builder *b, uint32_t x);

/** x + add, and factor more in the columns of tokens that are there. @presence: its one column. */
uint32_t build_add_presence(struct builder *b, uint32_t x, uint32_t presence, int64_t factor,
                            int64_t add);
void build_range(struct builder *b, uint32_t x, int64_t min, int64_t end);

/** Distances below 2^(bits - 1); less than 2^shift below a threshold counts as either. */
uint32_t build_compare(struct builder *b, uint32_t x, int bits, int shift,
                       const int64_t *thresholds, size_t count);
uint32_t build_bit_to_ring(struct builder *b, uint32_t bits);

/** x where the bit in @column is one, else 0. */
uint32_t build_select(struct builder *b, uint32_t bits, int64_t column, uint32_t x);

/** constant + sum of factors times columns; as many factors as columns. */
uint32_t build_dot(struct builder *b, uint32_t x, int64_t constant, const int64_t *factors,
                   size_t count, int frac);

/** The last column of @table at x / 2^shift, times @t, plus the first where there are two; of the
 *  elements of @t. @frac fraction bits come out. */
uint32_t build_lookup(struct builder *b, uint32_t x, int shift, uint32_t t, int64_t table,
                      int frac);

/** Of a masked wire: the spline of @k, where the bits' first column is one and column k->to is not.
 */
struct builder_spline {
    int64_t table;
    int shift, drop, ring, frac;
    int64_t to;           /* -1: wherever the first one is */
    const int64_t *terms; /* (columns, SPLINE_TERMS) */
    size_t columns;       /* of the table */
};
uint32_t build_spline(struct builder *b, uint32_t x, uint32_t bits, const struct builder_spline *k);

/** @cols columns of x from @at_x on less those of y from @at_y on, or less y's only one; masked. */
uint32_t build_difference(struct builder *b, uint32_t x, uint32_t y, size_t cols, size_t at_x,
                          size_t at_y);
uint32_t build_unmask(struct builder *b, uint32_t x);

/** @count columns from @at on. */
uint32_t build_columns(struct builder *b, uint32_t x, size_t at, size_t count);

/** The same elements in the shape of @like, or in rows of @cols. */
uint32_t build_like(struct builder *b, uint32_t x, uint32_t like);
uint32_t build_reshape(struct builder *b, uint32_t x, size_t cols);

/** Element @at of every @stride, in one column. */
uint32_t build_every(struct builder *b, uint32_t x, size_t at, size_t stride);

/** The first @rows rows of @cols of each of @blocks stacked blocks, side by side; blocks start
 *  @stride elements apart. The same again @groups times, below each other, from elements that are
 *  @group apart. */
uint32_t build_beside(struct builder *b, uint32_t x, size_t rows, size_t blocks, size_t cols,
                      size_t stride, size_t groups, size_t group);

/** @rows rows of @cols elements, the first from element @at on, @stride apart. */
uint32_t build_rows(struct builder *b, uint32_t x, size_t rows, size_t cols, size_t at,
                    size_t stride);

/** factor x + add of each of @count wires, at most PLAN_INPUTS_MAX, a row a sequence. */
struct builder_join {
    uint32_t wire;
    int64_t factor, add;
};
uint32_t build_join(struct builder *b, const struct builder_join parts[], size_t count);

/** The same of any number, in several operations; @parts is overwritten. */
uint32_t build_join_all(struct builder *b, struct builder_join parts[], size_t count);

static inline bool build_without(const struct builder *b, enum form form)
{
    return b->without >> form & 1;
}

/** The fraction bits of a wire, its columns, all its elements, and the bits that are opened of a
 *  masked one. */
int build_frac(const struct builder *b, uint32_t wire);
size_t build_cols(const struct builder *b, uint32_t wire);
size_t build_elements(const struct builder *b, uint32_t wire);
int build_bits(const struct builder *b, uint32_t wire);

#endif
