/*
 * op: what an operation of a plan is, for whoever reads a plan.
 *
 * One file a kind in mpc/ops/ answers: what comes out (infer), what it costs (cost), and what each
 * reader does at it: the clear executor, the dealer, a party when the tape has come (prepare), a
 * party online. Adding a kind is one file, one line in op.c and one name in plan.h.
 */
#ifndef MPC_OP_H
#define MPC_OP_H

#include "base/workers.h"
#include "mpc/exchange.h"
#include "mpc/kernels.h"
#include "mpc/plan.h"
#include "mpc/prg.h"

struct model;
struct tape;

/* Purposes of PRG streams: the second half of a stream's name. */
enum op_stream {
    STREAM_MASK = 1, /* [r] of the wire that comes out */
    STREAM_CORR,     /* party 0's share of a correction */
    STREAM_CORR_2,   /* of a second one */
    STREAM_BITS,     /* one mask bit an element */
    STREAM_TRIPLES,  /* a, b, c of the bit triples, then party 0's products */
    STREAM_TABLES,   /* party 0's comparison tables, or its one-hot vectors */
    STREAM_WEIGHT,   /* model seeds only: [r_W] */
};

/* What an operation costs one party; sizes are exact. */
struct op_cost {
    size_t bytes_online; /* payload one party sends */
    size_t rounds_online;
    size_t bytes_tape;     /* of party 1's tape */
    size_t prepared_words; /* kept from preparation until use */
    size_t scratch_words;  /* of the reader that needs most, while it works */
    size_t worker_words;   /* and of each of its workers */
    uint64_t macs_online;  /* ring multiply-adds of products, of the party that has more */
};

/* The values of the wires of one walk. */
struct walk {
    const struct plan *plan;
    const struct variant *variant;
    const struct kernels *kernels;
    uint64_t *arena, *scratch; /* at least the variant's arena_words and scratch_words */
    size_t arena_words, scratch_words;
    struct workers *workers; /* the reader's, to share work out to; NULL: it works alone */
    uint8_t *own;            /* (workers, KERNELS_SCRATCH_BYTES and own_words): each worker's */
    size_t own_words;        /* at least the variant's worker_words */
    uint32_t length[PLAN_BATCH_MAX]; /* (batch): tokens of each that are there; public */
};

enum clear_rounding {
    CLEAR_FLOOR,
    CLEAR_RANDOM, /* up with the probability that the protocol has */
};

/* How near one operation came to what the format holds. */
struct clear_report {
    uint32_t op;
    double value_max;     /* largest magnitude seen, in units of the last place */
    double headroom_bits; /* log2(limit / value_max); negative: overflow */
    double value_min;     /* ranges only: the smallest seen, in units of the last place */
};

struct clear {
    struct walk walk; /* a SHARE or MASKED wire holds its value, sign-extended; BITS the bits */
    const uint64_t *const *weights; /* by number, the values themselves */
    const uint64_t *input;
    uint64_t *output;
    enum clear_rounding rounding;
    struct prg *rounding_prg;
    struct clear_report *reports; /* one an operation, or NULL */
};

struct deal {
    struct walk walk;                   /* a MASKED wire holds its mask r */
    const struct mask_weights *weights; /* r_W */
    struct prg *prg[2];
};

struct prepare {
    struct walk walk; /* a MASKED wire holds this party's [r] where online does */
    const struct model *model;
    struct tape *tape;
    struct prg *prg;
    unsigned int party;
};

/* What one run cost, by operation kind. */
struct online_stats {
    struct {
        uint64_t ns, bytes, rounds;
    } kind[OP_ID_END];
    uint64_t ns, bytes, rounds;
};

#define OP_ROUND_CONTEXT 128 /* bytes of what an operation's callbacks know */

/* A round of an operation, from its sending until the last of it was taken. */
struct op_round {
    struct round round;
    struct online *online;
    uint32_t in, out;     /* wires: what is sent comes from one, what is taken makes the other */
    size_t unit_elements; /* of either, in a unit */
    uint8_t kind;
    _Alignas(16) uint8_t context[OP_ROUND_CONTEXT];
};

struct online {
    struct walk walk;
    const struct model *model;
    const struct tape *tape;
    struct prg *prg;
    struct exchange *exchange;
    unsigned int party;
    const uint64_t *input; /* this party's share, variant_input_words() */
    uint64_t *output;      /* this party's share of the answer, cut to l bits */

    /* Streams: see op_pull(). */
    struct op_round rounds[2]; /* one that is taken from, one that is being sent */
    unsigned int newest;       /* the one that was sent last; its predecessor is all taken */
    uint32_t *rows_ready;      /* (wires) of streamed ones: rows that are computed */

