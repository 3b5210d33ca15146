/*
 * drop_in: the files of a host that a profile's settings become, under names of our own, and a
 * list of what was written, with a digest each: /var/lib/mpcformer/host.json below the root. A file
 * is replaced or removed only while it is as it was written.
 *
 * An entry is written when it does not pass, or stands in our files already, so that what a host
 * has on its own, and more of it than asked for, stays. What was written of CPUs stays until other
 * ones are named.
 */
#ifndef FIRMWARE_CONFIG_DROP_IN_H
#define FIRMWARE_CONFIG_DROP_IN_H

#include "firmware-config/check.h"

#define DROP_IN_LIST "/var/lib/mpcformer/host.json"

enum drop_in_state {
    DROP_IN_ABSENT,
    DROP_IN_OURS,    /* as it was written */
    DROP_IN_FOREIGN, /* somebody else's, or changed since */
};

struct drop_in {
    const struct setting_file *file;
    enum drop_in_state state;
    char *old, *wanted; /* texts; NULL: no file */
};

struct drop_ins {
    const char *root;
    struct drop_in file[SETTING_KINDS];
    const struct check_finding **left_out; /* they need CPUs, and none were named */
    size_t left_out_count;
};

/**
 * What @c's entries make of the host at @root. @cpus: those that settings give to the appliance,
 * as a list, checked against the host's; NULL: not said. -EINVAL when they are not to be had.
 */
MUST_CHECK int drop_ins_plan(const struct check *c, const char *root, const char *cpus,
                             struct drop_ins *ret, struct err *err);
void drop_ins_free(struct drop_ins *d);

/** Whether a file is to be written, replaced or removed. */
bool drop_in_changes(const struct drop_in *f);

/** -EEXIST, naming it, when a file that is to be written is not ours. */
MUST_CHECK int drop_ins_check(const struct drop_ins *d, struct err *err);

/** Write what changes, and the list: after a crash in between, revert undoes what was done. */
MUST_CHECK int drop_ins_write(const struct drop_ins *d, struct err *err);

/** Called with each path below the root: it was removed, or it is left since it has changed. */
typedef void drop_ins_reverted(void *context, const char *path, bool removed);

/**
 * Remove what was written, folders that were made for it, and the list; what has changed since
 * stays and goes off the list too. -ENOENT when nothing was written.
 */
MUST_CHECK int drop_ins_revert(const char *root, drop_ins_reverted *each, void *context,
                               struct err *err);

#endif
