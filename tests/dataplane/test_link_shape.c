/*
 * The shaping link's model. Only lower bounds are tested: a busy machine may always be slower than
 * the line. Both ends are driven by one thread, so that each time stands for itself.
 */
#include "dataplane/frame.h"
#include "tests/dataplane/pair.h"

#include <string.h>

static const struct link_options patient = {.timeout_ms = 20000};

static void shaped_pair(const struct link_options *options, uint64_t bits_per_s, uint32_t delay_us,
                        struct link *ret[2])
{
    const struct link_line line = {bits_per_s, delay_us};
    struct link *memory[2];

    assert_int_equal(link_mem_new(NULL, &patient, memory, NULL), 0);
    for (int side = 0; side < 2; side++)
        assert_int_equal(link_shape_new(memory[side], options, &line, &ret[side], NULL), 0);
}

static void free_pair(struct link *end[2])
{
    link_free(end[0]);
    link_free(end[1]);
}

static void send(struct link *l, size_t bytes)
{
    uint8_t *p = link_reserve(l, bytes);

    assert_non_null(p);
    pair_fill(p, bytes, bytes);
    assert_int_equal(link_commit(l), 0);
}

static void take(struct link *l, size_t bytes)
{
    const uint8_t *p = link_take(l, bytes);

    assert_non_null(p);
    assert_true(pair_filled(p, bytes, bytes));
}

static void test_delay(void **state)
{
    struct link *end[2];
    uint64_t start_ns = time_ns();

    (void)state;
    shaped_pair(&patient, 0, 10000, end);
    send(end[0], 64);
    take(end[1], 64);
    send(end[1], 64);
    take(end[0], 64);
    assert_true(time_ns() - start_ns >= 20 * 1000000u);
    free_pair(end);
}

/* Ten frames of 64128 bytes at 100 Mbit/s leave one after the other: 51.3 ms. */
static void test_bandwidth(void **state)
{
    const size_t bytes = 64064;
    struct link *end[2];
    uint64_t start_ns;

    (void)state;
    assert_int_equal(frame_bytes(bytes), 64128);
    shaped_pair(&patient, 100000000, 0, end);
    start_ns = time_ns();
    for (int i = 0; i < 10; i++)
        send(end[0], bytes);
    for (int i = 1; i <= 10; i++) {
        take(end[1], bytes);
        assert_true(time_ns() - start_ns >= (uint64_t)i * 64128 * 8 * 10);
    }
    free_pair(end);
}

/* The delay is not paid once a record: they travel together. */
static void test_delay_is_shared_by_what_is_under_way(void **state)
{
    struct link *end[2];
    uint64_t start_ns, first_ns;

    (void)state;
    shaped_pair(&patient, 0, 200000, end);
    for (int i = 0; i < 50; i++)
        send(end[0], 64);
    start_ns = time_ns();
    take(end[1], 64);
    first_ns = time_ns();
    for (int i = 1; i < 50; i++)
        take(end[1], 64);
    /* 49 delays would be 9.8 s */
    assert_true(first_ns >= start_ns);
    assert_true(time_ns() - first_ns < 5 * (uint64_t)1000000000);
    free_pair(end);
}

static void test_largest_record(void **state)
{
    struct link *end[2];

    (void)state;
    shaped_pair(&patient, 0, 0, end);
    send(end[0], LINK_RECORD_MAX);
    take(end[1], LINK_RECORD_MAX);
    assert_null(link_reserve(end[0], LINK_RECORD_MAX + 1));
    assert_int_equal(link_error(end[0], NULL), -EINVAL);
    free_pair(end);
}

/* 1 MiB at 1 kbit/s takes more than two hours. */
static void test_line_too_slow_for_the_timeout(void **state)
{
    const struct link_options hasty = {.timeout_ms = 50};
    struct link *end[2];
    struct err err = {0};
    uint64_t start_ns = time_ns();

    (void)state;
    shaped_pair(&hasty, 1000, 0, end);
    send(end[0], LINK_RECORD_MAX);
    assert_null(link_take(end[1], LINK_RECORD_MAX));
    assert_int_equal(link_error(end[1], &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "modelled line"));
    assert_true(time_ns() - start_ns >= 50 * 1000000u);
    free_pair(end);
}

static void test_shaped_once_only(void **state)
{
    const struct link_line line = {0};
    struct link *end[2], *twice = NULL;

    (void)state;
    shaped_pair(&patient, 0, 0, end);
    assert_int_equal(link_shape_new(end[0], &patient, &line, &twice, NULL), -EINVAL);
    assert_null(twice);
    send(end[0], 8);
    take(end[1], 8);
    free_pair(end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_bandwidth),
        cmocka_unit_test(test_delay_is_shared_by_what_is_under_way),
        cmocka_unit_test(test_largest_record),
        cmocka_unit_test(test_line_too_slow_for_the_timeout),
        cmocka_unit_test(test_shaped_once_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
