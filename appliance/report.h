/*
 * report: evaluations, a speed table, a cell under load and courses of training as one HTML page,
 * which needs nothing beside it: no script, no style sheet, no picture from elsewhere. It is XML
 * too.
 */
#ifndef APPLIANCE_REPORT_H
#define APPLIANCE_REPORT_H

#include "appliance/curves.h"
#include "appliance/results.h"

#define REPORT_EVALS_MAX   256
#define REPORT_COURSES_MAX 32

struct report {
    struct results *evals; /* (eval_count) */
    size_t eval_count;
    struct report_course {
        const char *name;
        struct curves curves;
    } courses[REPORT_COURSES_MAX];
    size_t course_count;
    json_t
        *speed; /* rows of `mpcformer bench functions --json`, or of `bench bert --json`; or NULL */
    json_t *load; /* rows of `mpcformer bench load --json`; or NULL */
};

/** The page, malloced, and without its NUL @ret_count bytes. -ENOMEM; -EINVAL: a row of r->speed
 * has an operation that is not known. */
MUST_CHECK int report_page(const struct report *r, char **ret_page, size_t *ret_count,
                           struct err *err);

/** The same into the file @path, which is replaced. */
MUST_CHECK int report_write(const struct report *r, const char *path, struct err *err);

/** What is of a kind of operation, in a bar. */
struct report_bar {
    char label[160];
    double part[OP_ID_END];
};

/** Text between tags, escaped. */
void report_text(FILE *out, const char *text);

/** A bar a row, stacked by kind of operation, and what each colour is. */
void report_bars(FILE *out, const char *unit, const struct report_bar bars[], size_t count);

/** Loss, metric on the development set and rate over the epochs of a course, below each other. */
void report_curves(FILE *out, const struct curves *c);

/** Latency and what was answered against what was offered; the table beside it. @rows are of `bench
 *  load`. */
void report_load(FILE *out, const json_t *rows);

/** How many rows are off by how much: of the private evaluation @r. */
void report_errors(FILE *out, const struct results *r);

#endif
