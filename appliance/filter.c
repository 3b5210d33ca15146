#include "appliance/filter.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#define KEEPER FILTER_BIT(FILTER_KEEPER)
#define URING  FILTER_BIT(FILTER_URING)
#define MEMIF  FILTER_BIT(FILTER_MEMIF)
#define PACKET FILTER_BIT(FILTER_AF_PACKET)
#define XDP    FILTER_BIT(FILTER_AF_XDP)
#define TAP    FILTER_BIT(FILTER_TAP)
#define PCI    FILTER_BIT(FILTER_PCI)
#define ALL    (FILTER_BIT(FILTER_KINDS) - 1)
#define DAEMON (ALL & ~KEEPER)
#define DPDK   (MEMIF | PACKET | XDP | TAP | PCI)
#define NIC    (PACKET | XDP | TAP | PCI) /* has an interface of the kernel's, or may */

#define CALL(name, kinds)                                                                          \
    {                                                                                              \
        SCMP_SYS(name), kinds, 0, 0, 0, 0                                                          \
    }

/* Arguments of 32 bits: whatever the register's upper half holds. */
#define WORD UINT32_MAX
#define IF(name, kinds, argument, mask, value)                                                     \
    {                                                                                              \
        SCMP_SYS(name), kinds, 0, argument, mask, (uint32_t)(value)                                \
    }
#define FAIL(name, kinds, error, argument, mask, value)                                            \
    {                                                                                              \
        SCMP_SYS(name), kinds, error, argument, mask, (uint32_t)(value)                            \
    }

#define THREAD (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)

#define ARCH_REQ_XCOMP_PERM 0x1023     /* of linux/arch_prctl: the AMX tiles */
#define PR_NAME_MEMORY      0x53564d41 /* PR_SET_VMA, of newer glibc's threads */

/* ioctl()'s requests: all of one kind, by their second byte. */
#define KIND         0xff00
#define KIND_VFIO    0x3b00
#define KIND_VERBS   0x1b00 /* of mlx5 */
#define KIND_SOCKET  0x8900
#define TUN          0xc000ff00 /* with a direction, which terminals' do not have */
#define TUN_SETTINGS 0x40005400
#define TUN_READINGS 0x80005400

