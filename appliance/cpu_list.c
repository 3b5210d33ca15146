#include "appliance/cpu_list.h"

#include <dirent.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANYWHERE  "anywhere"
#define NODES_MAX (8 * (unsigned int)sizeof(unsigned long))

/* --- text --- */

static int add_cpu(struct cpu_list *list, unsigned long cpu, const cpu_set_t *own, struct err *err)
{
    long here = sysconf(_SC_NPROCESSORS_CONF);

    if (cpu >= CPU_SETSIZE || (here > 0 && cpu >= (unsigned long)here))
        return err_set(err, -EINVAL, "CPU %lu does not exist: this machine has 0 to %ld", cpu,
                       here - 1);
    if (!CPU_ISSET(cpu, own))
        return err_set(err, -EINVAL,
                       "CPU %lu may not be used by this process: see its affinity mask and cpuset",
                       cpu);
    for (unsigned int i = 0; i < list->count; i++)
        if (list->cpu[i] == cpu)
            return err_set(err, -EINVAL, "CPU %lu stands twice", cpu);
    if (list->count == WORKERS_MAX)
        return err_set(err, -EINVAL, "more than %d CPUs", WORKERS_MAX);
    list->cpu[list->count++] = (uint16_t)cpu;
    return 0;
}

/* Digits at *@at, at most five of them. */
static bool take_number(const char **at, unsigned long *ret)
{
    const char *start = *at;

    *ret = 0;
    for (; **at >= '0' && **at <= '9' && *at - start < 5; (*at)++)
        *ret = *ret * 10 + (unsigned long)(**at - '0');
    return *at > start && (**at < '0' || **at > '9');
}

static void skip_blanks(const char **at)
{
    *at += strspn(*at, " \t");
}

static int not_a_list(const char *text, struct err *err)
{
    return err_set(err, -EINVAL, "\"%.40s\" is no list of CPUs: write 0-7 or 0,2-3, or 4 " ANYWHERE,
                   text);
}

static int parse_cpus(const char *text, struct cpu_list *list, struct err *err)
{
    const char *at = text;
    cpu_set_t own;

    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof(own), &own) < 0)
        return err_set(err, -errno, "the affinity mask: %s", strerror(errno));
    list->pinned = true;
    for (;;) {
        unsigned long first, last;
        int rc = 0;

        skip_blanks(&at);
        if (!take_number(&at, &first))
            return not_a_list(text, err);
        last = first;
        if (*at == '-' && (at++, !take_number(&at, &last) || last < first))
            return not_a_list(text, err);
        for (unsigned long cpu = first; rc == 0 && cpu <= last; cpu++)
            rc = add_cpu(list, cpu, &own, err);
        if (rc < 0)
            return rc;
        skip_blanks(&at);
        if (!*at)
            return 0;
        if (*at++ != ',')
            return not_a_list(text, err);
    }
}

int cpu_list_parse(const char *text, struct cpu_list *ret, struct err *err)
{
    struct cpu_list list = {.count = 0};
    const char *at = text;
    unsigned long count;
    int rc = 0;

    if (take_number(&at, &count) && (skip_blanks(&at), strcmp(at, ANYWHERE) == 0)) {
        if (count < 1 || count > WORKERS_MAX)
            return err_set(err, -ERANGE, "%lu workers: 1 to %d", count, WORKERS_MAX);
        list.count = (unsigned int)count;
    } else {
        rc = parse_cpus(text, &list, err);
    }
    if (rc == 0)
        *ret = list;
    return rc;
}

void cpu_list_text(const struct cpu_list *list, char ret_text[CPU_LIST_TEXT_SIZE])
{
    char *at = ret_text;

    if (!list->pinned) {
        sprintf(at, "%u " ANYWHERE, list->count);
        return;
    }
    for (unsigned int i = 0, next; i < list->count; i = next) {
        for (next = i + 1; next < list->count && list->cpu[next] == list->cpu[next - 1] + 1;)
            next++;
        at += sprintf(at, "%s%u", i ? "," : "", list->cpu[i]);
        if (next > i + 1)
            at += sprintf(at, "-%u", list->cpu[next - 1]);
    }
}

/* --- memory --- */

/* The node of a CPU is a folder entry: /sys/devices/system/cpu/cpuC/nodeN. */
static unsigned int node_of(unsigned int cpu)
{
    char path[64];
    unsigned int node = 0;
    struct dirent *e;
    DIR *d;

    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u", cpu);
    d = opendir(path);
    while (d && (e = readdir(d)))
        if (sscanf(e->d_name, "node%u", &node) == 1)
            break;
    if (d)
        closedir(d);
    return node;
}

void cpu_list_bind_memory(const struct cpu_list *list)
{
    unsigned long nodes = 0;

    if (!list->pinned)
        return;
    for (unsigned int i = 0; i < list->count; i++) {
        unsigned int node = node_of(list->cpu[i]);

        if (node >= NODES_MAX)
            return;
        nodes |= 1ul << node;
    }
    /* Interleaving over one node is a preference for it. */
    syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &nodes, NODES_MAX + 1);
}

int cpu_list_team(const struct cpu_list *list, const char *name, bool background,
                  struct workers **ret, struct err *err)
{
    const struct workers_options options = {
        .name = name,
        .count = list->count,
        .cpus = list->pinned ? list->cpu : NULL,
        .spin_us = list->pinned && !background ? WORKERS_SPIN_US : 0,
        .background = background,
    };

    return workers_new(&options, ret, err);
}
