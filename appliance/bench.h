/* The benches of `mpcformer bench`: mains of their own, like the subcommands (see cmd.h). */
#ifndef APPLIANCE_BENCH_H
#define APPLIANCE_BENCH_H

#include "base/base.h"

#include <argp.h>
#include <jansson.h>

int bench_bert(int argc, char **argv);
int bench_forms(int argc, char **argv);
int bench_functions(int argc, char **argv);
int bench_rates(int argc, char **argv);
int bench_product(int argc, char **argv);
int bench_kernels(int argc, char **argv);
int bench_input(int argc, char **argv);
int bench_link(int argc, char **argv);
int bench_load(int argc, char **argv);

/**
 * What bench link says of sealing: a row an engine and size, "engine", "bytes", "seal" and "open"
 * in GB/s of one core, the best of some rounds in which the engines take turns.
 */
MUST_CHECK int bench_seal(json_t **ret_rows, struct err *err);

/** What is no option of a bench: for an argument argp_error(), of all else ARGP_ERR_UNKNOWN. */
error_t bench_option_none(int key, const char *text, struct argp_state *state);

/** An option's number; argp_error() unless it is within bounds. */
size_t bench_number(struct argp_state *state, const char *option, const char *text, size_t min,
                    size_t max);

/** The first two CPUs that this process may use, the same twice when it is one; -1: not known. */
void bench_cpus(int ret[2]);

/** The calling thread on @cpu alone; -1: as it is. */
void bench_pin(int cpu);

/** splitmix64: the same numbers in every run. */
uint64_t bench_random(uint64_t *state);

#endif
