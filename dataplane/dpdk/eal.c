#include "dataplane/dpdk/eal.h"

#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_MIB    "256" /* of small pages, which are not taken as needed */
#define WORDS         (EAL_WORDS - 16)
#define ARGUMENTS_MAX 16

static struct {
    bool tried, started, small_pages;
    pthread_mutex_t lock; /* DPDK's own threads write too */
    char words[WORDS];    /* the last line that it wrote */
} eal = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Where DPDK's log goes, a line at a time; only the last one stays. */
static ssize_t hear(void *cookie, const char *text, size_t bytes)
{
    size_t end = bytes;

    (void)cookie;
    while (end > 0 && text[end - 1] == '\n')
        end--;
    pthread_mutex_lock(&eal.lock);
    if (end > 0)
        snprintf(eal.words, sizeof(eal.words), "%.*s", (int)end, text);
    pthread_mutex_unlock(&eal.lock);
    return (ssize_t)bytes;
}

static void listen_to_log(void)
{
    FILE *log = fopencookie(NULL, "w", (cookie_io_functions_t){.write = hear});

    if (!log)
        return;
    setvbuf(log, NULL, _IOLBF, 0);
    rte_openlog_stream(log);
}

void eal_last_words(char ret[EAL_WORDS])
{
    pthread_mutex_lock(&eal.lock);
    snprintf(ret, EAL_WORDS, "%s%s", eal.words[0] ? ": DPDK says: " : "", eal.words);
    pthread_mutex_unlock(&eal.lock);
}

/* The first CPU that this thread may run on, as EAL's list of one. */
static void first_cpu(const cpu_set_t *own, char *ret, size_t bytes)
{
    unsigned int cpu = 0;

    while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, own))
        cpu++;
    snprintf(ret, bytes, "0@%u", cpu);
}

/* What huge pages need, said before EAL fails in its own words. */
static int check_pages(struct err *err)
{
    if (port_huge_bytes() == 0)
        return err_set(err, -ENOMEM,
                       "no huge page is free: reserve some (sysctl vm.nr_hugepages=128, or "
                       "hugepages=128 on the kernel's command line), or set port_pages = small "
                       "for tests");
    return 0;
}

/* A command line that EAL may do with as it likes. */
struct arguments {
    int count;
    char *argv[ARGUMENTS_MAX + 1];
    char text[ARGUMENTS_MAX][PORT_WHERE_MAX];
};

static void add(struct arguments *a, const char *text)
{
    snprintf(a->text[a->count], PORT_WHERE_MAX, "%s", text);
    a->argv[a->count] = a->text[a->count];
    a->count++;
}

static void add_two(struct arguments *a, const char *option, const char *value)
{
    add(a, option);
    add(a, value);
}

static int start(const struct port_options *options, struct err *err)
{
    static struct arguments a; /* EAL keeps some of it */
    char text[32];
    cpu_set_t own;
    int rc;

    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof(own), &own) < 0)
        return err_set(err, -errno, "reading the CPUs of a thread: %s", strerror(errno));
    add(&a, "mpcformer");
    first_cpu(&own, text, sizeof(text));
    add_two(&a, "--lcores", text);
    snprintf(text, sizeof(text), "mpcformer-%d", (int)getpid());
    add_two(&a, "--file-prefix", text);
    add(&a, "--no-telemetry");
    add(&a, "--iova-mode=va");
    add(&a, "--log-level=lib.eal:error");
    if (options->small_pages) {
        add(&a, "--no-huge");
        add(&a, "--no-shconf");
        add_two(&a, "-m", MEMORY_MIB);
    } else {
        add(&a, "--in-memory");
    }
    if (options->where.kind == PORT_PCI)
        add_two(&a, "-a", options->where.name);
    else
        add(&a, "--no-pci");
    rc = rte_eal_init(a.count, a.argv);
    (void)!sched_setaffinity(0, sizeof(own), &own);
    if (rc < 0) {
        int code = rte_errno ? rte_errno : EIO;
        char words[EAL_WORDS];

        eal_last_words(words);
        return err_set(err, -code, "DPDK does not start: %s%s", strerror(code), words);
    }
    return 0;
}

int eal_start(const struct port_options *options, struct err *err)
{
    int rc = 0;

    if (eal.started && eal.small_pages != options->small_pages)
        return err_set(err, -EBUSY, "DPDK runs with the other kind of pages already");
    if (eal.started)
        return 0;
    if (eal.tried)
        return err_set(err, -EBUSY, "DPDK did not start before: start this program again");
    if (!options->small_pages)
        rc = check_pages(err);
    if (rc < 0)
        return rc;
    eal.tried = true;
    listen_to_log();
    rc = start(options, err);
    if (rc < 0)
        return rc;
    eal.started = true;
    eal.small_pages = options->small_pages;
    return 0;
}
