/* Byte-level BPE: what it makes of special tokens, pairs and limits, and what it refuses to load.
 * That it equals HF's on many lines is test_lines' part. */
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

#define FOLDER TEST_DATA "roberta"

enum { BOS, PAD, EOS, UNK, MASK }; /* ids in FOLDER */

static const struct model_config config = {.kind = MODEL_ROBERTA, .vocab = 1000, .types = 1};

static struct tokenizer *load(bool prefix_space)
{
    struct model_config k = config;
    struct tokenizer *t = NULL;

    k.prefix_space = prefix_space;
    assert_int_equal(tokenizer_load(FOLDER, &k, &t, NULL), 0);
    return t;
}

static void encode(const struct tokenizer *t, const char *text, struct encoding *ret)
{
    assert_int_equal(tokenizer_encode(t, text, NULL, 512, ret, NULL), 0);
}

static void expect_same(const struct encoding *a, const struct encoding *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->ids, b->ids, a->count * sizeof(*a->ids));
}

static void names_its_tokens(void **state)
{
    struct tokenizer *t = load(false);
    const char *files[TOKENIZER_FILES_MAX];
    uint32_t id = 99;

    (void)state;
    assert_int_equal(tokenizer_size(t), 1000);
    assert_int_equal(tokenizer_find(t, "<mask>", &id), 0);
    assert_int_equal(id, MASK);
    assert_int_equal(tokenizer_find(t, "\xc4\xa0the", &id), 0); /* U+0120 stands for a space */
    assert_int_equal(tokenizer_files(MODEL_ROBERTA, files), 2);
    assert_string_equal(files[1], "merges.txt");
    assert_int_equal(tokenizer_files(MODEL_DISTILBERT, files), 1);
    tokenizer_free(t);
}

static void a_mask_takes_the_spaces_before_it(void **state)
{
    static const char *const texts[] = {"the<mask>", "the <mask>", "the \t\n\xe3\x80\x80<mask>"};
    struct tokenizer *t = load(false);
    struct encoding first, e;

    (void)state;
    encode(t, texts[0], &first);
    assert_int_equal(first.ids[0], BOS);
    assert_int_equal(first.ids[first.count - 2], MASK);
    assert_int_equal(first.ids[first.count - 1], EOS);
    for (size_t i = 1; i < ARRAY_LENGTH(texts); i++) {
        encode(t, texts[i], &e);
        expect_same(&first, &e);
    }
    encode(t, "the </s>", &e); /* others leave it */
    assert_int_equal(e.count, first.count + 1);
    tokenizer_free(t);
}

static void a_pair_has_two_separators_and_no_type(void **state)
{
    struct tokenizer *t = load(false);
    struct encoding a, b, e;

    (void)state;
    encode(t, "the plan", &a);
    encode(t, "a model", &b);
    assert_int_equal(tokenizer_encode(t, "the plan", "a model", 512, &e, NULL), 0);
    assert_int_equal(e.count, a.count + b.count);
    assert_memory_equal(e.ids, a.ids, a.count * sizeof(*a.ids));
    assert_int_equal(e.ids[a.count], EOS);
    assert_memory_equal(e.ids + a.count + 1, b.ids + 1, (b.count - 1) * sizeof(*b.ids));
    for (size_t i = 0; i < e.count; i++)
        assert_int_equal(e.types[i], 0);
    assert_int_equal(tokenizer_encode(t, "the", "a", 4, &e, NULL), 0);
    assert_int_equal(e.count, 4);
    assert_int_equal(e.dropped, 2);
    assert_int_equal(tokenizer_encode(t, "the", "a", 3, &e, NULL), -EINVAL);
    tokenizer_free(t);
}

