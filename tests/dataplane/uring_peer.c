#include "tests/dataplane/uring_peer.h"

#include "base/file.h"

#include <sys/wait.h>
#include <unistd.h>

const struct link_options uring_patient = {.timeout_ms = 10000, .busy_poll_us_max = 50};
const struct link_options uring_hasty = {.timeout_ms = SHORT_MS};

void uring_set_up(struct uring_bench *b, const struct link_options *o, unsigned int count)
{
    struct seal_keys *keys = pair_keys(), *mirror = seal_keys_mirror(keys);
    int first[2], second[2] = {-1, -1};

    pair_sockets(first);
    if (count > 1)
        pair_sockets(second);
    assert_int_equal(link_uring_new((int[]){first[0], second[0]}, count, keys, o, &b->l, NULL), 0);
    assert_int_equal(framer_init(&b->framer, mirror, SEAL_FASTEST, NULL), 0);
    b->peer = first[1];
    b->other = second[1];
    seal_keys_free(keys);
    seal_keys_free(mirror);
}

void uring_tear_down(struct uring_bench *b)
{
    link_free(b->l);
    framer_clear(&b->framer);
    if (b->peer >= 0)
        close(b->peer);
    if (b->other >= 0)
        close(b->other);
}

void uring_make_frame(struct uring_bench *b)
{
    pair_fill(b->frame + FRAME_HEAD_BYTES, BYTES, 3);
    assert_int_equal(frame_seal(&b->framer, b->frame, BYTES, NULL), 0);
}

void uring_put(struct uring_bench *b, size_t bytes)
{
    assert_int_equal(file_write_all(b->peer, b->frame, bytes), 0);
}

void uring_expect_good(struct uring_bench *b)
{
    const uint8_t *p = link_take(b->l, BYTES);

    assert_non_null(p);
    assert_true(pair_filled(p, BYTES, 3));
}

void uring_expect_refused(struct uring_bench *b, int code)
{
    assert_null(link_take(b->l, BYTES));
    assert_int_equal(link_error(b->l, NULL), code);
    assert_null(link_take(b->l, BYTES));
}

void uring_apart(int (*run)(int argument), int argument)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0)
        _exit(run(argument) == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}
