/* Lists of CPUs as Linux writes them ("0-3,8"), of any host, not just of this one. */
#ifndef FIRMWARE_CONFIG_CPUS_H
#define FIRMWARE_CONFIG_CPUS_H

#include "base/base.h"

#include <sched.h>

/** -EINVAL for anything but numbers below CPU_SETSIZE and ranges; "" is no CPU. */
MUST_CHECK int cpus_parse(const char *text, cpu_set_t *ret);

/** The way back, shortest form: as malloc() gives it, or NULL when there is no memory. */
MUST_CHECK char *cpus_text(const cpu_set_t *set);

/** CPUs of @a that are not in @b. */
void cpus_without(const cpu_set_t *a, const cpu_set_t *b, cpu_set_t *ret);

#endif
