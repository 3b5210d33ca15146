/*
 * The link over TCP against a peer that does as it likes: the other end of the connection is a
 * plain socket, in the test's hands, which has the keys and a framer of its own.
 */
#include "base/bytes.h"
#include "base/file.h"
#include "dataplane/frame.h"
#include "tests/dataplane/pair.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES       1000
#define FRAME_BYTES 1088
#define SHORT_MS    60

static const struct link_options options = {.timeout_ms = 10000, .busy_poll_us_max = 50};
static const struct link_options hasty = {.timeout_ms = SHORT_MS};
static const struct link_options zero_copy = {
    .timeout_ms = 10000, .busy_poll_us_max = 50, .zero_copy = LINK_ZERO_COPY_ALWAYS};
static const struct link_options hasty_zero_copy = {.timeout_ms = SHORT_MS,
                                                    .zero_copy = LINK_ZERO_COPY_ALWAYS};

struct bench {
    struct link *l;
    int peer, other;      /* streams to it; -1: none */
    struct framer framer; /* the peer's */
    uint8_t frame[FRAME_BYTES];
};

static void set_up_streams(struct bench *b, const struct link_options *o, unsigned int count)
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

static void set_up(struct bench *b, const struct link_options *o)
{
    set_up_streams(b, o, 1);
}

static void tear_down(struct bench *b)
{
    link_free(b->l);
    framer_clear(&b->framer);
    if (b->peer >= 0)
        close(b->peer);
    if (b->other >= 0)
        close(b->other);
}

/* From now on the peer's other stream is meant. */
static void change_streams(struct bench *b)
{
    int fd = b->peer;

    b->peer = b->other;
    b->other = fd;
}

/* The peer's next frame, as it should be. */
static void make_frame(struct bench *b)
{
    pair_fill(b->frame + FRAME_HEAD_BYTES, BYTES, 3);
    assert_int_equal(frame_seal(&b->framer, b->frame, BYTES, NULL), 0);
}

static void put(struct bench *b, size_t bytes)
{
    assert_int_equal(file_write_all(b->peer, b->frame, bytes), 0);
}

static void expect_good(struct bench *b)
{
    const uint8_t *p = link_take(b->l, BYTES);

    assert_non_null(p);
    assert_true(pair_filled(p, BYTES, 3));
}

static void expect_refused(struct bench *b, int code)
{
    assert_null(link_take(b->l, BYTES));
    assert_int_equal(link_error(b->l, NULL), code);
    assert_null(link_take(b->l, BYTES));
}

static void test_honest_peer(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    for (int i = 0; i < 3; i++) {
        make_frame(&b);
        put(&b, FRAME_BYTES);
        expect_good(&b);
    }
    tear_down(&b);
}

/* What the link itself puts on the wire is what frame.h says. */
static void test_frame_on_the_wire(void **state)
{
    struct bench b;
    uint8_t *p;

    (void)state;
    set_up(&b, &options);
    p = link_reserve(b.l, BYTES);
    assert_non_null(p);
    pair_fill(p, BYTES, 9);
    assert_int_equal(link_commit(b.l), 0);
    assert_int_equal(link_flush(b.l), 0);
    assert_int_equal(recv(b.peer, b.frame, FRAME_BYTES, MSG_WAITALL), FRAME_BYTES);
    assert_int_equal(frame_check(&b.framer, b.frame, BYTES, NULL), 0);
    assert_int_equal(frame_open(&b.framer, b.frame, BYTES, NULL), 0);
    assert_true(pair_filled(b.frame + FRAME_HEAD_BYTES, BYTES, 9));
    tear_down(&b);
}

