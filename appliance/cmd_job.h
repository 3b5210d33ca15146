/* What the two sides of `mpcformer job` share: an operator's, cmd_job.c, and a data owner's who
 * reaches the parties, cmd_job_owner.c. */
#ifndef APPLIANCE_CMD_JOB_H
#define APPLIANCE_CMD_JOB_H

#include "appliance/client.h"
#include "appliance/model_folder.h"

struct job_options {
    const char *socket, *config, *model, *input, *output, *length;
    struct client_terms terms;
    unsigned int wait_s; /* an owner's `wait` */
    bool json, wait;
    const char *verb;
    char **arguments;
    int argument_count;
};

/** The label and its probability, or the score, or all of it as JSON. */
MUST_CHECK int job_print_answer(const struct model_folder *f, const double logits[], bool json,
                                struct err *err);

/* A data owner's verbs, over sessions of its own with both parties. */
MUST_CHECK int job_owner_submit(const struct job_options *o, struct err *err);
MUST_CHECK int job_owner_list(const struct job_options *o, struct err *err);
MUST_CHECK int job_owner_wait(const struct job_options *o, struct err *err);
MUST_CHECK int job_owner_cancel(const struct job_options *o, struct err *err);

#endif
