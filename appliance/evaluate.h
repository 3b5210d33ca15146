/*
 * evaluate: a task's rows through the parties and through the float model beside them, or through
 * the float model alone, from where an earlier run stopped.
 */
#ifndef APPLIANCE_EVALUATE_H
#define APPLIANCE_EVALUATE_H

#include "appliance/owner.h"
#include "appliance/results.h"

struct evaluation {
    struct owner *owner; /* its client is NULL where the float model is asked alone */
    const struct task *task;
    const struct task_data *data;
    const char *data_path, *results_path; /* results_path NULL: they are not kept */
    const char *model_path;               /* for its name, where there is no plan that says it */
    size_t batch;                         /* rows a job; of the float model alone it has no say */
    unsigned int progress_s; /* a line on stderr as often, which is no terminal; 0: never */
};

/**
 * All of e->data->rows. The rows that the results have already are not asked again; *ret_before is
 * how many. What is asked is in the file before the next is. -EINVAL as task_map_labels() and
 * results_open(); else as the owner's functions. The caller frees *ret on success.
 */
MUST_CHECK int evaluate(const struct evaluation *e, struct results *ret, size_t *ret_before,
                        struct err *err);

#endif