/* However the network cuts it. */
static void test_byte_by_byte(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    make_frame(&b);
    for (size_t i = 0; i < FRAME_BYTES; i++)
        assert_int_equal(send(b.peer, b.frame + i, 1, 0), 1);
    expect_good(&b);
    tear_down(&b);
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
        struct bench b;

        set_up(&b, &options);
        make_frame(&b);
        put(&b, FRAME_BYTES);
        expect_good(&b);
        make_frame(&b);
        b.frame[at] ^= (uint8_t)(1 << i % 8);
        put(&b, FRAME_BYTES);
        expect_refused(&b, in_seal ? -EBADMSG : -EPROTO);
        link_counters(b.l, &c);
        assert_int_equal(c.seal_failures, in_seal ? 1 : 0);
        assert_int_equal(c.frame_failures, in_seal ? 0 : 1);
        tear_down(&b);
    }
}

static void test_replay(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    make_frame(&b);
    put(&b, FRAME_BYTES);
    put(&b, FRAME_BYTES);
    expect_good(&b);
    expect_refused(&b, -EPROTO);
    tear_down(&b);
}

/* The same with the sequence that is due written over the old one. */
static void test_replay_renumbered(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    make_frame(&b);
    put(&b, FRAME_BYTES);
    store_le64(b.frame + 8, 1);
    put(&b, FRAME_BYTES);
    expect_good(&b);
    expect_refused(&b, -EBADMSG);
    tear_down(&b);
}

static void test_lost_frame(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    make_frame(&b);
    make_frame(&b);
    put(&b, FRAME_BYTES);
    expect_refused(&b, -EPROTO);
    tear_down(&b);
}

/* My own record comes back. */
static void test_reflected(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    assert_non_null(link_reserve(b.l, BYTES));
    assert_int_equal(link_commit(b.l), 0);
    assert_int_equal(link_flush(b.l), 0);
    assert_int_equal(recv(b.peer, b.frame, FRAME_BYTES, MSG_WAITALL), FRAME_BYTES);
    put(&b, FRAME_BYTES);
    expect_refused(&b, -EBADMSG);
    tear_down(&b);
}

static void test_peer_without_the_keys(void **state)
{
    struct bench b;
    struct seal_keys *keys = seal_keys_new();

    (void)state;
    set_up(&b, &options);
    framer_clear(&b.framer);
    pair_fill((uint8_t *)keys, sizeof(*keys), 99);
    assert_int_equal(framer_init(&b.framer, keys, SEAL_FASTEST, NULL), 0);
    make_frame(&b);
    put(&b, FRAME_BYTES);
    expect_refused(&b, -EBADMSG);
    seal_keys_free(keys);
    tear_down(&b);
}

static void test_frame_in_the_clear(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    framer_clear(&b.framer);
    make_frame(&b);
    put(&b, FRAME_BYTES);
    expect_refused(&b, -EPROTO);
    tear_down(&b);
}

/* A length that is announced but out of bounds: refused at once, not awaited. */
static void test_huge_length(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    make_frame(&b);
    store_le32(b.frame + 4, UINT32_MAX);
    put(&b, FRAME_PARSE_BYTES);
    expect_refused(&b, -EPROTO);
    tear_down(&b);
}

static void test_garbage(void **state)
{
    uint64_t seed = 20240602;

    (void)state;
    print_message("seed %" PRIu64 "\n", seed);
    for (int i = 0; i < 30; i++) {
        struct bench b;

        set_up(&b, &options);
        pair_fill(b.frame, FRAME_BYTES, pair_random(&seed));
        put(&b, FRAME_PARSE_BYTES + pair_random(&seed) % 1000);
        expect_refused(&b, -EPROTO);
        tear_down(&b);
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
        struct bench b;

        set_up(&b, &hasty);
        make_frame(&b);
        put(&b, beginnings[i]);
        start_ns = time_ns();
        expect_refused(&b, -ETIMEDOUT);
        assert_true(time_ns() - start_ns >= (uint64_t)SHORT_MS * 1000000);
        tear_down(&b);
    }
}

