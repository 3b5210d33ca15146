/*
 * libmpcformer: ask a model in private, from a program of your own. What `mpcformer infer` does:
 * the library turns texts into tokens, splits them between the two parties, and adds up what they
 * answer; neither learns a text or an answer. Mutual TLS, pins and the model's folder come from a
 * data owner's configuration file (`mpcformer infer --config`; README of the appliance).
 *
 * Compile with `pkg-config --cflags --libs mpcformer`. A session is used by one thread at a time; a
 * program may have several. Nothing here prints, exits or installs a signal handler.
 */
#ifndef MPCFORMER_H
#define MPCFORMER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A message for people: what is wrong and what to do. */
#define MPCFORMER_ERROR_SIZE 512

/* A data owner's sessions with both parties, for one model. */
struct mpcformer;

struct mpcformer_text {
    const char *text; /* UTF-8 */
    const char *pair; /* the second sentence of a pair, or NULL */
};

struct mpcformer_answer {
    const double *logits; /* mpcformer_outputs() of them, until the next question or the end;
                             NULL, and probability 0: the model gives labels only */
    const char *label;    /* of the largest, as long as the session; NULL: a regression, or none */
    double probability;   /* of that label; of a regression without meaning */
    size_t dropped;       /* tokens at the text's end that were left out: it was too long */
    const char *outside;  /* NULL: there is an answer; else where a value left the range that the
                             plan was made for: nothing above holds but dropped */
};

/**
 * Read the configuration at @path and the model's folder that it names, and connect to both
 * parties. 0 and a session in @ret, or a negative errno and its text in @error: -ENOENT a file is
 * missing or a party does not serve the model, -EINVAL a file is wrong, -EAGAIN not yet,
 * -ETIMEDOUT, -ECONNREFUSED and the like of the network, -ENOMEM.
 */
int mpcformer_open(const char *path, struct mpcformer **ret, char error[MPCFORMER_ERROR_SIZE]);

/** End both sessions and wipe what they held. NULL is nothing. */
void mpcformer_close(struct mpcformer *m);

/** Logits of an answer, at least 1. */
size_t mpcformer_outputs(const struct mpcformer *m);

/** The name of logit @number, as long as the session; NULL when it is a score, or there is none. */
const char *mpcformer_label(const struct mpcformer *m, size_t number);

/** The most texts that one question may have, at least 1: what the model was shared for. */
size_t mpcformer_batch_max(const struct mpcformer *m);

/**
 * Ask, in one job, for @count texts (1 to mpcformer_batch_max()); answers to @ret, (count). Blocks
 * until they are there, a few times the configuration's timeout_ms at the most; connects again
 * where that is needed. 0, or a negative errno and its text in @error: -EREMOTEIO a party refuses,
 * -EAGAIN it is busy, -ECONNRESET it was lost, -EINVAL no UTF-8 or a count that the model was not
 * shared for. After an error there is no answer, and the session may be used again.
 */
int mpcformer_ask(struct mpcformer *m, const struct mpcformer_text texts[], size_t count,
                  struct mpcformer_answer ret[], char error[MPCFORMER_ERROR_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
