/* What tokenizer.c, wordpiece.c and bpe.c share: a vocabulary, and a text on its way to ids. */
#ifndef TRANSFORMER_TOKENIZER_INTERNAL_H
#define TRANSFORMER_TOKENIZER_INTERNAL_H

#include "transformer/tokenizer.h"

#include <jansson.h>
#include <limits.h>
#include <utf8proc.h>

#define UTF8_BYTES_MAX 4

/* CLS stands before everything, SEP after each text. */
enum special { CLS, SEP, PAD, UNK, MASK, SPECIALS };

struct vocab_entry {
    const char *token;
    uint32_t id;
};

struct merge {
    uint64_t pair; /* ids: left in the upper half, right */
    uint32_t rank; /* the least goes first */
    uint32_t id;   /* of both together */
};

struct work;

/* One way of cutting text into tokens. */
struct tokenizer_kind {
    const char *files[2];           /* in the model's folder; the second may be NULL */
    const char *specials[SPECIALS]; /* all begin with the same character */
    bool mask_takes_spaces;         /* white space before a mask goes with it */
    size_t between;                 /* separators between a text and its pair */

    /* Set t->entries, t->listed and what is this kind's own. */
    int (*load)(struct tokenizer *t, const char *folder, const struct model_config *config,
                struct err *err);
    /* Of work->scratch, for texts of so many bytes. */
    size_t (*scratch_bytes)(size_t text_bytes);
    /* Append the tokens of valid UTF-8 without special tokens to w->side. */
    void (*encode)(struct work *w, const char *text, size_t bytes);
};

extern const struct tokenizer_kind tokenizer_wordpiece, tokenizer_bpe;

struct tokenizer {
    const struct tokenizer_kind *kind;
    struct vocab_entry *entries; /* (count), ordered by token, each token once */
    size_t count, listed;        /* listed: before that */
    size_t size;                 /* one more than the largest id */
    bool typed;                  /* tokens of a pair have type 1 */
    bool known[SPECIALS];
    uint32_t special[SPECIALS];

    char *text; /* WordPiece: the file, lines cut into strings */
    bool lower;

    json_t *root; /* BPE: the file, which has the strings */
    bool prefix_space;
    uint32_t bytes[UCHAR_MAX + 1]; /* the token of each byte */
    struct merge *merges;          /* (merge_count), ordered by pair, each once */
    size_t merge_count;
};

/* The tokens of one text: all are counted, as many as can ever be used are kept. */
struct side {
    size_t count;
    uint32_t ids[ENCODING_TOKENS_MAX];
};

/* All that encoding keeps of the text, in one block of secret memory. */
struct work {
    const struct tokenizer *t;
    struct side sides[2];
    struct side *side;  /* the one being filled */
    uint64_t scratch[]; /* the kind's own */
};

void side_add(struct side *s, uint32_t id);

/** Order t->entries by token; where one stands twice the last of the file counts. */
void tokenizer_sort(struct tokenizer *t);

/** @ret_fault, which may be NULL: the first byte that is wrong. */
bool utf8_is_valid(const char *text, size_t bytes, size_t *ret_fault);

/** Valid UTF-8 and not too long; else why, by the name of @which. */
MUST_CHECK int tokenizer_check_text(const char *text, const char *which, size_t *ret_bytes,
                                    struct err *err);

/** Unicode's White_Space. */
bool tokenizer_is_white_space(int32_t c);

#endif
