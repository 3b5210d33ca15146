/*
 * tokenizer: text to token ids, the way that the model's kind has it.
 *
 * WordPiece (BERT, DistilBERT; wordpiece.c). The steps, in order: special tokens that stand
 * literally in the text ("[SEP]") become themselves; control characters, private use and U+FFFD are
 * dropped, every kind of white space becomes a space, CJK ideographs become words of their own; in
 * lower case, canonical decomposition (NFD), loss of combining marks (Mn) and lower case; split at
 * white space and around each punctuation character; then each word is cut into the longest pieces
 * that the vocabulary has, or is [UNK] where that fails or the word has more than 100 characters.
 *
 * Byte-level BPE (RoBERTa; bpe.c): special tokens likewise ("</s>", and white space before "<mask>"
 * with it); then cut by GPT-2's expression, and the bytes of each piece merged by rank.
 *
 * Both equal HF's (tests/data/wordpiece.tsv, lines.tsv), with two deliberate differences:
 * categories are those of utf8proc's Unicode version, where the HF library has an older one (for
 * WordPiece it stops at Unicode 8: some six hundred rare marks and punctuation characters); and
 * U+2B820 to U+2B91F are CJK, as in BERT's own source. As in HF's, and unlike Python's lower(), a
 * capital sigma that ends a word becomes the ordinary small one.
 *
 * A tokenizer is read-only once loaded: any number of threads may use one.
 *
 * CT: tokenizing is not constant time. It runs at the owner of the text, never at a party.
 */
#ifndef TRANSFORMER_TOKENIZER_H
#define TRANSFORMER_TOKENIZER_H

#include "transformer/config.h"

#define ENCODING_TOKENS_MAX       512
#define ENCODING_TOKENS_MIN       3 /* room for [CLS] [SEP] [SEP]; RoBERTa's pairs take 4 */
#define TOKENIZER_FILES_MAX       2
#define TOKENIZER_TEXT_BYTES_MAX  (1 << 16)
#define TOKENIZER_VOCAB_BYTES_MAX (1 << 26)
#define TOKENIZER_VOCAB_MAX       (1 << 20)
#define TOKENIZER_WORD_MAX        100 /* characters; longer words are [UNK] */

struct tokenizer;

/**
 * What a model reads: [CLS] text [SEP], or [CLS] text [SEP] pair [SEP], without padding; of RoBERTa
 * <s> text </s>, or <s> text </s></s> pair </s>. Secret: it lies in memory of the caller's
 * (secret_alloc()), who wipes it.
 */
struct encoding {
    size_t count;                      /* tokens, special ones included */
    size_t dropped;                    /* tokens that the limit cut off */
    uint32_t ids[ENCODING_TOKENS_MAX]; /* (count) */
    /* (count): 0; and 1 from the pair's first token on, where the model has types */
    uint8_t types[ENCODING_TOKENS_MAX];
};

/** The files of @folder that a tokenizer of this kind is read from; returns how many. */
size_t tokenizer_files(enum model_kind kind, const char *ret[TOKENIZER_FILES_MAX]);

/**
 * Read the vocabulary in @folder. vocab.txt: a token a line, the first is 0; where one stands twice
 * the last line counts, as in HF; it must have [CLS], [SEP], [PAD] and [UNK]; [MASK] may be absent.
 * Or vocab.json and merges.txt, with <s>, </s>, <pad>, <unk> and, may be, <mask>. -EINVAL
 * otherwise, and where it has more tokens than @config; -EILSEQ for a line that is no UTF-8;
 * -ENOTSUP when added_tokens.json adds any. The caller frees.
 */
MUST_CHECK int tokenizer_load(const char *folder, const struct model_config *config,
                              struct tokenizer **ret_tokenizer, struct err *err);

/** NULL is nothing. */
void tokenizer_free(struct tokenizer *t);

/** One more than the largest id of the vocabulary. */
size_t tokenizer_size(const struct tokenizer *t);

/** The id of @token ("[PAD]", "##ing") as it stands in the vocabulary, or -ENOENT. */
MUST_CHECK int tokenizer_find(const struct tokenizer *t, const char *token, uint32_t *ret_id);

/**
 * Encode @text, and @pair when not NULL, in at most @tokens_max tokens (at least the special ones,
 * at most ENCODING_TOKENS_MAX; the caller also keeps to the model's positions_max). What is too
 * long is cut at its end; of a pair, the longer of the two first (HF's longest_first). A text ends
 * at its NUL: a caller that reads files refuses NULs itself. -EILSEQ for invalid UTF-8, with the
 * byte offset in the text; -E2BIG over TOKENIZER_TEXT_BYTES_MAX; -EINVAL for @tokens_max. Messages
 * never quote the text. Everything that this function itself keeps of the text is wiped before it
 * returns.
 */
MUST_CHECK int tokenizer_encode(const struct tokenizer *t, const char *text, const char *pair,
                                size_t tokens_max, struct encoding *ret_encoding, struct err *err);

/* Told of each word; what it returns other than 0 ends the telling. */
struct tokenizer_listener {
    int (*word)(void *context, const char *word);
    void *context;
};

/**
 * The words of @text, as encoding finds them before it cuts them into pieces; not those of more
 * than TOKENIZER_WORD_MAX characters. Errors as tokenizer_encode(), and the listener's.
 */
MUST_CHECK int tokenizer_words(const char *text, bool lower,
                               const struct tokenizer_listener *listener, struct err *err);

#endif
