#include "transformer/vocabulary.h"

#include "base/bytes.h"
#include "base/file.h"
#include "transformer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define PIECE_BYTES_MAX (2 + 4 * TOKENIZER_WORD_MAX)
#define NONE            UINT32_MAX

static const char *const specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

/* --- a table of numbers by key --- */

/* Open addressing over 64-bit keys, which the user sees to be unlike 0; grows at half full. */
struct map {
    uint64_t *keys; /* (room) */
    uint32_t *values;
    size_t room, used; /* room: a power of two */
};

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static size_t map_slot(const struct map *m, uint64_t key)
{
    size_t at = mix(key) & (m->room - 1);

    while (m->keys[at] && m->keys[at] != key)
        at = (at + 1) & (m->room - 1);
    return at;
}

static int map_grow(struct map *m)
{
    struct map more = {.room = m->room ? 2 * m->room : 1024, .used = m->used};

    more.keys = calloc(more.room, sizeof(*more.keys));
    more.values = calloc(more.room, sizeof(*more.values));
    if (!more.keys || !more.values) {
        free(more.keys);
        free(more.values);
        return -ENOMEM;
    }
    for (size_t i = 0; i < m->room; i++)
        if (m->keys[i]) {
            size_t at = map_slot(&more, m->keys[i]);

            more.keys[at] = m->keys[i];
            more.values[at] = m->values[i];
        }
    free(m->keys);
    free(m->values);
    *m = more;
    return 0;
}

/* Where the value of @key is; @fresh is put there where there is none, and only then may there be
 * no memory: NULL. */
static uint32_t *map_at(struct map *m, uint64_t key, uint32_t fresh)
{
    size_t at = m->room ? map_slot(m, key) : 0;

    if (m->room && m->keys[at])
        return &m->values[at];
    if (2 * m->used >= m->room) {
        if (map_grow(m) < 0)
            return NULL;
        at = map_slot(m, key);
    }
    m->keys[at] = key;
    m->values[at] = fresh;
    m->used++;
    return &m->values[at];
}

static void map_free(struct map *m)
{
    free(m->keys);
    free(m->values);
}

/* --- words, pieces, pairs --- */

struct word {
    char *text; /* until it is cut into pieces */
    uint64_t count;
    uint32_t *pieces; /* (length) */
    size_t length;
};

struct piece {
    char *text;
    uint64_t count; /* of letters: how often they occur */
};

struct pair {
    uint32_t left, right;
    uint64_t count;
    uint32_t *words; /* (word_count): those that have it, or had it */
    size_t word_count, word_room;
};

struct vocabulary {
    bool lower;
    struct word *words;
    size_t word_count, word_room;
    struct map word_of; /* hash of a word's text to its number */
    struct piece *pieces;
    size_t piece_count, piece_room;
    struct map piece_of;
    struct pair *pairs;
    size_t pair_count, pair_room;
    struct map pair_of;
    struct heap_entry *heap; /* (heap_count): a heap by count, then age; may be out of date */
    size_t heap_count, heap_room;
};

struct heap_entry {
    uint64_t count;
    uint32_t pair;
};

struct vocabulary *vocabulary_new(bool lower)
{
    struct vocabulary *v = calloc(1, sizeof(*v));

    if (v)
        v->lower = lower;
    return v;
}

void vocabulary_free(struct vocabulary *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->word_count; i++) {
        free(v->words[i].text);
        free(v->words[i].pieces);
    }
    for (size_t i = 0; i < v->piece_count; i++)
        free(v->pieces[i].text);
    for (size_t i = 0; i < v->pair_count; i++)
        free(v->pairs[i].words);
    map_free(&v->word_of);
    map_free(&v->piece_of);
    map_free(&v->pair_of);
    free(v->words);
    free(v->pieces);
    free(v->pairs);
    free(v->heap);
    free(v);
}

/* @at, an array of *room elements of @size, with room for one more than @count. */
static int reserve(void *at, size_t size, size_t count, size_t *room)
{
    size_t wanted = *room ? 2 * *room : 16;
    void *more;

    if (count < *room)
        return 0;
    more = reallocarray(*(void **)at, wanted, size);
    if (!more)
        return -ENOMEM;
    *(void **)at = more;
    *room = wanted;
    return 0;
}

