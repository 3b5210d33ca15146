/*
 * Which sends are zero-copy and what memory they hold, told by what a kernel could say. What it
 * does say on loopback is in test_link_uring.c.
 */
#include "dataplane/zero_copy.h"

#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#define LARGE ZERO_COPY_BYTES_MIN

static unsigned int start(struct zero_copy *z, uint64_t from)
{
    int number = zero_copy_start(z, from, LARGE);

    assert_true(number >= 0);
    return (unsigned int)number;
}

static void queued(struct zero_copy *z, unsigned int number)
{
    assert_false(zero_copy_queued(z, number, (int)LARGE, true));
}

static void send_one(struct zero_copy *z, bool copied)
{
    unsigned int number = start(z, 0);

    queued(z, number);
    zero_copy_notified(z, number, copied);
}

static void test_small_sends_are_plain(void **state)
{
    struct zero_copy z;

    (void)state;
    zero_copy_init(&z, LINK_ZERO_COPY_TRY, NULL);
    assert_int_equal(zero_copy_start(&z, 0, LARGE - 1), -1);
    assert_null(z.plain);
    assert_true(zero_copy_start(&z, 0, LARGE) >= 0);
}

/* Held from the start of the oldest that the kernel reads, whatever the order of its reports. */
static void test_what_is_held(void **state)
{
    struct zero_copy z;
    unsigned int a, b, c;

    (void)state;
    zero_copy_init(&z, LINK_ZERO_COPY_TRY, NULL);
    assert_int_equal(zero_copy_held(&z, 77), 77);
    a = start(&z, 100);
    assert_int_equal(zero_copy_held(&z, 100), 100);
    queued(&z, a);
    b = start(&z, 200);
    queued(&z, b);
    c = start(&z, 300);
    queued(&z, c);
    assert_int_equal(zero_copy_held(&z, 400), 100);
    zero_copy_notified(&z, b, false);
    assert_int_equal(zero_copy_held(&z, 400), 100);
    zero_copy_notified(&z, a, false);
    assert_int_equal(zero_copy_held(&z, 400), 300);
    zero_copy_notified(&z, c, false);
    assert_int_equal(zero_copy_held(&z, 400), 400);
}

/* A send that failed before the kernel looked at the memory has no second completion. */
static void test_no_notification(void **state)
{
    struct zero_copy z;

    (void)state;
    zero_copy_init(&z, LINK_ZERO_COPY_TRY, NULL);
    assert_false(zero_copy_queued(&z, start(&z, 100), -EPIPE, false));
    assert_int_equal(zero_copy_held(&z, 400), 400);
    assert_null(z.plain);
}

static void test_copied_reports_end_it(void **state)
{
    struct zero_copy z;

    (void)state;
    zero_copy_init(&z, LINK_ZERO_COPY_TRY, NULL);
    for (unsigned int i = 0; i < ZERO_COPY_TRIALS; i++)
        send_one(&z, true);
    assert_int_equal(zero_copy_start(&z, 0, LARGE), -1);
    assert_non_null(strstr(z.plain, "copied"));
}

/* Now and then one is copied, say while somebody records packets. */
static void test_one_good_report_counts_anew(void **state)
{
    struct zero_copy z;

    (void)state;
    zero_copy_init(&z, LINK_ZERO_COPY_TRY, NULL);
    for (unsigned int i = 0; i < 5 * ZERO_COPY_TRIALS; i++)
        send_one(&z, (i + 1) % ZERO_COPY_TRIALS != 0);
    assert_null(z.plain);
    for (unsigned int i = 0; i < ZERO_COPY_TRIALS; i++)
        send_one(&z, true);
    assert_non_null(z.plain);
}

static void test_few_before_the_first_report(void **state)
{
    struct zero_copy z;
    unsigned int number = 0;

    (void)state;
    zero_copy_init(&z, LINK_ZERO_COPY_TRY, NULL);
    for (unsigned int i = 0; i < ZERO_COPY_TRIALS; i++) {
        number = start(&z, i * LARGE);
        queued(&z, number);
    }
    assert_int_equal(zero_copy_start(&z, 0, LARGE), -1);
    zero_copy_notified(&z, number, false);
    start(&z, ZERO_COPY_TRIALS * LARGE);
}

/* More than there is room for are plain, for as long as that lasts. */
static void test_full(void **state)
{
    struct zero_copy z;

    (void)state;
    zero_copy_init(&z, LINK_ZERO_COPY_ALWAYS, NULL);
    for (unsigned int i = 0; i < 3 * ZERO_COPY_SENDS_MAX; i++) {
        if (i >= ZERO_COPY_SENDS_MAX) {
            assert_int_equal(zero_copy_start(&z, i * LARGE, LARGE), -1);
            assert_int_equal(zero_copy_held(&z, i * LARGE), (i - ZERO_COPY_SENDS_MAX) * LARGE);
            zero_copy_notified(&z, i % ZERO_COPY_SENDS_MAX, true);
        }
        queued(&z, start(&z, i * LARGE));
    }
    assert_null(z.plain);
}

static void test_refused(void **state)
{
    static const int codes[] = {-EINVAL, -EOPNOTSUPP, -ENOMEM, -ENOBUFS};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        struct zero_copy z;

        zero_copy_init(&z, LINK_ZERO_COPY_ALWAYS, NULL);
        assert_true(zero_copy_queued(&z, start(&z, 100), codes[i], false));
        assert_int_equal(zero_copy_held(&z, 100), 100);
        assert_int_equal(zero_copy_start(&z, 100, LARGE), -1);
        assert_non_null(strstr(z.plain, "refused"));
    }
}

static void test_not_wanted_or_not_there(void **state)
{
    struct zero_copy z;

    (void)state;
    zero_copy_init(&z, LINK_ZERO_COPY_NEVER, NULL);
    assert_int_equal(zero_copy_start(&z, 0, LARGE), -1);
    zero_copy_init(&z, LINK_ZERO_COPY_ALWAYS, "no memory");
    assert_int_equal(zero_copy_start(&z, 0, LARGE), -1);
    assert_string_equal(z.plain, "no memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_sends_are_plain),
        cmocka_unit_test(test_what_is_held),
        cmocka_unit_test(test_no_notification),
        cmocka_unit_test(test_copied_reports_end_it),
        cmocka_unit_test(test_one_good_report_counts_anew),
        cmocka_unit_test(test_few_before_the_first_report),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_not_wanted_or_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
