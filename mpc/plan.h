/*
 * plan: a model compiled into a flat list of operations over numbered wires, with shapes and the
 * number format and nothing secret. Clear executor, dealer, both parties and the cost reader all
 * read this one list.
 *
 * A plan file is what its owner made and others must take on trust of nothing: plan_parse() checks
 * every number in it, so that a reader may index by it without looking again. Its hash binds model
 * id, number format, every shape and every constant; parties and dealer work together only when
 * their hashes agree.
 *
 * A plan has variants that share one set of weights: for each length bucket one that answers one
 * query, and others that answer several at once. Their sequences stand one after the other in the
 * rows of every wire, so that a batch has the operations and the rounds of one query. How many
 * tokens a sequence has is public in some variants, and in others secret but for the bucket.
 */
#ifndef MPC_PLAN_H
#define MPC_PLAN_H

#include "mpc/ring.h"

#define PLAN_VERSION        5
#define PLAN_ID_BYTES       16
#define PLAN_HASH_BYTES     32
#define PLAN_NAME_MAX       64
#define PLAN_INPUTS_MAX     5
#define PLAN_ATTRS_MAX      72
#define PLAN_FILE_BYTES_MAX ((size_t)64 << 20)
#define PLAN_WEIGHTS_MAX    8192
#define PLAN_VARIANTS_MAX   64
#define PLAN_TABLES_MAX     256
#define PLAN_TABLE_BITS_MIN 6 /* a one-hot vector is whole words */
#define PLAN_TABLE_BITS_MAX 16
#define PLAN_TABLE_COLS_MAX 4
#define PLAN_OPS_MAX        16384
#define PLAN_LABELS_MAX     1000
#define PLAN_TOKENS_MAX     512
#define PLAN_BATCH_MAX      32
#define PLAN_GUARDS_MAX     1000
#define PLAN_ANSWERS_MAX                                                                           \
    (PLAN_BATCH_MAX * (PLAN_LABELS_MAX + PLAN_GUARDS_MAX)) /* values of an answer */
#define PLAN_DIM_MAX      (1u << 24)        /* rows or columns of a wire or a weight */
#define PLAN_ELEMENTS_MAX ((size_t)1 << 28) /* of a wire or a weight */
#define PLAN_VALUES_MAX   ((size_t)1 << 30) /* elements of all weights: three BERT-large */
#define PLAN_WORDS_MAX    ((size_t)1 << 31) /* of a variant's arena, or of its tape */

enum wire_kind {
    WIRE_SHARE = 1, /* [x]: an additive share at each party */
    WIRE_MASKED,    /* x^ = x + r, public to both parties, and shares of r; see struct wire */
    WIRE_BITS,      /* XOR shares of rows x cols bits, packed */
};

/*
 * rows x cols elements, row-major, @frac fraction bits, in Z_2^ring.
 *
 * A masked wire is whole (cut 0: r is uniform in Z_2^ring) or cut: opened under r in Z_2^cut, and
 * x^ - r = x only after a public carry is taken into account (mpc/ops/cut.c). Elementwise products
 * take both, matrix products whole ones only.
 */
struct wire {
    uint8_t kind, ring, cut;
    int8_t frac;
    uint32_t rows, cols;

    /* Computed: where it lives in a reader's arena, in 64-bit words; the operation that makes it;
     * whether a party makes it by rows as they are asked for (op_pull). */
    size_t offset, words;
    uint32_t maker;
    bool streamed;
};

/* An operand is a wire number, a weight number with this bit set, or none. */
#define OPERAND_NONE   UINT32_MAX
#define OPERAND_WEIGHT (1u << 31)

enum op_id {
    OP_INPUT = 1,
    OP_OPEN,
    OP_CUT,
    OP_MATMUL,
    OP_MUL,
    OP_SQUARE,
    OP_TRUNCATE,
    OP_AFFINE,
    OP_ADD,
    OP_CENTRE,
    OP_ROW_SUM,
    OP_LENGTH_MASK,
    OP_LENGTH_SCALE,
    OP_UNMASK,
    OP_RANGE,
    OP_COMPARE,
    OP_BIT_TO_RING,
    OP_DOT,
    OP_SELECT,
    OP_LOOKUP,
    OP_VIEW,
    OP_DIFFERENCE,
    OP_SPLINE,
    OP_JOIN,
    OP_PRESENCE,
    OP_ADD_PRESENCE,
    OP_OUTPUT,
    OP_ID_END,
};

