/*
 * job_file: a job's input share and its answer as files, for owners and parties that pass them by
 * hand. Both are secret as one of two shares is: each alone is uniform, the two together are the
 * text or the answer.
 *
 *   "MPCFJOB1"  u8 party, the fields of struct message_submit, the packed input share
 *   "MPCFANS1"  u8 party, plan hash, the fields of struct message_result, the packed output share
 *
 * then the SHA-256 of all before it. The digit in the magic is the version.
 */
#ifndef APPLIANCE_JOB_FILE_H
#define APPLIANCE_JOB_FILE_H

#include "appliance/messages.h"

/** Write a party's share of a job. @share: every element of the variant's input. 0600. */
MUST_CHECK int job_file_write(const char *path, const struct plan *plan, unsigned int party,
                              const struct message_submit *submit, const uint64_t *share,
                              struct err *err);

/* A job file in memory: the packed share stands at @share, inside @bytes. */
struct job_file {
    unsigned int party;
    struct message_submit submit;
    uint8_t *bytes;
    size_t count;
    const uint8_t *share;
    size_t share_bytes;
};

/** -EPROTO: no job file of this version; -EBADMSG: damaged. The plan is not known yet, so whoever
 *  does checks share_bytes. */
MUST_CHECK int job_file_read(const char *path, struct job_file *ret, struct err *err);
void job_file_free(struct job_file *f);

/** The answer of @party: its share of plan->labels values. */
MUST_CHECK int answer_file_write(const char *path, const struct plan *plan, unsigned int party,
                                 const struct message_result *result, const uint64_t *output,
                                 struct err *err);

/** -EINVAL when it belongs to another plan or party. @ret_output: plan->labels values. */
MUST_CHECK int answer_file_read(const char *path, const struct plan *plan, unsigned int party,
                                struct message_result *ret_result, uint64_t *ret_output,
                                struct err *err);

#endif