const struct filter_rule filter_rules[] = {
    /* Waiting for a request, answering it, and reading a key's file. */
    CALL(read, ALL),
    CALL(write, ALL),
    CALL(writev, ALL),
    CALL(recvfrom, ALL),
    CALL(sendto, ALL),
    CALL(close, ALL),
    CALL(stat, ALL),
    CALL(fstat, ALL),
    CALL(newfstatat, ALL),
    CALL(lseek, ALL),
    CALL(pread64, ALL),
    CALL(openat, DAEMON),
    IF(openat, KEEPER, 2, O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND, O_RDONLY),

    /* Memory: never executable. A library that would be loaded now is told that it is not there. */
    CALL(brk, ALL),
    CALL(munmap, ALL),
    CALL(mremap, ALL),
    CALL(madvise, ALL),
    CALL(mlock, ALL),
    CALL(mlock2, ALL),
    CALL(munlock, ALL),
    IF(mmap, ALL, 2, PROT_EXEC, 0),
    FAIL(mmap, ALL, EPERM, 2, PROT_EXEC, PROT_EXEC),
    IF(mprotect, ALL, 2, PROT_EXEC, 0),
    CALL(msync, DAEMON),
    CALL(mincore, DAEMON),

    /* What any process does. */
    CALL(getrandom, ALL),
    CALL(futex, ALL),
    CALL(clock_gettime, ALL),
    CALL(gettimeofday, ALL),
    CALL(time, ALL),
    CALL(getpid, ALL),
    CALL(gettid, ALL),
    CALL(tgkill, ALL), /* abort() */
    CALL(sched_yield, ALL),
    CALL(rt_sigaction, ALL),
    CALL(rt_sigprocmask, ALL),
    CALL(rt_sigreturn, ALL),
    CALL(restart_syscall, ALL),
    CALL(exit, ALL),
    CALL(exit_group, ALL),
    CALL(rseq, ALL),

    CALL(clock_getres, DAEMON),
    CALL(clock_nanosleep, DAEMON),
    CALL(nanosleep, DAEMON),
    CALL(pause, DAEMON),
    CALL(rt_sigtimedwait, DAEMON),
    CALL(sigaltstack, DAEMON),
    CALL(getppid, DAEMON),
    CALL(getuid, DAEMON),
    CALL(geteuid, DAEMON),
    CALL(getgid, DAEMON),
    CALL(getegid, DAEMON),
    CALL(getgroups, DAEMON),
    CALL(uname, DAEMON),
    CALL(sysinfo, DAEMON),
    CALL(getrusage, DAEMON),
    CALL(times, DAEMON),
    CALL(getrlimit, DAEMON),
    IF(prlimit64, DAEMON, 2, UINT64_MAX, 0), /* looking only */
    CALL(wait4, DAEMON),                     /* for the keeper */

    /* Threads, no processes. What clone3() is to make lies in memory, where no filter looks: glibc
     * takes clone() when there is none. */
    IF(clone, DAEMON, 0, THREAD, THREAD),
    FAIL(clone3, DAEMON, ENOSYS, 0, 0, 0),
    CALL(set_robust_list, DAEMON),
    CALL(get_robust_list, DAEMON),
    CALL(set_tid_address, DAEMON),
    CALL(membarrier, DAEMON),
    CALL(getcpu, DAEMON),
    CALL(sched_getaffinity, DAEMON),
    CALL(sched_setaffinity, DAEMON),
    CALL(sched_getscheduler, DAEMON),
    CALL(sched_setscheduler, DAEMON),
    CALL(sched_getparam, DAEMON),
    CALL(sched_get_priority_min, DAEMON),
    CALL(sched_get_priority_max, DAEMON),
    CALL(getpriority, DAEMON),
    CALL(setpriority, DAEMON),
    CALL(get_mempolicy, DAEMON),
    CALL(set_mempolicy, DAEMON),
    CALL(mbind, DAEMON),
    IF(prctl, DAEMON, 0, WORD, PR_SET_NAME),
    IF(prctl, DAEMON, 0, WORD, PR_GET_NAME),
    IF(prctl, DAEMON, 0, WORD, PR_NAME_MEMORY),
    IF(arch_prctl, DAEMON, 0, WORD, ARCH_REQ_XCOMP_PERM),

    /* Files: models, tapes, ledger, logs, certificates. */
    CALL(open, DAEMON),
    CALL(readv, DAEMON),
    CALL(preadv, DAEMON),
    CALL(pwrite64, DAEMON),
    CALL(pwritev, DAEMON),
    CALL(lstat, DAEMON),
    CALL(statx, DAEMON),
    CALL(statfs, DAEMON),
    CALL(fstatfs, DAEMON),
    CALL(access, DAEMON),
    CALL(faccessat, DAEMON),
    CALL(faccessat2, DAEMON),
    CALL(readlink, DAEMON),
    CALL(readlinkat, DAEMON),
    CALL(getdents64, DAEMON),
    CALL(getcwd, DAEMON),
    CALL(rename, DAEMON),
    CALL(renameat, DAEMON),
    CALL(renameat2, DAEMON),
    CALL(unlink, DAEMON),
    CALL(unlinkat, DAEMON),
    CALL(mkdir, DAEMON),
    CALL(mkdirat, DAEMON),
    CALL(rmdir, DAEMON),
    CALL(link, DAEMON),
    CALL(linkat, DAEMON),
    CALL(truncate, DAEMON),
    CALL(ftruncate, DAEMON),
    CALL(fallocate, DAEMON),
    CALL(fadvise64, DAEMON),
    CALL(fsync, DAEMON),
    CALL(fdatasync, DAEMON),
    CALL(sync_file_range, DAEMON),
    CALL(flock, DAEMON),
    CALL(fcntl, DAEMON),
    CALL(dup, DAEMON),
    CALL(dup2, DAEMON),
    CALL(dup3, DAEMON),
    CALL(fchmod, DAEMON),
    CALL(umask, DAEMON),
    CALL(pipe, DAEMON),
    CALL(pipe2, DAEMON),
    CALL(eventfd, DAEMON),
    CALL(eventfd2, DAEMON),
    CALL(memfd_create, DAEMON), /* of a long entry of the journal, and of memif's rings */

    CALL(poll, DAEMON),
    CALL(ppoll, DAEMON),
    CALL(select, DAEMON),
    CALL(pselect6, DAEMON),
    CALL(epoll_create, DAEMON),
    CALL(epoll_create1, DAEMON),
    CALL(epoll_ctl, DAEMON),
    CALL(epoll_wait, DAEMON),
    CALL(epoll_pwait, DAEMON),
    CALL(epoll_pwait2, DAEMON),

    /* Sessions. The sockets that listen do so already. */
    IF(socket, DAEMON, 0, WORD, AF_UNIX),
    IF(socket, DAEMON, 0, WORD, AF_INET),
    IF(socket, DAEMON, 0, WORD, AF_INET6),
    CALL(connect, DAEMON),
    CALL(accept, DAEMON),
    CALL(accept4, DAEMON),
    CALL(getsockname, DAEMON),
    CALL(getpeername, DAEMON),
    CALL(getsockopt, DAEMON),
    CALL(setsockopt, DAEMON),
    CALL(shutdown, DAEMON),
    CALL(sendmsg, DAEMON),
    CALL(sendmmsg, DAEMON),
    CALL(recvmsg, DAEMON),
    CALL(recvmmsg, DAEMON),
    IF(ioctl, DAEMON, 1, WORD, FIONREAD), /* how much has come, of the resolver's */
    IF(ioctl, DAEMON, 1, WORD, TCGETS),   /* isatty() */

    /* The interface that the link goes by is asked of the kernel, to be shown (host.h). Who has
     * none is told that there is no netlink: names of several addresses are looked up without. */
    IF(socket, URING | NIC, 0, WORD, AF_NETLINK),
    CALL(bind, URING | NIC), /* of such a socket */
    IF(ioctl, URING, 1, WORD, SIOCETHTOOL),
    IF(ioctl, URING, 1, WORD, SIOCGIFMTU),
    FAIL(socket, DAEMON & ~(URING | NIC), EAFNOSUPPORT, 0, WORD, AF_NETLINK),

    CALL(io_uring_setup, URING),
    CALL(io_uring_enter, URING),
    CALL(io_uring_register, URING),

    /* DPDK's alarms and pages; settings of its interfaces, which it gives back when it stops. */
    CALL(timerfd_create, DPDK),
    CALL(timerfd_settime, DPDK),
    CALL(timerfd_gettime, DPDK),
    IF(socket, PACKET, 0, WORD, AF_PACKET),
    IF(socket, XDP, 0, WORD, AF_XDP),
    CALL(bpf, XDP),
    IF(ioctl, NIC, 1, KIND, KIND_SOCKET),
    IF(ioctl, TAP, 1, TUN, TUN_SETTINGS),
    IF(ioctl, TAP, 1, TUN, TUN_READINGS),
    IF(ioctl, PCI, 1, KIND, KIND_VFIO),
    IF(ioctl, PCI, 1, KIND, KIND_VERBS),

#ifdef SANITIZED
    /* The runtime has a thread of its own in every process, and looks at all threads when the
     * program ends, from a process that it makes. */
    CALL(set_robust_list, ALL),
    CALL(nanosleep, ALL),
    FAIL(clone3, KEEPER, ENOSYS, 0, 0, 0),
    CALL(ptrace, ALL),
    CALL(clone, ALL),
    CALL(fork, ALL),
    CALL(wait4, ALL),
    CALL(prctl, ALL),
    CALL(kill, ALL),
    CALL(pipe, ALL),
    CALL(dup2, ALL),
    CALL(prlimit64, ALL),
    CALL(getrlimit, ALL),
    CALL(setrlimit, ALL),
    CALL(sigaltstack, ALL),
    CALL(process_vm_readv, ALL),
    CALL(open, ALL),
    CALL(readlink, ALL),
    CALL(getdents, ALL),
    CALL(getdents64, ALL),
    CALL(sched_getaffinity, ALL),
    CALL(uname, ALL),
#endif
};

