/* samples: one small plan for every kind of operation, for tests that want to see them all. */
#ifndef TESTS_MPC_SAMPLES_H
#define TESTS_MPC_SAMPLES_H

#include "tests/mpc/build.h"

#define SAMPLE_TOKENS 6
#define SAMPLE_INPUTS (SAMPLE_TOKENS * SAMPLE_TOKENS)
#define SAMPLE_THERE  3  /* tokens, where lengths are secret */
#define SAMPLE_AT     40 /* their presence: behind SAMPLE_INPUTS, on a cache line */
#define SAMPLE_WORDS  (SAMPLE_AT + SAMPLE_TOKENS * PRESENCE_COLS)

struct sample {
    const char *name;
    uint32_t (*build)(struct build *b); /* from the input to the wire that is the answer */
    bool rounds;                        /* what comes out may be the floor or the ceiling */
    bool narrow;                        /* input and weights in 24 bits */
    enum length_mode length;
};

extern const struct sample samples[];
extern const size_t sample_count;

/** The finished plan; build_end() takes it back. */
void sample_start(const struct sample *s, unsigned int ring, struct build *b);

/** The input of every sample: small numbers of both signs, and presence. */
extern const int64_t sample_input[SAMPLE_WORDS];

#endif
