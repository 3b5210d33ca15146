#include "dataplane/link_kind.h"

#include <stdio.h>
#include <string.h>

int link_init(struct link *l, const struct link_kind *kind, const struct link_options *options,
              struct err *err)
{
    if (options->timeout_ms < 1)
        return err_set(err, -EINVAL, "a link's timeout must be at least 1 ms");
    l->kind = kind;
    l->options = *options;
    l->record_max = LINK_RECORD_MAX;
    return 0;
}

int link_fail(struct link *l, int code, const char *format, ...)
{
    va_list args;

    if (l->rc < 0)
        return l->rc;
    /* A text that came through an err of the kind's stays. */
    if (!l->err.text[0]) {
        va_start(args, format);
        vsnprintf(l->err.text, sizeof(l->err.text), format, args);
        va_end(args);
    }
    l->rc = code;
    l->reserved = 0;
    if (code == -EBADMSG)
        l->counters.seal_failures++;
    if (code == -EPROTO)
        l->counters.frame_failures++;
    return code;
}

uint64_t link_deadline_ns(const struct link *l)
{
    return time_ns() + (uint64_t)l->options.timeout_ms * 1000000u;
}

int link_fail_timeout(struct link *l, const char *what)
{
    return link_fail(l, -ETIMEDOUT, "%s for %" PRIu32 " ms: is the peer alive and the line open?",
                     what, l->options.timeout_ms);
}

static bool size_ok(struct link *l, size_t bytes)
{
    if (l->rc < 0)
        return false;
    if (bytes >= 1 && bytes <= l->record_max)
        return true;
    link_fail(l, -EINVAL, "a record of %zu bytes was asked for, 1 to %zu are allowed", bytes,
              l->record_max);
    return false;
}

uint8_t *link_reserve(struct link *l, size_t bytes)
{
    uint8_t *p;

    if (!size_ok(l, bytes))
        return NULL;
    p = l->kind->reserve(l, bytes);
    l->reserved = p ? bytes : 0;
    return p;
}

int link_commit(struct link *l)
{
    size_t bytes = l->reserved;
    int rc;

    if (l->rc < 0)
        return l->rc;
    if (bytes == 0)
        return link_fail(l, -EINVAL, "a commit without a reserved record");
    l->reserved = 0;
    l->committed_ns = l->now_ns = time_ns();
    rc = l->kind->commit(l, bytes);
    if (rc < 0)
        return rc;
    l->counters.sent_records++;
    l->counters.sent_bytes += bytes;
    return 0;
}

const uint8_t *link_take(struct link *l, size_t bytes)
{
    const uint8_t *p;

    if (!size_ok(l, bytes))
        return NULL;
    l->now_ns = 0;
    p = l->kind->take(l, bytes);
    if (p) {
        if (l->committed_ns)
            histogram_add(&l->counters.rounds,
                          (l->now_ns ? l->now_ns : time_ns()) - l->committed_ns);
        l->committed_ns = 0;
        l->counters.received_records++;
        l->counters.received_bytes += bytes;
    }
    return p;
}

int link_flush(struct link *l)
{
    return l->rc < 0 ? l->rc : l->kind->flush(l);
}

int link_error(const struct link *l, struct err *err)
{
    return l->rc < 0 ? err_set(err, l->rc, "%s", l->err.text) : 0;
}

void link_counters(const struct link *l, struct link_counters *ret)
{
    if (l->kind->counters)
        l->kind->counters(l, ret);
    else
        *ret = l->counters;
}

void link_features(const struct link *l, char *ret, size_t bytes)
{
    if (bytes > 0)
        ret[0] = '\0';
    if (l->kind->features)
        l->kind->features(l, ret, bytes);
}

void link_free(struct link *l)
{
    if (l)
        l->kind->free(l);
}