    struct online_stats *stats;
    uint8_t kind; /* that time is being spent on, since mark_ns */
    uint64_t mark_ns;
};

struct op_kind {
    const char *name;
    uint8_t inputs_min, inputs_max, attrs_min, attrs_max;

    /** The wire that comes out (ret->kind 0: none) from checked operand numbers, or why not. */
    int (*infer)(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct wire *ret, struct err *err);
    void (*cost)(const struct plan *plan, const struct variant *v, const struct op *op,
                 struct op_cost *ret);
    int (*clear)(struct clear *c, const struct op *op, struct err *err);
    void (*deal)(struct deal *d, const struct op *op, uint8_t *tape); /* NULL: takes nothing */
    void (*prepare)(struct prepare *p, const struct op *op);          /* NULL: nothing to do */
    int (*online)(struct online *o, const struct op *op);             /* NULL: nothing to do */

    /** Online, only rows @first to @first + @count - 1 of what comes out, for a streamed wire; who
     *  has it pulls what it reads. NULL: all at once, by online. */
    int (*rows)(struct online *o, const struct op *op, size_t first, size_t count);
    bool (*by_rows)(const struct op *op); /* whether this one can; NULL: none can */
    bool pulls;                           /* asks for its first input by op_pull() */
};

/** The kind of a checked operation; NULL for a number that is none. */
const struct op_kind *op_kind(unsigned int id);

/* Attributes, by operation. A matrix product multiplies GROUPS times BATCH pairs of matrices,
 * addressed in elements of their wires; A and C have unit column stride. A group's results stand
 * below those of the group before. */
enum matmul_attr {
    MATMUL_BATCH,
    MATMUL_ROWS,
    MATMUL_INNER,
    MATMUL_COLS,
    MATMUL_A_OFFSET,
    MATMUL_A_BATCH,
    MATMUL_A_ROW,
    MATMUL_B_OFFSET,
    MATMUL_B_BATCH,
    MATMUL_B_ROW,
    MATMUL_B_COL,
    MATMUL_BESIDE, /* 1: a group's results stand side by side, rows x (batch cols); 0: stacked */
    MATMUL_GROUPS,
    MATMUL_A_GROUP,
    MATMUL_B_GROUP,
    MATMUL_ATTRS,

    /* May be left out: 1: x^ y^ of every pair falls to party 1; 0: the parties take turns. */
    MATMUL_ONE_SIDED = MATMUL_ATTRS,
    MATMUL_ATTRS_MAX,
};
enum matmul_in {
    MATMUL_A,    /* masked wire */
    MATMUL_B,    /* masked wire, or a product weight */
    MATMUL_BIAS, /* added weight at the product's scale, of 1 row, or of one a token: row r of the
                    product takes r modulo the variant's tokens */
    MATMUL_RESIDUAL, /* masked wire ROWS x COLS, times */
    MATMUL_GAIN,     /* a gain weight of COLS, added at the product's scale */
};
enum input_attr { INPUT_RING /* bits; 0: the plan's */, INPUT_ATTRS };
enum cut_attr {
    CUT_SHIFT,   /* l - CUT_SHIFT bits are opened */
    CUT_RELABEL, /* as in a truncation */
    CUT_ATTRS,

