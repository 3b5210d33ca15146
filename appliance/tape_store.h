/*
 * tape_store: tapes on a party's disk, a sealed file each.
 *
 * A file is named MODEL_ID.VARIANT.NUMBER, the variant's number in the plan, and holds the tape as
 * it came: struct message_tape and, at party 1, the blob. Nothing of the preparation is kept, which
 * is larger than the tape and made again faster than it would be read.
 *
 * This module reads, writes and finds files. Which of them may be used is the party's to know: a
 * number that stands in its ledger is not, and its file is removed.
 */
#ifndef APPLIANCE_TAPE_STORE_H
#define APPLIANCE_TAPE_STORE_H

#include "base/sealed.h"
#include "mpc/tape.h"

#include <limits.h>

struct tape_name {
    uint8_t model[PLAN_ID_BYTES];
    uint32_t variant;
    uint64_t number;
};

MUST_CHECK int tape_store_path(const char *folder, const struct tape_name *name,
                               char ret[PATH_MAX]);

/** Bytes of a file of this variant at @party. */
size_t tape_store_bytes(const struct variant *v, unsigned int party);

/** Write a complete tape, durably; @deal_ns is kept with it. Errors of sealed_write(). */
MUST_CHECK int tape_store_write(const char *folder, const struct sealed_key *key,
                                const struct tape *tape, uint64_t deal_ns, struct err *err);

/**
 * Read one back, complete and not prepared. -EINVAL: it is not the tape of @plan, @party and @name
 * that its name says; else errors of sealed_read().
 */
MUST_CHECK int tape_store_read(const char *folder, const struct sealed_key *key,
                               const struct plan *plan, unsigned int party,
                               const struct tape_name *name, struct tape **ret_tape,
                               uint64_t *ret_deal_ns, struct err *err);

/** Whether a file is to stay; @name is NULL for one that is none of ours, or was never whole. */
typedef bool tape_store_keep(void *context, const struct tape_name *name, uint64_t bytes);

/**
 * Ask @keep for every file of @folder, which is made when it is not there, and remove the others.
 * A write that is under way looks like a file that was never whole.
 */
MUST_CHECK int tape_store_sweep(const char *folder, tape_store_keep *keep, void *context,
                                struct err *err);

#endif
