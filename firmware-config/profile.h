/*
 * profile: what a host must be set to, as a file says it: a section [profile], and a section
 * [entry ID] for each setting, of lines `key = value`. An indented line is more of the value above
 * it. Comments stand on lines of their own, after '#'. docs/host.md explains the keys.
 *
 * Whatever is wrong with a file is said with its path, the line, the key and the fix.
 */
#ifndef FIRMWARE_CONFIG_PROFILE_H
#define FIRMWARE_CONFIG_PROFILE_H

#include "firmware-config/expect.h"
#include "firmware-config/probe.h"
#include "firmware-config/setting.h"

/** A larger file is none of ours; a line is limited by libinih, to about 200 bytes. */
#define PROFILE_FILE_MAX ((size_t)256 << 10)

#define PROFILE_NAME_MAX  40
#define PROFILE_FILES_MAX 16

enum profile_key {
    PROFILE_REASON,
    PROFILE_READ,
    PROFILE_EXPECT,
    PROFILE_SEVERITY,
    PROFILE_SET,
    PROFILE_BY_HAND,
    PROFILE_COST,
    PROFILE_SOURCE,
    PROFILE_VERIFIED,
    PROFILE_KEYS,
};

/** The values of a key, in the order in which they stand. */
struct profile_values {
    char **text;
    unsigned int *line;
    size_t count;
};

struct profile_entry {
    char id[PROFILE_NAME_MAX];
    const char *file; /* the profile's, by name */
    unsigned int line;
    struct profile_values value[PROFILE_KEYS];

    /* what they mean */
    const struct probe *probe;
    const char *argument;
    struct expect expect; /* of a probe by-hand: nothing */
    bool must;            /* a mismatch fails, else it warns */
    struct setting *setting;
    size_t setting_count;
};

struct profile_file {
    char name[PROFILE_NAME_MAX], title[128];
    struct profile_values include, match;
};

struct profile {
    struct profile_file file[PROFILE_FILES_MAX]; /* in the order of reading */
    size_t file_count;
    struct profile_entry *entry;
    size_t entry_count;
};

/**
 * Read @folder/NAME.conf of each name, and what they include, each file once. -ENOENT names the
 * profiles that there are.
 */
MUST_CHECK int profile_load(const char *folder, const char *const names[], size_t count,
                            struct profile **ret, struct err *err);
void profile_free(struct profile *p);

/** Take an entry away; -ENOENT. */
MUST_CHECK int profile_leave_out(struct profile *p, const char *id, struct err *err);

/** NULL: there is none. */
const struct profile_entry *profile_find(const struct profile *p, const char *id);

/** The first value, or NULL. */
const char *profile_value(const struct profile_entry *e, enum profile_key key);

/** Names of all profiles in @folder, sorted; the caller frees each and the list. */
MUST_CHECK int profile_list(const char *folder, char ***ret_names, size_t *ret_count,
                            struct err *err);
void profile_list_free(char **names, size_t count);

#endif
