/*
 * mask_backup: the dealer's one lasting secret, the seeds of models' masks, outside of its state
 * folder: in a backup, back from one, or nowhere any more.
 *
 * A backup is one file, sealed with a store key of its own, so that neither the disk it lies on nor
 * the dealer's key opens it:
 *
 *     "MPCFBACK"  u32 version 1  u32 count, then each:
 *         model id  plan hash  two seeds  u64 reserved  u64 batch  (mask_file.h)
 *         u32 bytes of its plan, 0: it was unloaded  the plan
 *
 * Counters of a backup are old. That does no harm: the parties tell a dealer the highest number
 * that they have seen, and it goes on behind that; seeds of tapes are drawn anew each time.
 *
 * Restoring and destroying take the folder's lock: they are refused while a dealer runs on it.
 */
#ifndef APPLIANCE_MASK_BACKUP_H
#define APPLIANCE_MASK_BACKUP_H

#include "base/sealed.h"
#include "mpc/plan.h"

/** Told of each model that something was done to, or that was found: "kept", "there already". */
typedef void mask_report(void *context, const char *id, const char *name, const char *what);

/** Every model whose mask is in @state, or was destroyed there. */
MUST_CHECK int mask_list(const char *state, const struct sealed_key *key, mask_report *report,
                         void *context, struct err *err);

/** All masks of @state into @path, sealed with @backup_key. A dealer may be running. */
MUST_CHECK int mask_backup(const char *state, const struct sealed_key *key, const char *path,
                           const struct sealed_key *backup_key, mask_report *report, void *context,
                           struct err *err);

/**
 * Those of @path into @state, under its own @key; a mask that is there stays. -EEXIST: a model has
 * another mask there, or its was destroyed there; then nothing at all is restored.
 */
MUST_CHECK int mask_restore(const char *state, const struct sealed_key *key, const char *path,
                            const struct sealed_key *backup_key, mask_report *report, void *context,
                            struct err *err);

/** Remove the mask of model @id, NULL: of every model; no new one is ever drawn under its id there.
 *  -ENOENT. */
MUST_CHECK int mask_destroy(const char *state, const char *id, mask_report *report, void *context,
                            struct err *err);

#endif
