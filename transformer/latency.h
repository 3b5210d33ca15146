/*
 * latency: what a query takes online, from the plan alone and the rates of a machine and a link.
 *
 *     sum over kinds of operation:
 *         rounds * (round_ns + wait_ns[kind]) + bytes * byte_ns + work * work_ns[kind]
 *
 * with rounds, bytes and work as mpc/cost.h has them. Rates are derived from measurements, here and
 * nowhere else: round and byte are the link's own, what a kind took beside them is the kind's, a
 * part for each round (sealing, waking up, waiting for the other party) and a part for its work, by
 * least squares over all rows, weighted by one over the work. Rows of one length cannot tell the
 * two parts from each other: then all of it is work's. A slower line can be put under the same
 * machine.
 */
#ifndef TRANSFORMER_LATENCY_H
#define TRANSFORMER_LATENCY_H

#include "mpc/cost.h"
#include "transformer/compile.h"

#include <jansson.h>

struct rates {
    double round_ns;           /* one way */
    double byte_ns;            /* of payload that a party sends */
    double wait_ns[OP_ID_END]; /* of each round beside that, by kind */
    double work_ns[OP_ID_END]; /* a unit of struct cost's work; below 0: the kind is not known */
};

/** Two cores of an AMD EPYC (Zen 3) with AVX2, one worker, io_uring on loopback; much other work
 * ran there, and a machine of its own takes less. */
extern const struct rates rates_default;

/**
 * Rates from @path, which has JSON objects one after the other, in any order. Lines of `mpcformer
 * bench bert --json` and `bench functions --json` say what kinds of operation take, of all of them
 * together; a line of `bench link --json` says round_ns and byte_ns, which are the default's
 * without one; an object of rates_json(), as `bench rates --json` prints it, all of it as it is.
 * -EINVAL for what is none of them, and where no work is known.
 */
MUST_CHECK int rates_read(const char *path, struct rates *ret, struct err *err);

/** As an object that rates_read() takes. NULL: no memory. The caller's reference. */
json_t *rates_json(const struct rates *r);

/** Another line under the same machine: @delay_ns more a round, and at least @byte_ns a byte. */
void rates_put_on_line(struct rates *r, double delay_ns, double byte_ns);

/** Milliseconds of what costs @c and is of kind @id. */
double latency_ms(const struct rates *r, unsigned int id, const struct cost *c);

/**
 * Of the first variant of @m: @ret_ms[0] outside the layers, @ret_ms[1 + i] in layer i of @layers.
 * -ENOENT when @r does not know a kind that it has: the text says which.
 */
MUST_CHECK int latency_layers(const struct rates *r, const struct compiled *m, size_t layers,
                              double ret_ms[], struct err *err);

/** Of a row of a bench ("ops"); below 0 where a kind is not known. */
double latency_of_row(const struct rates *r, const json_t *row);

#endif
