/* cpu_list: which CPUs a team of workers has, as a configuration says it. */
#ifndef APPLIANCE_CPU_LIST_H
#define APPLIANCE_CPU_LIST_H

#include "base/workers.h"

struct cpu_list {
    unsigned int count; /* of workers; 0: not said */
    bool pinned;
    uint16_t cpu[WORKERS_MAX]; /* (count), in the order of the workers, when pinned */
};

/**
 * "0-7" or "0,2-3": a worker on each of these CPUs, which exist and are this process's; or "4
 * anywhere": four workers wherever the system puts them.
 */
MUST_CHECK int cpu_list_parse(const char *text, struct cpu_list *ret, struct err *err);

/* A full list fits: two CPUs of up to five digits, with their commas and hyphens, in twelve bytes.
 */
#define CPU_LIST_TEXT_SIZE (WORKERS_MAX * 6 + 16)

/** The way back. */
void cpu_list_text(const struct cpu_list *list, char ret_text[CPU_LIST_TEXT_SIZE]);

/**
 * Let memory that this thread, and threads that it makes from now on, touch first come from the
 * memory nodes of these CPUs: from the one that all lie on, else from each in turn, as weights are
 * read by all workers. Where a node has none left, or policies are not to be had, the system
 * decides as ever. Nothing for a list that is not pinned.
 */
void cpu_list_bind_memory(const struct cpu_list *list);

/**
 * Make a team for @list. One that is pinned has its CPUs to itself and spins before it sleeps; one
 * that is not shares them and sleeps at once.
 */
MUST_CHECK int cpu_list_team(const struct cpu_list *list, const char *name, bool background,
                             struct workers **ret, struct err *err);

#endif
