/*
 * Zero-copy sends: the memory stays while the kernel reads it, and the kernel's reports decide.
 * Loopback copies them, but only when the peer's socket has room.
 */
#include "tests/dataplane/uring_peer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOBODY    65534
#define LARGE_MIN ((size_t)200 << 10) /* a record is a send, or two */

static const struct link_options zero_copy = {
    .timeout_ms = 10000, .busy_poll_us_max = 50, .zero_copy = LINK_ZERO_COPY_ALWAYS};
static const struct link_options hasty_zero_copy = {.timeout_ms = SHORT_MS,
                                                    .zero_copy = LINK_ZERO_COPY_ALWAYS};

static size_t large_size(uint64_t *seed)
{
    return LARGE_MIN + pair_random(seed) % (LINK_RECORD_MAX - LARGE_MIN + 1);
}

/* Commit @count large records of sizes and contents that follow from their numbers. */
static size_t put_large(struct link *l, size_t count)
{
    uint64_t seed = 5;
    size_t i;

    for (i = 0; i < count; i++) {
        size_t bytes = large_size(&seed);
        uint8_t *p = link_reserve(l, bytes);

        if (!p)
            break;
        pair_fill(p, bytes, i);
        if (link_commit(l) < 0)
            break;
    }
    return i;
}

struct slow_reader {
    struct uring_bench *b;
    size_t count;      /* how many to read; on return, how many came */
    unsigned int late; /* microseconds before each */
    bool bad;          /* one of them was not as it was put */
};

static void *read_large(void *slow_reader)
{
    struct slow_reader *r = slow_reader;
    size_t room = frame_bytes(LINK_RECORD_MAX), count = r->count;
    uint8_t *frame = aligned_alloc(FRAME_ALIGN, room + FRAME_ALIGN);
    uint64_t seed = 5;

    for (r->count = 0; frame && r->count < count; r->count++) {
        size_t bytes = large_size(&seed), size = frame_bytes(bytes);
        uint8_t *at = frame + FRAME_HEAD_BYTES; /* the payload at a multiple of 64 */

        usleep(r->late);
        if (recv(r->b->peer, at, size, MSG_WAITALL) != (ssize_t)size)
            break;
        r->bad |= frame_check(&r->b->framer, at, bytes, NULL) < 0 ||
                  frame_open(&r->b->framer, at, bytes, NULL) < 0 ||
                  !pair_filled(at + FRAME_HEAD_BYTES, bytes, r->count);
        if (r->bad)
            break;
    }
    free(frame);
    return NULL;
}

static void expect_features(struct uring_bench *b, const char *words)
{
    char text[200];

    link_features(b->l, text, sizeof(text));
    if (!strstr(text, words))
        fail_msg("\"%s\" should say \"%s\"", text, words);
}

/* @count records pass, to a peer that is slow to read. */
static void pass_large(struct uring_bench *b, size_t count)
{
    struct slow_reader r = {.b = b, .count = count, .late = 2000};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, read_large, &r), 0);
    assert_int_equal(put_large(b->l, count), count);
    assert_int_equal(link_flush(b->l), 0);
    pthread_join(thread, NULL);
    assert_false(r.bad);
    assert_int_equal(r.count, count);
}

/* The arena is used several times over while the kernel still sends from it. */
static void test_zero_copy_to_a_slow_peer(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &zero_copy, 1);
    pass_large(&b, 60);
    expect_features(&b, ", zero-copy sends");
    uring_tear_down(&b);
}

/* The socket would take a window more, but it takes no bytes, only their place. */
static void test_zero_copy_keeps_the_memory(void **state)
{
    struct uring_bench b;
    size_t put = 0;

    (void)state;
    uring_set_up(&b, &hasty_zero_copy, 1);
    while (put < 100 && link_reserve(b.l, LINK_RECORD_MAX) && link_commit(b.l) == 0)
        put++;
    assert_int_equal(link_error(b.l, NULL), -ETIMEDOUT);
    assert_in_range(put, LINK_WINDOW / LINK_RECORD_MAX, LINK_WINDOW / LINK_RECORD_MAX + 2);
    uring_tear_down(&b);
}

