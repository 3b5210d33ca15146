/* A vocabulary of one's own text, held against its definition: pairs counted anew at each step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/tokenizer.h"
#include "transformer/vocabulary.h"

#define PIECES_MAX 512
#define WORDS_MAX  128
#define TEXT_MAX   32

static const char *const texts[] = {
    "low low low low low lower lower newest newest newest newest newest newest widest widest",
    "The widest, the wider the river, the wilder the winter; wide rivers widen.",
    "Z\u00fcrich, zurich!",
    "aaaa aaaa aaa banana bananas 12 1212 12,12",
};

static int setup(void **state)
{
    static struct folder f;

    folder_make(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    folder_remove(*state);
    return 0;
}

static struct vocabulary *count_texts(bool lower)
{
    struct vocabulary *v = vocabulary_new(lower);

    assert_non_null(v);
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
        assert_int_equal(vocabulary_add(v, texts[i], NULL), 0);
    return v;
}

/* The lines of a vocabulary of @size of the texts. */
struct lines {
    char *bytes, *at[PIECES_MAX];
    size_t count;
};

static void make_lines(struct folder *f, bool lower, size_t size, struct lines *ret)
{
    struct vocabulary *v = count_texts(lower);
    uint8_t *bytes = NULL;
    size_t count, lines = 0;
    char *rest, *line;

    unlink(folder_at(f, "vocab.txt"));
    assert_int_equal(vocabulary_save(v, size, folder_at(f, "vocab.txt"), &lines, NULL), 0);
    vocabulary_free(v);
    assert_int_equal(file_read(folder_at(f, "vocab.txt"), 1 << 20, &bytes, &count, NULL), 0);
    *ret = (struct lines){.bytes = (char *)bytes};
    rest = ret->bytes;
    while ((line = strsep(&rest, "\n")) && *line)
        ret->at[ret->count++] = line;
    assert_int_equal(ret->count, lines);
    assert_true(lines <= size);
}

/* --- the definition --- */

struct cut {
    char pieces[TEXT_MAX][TEXT_MAX];
    size_t length;
};

struct words {
    struct cut at[WORDS_MAX];
    size_t count;
};

static int cut_word(void *context, const char *word)
{
    struct words *w = context;
    struct cut *c = &w->at[w->count++];

    assert_true(w->count <= WORDS_MAX);
    c->length = 0;
    while (*word) {
        size_t bytes = 1;

        while ((word[bytes] & 0xc0) == 0x80)
            bytes++;
        snprintf(c->pieces[c->length], TEXT_MAX, "%s%.*s", c->length ? "##" : "", (int)bytes, word);
        c->length++;
        word += bytes;
    }
    return 0;
}

static void joined(const char *left, const char *right, char ret[2 * TEXT_MAX])
{
    snprintf(ret, 2 * TEXT_MAX, "%s%s", left, right + 2);
}

static size_t count_pair(const struct words *w, const char *left, const char *right)
{
    size_t count = 0;

    for (size_t i = 0; i < w->count; i++)
        for (size_t j = 0; j + 1 < w->at[i].length; j++)
            count += !strcmp(w->at[i].pieces[j], left) && !strcmp(w->at[i].pieces[j + 1], right);
    return count;
}

/* The largest count of a pair; and of a pair that makes @piece, with the pair itself. */
static size_t largest_pair(const struct words *w, const char *piece, size_t *ret_of_piece,
                           char ret_left[TEXT_MAX], char ret_right[TEXT_MAX])
{
    size_t most = 0;

    *ret_of_piece = 0;
    for (size_t i = 0; i < w->count; i++)
        for (size_t j = 0; j + 1 < w->at[i].length; j++) {
            const char *left = w->at[i].pieces[j], *right = w->at[i].pieces[j + 1];
            size_t count = count_pair(w, left, right);
            char text[2 * TEXT_MAX];

            joined(left, right, text);
            most = MAX(most, count);
            if (strcmp(text, piece) == 0 && count > *ret_of_piece) {
                *ret_of_piece = count;
                strcpy(ret_left, left);
                strcpy(ret_right, right);
            }
        }
    return most;
}

static void join(struct words *w, const char *left, const char *right)
{
    for (size_t i = 0; i < w->count; i++) {
        struct cut *c = &w->at[i];
        size_t to = 0;

        for (size_t j = 0; j < c->length; j++, to++) {
            char text[2 * TEXT_MAX];
            bool here = j + 1 < c->length && !strcmp(c->pieces[j], left) &&
                        !strcmp(c->pieces[j + 1], right);

            snprintf(text, sizeof(text), "%s", c->pieces[j]);
            if (here)
                joined(left, right, text);
            snprintf(c->pieces[to], TEXT_MAX, "%.*s", TEXT_MAX - 1, text);
            j += here;
        }
        c->length = to;
    }
}

