/*
 * mask_file: what the dealer keeps of a model, ID.mask: the seeds of its mask, the only secret that
 * lasts there, and how far its counters have come.
 *
 *     "MPCFMASK"  u32 version 2  model id  plan hash  two seeds
 *     u64 first tape number that was never reserved  u64 last batch that was marked
 *     SHA-256 of all before it
 *
 * Version 1, which had no batch, is read too. With either party's opened model the seeds give the
 * weights away, so the file is sealed where the appliance has a store key.
 */
#ifndef APPLIANCE_MASK_FILE_H
#define APPLIANCE_MASK_FILE_H

#include "base/sealed.h"
#include "mpc/plan.h"
#include "mpc/prg.h"

#define MASK_MAGIC "MPCFMASK"

#define MASK_FILE_BYTES_MAX 256

/* Lies in secret memory. */
struct mask_record {
    uint8_t model[PLAN_ID_BYTES];
    uint8_t plan_hash[PLAN_HASH_BYTES];
    uint8_t seed[2][PRG_SEED_BYTES];
    uint64_t reserved; /* numbers below this one are spent */
    uint64_t batch;    /* that both parties have struck off */
};

MUST_CHECK int mask_file_write(const char *path, const struct sealed_key *key,
                               const struct mask_record *m, struct err *err);

/** Errors of sealed_read(), -EPROTO for no file of ours, -EBADMSG for a damaged one. */
MUST_CHECK int mask_file_read(const char *path, const struct sealed_key *key,
                              struct mask_record *ret, struct err *err);

#endif
