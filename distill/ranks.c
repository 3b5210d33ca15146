/* Ranks by MPI. */
#include "distill/ranks.h"

#include "distill/trace.h"

#include <mpi.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COPY_BYTES_MAX (1 << 30) /* of one call: MPI counts in int */
#define PATIENCE_NS    UINT64_C(3000000000)

static struct {
    size_t own, count; /* count 0: mpirun has not started this process */
    size_t sums;
    MPI_Request requests[RANKS_SUMS_MAX];
    const char *names[RANKS_SUMS_MAX];
    uint64_t began_ns[RANKS_SUMS_MAX];
} ranks;

static int check(int code, struct err *err)
{
    return code == MPI_SUCCESS ? 0 : err_set(err, -EIO, "ranks: MPI has failed (%d)", code);
}

int ranks_start(struct err *err)
{
    int own, count, provided, rc;

    if (!getenv("OMPI_COMM_WORLD_SIZE"))
        return 0;
    /* This process lets nobody read its memory, so that a rank cannot fetch from another's. */
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
    rc = check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), err);
    if (rc == 0)
        rc = check(MPI_Comm_rank(MPI_COMM_WORLD, &own), err);
    if (rc == 0)
        rc = check(MPI_Comm_size(MPI_COMM_WORLD, &count), err);
    if (rc == 0) {
        ranks.own = (size_t)own;
        ranks.count = (size_t)count;
    }
    return rc;
}

size_t ranks_own(void)
{
    return ranks.own;
}

size_t ranks_count(void)
{
    return MAX(ranks.count, (size_t)1);
}

int ranks_sum(const char *name, float *x, size_t count, struct err *err)
{
    if (ranks_count() == 1)
        return 0;
    if (ranks.sums == RANKS_SUMS_MAX || count > INT_MAX)
        return err_set(err, -EIO, "ranks: too much to sum at once");
    ranks.names[ranks.sums] = name;
    ranks.began_ns[ranks.sums] = time_ns();
    return check(MPI_Iallreduce(MPI_IN_PLACE, x, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD,
                                &ranks.requests[ranks.sums++]),
                 err);
}

/* One that is done is MPI_REQUEST_NULL from then on. */
static int move(bool *ret_done)
{
    *ret_done = true;
    for (size_t i = 0; i < ranks.sums; i++) {
        int done = 1, code;

        if (ranks.requests[i] == MPI_REQUEST_NULL)
            continue;
        code = MPI_Test(&ranks.requests[i], &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS)
            return code;
        if (done)
            trace_span(TRACE_RANKS, ranks.names[i], ranks.began_ns[i], time_ns());
        *ret_done = *ret_done && done;
    }
    return MPI_SUCCESS;
}

void ranks_move(void)
{
    bool done;

    (void)move(&done); /* a failure shows again in ranks_wait() */
}

int ranks_wait(struct err *err)
{
    bool done = false;
    int code = MPI_SUCCESS;

    while (code == MPI_SUCCESS && !done)
        code = move(&done);
    ranks.sums = 0;
    return check(code, err);
}

int ranks_sum_now(double *x, size_t count, struct err *err)
{
    if (ranks_count() == 1)
        return 0;
    return check(MPI_Allreduce(MPI_IN_PLACE, x, (int)count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD),
                 err);
}

int ranks_copy(void *x, size_t bytes, struct err *err)
{
    int rc = 0;

    for (size_t at = 0; ranks_count() > 1 && rc == 0 && at < bytes; at += COPY_BYTES_MAX)
        rc = check(MPI_Bcast((uint8_t *)x + at, (int)MIN(bytes - at, (size_t)COPY_BYTES_MAX),
                             MPI_BYTE, 0, MPI_COMM_WORLD),
                   err);
    return rc;
}

int ranks_compare(const char *what, const void *x, size_t bytes, struct err *err)
{
    double differ = 0;
    void *first = malloc(bytes);
    int rc;

    if (!first)
        return err_set(err, -ENOMEM, "no memory to compare ranks");
    memcpy(first, x, bytes);
    rc = ranks_copy(first, bytes, err);
    differ = memcmp(first, x, bytes) != 0;
    free(first);
    if (rc == 0)
        rc = ranks_sum_now(&differ, 1, err);
    if (rc == 0 && differ > 0)
        rc = err_set(err, -EINVAL, "%.0f of %zu ranks have %s other than rank 0's", differ,
                     ranks_count(), what);
    return rc;
}

bool ranks_all_failed(int code)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    const uint64_t end = time_ns() + PATIENCE_NS;
    MPI_Request all;
    int done = 0;

    if (!code || ranks_count() == 1 || MPI_Ibarrier(MPI_COMM_WORLD, &all) != MPI_SUCCESS)
        return false;
    while (!done && time_ns() < end && MPI_Test(&all, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS)
        nanosleep(&pause, NULL);
    return done;
}

void ranks_stop(int code, bool all)
{
    if (!ranks.count)
        return;
    if (code && !all && ranks.count > 1)
        MPI_Abort(MPI_COMM_WORLD, code);
    MPI_Finalize();
}
