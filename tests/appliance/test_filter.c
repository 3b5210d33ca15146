/*
 * filter: for every kind of process, every system call that there is, one at a time in a child that
 * has installed the filter. What is not in the table kills the child; what is reaches the kernel,
 * which has its own opinion of the arguments. And a list, by hand, of what must not be in the
 * table.
 */
#include "appliance/filter.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DAEMONS (((1u << FILTER_KINDS) - 1) & ~FILTER_BIT(FILTER_KEEPER))

/* What a child ends with when it can say it. */
enum { WENT = 40, FAILED_SO, NOT_INSTALLED };

struct attempt {
    enum filter_kind kind;
    long call;
    long arguments[6];
    int error; /* with which it is to fail; 0: does not matter */
};

/* Ends the child one way or another: some calls are its end, some wait. */
static void try(const struct attempt *a)
{
    const long *x = a->arguments;
    long got;

    if (filter_install(a->kind, NULL) < 0)
        _exit(NOT_INSTALLED);
    got = syscall(a->call, x[0], x[1], x[2], x[3], x[4], x[5]);
    syscall(SYS_exit_group, got == -1 && a->error && errno == a->error ? FAILED_SO : WENT);
}

static int status_of(const struct attempt *a)
{
    pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        alarm(2); /* the end of a call that waits */
        try(a);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_INSTALLED)
        fail_msg("no filter of kind %d can be installed here", (int)a->kind);
    return status;
}

