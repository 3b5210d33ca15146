/*
 * distill_budget: the options of `mpcformer distill --budget`, and the choice that they lead to
 * (distill/budget.h), which is kept as budget.json in the folder of the result: the same command
 * finds it there and does not search again.
 */
#ifndef APPLIANCE_DISTILL_BUDGET_H
#define APPLIANCE_DISTILL_BUDGET_H

#include "appliance/train.h"

struct budget_options {
    double ms; /* 0: no budget */
    const char *rates, *line;
    size_t steps, rows;
    unsigned int ring;
    bool more; /* something of this but --budget was given */
};

extern const struct budget_options budget_options_default;

/** An argp child: its input is a struct budget_options. */
extern const struct argp budget_argp;

/**
 * Put into @config, the student's, exact functions in place of its own where the budget allows, and
 * print the choice. @rate: of the steps before a probe. As budget_choose(); -EINVAL when the folder
 * has another command's choice.
 */
MUST_CHECK int budget_apply(const struct budget_options *o, const struct train_options *t,
                            const struct train_data *d, const struct objective *teacher,
                            double rate, struct model_config *config, struct err *err);

#endif
