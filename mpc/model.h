/*
 * model: the weights of one split, as each of its holders has them.
 *
 * The owner splits weights w into [w]_0 + [w]_1. The dealer draws a mask r_W that belongs to the
 * model id, and gives each party the seed of its share of it. Weights that are multiplied are
 * opened once, W^ = w + r_W; weights that are only added stay shares. The dealer never sees W^, a
 * party never sees r_W.
 */
#ifndef MPC_MODEL_H
#define MPC_MODEL_H

#include "mpc/exchange.h"
#include "mpc/kernels.h"
#include "mpc/plan.h"
#include "mpc/prg.h"

#define MODEL_FILE_VERSION 1

/*
 * A party's weights. Before model_open() a masked weight's values are this party's share; after it,
 * W^. Added weights stay shares.
 */
struct model {
    const struct plan *plan;
    unsigned int party;
    bool opened;
    uint8_t mask_seed[PRG_SEED_BYTES]; /* of [r_W] */
    uint8_t digest[32];                /* SHA-256 of the file it was read from */
    uint64_t **values;                 /* by weight, row-major; NULL: multiplied, and packed */
    /* Made by model_pack(): what a product reads. */
    const struct kernels *kernels; /* that packed */
    void **right_hat;              /* W^ as a right-hand side, or the gain row as it is */
    void **right_online;           /* party * W^ - [r_W], likewise */
};

/** Room for every weight of @plan, zeroed; NULL when there is no memory. */
MUST_CHECK struct model *model_new(const struct plan *plan, unsigned int party);
void model_free(struct model *model);

/**
 * Bytes of memory that a model of this plan takes at a party: once model_pack() has packed it for
 * @kernels, and, in *ret_most, at most until then: while it is read, opened, saved and packed.
 */
size_t model_memory(const struct plan *plan, const struct kernels *kernels, size_t *ret_most);

/** Payload bytes each party sends in model_open(), without the digest. */
size_t model_open_bytes(const struct plan *plan);

/**
 * Open every masked weight: one round, then one more in which the digests of what was opened are
 * compared. The caller has struck the model id off durable storage. -EBADMSG: the digests differ.
 */
MUST_CHECK int model_open(struct model *model, struct exchange *x);

/**
 * Pack what was opened for @kernels (which must live as long), once, before the first tape is
 * prepared. The values of a weight that is multiplied are freed, so a model is saved first.
 * -ENOMEM.
 */
MUST_CHECK int model_pack(struct model *model, const struct kernels *kernels);

/** Bytes of a share file, and of a saved model, of this plan. */
size_t model_file_bytes(const struct plan *plan);

/**
 * Split @weights (by number, integers at each weight's scale) into two share files with fresh
 * randomness, and set the plan's commitments to them and, since the files name it, its hash: the
 * plan is complete then. @ret_share[p] has model_file_bytes() bytes, for the caller to
 * secret_free().
 */
MUST_CHECK int model_split(struct plan *plan, const int64_t *const *weights, uint8_t *ret_share[2],
                           struct err *err);

/** A party's share file. Magic, version, id, plan hash, party, size, digest and the plan's
 *  commitment are checked, and a mismatch is named: -EPROTO, -EINVAL, -EBADMSG. */
MUST_CHECK int model_load_share(const struct plan *plan, unsigned int party, const char *path,
                                struct model **ret_model, struct err *err);

/** How a saved model begins, where it is not sealed. */
#define MODEL_OPEN_MAGIC "MPCFOPEN"

struct sealed_key;

/** Keep an opened model durably (0600; it holds secrets), sealed with @key or, where that is NULL,
 *  as it is, and read it back: errors of sealed.h, or as above. -EINVAL when its values are gone:
 *  model_pack() came before. */
MUST_CHECK int model_save(const struct model *model, const char *path, const struct sealed_key *key,
                          struct err *err);
MUST_CHECK int model_load(const struct plan *plan, unsigned int party, const char *path,
                          const struct sealed_key *key, struct model **ret_model, struct err *err);

/* The dealer's side: r_W itself. */
struct mask_weights {
    const struct plan *plan;
    const struct kernels *kernels; /* that packed */
    void **right; /* by weight: r_W as a right-hand side, or the gain row; NULL: an added weight */
};

MUST_CHECK struct mask_weights *mask_weights_new(const struct plan *plan,
                                                 const uint8_t seed[2][PRG_SEED_BYTES],
                                                 const struct kernels *kernels);
void mask_weights_free(struct mask_weights *m);

#endif