    /* May be left out: 1: what comes out is whole, in the ring of as many bits. */
    CUT_WHOLE = CUT_ATTRS,
    CUT_ATTRS_MAX,
};
enum output_attr {
    /* May be left out, for 0: 1: what is given are labels, one-hot and whole, not logits. */
    OUTPUT_LABELS,
    OUTPUT_ATTRS_MAX,
};
enum output_in {
    OUTPUT_LOGITS,  /* or the labels */
    OUTPUT_OUTSIDE, /* elements outside of each of the plan's guards; if it has any */
};
enum square_attr { SQUARE_SUM_ROWS, SQUARE_ATTRS };
enum truncate_attr {
    TRUNCATE_SHIFT,
    TRUNCATE_RELABEL, /* added to the fraction bits that come out: a public power of two */
    TRUNCATE_RING,    /* what comes out lies in this ring, no narrower; 0: the same */
    TRUNCATE_ATTRS,
};
enum affine_attr { AFFINE_FACTOR, AFFINE_ADD, AFFINE_RELABEL, AFFINE_ATTRS };
enum range_attr {
    RANGE_MIN, /* in units of the last place: RANGE_MIN <= x < RANGE_END */
    RANGE_END,
    RANGE_ATTRS,
};
enum compare_attr {
    COMPARE_BITS,      /* |x - threshold| < 2^(COMPARE_BITS - 1); the fewer the cheaper */
    COMPARE_SHIFT,     /* less than 2^COMPARE_SHIFT below a threshold counts as either; the more the
                          cheaper, and |x - threshold| <= 2^(COMPARE_BITS - 1) - 2^COMPARE_SHIFT */
    COMPARE_THRESHOLD, /* and more of them: multiples of 2^COMPARE_SHIFT */
};
enum select_attr {
    /* May be left out: the bits' column that selects, and the wire keeps its shape; without it
     * every column selects a copy of the element. */
    SELECT_COLUMN,
    SELECT_ATTRS_MAX,
};
/* z[r][c] = x[r][DIFFERENCE_X + c] - y[r][DIFFERENCE_Y + c], or less the one element of y's row. */
enum difference_attr { DIFFERENCE_COLS, DIFFERENCE_X, DIFFERENCE_Y, DIFFERENCE_ATTRS };
enum length_mask_attr {
    /* May be left out, for 0: what columns of tokens that are not there hold, in units. */
    LENGTH_MASK_FILL,
    LENGTH_MASK_ATTRS_MAX,
};
/* Of each input: FACTOR x + ADD. */
enum join_attr { JOIN_FACTOR, JOIN_ADD, JOIN_ATTRS };
enum add_presence_attr { ADD_PRESENCE_FACTOR, ADD_PRESENCE_ADD, ADD_PRESENCE_ATTRS };
enum dot_attr { DOT_FRAC, DOT_CONSTANT, DOT_FACTOR /* and more of them, one a column */ };
enum lookup_attr {
    LOOKUP_TABLE,
    LOOKUP_SHIFT, /* the index is x / 2^LOOKUP_SHIFT, or one more, modulo the table's rows */
    LOOKUP_FRAC,  /* fraction bits that come out */
    LOOKUP_ATTRS,
};
/* A table's row i is taken at x = 2^SHIFT i + 2^DROP d + less, |d| < 2^(SHIFT - DROP). */
enum spline_attr {
    SPLINE_TABLE,
    SPLINE_SHIFT, /* the row is x / 2^SPLINE_SHIFT, or one more, modulo the table's rows */
    SPLINE_DROP,
    SPLINE_RING, /* of what comes out */
    SPLINE_FRAC, /* and its fraction bits */
    SPLINE_FROM, /* column of the bits: counts where it is one */
    SPLINE_TO,   /* and that is not; -1: none */
    SPLINE_TERM, /* SPLINE_TERMS factors of powers of d, for each column of the table */
    SPLINE_TERMS = 3,
    SPLINE_ATTRS_MAX = SPLINE_TERM + SPLINE_TERMS * PLAN_TABLE_COLS_MAX,
};
/* y[g ROWS + r][b COLS + c] = x[OFFSET + g GROUP + r ROW + b BLOCK + c], in elements of x. */
enum view_attr {
    VIEW_ROWS,
    VIEW_BLOCKS,
    VIEW_COLS,
    VIEW_OFFSET,
    VIEW_ROW,
    VIEW_BLOCK,
    VIEW_GROUPS,
    VIEW_GROUP,
    VIEW_ATTRS,
};

/* --- for the files in mpc/ops/ --- */

static inline const struct wire *op_wire(const struct walk *w, uint32_t operand)
{
    return &w->variant->wires[operand];
}

static inline uint64_t *walk_at(const struct walk *w, uint32_t wire)
{
    return w->arena + w->variant->wires[wire].offset;
}

/** What a product kernel needs of @worker's own memory; behind it stand its own_words. */
static inline uint8_t *walk_own(const struct walk *w, unsigned int worker)
{
    return w->own + worker * (KERNELS_SCRATCH_BYTES + w->own_words * sizeof(uint64_t));
}

static inline uint64_t *walk_own_words(const struct walk *w, unsigned int worker)
{
    return (uint64_t *)(void *)(walk_own(w, worker) + KERNELS_SCRATCH_BYTES);
}

/** A masked wire's second half: the shares of its mask (or, at the dealer, the mask). */
static inline uint64_t *walk_mask(const struct walk *w, uint32_t wire)
{
    const struct wire *at = op_wire(w, wire);

    return w->arena + at->offset + wire_padded(wire_elements(at));
}

/** This operation's section of party 1's tape. */
const uint8_t *op_tape(const struct tape *tape, const struct op *op);
uint64_t *op_prepared(const struct tape *tape, const struct op *op);