static void joins_what_stands_together_most(void **state)
{
    static struct words w;
    struct lines l;
    size_t at = 5, letters = 0;
    const struct tokenizer_listener listener = {cut_word, &w};

    make_lines(*state, true, 400, &l);
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
        assert_int_equal(tokenizer_words(texts[i], true, &listener, NULL), 0);
    while (at < l.count && (strlen(l.at[at]) == 1 || (strlen(l.at[at]) == 3 && l.at[at][0] == '#')))
        at++, letters++;
    assert_in_range(letters, 30, 45);
    for (; at < l.count; at++) {
        char left[TEXT_MAX], right[TEXT_MAX];
        size_t count, most = largest_pair(&w, l.at[at], &count, left, right);

        if (count != most)
            fail_msg("%s is of a pair that occurs %zu times, another %zu", l.at[at], count, most);
        join(&w, left, right);
    }
    /* It ended since nothing is left that occurs twice. */
    {
        char left[TEXT_MAX], right[TEXT_MAX];
        size_t count;

        assert_true(largest_pair(&w, "", &count, left, right) < VOCABULARY_COUNT_MIN);
    }
    free(l.bytes);
}

static void cuts_its_own_text_without_a_rest(void **state)
{
    const struct model_config config = {.vocab = 60, .types = 2, .lower_case = true};
    struct tokenizer *t = NULL;
    struct encoding *e = calloc(1, sizeof(*e));
    struct lines l;
    uint32_t unknown;

    make_lines(*state, true, 60, &l);
    assert_int_equal(l.count, 60);
    assert_int_equal(tokenizer_load(((struct folder *)*state)->path, &config, &t, NULL), 0);
    assert_int_equal(tokenizer_find(t, "[UNK]", &unknown), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        assert_int_equal(tokenizer_encode(t, texts[i], NULL, 512, e, NULL), 0);
        for (size_t j = 0; j < e->count; j++)
            assert_int_not_equal(e->ids[j], unknown);
    }
    tokenizer_free(t);
    free(l.bytes);
    free(e);
}

static void has_case_where_asked(void **state)
{
    struct lines l;
    size_t found = 0;

    make_lines(*state, false, 400, &l);
    for (size_t i = 0; i < l.count; i++)
        found += !strcmp(l.at[i], "T") || !strcmp(l.at[i], "Z") || !strcmp(l.at[i], "##\xc3\xbc");
    assert_int_equal(found, 3);
    free(l.bytes);
}

static void is_the_same_every_time(void **state)
{
    struct lines a, b;

    make_lines(*state, true, 80, &a);
    make_lines(*state, true, 80, &b);
    assert_int_equal(a.count, b.count);
    for (size_t i = 0; i < a.count; i++)
        assert_string_equal(a.at[i], b.at[i]);
    free(a.bytes);
    free(b.bytes);
}

/* Where there is room for few letters the rarest go, and words that have them give no pieces. */
static void leaves_out_the_rarest_letters(void **state)
{
    struct lines l;

    make_lines(*state, true, VOCABULARY_SIZE_MIN, &l);
    assert_int_equal(l.count, VOCABULARY_SIZE_MIN);
    for (size_t i = 5; i < l.count; i++)
        assert_true(strcmp(l.at[i], ";") != 0);
    free(l.bytes);
}

static void refuses(void **state)
{
    struct vocabulary *v = vocabulary_new(true);
    struct err err = {""};
    size_t lines;

    assert_non_null(v);
    assert_int_equal(vocabulary_add(v, "bad \xff text", &err), -EILSEQ);
    assert_int_equal(vocabulary_save(v, 100, folder_at(*state, "vocab.txt"), &lines, NULL),
                     -EINVAL);
    assert_int_equal(vocabulary_add(v, "good text", NULL), 0);
    assert_int_equal(vocabulary_save(v, 31, folder_at(*state, "vocab.txt"), &lines, NULL), -EINVAL);
    assert_int_equal(
        vocabulary_save(v, VOCABULARY_SIZE_MAX + 1, folder_at(*state, "vocab.txt"), &lines, NULL),
        -EINVAL);
    vocabulary_free(v);
    vocabulary_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(joins_what_stands_together_most, setup, teardown),
        cmocka_unit_test_setup_teardown(cuts_its_own_text_without_a_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(has_case_where_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(is_the_same_every_time, setup, teardown),
        cmocka_unit_test_setup_teardown(leaves_out_the_rarest_letters, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
