/* Sample text: what becomes a sample, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"
#include "transformer/sample.h"

#include <string.h>

static const uint32_t buckets[] = {8, 32};

static int set_up(void **state)
{
    const struct model_config config = {.vocab = 8192, .types = 2, .lower_case = true};
    struct tokenizer *t = NULL;

    assert_int_equal(tokenizer_load(SOURCE_ROOT "/models/sst2-tiny", &config, &t, NULL), 0);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    tokenizer_free(*state);
    return 0;
}

static void a_line_is_a_sample_and_each_bucket_is_filled(void **state)
{
    struct samples s = {0};

    assert_int_equal(samples_make(*state, "a film\n\na good film\r\n", buckets, 2, &s, NULL), 0);
    assert_int_equal(s.count, 4 + 1);
    assert_int_equal(s.encodings[0].count, 4); /* [CLS] a film [SEP] */
    assert_int_equal(s.encodings[1].count, 5);
    assert_int_equal(s.encodings[2].count, 8);
    assert_int_equal(s.encodings[3].count, 32);
    assert_int_equal(s.encodings[4].count, 2); /* nothing between them */
    samples_free(&s);
    samples_free(&s);
}

static void every_fourth_line_has_a_pair(void **state)
{
    struct samples s = {0};

    assert_int_equal(samples_make(*state, "one\ntwo\nthree\nfour", buckets, 2, &s, NULL), 0);
    assert_int_equal(s.count, 4 + 1 + 2 + 1);
    assert_int_equal(s.encodings[4].types[s.encodings[4].count - 1], 1);
    samples_free(&s);
}

static void the_built_in_text_fills_the_longest_bucket(void **state)
{
    static const uint32_t longest[] = {512};
    struct samples s = {0};

    assert_int_equal(samples_make(*state, NULL, longest, 1, &s, NULL), 0);
    assert_true(s.count > 40);
    assert_int_equal(s.encodings[s.count - 2].count, 512);
    samples_free(&s);
}

static void what_is_no_sample_text_is_refused(void **state)
{
    struct samples s = {0};
    struct err err = {0};
    char many[2 * SAMPLE_LINES_MAX + 3];

    assert_int_equal(samples_make(*state, "\n\r\n", buckets, 2, &s, NULL), -EINVAL);
    assert_int_equal(samples_make(*state, "fine\nbad \xff", buckets, 2, &s, &err), -EILSEQ);
    assert_non_null(strstr(err.text, "sample 2"));
    for (size_t i = 0; i < SAMPLE_LINES_MAX + 1; i++)
        memcpy(many + 2 * i, "a\n", 3);
    assert_int_equal(samples_make(*state, many, buckets, 2, &s, NULL), -E2BIG);
    assert_null(s.encodings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_sample_and_each_bucket_is_filled),
        cmocka_unit_test(every_fourth_line_has_a_pair),
        cmocka_unit_test(the_built_in_text_fills_the_longest_bucket),
        cmocka_unit_test(what_is_no_sample_text_is_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