/* FNV-1a, spread; never 0. Two texts of one hash are told apart by the one who compares them. */
static uint64_t text_hash(const char *text, unsigned int probe)
{
    uint64_t h = 0xcbf29ce484222325 + probe;

    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3;
    return mix(h) | 1;
}

/* The piece @text, made where there is none; NONE: no memory. */
static uint32_t piece_at(struct vocabulary *v, const char *text)
{
    for (unsigned int probe = 0;; probe++) {
        uint32_t *number = map_at(&v->piece_of, text_hash(text, probe), NONE);

        if (!number)
            return NONE;
        if (*number != NONE && strcmp(v->pieces[*number].text, text) != 0)
            continue;
        if (*number == NONE) {
            if (reserve(&v->pieces, sizeof(*v->pieces), v->piece_count, &v->piece_room) < 0)
                return NONE;
            v->pieces[v->piece_count] = (struct piece){.text = strdup(text)};
            if (!v->pieces[v->piece_count].text)
                return NONE;
            *number = (uint32_t)v->piece_count++;
        }
        return *number;
    }
}

static int add_word(void *context, const char *text)
{
    struct vocabulary *v = context;

    for (unsigned int probe = 0;; probe++) {
        uint32_t *number = map_at(&v->word_of, text_hash(text, probe), NONE);

        if (!number)
            return -ENOMEM;
        if (*number != NONE && strcmp(v->words[*number].text, text) != 0)
            continue;
        if (*number == NONE) {
            if (v->word_count == VOCABULARY_WORDS_MAX)
                return -EFBIG;
            if (reserve(&v->words, sizeof(*v->words), v->word_count, &v->word_room) < 0)
                return -ENOMEM;
            v->words[v->word_count] = (struct word){.text = strdup(text)};
            if (!v->words[v->word_count].text)
                return -ENOMEM;
            *number = (uint32_t)v->word_count++;
        }
        v->words[*number].count++;
        return 0;
    }
}

int vocabulary_add(struct vocabulary *v, const char *text, struct err *err)
{
    const struct tokenizer_listener listener = {add_word, v};
    int rc = tokenizer_words(text, v->lower, &listener, err);

    if (rc == -EFBIG)
        return err_set(err, rc, "more than %d different words: take less text",
                       VOCABULARY_WORDS_MAX);
    return rc < 0 ? err_set(err, rc, "no memory for the words") : 0;
}

/* --- letters --- */

/* The first letter of @text as a piece at @ret, "##" before it when @inner; its bytes in @text. */
static size_t letter(const char *text, bool inner, char ret[8])
{
    utf8proc_int32_t c = 0;
    size_t bytes = (size_t)utf8proc_iterate((const uint8_t *)text, -1, &c);

    memcpy(ret, "##", 2);
    memcpy(ret + 2 * inner, text, bytes);
    ret[2 * inner + bytes] = 0;
    return bytes;
}

/* @word as letters; their pieces are made, and counted. */
static int cut_word(struct vocabulary *v, struct word *word)
{
    size_t room = strlen(word->text), length = 0;
    char one[8];

    word->pieces = calloc(room, sizeof(*word->pieces));
    if (!word->pieces)
        return -ENOMEM;
    for (const char *at = word->text; *at; length++) {
        at += letter(at, length > 0, one);
        word->pieces[length] = piece_at(v, one);
        if (word->pieces[length] == NONE)
            return -ENOMEM;
        v->pieces[word->pieces[length]].count += word->count;
    }
    word->length = length;
    return 0;
}

static int by_count_then_text(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;

    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->text, y->text);
}

