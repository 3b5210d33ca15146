/*
 * messages: what is said over the TLS sessions between owners, parties and the dealer. Integers are
 * little endian, ids and hashes raw bytes. A message of unknown type or with a byte too many or too
 * few ends its session with -EPROTO.
 *
 *   owner -> party    INFO, SUBMIT, INPUT,        party -> owner    INFO_REPLY, ACCEPTED, QUEUED,
 *                     WAIT, DROP, LIST                              RESULT, REFUSED, DROPPED,
 *                                                                   LIST_REPLY
 *   party0 -> party1  LINK, PORT, HELD, PROPOSE,  party1 -> party0  LINK, PORT, HELD, AGREED,
 *                     RESERVE                                       RESERVED, REFUSED
 *   party -> dealer   SUBSCRIBE, GRANT, TAPE_OK,  dealer -> party   SEED, TAPE, CHUNK, TAPE_KEEP,
 *                     MARK                                          MARKED, REFUSED
 *
 * A job, as its owner sees it: SUBMIT to party 1, ACCEPTED, INPUT, QUEUED;
 * then the same with party 0, which is the one to propose it; then RESULT, or REFUSED with the
 * reason, from both. Until QUEUED the party holds nothing of the job; after it a job ends in one of
 * the two, or with the session. A session may carry one job after another.
 *
 * A job that stays (SUBMIT says so) outlives its session: after QUEUED nothing more comes. WAIT
 * asks for its RESULT, in any session of the same owner, and DROP has the party forget it.
 */
#ifndef APPLIANCE_MESSAGES_H
#define APPLIANCE_MESSAGES_H

#include "mpc/online.h"
#include "mpc/plan.h"

#define MESSAGE_ID_BYTES    16
#define MESSAGE_CHUNK_BYTES ((size_t)1 << 20) /* of a CHUNK without its header */
#define MESSAGE_TEXT_MAX    512
#define MESSAGE_MODELS_MAX  256
#define MESSAGE_HELD_MAX    65536

/** Of a tape's layout: what each operation takes from it, in which order. */
#define MESSAGE_TAPE_VERSION 4

/** Tape numbers end here, far from where a counter could wrap. */
#define MESSAGE_TAPE_NUMBER_MAX ((uint64_t)1 << 62)

enum message {
    MESSAGE_INFO = 1,   /* empty */
    MESSAGE_INFO_REPLY, /* u32 count, then struct message_model each */
    MESSAGE_SUBMIT,     /* struct message_submit */
    MESSAGE_ACCEPTED,   /* empty: send the input */
    MESSAGE_INPUT,      /* the party's input, input.h */
    MESSAGE_QUEUED,     /* empty */
    MESSAGE_RESULT,     /* struct message_result, then the packed output share */
    MESSAGE_REFUSED,    /* u8 enum refusal, string: what is wrong and what to do */
    MESSAGE_HELD,       /* u32 count, then model id, u64 batch each: the last reserved; u32 count,
                           then model id, u64 tape number each */
    MESSAGE_PROPOSE,    /* struct message_proposal */
    MESSAGE_AGREED,     /* empty: party 1 has struck the number off; again when it keeps a model */
    MESSAGE_SUBSCRIBE,  /* model id, plan hash, u64 highest tape number struck or received */
    MESSAGE_SEED,       /* model id, 32 bytes: this party's seed of the model's mask, u64 batch:
                           the last that was marked */
    MESSAGE_GRANT,      /* model id, struct message_variant, u64 tapes of it taken in all */
    MESSAGE_TAPE,       /* struct message_tape */
    MESSAGE_CHUNK,      /* struct message_chunk, then its bytes */
    MESSAGE_TAPE_OK,    /* u64 number: complete and verified */
    MESSAGE_TAPE_KEEP,  /* u64 number, model id: both parties have it */
    MESSAGE_LINK,       /* string: how the share link is configured; must be the same at both */
    MESSAGE_PORT,       /* of link = dpdk: 6 bytes MAC, u32 IPv4, u16 UDP port, u32 largest frame,
                           u32 drawn: both sides' together name the session */
    MESSAGE_RESERVE,    /* struct message_reserve */
    MESSAGE_RESERVED,   /* u32 count, then u64 tape number each: what party 1 holds of those that
                           were to be reserved, and has struck off */
    MESSAGE_MARK,       /* model id, u64 batch: both parties have struck it off */
    MESSAGE_MARKED,     /* the same: the dealer will remember it */
    MESSAGE_WAIT = 32,  /* job id: RESULT, or REFUSED; NOT_YET when it has not ended for a while */
    MESSAGE_DROP,       /* job id: end it if it waits, forget its answer if it has one */
    MESSAGE_DROPPED,    /* empty */
    MESSAGE_LIST,       /* empty */
    MESSAGE_LIST_REPLY, /* u32 count, then struct message_job each: the owner's own */
};

