/*
 * budget: which layers of a student keep the teacher's function where a query may take so long.
 *
 * A place is the activation or the attention of one layer, where what the teacher has (exact) and
 * what is to stand in for it (cheap) differ. What a place costs more when it is exact comes from
 * plans of the student's shape (transformer/latency.h), what it loses when it is cheap from a probe
 * with that one place cheap (probe.h). Both are taken to add up: of all choices within the budget
 * the one that loses least is found exactly (knapsack.h). Costs do add up but for what neighbours
 * share, so the plan of the choice itself is priced, and where it is too dear, less is chosen from;
 * losses add up roughly, so the choice is probed and both figures are given.
 *
 * Plans are made of made-up weights, since operations follow from shape and functions; formats that
 * real weights ask for may move a truncation.
 */
#ifndef DISTILL_BUDGET_H
#define DISTILL_BUDGET_H

#include "distill/probe.h"
#include "transformer/latency.h"

struct budget {
    double ms;          /* that a query may take online */
    struct rates rates; /* where */
    uint32_t tokens;    /* of the query: its length bucket, its length known to nobody */
    unsigned int ring, frac;
    struct probe probe;
    void (*progress)(void *context, size_t done, size_t all); /* after each probe; or NULL */
    void *context;
};

enum budget_part {
    BUDGET_ATTENTION,
    BUDGET_ACTIVATION,
};

struct budget_place {
    size_t layer;
    enum budget_part part;
    struct layer_functions exact, cheap; /* of which the part's own counts */
    double ms_exact, ms_cheap;           /* of the whole layer, all else in it cheap */
    double loss;                         /* when it alone is cheap, above that of none */
    bool kept;                           /* exact */
};

struct budget_choice {
    struct layer_functions functions[MODEL_LAYERS_MAX];
    struct budget_place places[2 * MODEL_LAYERS_MAX];
    size_t place_count, kept_count;
    double ms, ms_exact,
        ms_cheap;                /* of the choice, of all exact and of all cheap, by their plans */
    bool probed;                 /* not, where all exact fits */
    double loss_exact;           /* all exact: 0 but for a student of fewer layers */
    double loss_predicted, loss; /* of the choice, above that: the places' sum, and measured */
};

/**
 * Choose for a student of @config, whose functions are the cheap ones. -ERANGE: even the cheapest
 * choice takes longer, the text says how long, or a probe overflows; -ENOENT as latency_layers();
 * -ENOMEM. Takes as many probes as there are places, and two.
 */
MUST_CHECK int budget_choose(const struct budget *b, const struct model_config *config,
                             struct budget_choice *ret, struct err *err);

/** The names of a place's functions. */
const char *budget_exact_name(const struct budget_place *p);
const char *budget_cheap_name(const struct budget_place *p);

#endif
