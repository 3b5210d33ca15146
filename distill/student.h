/* student: the weights that training begins with. */
#ifndef DISTILL_STUDENT_H
#define DISTILL_STUDENT_H

#include "transformer/checkpoint.h"

/**
 * A model of @config, names of labels included: made-up weights by @seed, and where @from is not
 * NULL its embeddings, pooler and layers over them. Layer i of the student is the last of the i-th
 * share of @from's layers, as trainer.h compares them. @head: @from's classifier too.
 * -EINVAL when the shapes do not allow it, with what would. The caller frees.
 */
MUST_CHECK int student_new(const struct model_config *config, const struct checkpoint *from,
                           bool head, uint64_t seed, struct checkpoint **ret, struct err *err);

/** Labels called @names (count) in place of @config's own. -ENOMEM. */
MUST_CHECK int student_name_labels(struct model_config *config, const char *const names[],
                                   size_t count, struct err *err);

#endif
