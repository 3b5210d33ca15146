/*
 * trainer: a model, its gradients and moments, and one step of training.
 *
 * AdamW (Loshchilov and Hutter 2019) with MPCFormer's settings: decay of weights, not of biases and
 * LayerNorms; the gradient's norm clipped. A step is a function of the state, the batch and the
 * seed: the same on every run of the same program on as many threads.
 */
#ifndef DISTILL_TRAINER_H
#define DISTILL_TRAINER_H

#include "distill/network.h"

struct trainer_settings {
    double decay, beta1, beta2, eps;
    double clip;    /* largest norm of a gradient; 0: any */
    double dropout; /* everywhere in the network; 0: none */
    struct network_range range;
    enum precision precision;
    uint64_t seed;
};

/** MPCFormer's, but for dropout 0.1. */
struct trainer_settings trainer_defaults(void);

/* What a step makes small. */
enum objective_kind {
    OBJECTIVE_LABELS, /* cross-entropy with labels, or squared error of a score */
    OBJECTIVE_LOGITS, /* cross-entropy with what the teacher says; of a score, as LABELS */
    /* MPCFormer's first stage: the sum of the mean squared errors of each layer's scores and of
     * the embeddings' and each layer's output, beside the teacher's */
    OBJECTIVE_HIDDEN,
    OBJECTIVES,
};

struct objective {
    enum objective_kind kind;
    const struct checkpoint *teacher; /* of the student's sizes; its layers a multiple; or NULL */
    struct network *teacher_net;      /* of that shape */
    double teacher_dropout;           /* 0: the teacher in evaluation mode */
};

struct trainer {
    struct checkpoint *model; /* not the trainer's own */
    struct network *net;
    struct trainer_settings settings;
    size_t count;             /* parameters */
    float *gradients, *m, *v; /* (count) each; m, v: moments */
    uint32_t *rows;           /* (row_count): network_rows() of the last batch */
    size_t row_count, row_room;
    float *packed;                /* (row_room, hidden): the gradients of these rows, end to end */
    uint64_t steps;               /* taken so far */
    struct trainer_group *groups; /* tensors end to end, alike in decay */
    size_t group_count;
    char (*part_names)[32]; /* of network_part(), for a trace */
    uint64_t mark_ns;       /* when the part before was done */
    int sum_rc;             /* of what this backward pass has begun to sum */
    float *outside;         /* gradients by what comes out of the network */
    size_t outside_room;
};

struct step_figures {
    double loss;
    double outside; /* the penalty on what is out of the range */
    double norm;    /* of the gradient, before clipping */
};

/** The moments begin at zero. The caller keeps @model, frees the trainer. -ENOMEM. */
MUST_CHECK int trainer_new(struct checkpoint *model, const struct trainer_settings *settings,
                           struct trainer **ret, struct err *err);
void trainer_free(struct trainer *t);

/** Forget the moments and begin to count steps again: another stage. */
void trainer_reset(struct trainer *t);

/**
 * Forward, backward, and a step of @rate. Every rank gives its part of the batch, which may be of
 * no sequences; gradients and figures are those of the whole. @labels (sequence): numbers of
 * logits, or scores. -ERANGE when loss or gradient is not finite: nothing is changed then.
 */
MUST_CHECK int trainer_step(struct trainer *t, const struct batch *batch, const double *labels,
                            const struct objective *objective, double rate,
                            struct step_figures *ret, struct err *err);

#endif
