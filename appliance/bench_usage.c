#include "appliance/bench_usage.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Tapes that are made between the second and the third reading. */
#define TAPES 2

static int read_cpu(pid_t pid, uint64_t *ret_ns)
{
    clockid_t clock;
    struct timespec t;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        return -ECHILD;
    *ret_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    return 0;
}

static int read_resident(pid_t pid, uint64_t *ret_bytes)
{
    char path[64], line[256];
    unsigned long long kib, sum = 0;
    FILE *in;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    in = fopen(path, "re");
    if (!in)
        return -ECHILD;
    while (fgets(line, sizeof(line), in))
        if (sscanf(line, "VmRSS: %llu kB", &kib) == 1 ||
            sscanf(line, "HugetlbPages: %llu kB", &kib) == 1)
            sum += kib;
    fclose(in);
    *ret_bytes = sum * 1024;
    return 0;
}

int bench_usage_read(const struct lab *lab, struct bench_usage *ret, struct err *err)
{
    for (enum role role = ROLE_PARTY0; role <= ROLE_DEALER; role++) {
        pid_t pid = lab_pid(lab, role);
        int rc = read_cpu(pid, &ret->cpu_ns[role]);

        if (rc == 0)
            rc = read_resident(pid, &ret->resident_bytes[role]);
        if (rc < 0)
            return err_set(err, rc, "%s has ended", role_name(role));
    }
    return 0;
}

static double cpu_ms(const struct bench_usage *from, const struct bench_usage *to, enum role role)
{
    return (double)(to->cpu_ns[role] - from->cpu_ns[role]) / 1e6;
}

void bench_usage_spent(const struct bench_usage *before, const struct bench_usage *between,
                       const struct bench_usage *after, struct bench_spent *ret)
{
    *ret = (struct bench_spent){.deal_cpu_ms = cpu_ms(between, after, ROLE_DEALER) / TAPES};
    for (enum role role = ROLE_PARTY0; role <= ROLE_PARTY1; role++) {
        double online = cpu_ms(before, between, role);
        double prepare = (cpu_ms(between, after, role) - online) / TAPES;
        uint64_t with = after->resident_bytes[role], without = between->resident_bytes[role];

        ret->online_cpu_ms = MAX(ret->online_cpu_ms, online);
        ret->prepare_cpu_ms = MAX(ret->prepare_cpu_ms, prepare);
        ret->party_bytes = MAX(ret->party_bytes, with);
        ret->tape_bytes = MAX(ret->tape_bytes, with - MIN(with, without));
    }
}
