/* A BERT of any shape with random weights, as benches are asked for one. */
#ifndef APPLIANCE_BENCH_MODEL_H
#define APPLIANCE_BENCH_MODEL_H

#include "transformer/compile.h"

#include <argp.h>

#define BENCH_MODEL_LABELS  2
#define BENCH_MODEL_SAMPLES 2 /* that ranges and error bound are taken from */
#define BENCH_MODEL_SEED    1

struct bench_model {
    struct model_config config;
    const char *hidden_act, *softmax_act; /* as model_config_set_hidden() takes them */
    uint32_t tokens, batch;               /* batch: queries at once, beside one alone */
    enum length_mode length;
    unsigned int ring, frac;
    bool said; /* something of this was, on the command line */
};

extern const struct bench_model bench_model_default;

/** --layers, --hidden and so on, as a child of a bench's own argp; its input is a bench_model. */
extern const struct argp bench_model_argp;

/** Different tokens, drawn by a shuffle. -ENOMEM. */
MUST_CHECK int bench_model_tokens(const struct bench_model *m, uint64_t *random,
                                  struct encoding *ret);

/** The weights, and the samples that go with them. The caller frees the checkpoint. */
MUST_CHECK int bench_model_make(const struct bench_model *m, struct checkpoint **ret,
                                struct encoding ret_samples[BENCH_MODEL_SAMPLES], struct err *err);

/** Compile it; @without as in struct compile_options. */
MUST_CHECK int bench_model_compile(const struct bench_model *m, const struct checkpoint *c,
                                   const struct encoding samples[BENCH_MODEL_SAMPLES],
                                   unsigned int without, struct compiled **ret, struct err *err);

/** What share_files_write() writes into @folder of @c, and client/config.json. -EEXIST when a plan
 * is there. */
MUST_CHECK int bench_model_write(const struct bench_model *m, const char *folder,
                                 struct compiled *c, struct err *err);

/** From the client/ of such a folder: the shape, without label names, and the plan; its largest
 * batch. The caller frees the plan. */
MUST_CHECK int bench_model_read(const char *client, struct bench_model *ret, struct plan **ret_plan,
                                struct err *err);

/**
 * Make @c, compiled from the shape of @plan, the very model that @plan is of: its id, its
 * commitments and its error bound. -EINVAL when the two plans differ in anything else: the weights
 * are drawn by a seed, so that then they differ too.
 */
MUST_CHECK int bench_model_adopt(struct compiled *c, const struct plan *plan, struct err *err);

#endif
