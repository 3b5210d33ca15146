/*
 * ledger: what this party has used up, durably. A number is struck off before the first byte that
 * depends on it leaves, and stays struck off whatever happens next.
 *
 * One text file, a line an entry, appended and synced one at a time:
 *
 *     mpcformer-ledger 1
 *     model MODEL_ID DIGEST_OF_THE_SHARE_FILE check
 *     tape MODEL_ID NUMBER PLAN_HASH JOB_ID check
 *     reserve MODEL_ID BATCH PLAN_HASH NUMBER,NUMBER,.. check
 *     floor MODEL_ID BATCH NUMBER check
 *
 * `reserve` strikes off several tapes at once, for jobs that come later; batches of a model are
 * numbered, alike at both parties, and a batch that is there tells how far this ledger has come.
 * `floor` strikes off all numbers up to one: this ledger, or the other party's, was found to be an
 * old copy.
 *
 * check is the first 8 hexadecimal digits of the SHA-256 of the line before it. A last line that
 * was cut off by a crash was never acted on and is removed; damage anywhere else is refused, since
 * a struck number might be hidden in it. Readable by anybody who may read the folder: it holds
 * nothing secret.
 */
#ifndef APPLIANCE_LEDGER_H
#define APPLIANCE_LEDGER_H

#include "base/base.h"
#include "base/hash.h"
#include "mpc/plan.h"

#define LEDGER_JOB_BYTES 16

struct ledger;

/** Open or create @path and lock it against a second process. -EBADMSG: damaged (line named);
 *  -EWOULDBLOCK: another process has it. */
MUST_CHECK int ledger_open(const char *path, struct ledger **ret_ledger, struct err *err);
void ledger_close(struct ledger *l);

/** Strike a model id off, with the digest of the share that is opened under it. -EEXIST: it was
 *  struck already, with this digest or (said in @err) another. */
MUST_CHECK int ledger_strike_model(struct ledger *l, const uint8_t id[PLAN_ID_BYTES],
                                   const uint8_t digest[HASH_BYTES], struct err *err);

/** Whether a model id was struck; the digest, then, in @ret_digest. */
bool ledger_has_model(struct ledger *l, const uint8_t id[PLAN_ID_BYTES],
                      uint8_t ret_digest[HASH_BYTES]);

/** Strike a tape off; durable when it returns 0. -EEXIST: it was; then nothing may be sent. */
MUST_CHECK int ledger_strike_tape(struct ledger *l, const uint8_t id[PLAN_ID_BYTES],
                                  uint64_t number, const uint8_t plan_hash[PLAN_HASH_BYTES],
                                  const uint8_t job[LEDGER_JOB_BYTES], struct err *err);

#define LEDGER_RESERVE_MAX 16

/**
 * Strike 1 to LEDGER_RESERVE_MAX tapes off with one sync, all or none; durable when it returns 0.
 * -EEXIST: one was; then none is struck by this call. @batch is not below ledger_batch().
 */
MUST_CHECK int ledger_reserve(struct ledger *l, const uint8_t id[PLAN_ID_BYTES], uint64_t batch,
                              const uint8_t plan_hash[PLAN_HASH_BYTES], const uint64_t numbers[],
                              size_t count, struct err *err);

/** Strike off all numbers up to @number, and go on behind @batch. */
MUST_CHECK int ledger_floor(struct ledger *l, const uint8_t id[PLAN_ID_BYTES], uint64_t batch,
                            uint64_t number, struct err *err);

/** The highest batch of a model that was reserved; 0 when none was. */
uint64_t ledger_batch(struct ledger *l, const uint8_t id[PLAN_ID_BYTES]);

bool ledger_has_tape(struct ledger *l, const uint8_t id[PLAN_ID_BYTES], uint64_t number);

/** The highest tape number of a model that was struck; 0 when none was. */
uint64_t ledger_tape_max(struct ledger *l, const uint8_t id[PLAN_ID_BYTES]);

#endif
