#include "transformer/tokenizer_internal.h"

#include "base/file.h"
#include "base/secret.h"
#include "transformer/document.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct tokenizer_kind *kind_of(enum model_kind kind)
{
    return kind == MODEL_ROBERTA ? &tokenizer_bpe : &tokenizer_wordpiece;
}

size_t tokenizer_files(enum model_kind kind, const char *ret[TOKENIZER_FILES_MAX])
{
    const struct tokenizer_kind *k = kind_of(kind);
    size_t count = 0;

    while (count < TOKENIZER_FILES_MAX && k->files[count]) {
        ret[count] = k->files[count];
        count++;
    }
    return count;
}

/* --- the vocabulary --- */

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

void tokenizer_sort(struct tokenizer *t)
{
    qsort(t->entries, t->listed, sizeof(*t->entries), by_token_then_id);
    for (size_t i = 0; i < t->listed; i++) {
        t->size = MAX(t->size, (size_t)t->entries[i].id + 1);
        if (t->count && !strcmp(t->entries[t->count - 1].token, t->entries[i].token))
            t->count--;
        t->entries[t->count++] = t->entries[i];
    }
}

bool utf8_is_valid(const char *text, size_t bytes, size_t *ret_fault)
{
    size_t at = 0;

    while (at < bytes) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n =
            utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);

        if (n <= 0) {
            if (ret_fault)
                *ret_fault = at;
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

/* --- loading --- */

static int find_specials(struct tokenizer *t, const char *folder, struct err *err)
{
    const struct tokenizer_kind *k = t->kind;

    for (size_t i = 0; i < SPECIALS; i++) {
        t->known[i] = !tokenizer_find(t, k->specials[i], &t->special[i]);
        if (!t->known[i] && i != MASK)
            return err_set(err, -EINVAL, "%s/%s: has no %s; not this model's vocabulary", folder,
                           k->files[0], k->specials[i]);
    }
    return 0;
}

/* HF adds to the vocabulary what it finds there. */
static int check_added(const struct tokenizer *t, const char *folder, struct err *err)
{
    struct document d = {.root = NULL};
    struct err why = {""};
    const char *token;
    json_t *id;
    int rc = document_read(folder, "added_tokens.json", TOKENIZER_VOCAB_BYTES_MAX, &d, &why);

    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return err_set(err, rc, "%s", err_text(&why, rc));
    json_object_foreach(d.root, token, id)
    {
        uint32_t known;

        if (rc == 0 && (tokenizer_find(t, token, &known) < 0 || json_integer_value(id) != known))
            rc = err_set(err, -ENOTSUP,
                         "%s: token \"%.64s\" is not of %s/%s; added tokens are not "
                         "supported",
                         d.path, document_shown(token), folder, t->kind->files[0]);
    }
    document_free(&d);
    return rc;
}

/* Newer HF versions may save that file alone. */
static int explain_missing(const char *folder, int rc, const struct err *why, struct err *err)
{
    char path[PATH_MAX];
    bool other = rc == -ENOENT && file_path(path, sizeof(path), folder, "tokenizer.json") == 0 &&
                 access(path, F_OK) == 0;

    return err_set(err, rc, "%s%s", err_text(why, rc),
                   other ? "; tokenizer.json, which is there, is not read: save the tokenizer from "
                           "its slow form (use_fast=False)"
                         : "");
}

int tokenizer_load(const char *folder, const struct model_config *config,
                   struct tokenizer **ret_tokenizer, struct err *err)
{
    struct tokenizer *t = calloc(1, sizeof(*t));
    struct err why = {""};
    int rc;

    if (!t)
        return err_set(err, -ENOMEM, "no memory for a tokenizer");
    t->kind = kind_of(config->kind);
    t->typed = config->types > 1;
    rc = t->kind->load(t, folder, config, &why);
    if (rc < 0)
        rc = explain_missing(folder, rc, &why, err);
    if (rc == 0)
        rc = find_specials(t, folder, err);
    if (rc == 0)
        rc = check_added(t, folder, err);
    if (rc == 0 && t->size > config->vocab)
        rc = err_set(err, -EINVAL, "%s/%s has %zu tokens, config.json says vocab_size %zu", folder,
                     t->kind->files[0], t->size, config->vocab);
    if (rc < 0)
        tokenizer_free(t);
    else
        *ret_tokenizer = t;
    return rc;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    free(t->merges);
    json_decref(t->root);
    free(t->entries);
    free(t->text);
    free(t);
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return t->size;
}

/* --- a text --- */

void side_add(struct side *s, uint32_t id)
{
    if (s->count < ENCODING_TOKENS_MAX)
        s->ids[s->count] = id;
    s->count++;
}

bool tokenizer_is_white_space(int32_t c)
{
    utf8proc_category_t kind = utf8proc_category(c);

    return (c >= '\t' && c <= '\r') || c == 0x85 || kind == UTF8PROC_CATEGORY_ZS ||
           kind == UTF8PROC_CATEGORY_ZL || kind == UTF8PROC_CATEGORY_ZP;
}

/* The special token that @text starts with, or SPECIALS. */
static size_t special_at(const struct tokenizer *t, const char *text)
{
    const char *const *names = t->kind->specials;
    size_t i = *text == **names ? 0 : SPECIALS;

    while (i < SPECIALS && !(t->known[i] && !strncmp(text, names[i], strlen(names[i]))))
        i++;
    return i;
}

/* @bytes less those of white space at the end. */
static size_t trim_end(const char *text, size_t bytes)
{
    size_t end = 0, at = 0;

    while (at < bytes) {
        utf8proc_int32_t c = 0;

        at += (size_t)utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at),
                                       &c);
        if (!tokenizer_is_white_space(c))
            end = at;
    }
    return end;
}

