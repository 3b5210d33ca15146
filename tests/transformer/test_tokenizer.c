/* The tokenizer against vectors of HF's own (tests/data/wordpiece.py wrote them), and what it
 * refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/tokenizer.h"

#include <jansson.h>

#define MODEL       SOURCE_ROOT "/models/sst2-tiny"
#define COLUMNS     6
#define VECTORS_MIN 500

/* Of a BERT. */
static struct tokenizer *load(const char *folder, bool lower)
{
    const struct model_config config = {.vocab = 8192, .types = 2, .lower_case = lower};
    struct tokenizer *t = NULL;
    struct err err = {0};
    int rc = tokenizer_load(folder, &config, &t, &err);

    if (rc)
        print_error("%s\n", err_text(&err, rc));
    assert_int_equal(rc, 0);
    return t;
}

/* One line: lower case, most tokens, text, pair, ids, tokens of type 0. */
static void check_vector(struct tokenizer *const by_case[2], char *line, size_t number)
{
    struct encoding e = {0};
    char *column[COLUMNS], *at;
    json_t *text, *pair;
    size_t count = 0, first;
    int rc;

    for (size_t i = 0; i < COLUMNS; i++)
        column[i] = strsep(&line, "\t");
    assert_non_null(column[COLUMNS - 1]);
    text = json_loads(column[2], JSON_DECODE_ANY, NULL);
    pair = json_loads(column[3], JSON_DECODE_ANY, NULL);
    assert_true(json_is_string(text));
    rc = tokenizer_encode(by_case[*column[0] == '1'], json_string_value(text),
                          json_string_value(pair), strtoul(column[1], NULL, 10), &e, NULL);
    assert_int_equal(rc, 0);
    first = strtoul(column[5], NULL, 10);
    for (char *id = strtok_r(column[4], " ", &at); id; id = strtok_r(NULL, " ", &at), count++) {
        if (count >= e.count || strtoul(id, NULL, 10) != e.ids[count] ||
            e.types[count] != (count >= first))
            fail_msg("line %zu, token %zu: expected %s, got %u of type %u: %s", number, count, id,
                     e.ids[count], e.types[count], column[2]);
    }
    if (count != e.count)
        fail_msg("line %zu: expected %zu tokens, got %zu: %s", number, count, e.count, column[2]);
    json_decref(text);
    json_decref(pair);
}

static void equals_the_vectors(void **state)
{
    struct tokenizer *by_case[2] = {load(MODEL, false), load(MODEL, true)};
    uint8_t *bytes = NULL;
    size_t count, number = 0, vectors = 0;
    char *rest, *line;

    (void)state;
    assert_int_equal(file_read(TEST_DATA "wordpiece.tsv", 1 << 20, &bytes, &count, NULL), 0);
    rest = (char *)bytes;
    while ((line = strsep(&rest, "\n"))) {
        number++;
        if (!*line || *line == '#')
            continue;
        check_vector(by_case, line, number);
        vectors++;
    }
    assert_true(vectors >= VECTORS_MIN);
    free(bytes);
    tokenizer_free(by_case[0]);
    tokenizer_free(by_case[1]);
}

static void names_its_tokens(void **state)
{
    struct tokenizer *t = load(MODEL, true);
    uint32_t id = 99;

    (void)state;
    assert_int_equal(tokenizer_size(t), 8192);
    assert_int_equal(tokenizer_find(t, "[PAD]", &id), 0);
    assert_int_equal(id, 0);
    assert_int_equal(tokenizer_find(t, "[CLS]", &id), 0);
    assert_int_equal(id, 2);
    assert_int_equal(tokenizer_find(t, "no such token", &id), -ENOENT);
    assert_int_equal(id, 2);
    tokenizer_free(t);
}

/* Where this tokenizer leaves HF's on purpose: the newest Unicode, and BERT's own CJK block. */
static void follows_unicode(void **state)
{
    static const struct {
        const char *text;
        size_t tokens;
    } cases[] = {
        {"good\xf0\xab\xa0\xa0good", 5}, /* U+2B820 is CJK: a word of its own */
        {"good\xe2\xb9\x95good", 5},     /* U+2E55, punctuation since Unicode 14 */
        {"good \xf0\x9f\xab\xa8", 4},    /* U+1FAE8, of 2022: [UNK], not nothing */
    };
    struct tokenizer *t = load(MODEL, true);
    uint32_t good;

    (void)state;
    assert_int_equal(tokenizer_find(t, "good", &good), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct encoding e = {0};

        assert_int_equal(tokenizer_encode(t, cases[i].text, NULL, 512, &e, NULL), 0);
        assert_int_equal(e.ids[1], good);
        assert_int_equal(e.count, cases[i].tokens);
    }
    tokenizer_free(t);
}

static void says_what_it_cut_off(void **state)
{
    struct tokenizer *t = load(MODEL, true);
    struct encoding e;

    (void)state;
    assert_int_equal(tokenizer_encode(t, "one two three", NULL, 5, &e, NULL), 0);
    assert_int_equal(e.dropped, 0);
    assert_int_equal(tokenizer_encode(t, "one two three", NULL, 4, &e, NULL), 0);
    assert_int_equal(e.dropped, 1);
    assert_int_equal(tokenizer_encode(t, "one two three", "four", 3, &e, NULL), 0);
    assert_int_equal(e.dropped, 4);
    assert_int_equal(e.count, 3);
    tokenizer_free(t);
}

