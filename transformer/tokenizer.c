#include "transformer/tokenizer.h"

#include "base/file.h"
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Canonical decomposition makes at most four characters of one (U+1F82 and its like). */
#define DECOMPOSED_MAX 4

#define UTF8_BYTES_MAX 4

enum special { CLS, SEP, PAD, UNK, MASK, SPECIALS };

static const char *const special_names[SPECIALS] = {"[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"};

struct vocab_entry {
    const char *token;
    uint32_t id;
};

struct tokenizer {
    bool lower;
    char *text;                  /* the file, lines cut into strings */
    struct vocab_entry *entries; /* (count), ordered by token, each token once */
    size_t count, lines;
    bool known[SPECIALS];
    uint32_t special[SPECIALS];
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
    struct side *side;                                       /* the one being filled */
    int32_t word[TOKENIZER_WORD_MAX];                        /* (MIN(word_count, its size)) */
    size_t word_count;                                       /* may exceed the word's size */
    char bytes[2 + TOKENIZER_WORD_MAX * UTF8_BYTES_MAX + 1]; /* the word in UTF-8, or its rest */
    size_t text_capacity;
    int32_t text[]; /* characters, before they are grouped into words */
};

static int by_token(const void *a, const void *b)
{
    const struct vocab_entry *x = a, *y = b;

    return strcmp(x->token, y->token);
}

static int by_token_then_id(const void *a, const void *b)
{
    const struct vocab_entry *x = a, *y = b;
    int order = strcmp(x->token, y->token);

    return order ? order : (x->id > y->id) - (x->id < y->id);
}

int tokenizer_find(const struct tokenizer *t, const char *token, uint32_t *ret_id)
{
    struct vocab_entry key = {.token = token};
    const struct vocab_entry *e = bsearch(&key, t->entries, t->count, sizeof(key), by_token);

    if (!e)
        return -ENOENT;
    *ret_id = e->id;
    return 0;
}

/* Byte offset of the first fault, or -1. */
static ptrdiff_t utf8_fault(const char *text, size_t bytes)
{
    size_t at = 0;

    while (at < bytes) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n =
            utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);

        if (n <= 0)
            return (ptrdiff_t)at;
        at += (size_t)n;
    }
    return -1;
}

/* Cut t->text into lines and list them in t->entries. */
static int list_lines(struct tokenizer *t, size_t bytes, const char *path, struct err *err)
{
    size_t lines = 0;

    if (memchr(t->text, 0, bytes))
        return err_set(err, -EINVAL, "%s: has a NUL byte; not a vocabulary", path);
    for (size_t i = 0; i < bytes; i++)
        lines += t->text[i] == '\n';
    lines += bytes && t->text[bytes - 1] != '\n';
    if (!lines || lines > TOKENIZER_VOCAB_MAX)
        return err_set(err, -EINVAL, "%s: has %zu lines; a vocabulary has 1 to %d", path, lines,
                       TOKENIZER_VOCAB_MAX);
    t->entries = calloc(lines, sizeof(*t->entries));
    if (!t->entries)
        return -ENOMEM;
    for (char *line = t->text; t->lines < lines; t->lines++) {
        size_t length = strcspn(line, "\n");
        char *next = line + length + 1;

        line[length] = 0;
        if (length && line[length - 1] == '\r')
            line[--length] = 0;
        if (utf8_fault(line, length) >= 0)
            return err_set(err, -EILSEQ, "%s: line %zu is not UTF-8", path, t->lines + 1);
        t->entries[t->lines] = (struct vocab_entry){.token = line, .id = (uint32_t)t->lines};
        line = next;
    }
    return 0;
}

static void sort_entries(struct tokenizer *t)
{
    qsort(t->entries, t->lines, sizeof(*t->entries), by_token_then_id);
    for (size_t i = 0; i < t->lines; i++) {
        if (t->count && !strcmp(t->entries[t->count - 1].token, t->entries[i].token))
            t->count--;
        t->entries[t->count++] = t->entries[i];
    }
}

static int find_specials(struct tokenizer *t, const char *path, struct err *err)
{
    for (size_t i = 0; i < SPECIALS; i++) {
        t->known[i] = !tokenizer_find(t, special_names[i], &t->special[i]);
        if (!t->known[i] && i != MASK)
            return err_set(err, -EINVAL, "%s: has no %s; not a BERT vocabulary", path,
                           special_names[i]);
    }
    return 0;
}

int tokenizer_load(const char *path, bool lower, struct tokenizer **ret_tokenizer, struct err *err)
{
    struct tokenizer *t = calloc(1, sizeof(*t));
    uint8_t *bytes = NULL;
    size_t count;
    int rc;

    if (!t)
        return -ENOMEM;
    t->lower = lower;
    rc = file_read(path, TOKENIZER_VOCAB_BYTES_MAX, &bytes, &count, err);
    if (rc < 0)
        goto fail;
    t->text = (char *)bytes;
    rc = list_lines(t, count, path, err);
    if (rc < 0)
        goto fail;
    sort_entries(t);
    rc = find_specials(t, path, err);
    if (rc < 0)
        goto fail;
    *ret_tokenizer = t;
    return 0;
fail:
    tokenizer_free(t);
    return rc;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    free(t->entries);
    free(t->text);
    free(t);
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return t->lines;
}

