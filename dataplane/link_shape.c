/*
 * The shaping link. The sender models the line: a frame starts when the one before has left, takes
 * its bits over the rate, and arrives a delay later. That time travels behind the record, sealed
 * with it; the receiver holds the record back until then. Nothing holds the sender back but the
 * inner link's window, as on a real line.
 */
#include "base/bytes.h"
#include "dataplane/frame.h"
#include "dataplane/link_kind.h"

#include <stdlib.h>

#define STAMP_BYTES 8

_Static_assert(FRAME_PAYLOAD_MAX >= LINK_RECORD_MAX + STAMP_BYTES, "a stamped record is a frame");

struct shaper {
    struct link link;
    struct link *inner;
    struct link_line line;
    uint8_t *record;  /* the reserved one */
    uint64_t free_ns; /* when the line has carried all that was committed */
};

static struct shaper *shaper_of(struct link *l)
{
    return (struct shaper *)l;
}

/* The inner link's error becomes mine. */
static int inherit(struct shaper *s)
{
    int rc = link_error(s->inner, &s->link.err);

    return link_fail(&s->link, rc, "the link under the shaping failed");
}

static uint8_t *shape_reserve(struct link *l, size_t bytes)
{
    struct shaper *s = shaper_of(l);

    s->record = link_reserve(s->inner, bytes + STAMP_BYTES);
    if (!s->record)
        inherit(s);
    return s->record;
}

/* When a record of @bytes that is committed now arrives: below 2^33 * 10^9 for a rate of 1. */
static uint64_t arrival_ns(struct shaper *s, size_t bytes)
{
    uint64_t bits = (uint64_t)frame_bytes(bytes) * 8;

    s->free_ns = MAX(s->free_ns, time_ns());
    if (s->line.bits_per_s > 0)
        s->free_ns += bits * 1000000000u / s->line.bits_per_s;
    return s->free_ns + (uint64_t)s->line.delay_us * 1000u;
}

static int shape_commit(struct link *l, size_t bytes)
{
    struct shaper *s = shaper_of(l);

    store_le64(s->record + bytes, arrival_ns(s, bytes));
    return link_commit(s->inner) < 0 ? inherit(s) : 0;
}

static const uint8_t *shape_take(struct link *l, size_t bytes)
{
    struct shaper *s = shaper_of(l);
    uint64_t deadline_ns = link_deadline_ns(l);
    const uint8_t *record = link_take(s->inner, bytes + STAMP_BYTES);
    uint64_t due_ns;

    if (!record) {
        inherit(s);
        return NULL;
    }
    due_ns = load_le64(record + bytes);
    if (due_ns > time_ns() && s->inner->kind->idle(s->inner, MIN(due_ns, deadline_ns)) < 0) {
        inherit(s);
        return NULL;
    }
    if (due_ns > deadline_ns) {
        link_fail_timeout(l, "the peer's record was still on the modelled line");
        return NULL;
    }
    return record;
}

static int shape_flush(struct link *l)
{
    struct shaper *s = shaper_of(l);

    return link_flush(s->inner) < 0 ? inherit(s) : 0;
}

static void shape_counters(const struct link *l, struct link_counters *ret)
{
    const struct shaper *s = (const struct shaper *)l;

    link_counters(s->inner, ret);
    ret->sent_records = l->counters.sent_records;
    ret->sent_bytes = l->counters.sent_bytes;
    ret->received_records = l->counters.received_records;
    ret->rounds = l->counters.rounds;
    ret->received_bytes = l->counters.received_bytes;
}

static void shape_features(const struct link *l, char *ret, size_t bytes)
{
    link_features(((const struct shaper *)l)->inner, ret, bytes);
}

static void shape_free(struct link *l)
{
    struct shaper *s = shaper_of(l);

    link_free(s->inner);
    free(s);
}

/* Never shaped again, so never idle for another link. */
static const struct link_kind shape_kind = {
    .reserve = shape_reserve,
    .commit = shape_commit,
    .take = shape_take,
    .flush = shape_flush,
    .counters = shape_counters,
    .features = shape_features,
    .free = shape_free,
};

int link_shape_new(struct link *inner, const struct link_options *options,
                   const struct link_line *line, struct link **ret, struct err *err)
{
    struct shaper *s;
    int rc;

    if (inner->kind == &shape_kind)
        return err_set(err, -EINVAL, "the link is shaped already");
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, -ENOMEM, "no memory for a link");
    rc = link_init(&s->link, &shape_kind, options, err);
    if (rc < 0) {
        free(s);
        return rc;
    }
    s->inner = inner;
    s->line = *line;
    inner->record_max = LINK_RECORD_MAX + STAMP_BYTES;
    *ret = &s->link;
    return 0;
}
