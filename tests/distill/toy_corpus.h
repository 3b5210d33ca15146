/*
 * A small corpus: rows of two to six words, no labels yet.
 */
#ifndef TESTS_DISTILL_TOY_CORPUS_H
#define TESTS_DISTILL_TOY_CORPUS_H

#include "base/secret.h"
#include "distill/corpus.h"

#include <stdlib.h>

/** @rows rows of words from @first on, @words of them; corpus_free() frees it. */
static inline struct corpus toy_corpus(size_t rows, uint32_t first, uint32_t words)
{
    struct corpus c = {.count = rows,
                       .token_room = 8 * rows,
                       .ids = secret_alloc(8 * rows * sizeof(*c.ids)),
                       .types = secret_alloc(8 * rows),
                       .starts = calloc(rows + 1, sizeof(*c.starts)),
                       .labels = calloc(rows, sizeof(*c.labels))};

    for (size_t i = 0; i < rows; i++) {
        for (size_t n = 0; n < 2 + i % 5; n++)
            c.ids[c.tokens++] = first + (uint32_t)((i * 7 + n * 3) % words);
        c.starts[i + 1] = c.tokens;
    }
    return c;
}

#endif
