/*
 * bench bert, for its own files: what is asked, what is measured, and the report of it. The measure
 * is taken in a lab of the bench's own, in this process, or at a cell that runs.
 */
#ifndef APPLIANCE_BENCH_BERT_H
#define APPLIANCE_BENCH_BERT_H

#include "appliance/bench_model.h"
#include "appliance/bench_pair.h"
#include "appliance/client.h"
#include "appliance/lab.h"
#include "appliance/shape.h"

#define BENCH_SOCKETS_MAX 3
#define BENCH_PAUSE_AUTO  UINT_MAX /* as long as it may take to make a tape */

struct bench_options {
    struct bench_model model;
    size_t repeat;
    unsigned int workers;
    const char *config;                     /* of an owner of a cell that runs; NULL: none */
    const char *folder;                     /* of the model there; NULL: the configuration's */
    const char *sockets[BENCH_SOCKETS_MAX]; /* of its appliances that may be asked */
    size_t socket_count;
    unsigned int pause_ms; /* between queries; BENCH_PAUSE_AUTO */
    const char *write;     /* only write the model, there; NULL: measure */
    bool memory;           /* the in-memory link, in this process; else in a lab, over */
    enum config_link link;
    const char *shape_text; /* NULL: none */
    struct shape shape;
    bool json;
};

struct bench {
    const struct bench_options *o;
    struct plan *plan; /* of the model that a cell runs, or NULL */
    struct compiled *compiled;
    const struct variant *variant;
    struct encoding *texts;  /* (o->repeat + 1, o->batch): the first are for the warm-up */
    double *expected;        /* (o->repeat + 1, o->batch, BENCH_MODEL_LABELS) */
    struct lab *lab;         /* or NULL */
    struct client *client;   /* in the lab's child, or of a cell that runs */
    struct bench_pair *pair; /* with --link mem */
};

struct measured {
    double *online_ms, *total_ms, *party_ms, *dealer_ms;  /* (repeat) each */
    double *wall_ms;                                      /* likewise, of a cell that runs */
    double *online_cpu_ms, *prepare_cpu_ms, *deal_cpu_ms; /* likewise, in a lab */
    uint64_t party_bytes, tape_bytes;                     /* of the last repetition, in a lab */
    double error_max;
    size_t outside; /* answers that the plan's range was left for */
    uint64_t bytes, rounds, upload;
    struct online_stats stats; /* summed over the repetitions */
};

/** Print it. An exit code: EXIT_NEGATIVE unless every answer was right. */
int bench_bert_report(const struct bench *b, struct measured *m);

#endif