static void test_truncated_then_closed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(beginnings); i++) {
        struct err err = {0};
        struct bench b;

        set_up(&b, &options);
        make_frame(&b);
        put(&b, beginnings[i]);
        close(b.peer);
        b.peer = -1;
        expect_refused(&b, -ECONNRESET);
        link_error(b.l, &err);
        assert_non_null(strstr(err.text, "middle of a record"));
        tear_down(&b);
    }
}

/* A trickle does not extend the time that a call may take. */
static void *trickle(void *bench)
{
    struct bench *b = bench;

    for (size_t i = 0; i < 200; i++) {
        if (send(b->peer, b->frame + i, 1, MSG_NOSIGNAL) != 1)
            break;
        usleep(5000);
    }
    return NULL;
}

static void test_trickle(void **state)
{
    struct bench b;
    pthread_t thread;

    (void)state;
    set_up(&b, &hasty);
    make_frame(&b);
    assert_int_equal(pthread_create(&thread, NULL, trickle, &b), 0);
    expect_refused(&b, -ETIMEDOUT);
    link_free(b.l);
    b.l = NULL;
    pthread_join(thread, NULL);
    tear_down(&b);
}

/* The peer's process is killed in the middle of a record; what it sent before stays good. */
static void test_killed_peer(void **state)
{
    uint8_t stream[2 * FRAME_BYTES];
    struct bench b;
    uint64_t start_ns;
    pid_t child;

    (void)state;
    set_up(&b, &options);
    for (int i = 0; i < 2; i++) {
        make_frame(&b);
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
    expect_good(&b);
    start_ns = time_ns();
    expect_refused(&b, -ECONNRESET);
    assert_true(time_ns() - start_ns < (uint64_t)options.timeout_ms * 1000000 / 2);
    assert_int_equal(waitpid(child, NULL, 0), child);
    tear_down(&b);
}

/* A ring belongs to one thread; the link says so instead of hanging. */
static void *take_elsewhere(void *bench)
{
    struct bench *b = bench;

    return link_take(b->l, BYTES) ? b : NULL;
}

static void test_used_by_another_thread(void **state)
{
    struct err err = {0};
    struct bench b;
    pthread_t thread;
    void *taken;

    (void)state;
    set_up(&b, &options);
    assert_int_equal(pthread_create(&thread, NULL, take_elsewhere, &b), 0);
    pthread_join(thread, &taken);
    assert_null(taken);
    assert_int_equal(link_error(b.l, &err), -EINVAL);
    assert_non_null(strstr(err.text, "thread"));
    tear_down(&b);
}

/* What cannot carry a link is refused and stays open. */
static void expect_unfit(int fd, int code)
{
    struct seal_keys *keys = pair_keys();
    struct link *l = NULL;
    struct err err = {0};

    assert_int_equal(link_uring_new(&fd, 1, keys, &options, &l, &err), code);
    assert_null(l);
    assert_true(err.text[0] != '\0');
    assert_int_not_equal(fcntl(fd, F_GETFD), -1);
    seal_keys_free(keys);
    close(fd);
}

static void test_unfit_descriptors(void **state)
{
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    expect_unfit(fd[0], -ENOTSOCK);
    close(fd[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    expect_unfit(fd[0], -EPROTONOSUPPORT);
    close(fd[1]);
    expect_unfit(socket(AF_INET, SOCK_STREAM, 0), -ENOTCONN);
}

static void test_no_keys(void **state)
{
    struct link *l = NULL;
    int fd[2];

    (void)state;
    pair_sockets(fd);
    assert_int_equal(link_uring_new(fd, 1, NULL, &options, &l, NULL), -EINVAL);
    close(fd[0]);
    close(fd[1]);
}

/* Records take turns on the streams, numbered all together. */
static void test_streams_take_turns(void **state)
{
    struct bench b;

    (void)state;
    set_up_streams(&b, &options, 2);
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
    tear_down(&b);
}

/* What comes early on one stream waits until the other has brought what is due before. */
static void test_streams_in_order(void **state)
{
    uint8_t early[FRAME_BYTES];
    struct bench b;

    (void)state;
    set_up_streams(&b, &options, 2);
    make_frame(&b);
    memcpy(early, b.frame, FRAME_BYTES);
    make_frame(&b);
    change_streams(&b);
    put(&b, FRAME_BYTES);
    change_streams(&b);
    memcpy(b.frame, early, FRAME_BYTES);
    put(&b, FRAME_BYTES);
    expect_good(&b);
    expect_good(&b);
    tear_down(&b);
}

/* A frame is good once, and on its own stream only. */
static void test_streams_exchanged(void **state)
{
    struct bench b;

    (void)state;
    for (int replay = 0; replay < 2; replay++) {
        set_up_streams(&b, &options, 2);
        make_frame(&b);
        if (replay) {
            put(&b, FRAME_BYTES);
            expect_good(&b);
            change_streams(&b);
        } else {
            make_frame(&b);
        }
        put(&b, FRAME_BYTES);
        expect_refused(&b, -EPROTO);
        tear_down(&b);
    }
}

/* One stream of two is closed: the link is dead, but for what came before. */
static void test_one_stream_closed(void **state)
{
    struct bench b;

    (void)state;
    set_up_streams(&b, &options, 2);
    make_frame(&b);
    put(&b, FRAME_BYTES);
    close(b.other);
    b.other = -1;
    expect_good(&b);
    expect_refused(&b, -ECONNRESET);
    tear_down(&b);
}

static void test_number_of_streams(void **state)
{
    struct seal_keys *keys = pair_keys();
    int fds[LINK_STREAMS_MAX + 1] = {0};
    struct link *l;

    (void)state;
    assert_int_equal(link_uring_new(fds, 0, keys, &options, &l, NULL), -EINVAL);
    assert_int_equal(link_uring_new(fds, LINK_STREAMS_MAX + 1, keys, &options, &l, NULL), -EINVAL);
    seal_keys_free(keys);
}

/* In a process of its own, where a filter refuses the call that makes a ring. */
static int make_without_io_uring(int code)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_LENGTH(filter), .filter = filter};
    struct link *l = NULL;
    struct err err = {0};
    int fd[2];

    pair_sockets(fd);
    EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    EXPECT(link_uring_new(fd, 1, pair_keys(), &options, &l, &err) == -code);
    EXPECT(strstr(err.text, "not permitted"));
    EXPECT(strstr(err.text, "SystemCallFilter="));
    return 0;
}

static void test_io_uring_not_permitted(void **state)
{
    static const int codes[] = {EPERM, ENOSYS};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0)
            _exit(make_without_io_uring(codes[i]) == 0 ? 0 : 1);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* A socket that does not block is made one that does; else each wait would be an error. */
static void test_nonblocking_socket(void **state)
{
    struct seal_keys *keys = pair_keys();
    struct link *l;
    int fd[2];

    (void)state;
    pair_sockets(fd);
    assert_int_equal(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(link_uring_new(fd, 1, keys, &hasty, &l, NULL), 0);
    assert_null(link_take(l, 1));
    assert_int_equal(link_error(l, NULL), -ETIMEDOUT);
    link_free(l);
    close(fd[1]);
    seal_keys_free(keys);
}

/* --- zero-copy sends: loopback copies them, but only when the peer's socket has room --- */

#define NOBODY    65534
#define LARGE_MIN ((size_t)200 << 10) /* a record is a send, or two */

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
    struct bench *b;
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

static void expect_features(struct bench *b, const char *words)
{
    char text[200];

    link_features(b->l, text, sizeof(text));
    if (!strstr(text, words))
        fail_msg("\"%s\" should say \"%s\"", text, words);
}

/* @count records pass, to a peer that is slow to read. */
static void pass_large(struct bench *b, size_t count)
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
    struct bench b;

    (void)state;
    set_up(&b, &zero_copy);
    pass_large(&b, 60);
    expect_features(&b, ", zero-copy sends");
    tear_down(&b);
}

/* The socket would take a window more, but it takes no bytes, only their place. */
static void test_zero_copy_keeps_the_memory(void **state)
{
    struct bench b;
    size_t put = 0;

    (void)state;
    set_up(&b, &hasty_zero_copy);
    while (put < 100 && link_reserve(b.l, LINK_RECORD_MAX) && link_commit(b.l) == 0)
        put++;
    assert_int_equal(link_error(b.l, NULL), -ETIMEDOUT);
    assert_in_range(put, LINK_WINDOW / LINK_RECORD_MAX, LINK_WINDOW / LINK_RECORD_MAX + 2);
    tear_down(&b);
}

/* Flushed is what the peer's kernel has: it stays right when the link and its arena are gone. */
static void test_zero_copy_flushed_and_freed(void **state)
{
    struct bench b;
    struct slow_reader r = {.b = &b, .count = 3, .late = 300000};
    pthread_t thread;

    (void)state;
    set_up(&b, &zero_copy);
    assert_int_equal(pthread_create(&thread, NULL, read_large, &r), 0);
    assert_int_equal(put_large(b.l, 3), 3);
    assert_int_equal(link_flush(b.l), 0);
    link_free(b.l);
    b.l = NULL;
    pthread_join(thread, NULL);
    assert_false(r.bad);
    assert_int_equal(r.count, 3);
    tear_down(&b);
}

/* What was not flushed may be lost, but the peer never gets what was wiped. */
static void test_zero_copy_freed_unflushed(void **state)
{
    struct slow_reader r = {.count = 8};
    struct bench b;
    uint64_t start_ns;

    (void)state;
    set_up(&b, &zero_copy);
    assert_int_equal(put_large(b.l, 8), 8);
    start_ns = time_ns();
    link_free(b.l);
    b.l = NULL;
    assert_true(time_ns() - start_ns < 5000000000u);
    r.b = &b;
    read_large(&r);
    assert_false(r.bad);
    assert_true(r.count < 8);
    tear_down(&b);
}

/* The reports decide. */
static void test_zero_copy_given_up(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &options);
    expect_features(&b, ", zero-copy sends");
    pass_large(&b, 20);
    expect_features(&b, "plain sends (zero-copy ones were copied)");
    tear_down(&b);
}

