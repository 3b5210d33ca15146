#include "appliance/reach.h"

#include "base/secret.h"

#include <string.h>

int reach_measure(const struct checkpoint *c, const struct corpus *dev, struct ranges *ret,
                  struct err *err)
{
    size_t count = MIN(dev->count, (size_t)REACH_ROWS), bytes = count * sizeof(struct encoding);
    struct encoding *e = secret_alloc(bytes);
    int rc;

    if (!e)
        return err_set(err, -ENOMEM, "no memory for text");
    for (size_t i = 0; i < count; i++) {
        size_t at = dev->starts[i];

        e[i].count = dev->starts[i + 1] - at;
        memcpy(e[i].ids, dev->ids + at, e[i].count * sizeof(*e[i].ids));
        memcpy(e[i].types, dev->types + at, e[i].count);
    }
    rc = ranges_measure(c, e, count, ret, err);
    secret_free(e, bytes);
    return rc;
}

json_t *reach_rows(const struct ranges *before, const struct ranges *after)
{
    static const struct {
        enum reference_point point;
        const char *name;
    } stages[] = {
        {REFERENCE_QUERY, "query"},
        {REFERENCE_KEY, "key"},
        {REFERENCE_VALUE, "value"},
        {REFERENCE_SCORE, "scores"},
        {REFERENCE_CONTEXT, "context"},
        {REFERENCE_ATTENTION_CENTRED, "after attention, centred"},
        {REFERENCE_FFN_INPUT, "activation's input"},
        {REFERENCE_FFN_OUTPUT, "activation's output"},
        {REFERENCE_OUTPUT_CENTRED, "layer's output, centred"},
    };
    json_t *rows = json_array();

    for (size_t l = 0; l < before->layers; l++)
        for (size_t i = 0; i < ARRAY_LENGTH(stages); i++)
            json_array_append_new(rows, json_pack("{s:i, s:s, s:f, s:f}", "layer", (int)l, "stage",
                                                  stages[i].name, "before",
                                                  ranges_top(before, stages[i].point, l), "after",
                                                  ranges_top(after, stages[i].point, l)));
    return rows;
}
