/*
 * trial: a compiled model on sample text, in the clear: how near it comes to what its number format
 * holds, how far it is from the float reference, and the bound on a logit's error.
 *
 * The bound is statistical, not a proof. A private answer differs from the clear executor's (which
 * truncates down) because the protocol truncates up or down by chance, unbiased. The trial draws
 * such roundings over all samples and takes the larger of TRIAL_SPREADS times the root mean square
 * of the differences and TRIAL_TIMES times the largest, and at least TRIAL_UNITS_MIN units of the
 * last place. It says what arithmetic that works stays within on text like the samples; it says
 * nothing of the float model, of which the trial reports the distance separately. Samples run one
 * at a time: a batch does the same to each of its sequences.
 */
#ifndef TRANSFORMER_TRIAL_H
#define TRANSFORMER_TRIAL_H

#include "transformer/compile.h"

#define TRIAL_SPREADS   8
#define TRIAL_TIMES     4
#define TRIAL_UNITS_MIN 16
#define TRIAL_UNDECIDED (1.0 / 64)

struct trial_options {
    const struct checkpoint *checkpoint; /* to compare with; or NULL */
    const struct encoding *samples;      /* each within the longest variant */
    size_t sample_count;
    unsigned int random_runs; /* a sample, for the bound: at least 1 */
    void (*progress)(void *context, size_t done, size_t all); /* after each sample; or NULL */
    void *context;
};

/* The operation of a kind that came nearest to its limit, over all samples and variants. */
struct trial_row {
    bool seen;
    struct place at;
    uint32_t tokens, op;
    double headroom_bits; /* log2(limit / value); of a range, of its nearer end */
};

/*
 * label_room: how many times the private error could grow before a sample's label changes: half of
 * how far its two best logits are apart in float, over the sample's own distance from float and the
 * bound together; the least of all samples. Two logits that are nearer than TRIAL_UNDECIDED are a
 * label by chance, and a regression has none: those do not count.
 */
struct trial {
    struct trial_row rows[OP_ID_END];
    struct trial_row guarded;                   /* of the ranges' ends that guards watch */
    double headroom_bits;                       /* the least of all */
    double label_room;                          /* see below; with a checkpoint */
    double error_bound;                         /* of a logit against the clear executor */
    double float_error_median, float_error_max; /* of a sample's worst logit; with a checkpoint */
    size_t agree, samples;                      /* same label as the float reference */
};

/**
 * Run the trial and set the plan's error bound. -ERANGE when the format overflows: the text names
 * the operation and the place, and what to change; -EINVAL for a sample that no variant holds.
 * Blocks for about a product of shapes a nanosecond a run.
 * CT: runs at the owner of the weights alone.
 */
MUST_CHECK int trial_run(struct compiled *m, const struct trial_options *o, struct trial *ret,
                         struct err *err);

#endif
