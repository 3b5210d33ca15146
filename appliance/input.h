/*
 * input: what a data owner sends each party of a text, and what a party makes of it.
 *
 * A plan's input is a row for each token of each text of a batch: the token's one-hot vector over
 * plan->vocabulary columns beside its type's over plan->types, as compile_input() has them; rows
 * past the text repeat its last token. Of each row a party is sent, at a length that follows from
 * the plan,
 *
 *     its key of a point function over the vocabulary (mpc/dpf.h), with seeds of its own
 *     its share of the type columns, packed: party 1's is random, party 0's is the vector less it
 *
 * and expands it to its share of the row. All of it is in the ring of the plan's input wire. Where
 * lengths are secret, behind all rows,
 *
 *     its share of their presence (enum presence), packed in the plan's ring
 *
 * split like the types. What is sent has one size for all texts of a bucket. The key's tweak is a
 * hash of model, job and row, so that it serves nowhere else: a party that was sent another row's
 * key, or another job's, expands it to noise.
 */
#ifndef APPLIANCE_INPUT_H
#define APPLIANCE_INPUT_H

#include "appliance/messages.h"
#include "transformer/tokenizer.h"

/** Of one party's input under any plan: 512 tokens of the largest vocabulary, with 64 types, of
 * each query. */
#define INPUT_BYTES_MAX ((size_t)PLAN_BATCH_MAX << 19)

/** Bytes of one party's input. */
size_t input_bytes(const struct plan *plan, const struct variant *v);

/**
 * The variant of @mode for @count texts at @e. -EINVAL unless every id and type has its column, and
 * texts and tokens fit a variant.
 */
MUST_CHECK int input_check(const struct plan *plan, const struct encoding e[], size_t count,
                           enum length_mode mode, const struct variant **ret_variant,
                           struct err *err);

/** The lengths of a job of @count texts on @v, as the parties are told: those past the texts repeat
 *  the last; where they are secret each is the bucket's. */
void input_lengths(const struct variant *v, const struct encoding e[], size_t count,
                   uint32_t ret[PLAN_BATCH_MAX]);

/**
 * Both parties' inputs of @count checked texts for the job of id @job: @ret[party], input_bytes()
 * each. Sequences past the texts repeat the last.
 * -ENOMEM. CT: its size depends on the variant; its time on the numbers of tokens only in what the
 * cache does.
 */
MUST_CHECK int input_share(const struct plan *plan, const struct variant *v,
                           const uint8_t job[MESSAGE_ID_BYTES], const struct encoding e[],
                           size_t count, uint8_t *const ret[2]);

/* What a party expands the inputs of a plan with, one job at a time. */
struct input;

/** @plan outlives it. NULL when there is no memory. */
MUST_CHECK struct input *input_new(const struct plan *plan, unsigned int party);
void input_free(struct input *in);

/**
 * This party's share of a job's input, variant_input_words() at @ret. -EINVAL unless @count is
 * input_bytes(); any bytes then become some rows. Allocates nothing. CT: depends on the variant.
 */
MUST_CHECK int input_expand(struct input *in, const struct variant *v,
                            const uint8_t job[MESSAGE_ID_BYTES], const uint8_t *bytes, size_t count,
                            uint64_t *ret);

/** Wipe what the last job left here. */
void input_wipe(struct input *in);

#endif
