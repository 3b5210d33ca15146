/* mpcformer bench: the benches by name. */
#include "appliance/bench.h"
#include "appliance/cmd.h"
#include "appliance/exit.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct bench {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *help;
} benches[] = {
    {"bert", bench_bert, "a private query of a BERT of any shape, with random weights"},
    {"functions", bench_functions, "what each pair of MPCFormer's functions costs, as a table"},
    {"forms", bench_forms, "what each cheaper form of the protocol saves, by the plan alone"},
    {"rates", bench_rates, "what an operation, a round and a byte take, from what others measured"},
    {"product", bench_product, "the ring product on one core"},
    {"kernels", bench_kernels, "the passes around it and the PRG, each beside its reference"},
    {"input", bench_input, "a query's keys: made by its owner, expanded by a party"},
    {"load", bench_load, "a cell, asked at one rate after the other: latency under load"},
    {"link", bench_link, "the share link between two pinned processes"},
};

error_t bench_option_none(int key, const char *text, struct argp_state *state)
{
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    argp_error(state, "\"%s\": options only", text);
    return 0;
}

size_t bench_number(struct argp_state *state, const char *option, const char *text, size_t min,
                    size_t max)
{
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v < min || v > max)
        argp_error(state, "--%s %s: a number from %zu to %zu", option, text, min, max);
    return (size_t)v;
}

uint64_t bench_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void bench_cpus(int ret[2])
{
    cpu_set_t set;
    int found = 0;

    ret[0] = ret[1] = -1;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return;
    for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
        if (CPU_ISSET((size_t)i, &set)) {
            ret[found++] = i;
            ret[1] = i;
        }
}

void bench_pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void print_help(FILE *out)
{
    fprintf(out, "Usage: mpcformer bench BENCH [OPTION...]\n\nMeasure on this machine.\n\n");
    for (size_t i = 0; i < ARRAY_LENGTH(benches); i++)
        fprintf(out, "  %-10s %s\n", benches[i].name, benches[i].help);
    fprintf(out, "\n`mpcformer bench BENCH --help` says more. Exit status: 0 measured; 1 measured, "
                 "but the\nresult is not the right one; 2 wrong usage; 3 failed.\n");
}

int cmd_bench(int argc, char **argv)
{
    char name[64];

    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    for (size_t i = 0; argc > 1 && i < ARRAY_LENGTH(benches); i++)
        if (strcmp(argv[1], benches[i].name) == 0) {
            snprintf(name, sizeof(name), "mpcformer bench %s", benches[i].name);
            argv[1] = name;
            return benches[i].main(argc - 1, argv + 1);
        }
    if (argc > 1)
        fprintf(stderr, "mpcformer: no bench \"%s\"\n", argv[1]);
    print_help(stderr);
    return EXIT_USAGE;
}
