/*
 * shape: the line that a configuration imposes on the share link, as text: "10gbit,20us", a rate
 * and a one-way delay, and of packets how many of a hundred get lost, doubled or overtaken:
 * "1%loss,1%duplicate,5%reorder". In any order, each at most once. For tests and benchmarks with
 * both parties on one host.
 */
#ifndef APPLIANCE_SHAPE_H
#define APPLIANCE_SHAPE_H

#include "dataplane/link.h"

#define SHAPE_RATE_MIN     UINT64_C(1000000)
#define SHAPE_RATE_MAX     UINT64_C(1000000000000)
#define SHAPE_DELAY_US_MAX 1000000
#define SHAPE_PERCENT_MAX  50

/** Zeros: nothing. */
struct shape {
    struct link_line line;
    struct port_faults faults; /* of packets; TCP has none that it shows */
};

/** What shape_format() writes, with its NUL. */
#define SHAPE_TEXT_SIZE 96

/** -EINVAL or -ERANGE with the fix in @err. */
MUST_CHECK int shape_parse(const char *text, struct shape *ret_shape, struct err *err);

/** The text that shape_parse() takes; "none" for one that imposes nothing. */
void shape_format(const struct shape *shape, char ret_text[SHAPE_TEXT_SIZE]);

/** Whether there is a rate or a delay to impose; whether there are faults. */
bool shape_set(const struct shape *shape);
bool shape_faulty(const struct shape *shape);

#endif
