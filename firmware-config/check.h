/* check: a host beside a profile, entry by entry. */
#ifndef FIRMWARE_CONFIG_CHECK_H
#define FIRMWARE_CONFIG_CHECK_H

#include "firmware-config/profile.h"

enum check_result {
    CHECK_PASS,
    CHECK_WARN,
    CHECK_FAIL,
    CHECK_UNKNOWN, /* not to be read: never a pass, counted as a warning */
    CHECK_RESULTS,
};

struct check_finding {
    const struct profile_entry *entry;
    enum check_result result;
    char *value; /* what is there, or why that is unknown */
};

struct check {
    struct check_finding *finding; /* of each entry, in the profile's order */
    size_t count;
    size_t results[CHECK_RESULTS]; /* how many of each */
};

const char *check_result_name(enum check_result result);

/** Compare the host at @root ("": this one) with @p, which must outlive the result; -ENOMEM. */
MUST_CHECK int check_run(const struct profile *p, const char *root, struct check *ret,
                         struct err *err);
void check_free(struct check *c);

/**
 * The profiles of @folder that are for the host at @root: generic, and each one whose `match`
 * entries all pass. Freed by profile_free().
 */
MUST_CHECK int check_matching(const char *folder, const char *root, struct profile **ret,
                              struct err *err);

#endif
