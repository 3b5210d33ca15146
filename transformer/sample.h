/*
 * sample: the text on which a model's ranges are measured when it is compiled.
 *
 * Every line is a sample, every fourth comes with the next line as its pair as well; and for each
 * length bucket one sample of many lines fills it to the last token. The last sample is the empty
 * text, since somebody will ask it. A built-in text of the project's own, in English, stands in
 * when the owner gives none.
 */
#ifndef TRANSFORMER_SAMPLE_H
#define TRANSFORMER_SAMPLE_H

#include "transformer/tokenizer.h"

#define SAMPLE_LINES_MAX 1000

struct samples {
    struct encoding *encodings; /* (count), in secret memory */
    size_t count, capacity;
};

/**
 * @text: lines of UTF-8, empty ones skipped; NULL for the built-in one. @tokens: the buckets in
 * rising order; no sample is longer than the last.
 * -EINVAL: no line; -E2BIG: more than SAMPLE_LINES_MAX; what the tokenizer refuses, with the line.
 * The caller calls samples_free() on success.
 */
MUST_CHECK int samples_make(const struct tokenizer *t, const char *text, const uint32_t *tokens,
                            size_t token_count, struct samples *ret, struct err *err);

/** Wipes; zeroed is nothing. */
void samples_free(struct samples *s);

#endif
