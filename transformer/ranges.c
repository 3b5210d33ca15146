#include "transformer/ranges.h"

#include "transformer/fold.h"

#include <math.h>
#include <stdlib.h>

struct watch {
    struct ranges *ranges;
    double tokens;
};

static void see(void *ctx, enum reference_point point, size_t layer, double value_min,
                double value_max)
{
    struct watch *w = ctx;
    struct span *at = &w->ranges->seen[layer][point];
    double scale = point == REFERENCE_ROW_SUM ? 1 / w->tokens : 1;

    at->least = fmin(at->least, value_min * scale);
    at->most = fmax(at->most, value_max * scale);
}

/* Values, and contexts with them, stand without their constant part (fold.h). */
static void widen(struct ranges *r, const struct checkpoint *c)
{
    static const enum reference_point points[] = {REFERENCE_VALUE, REFERENCE_CONTEXT};

    for (size_t i = 0; i < r->layers; i++) {
        double top = 0;

        for (size_t j = 0; j < c->config.hidden; j++)
            top = fmax(top, fabs(fold_value_constant(c, i, j)));
        for (size_t p = 0; p < ARRAY_LENGTH(points); p++) {
            r->seen[i][points[p]].least -= top;
            r->seen[i][points[p]].most += top;
        }
    }
}

int ranges_measure(const struct checkpoint *c, const struct encoding *samples, size_t count,
                   struct ranges *ret, struct err *err)
{
    struct ranges r = {.layers = c->config.layers};
    struct watch watch = {.ranges = &r};
    const struct reference_observer observer = {.see = see, .ctx = &watch};
    double *logits = calloc(c->config.labels, sizeof(*logits));
    int rc = 0;

    r.seen = calloc(r.layers, sizeof(*r.seen));
    if (!logits || !r.seen || !count)
        rc = err_set(err, count ? -ENOMEM : -EINVAL, "ranges: no %s",
                     count ? "memory" : "sample text");
    for (size_t i = 0; rc == 0 && i < r.layers; i++)
        for (size_t point = 0; point < REFERENCE_POINTS; point++)
            r.seen[i][point] = (struct span){INFINITY, -INFINITY};
    for (size_t i = 0; rc == 0 && i < count; i++) {
        watch.tokens = (double)samples[i].count;
        rc = reference_classify(c, &samples[i], logits, &observer, err);
    }
    free(logits);
    if (rc < 0) {
        ranges_free(&r);
        return rc;
    }
    widen(&r, c);
    *ret = r;
    return 0;
}

void ranges_free(struct ranges *r)
{
    free(r->seen);
    r->seen = NULL;
}

double ranges_top(const struct ranges *r, enum reference_point point, size_t layer)
{
    const struct span *at = &r->seen[layer][point];

    return fmax(fabs(at->least), fabs(at->most));
}