const size_t filter_rule_count = ARRAY_LENGTH(filter_rules);

enum filter_kind filter_kind(const struct config *config)
{
    static const enum filter_kind ports[] = {
        [PORT_PCI] = FILTER_PCI,
        [PORT_MEMIF] = FILTER_MEMIF,
        [PORT_AF_PACKET] = FILTER_AF_PACKET,
        [PORT_AF_XDP] = FILTER_AF_XDP,
        [PORT_TAP] = FILTER_TAP,
    };

    if (config->role == ROLE_DEALER)
        return FILTER_DEALER;
    return config->link == CONFIG_LINK_DPDK ? ports[config->port.where.kind] : FILTER_URING;
}

static int add(scmp_filter_ctx filter, const struct filter_rule *r)
{
    const struct scmp_arg_cmp on = {
        .arg = r->argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = r->mask, .datum_b = r->value};

    return seccomp_rule_add_array(
        filter, r->error ? SCMP_ACT_ERRNO((unsigned int)r->error) : SCMP_ACT_ALLOW, r->call,
        r->mask ? 1 : 0, &on);
}

static int set_up(scmp_filter_ctx filter, enum filter_kind kind)
{
    static const struct {
        enum scmp_filter_attr name;
        uint32_t value;
    } settings[] = {
        {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
        {SCMP_FLTATR_CTL_TSYNC, 1},
        {SCMP_FLTATR_CTL_OPTIMIZE, 2}, /* a tree: the list is long */
        /* Older kernels slow a filtered process down for what it may run; it runs only ours. */
        {SCMP_FLTATR_CTL_SSB, 1},
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(settings); i++)
        rc = seccomp_attr_set(filter, settings[i].name, settings[i].value);
    for (size_t i = 0; rc == 0 && i < filter_rule_count; i++)
        if (filter_rules[i].kinds & FILTER_BIT(kind))
            rc = add(filter, &filter_rules[i]);
    for (int call = FILTER_YOUNGER; rc == 0 && call < FILTER_CALLS; call++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0);
    return rc < 0 ? rc : seccomp_load(filter);
}

int filter_install(enum filter_kind kind, struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int rc = filter ? set_up(filter, kind) : -ENOMEM;

    seccomp_release(filter);
    if (rc < 0)
        return err_set(err, rc,
                       "no filter of system calls can be installed: %s (it takes seccomp in the "
                       "kernel, and a unit or container that allows it)",
                       strerror(-rc));
    return 0;
}
