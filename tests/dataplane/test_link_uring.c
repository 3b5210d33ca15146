/* The link over TCP against a peer that sends what it likes, or nothing, or is gone. */
#include "base/bytes.h"
#include "base/file.h"
#include "tests/dataplane/uring_peer.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_honest_peer(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    for (int i = 0; i < 3; i++) {
        uring_make_frame(&b);
        uring_put(&b, FRAME_BYTES);
        uring_expect_good(&b);
    }
    uring_tear_down(&b);
}

/* What the link itself puts on the wire is what frame.h says. */
static void test_frame_on_the_wire(void **state)
{
    struct uring_bench b;
    uint8_t *p;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    p = link_reserve(b.l, BYTES);
    assert_non_null(p);
    pair_fill(p, BYTES, 9);
    assert_int_equal(link_commit(b.l), 0);
    assert_int_equal(link_flush(b.l), 0);
    assert_int_equal(recv(b.peer, b.frame, FRAME_BYTES, MSG_WAITALL), FRAME_BYTES);
    assert_int_equal(frame_check(&b.framer, b.frame, BYTES, NULL), 0);
    assert_int_equal(frame_open(&b.framer, b.frame, BYTES, NULL), 0);
    assert_true(pair_filled(b.frame + FRAME_HEAD_BYTES, BYTES, 9));
    uring_tear_down(&b);
}

/* However the network cuts it. */
static void test_byte_by_byte(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    uring_make_frame(&b);
    for (size_t i = 0; i < FRAME_BYTES; i++)
        assert_int_equal(send(b.peer, b.frame + i, 1, 0), 1);
    uring_expect_good(&b);
    uring_tear_down(&b);
}

/* One bit in each byte of the head, one of the payload, one behind it. */
static void test_flipped_bits(void **state)
{
    static const size_t others[] = {FRAME_HEAD_BYTES, FRAME_HEAD_BYTES + BYTES - 1,
                                    FRAME_HEAD_BYTES + BYTES, FRAME_BYTES - 1};

    (void)state;
    for (size_t i = 0; i < FRAME_HEAD_BYTES + ARRAY_LENGTH(others); i++) {
        size_t at = i < FRAME_HEAD_BYTES ? i : others[i - FRAME_HEAD_BYTES];
        bool in_seal = at >= 16 && at < FRAME_HEAD_BYTES + BYTES;
        struct link_counters c;
        struct uring_bench b;

        uring_set_up(&b, &uring_patient, 1);
        uring_make_frame(&b);
        uring_put(&b, FRAME_BYTES);
        uring_expect_good(&b);
        uring_make_frame(&b);
        b.frame[at] ^= (uint8_t)(1 << i % 8);
        uring_put(&b, FRAME_BYTES);
        uring_expect_refused(&b, in_seal ? -EBADMSG : -EPROTO);
        link_counters(b.l, &c);
        assert_int_equal(c.seal_failures, in_seal ? 1 : 0);
        assert_int_equal(c.frame_failures, in_seal ? 0 : 1);
        uring_tear_down(&b);
    }
}

static void test_replay(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    uring_make_frame(&b);
    uring_put(&b, FRAME_BYTES);
    uring_put(&b, FRAME_BYTES);
    uring_expect_good(&b);
    uring_expect_refused(&b, -EPROTO);
    uring_tear_down(&b);
}

/* The same with the sequence that is due written over the old one. */
static void test_replay_renumbered(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    uring_make_frame(&b);
    uring_put(&b, FRAME_BYTES);
    store_le64(b.frame + 8, 1);
    uring_put(&b, FRAME_BYTES);
    uring_expect_good(&b);
    uring_expect_refused(&b, -EBADMSG);
    uring_tear_down(&b);
}

static void test_lost_frame(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    uring_make_frame(&b);
    uring_make_frame(&b);
    uring_put(&b, FRAME_BYTES);
    uring_expect_refused(&b, -EPROTO);
    uring_tear_down(&b);
}

/* My own record comes back. */
static void test_reflected(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    assert_non_null(link_reserve(b.l, BYTES));
    assert_int_equal(link_commit(b.l), 0);
    assert_int_equal(link_flush(b.l), 0);
    assert_int_equal(recv(b.peer, b.frame, FRAME_BYTES, MSG_WAITALL), FRAME_BYTES);
    uring_put(&b, FRAME_BYTES);
    uring_expect_refused(&b, -EBADMSG);
    uring_tear_down(&b);
}

static void test_peer_without_the_keys(void **state)
{
    struct uring_bench b;
    struct seal_keys *keys = seal_keys_new();

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    framer_clear(&b.framer);
    pair_fill((uint8_t *)keys, sizeof(*keys), 99);
    assert_int_equal(framer_init(&b.framer, keys, SEAL_FASTEST, NULL), 0);
    uring_make_frame(&b);
    uring_put(&b, FRAME_BYTES);
    uring_expect_refused(&b, -EBADMSG);
    seal_keys_free(keys);
    uring_tear_down(&b);
}

