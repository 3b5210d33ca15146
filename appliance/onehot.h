/*
 * onehot: what a data owner shares between the parties: a row a token, the token's one-hot vector
 * beside its type's, as compile_input() has them: plan->vocabulary + plan->types columns with
 * scale 1, rows past the text repeating its last token.
 *
 * Party 1's share is a PRG stream from a seed drawn for this one job, party 0's is the row less it:
 * each alone is uniform.
 */
#ifndef APPLIANCE_ONEHOT_H
#define APPLIANCE_ONEHOT_H

#include "mpc/plan.h"
#include "mpc/prg.h"
#include "transformer/tokenizer.h"

/** Columns of a row. */
size_t onehot_columns(const struct plan *plan);

/** -EINVAL unless every id and type has its column, and the tokens fit a variant. */
MUST_CHECK int onehot_check(const struct plan *plan, const struct encoding *e, struct err *err);

/**
 * The share of @party of row @row of a checked @e. @prg: the same for both parties, of a seed that
 * serves this job alone. CT: timing depends on shapes only; addresses within @e on the row's
 * number.
 */
void onehot_share_row(const struct plan *plan, const struct encoding *e, size_t row,
                      struct prg *prg, unsigned int party, uint64_t *ret);

#endif
