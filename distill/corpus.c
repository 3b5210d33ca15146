#include "distill/corpus.h"

#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

void corpus_free(struct corpus *c)
{
    secret_free(c->ids, c->token_room * sizeof(*c->ids));
    secret_free(c->types, c->token_room);
    free(c->starts);
    free(c->labels);
    *c = (struct corpus){.count = 0};
}

/* Room for @more tokens, by doubling. */
static int corpus_reserve(struct corpus *c, size_t more, struct err *err)
{
    size_t room = MAX(c->token_room, (size_t)4096);
    uint32_t *ids;
    uint8_t *types;

    if (c->tokens + more <= c->token_room)
        return 0;
    while (room < c->tokens + more)
        room *= 2;
    ids = secret_alloc(room * sizeof(*ids));
    types = secret_alloc(room);
    if (!ids || !types) {
        secret_free(ids, room * sizeof(*ids));
        secret_free(types, room);
        return err_set(err, -ENOMEM, "no memory for the data");
    }
    if (c->tokens) {
        memcpy(ids, c->ids, c->tokens * sizeof(*ids));
        memcpy(types, c->types, c->tokens);
    }
    secret_free(c->ids, c->token_room * sizeof(*c->ids));
    secret_free(c->types, c->token_room);
    c->ids = ids;
    c->types = types;
    c->token_room = room;
    return 0;
}

static int add_row(struct corpus *c, const struct task_row *row, const struct tokenizer *t,
                   size_t tokens_max, struct encoding *e, struct err *err)
{
    struct err why = {""};
    int rc = tokenizer_encode(t, row->text, row->pair, tokens_max, e, &why);

    if (rc < 0)
        return err_set(err, rc, "line %zu of the data: %s", row->line, err_text(&why, rc));
    rc = corpus_reserve(c, e->count, err);
    if (rc < 0)
        return rc;
    memcpy(c->ids + c->tokens, e->ids, e->count * sizeof(*e->ids));
    memcpy(c->types + c->tokens, e->types, e->count);
    c->tokens += e->count;
    c->cut += e->dropped > 0;
    c->starts[++c->count] = c->tokens;
    return 0;
}

int corpus_make(const struct task *task, const struct task_data *data,
                const size_t map[TASK_LABELS_MAX], const struct tokenizer *t, size_t tokens_max,
                struct corpus *ret, struct err *err)
{
    struct corpus c = {.starts = calloc(data->count + 1, sizeof(*c.starts)),
                       .labels = calloc(data->count, sizeof(*c.labels))};
    struct encoding *e = secret_alloc(sizeof(*e));
    int rc = 0;

    if (!c.starts || !c.labels || !e)
        rc = err_set(err, -ENOMEM, "no memory for the data");
    for (size_t i = 0; rc == 0 && i < data->count; i++) {
        const struct task_row *row = &data->rows[i];

        c.labels[i] = task->label_count ? (double)map[(size_t)row->label] : row->label;
        rc = add_row(&c, row, t, tokens_max, e, err);
    }
    secret_free(e, sizeof(*e));
    if (rc < 0)
        corpus_free(&c);
    else
        *ret = c;
    return rc;
}

