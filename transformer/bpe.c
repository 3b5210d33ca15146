/*
 * Byte-level BPE, as GPT-2 has it and RoBERTa took it over: a text is cut where the expression
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * says; each piece starts as one token a byte, and of all pairs of neighbours that have a merge the
 * one of the least rank is merged, the leftmost first, until there is none. The files write bytes
 * as printable characters: itself where it is one in Latin-1, else a character from U+0100 on.
 */
#include "base/file.h"
#include "transformer/document.h"
#include "transformer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#define VOCABULARY "vocab.json"
#define MERGES     "merges.txt"

#define DEAD UINT32_MAX /* a symbol that is part of the one before it now */
#define NONE UINT32_MAX /* no neighbour */

/* --- the files --- */

static int list_tokens(struct tokenizer *t, const char *path, struct err *err)
{
    size_t count = json_object_size(t->root);
    const char *token;
    json_t *id;

    if (!count || count > TOKENIZER_VOCAB_MAX)
        return err_set(err, -EINVAL, "%s: has %zu tokens; a vocabulary has 1 to %d", path, count,
                       TOKENIZER_VOCAB_MAX);
    t->entries = calloc(count, sizeof(*t->entries));
    if (!t->entries)
        return err_set(err, -ENOMEM, "%s: no memory for %zu tokens", path, count);
    json_object_foreach(t->root, token, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= TOKENIZER_VOCAB_MAX)
            return err_set(err, -EINVAL, "%s: token \"%.64s\" has no number from 0 to %d", path,
                           document_shown(token), TOKENIZER_VOCAB_MAX - 1);
        t->entries[t->listed++] =
            (struct vocab_entry){.token = token, .id = (uint32_t)json_integer_value(id)};
    }
    tokenizer_sort(t);
    return 0;
}

/* The characters that stand for bytes. */
static int list_bytes(struct tokenizer *t, const char *path, struct err *err)
{
    int32_t next = 0x100;

    for (int32_t byte = 0; byte <= UCHAR_MAX; byte++) {
        bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        int32_t c = printable ? byte : next++;
        char text[UTF8_BYTES_MAX + 1] = {0};

        utf8proc_encode_char(c, (uint8_t *)text);
        if (tokenizer_find(t, text, &t->bytes[byte]) < 0)
            return err_set(err, -EINVAL,
                           "%s: has no token for byte 0x%02x; not a byte-level vocabulary", path,
                           (unsigned int)byte);
    }
    return 0;
}

/* @line: two tokens and a space between. */
static int add_merge(struct tokenizer *t, char *line, struct merge *ret)
{
    char *space = strchr(line, ' ');
    uint32_t left, right;

    if (!space)
        return -EINVAL;
    *space = 0;
    if (tokenizer_find(t, line, &left) < 0 || tokenizer_find(t, space + 1, &right) < 0)
        return -ENOENT;
    memmove(space, space + 1, strlen(space + 1) + 1);
    ret->pair = (uint64_t)left << 32 | right;
    ret->rank = (uint32_t)t->merge_count;
    return tokenizer_find(t, line, &ret->id);
}

static int by_pair(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;

    return (x->pair > y->pair) - (x->pair < y->pair);
}

static int by_pair_then_rank(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;
    int order = by_pair(a, b);

    return order ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

/* Of a pair that is listed twice the last counts, as in HF. */
static void sort_merges(struct tokenizer *t)
{
    size_t count = 0;

    qsort(t->merges, t->merge_count, sizeof(*t->merges), by_pair_then_rank);
    for (size_t i = 0; i < t->merge_count; i++) {
        if (count && t->merges[count - 1].pair == t->merges[i].pair)
            count--;
        t->merges[count++] = t->merges[i];
    }
    t->merge_count = count;
}

static int list_merges(struct tokenizer *t, char *text, const char *path, struct err *err)
{
    size_t number = 0, lines = 1;

    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    if (lines > TOKENIZER_VOCAB_MAX)
        return err_set(err, -EFBIG, "%s: more than %d lines", path, TOKENIZER_VOCAB_MAX);
    t->merges = calloc(lines, sizeof(*t->merges));
    if (!t->merges)
        return err_set(err, -ENOMEM, "%s: no memory for %zu merges", path, lines);
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
        int rc;

        number++;
        line[strcspn(line, "\r")] = 0;
        if (!*line || !strncmp(line, "#version", 8))
            continue;
        rc = add_merge(t, line, &t->merges[t->merge_count]);
        if (rc < 0)
            return err_set(err, -EINVAL,
                           "%s:%zu: it is to be two tokens of " VOCABULARY
                           ", which has them together too",
                           path, number);
        t->merge_count++;
    }
    sort_merges(t);
    return 0;
}