enum refusal {
    REFUSAL_FAILED = 1, /* the job, or what was asked, will not be done; see the text */
    REFUSAL_NOT_YET,    /* it may succeed later: a model that is being loaded */
    REFUSAL_NO_TAPE,    /* party 1 does not hold the proposed tape */
    REFUSAL_FULL,       /* the queue or the memory for jobs */
    REFUSAL_NO_JOB,     /* party 1 does not have the proposed job (any more) */
    REFUSAL_FORBIDDEN,  /* its owner may not ask this of the model, or so much in a job:
                           owner_limits.h */
    REFUSAL_RATE,       /* its owner asks too often; the text says when it may again */
    REFUSAL_WAITING,    /* its owner has too many jobs that have not ended */
    REFUSAL_END,
};

/* The model of the shape table; ready when jobs are taken. */
struct message_model {
    uint8_t id[PLAN_ID_BYTES];
    uint8_t plan_hash[PLAN_HASH_BYTES];
    uint8_t ready;
    char name[PLAN_NAME_MAX];
};

/* Which of a plan's: u32 tokens, u8 length mode, u32 batch. */
struct message_variant {
    uint32_t tokens, batch;
    enum length_mode mode; /* as it came, any byte */
};

struct message_submit {
    uint8_t job[MESSAGE_ID_BYTES]; /* fresh and random; the same at both parties */
    uint8_t model[PLAN_ID_BYTES];
    uint8_t plan_hash[PLAN_HASH_BYTES];
    struct message_variant variant;
    uint32_t length[PLAN_BATCH_MAX]; /* (batch): tokens of each query that are there, or the
                                        bucket's where that is secret */
    uint8_t priority;                /* among its owner's own jobs: turns.h */
    uint8_t stays;                   /* 1: whether its session does or not */
    uint32_t deadline_ms;            /* from QUEUED on, it begins or is refused; 0: the party's */
};

/** The longest deadline of a job. */
#define MESSAGE_DEADLINE_MS_MAX (12u * 3600 * 1000)

/* As a party has it. */
enum job_state { JOB_UPLOADING, JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED };

struct message_job {
    uint8_t job[MESSAGE_ID_BYTES];
    uint8_t state; /* enum job_state */
    uint8_t priority;
    uint32_t waits_ms;                /* since it was queued; 0 when it has ended */
    uint32_t left_ms;                 /* until its deadline, the same */
    char error[MESSAGE_TEXT_MAX + 1]; /* JOB_FAILED */
};

/* What a party measured; times in nanoseconds. */
struct message_result {
    uint8_t job[MESSAGE_ID_BYTES];
    uint64_t tape;
    uint64_t online_ns;  /* from the proposal until this party's output share */
    uint64_t prepare_ns; /* this party's preparation of the tape */
    uint64_t deal_ns;    /* the dealer's making of it; party 0 only, else 0 */
    struct online_stats stats;
};

enum proposal { PROPOSAL_OPEN = 1, PROPOSAL_JOB, PROPOSAL_DROP };

/* PROPOSAL_OPEN: open the weights of @model; the job, and what follows it, is zero. PROPOSAL_DROP:
 * @job ended at party 0 before it began; the rest is zero, and there is no answer. */
struct message_proposal {
    uint8_t what;
    uint8_t model[PLAN_ID_BYTES];
    uint8_t plan_hash[PLAN_HASH_BYTES];
    uint8_t job[MESSAGE_ID_BYTES];
    struct message_variant variant;
    uint32_t length[PLAN_BATCH_MAX];
    uint64_t tape;
};

#define MESSAGE_RESERVE_MAX 16