/* Order the letters by frequency and drop those after the first @most. */
static int order_letters(struct vocabulary *v, size_t most)
{
    qsort(v->pieces, v->piece_count, sizeof(*v->pieces), by_count_then_text);
    for (; v->piece_count > most; v->piece_count--)
        free(v->pieces[v->piece_count - 1].text);
    map_free(&v->piece_of);
    v->piece_of = (struct map){.room = 0};
    for (size_t i = 0; i < v->piece_count; i++)
        if (!map_at(&v->piece_of, text_hash(v->pieces[i].text, 0), (uint32_t)i))
            return -ENOMEM;
    return 0;
}

/* @word in the letters that are left; a word with another becomes empty. */
static int recut_word(struct vocabulary *v, struct word *word)
{
    const char *at = word->text;
    char one[8];

    for (size_t i = 0; i < word->length; i++) {
        uint32_t *number;

        at += letter(at, i > 0, one);
        number = map_at(&v->piece_of, text_hash(one, 0), NONE);
        if (!number)
            return -ENOMEM;
        word->pieces[i] = *number;
        if (*number == NONE)
            word->length = 0;
    }
    return 0;
}

static int choose_letters(struct vocabulary *v, size_t most)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < v->word_count; i++)
        rc = cut_word(v, &v->words[i]);
    if (rc == 0)
        rc = order_letters(v, most);
    for (size_t i = 0; rc == 0 && i < v->word_count; i++)
        rc = recut_word(v, &v->words[i]);
    return rc;
}

/* --- pairs --- */

static bool heap_above(const struct heap_entry *a, const struct heap_entry *b)
{
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static int heap_push(struct vocabulary *v, uint32_t pair)
{
    struct heap_entry e = {v->pairs[pair].count, pair};
    size_t at = v->heap_count;

    if (reserve(&v->heap, sizeof(*v->heap), v->heap_count, &v->heap_room) < 0)
        return -ENOMEM;
    v->heap_count++;
    for (; at && heap_above(&e, &v->heap[(at - 1) / 2]); at = (at - 1) / 2)
        v->heap[at] = v->heap[(at - 1) / 2];
    v->heap[at] = e;
    return 0;
}

static struct heap_entry heap_pop(struct vocabulary *v)
{
    struct heap_entry top = v->heap[0], last = v->heap[--v->heap_count];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < v->heap_count && heap_above(&v->heap[child + 1], &v->heap[child]))
            child++;
        if (child >= v->heap_count || !heap_above(&v->heap[child], &last))
            break;
        v->heap[at] = v->heap[child];
        at = child;
    }
    v->heap[at] = last;
    return top;
}

/* The number of the pair, made where there is none; NONE: no memory. */
static uint32_t pair_at(struct vocabulary *v, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) + 1; /* never 0 */
    uint32_t *number = map_at(&v->pair_of, key, NONE);

    if (!number)
        return NONE;
    if (*number == NONE) {
        if (reserve(&v->pairs, sizeof(*v->pairs), v->pair_count, &v->pair_room) < 0)
            return NONE;
        v->pairs[v->pair_count] = (struct pair){.left = left, .right = right};
        *number = (uint32_t)v->pair_count++;
    }
    return *number;
}

/* Count the pairs of a word, and note with each that the word has it. */
static int add_pairs(struct vocabulary *v, uint32_t number)
{
    const struct word *w = &v->words[number];

    for (size_t i = 0; i + 1 < w->length; i++) {
        uint32_t at = pair_at(v, w->pieces[i], w->pieces[i + 1]);
        struct pair *p;

        if (at == NONE)
            return -ENOMEM;
        p = &v->pairs[at];
        p->count += w->count;
        if (p->word_count && p->words[p->word_count - 1] == number)
            continue;
        if (reserve(&p->words, sizeof(*p->words), p->word_count, &p->word_room) < 0)
            return -ENOMEM;
        p->words[p->word_count++] = number;
    }
    return 0;
}

static void take_pairs(struct vocabulary *v, const struct word *w)
{
    for (size_t i = 0; i + 1 < w->length; i++)
        v->pairs[pair_at(v, w->pieces[i], w->pieces[i + 1])].count -= w->count;
}

static bool has_pair(const struct word *w, uint32_t left, uint32_t right)
{
    for (size_t i = 0; i + 1 < w->length; i++)
        if (w->pieces[i] == left && w->pieces[i + 1] == right)
            return true;
    return false;
}