/* Fisher and Yates. The remainder's bias is below 2^-32. */
void corpus_shuffle(size_t all, uint64_t seed, uint64_t epoch, uint32_t *ret)
{
    uint64_t key = mix64(mix64(seed + 0x9e3779b97f4a7c15) + epoch);

    for (size_t i = 0; i < all; i++)
        ret[i] = (uint32_t)i;
    for (size_t i = all; i > 1; i--) {
        size_t j = (size_t)(mix64(key + i) % i);
        uint32_t kept = ret[i - 1];

        ret[i - 1] = ret[j];
        ret[j] = kept;
    }
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Rows move down in their order, so nothing is overwritten before it has moved. */
int corpus_thin(struct corpus *c, double fraction, uint64_t seed, struct err *err)
{
    size_t keep = MAX((size_t)(fraction * (double)c->count), (size_t)1), at = 0;
    uint32_t *order = calloc(c->count, sizeof(*order));

    if (!order)
        return err_set(err, -ENOMEM, "no memory for the data");
    corpus_shuffle(c->count, seed, UINT64_MAX, order);
    qsort(order, keep, sizeof(*order), by_number);
    for (size_t i = 0; i < keep; i++) {
        size_t from = c->starts[order[i]], count = c->starts[order[i] + 1] - from;

        memmove(c->ids + at, c->ids + from, count * sizeof(*c->ids));
        memmove(c->types + at, c->types + from, count);
        c->labels[i] = c->labels[order[i]];
        c->starts[i] = at;
        at += count;
    }
    c->starts[keep] = at;
    c->tokens = at;
    c->count = keep;
    free(order);
    return 0;
}

void sheet_free(struct sheet *s)
{
    free(s->labels);
    free(s->starts);
    secret_free(s->ids, s->token_room * sizeof(*s->ids));
    secret_free(s->types, s->token_room);
    secret_free(s->words, s->token_room * sizeof(*s->words));
    *s = (struct sheet){.labels = NULL};
}

static int sheet_reserve(struct sheet *s, size_t sequences, size_t tokens, struct err *err)
{
    if (sequences <= s->sequence_room && tokens <= s->token_room)
        return 0;
    sequences = MAX(sequences, s->sequence_room);
    tokens = MAX(tokens, s->token_room);
    sheet_free(s);
    s->labels = calloc(sequences, sizeof(*s->labels));
    s->starts = calloc(sequences + 1, sizeof(*s->starts));
    s->ids = secret_alloc(tokens * sizeof(*s->ids));
    s->types = secret_alloc(tokens);
    s->words = secret_alloc(tokens * sizeof(*s->words));
    s->sequence_room = sequences;
    s->token_room = tokens;
    if (s->labels && s->starts && s->ids && s->types && s->words)
        return 0;
    sheet_free(s);
    return err_set(err, -ENOMEM, "no memory for a batch");
}

static size_t row_length(const struct corpus *c, uint32_t row)
{
    return c->starts[row + 1] - c->starts[row];
}

static struct extent extent_of(const struct corpus *c, const uint32_t *rows, size_t count)
{
    struct extent e = {.sequences = count};

    for (size_t i = 0; i < count; i++) {
        size_t length = row_length(c, rows[i]);

        e.tokens += length;
        e.squares += length * length;
        e.longest = MAX(e.longest, length);
    }
    return e;
}

size_t corpus_cut(const struct corpus *c, const uint32_t *rows, size_t count, size_t part,
                  size_t parts)
{
    size_t goal = extent_of(c, rows, count).tokens * part / parts, before = 0, i = 0;

    for (; i < count; i++) {
        size_t length = row_length(c, rows[i]);

        if (2 * before + length > 2 * goal)
            break;
        before += length;
    }
    return i;
}

/* The ids of these rows, each once. */
static size_t gather_words(const struct corpus *c, const uint32_t *rows, size_t count,
                           uint32_t *ret)
{
    size_t all = 0, kept = 0;

    for (size_t i = 0; i < count; i++) {
        memcpy(ret + all, c->ids + c->starts[rows[i]], row_length(c, rows[i]) * sizeof(*ret));
        all += row_length(c, rows[i]);
    }
    qsort(ret, all, sizeof(*ret), by_number);
    for (size_t i = 0; i < all; i++)
        if (!kept || ret[i] != ret[kept - 1])
            ret[kept++] = ret[i];
    return kept;
}

int sheet_fill(struct sheet *s, const struct corpus *c, const uint32_t *rows, size_t count,
               struct err *err)
{
    return sheet_fill_part(s, c, rows, count, 0, count, err);
}

int sheet_fill_part(struct sheet *s, const struct corpus *c, const uint32_t *rows, size_t count,
                    size_t first, size_t end, struct err *err)
{
    const struct extent whole = extent_of(c, rows, count);
    int rc = sheet_reserve(s, count, whole.tokens, err);
    size_t tokens = 0;

    if (rc < 0)
        return rc;
    for (size_t i = first; i < end; i++) {
        size_t from = c->starts[rows[i]], length = row_length(c, rows[i]);

        memcpy(s->ids + tokens, c->ids + from, length * sizeof(*s->ids));
        memcpy(s->types + tokens, c->types + from, length);
        s->labels[i - first] = c->labels[rows[i]];
        tokens += length;
        s->starts[i - first + 1] = (uint32_t)tokens;
    }
    s->batch = (struct batch){.sequences = end - first,
                              .tokens = tokens,
                              .ids = s->ids,
                              .types = s->types,
                              .starts = s->starts,
                              .whole = whole,
                              .before = extent_of(c, rows, first),
                              .words = s->words,
                              .word_count = gather_words(c, rows, count, s->words)};
    return 0;
}
