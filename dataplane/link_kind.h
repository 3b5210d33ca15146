/*
 * What the links of this room have in common, for their own files only: users see link.h.
 *
 * link.c checks the calls against the contract, counts records and payload, and keeps the first
 * error; a kind moves the bytes. A kind reports an error by link_fail() and NULL or its code.
 */
#ifndef DATAPLANE_LINK_KIND_H
#define DATAPLANE_LINK_KIND_H

#include "dataplane/link.h"

/** Each is called on a link without error, with sizes in bounds. */
struct link_kind {
    uint8_t *(*reserve)(struct link *l, size_t bytes);
    int (*commit)(struct link *l, size_t bytes);
    const uint8_t *(*take)(struct link *l, size_t bytes);
    int (*flush)(struct link *l);
    int (*idle)(struct link *l, uint64_t until_ns); /* drive both directions until then */
    void (*counters)(const struct link *l, struct link_counters *ret); /* NULL: those of `link` */
    void (*features)(const struct link *l, char *ret, size_t bytes);   /* NULL: none to tell */
    void (*free)(struct link *l);
};

struct link {
    const struct link_kind *kind;
    struct link_options options;
    size_t record_max; /* LINK_RECORD_MAX; a shaping link on top asks for its stamp too */
    size_t reserved;   /* bytes of the record being written; 0: none */
    int rc;            /* the error that killed the link */
    struct err err;
    uint64_t now_ns; /* a commit began; or a take found its record, where the kind knows, else 0 */
    uint64_t committed_ns; /* when; 0: something was taken since */
    struct link_counters counters;
};

/** Check @options and set @l up. */
MUST_CHECK int link_init(struct link *l, const struct link_kind *kind,
                         const struct link_options *options, struct err *err);

/** Kill @l with @code, unless it is dead already. Returns what killed it. */
int link_fail(struct link *l, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/** When a call that starts now has waited long enough. */
uint64_t link_deadline_ns(const struct link *l);

/** The one text for a wait that took too long. */
int link_fail_timeout(struct link *l, const char *what);

#endif