static void side_add(struct side *s, uint32_t id)
{
    if (s->count < ENCODING_TOKENS_MAX)
        s->ids[s->count] = id;
    s->count++;
}

/*
 * The longest piece of w->bytes + 2 that the vocabulary has, with "##" before it when @inner. The
 * two bytes in front are room for that. Returns its bytes, or 0.
 */
static size_t longest_piece(struct work *w, size_t bytes, bool inner, uint32_t *ret_id)
{
    char *rest = w->bytes + 2;

    if (inner)
        memcpy(w->bytes, "##", 2);
    for (size_t end = bytes; end > 0; end--) {
        char kept = rest[end];
        int rc;

        if ((kept & 0xc0) == 0x80)
            continue; /* inside a character */
        rest[end] = 0;
        rc = tokenizer_find(w->t, inner ? w->bytes : rest, ret_id);
        rest[end] = kept;
        if (!rc)
            return end;
    }
    return 0;
}

static void end_word(struct work *w)
{
    uint32_t pieces[TOKENIZER_WORD_MAX];
    size_t bytes = 0, count = 0;

    if (!w->word_count)
        return;
    if (w->word_count <= TOKENIZER_WORD_MAX)
        for (size_t i = 0; i < w->word_count; i++)
            bytes += (size_t)utf8proc_encode_char(w->word[i], (uint8_t *)w->bytes + 2 + bytes);
    w->bytes[2 + bytes] = 0;
    while (bytes) {
        size_t piece = longest_piece(w, bytes, count > 0, &pieces[count]);

        if (!piece)
            break;
        count++;
        bytes -= piece;
        memmove(w->bytes + 2, w->bytes + 2 + piece, bytes + 1);
    }
    if (bytes || !count)
        side_add(w->side, w->t->special[UNK]);
    else
        for (size_t i = 0; i < count; i++)
            side_add(w->side, pieces[i]);
    secret_wipe(pieces, sizeof(pieces));
    w->word_count = 0;
}

static void extend_word(struct work *w, int32_t c)
{
    if (w->word_count < TOKENIZER_WORD_MAX)
        w->word[w->word_count] = c;
    w->word_count++;
}

static bool is_space(int32_t c)
{
    utf8proc_category_t kind = utf8proc_category(c);

    return c == '\t' || c == '\n' || c == '\r' || kind == UTF8PROC_CATEGORY_ZS ||
           kind == UTF8PROC_CATEGORY_ZL || kind == UTF8PROC_CATEGORY_ZP;
}

/* Cc, Cf and Co; not Cn, so that a character newer than our tables is not lost. */
static bool is_dropped(int32_t c)
{
    utf8proc_category_t kind = utf8proc_category(c);

    return c == 0xfffd || kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF ||
           kind == UTF8PROC_CATEGORY_CO;
}

/* BERT counts all ASCII that is no letter, digit, space or control, such as '$', with Unicode's P.
 */
static bool is_punctuation(int32_t c)
{
    utf8proc_category_t kind = utf8proc_category(c);

    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
               (c >= '{' && c <= '~');
    return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

/* The blocks that BERT's BasicTokenizer names. */
static bool is_cjk(int32_t c)
{
    static const struct {
        int32_t first, last;
    } blocks[] = {
        {0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
        {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f},
    };

    for (size_t i = 0; i < ARRAY_LENGTH(blocks); i++)
        if (c >= blocks[i].first && c <= blocks[i].last)
            return true;
    return false;
}

/* @c cleaned, and decomposed when the tokenizer lower-cases, at @to; returns how many characters.
 */
static size_t clean(const struct work *w, int32_t c, int32_t *to, size_t room)
{
    utf8proc_ssize_t n;
    int boundary = 0;

    if (is_space(c)) {
        to[0] = ' ';
        return 1;
    }
    if (is_dropped(c))
        return 0;
    if (!w->t->lower) {
        to[0] = c;
        return 1;
    }
    n = utf8proc_decompose_char(c, to, (utf8proc_ssize_t)room, UTF8PROC_DECOMPOSE, &boundary);
    return n < 0 ? 0 : (size_t)n;
}

/* Canonical order: among characters between two of class 0, by class, otherwise as they stood. */
static void order_marks(int32_t *text, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int32_t c = text[i];
        utf8proc_propval_t class = utf8proc_get_property(c)->combining_class;
        size_t at = i;

        if (!class)
            continue;
        while (at && utf8proc_get_property(text[at - 1])->combining_class > class) {
            text[at] = text[at - 1];
            at--;
        }
        text[at] = c;
    }
}

/* Text without special tokens: valid UTF-8, @bytes of it. */
static void encode_plain(struct work *w, const char *text, size_t bytes)
{
    size_t at = 0, count = 0;

    while (at < bytes) {
        utf8proc_int32_t c = 0;

        at += (size_t)utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at),
                                       &c);
        if (is_cjk(c))
            w->text[count++] = ' ';
        count += clean(w, c, w->text + count, w->text_capacity - count);
        if (is_cjk(c))
            w->text[count++] = ' ';
    }
    if (w->t->lower)
        order_marks(w->text, count);
    for (size_t i = 0; i < count; i++) {
        int32_t c = w->text[i];

        if (w->t->lower && utf8proc_category(c) == UTF8PROC_CATEGORY_MN)
            continue;
        if (w->t->lower)
            c = utf8proc_tolower(c);
        if (c == ' ' || is_punctuation(c))
            end_word(w);
        if (c != ' ')
            extend_word(w, c);
        if (is_punctuation(c))
            end_word(w);
    }
    end_word(w);
}