/* Tapes to strike off, for jobs that come later: u32 count and u64 number each at the end. */
struct message_reserve {
    uint8_t model[PLAN_ID_BYTES];
    uint8_t plan_hash[PLAN_HASH_BYTES];
    struct message_variant variant;
    uint64_t batch;  /* one more than party 0's last */
    uint64_t lowest; /* that party 0 holds of this variant: what is below has lost its other half */
    uint32_t count;  /* at most MESSAGE_RESERVE_MAX; 0: only to say the lowest */
    uint64_t number[MESSAGE_RESERVE_MAX]; /* ascending */
};

#define MESSAGE_RESERVE_BYTES                                                                      \
    (PLAN_ID_BYTES + PLAN_HASH_BYTES + 9 + 8 + 8 + 4 + 8 * MESSAGE_RESERVE_MAX)

/* On the wire, and on a party's disk, behind "MPCFTAPE" and its version. */
struct message_tape {
    uint8_t model[PLAN_ID_BYTES];
    uint8_t plan_hash[PLAN_HASH_BYTES];
    uint64_t number;
    uint8_t party;
    struct message_variant variant;
    uint64_t bytes;   /* of the blob: 0 for party 0 */
    uint64_t deal_ns; /* what it took to make; 0 for party 1, whose half comes as it is made */
    uint8_t seed[PRG_SEED_BYTES];
};

#define MESSAGE_TAPE_BYTES                                                                         \
    ((size_t)8 + 4 + PLAN_ID_BYTES + PLAN_HASH_BYTES + 8 + 1 + 9 + 8 + 8 + PRG_SEED_BYTES)

/* Names what it belongs to in full, so that a chunk of another tape cannot be taken for it. */
struct message_chunk {
    uint8_t model[PLAN_ID_BYTES];
    uint8_t plan_hash[PLAN_HASH_BYTES];
    uint64_t number;
    uint8_t party;
    uint64_t offset;
    uint32_t bytes;
    uint8_t sha256[32];
};

struct writer;
struct reader;

/** How a variant is named, and the one that is, or NULL. */
struct message_variant message_variant_of(const struct variant *v);
const struct variant *message_find_variant(const struct plan *plan,
                                           const struct message_variant *m);

void message_write_variant(struct writer *w, const struct message_variant *m);
void message_read_variant(struct reader *r, struct message_variant *ret);
void message_write_model(struct writer *w, const struct message_model *m);
void message_read_model(struct reader *r, struct message_model *ret);
void message_write_submit(struct writer *w, const struct message_submit *m);
void message_read_submit(struct reader *r, struct message_submit *ret);
void message_write_job(struct writer *w, const struct message_job *m);
void message_read_job(struct reader *r, struct message_job *ret);
void message_write_result(struct writer *w, const struct message_result *m);
void message_read_result(struct reader *r, struct message_result *ret);
void message_write_proposal(struct writer *w, const struct message_proposal *m);
void message_read_proposal(struct reader *r, struct message_proposal *ret);
void message_write_reserve(struct writer *w, const struct message_reserve *m);
void message_read_reserve(struct reader *r, struct message_reserve *ret);
void message_write_tape(struct writer *w, const struct message_tape *m);
/** -EPROTO, the version named, for a tape of another one. */
MUST_CHECK int message_read_tape(struct reader *r, struct message_tape *ret, struct err *err);
void message_write_chunk(struct writer *w, const struct message_chunk *m);
void message_read_chunk(struct reader *r, struct message_chunk *ret);

struct tls_session;

/** Send what @w holds (which is freed, whatever happens); -ENOMEM when writing it failed. */
MUST_CHECK int message_send(struct tls_session *s, enum message type, struct writer *w,
                            int timeout_ms, struct err *err);

MUST_CHECK int message_refuse(struct tls_session *s, enum refusal why, const char *text,
                              int timeout_ms);

/** The text of a REFUSED in @err, its enum refusal (negated would be an errno) in @ret_why. */
MUST_CHECK int message_read_refusal(const uint8_t *bytes, size_t count, enum refusal *ret_why,
                                    struct err *err);

/** Payload bytes of @count elements of an output share. */
size_t message_share_bytes(const struct plan *plan, size_t count);

/** An output share, packed. */
void message_write_share(struct writer *w, const struct plan *plan, const uint64_t *share,
                         size_t count);

#endif