/**
 * A party's share of a correction of @count elements that starts @at bytes into the operation's
 * section: expanded by party 0, read by party 1.
 */
void op_correction(struct prg *prg, const struct tape *tape, unsigned int party,
                   const struct op *op, enum op_stream stream, size_t at, uint64_t *ret,
                   size_t count, unsigned int ring);

/** The dealer's side of it: writes value - party 0's share; @scratch holds @count words. */
void op_deal_correction(struct deal *d, const struct op *op, enum op_stream stream,
                        const uint64_t *value, size_t count, unsigned int ring, uint8_t *tape,
                        uint64_t *scratch);

/** The same of corrections modulo 2^@bits, any number of bits, packed without gaps: of the elements
 *  from @first on, a multiple of 8, of those that start @at bytes into the section. */
void op_fields(const struct online *o, const struct op *op, enum op_stream stream, size_t at,
               size_t first, uint64_t *ret, size_t count, unsigned int bits);
void op_deal_fields(struct deal *d, const struct op *op, enum op_stream stream,
                    const uint64_t *value, size_t count, unsigned int bits, uint8_t *tape,
                    uint64_t *scratch);

/** The public carries of a cut wire's element: its mask is r - c msb(r) 2^cut. 0 for a whole one.
 */
static inline uint64_t op_carry(const struct wire *w, uint64_t hat)
{
    return w->cut ? ~((hat + (1ull << (w->cut - 2))) >> (w->cut - 1)) & 1 : 0;
}

/** x / 2^@shift in the clear, of the wire that comes in; -ERANGE past what its ring can. */
MUST_CHECK int op_clear_truncate(struct clear *c, const struct op *op, unsigned int shift,
                                 struct err *err);

/* Words of the scratch that belong to the callbacks that take a round. */
#define OP_ROUND_SCRATCH 2048

/*
 * Streams. A product and what opens it work side by side: the opening asks for rows as it packs
 * them, the product computes them a few at a time, and asks in turn for the rows that it reads,
 * which are taken from the link as they come. So one block is on the wire while the next is
 * computed. A wire is streamed when one operation makes it by rows and one other pulls it
 * (plan.c); a round is left to be taken by whoever comes next.
 */

/** Time goes to operations of @kind from now on, 0 for none. @return those it went to. */
uint8_t op_spend_on(struct online *o, uint8_t kind);

/** Before the first operation of a run. */
void op_begin(struct online *o, struct online_stats *stats);

/** Make the first @elements of @wire ready: compute them, take them, or nothing. */
MUST_CHECK int op_pull(struct online *o, uint32_t wire, size_t elements);

/** Take all that is under way: every other operation does so first. */
MUST_CHECK int op_settle(struct online *o);

/**
 * Send a round of @op, units of so many elements each, pulling its input; what is taken is used
 * later. @context (at most OP_ROUND_CONTEXT bytes) is copied.
 */
MUST_CHECK int op_send(struct online *o, const struct op *op, size_t units, size_t unit_bytes,
                       size_t unit_elements, exchange_fill *fill, exchange_use *use,
                       const void *context, size_t context_bytes);

/** One round: send words of bits, get the XOR of both sides in place. */
MUST_CHECK int op_open_bits(struct online *o, uint64_t *words, size_t count);

/* An opening under way. */
struct op_opening {
    const struct online *o;
    const struct op *op;
    const uint64_t *share;
    uint64_t *mask, *hat;
    unsigned int ring;
};

exchange_fill op_opening_fill;
exchange_use op_opening_use;

/** One round: open @share under a mask drawn into @mask, into @hat, in a ring of @ring bits. */
MUST_CHECK int op_open(struct online *o, const struct op *op, const uint64_t *share, uint64_t *mask,
                       uint64_t *hat, size_t count, unsigned int ring);

/** Keep the largest magnitude of an operation and its headroom below @limit, both in units. */
void clear_note(struct clear *c, const struct op *op, double value_max, double limit);

/** Cut @count elements of the wire that came out to its ring, sign-extended; compare them with
 *  @exact (same order) and note how far the format reaches. -ERANGE when an element wrapped. */
MUST_CHECK int clear_check(struct clear *c, const struct op *op, const double *exact,
                           struct err *err);

extern const struct op_kind op_input, op_open_kind, op_cut, op_matmul, op_mul, op_square,
    op_truncate, op_affine, op_add, op_centre, op_row_sum, op_length_mask, op_length_scale,
    op_unmask, op_range, op_compare, op_bit_to_ring, op_dot, op_select, op_lookup, op_view,
    op_difference, op_spline, op_join, op_presence, op_add_presence, op_output;

#endif
