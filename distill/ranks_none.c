/* One rank, in a build without MPI. */
#include "distill/ranks.h"

#include <stdlib.h>

int ranks_start(struct err *err)
{
    const char *several = getenv("OMPI_COMM_WORLD_SIZE");

    if (several && strtoul(several, NULL, 10) > 1)
        return err_set(err, -ENOTSUP,
                       "mpirun has started several, and mpcformer-train is built without MPI: "
                       "install libopenmpi-dev and build again");
    return 0;
}

size_t ranks_own(void)
{
    return 0;
}

size_t ranks_count(void)
{
    return 1;
}

int ranks_sum(const char *name, float *x, size_t count, struct err *err)
{
    (void)name, (void)x, (void)count, (void)err;
    return 0;
}

void ranks_move(void)
{
}

int ranks_wait(struct err *err)
{
    (void)err;
    return 0;
}

int ranks_sum_now(double *x, size_t count, struct err *err)
{
    (void)x, (void)count, (void)err;
    return 0;
}

int ranks_copy(void *x, size_t bytes, struct err *err)
{
    (void)x, (void)bytes, (void)err;
    return 0;
}

int ranks_compare(const char *what, const void *x, size_t bytes, struct err *err)
{
    (void)what, (void)x, (void)bytes, (void)err;
    return 0;
}

bool ranks_all_failed(int code)
{
    (void)code;
    return false;
}

void ranks_stop(int code, bool all)
{
    (void)code, (void)all;
}
