/* Models that are compiled, and what dealer and parties answer by them, beside the clear executor
 * and the float reference. */
#ifndef TESTS_TRANSFORMER_ANSWERS_H
#define TESTS_TRANSFORMER_ANSWERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/mpc/replay.h"
#include "transformer/trial.h"

#define LABELS_MAX 8
#define BATCH_MAX  3
#define GUARDS_MAX 32
#define VALUES_MAX (BATCH_MAX * (LABELS_MAX + GUARDS_MAX)) /* of an answer */
#define BUCKETS    4

#define BOTH_LENGTHS (1u << LENGTH_PUBLIC | 1u << LENGTH_BUCKET)

/* The shipped model, and texts for each of the buckets. */
struct fixture {
    struct checkpoint *checkpoint;
    struct encoding *samples;
    size_t count;
};

extern const uint32_t buckets[BUCKETS];

int set_up(void **state);
int tear_down(void **state);

struct compile_options options_of(const struct fixture *f, unsigned int ring, unsigned int frac);

/* What fails fails the test. */
struct compiled *compile(const struct checkpoint *c, const struct compile_options *o);
struct trial try_out(struct compiled *m, const struct checkpoint *c, const struct encoding *samples,
                     size_t count);

/* Private answers to v->batch texts are near the clear executor's, and nearer to the float model's
 * than @error; they cost what the plan says. */
void check_answers(struct replay *r, const struct compiled *m, const struct checkpoint *c,
                   const struct variant *v, const struct encoding e[], double error);
void check_answer(struct replay *r, const struct compiled *m, const struct checkpoint *c,
                  const struct variant *v, const struct encoding *e, double error);

/* One layer with made-up weights, and a text for it. */
extern const struct model_config small;
extern const struct encoding small_text;
struct checkpoint *make_small(const char *hidden_act, const char *softmax_act);

#endif