/* Flushed is what the peer's kernel has: it stays right when the link and its arena are gone. */
static void test_zero_copy_flushed_and_freed(void **state)
{
    struct uring_bench b;
    struct slow_reader r = {.b = &b, .count = 3, .late = 300000};
    pthread_t thread;

    (void)state;
    uring_set_up(&b, &zero_copy, 1);
    assert_int_equal(pthread_create(&thread, NULL, read_large, &r), 0);
    assert_int_equal(put_large(b.l, 3), 3);
    assert_int_equal(link_flush(b.l), 0);
    link_free(b.l);
    b.l = NULL;
    pthread_join(thread, NULL);
    assert_false(r.bad);
    assert_int_equal(r.count, 3);
    uring_tear_down(&b);
}

/* What was not flushed may be lost, but the peer never gets what was wiped. */
static void test_zero_copy_freed_unflushed(void **state)
{
    struct slow_reader r = {.count = 8};
    struct uring_bench b;
    uint64_t start_ns;

    (void)state;
    uring_set_up(&b, &zero_copy, 1);
    assert_int_equal(put_large(b.l, 8), 8);
    start_ns = time_ns();
    link_free(b.l);
    b.l = NULL;
    assert_true(time_ns() - start_ns < 5000000000u);
    r.b = &b;
    read_large(&r);
    assert_false(r.bad);
    assert_true(r.count < 8);
    uring_tear_down(&b);
}

/* The reports decide. */
static void test_zero_copy_given_up(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    expect_features(&b, ", zero-copy sends");
    pass_large(&b, 20);
    expect_features(&b, "plain sends (zero-copy ones were copied)");
    uring_tear_down(&b);
}

static void test_zero_copy_never(void **state)
{
    static const struct link_options never = {.timeout_ms = 10000,
                                              .zero_copy = LINK_ZERO_COPY_NEVER};
    struct uring_bench b;
    char text[8];

    (void)state;
    uring_set_up(&b, &never, 1);
    expect_features(&b, "plain sends (as asked for)");
    pass_large(&b, 5);
    link_features(b.l, text, sizeof(text)); /* cut, not overrun */
    assert_true(memchr(text, '\0', sizeof(text)) != NULL);
    uring_tear_down(&b);
}

/* In a process of its own, without the privilege to lock more than it may. */
static int exchange_unregistered(int records)
{
    static const struct rlimit little = {1 << 20, 1 << 20}; /* a ring, no arena */
    struct seal_keys *keys = pair_keys();
    struct link *l;
    char text[200];
    uint8_t byte;
    int fd[2];

    pair_sockets(fd);
    EXPECT(setrlimit(RLIMIT_MEMLOCK, &little) == 0);
    EXPECT(geteuid() != 0 || setuid(NOBODY) == 0);
    EXPECT(link_uring_new(fd, 1, keys, &zero_copy, &l, NULL) == 0);
    link_features(l, text, sizeof(text));
    EXPECT(!strstr(text, "fixed buffer"));
    EXPECT(strstr(text, "plain sends (too little memory may be locked)"));
    EXPECT(put_large(l, (size_t)records) == (size_t)records);
    EXPECT(recv(fd[1], &byte, 1, 0) == 1);
    link_free(l);
    return 0;
}

static void test_little_memory_may_be_locked(void **state)
{
    (void)state;
    uring_apart(exchange_unregistered, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_copy_to_a_slow_peer),
        cmocka_unit_test(test_zero_copy_keeps_the_memory),
        cmocka_unit_test(test_zero_copy_flushed_and_freed),
        cmocka_unit_test(test_zero_copy_freed_unflushed),
        cmocka_unit_test(test_zero_copy_given_up),
        cmocka_unit_test(test_zero_copy_never),
        cmocka_unit_test(test_little_memory_may_be_locked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
