/*
 * host_memory: how much memory this process can still take, as the kernel sees it.
 */
#ifndef APPLIANCE_HOST_MEMORY_H
#define APPLIANCE_HOST_MEMORY_H

#include "base/base.h"

/**
 * Bytes that can be had without swapping and without the kernel ending somebody: of what the host
 * has available, and of what the process's control groups (cgroup v2) leave, the less; with the
 * huge pages that are reserved and free, which neither counts. *ret_bound says whose bound it is,
 * for people. UINT64_MAX where nothing is known.
 */
uint64_t host_memory_left(const char **ret_bound);

/** The same of a /proc and a /sys that stand in the folder @root. */
uint64_t host_memory_left_at(const char *root, const char **ret_bound);

#endif
