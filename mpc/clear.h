/*
 * clear: the clear executor, the oracle of every test. It runs a plan on the values themselves, in
 * the same fixed point, on reference arithmetic, and refuses what the number format cannot hold.
 * It belongs to the model owner, to benchmarks and to tests: no party can run it.
 */
#ifndef MPC_CLEAR_H
#define MPC_CLEAR_H

#include "mpc/op.h"

/**
 * Run @v on @input, variant_input_words(): batch tokens x columns, and presence where lengths are
 * secret; of sequence s the first @lengths[s] rows are tokens.
 * @weights: by number, the values at each weight's scale. @reports: v->op_count of them, zeroed
 * before the first sample and kept over several; or NULL. @ret_output: plan_answers() values,
 * sign-extended, those of the first sequence first.
 *
 * CLEAR_FLOOR truncates down; CLEAR_RANDOM up or down as the protocol would, by @seed.
 * -ERANGE: a value left the format, the operation is named; -ENOMEM.
 */
MUST_CHECK int clear_run(const struct plan *plan, const struct variant *v,
                         const uint64_t *const *weights, const uint64_t *input,
                         const uint32_t lengths[], enum clear_rounding rounding,
                         const uint8_t seed[PRG_SEED_BYTES], struct clear_report *reports,
                         int64_t *ret_output, struct err *err);

#endif