struct op {
    uint8_t id, input_count, attr_count;
    uint32_t index;               /* of this operation: the PRG stream's first half */
    uint32_t in[PLAN_INPUTS_MAX]; /* operands */
    uint32_t out;                 /* a wire, or OPERAND_NONE */
    int64_t attr[PLAN_ATTRS_MAX]; /* named by the operation's enum in mpc/op.h */

    /* Computed: this operation's section of a tape, in bytes; of the prepared words. */
    size_t tape_offset, tape_bytes;
    size_t prepared_offset, prepared_words;
};

/* Who knows how many tokens a sequence has. */
enum length_mode {
    LENGTH_PUBLIC, /* the parties: each job says so */
    LENGTH_BUCKET, /* its owner alone: the parties know the bucket, and hold shares of presence */
    LENGTH_MODES,
};

/* "public" and "bucket". */
extern const char *const length_mode_names[LENGTH_MODES];

/** -EINVAL for neither. */
MUST_CHECK int length_mode_parse(const char *name, enum length_mode *ret);

struct variant {
    uint32_t tokens; /* the length bucket */
    uint32_t batch;  /* sequences: the input has batch * tokens rows */
    enum length_mode length;
    size_t wire_count, op_count;
    struct wire *wires;
    struct op *ops;

    /* Computed. */
    size_t arena_words, scratch_words, worker_words, tape_bytes, prepared_words;
};

enum weight_use {
    WEIGHT_PRODUCT = 1, /* right-hand side of a product: masked, opened once a model */
    WEIGHT_GAIN,        /* one row, times a residual elementwise: masked, opened once a model */
    WEIGHT_ADDED,       /* only ever added: stays a share, needs no mask */
};

struct weight {
    char name[PLAN_NAME_MAX];
    uint8_t use, ring; /* the ring of the wires that it meets */
    int8_t frac;
    uint32_t rows, cols;
};

/* A public function of an index: 2^bits rows of @cols signed entries. */
struct table {
    uint8_t bits, cols;
    int64_t *entries;

    /* Computed: twice, last row first, so that T[v - 0], T[v - 1], .. for any v stand in a row. Of
     * two columns also both in a word, 32 - bits bits of each in its halves, so that a sum of all
     * rows does not carry from one into the other. NULL for others. */
    int64_t *backward;
    uint64_t *pairs;
};

/* A place in the model where values are compared with the range that they were promised to keep to,
 * when the plan runs. What is outside is counted, and the data owner alone learns how many. */
struct guard {
    char name[PLAN_NAME_MAX];
};

struct plan {
    uint8_t model_id[PLAN_ID_BYTES];
    uint8_t hash[PLAN_HASH_BYTES];
    char name[PLAN_NAME_MAX];
    uint8_t ring, frac;
    uint32_t vocabulary, types, labels; /* input columns are vocabulary + types */
    double error_bound;                 /* of a logit against the clear executor; how: compiler */

    /* SHA-256(salt || packed weights) of each party's share file, which holds its salt: a party
     * can tell that its share is of this split, and nobody can test a guess of the weights. */
    uint8_t commitment[2][PLAN_HASH_BYTES];
    size_t weight_count, table_count, guard_count, variant_count;
    struct weight *weights;
    struct table *tables;
    struct guard *guards;
    struct variant *variants;
};

/*
 * Building. Each plan_add_* appends and checks; the compiler and plan_parse() come this one way.
 * NULL or a negative errno with the reason in @err.
 */
MUST_CHECK struct plan *plan_new(void);
void plan_free(struct plan *plan);

/** @ret: the operand that names the weight. */
MUST_CHECK int plan_add_weight(struct plan *plan, const struct weight *w, uint32_t *ret,
                               struct err *err);

/** @entries: 2^bits rows of @cols; copied. @ret: the table's number. */
MUST_CHECK int plan_add_table(struct plan *plan, unsigned int bits, unsigned int cols,
                              const int64_t *entries, int64_t *ret, struct err *err);

/** The guard called @name, cut to what there is room for: one that is there, or a new one. */
MUST_CHECK int plan_add_guard(struct plan *plan, const char *name, size_t *ret, struct err *err);

/** Variants come in order of @tokens, those of one bucket in order of @length, then of @batch; the
 *  pointer stays good until the next one is added. */
MUST_CHECK int plan_add_variant(struct plan *plan, uint32_t tokens, enum length_mode length,
                                uint32_t batch, struct variant **ret, struct err *err);

/** Append an operation (id, in, attr); its result is wire @ret, OPERAND_NONE if it has none. */
MUST_CHECK int plan_add_op(const struct plan *plan, struct variant *v, const struct op *op,
                           uint32_t *ret, struct err *err);

