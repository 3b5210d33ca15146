/*
 * Both tokenizers against HF's own on many lines, whose ids tests/data/lines.py has hashed. The
 * lines are made from their numbers, here and there alike: the first at random from a list of words
 * and oddities, the rest hold each character that Unicode has long agreed on, between two letters.
 *
 *     test_lines --hash lower|cased|bpe FILE FOLDER     a hash a line of a file, as lines.py --hash
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/tokenizer.h"

#include <jansson.h>
#include <string.h>
#include <utf8proc.h>

#define WORDPIECE      SOURCE_ROOT "/models/sst2-tiny"
#define BPE            TEST_DATA "roberta"
#define RANDOM_LINES   10000
#define BLOCK          8
#define SWEEP          24 /* characters a line */
#define LINE_BYTES_MAX 4096

struct parts {
    json_t *root;
    const json_t *words, *points;
    size_t lines;
};

static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void random_line(const struct parts *p, uint64_t number, char *ret)
{
    uint64_t state = number, count = 1 + draw(&state) % 20;

    *ret = 0;
    for (uint64_t i = 0; i < count; i++) {
        size_t word = draw(&state) % json_array_size(p->words);

        ret = stpcpy(ret, json_string_value(json_array_get(p->words, word)));
        if (draw(&state) % 3)
            ret = stpcpy(ret, " ");
    }
}

static void range_of(const json_t *points, size_t i, int32_t *first, int32_t *last)
{
    const json_t *range = json_array_get(points, i);

    *first = (int32_t)json_integer_value(json_array_get(range, 0));
    *last = (int32_t)json_integer_value(json_array_get(range, 1));
}

static void sweep_line(const struct parts *p, size_t number, char *ret)
{
    int64_t skip = (int64_t)number * SWEEP;
    size_t put = 0;
    int32_t first, last;

    *ret = 0;
    for (size_t i = 0; i < json_array_size(p->points); i++) {
        range_of(p->points, i, &first, &last);
        for (int64_t c = first + skip; c <= last && put < SWEEP; c++, put++) {
            *ret++ = 'a';
            ret += utf8proc_encode_char((int32_t)c, (uint8_t *)ret);
            ret = stpcpy(ret, "b ");
        }
        skip = MAX(skip - (last - first + 1), 0);
    }
}

static void make_line(const struct parts *p, size_t number, char ret[LINE_BYTES_MAX])
{
    if (number < RANDOM_LINES)
        random_line(p, number, ret);
    else
        sweep_line(p, number - RANDOM_LINES, ret);
    assert_true(strlen(ret) < LINE_BYTES_MAX);
}

static void parts_load(struct parts *p)
{
    size_t points = 0;
    int32_t first, last;

    p->root = json_load_file(TEST_DATA "lines.json", 0, NULL);
    p->words = json_object_get(p->root, "words");
    p->points = json_object_get(p->root, "points");
    assert_true(json_array_size(p->words) > 0 && json_array_size(p->points) > 0);
    for (size_t i = 0; i < json_array_size(p->points); i++) {
        range_of(p->points, i, &first, &last);
        points += (size_t)(last - first + 1);
    }
    p->lines = RANDOM_LINES + (points + SWEEP - 1) / SWEEP;
}

/* 64-bit FNV-1a. */
static uint64_t hash(uint64_t h, uint32_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (v >> 8 * i & 0xff)) * 0x100000001b3;
    return h;
}

#define HASH_EMPTY 0xcbf29ce484222325

static uint64_t hash_encoding(uint64_t h, const struct encoding *e)
{
    h = hash(h, (uint32_t)e->count, 4);
    for (size_t i = 0; i < e->count; i++)
        h = hash(hash(h, e->ids[i], 4), e->types[i], 1);
    return h;
}

static struct tokenizer *load(const char *kind, const char *folder)
{
    const struct model_config config = {
        .kind = strcmp(kind, "bpe") ? MODEL_BERT : MODEL_ROBERTA,
        .vocab = TOKENIZER_VOCAB_MAX,
        .types = strcmp(kind, "bpe") ? 2 : 1,
        .lower_case = !strcmp(kind, "lower"),
    };
    struct tokenizer *t = NULL;
    struct err err = {""};

    if (tokenizer_load(folder, &config, &t, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

/* Every tenth has the line before it as its pair, every seventh is cut. */
static void encode(const struct tokenizer *t, const struct parts *p, size_t number,
                   struct encoding *ret)
{
    static char text[2][LINE_BYTES_MAX];
    bool pair = number % 10 == 9;

    make_line(p, number, text[0]);
    if (pair)
        make_line(p, number - 1, text[1]);
    assert_int_equal(
        tokenizer_encode(t, text[0], pair ? text[1] : NULL, number % 7 == 6 ? 16 : 512, ret, NULL),
        0);
}

static void check_blocks(const char *kind, const char *folder)
{
    struct tokenizer *t = load(kind, folder);
    FILE *vectors = fopen(TEST_DATA "lines.tsv", "re");
    struct parts p;
    char row[128], want[40];
    size_t number = 0;

    assert_non_null(vectors);
    parts_load(&p);
    while (fgets(row, sizeof(row), vectors)) {
        uint64_t h = HASH_EMPTY;
        size_t from = number;
        char got[40];

        if (sscanf(row, "%*s\t%39s", want) != 1 || strncmp(row, kind, strlen(kind)) != 0)
            continue;
        for (; number < p.lines && number < from + BLOCK; number++) {
            struct encoding e;

            encode(t, &p, number, &e);
            h = hash_encoding(h, &e);
        }
        snprintf(got, sizeof(got), "%016" PRIx64, h);
        if (strcmp(want, got) != 0)
            fail_msg("%s: one of the lines %zu to %zu differs; lines.py --line shows them", kind,
                     from, number - 1);
    }
    assert_int_equal(number, p.lines);
    fclose(vectors);
    json_decref(p.root);
    tokenizer_free(t);
}

static void lower_case_word_pieces_equal_the_oracle(void **state)
{
    (void)state;
    check_blocks("lower", WORDPIECE);
}

static void cased_word_pieces_equal_the_oracle(void **state)
{
    (void)state;
    check_blocks("cased", WORDPIECE);
}

static void byte_pairs_equal_the_oracle(void **state)
{
    (void)state;
    check_blocks("bpe", BPE);
}

static int hash_file(const char *kind, const char *path, const char *folder)
{
    struct tokenizer *t = load(kind, folder);
    FILE *in = fopen(path, "re");
    size_t size = 0;
    char *line = NULL;

    assert_non_null(in);
    while (getline(&line, &size, in) >= 0) {
        struct encoding e;

        line[strcspn(line, "\n")] = 0;
        assert_int_equal(tokenizer_encode(t, line, NULL, 512, &e, NULL), 0);
        printf("%016" PRIx64 "\n", hash_encoding(HASH_EMPTY, &e));
    }
    free(line);
    fclose(in);
    tokenizer_free(t);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lower_case_word_pieces_equal_the_oracle),
        cmocka_unit_test(cased_word_pieces_equal_the_oracle),
        cmocka_unit_test(byte_pairs_equal_the_oracle),
    };

    if (argc == 5 && !strcmp(argv[1], "--hash"))
        return hash_file(argv[2], argv[3], argv[4]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