/* As if one stood before each text between special tokens. */
static void a_space_in_front_on_demand(void **state)
{
    static const char *const texts[][2] = {
        {"the", " the"}, {" the", " the"},    {"\nthe", " \nthe"},
        {"", ""},        {"</s>x", "</s> x"}, {"x <mask>y", " x <mask> y"},
    };
    struct tokenizer *plain = load(false), *prefixing = load(true);

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct encoding a, b;

        encode(prefixing, texts[i][0], &a);
        encode(plain, texts[i][1], &b);
        expect_same(&b, &a);
    }
    tokenizer_free(plain);
    tokenizer_free(prefixing);
}

/* Pieces as long as a text may be: merging one is not quadratic. */
static void merges_the_longest_piece(void **state)
{
    static const char *const units[] = {"a", "the", "\xf0\x9f\x98\x80", " ", "=-"};
    static char text[TOKENIZER_TEXT_BYTES_MAX + 1];
    struct tokenizer *t = load(true);

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        size_t step = strlen(units[i]), used = 0;
        struct encoding e;

        for (; used + step <= TOKENIZER_TEXT_BYTES_MAX; used += step)
            memcpy(text + used, units[i], step);
        text[used] = 0;
        assert_int_equal(tokenizer_encode(t, text, text, 512, &e, NULL), 0);
        assert_int_equal(e.count, 512);
        assert_true(e.dropped > 1000);
    }
    tokenizer_free(t);
}

/* --- files --- */

static void copy(struct folder *f, const char *name)
{
    char path[PATH_MAX];
    uint8_t *bytes = NULL;
    size_t count;

    assert_int_equal(file_path(path, sizeof(path), FOLDER, name), 0);
    assert_int_equal(file_read(path, 1 << 20, &bytes, &count, NULL), 0);
    folder_write(f, name, bytes, count);
    free(bytes);
}

static int setup(void **state)
{
    static struct folder f;

    folder_make(&f);
    copy(&f, "vocab.json");
    copy(&f, "merges.txt");
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    folder_remove(*state);
    return 0;
}

static void expect_refusal(struct folder *f, int code, const char *says)
{
    struct tokenizer *t = NULL;
    struct err err = {""};
    int rc = tokenizer_load(f->path, &config, &t, &err);

    if (rc != code || !strstr(err.text, says))
        fail_msg("expected %d, %s; got %d, %s", code, says, rc, err.text);
    assert_non_null(strstr(err.text, f->path));
    assert_null(t);
}

/* @token of the vocabulary gets the JSON @value, or goes when that is NULL. */
static void change_token(struct folder *f, const char *token, const char *value)
{
    json_t *root = json_load_file(FOLDER "/vocab.json", 0, NULL);

    assert_non_null(json_object_get(root, token));
    if (value)
        json_object_set_new(root, token, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(root, token);
    assert_int_equal(json_dump_file(root, folder_at(f, "vocab.json"), 0), 0);
    json_decref(root);
}

static void refuses_bad_vocabularies(void **state)
{
    static const struct {
        const char *token, *value, *says;
    } bad[] = {
        {"<s>", NULL, "vocab.json: has no <s>"},
        {"<pad>", NULL, "vocab.json: has no <pad>"},
        {"a", NULL, "has no token for byte 0x61"},
        {"\xc4\x80", NULL, "has no token for byte 0x00"},
        {"\xc3\xbf", NULL, "has no token for byte 0xff"},
        {"a", "-1", "token \"a\" has no number"},
        {"a", "\"5\"", "token \"a\" has no number"},
        {"a", "1048576", "token \"a\" has no number"},
        {"a", "1000", "has 1001 tokens, config.json says vocab_size 1000"},
    };
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        change_token(f, bad[i].token, bad[i].value);
        expect_refusal(f, -EINVAL, bad[i].says);
    }
    folder_write(f, "vocab.json", "{}", 2);
    expect_refusal(f, -EINVAL, "has 0 tokens");
    folder_write(f, "vocab.json", "[1]", 3);
    expect_refusal(f, -EINVAL, "not a JSON object");
}

