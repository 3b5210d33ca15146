/*
 * model_folder: what a data owner has of a model, as `mpcformer share` makes it for him
 * (client/): config.json, the vocabulary and plan.mpcf; and, only where the owner of the weights
 * lets him compare, these.
 */
#ifndef APPLIANCE_MODEL_FOLDER_H
#define APPLIANCE_MODEL_FOLDER_H

#include "mpc/plan.h"
#include "transformer/reference.h"

#include <jansson.h>

struct model_folder {
    struct model_config config;
    struct tokenizer *tokenizer;
    struct plan *plan;             /* NULL after model_folder_open_float() */
    struct checkpoint *checkpoint; /* NULL until model_folder_load_float() */
};

/** Read @path and check that its files speak of one model. */
MUST_CHECK int model_folder_open(const char *path, struct model_folder **ret_folder,
                                 struct err *err);
void model_folder_free(struct model_folder *f);

/**
 * Load the float model in @path (config.json and model.safetensors), which must be of the plan's
 * shape. -ENOENT when there is none.
 */
MUST_CHECK int model_folder_load_float(struct model_folder *f, const char *path, struct err *err);

/** The float model in @path alone, as its owner has it: no plan. */
MUST_CHECK int model_folder_open_float(const char *path, struct model_folder **ret_folder,
                                       struct err *err);

/** Tokenize, cut to the plan's longest variant, or to what the model takes where there is none.
 * @ret lies in secret memory. */
MUST_CHECK int model_folder_encode(const struct model_folder *f, const char *text, const char *pair,
                                   struct encoding *ret, struct err *err);

/* The help of --length. */
#define MODEL_FOLDER_LENGTH_HELP                                                                   \
    "Who knows how many tokens a text has: public, the parties; bucket, nobody (bucket, where "    \
    "the "                                                                                         \
    "plan has it)"

/** The mode that @option names, NULL: bucket where the plan has it. -EINVAL for another word, or
 * one that the plan has no variant for. */
MUST_CHECK int model_folder_length(const struct model_folder *f, const char *option,
                                   enum length_mode *ret, struct err *err);

/** The label of logit number @index: the string that config.json has. */
const char *model_folder_label(const struct model_folder *f, size_t index);

/**
 * Into @to: @prefix with "label" and "probabilities" of an answer; of a regression, which has
 * neither, both are null, and there is "score", the logit.
 */
void model_folder_describe(const struct model_folder *f, const double logits[],
                           const double probabilities[], const char *prefix, json_t *to);

/** Which of the @count logits is the largest. */
size_t logits_best(const double logits[], size_t count);

/** exp(logit) over their sum. */
void logits_probabilities(const double logits[], size_t count, double ret[]);

#endif
