/*
 * vocabulary: pieces of words, made of one's own text, as tokenizer_load() reads them.
 *
 * First [PAD], [UNK], [CLS], [SEP] and [MASK]; then every character that occurs, as a word's first
 * and as a later one ("##x"), the rarest left out where there are more than VOCABULARY_LETTERS_MAX;
 * then, one at a time, the two neighbours that stand side by side most often become a piece (byte
 * pair encoding, as HF's WordPiece trainer has it). Of equally frequent pairs the one that was
 * there first becomes one, so the same text gives the same vocabulary.
 */
#ifndef TRANSFORMER_VOCABULARY_H
#define TRANSFORMER_VOCABULARY_H

#include "base/base.h"

#define VOCABULARY_SIZE_MIN    32
#define VOCABULARY_SIZE_MAX    (1 << 17)
#define VOCABULARY_LETTERS_MAX 1000
#define VOCABULARY_WORDS_MAX   (1 << 24) /* different ones */
#define VOCABULARY_COUNT_MIN   2         /* what occurs less often becomes no piece */

struct vocabulary;

/** Empty; @lower: as the tokenizer will treat text. NULL when there is no memory. */
MUST_CHECK struct vocabulary *vocabulary_new(bool lower);
void vocabulary_free(struct vocabulary *v);

/** Count the words of @text. -EILSEQ, -E2BIG as tokenizer_words(); -ENOMEM; -EFBIG. */
MUST_CHECK int vocabulary_add(struct vocabulary *v, const char *text, struct err *err);

/**
 * At most @size lines (VOCABULARY_SIZE_MIN to _MAX) of what was added, to @path; fewer where the
 * text gives no more. -EINVAL: no word, or @size. Ends the counting: @v can only be freed.
 */
MUST_CHECK int vocabulary_save(struct vocabulary *v, size_t size, const char *path,
                               size_t *ret_lines, struct err *err);

#endif