/** Lay out every variant: each must end in its one output. */
MUST_CHECK int plan_finish(struct plan *plan, struct err *err);

/**
 * The file's bytes, malloced, and plan->hash set to theirs. The same plan gives the same bytes.
 */
MUST_CHECK int plan_serialize(struct plan *plan, uint8_t **ret_bytes, size_t *ret_count,
                              struct err *err);

/**
 * A checked plan from untrusted bytes. -EPROTO: not a plan, or another version (named);
 * -EBADMSG: damaged; -EINVAL: an operation's shapes do not fit (named); -E2BIG: past a limit.
 */
MUST_CHECK int plan_parse(const uint8_t *bytes, size_t count, struct plan **ret_plan,
                          struct err *err);

MUST_CHECK int plan_load(const char *path, struct plan **ret_plan, struct err *err);

/** The first variant, in their order, that holds @batch sequences of @tokens tokens; or NULL. */
const struct variant *plan_variant_batch(const struct plan *plan, uint32_t tokens,
                                         enum length_mode length, uint32_t batch);

/** The smallest variant that holds one sequence of @tokens tokens, or NULL. */
const struct variant *plan_variant(const struct plan *plan, uint32_t tokens,
                                   enum length_mode length);

/** The variant of exactly @tokens, @length and @batch, or NULL. */
const struct variant *plan_variant_exact(const struct plan *plan, uint32_t tokens,
                                         enum length_mode length, uint32_t batch);

/** Whether any variant has @length. */
bool plan_has_length(const struct plan *plan, enum length_mode length);

/** Values of an answer of @v: plan->labels logits of each of its sequences, then of each sequence
 *  how many elements are outside of each guard. */
static inline size_t plan_answers(const struct plan *plan, const struct variant *v)
{
    return (size_t)v->batch * (plan->labels + plan->guard_count);
}

/** Whether answers say which logit of a sequence is the largest, with a 1 in its place and 0 in the
 *  others, and not what they are. */
bool plan_labels_only(const struct plan *plan);

/** The first guard that elements of sequence @s are outside of, by an answer's values; or none. */
const struct guard *plan_outside(const struct plan *plan, const struct variant *v,
                                 const int64_t answer[], size_t s);

static inline size_t wire_elements(const struct wire *w)
{
    return (size_t)w->rows * w->cols;
}

/** @words rounded up to a cache line of them, as wires lie in an arena. */
static inline size_t wire_padded(size_t words)
{
    return (words + 7) & ~(size_t)7;
}

/** Bits of the multiples of 2^cut that a cut wire's corrections are; 0 for a whole one. */
static inline unsigned int wire_carry_bits(const struct wire *w)
{
    return w->cut ? (unsigned int)(w->ring - w->cut) : 0;
}

/* Columns of a presence wire, a row for each of the input's. */
enum presence {
    PRESENCE_ONE,    /* 1 for a token that is there, else 0 */
    PRESENCE_SCALED, /* the same times variant_scale() */
    PRESENCE_COLS,
};

/** A whole sum over the columns of tokens, times this, is more than half of what all of the bucket
 *  would give: the largest power of two <= tokens / @length. log2 of it. */
static inline unsigned int variant_scale_bits(const struct variant *v, uint32_t length)
{
    unsigned int up = 0;

    while ((uint64_t)length << (up + 1) <= v->tokens)
        up++;
    return up;
}

/** Words from the start of a job's input to its presence, behind the rows; and of all of it. The
 *  rows are the first operation's wire, the presence, of secret lengths only, the second's. */
static inline size_t variant_presence_at(const struct variant *v)
{
    return wire_padded(wire_elements(&v->wires[0]));
}

static inline size_t variant_input_words(const struct variant *v)
{
    if (v->length == LENGTH_PUBLIC)
        return wire_elements(&v->wires[0]);
    return variant_presence_at(v) + (size_t)v->batch * v->tokens * PRESENCE_COLS;
}

static inline size_t weight_elements(const struct weight *w)
{
    return (size_t)w->rows * w->cols;
}

/** Of a weight in a file, or on the wire when it is opened. */
static inline size_t weight_bytes(const struct weight *w)
{
    return ring_bytes(weight_elements(w), w->ring);
}

static inline bool weight_masked(const struct weight *w)
{
    return w->use != WEIGHT_ADDED;
}

static inline bool operand_is_weight(uint32_t operand)
{
    return operand != OPERAND_NONE && (operand & OPERAND_WEIGHT);
}

static inline const struct weight *plan_weight(const struct plan *plan, uint32_t operand)
{
    return &plan->weights[operand & ~OPERAND_WEIGHT];
}

#endif
