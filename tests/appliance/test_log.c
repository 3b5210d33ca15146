/* The log: what a line looks like, and that nobody's text can look like a line or a field. */
#include "tests/appliance/fixture.h"

#include "appliance/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char text[2 * LOG_LINE_MAX];

/* Run with stderr in a pipe, @text holds what was written to it. */
#define CAPTURE(statement)                                                                         \
    do {                                                                                           \
        int ends[2], kept = dup(STDERR_FILENO);                                                    \
        ssize_t n;                                                                                 \
                                                                                                   \
        assert_int_equal(pipe(ends), 0);                                                           \
        dup2(ends[1], STDERR_FILENO);                                                              \
        statement;                                                                                 \
        dup2(kept, STDERR_FILENO);                                                                 \
        close(kept);                                                                               \
        close(ends[1]);                                                                            \
        n = read(ends[0], text, sizeof(text) - 1);                                                 \
        text[n > 0 ? n : 0] = 0;                                                                   \
        close(ends[0]);                                                                            \
    } while (0)

static void test_line(void **state)
{
    unsigned int year, month, day, hour, minute, second, ms;

    (void)state;
    CAPTURE(log_info("tape-stored", log_number("number", -7), log_text("model", "tiny"),
                     log_text("reason", NULL)));
    assert_int_equal(sscanf(text, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ info ", &year, &month, &day, &hour,
                            &minute, &second, &ms),
                     7);
    assert_string_equal(strchr(text, ' '), " info tape-stored number=-7 model=tiny reason=-\n");
}

static void test_levels(void **state)
{
    (void)state;
    CAPTURE(log_debug("dull", log_number("n", 1)));
    assert_string_equal(text, "");
    log_level_set(LOG_LEVEL_DEBUG);
    CAPTURE(log_debug("dull", log_number("n", 1)));
    assert_contains(text, " debug dull n=1\n");
    log_level_set(LOG_LEVEL_ERROR);
    CAPTURE(log_warning("odd", log_number("n", 1)));
    assert_string_equal(text, "");
    CAPTURE(log_error("bad", log_number("n", 1)));
    assert_contains(text, " error bad n=1\n");
    log_level_set(LOG_LEVEL_INFO);
}

static void test_forgery(void **state)
{
    (void)state;
    CAPTURE(log_info("e", log_text("name", "x role=dealer\n2026 error \"y\" \\ \x7f\x1b")));
    assert_contains(text, " e name=\"x role=dealer\\x0a2026 error \\\"y\\\" \\\\ \\x7f\\x1b\"\n");
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    CAPTURE(log_info("e", log_text("name", "")));
    assert_contains(text, " e name=\"\"\n");
}

static void test_long_line(void **state)
{
    static char value[2 * LOG_LINE_MAX];

    (void)state;
    memset(value, 'x', sizeof(value) - 1);
    CAPTURE(log_info("e", log_text("name", value)));
    assert_int_equal(strlen(text), LOG_LINE_MAX);
    assert_int_equal(text[LOG_LINE_MAX - 1], '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_forgery),
        cmocka_unit_test(test_long_line),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