/* In word @number every @left, @right becomes @joined. New pairs go on the heap. */
static int join_in_word(struct vocabulary *v, uint32_t number, uint32_t left, uint32_t right,
                        uint32_t joined)
{
    struct word *w = &v->words[number];
    size_t to = 0;
    int rc;

    if (!has_pair(w, left, right))
        return 0;
    take_pairs(v, w);
    for (size_t i = 0; i < w->length; i++, to++) {
        bool here = i + 1 < w->length && w->pieces[i] == left && w->pieces[i + 1] == right;

        w->pieces[to] = here ? joined : w->pieces[i];
        i += here;
    }
    w->length = to;
    rc = add_pairs(v, number);
    for (size_t i = 0; rc == 0 && i + 1 < w->length; i++)
        if (w->pieces[i] == joined || w->pieces[i + 1] == joined)
            rc = heap_push(v, pair_at(v, w->pieces[i], w->pieces[i + 1]));
    return rc;
}

/* Make a piece of the pair and put it where the pair stands. */
static int join(struct vocabulary *v, uint32_t pair)
{
    const uint32_t left = v->pairs[pair].left, right = v->pairs[pair].right;
    uint32_t *words = v->pairs[pair].words, joined;
    size_t count = v->pairs[pair].word_count;
    char text[PIECE_BYTES_MAX + 1];
    int rc = 0;

    snprintf(text, sizeof(text), "%s%s", v->pieces[left].text, v->pieces[right].text + 2);
    joined = piece_at(v, text);
    if (joined == NONE)
        return -ENOMEM;
    v->pairs[pair].words = NULL;
    v->pairs[pair].word_count = v->pairs[pair].word_room = 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = join_in_word(v, words[i], left, right, joined);
    free(words);
    return rc;
}

static int grow_pieces(struct vocabulary *v, size_t most)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < v->word_count; i++)
        rc = add_pairs(v, (uint32_t)i);
    for (size_t i = 0; rc == 0 && i < v->pair_count; i++)
        rc = heap_push(v, (uint32_t)i);
    while (rc == 0 && v->piece_count < most && v->heap_count) {
        struct heap_entry top = heap_pop(v);
        uint64_t now = v->pairs[top.pair].count;

        if (now < VOCABULARY_COUNT_MIN)
            continue;
        /* An entry that is out of date comes again with the count of today. */
        rc = now == top.count ? join(v, top.pair) : heap_push(v, top.pair);
    }
    return rc;
}

int vocabulary_save(struct vocabulary *v, size_t size, const char *path, size_t *ret_lines,
                    struct err *err)
{
    struct writer w = {.bytes = NULL};
    size_t most = size - ARRAY_LENGTH(specials);
    int rc;

    if (size < VOCABULARY_SIZE_MIN || size > VOCABULARY_SIZE_MAX)
        return err_set(err, -EINVAL, "a vocabulary has %d to %d tokens, not %zu",
                       VOCABULARY_SIZE_MIN, VOCABULARY_SIZE_MAX, size);
    if (!v->word_count)
        return err_set(err, -EINVAL, "the text has no word");
    rc = choose_letters(v, MIN(most, (size_t)VOCABULARY_LETTERS_MAX));
    if (rc == 0)
        rc = grow_pieces(v, most);
    if (rc < 0)
        return err_set(err, rc, "no memory for a vocabulary");
    for (size_t i = 0; i < ARRAY_LENGTH(specials); i++) {
        write_bytes(&w, specials[i], strlen(specials[i]));
        write_u8(&w, '\n');
    }
    for (size_t i = 0; i < v->piece_count; i++) {
        write_bytes(&w, v->pieces[i].text, strlen(v->pieces[i].text));
        write_u8(&w, '\n');
    }
    rc = w.failed ? err_set(err, -ENOMEM, "no memory for a vocabulary")
                  : file_write(path, 0644, w.bytes, w.count, err);
    writer_free(&w);
    if (rc == 0)
        *ret_lines = ARRAY_LENGTH(specials) + v->piece_count;
    return rc;
}
