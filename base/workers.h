/*
 * workers: a team of threads, made once, that shares out the parts of a task.
 *
 * The thread that calls workers_run() is worker 0 and works too. Each worker owns a run of
 * neighbouring parts, the same ones for the same number of parts, so that what it touched in one
 * operation is in its cache in the next; who has finished helps the others, so that a worker that
 * the machine does not let run keeps nobody waiting for more than the part it is at. Nothing is
 * allocated and no lock is taken on the way; who finds nothing to do spins for a bounded time and
 * sleeps then. What parts write may not depend on who runs them: results are the same for every
 * size of a team.
 *
 * A team belongs to one caller at a time, and a task must not run another one on its own team; in a
 * team of more than one both trip an assertion. A NULL team is a team of one: a plain loop.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include "base/base.h"

#define WORKERS_MAX 64

/* For a team that has its CPUs to itself: a wake-up costs about as much. */
#define WORKERS_SPIN_US 50

struct workers;

struct workers_options {
    const char *name;     /* of the threads, with their numbers: at most 12 bytes count */
    unsigned int count;   /* 1 to WORKERS_MAX */
    const uint16_t *cpus; /* (count) a CPU each; NULL: wherever the system likes */
    unsigned int spin_us; /* before sleeping; 0 where others want the CPUs */
    bool background;      /* gives way to other threads, see workers_lead() */
};

/**
 * Make the team's threads; worker 0 is not made but whoever calls. -EINVAL with the reason when a
 * CPU does not exist or is not this process's; -EAGAIN, -ENOMEM.
 */
MUST_CHECK int workers_new(const struct workers_options *options, struct workers **ret,
                           struct err *err);

/** End the threads; no task may be under way. NULL is nothing. */
void workers_free(struct workers *w);

/** 1 for NULL. */
unsigned int workers_count(const struct workers *w);

/**
 * Give the calling thread, which is to be worker 0 from now on, the place of a member: its CPU and,
 * in a background team, its priority, which it cannot leave again.
 */
MUST_CHECK int workers_lead(struct workers *w, struct err *err);

/** Part @part, 0 to parts - 1, on worker @worker, below workers_count(): for memory of its own. */
typedef void workers_task(void *context, size_t part, unsigned int worker);

/** Run all parts, each once; returns when all are done. At most UINT32_MAX parts. */
void workers_run(struct workers *w, workers_task *task, void *context, size_t parts);

#endif
