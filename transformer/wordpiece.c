/* BERT's BasicTokenizer and WordPiece: tokenizer.h has the steps. */
#include "base/file.h"
#include "base/secret.h"
#include "transformer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#define VOCABULARY "vocab.txt"

/* Canonical decomposition makes at most four characters of one (U+1F82 and its like). */
#define DECOMPOSED_MAX 4

struct scratch {
    const struct tokenizer_listener *listener; /* of words, which are then not cut; or NULL */
    int listener_rc;
    int32_t word[TOKENIZER_WORD_MAX];                        /* (MIN(word_count, its size)) */
    size_t word_count;                                       /* may exceed the word's size */
    char bytes[2 + TOKENIZER_WORD_MAX * UTF8_BYTES_MAX + 1]; /* the word in UTF-8, or its rest */
    int32_t text[]; /* characters, before they are grouped into words */
};

static struct scratch *scratch_of(struct work *w)
{
    return (struct scratch *)w->scratch;
}

/* A character takes at least one byte, and its two spaces only when it is CJK, of three. */
static size_t scratch_bytes(size_t text_bytes)
{
    return sizeof(struct scratch) + DECOMPOSED_MAX * text_bytes * sizeof(int32_t);
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
    for (char *line = t->text; t->listed < lines; t->listed++) {
        size_t length = strcspn(line, "\n");
        char *next = line + length + 1;

        line[length] = 0;
        if (length && line[length - 1] == '\r')
            line[--length] = 0;
        if (!utf8_is_valid(line, length, NULL))
            return err_set(err, -EILSEQ, "%s: line %zu is not UTF-8", path, t->listed + 1);
        t->entries[t->listed] = (struct vocab_entry){.token = line, .id = (uint32_t)t->listed};
        line = next;
    }
    tokenizer_sort(t);
    return 0;
}

static int load(struct tokenizer *t, const char *folder, const struct model_config *config,
                struct err *err)
{
    char path[PATH_MAX];
    uint8_t *bytes = NULL;
    size_t count;
    int rc = file_path(path, sizeof(path), folder, VOCABULARY);

    if (rc < 0)
        return err_set(err, rc, "%s/" VOCABULARY ": the path is too long", folder);
    t->lower = config->lower_case;
    rc = file_read(path, TOKENIZER_VOCAB_BYTES_MAX, &bytes, &count, err);
    t->text = (char *)bytes;
    return rc < 0 ? rc : list_lines(t, count, path, err);
}

/*
 * The longest piece of s->bytes + 2 that the vocabulary has, with "##" before it when @inner. The
 * two bytes in front are room for that. Returns its bytes, or 0.
 */
static size_t longest_piece(struct work *w, size_t bytes, bool inner, uint32_t *ret_id)
{
    struct scratch *s = scratch_of(w);
    char *rest = s->bytes + 2;

    if (inner)
        memcpy(s->bytes, "##", 2);
    for (size_t end = bytes; end > 0; end--) {
        char kept = rest[end];
        int rc;

        if ((kept & 0xc0) == 0x80)
            continue; /* inside a character */
        rest[end] = 0;
        rc = tokenizer_find(w->t, inner ? s->bytes : rest, ret_id);
        rest[end] = kept;
        if (!rc)
            return end;
    }
    return 0;
}

static void end_word(struct work *w)
{
    struct scratch *s = scratch_of(w);
    uint32_t pieces[TOKENIZER_WORD_MAX];
    size_t bytes = 0, count = 0;

    if (!s->word_count)
        return;
    if (s->word_count <= TOKENIZER_WORD_MAX)
        for (size_t i = 0; i < s->word_count; i++)
            bytes += (size_t)utf8proc_encode_char(s->word[i], (uint8_t *)s->bytes + 2 + bytes);
    s->bytes[2 + bytes] = 0;
    if (s->listener) {
        if (bytes && !s->listener_rc)
            s->listener_rc = s->listener->word(s->listener->context, s->bytes + 2);
        s->word_count = 0;
        return;
    }
    while (bytes) {
        size_t piece = longest_piece(w, bytes, count > 0, &pieces[count]);

        if (!piece)
            break;
        count++;
        bytes -= piece;
        memmove(s->bytes + 2, s->bytes + 2 + piece, bytes + 1);
    }
    if (bytes || !count)
        side_add(w->side, w->t->special[UNK]);
    else
        for (size_t i = 0; i < count; i++)
            side_add(w->side, pieces[i]);
    secret_wipe(pieces, sizeof(pieces));
    s->word_count = 0;
}

static void extend_word(struct scratch *s, int32_t c)
{
    if (s->word_count < TOKENIZER_WORD_MAX)
        s->word[s->word_count] = c;
    s->word_count++;
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
static size_t clean(int32_t c, bool lower, int32_t *to, size_t room)
{
    utf8proc_ssize_t n;
    int boundary = 0;

    if (is_space(c)) {
        to[0] = ' ';
        return 1;
    }
    if (is_dropped(c))
        return 0;
    if (!lower) {
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

static void encode(struct work *w, const char *text, size_t bytes)
{
    struct scratch *s = scratch_of(w);
    size_t at = 0, count = 0, room = DECOMPOSED_MAX * bytes;
    bool lower = w->t->lower;

    while (at < bytes) {
        utf8proc_int32_t c = 0;

        at += (size_t)utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at),
                                       &c);
        if (is_cjk(c))
            s->text[count++] = ' ';
        count += clean(c, lower, s->text + count, room - count);
        if (is_cjk(c))
            s->text[count++] = ' ';
    }
    if (lower)
        order_marks(s->text, count);
    for (size_t i = 0; i < count; i++) {
        int32_t c = s->text[i];

        if (lower && utf8proc_category(c) == UTF8PROC_CATEGORY_MN)
            continue;
        if (lower)
            c = utf8proc_tolower(c);
        if (c == ' ' || is_punctuation(c))
            end_word(w);
        if (c != ' ')
            extend_word(s, c);
        if (is_punctuation(c))
            end_word(w);
    }
    end_word(w);
}

int tokenizer_words(const char *text, bool lower, const struct tokenizer_listener *listener,
                    struct err *err)
{
    const struct tokenizer plain = {.kind = &tokenizer_wordpiece, .lower = lower};
    size_t bytes = 0, size;
    struct work *w;
    int rc = tokenizer_check_text(text, "text", &bytes, err);

    if (rc < 0)
        return rc;
    size = sizeof(*w) + scratch_bytes(bytes);
    w = secret_alloc(size);
    if (!w)
        return -ENOMEM;
    w->t = &plain;
    w->side = &w->sides[0];
    scratch_of(w)->listener = listener;
    encode(w, text, bytes);
    rc = scratch_of(w)->listener_rc;
    secret_free(w, size);
    return rc;
}

const struct tokenizer_kind tokenizer_wordpiece = {
    .files = {VOCABULARY},
    .specials = {"[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"},
    .between = 1,
    .load = load,
    .scratch_bytes = scratch_bytes,
    .encode = encode,
};