static void test_frame_in_the_clear(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    framer_clear(&b.framer);
    uring_make_frame(&b);
    uring_put(&b, FRAME_BYTES);
    uring_expect_refused(&b, -EPROTO);
    uring_tear_down(&b);
}

/* A length that is announced but out of bounds: refused at once, not awaited. */
static void test_huge_length(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    uring_make_frame(&b);
    store_le32(b.frame + 4, UINT32_MAX);
    uring_put(&b, FRAME_PARSE_BYTES);
    uring_expect_refused(&b, -EPROTO);
    uring_tear_down(&b);
}

static void test_garbage(void **state)
{
    uint64_t seed = 20240602;

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (int i = 0; i < 30; i++) {
        struct uring_bench b;

        uring_set_up(&b, &uring_patient, 1);
        pair_fill(b.frame, FRAME_BYTES, pair_random(&seed));
        uring_put(&b, FRAME_PARSE_BYTES + pair_random(&seed) % 1000);
        uring_expect_refused(&b, -EPROTO);
        uring_tear_down(&b);
    }
}

/* Less than a head, a head, all but one byte. */
static const size_t beginnings[] = {1,   FRAME_PARSE_BYTES - 1, FRAME_PARSE_BYTES, FRAME_HEAD_BYTES,
                                    500, FRAME_BYTES - 1};

static void test_truncated_then_silence(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(beginnings); i++) {
        uint64_t start_ns;
        struct uring_bench b;

        uring_set_up(&b, &uring_hasty, 1);
        uring_make_frame(&b);
        uring_put(&b, beginnings[i]);
        start_ns = time_ns();
        uring_expect_refused(&b, -ETIMEDOUT);
        assert_true(time_ns() - start_ns >= (uint64_t)SHORT_MS * 1000000);
        uring_tear_down(&b);
    }
}

static void test_truncated_then_closed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(beginnings); i++) {
        struct err err = {0};
        struct uring_bench b;

        uring_set_up(&b, &uring_patient, 1);
        uring_make_frame(&b);
        uring_put(&b, beginnings[i]);
        close(b.peer);
        b.peer = -1;
        uring_expect_refused(&b, -ECONNRESET);
        link_error(b.l, &err);
        assert_non_null(strstr(err.text, "middle of a record"));
        uring_tear_down(&b);
    }
}

/* A trickle does not extend the time that a call may take. */
static void *trickle(void *bench)
{
    struct uring_bench *b = bench;

    for (size_t i = 0; i < 200; i++) {
        if (send(b->peer, b->frame + i, 1, MSG_NOSIGNAL) != 1)
            break;
        usleep(5000);
    }
    return NULL;
}

static void test_trickle(void **state)
{
    struct uring_bench b;
    pthread_t thread;

    (void)state;
    uring_set_up(&b, &uring_hasty, 1);
    uring_make_frame(&b);
    assert_int_equal(pthread_create(&thread, NULL, trickle, &b), 0);
    uring_expect_refused(&b, -ETIMEDOUT);
    link_free(b.l);
    b.l = NULL;
    pthread_join(thread, NULL);
    uring_tear_down(&b);
}

/* The peer's process is killed in the middle of a record; what it sent before stays good. */
static void test_killed_peer(void **state)
{
    uint8_t stream[2 * FRAME_BYTES];
    struct uring_bench b;
    uint64_t start_ns;
    pid_t child;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    for (int i = 0; i < 2; i++) {
        uring_make_frame(&b);
        memcpy(stream + (size_t)i * FRAME_BYTES, b.frame, FRAME_BYTES);
    }
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)!file_write_all(b.peer, stream, FRAME_BYTES + FRAME_BYTES / 2);
        raise(SIGKILL);
    }
    close(b.peer);
    b.peer = -1;
    uring_expect_good(&b);
    start_ns = time_ns();
    uring_expect_refused(&b, -ECONNRESET);
    assert_true(time_ns() - start_ns < (uint64_t)uring_patient.timeout_ms * 1000000 / 2);
    assert_int_equal(waitpid(child, NULL, 0), child);
    uring_tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_honest_peer),
        cmocka_unit_test(test_frame_on_the_wire),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_replay_renumbered),
        cmocka_unit_test(test_lost_frame),
        cmocka_unit_test(test_reflected),
        cmocka_unit_test(test_peer_without_the_keys),
        cmocka_unit_test(test_frame_in_the_clear),
        cmocka_unit_test(test_huge_length),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_truncated_then_silence),
        cmocka_unit_test(test_truncated_then_closed),
        cmocka_unit_test(test_trickle),
        cmocka_unit_test(test_killed_peer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