static void refuses_bad_merges(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *says;
    } bad[] = {
        {"#version: 0.2\na\n", 16, "merges.txt:2: it is to be two tokens"},
        {"a b c\n", 6, "merges.txt:1: it is to be two tokens"},
        {"e r\nq z\n", 8, "merges.txt:2: it is to be two tokens"}, /* qz is no token */
        {"e r\n\0e r\n", 9, "has a NUL"},
    };
    struct folder *f = *state;

    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        folder_write(f, "merges.txt", bad[i].text, bad[i].bytes);
        expect_refusal(f, -EINVAL, bad[i].says);
    }
}

static void says_which_file_is_missing(void **state)
{
    struct folder *f = *state;

    unlink(folder_at(f, "merges.txt"));
    expect_refusal(f, -ENOENT, "merges.txt: No such file");
    folder_write(f, "tokenizer.json", "{}", 2);
    expect_refusal(f, -ENOENT, "tokenizer.json, which is there, is not read");
    unlink(folder_at(f, "vocab.json"));
    expect_refusal(f, -ENOENT, "vocab.json: No such file");
}

static void refuses_added_tokens(void **state)
{
    struct folder *f = *state;
    struct tokenizer *t = NULL;

    folder_write(f, "added_tokens.json", "{\"<mask>\":4}", 12); /* of the vocabulary: none */
    assert_int_equal(tokenizer_load(f->path, &config, &t, NULL), 0);
    tokenizer_free(t);
    folder_write(f, "added_tokens.json", "{\"<user>\":1000}", 15);
    expect_refusal(f, -ENOTSUP, "added_tokens.json: token \"<user>\" is not of");
    folder_write(f, "added_tokens.json", "{\"<mask>\":5}", 12);
    expect_refusal(f, -ENOTSUP, "added_tokens.json: token \"<mask>\" is not of");
    folder_write(f, "added_tokens.json", "", 0);
    expect_refusal(f, -EINVAL, "added_tokens.json: not JSON");
}

/* A byte of @name is another, or half of it is gone. Returns how often it could be loaded. */
static size_t damage(struct folder *f, const char *name, unsigned int rounds)
{
    unsigned int seed = 3;
    uint8_t *bytes = NULL;
    size_t count, loaded = 0;

    assert_int_equal(file_read(folder_at(f, name), 1 << 20, &bytes, &count, NULL), 0);
    for (unsigned int i = 0; i < rounds; i++) {
        uint8_t *at = &bytes[(size_t)rand_r(&seed) % count], kept = *at;
        struct tokenizer *t = NULL;
        struct err err = {""};
        struct encoding e;

        *at = (uint8_t)(i % 3 ? '0' + rand_r(&seed) % 10 : rand_r(&seed));
        folder_write(f, name, bytes, i % 8 ? count : count / 2);
        *at = kept;
        if (tokenizer_load(f->path, &config, &t, &err) < 0) {
            assert_true(*err.text);
            continue;
        }
        encode(t, "the plan of a party, isn't it?", &e);
        tokenizer_free(t);
        loaded++;
    }
    folder_write(f, name, bytes, count);
    free(bytes);
    return loaded;
}

/* Loading ends with a tokenizer that works, or with an error that says why not. */
static void survives_damaged_files(void **state)
{
    size_t loaded = damage(*state, "vocab.json", 60) + damage(*state, "merges.txt", 60);

    assert_true(loaded > 0 && loaded < 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_its_tokens),
        cmocka_unit_test(a_mask_takes_the_spaces_before_it),
        cmocka_unit_test(a_pair_has_two_separators_and_no_type),
        cmocka_unit_test(a_space_in_front_on_demand),
        cmocka_unit_test(merges_the_longest_piece),
        cmocka_unit_test_setup_teardown(refuses_bad_vocabularies, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_bad_merges, setup, teardown),
        cmocka_unit_test_setup_teardown(says_which_file_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_added_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_damaged_files, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
