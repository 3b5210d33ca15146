/* Plans as the next release may write them. */
#include "mpc/plan.h"

enum { TODAY = PLAN_VERSION };
#undef PLAN_VERSION
#define PLAN_VERSION (TODAY + NEIGHBOUR)

#include "mpc/plan_file.c"
