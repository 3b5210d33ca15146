/* The tables of kernels that test_kernels checks: those of this CPU, or one that is emulated. */
#ifndef TESTS_MPC_VARIANTS_H
#define TESTS_MPC_VARIANTS_H

#include "mpc/kernels.h"

#define VARIANTS_MAX 5

/** The tables that can run here; their number. */
size_t variants_here(struct kernels ret[VARIANTS_MAX]);

#endif
