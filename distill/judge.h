/* judge: a float model on a corpus, by its task's main metric. */
#ifndef DISTILL_JUDGE_H
#define DISTILL_JUDGE_H

#include "distill/corpus.h"

/**
 * @map: as corpus_make() had it. @net is of @model's shape. *ret is task->metrics[0].
 * -ENOMEM, and -ERANGE when a logit is not finite.
 */
MUST_CHECK int judge(struct network *net, const struct checkpoint *model, const struct corpus *c,
                     const struct task *task, const size_t map[TASK_LABELS_MAX], double *ret,
                     struct err *err);

#endif