static bool killed(const struct attempt *a)
{
    int status = status_of(a);

    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

/* Arguments that no call does anything with. */
static struct attempt attempt_of(enum filter_kind kind, long call)
{
    return (struct attempt){.kind = kind, .call = call, .arguments = {-1, -1, -1, -1, -1, -1}};
}

static bool rule_is(const struct filter_rule *r, enum filter_kind kind, long call)
{
    return r->call == call && r->kinds & FILTER_BIT(kind);
}

static bool fits(const struct filter_rule *r, const long arguments[6])
{
    return ((uint64_t)arguments[r->argument] & r->mask) == r->value;
}

/* The rule that lets @a through, or refuses it without harm; NULL: none does. */
static const struct filter_rule *rule_for(const struct attempt *a)
{
    static const struct filter_rule younger = {.error = ENOSYS};

    if (a->call >= FILTER_YOUNGER)
        return &younger;
    for (size_t i = 0; i < filter_rule_count; i++)
        if (rule_is(&filter_rules[i], a->kind, a->call) && fits(&filter_rules[i], a->arguments))
            return &filter_rules[i];
    return NULL;
}

static void check(struct attempt *a)
{
    const struct filter_rule *r = rule_for(a);
    int status;

    a->error = r ? r->error : 0;
    status = status_of(a);
    if (!r && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS))
        fail_msg("kind %d: call %ld is not in the table, and goes: status %#x", (int)a->kind,
                 a->call, (unsigned int)status);
    if (r && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        fail_msg("kind %d: call %ld is in the table, and kills", (int)a->kind, a->call);
    if (r && r->error && !(WIFEXITED(status) && WEXITSTATUS(status) == FAILED_SO))
        fail_msg("kind %d: call %ld does not fail with %d: status %#x", (int)a->kind, a->call,
                 r->error, (unsigned int)status);
}

/* Each call as it is, and with the argument of each of its rules right, and wrong in the lowest and
 * in the highest bit that counts. */
static void check_call(enum filter_kind kind, long call)
{
    struct attempt a = attempt_of(kind, call);

    check(&a);
    for (size_t i = 0; i < filter_rule_count; i++) {
        const struct filter_rule *r = &filter_rules[i];

        if (!rule_is(r, kind, call) || !r->mask)
            continue;
        a = attempt_of(kind, call);
        a.arguments[r->argument] = (long)r->value;
        check(&a);
        a.arguments[r->argument] = (long)(r->value ^ (r->mask & -r->mask));
        check(&a);
        a.arguments[r->argument] =
            (long)(r->value ^ (uint64_t)1 << (63 - __builtin_clzll(r->mask)));
        check(&a);
    }
}

/* uretprobe() and uprobe(), which no filter sees: the kernel puts them into a program itself, and
 * anywhere else they are a SIGILL or no call. */
static bool is_kernels(long call)
{
    return call == 335 || call == 336;
}

static void check_kind(enum filter_kind kind)
{
    for (long call = 0; call < FILTER_CALLS; call++)
        if (!is_kernels(call))
            check_call(kind, call);
}

static void test_table_keeper(void **state)
{
    (void)state;
    check_kind(FILTER_KEEPER);
}

static void test_table_dealer(void **state)
{
    (void)state;
    check_kind(FILTER_DEALER);
}

static void test_table_uring(void **state)
{
    (void)state;
    check_kind(FILTER_URING);
}

static void test_table_dpdk(void **state)
{
    (void)state;
    for (enum filter_kind kind = FILTER_MEMIF; kind < FILTER_KINDS; kind++)
        check_kind(kind);
}

/* The table is right in this: whoever adds one of these has to say so here. */
static const long never[] = {
    SYS_execve,
    SYS_execveat,
    SYS_fork,
    SYS_vfork,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_kcmp,
    SYS_kill,
    SYS_tkill,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_move_mount,
    SYS_fsopen,
    SYS_open_tree,
    SYS_unshare,
    SYS_setns,
    SYS_setuid,
    SYS_setgid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_capset,
    SYS_chown,
    SYS_fchown,
    SYS_fchownat,
    SYS_chmod,
    SYS_fchmodat,
    SYS_mknod,
    SYS_mknodat,
    SYS_symlink,
    SYS_symlinkat,
    SYS_listen,
    SYS_seccomp,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_reboot,
    SYS_iopl,
    SYS_ioperm,
    SYS_personality,
    SYS_pkey_mprotect,
    SYS_shmget,
    SYS_shmat,
    SYS_modify_ldt,
    SYS_swapon,
    SYS_acct,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_syslog,
    SYS_quotactl,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    SYS_inotify_init1,
    SYS_setrlimit,
    SYS_remap_file_pages,
    SYS_memfd_secret,
    SYS_sethostname,
    SYS_vhangup,
    SYS_nfsservctl,
};

/* A sanitizer's runtime takes some of these; a build without one has no rule for ptrace(). */
static bool sanitized(void)
{
    for (size_t i = 0; i < filter_rule_count; i++)
        if (filter_rules[i].call == SYS_ptrace)
            return true;
    return false;
}

static bool is_runtimes(long call)
{
    static const long runtimes[] = {
        SYS_fork, SYS_ptrace, SYS_process_vm_readv, SYS_kill, SYS_setrlimit, SYS_clone, SYS_prctl};

    for (size_t i = 0; i < ARRAY_LENGTH(runtimes); i++)
        if (call == runtimes[i])
            return sanitized();
    return false;
}

static void test_never(void **state)
{
    (void)state;
    for (enum filter_kind kind = 0; kind < FILTER_KINDS; kind++)
        for (size_t i = 0; i < ARRAY_LENGTH(never); i++) {
            struct attempt a = attempt_of(kind, never[i]);

            if (!is_runtimes(never[i]) && !killed(&a))
                fail_msg("kind %d makes the call %ld", (int)kind, never[i]);
        }
}

static void test_only_where_needed(void **state)
{
    static const struct {
        long call, argument;
        unsigned int kinds;
    } cases[] = {
        {SYS_socket, AF_INET, DAEMONS},
        {SYS_socket, AF_UNIX, DAEMONS},
        {SYS_socket, AF_PACKET, FILTER_BIT(FILTER_AF_PACKET)},
        {SYS_socket, AF_XDP, FILTER_BIT(FILTER_AF_XDP)},
        {SYS_socket, AF_VSOCK, 0},
        {SYS_socket, AF_ALG, 0},
        {SYS_socket, AF_BLUETOOTH, 0},
        {SYS_bpf, -1, FILTER_BIT(FILTER_AF_XDP)},
        {SYS_io_uring_setup, -1, FILTER_BIT(FILTER_URING)},
        {SYS_clone, SIGCHLD, 0}, /* a process */
        {SYS_prctl, PR_SET_DUMPABLE, 0},
        {SYS_prctl, PR_SET_MM, 0},
    };

    (void)state;
    for (enum filter_kind kind = 0; kind < FILTER_KINDS; kind++)
        for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
            bool allowed = cases[i].kinds & FILTER_BIT(kind);
            struct attempt a = attempt_of(kind, cases[i].call);

            a.arguments[0] = cases[i].argument;
            if (!is_runtimes(cases[i].call) && killed(&a) == allowed)
                fail_msg("kind %d, call %ld of %ld: not as it should be", (int)kind, cases[i].call,
                         cases[i].argument);
        }
}

