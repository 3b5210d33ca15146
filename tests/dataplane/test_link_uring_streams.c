/* The link over two TCP streams: records take turns, and each is good on its own stream only. */
#include "tests/dataplane/uring_peer.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* From now on the peer's other stream is meant. */
static void change_streams(struct uring_bench *b)
{
    int fd = b->peer;

    b->peer = b->other;
    b->other = fd;
}

/* Records take turns on the streams, numbered all together. */
static void test_streams_take_turns(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 2);
    for (uint64_t i = 0; i < 5; i++) {
        uint8_t *p = link_reserve(b.l, BYTES);

        assert_non_null(p);
        pair_fill(p, BYTES, 9 + i);
        assert_int_equal(link_commit(b.l), 0);
    }
    assert_int_equal(link_flush(b.l), 0);
    for (uint64_t i = 0; i < 5; i++, change_streams(&b)) {
        assert_int_equal(recv(b.peer, b.frame, FRAME_BYTES, MSG_WAITALL), FRAME_BYTES);
        assert_int_equal(frame_check(&b.framer, b.frame, BYTES, NULL), 0);
        assert_int_equal(frame_open(&b.framer, b.frame, BYTES, NULL), 0);
        assert_true(pair_filled(b.frame + FRAME_HEAD_BYTES, BYTES, 9 + i));
    }
    uring_tear_down(&b);
}

/* What comes early on one stream waits until the other has brought what is due before. */
static void test_streams_in_order(void **state)
{
    uint8_t early[FRAME_BYTES];
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 2);
    uring_make_frame(&b);
    memcpy(early, b.frame, FRAME_BYTES);
    uring_make_frame(&b);
    change_streams(&b);
    uring_put(&b, FRAME_BYTES);
    change_streams(&b);
    memcpy(b.frame, early, FRAME_BYTES);
    uring_put(&b, FRAME_BYTES);
    uring_expect_good(&b);
    uring_expect_good(&b);
    uring_tear_down(&b);
}

/* A frame is good once, and on its own stream only. */
static void test_streams_exchanged(void **state)
{
    struct uring_bench b;

    (void)state;
    for (int replay = 0; replay < 2; replay++) {
        uring_set_up(&b, &uring_patient, 2);
        uring_make_frame(&b);
        if (replay) {
            uring_put(&b, FRAME_BYTES);
            uring_expect_good(&b);
            change_streams(&b);
        } else {
            uring_make_frame(&b);
        }
        uring_put(&b, FRAME_BYTES);
        uring_expect_refused(&b, -EPROTO);
        uring_tear_down(&b);
    }
}

/* One stream of two is closed: the link is dead, but for what came before. */
static void test_one_stream_closed(void **state)
{
    struct uring_bench b;

    (void)state;
    uring_set_up(&b, &uring_patient, 2);
    uring_make_frame(&b);
    uring_put(&b, FRAME_BYTES);
    close(b.other);
    b.other = -1;
    uring_expect_good(&b);
    uring_expect_refused(&b, -ECONNRESET);
    uring_tear_down(&b);
}

static void test_number_of_streams(void **state)
{
    struct seal_keys *keys = pair_keys();
    int fds[LINK_STREAMS_MAX + 1] = {0};
    struct link *l;

    (void)state;
    assert_int_equal(link_uring_new(fds, 0, keys, &uring_patient, &l, NULL), -EINVAL);
    assert_int_equal(link_uring_new(fds, LINK_STREAMS_MAX + 1, keys, &uring_patient, &l, NULL),
                     -EINVAL);
    seal_keys_free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_take_turns), cmocka_unit_test(test_streams_in_order),
        cmocka_unit_test(test_streams_exchanged),  cmocka_unit_test(test_one_stream_closed),
        cmocka_unit_test(test_number_of_streams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
