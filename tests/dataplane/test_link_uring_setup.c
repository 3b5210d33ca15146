/* What a link over TCP can be made of, on which thread, and what is said where it cannot. */
#include "tests/dataplane/uring_peer.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A ring belongs to one thread; the link says so instead of hanging. */
static void *take_elsewhere(void *bench)
{
    struct uring_bench *b = bench;

    return link_take(b->l, BYTES) ? b : NULL;
}

static void test_used_by_another_thread(void **state)
{
    struct err err = {0};
    struct uring_bench b;
    pthread_t thread;
    void *taken;

    (void)state;
    uring_set_up(&b, &uring_patient, 1);
    assert_int_equal(pthread_create(&thread, NULL, take_elsewhere, &b), 0);
    pthread_join(thread, &taken);
    assert_null(taken);
    assert_int_equal(link_error(b.l, &err), -EINVAL);
    assert_non_null(strstr(err.text, "thread"));
    uring_tear_down(&b);
}

/* What cannot carry a link is refused and stays open. */
static void expect_unfit(int fd, int code)
{
    struct seal_keys *keys = pair_keys();
    struct link *l = NULL;
    struct err err = {0};

    assert_int_equal(link_uring_new(&fd, 1, keys, &uring_patient, &l, &err), code);
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
    assert_int_equal(link_uring_new(fd, 1, NULL, &uring_patient, &l, NULL), -EINVAL);
    close(fd[0]);
    close(fd[1]);
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
    EXPECT(link_uring_new(fd, 1, pair_keys(), &uring_patient, &l, &err) == -code);
    EXPECT(strstr(err.text, "not permitted"));
    EXPECT(strstr(err.text, "SystemCallFilter="));
    return 0;
}

static void test_io_uring_not_permitted(void **state)
{
    static const int codes[] = {EPERM, ENOSYS};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++)
        uring_apart(make_without_io_uring, codes[i]);
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
    assert_int_equal(link_uring_new(fd, 1, keys, &uring_hasty, &l, NULL), 0);
    assert_null(link_take(l, 1));
    assert_int_equal(link_error(l, NULL), -ETIMEDOUT);
    link_free(l);
    close(fd[1]);
    seal_keys_free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_used_by_another_thread),
        cmocka_unit_test(test_unfit_descriptors),
        cmocka_unit_test(test_no_keys),
        cmocka_unit_test(test_io_uring_not_permitted),
        cmocka_unit_test(test_nonblocking_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
