/*
 * owner_limits: what a data owner may ask of a party: which models, how many queries an hour and in
 * a job, how many jobs that have not ended. A party's own, decided without the other one.
 *
 * Lines of the key `limit` say it, each for one owner, as often as needed:
 *
 *   limit = NAME queries=600 burst=64 job=32 waiting=8
 *   limit = NAME model=13aff303cf0c19c6d71fd0293202dd4f
 *   limit = * queries=60
 *
 * NAME is what a client_pin names, or the fingerprint that it pins. What an owner's lines leave out
 * is what those of `*` say; what these leave out, and the word `any`, is no limit. Queries are
 * counted by a token bucket: `burst` of them at once (an hour's, where it is not said), refilled
 * evenly. A job counts as many as its variant answers, whether all of them hold a text or not.
 */
#ifndef APPLIANCE_OWNER_LIMITS_H
#define APPLIANCE_OWNER_LIMITS_H

#include "appliance/tls.h"
#include "mpc/plan.h"

#define LIMIT_MODELS_MAX 16
#define LIMIT_MOST       1000000000
#define LIMIT_ANY        UINT32_MAX

enum limit_kind {
    LIMIT_QUERIES, /* an hour */
    LIMIT_BURST,
    LIMIT_JOB,     /* queries of one */
    LIMIT_WAITING, /* jobs of one owner that have not ended */
    LIMIT_KINDS,
};

/* Of one owner. */
struct limit {
    uint32_t
        most[LIMIT_KINDS]; /* LIMIT_ANY: as many as it likes; 0, before it is settled: unsaid */
    bool any_model;
    size_t model_count;
    uint8_t model[LIMIT_MODELS_MAX][PLAN_ID_BYTES];
};

struct limits {
    struct limit_line {
        char who[IDENTITY_FINGERPRINT_SIZE]; /* a name, a fingerprint, or "*" */
        unsigned int line;                   /* of the file, where it stood first */
        struct limit limit;
    } * of;
    size_t count;
};

/** Take the value of a key `limit` on @line. -EINVAL and the like: @err says what to write. */
MUST_CHECK int limits_add(struct limits *limits, unsigned int line, const char *text,
                          struct err *err);

/**
 * Once all lines and pins are known: -EINVAL with the number of the line in *ret_line where an
 * owner is not pinned, or its numbers do not go together.
 */
MUST_CHECK int limits_check(const struct limits *limits, const struct tls_pins *pins,
                            unsigned int *ret_line, struct err *err);

MUST_CHECK int limits_copy(const struct limits *from, struct limits *ret);
void limits_free(struct limits *limits);

/** What @owner may, who is one of @pins: settled. Its name is the pin's, not its certificate's. */
void limits_of(const struct limits *limits, const struct tls_pins *pins,
               const struct identity *owner, struct limit *ret);

/** Whether @limit has the model. */
bool limit_has_model(const struct limit *limit, const uint8_t id[PLAN_ID_BYTES]);

/*
 * What each owner has had. Only the key counts, so neither another session nor another certificate
 * makes it less, and a reload changes limits, not what was had. A restart forgets it, which gives
 * an owner one burst at the most.
 */

/** More than can be pinned at once: who is pinned and not known here has not asked for long. */
#define BUDGETS_MAX (2 * TLS_PINS_MAX)

struct budgets {
    struct budget {
        uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES];
        double had; /* queries that are not refilled yet, as of at_ns */
        uint64_t at_ns;
    } of[BUDGETS_MAX];
};

/** How long until @queries more, at most its burst, are within @limit: whole seconds; 0: now. */
uint64_t budget_wait_s(const struct budgets *b, const uint8_t owner[IDENTITY_FINGERPRINT_BYTES],
                       const struct limit *limit, uint32_t queries, uint64_t now_ns);

/** They were accepted at @now_ns, of a clock that does not go back. */
void budget_charge(struct budgets *b, const uint8_t owner[IDENTITY_FINGERPRINT_BYTES],
                   const struct limit *limit, uint32_t queries, uint64_t now_ns);

#endif