static void refuses_invalid_utf8(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } bad[] = {
        {"\xff", "byte 0 "},
        {"ok \x80", "byte 3 "},
        {"caf\xe9", "byte 3 "},                  /* Latin-1 */
        {"a\xc0\xaf", "byte 1 "},                /* overlong */
        {"a\xed\xa0\x80z", "byte 1 "},           /* a surrogate */
        {"\xc3\xa9\xf4\x90\x80\x80", "byte 2 "}, /* past U+10FFFF */
        {"cut\xe4\xb8", "byte 3 "},
        {"[SEP]\xc3[SEP]", "byte 5 "},
    };
    struct tokenizer *t = load(MODEL, true);
    struct encoding e, untouched;

    (void)state;
    memset(&e, 0xa5, sizeof(e));
    untouched = e;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct err err = {0};

        assert_int_equal(tokenizer_encode(t, bad[i].text, NULL, 512, &e, &err), -EILSEQ);
        assert_non_null(strstr(err.text, bad[i].says));
        assert_non_null(strstr(err.text, "the text"));
        err.text[0] = 0;
        assert_int_equal(tokenizer_encode(t, "fine", bad[i].text, 512, &e, &err), -EILSEQ);
        assert_non_null(strstr(err.text, "the second text"));
    }
    assert_memory_equal(&e, &untouched, sizeof(e));
    tokenizer_free(t);
}

static void refuses_limits(void **state)
{
    static char text[TOKENIZER_TEXT_BYTES_MAX + 2];
    struct tokenizer *t = load(MODEL, true);
    struct encoding e;

    (void)state;
    assert_int_equal(tokenizer_encode(t, "x", NULL, ENCODING_TOKENS_MIN - 1, &e, NULL), -EINVAL);
    assert_int_equal(tokenizer_encode(t, "x", NULL, ENCODING_TOKENS_MAX + 1, &e, NULL), -EINVAL);
    memset(text, 'x', sizeof(text) - 1);
    assert_int_equal(tokenizer_encode(t, text, NULL, 512, &e, NULL), -E2BIG);
    text[TOKENIZER_TEXT_BYTES_MAX] = 0;
    assert_int_equal(tokenizer_encode(t, text, NULL, 512, &e, NULL), 0);
    assert_int_equal(e.count, 3);
    tokenizer_free(t);
}

/* The largest expansion there is, a text full of it: four characters of three bytes, and CJK. */
static void holds_the_largest_expansion(void **state)
{
    static const char *const worst[] = {"\xe1\xbe\x82", "\xe4\xb8\xad", "\xce\x90",
                                        "\xcc\x80\xcc\xa3", "."};
    static char text[TOKENIZER_TEXT_BYTES_MAX + 1];
    struct tokenizer *t = load(MODEL, true);

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(worst); i++) {
        size_t step = strlen(worst[i]), used = 0;
        struct encoding e;

        while (used + step <= TOKENIZER_TEXT_BYTES_MAX) {
            memcpy(text + used, worst[i], step);
            used += step;
        }
        text[used] = 0;
        assert_int_equal(tokenizer_encode(t, text, text, 512, &e, NULL), 0);
    }
    tokenizer_free(t);
}

static void reads_vocabularies_of_either_line_end(void **state)
{
    /* "a" twice: the later line counts; no newline at the end; no [MASK], so that one is text */
    static const char vocab[] = "[PAD]\r\n[UNK]\r\n[CLS]\n[SEP]\na\n##b\na";
    struct folder f;
    struct tokenizer *t;
    struct encoding e;
    uint32_t id;

    (void)state;
    folder_make(&f);
    folder_write(&f, "vocab.txt", vocab, sizeof(vocab) - 1);
    t = load(f.path, true);
    assert_int_equal(tokenizer_size(t), 7);
    assert_int_equal(tokenizer_find(t, "a", &id), 0);
    assert_int_equal(id, 6);
    assert_int_equal(tokenizer_encode(t, "AB [MASK]", NULL, 512, &e, NULL), 0);
    assert_int_equal(e.count, 7); /* [CLS] a ##b [ mask ] [SEP] */
    assert_int_equal(e.ids[1], 6);
    assert_int_equal(e.ids[2], 5);
    assert_int_equal(e.ids[3], 1);
    tokenizer_free(t);
    folder_remove(&f);
}

static void refuses_bad_vocabularies(void **state)
{
    static const struct {
        const char *text;
        size_t count;
        int code;
        const char *says;
    } bad[] = {
        {"", 0, -EINVAL, "0 lines"},
        {"[PAD]\n[UNK]\n[CLS]\n", 18, -EINVAL, "no [SEP]"},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\0b\n", 28, -EINVAL, "NUL"},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n\xff\n", 26, -EILSEQ, "line 5 is not UTF-8"},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", 26, -EINVAL, "5 tokens, config.json says vocab_size 4"},
    };
    const struct model_config config = {.vocab = 4};
    struct folder f;

    (void)state;
    folder_make(&f);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct tokenizer *t = NULL;
        struct err err = {0};

        folder_write(&f, "vocab.txt", bad[i].text, bad[i].count);
        assert_int_equal(tokenizer_load(f.path, &config, &t, &err), bad[i].code);
        assert_non_null(strstr(err.text, bad[i].says));
        assert_null(t);
    }
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_vectors),
        cmocka_unit_test(names_its_tokens),
        cmocka_unit_test(follows_unicode),
        cmocka_unit_test(says_what_it_cut_off),
        cmocka_unit_test(refuses_invalid_utf8),
        cmocka_unit_test(refuses_limits),
        cmocka_unit_test(holds_the_largest_expansion),
        cmocka_unit_test(reads_vocabularies_of_either_line_end),
        cmocka_unit_test(refuses_bad_vocabularies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
