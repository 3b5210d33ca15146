/* The benches of `mpcformer bench`: mains of their own, like the subcommands (see cmd.h). */
#ifndef APPLIANCE_BENCH_H
#define APPLIANCE_BENCH_H

#include "base/base.h"

#include <argp.h>

int bench_bert(int argc, char **argv);
int bench_product(int argc, char **argv);
int bench_input(int argc, char **argv);
int bench_link(int argc, char **argv);

/** An option's number; argp_error() unless it is within bounds. */
size_t bench_number(struct argp_state *state, const char *option, const char *text, size_t min,
                    size_t max);

/** splitmix64: the same numbers in every run. */
uint64_t bench_random(uint64_t *state);

#endif