static int load_merges(struct tokenizer *t, const char *folder, struct err *err)
{
    char path[PATH_MAX];
    uint8_t *text = NULL;
    size_t count;
    int rc = file_path(path, sizeof(path), folder, MERGES);

    if (rc < 0)
        return err_set(err, rc, "%s/" MERGES ": the path is too long", folder);
    rc = file_read(path, TOKENIZER_VOCAB_BYTES_MAX, &text, &count, err);
    if (rc < 0)
        return rc;
    rc = memchr(text, 0, count) ? err_set(err, -EINVAL, "%s: has a NUL byte", path)
                                : list_merges(t, (char *)text, path, err);
    free(text);
    return rc;
}

static int load(struct tokenizer *t, const char *folder, const struct model_config *config,
                struct err *err)
{
    struct document d = {.root = NULL};
    int rc = document_read(folder, VOCABULARY, TOKENIZER_VOCAB_BYTES_MAX, &d, err);

    t->root = d.root;
    t->prefix_space = config->prefix_space;
    if (rc == 0)
        rc = list_tokens(t, d.path, err);
    if (rc == 0)
        rc = list_bytes(t, d.path, err);
    return rc < 0 ? rc : load_merges(t, folder, err);
}

/* --- a piece --- */

struct symbol {
    uint32_t id, before, after; /* neighbours, by number, or NONE */
};

/* A merge that could be made at symbol @at, if the pair is still there. */
struct candidate {
    uint32_t rank, at, id;
};

struct scratch {
    size_t waiting;
    struct candidate *heap; /* (waiting): the next one first */
    struct symbol *symbols;
    char *text; /* with a space in front, where the tokenizer adds one */
};

static struct scratch *scratch_of(struct work *w)
{
    return (struct scratch *)w->scratch;
}

/* A piece has at most a symbol a byte; of candidates there are at first one less than symbols, and
 * two more for each merge, of which each takes a symbol. */
static size_t scratch_bytes(size_t text_bytes)
{
    return sizeof(struct scratch) +
           (text_bytes + 1) * (3 * sizeof(struct candidate) + sizeof(struct symbol) + 1);
}

static void place_scratch(struct scratch *s, size_t bytes)
{
    s->heap = (struct candidate *)(s + 1);
    s->symbols = (struct symbol *)(s->heap + 3 * (bytes + 1));
    s->text = (char *)(s->symbols + bytes + 1);
}

static bool goes_first(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct scratch *s, struct candidate c)
{
    size_t at = s->waiting++;

    while (at && goes_first(&c, &s->heap[(at - 1) / 2])) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = c;
}