static void test_zero_copy_never(void **state)
{
    static const struct link_options never = {.timeout_ms = 10000,
                                              .zero_copy = LINK_ZERO_COPY_NEVER};
    struct bench b;
    char text[8];

    (void)state;
    set_up(&b, &never);
    expect_features(&b, "plain sends (as asked for)");
    pass_large(&b, 5);
    link_features(b.l, text, sizeof(text)); /* cut, not overrun */
    assert_true(memchr(text, '\0', sizeof(text)) != NULL);
    tear_down(&b);
}

/* In a process of its own, without the privilege to lock more than it may. */
static int exchange_unregistered(void)
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
    EXPECT(put_large(l, 1) == 1);
    EXPECT(recv(fd[1], &byte, 1, 0) == 1);
    link_free(l);
    return 0;
}

static void test_little_memory_may_be_locked(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    assert_true(child >= 0);
    if (child == 0)
        _exit(exchange_unregistered() == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
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
        cmocka_unit_test(test_used_by_another_thread),
        cmocka_unit_test(test_unfit_descriptors),
        cmocka_unit_test(test_no_keys),
        cmocka_unit_test(test_streams_take_turns),
        cmocka_unit_test(test_streams_in_order),
        cmocka_unit_test(test_streams_exchanged),
        cmocka_unit_test(test_one_stream_closed),
        cmocka_unit_test(test_number_of_streams),
        cmocka_unit_test(test_io_uring_not_permitted),
        cmocka_unit_test(test_nonblocking_socket),
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
