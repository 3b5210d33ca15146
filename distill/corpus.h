/*
 * corpus: a task's rows as tokens, and batches of them in an order of their own each epoch.
 *
 * Batches are plain samples of the rows: since the network knows no padding, nothing is gained by
 * putting sequences of like length together.
 */
#ifndef DISTILL_CORPUS_H
#define DISTILL_CORPUS_H

#include "distill/network.h"
#include "transformer/task.h"
#include "transformer/tokenizer.h"

/* Secret, as texts are. Zeroed is an empty one. */
struct corpus {
    size_t count, tokens;
    uint32_t *ids;  /* (tokens) */
    uint8_t *types; /* (tokens) */
    size_t *starts; /* (count + 1) */
    double *labels; /* (count): numbers of logits, or scores */
    size_t cut;     /* rows that were longer than the limit */
    size_t token_room;
};

/* Rows of a corpus as a batch; what it points to is its own. */
struct sheet {
    struct batch batch;
    double *labels; /* (sequences) */
    uint32_t *ids, *starts, *words;
    uint8_t *types;
    size_t sequence_room, token_room;
};

/**
 * Tokenize @data, each row cut to @tokens_max; @map (label_count): which logit stands for each
 * label (task_map_labels()); unused for a score. -ENOMEM; what the tokenizer refuses, with the
 * line. The caller frees.
 */
MUST_CHECK int corpus_make(const struct task *task, const struct task_data *data,
                           const size_t map[TASK_LABELS_MAX], const struct tokenizer *t,
                           size_t tokens_max, struct corpus *ret, struct err *err);
void corpus_free(struct corpus *c);

/** The first @count of 0 to @all - 1 in the order of a @seed and an @epoch; @ret holds @all. */
void corpus_shuffle(size_t all, uint64_t seed, uint64_t epoch, uint32_t *ret);

/** Keep a random @fraction of the rows (at least one), chosen by @seed. -ENOMEM. */
MUST_CHECK int corpus_thin(struct corpus *c, double fraction, uint64_t seed, struct err *err);

/** Where part @part of @parts of the rows @rows (count) begins, for parts of about as many tokens:
 *  a row is in the part that its middle is in. Part @parts begins at the end. */
size_t corpus_cut(const struct corpus *c, const uint32_t *rows, size_t count, size_t part,
                  size_t parts);

/** Put rows @rows (count) of @c on @sheet. -ENOMEM. */
MUST_CHECK int sheet_fill(struct sheet *s, const struct corpus *c, const uint32_t *rows,
                          size_t count, struct err *err);

/** The same of rows @first to before @end of the batch @rows (count) alone, as its part. */
MUST_CHECK int sheet_fill_part(struct sheet *s, const struct corpus *c, const uint32_t *rows,
                               size_t count, size_t first, size_t end, struct err *err);
void sheet_free(struct sheet *s);

#endif
