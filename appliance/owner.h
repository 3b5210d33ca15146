/*
 * owner: a data owner's process from its configuration on, for the subcommands that ask the
 * parties: who it is, the model's folder, the sessions; and one text, classified in private and, to
 * compare, in the clear.
 */
#ifndef APPLIANCE_OWNER_H
#define APPLIANCE_OWNER_H

#include "appliance/client.h"
#include "appliance/model_folder.h"

#define OWNER_SCORE_TOLERANCE 0.01

struct owner {
    struct config *config;
    struct model_folder *folder;
    struct client *client;
    enum length_mode length; /* of its jobs: who knows how many tokens a text has */
};

/* Of one text. The arrays are secret memory: (labels) each. */
struct verdict {
    size_t labels;
    const struct guard *outside; /* not NULL: a value left the plan's range, nothing below holds */
    double *logits, *probabilities;
    double *float_logits, *float_probabilities; /* unset without a float model */
    size_t tokens, dropped;                     /* of the text */
    struct client_figures figures;
};

/** @option, or what TOOL_CONFIG_VARIABLE says; -EINVAL, and how to say it, when neither does. */
MUST_CHECK int owner_config_path(const char *option, const char **ret_path, struct err *err);

/**
 * Read the configuration at @path, what it names, and, where @compare, the float model in @model
 * (NULL: in the model's own folder). -EINVAL and the like when something is wrong there. Connects
 * to nobody yet.
 */
MUST_CHECK int owner_open(const char *path, bool compare, const char *model,
                          struct owner *ret_owner, struct err *err);
void owner_close(struct owner *o);

/** What --length says; NULL: bucket, where the plan has such variants. -EINVAL when it has none of
 *  the mode. */
MUST_CHECK int owner_set_length(struct owner *o, const char *option, struct err *err);

/** -EINVAL, and what to do, where the plan has no variant for @batch texts at once. */
MUST_CHECK int owner_check_batch(const struct owner *o, size_t batch, struct err *err);

/** Room for the answers of this owner's model. -ENOMEM. */
MUST_CHECK int verdict_new(const struct owner *o, struct verdict *ret, struct err *err);
void verdict_free(struct verdict *v);

/** Whether private and float answer are one label or, of a regression, scores within
 * OWNER_SCORE_TOLERANCE of the float one and at least of 1. */
bool verdict_agrees(const struct owner *o, const struct verdict *v);

/** Classify @text, with @pair unless NULL; in the clear too when the float model is there. */
MUST_CHECK int owner_classify(struct owner *o, const char *text, const char *pair,
                              struct verdict *ret, struct err *err);

/** The same of @count texts in one job, whose figures every verdict has: @ret is (count). -EINVAL
 * when the plan has no variant for them. */
MUST_CHECK int owner_classify_batch(struct owner *o, const struct encoding e[], size_t count,
                                    struct verdict ret[], struct err *err);

#endif
