/*
 * job_file: a job's input and its answer as files, for owners and parties that pass them by
 * hand. Both are secret as one of two shares is: each alone is uniform, the two together are the
 * text or the answer.
 *
 *   "MPCFJOB5"  u8 party, the fields of struct message_submit, the party's input (input.h)
 *   "MPCFANS2"  u8 party, plan hash, the fields of struct message_result, the packed output share
 *
 * then the SHA-256 of all before it. The digit in the magic is the version.
 */
#ifndef APPLIANCE_JOB_FILE_H
#define APPLIANCE_JOB_FILE_H

#include "appliance/messages.h"

/** Write a party's half of a job; @input has @input_bytes. 0600. */
MUST_CHECK int job_file_write(const char *path, unsigned int party,
                              const struct message_submit *submit, const uint8_t *input,
                              size_t input_bytes, struct err *err);

/* A job file in memory: the input stands at @input, inside @bytes. */
struct job_file {
    unsigned int party;
    struct message_submit submit;
    uint8_t *bytes;
    size_t count;
    const uint8_t *input;
    size_t input_bytes;
};

/** -EPROTO: no job file, or one of another version; -EBADMSG: damaged. The plan is not known yet,
 *  so whoever knows it checks input_bytes. */
MUST_CHECK int job_file_read(const char *path, struct job_file *ret, struct err *err);
void job_file_free(struct job_file *f);

/** The answer of @party: its share of @count values, plan_answers() of the job's variant. */
MUST_CHECK int answer_file_write(const char *path, const struct plan *plan, unsigned int party,
                                 const struct message_result *result, const uint64_t *output,
                                 size_t count, struct err *err);

/** Of a job of @answers values. -EINVAL when it belongs to another plan or party, or is of more. */
MUST_CHECK int answer_file_read(const char *path, const struct plan *plan, unsigned int party,
                                struct message_result *ret_result, uint64_t *ret_output,
                                size_t answers, struct err *err);

#endif