static struct candidate heap_pop(struct scratch *s)
{
    struct candidate first = s->heap[0], last = s->heap[--s->waiting];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < s->waiting) {
        if (child + 1 < s->waiting && goes_first(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!goes_first(&s->heap[child], &last))
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = last;
    return first;
}

/* The merge of the symbols at @at and after it; NULL when there is none. */
static const struct merge *merge_at(const struct tokenizer *t, const struct scratch *s, uint32_t at)
{
    const struct symbol *left = &s->symbols[at];
    struct merge key;

    if (left->id == DEAD || left->after == NONE)
        return NULL;
    key.pair = (uint64_t)left->id << 32 | s->symbols[left->after].id;
    return bsearch(&key, t->merges, t->merge_count, sizeof(key), by_pair);
}

static void offer(const struct tokenizer *t, struct scratch *s, uint32_t at)
{
    const struct merge *m = at == NONE ? NULL : merge_at(t, s, at);

    if (m)
        heap_push(s, (struct candidate){m->rank, at, m->id});
}

static void merge(const struct tokenizer *t, struct scratch *s, uint32_t at, uint32_t id)
{
    struct symbol *left = &s->symbols[at], *right = &s->symbols[left->after];

    left->id = id;
    left->after = right->after;
    right->id = DEAD;
    if (left->after != NONE)
        s->symbols[left->after].before = at;
    offer(t, s, left->before);
    offer(t, s, at);
}

static void encode_piece(struct work *w, const char *text, size_t bytes)
{
    const struct tokenizer *t = w->t;
    struct scratch *s = scratch_of(w);
    uint32_t count = (uint32_t)bytes;

    for (uint32_t i = 0; i < count; i++)
        s->symbols[i] = (struct symbol){
            .id = t->bytes[(uint8_t)text[i]],
            .before = i ? i - 1 : NONE,
            .after = i + 1 < count ? i + 1 : NONE,
        };
    for (uint32_t i = 0; i < count; i++)
        offer(t, s, i);
    while (s->waiting) {
        struct candidate c = heap_pop(s);
        const struct merge *m = merge_at(t, s, c.at);

        if (m && m->id == c.id)
            merge(t, s, c.at, c.id);
    }
    for (uint32_t i = 0; i < count; i++)
        if (s->symbols[i].id != DEAD)
            side_add(w->side, s->symbols[i].id);
}

/* --- where pieces end --- */

enum class { END, SPACE, LETTER, NUMBER, OTHER };

/* The character at @text: its bytes, and which part of the expression it belongs to. */
static size_t read_class(const char *text, size_t bytes, enum class *ret)
{
    utf8proc_int32_t c = 0;
    utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)text, (utf8proc_ssize_t)bytes, &c);
    utf8proc_category_t kind = utf8proc_category(c);

    if (!bytes)
        *ret = END;
    else if (tokenizer_is_white_space(c))
        *ret = SPACE;
    else if (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO)
        *ret = LETTER;
    else if (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO)
        *ret = NUMBER;
    else
        *ret = OTHER;
    return bytes ? (size_t)n : 0;
}

/* Bytes of a run of one class, and where its last character starts. */
static size_t run_of(const char *text, size_t bytes, enum class class, size_t *ret_last)
{
    size_t at = 0;

    *ret_last = 0;
    while (at < bytes) {
        enum class here;
        size_t n = read_class(text + at, bytes - at, &here);

        if (here != class)
            break;
        *ret_last = at;
        at += n;
    }
    return at;
}

static size_t contraction(const char *text, size_t bytes)
{
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

    for (size_t i = 0; i < ARRAY_LENGTH(endings); i++) {
        size_t n = strlen(endings[i]);

        if (bytes >= n && !memcmp(text, endings[i], n))
            return n;
    }
    return 0;
}

/* Bytes of the first piece: at least one. */
static size_t piece(const char *text, size_t bytes)
{
    size_t n = contraction(text, bytes), last, space = text[0] == ' ';
    enum class class;

    if (n)
        return n;
    read_class(text + space, bytes - space, &class);
    if (class != SPACE && class != END)
        return space + run_of(text + space, bytes - space, class, &last);
    /* White space leaves its last character to what comes after it. */
    n = run_of(text, bytes, SPACE, &last);
    return n == bytes || !last ? n : last;
}

static void encode(struct work *w, const char *text, size_t bytes)
{
    struct scratch *s = scratch_of(w);

    place_scratch(s, bytes);
    if (bytes && w->t->prefix_space && text[0] != ' ') {
        s->text[0] = ' ';
        memcpy(s->text + 1, text, bytes++);
        text = s->text;
    }
    while (bytes) {
        size_t n = piece(text, bytes);

        encode_piece(w, text, n);
        text += n;
        bytes -= n;
    }
}

const struct tokenizer_kind tokenizer_bpe = {
    .files = {VOCABULARY, MERGES},
    .specials = {"<s>", "</s>", "<pad>", "<unk>", "<mask>"},
    .mask_takes_spaces = true,
    .between = 2,
    .load = load,
    .scratch_bytes = scratch_bytes,
    .encode = encode,
};
