/*
 * setting: how an entry is set: a line in one of a few drop-ins, files under names of our own that
 * nothing else writes. What takes effect by which command is said, never run.
 */
#ifndef FIRMWARE_CONFIG_SETTING_H
#define FIRMWARE_CONFIG_SETTING_H

#include "base/base.h"

enum setting_kind {
    SETTING_SYSCTL,
    SETTING_MODPROBE,
    SETTING_CMDLINE,
    SETTING_UDEV,
    SETTING_HUGETLBFS,
    SETTING_KINDS,
};

struct setting {
    enum setting_kind kind;
    const char *text; /* part of what was parsed */
};

struct setting_file {
    const char *name;   /* as a profile says it */
    const char *help;   /* what stands after it, for people */
    const char *path;   /* below the root */
    const char *effect; /* what makes a change count */
    const char *undo;   /* what makes its removal count */
};

const struct setting_file *setting_file(enum setting_kind kind);

/** "sysctl vm.stat_interval = 10": -EINVAL with what may be written. */
MUST_CHECK int setting_parse(const char *text, struct setting *ret, struct err *err);

/** What stands in for a list of CPUs in a setting, and for all the others. */
#define SETTING_CPUS   "@cpus@"
#define SETTING_OTHERS "@others@"

/** Whether it holds one of these. */
bool setting_needs_cpus(const struct setting *s);

/**
 * The line of it, with these lists in place; -ENOMEM. The caller frees.
 */
MUST_CHECK int setting_line(const struct setting *s, const char *cpus, const char *others,
                            char **ret);

#endif