/* The special token that @text starts with, or SPECIALS. */
static size_t special_at(const struct tokenizer *t, const char *text)
{
    size_t i;

    for (i = 0; i < SPECIALS; i++)
        if (t->known[i] && !strncmp(text, special_names[i], strlen(special_names[i])))
            break;
    return i;
}

static void encode_text(struct work *w, struct side *side, const char *text)
{
    const char *plain = text;

    w->side = side;
    while (*text) {
        size_t special = *text == '[' ? special_at(w->t, text) : SPECIALS;

        if (special == SPECIALS) {
            text++;
            continue;
        }
        encode_plain(w, plain, (size_t)(text - plain));
        side_add(side, w->t->special[special]);
        text += strlen(special_names[special]);
        plain = text;
    }
    encode_plain(w, plain, (size_t)(text - plain));
}

static int check_text(const char *text, const char *which, size_t *ret_bytes, struct err *err)
{
    size_t bytes = strnlen(text, TOKENIZER_TEXT_BYTES_MAX + 1);
    ptrdiff_t fault;

    if (bytes > TOKENIZER_TEXT_BYTES_MAX)
        return err_set(err, -E2BIG, "the %s has more than %d bytes", which,
                       TOKENIZER_TEXT_BYTES_MAX);
    fault = utf8_fault(text, bytes);
    if (fault >= 0)
        return err_set(err, -EILSEQ, "the %s is not UTF-8: byte %td is invalid; convert it", which,
                       fault);
    *ret_bytes = bytes;
    return 0;
}

/* How much of two texts of @a and @b tokens stays in @room: the shorter whole where possible, else
 * half and half, the odd token to the longer (to the second if they are equal). */
static void share_room(size_t room, size_t *a, size_t *b)
{
    size_t *less = *a > *b ? b : a, *more = *a > *b ? a : b;

    if (*a + *b <= room)
        return;
    *less = MIN(*less, room / 2);
    *more = MIN(*more, room - *less);
}

static void assemble(const struct work *w, bool paired, size_t tokens_max, struct encoding *ret)
{
    size_t kept[2] = {w->sides[0].count, w->sides[1].count};
    size_t n = 0;

    share_room(tokens_max - (paired ? 3 : 2), &kept[0], &kept[1]);
    ret->dropped = w->sides[0].count + w->sides[1].count - kept[0] - kept[1];
    ret->ids[n] = w->t->special[CLS];
    ret->types[n++] = 0;
    for (uint8_t type = 0; type < 1 + paired; type++) {
        for (size_t i = 0; i < kept[type]; i++) {
            ret->ids[n] = w->sides[type].ids[i];
            ret->types[n++] = type;
        }
        ret->ids[n] = w->t->special[SEP];
        ret->types[n++] = type;
    }
    ret->count = n;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, const char *pair,
                     size_t tokens_max, struct encoding *ret_encoding, struct err *err)
{
    size_t bytes = 0, pair_bytes = 0, capacity, size;
    struct work *w;
    int rc;

    if (tokens_max < ENCODING_TOKENS_MIN || tokens_max > ENCODING_TOKENS_MAX)
        return err_set(err, -EINVAL, "at most %zu tokens asked for; it must be %d to %d",
                       tokens_max, ENCODING_TOKENS_MIN, ENCODING_TOKENS_MAX);
    rc = check_text(text, "text", &bytes, err);
    if (rc < 0)
        return rc;
    if (pair) {
        rc = check_text(pair, "second text", &pair_bytes, err);
        if (rc < 0)
            return rc;
    }
    /* A character takes at least one byte, and its two spaces only when it is CJK, of three. */
    capacity = DECOMPOSED_MAX * MAX(bytes, pair_bytes);
    size = sizeof(*w) + capacity * sizeof(w->text[0]);
    w = secret_alloc(size);
    if (!w)
        return -ENOMEM;
    w->t = t;
    w->text_capacity = capacity;
    encode_text(w, &w->sides[0], text);
    if (pair)
        encode_text(w, &w->sides[1], pair);
    assemble(w, pair != NULL, tokens_max, ret_encoding);
    secret_free(w, size);
    return 0;
}
