/* profile_entry: what the values of an entry mean. Of profile.c alone. */
#ifndef FIRMWARE_CONFIG_PROFILE_ENTRY_H
#define FIRMWARE_CONFIG_PROFILE_ENTRY_H

#include "firmware-config/profile.h"

struct profile_place {
    enum profile_key key;
    unsigned int line;
};

/**
 * Fill in what @e's values, all required ones of which are there, mean. -EINVAL with the reason,
 * and in @ret where it stands; -ENOMEM.
 */
MUST_CHECK int profile_entry_parse(struct profile_entry *e, struct profile_place *ret,
                                   struct err *err);

#endif