static void encode_text(struct work *w, struct side *side, const char *text)
{
    const struct tokenizer *t = w->t;
    const char *plain = text;

    w->side = side;
    while (*text) {
        size_t special = special_at(t, text), bytes = (size_t)(text - plain);

        if (special == SPECIALS) {
            text++;
            continue;
        }
        if (special == MASK && t->kind->mask_takes_spaces)
            bytes = trim_end(plain, bytes);
        t->kind->encode(w, plain, bytes);
        side_add(side, t->special[special]);
        text += strlen(t->kind->specials[special]);
        plain = text;
    }
    t->kind->encode(w, plain, (size_t)(text - plain));
}

int tokenizer_check_text(const char *text, const char *which, size_t *ret_bytes, struct err *err)
{
    size_t bytes = strnlen(text, TOKENIZER_TEXT_BYTES_MAX + 1), fault;

    if (bytes > TOKENIZER_TEXT_BYTES_MAX)
        return err_set(err, -E2BIG, "the %s has more than %d bytes", which,
                       TOKENIZER_TEXT_BYTES_MAX);
    if (!utf8_is_valid(text, bytes, &fault))
        return err_set(err, -EILSEQ, "the %s is not UTF-8: byte %zu is invalid; convert it", which,
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

/* Special tokens around a text, or around two. */
static size_t framing(const struct tokenizer *t, bool paired)
{
    return 2 + (paired ? t->kind->between : 0);
}

static void put(struct encoding *e, uint32_t id, uint8_t type)
{
    e->ids[e->count] = id;
    e->types[e->count++] = type;
}

static void assemble(const struct work *w, bool paired, size_t tokens_max, struct encoding *ret)
{
    const struct tokenizer *t = w->t;
    size_t kept[2] = {w->sides[0].count, w->sides[1].count};

    share_room(tokens_max - framing(t, paired), &kept[0], &kept[1]);
    ret->dropped = w->sides[0].count + w->sides[1].count - kept[0] - kept[1];
    ret->count = 0;
    put(ret, t->special[CLS], 0);
    for (size_t side = 0; side < 1 + (size_t)paired; side++) {
        uint8_t type = side && t->typed;

        for (size_t i = 1; side && i < t->kind->between; i++)
            put(ret, t->special[SEP], type);
        for (size_t i = 0; i < kept[side]; i++)
            put(ret, w->sides[side].ids[i], type);
        put(ret, t->special[SEP], type);
    }
}

int tokenizer_encode(const struct tokenizer *t, const char *text, const char *pair,
                     size_t tokens_max, struct encoding *ret_encoding, struct err *err)
{
    size_t least = MAX(framing(t, pair != NULL), ENCODING_TOKENS_MIN);
    size_t bytes = 0, pair_bytes = 0, size;
    struct work *w;
    int rc;

    if (tokens_max < least || tokens_max > ENCODING_TOKENS_MAX)
        return err_set(err, -EINVAL, "at most %zu tokens asked for; it must be %zu to %d",
                       tokens_max, least, ENCODING_TOKENS_MAX);
    rc = tokenizer_check_text(text, "text", &bytes, err);
    if (rc < 0)
        return rc;
    if (pair) {
        rc = tokenizer_check_text(pair, "second text", &pair_bytes, err);
        if (rc < 0)
            return rc;
    }
    size = sizeof(*w) + t->kind->scratch_bytes(MAX(bytes, pair_bytes));
    w = secret_alloc(size);
    if (!w)
        return -ENOMEM;
    w->t = t;
    encode_text(w, &w->sides[0], text);
    if (pair)
        encode_text(w, &w->sides[1], pair);
    assemble(w, pair != NULL, tokens_max, ret_encoding);
    secret_free(w, size);
    return 0;
}