/* The keeper reads files, and writes none. */
static void test_keeper_writes_no_file(void **state)
{
    static const int flags[] = {O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC};
    struct attempt a = attempt_of(FILTER_KEEPER, SYS_openat);

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(flags); i++) {
        a.arguments[2] = flags[i];
        assert_true(killed(&a));
    }
    a.arguments[2] = O_RDONLY | O_CLOEXEC;
    assert_false(killed(&a));
}

/* Code cannot come into memory, by a page that is made executable or a file that is mapped so. */
static void test_no_new_code(void **state)
{
    struct attempt a = {
        .call = SYS_mmap,
        .arguments = {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0},
        .error = EPERM};
    int status;

    (void)state;
    for (a.kind = 0; a.kind < FILTER_KINDS; a.kind++) {
        a.call = SYS_mmap;
        status = status_of(&a);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == FAILED_SO);
        a.call = SYS_mprotect;
        assert_true(killed(&a));
    }
}

/* --- threads --- */

static int gate[2];

static void *late(void *argument)
{
    char byte;

    if (read(gate[0], &byte, 1) == 1)
        syscall(SYS_listen, -1, 0);
    return argument;
}

/* A thread that was there before the filter is bound by it; one that is made later can be made. */
static void thread_case(bool before)
{
    pthread_t thread;

    if (pipe(gate) < 0 || (before && pthread_create(&thread, NULL, late, NULL)) ||
        filter_install(FILTER_DEALER, NULL) < 0 ||
        (!before && pthread_create(&thread, NULL, late, NULL)) || write(gate[1], "", 1) != 1)
        _exit(NOT_INSTALLED);
    pthread_join(thread, NULL);
    _exit(WENT);
}

static void test_threads(void **state)
{
    (void)state;
    for (int before = 0; before < 2; before++) {
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0)
            thread_case(before);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
    }
}

static void test_kinds(void **state)
{
    struct config dealer = {.role = ROLE_DEALER}, party = {.role = ROLE_PARTY1};
    static const enum filter_kind of[] = {
        [PORT_PCI] = FILTER_PCI,       [PORT_MEMIF] = FILTER_MEMIF,
        [PORT_AF_XDP] = FILTER_AF_XDP, [PORT_AF_PACKET] = FILTER_AF_PACKET,
        [PORT_TAP] = FILTER_TAP,
    };

    (void)state;
    assert_int_equal(filter_kind(&dealer), FILTER_DEALER);
    assert_int_equal(filter_kind(&party), FILTER_URING);
    party.link = CONFIG_LINK_DPDK;
    for (size_t i = 0; i < ARRAY_LENGTH(of); i++) {
        party.port.where.kind = (enum port_kind)i;
        assert_int_equal(filter_kind(&party), of[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_keeper),
        cmocka_unit_test(test_table_dealer),
        cmocka_unit_test(test_table_uring),
        cmocka_unit_test(test_table_dpdk),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_only_where_needed),
        cmocka_unit_test(test_keeper_writes_no_file),
        cmocka_unit_test(test_no_new_code),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
