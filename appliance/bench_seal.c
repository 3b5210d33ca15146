/* How fast records are sealed and opened on one core, by each engine that is here: for bench link.
 */
#include "appliance/bench.h"
#include "base/random.h"
#include "base/secret.h"
#include "dataplane/seal.h"

#define BATCH_BYTES ((size_t)2 << 20) /* sealed, then opened, between two looks at the clock */
#define RECORDS_MAX (BATCH_BYTES / 1400)
#define EXTRA_BYTES 16
#define ROUNDS      40

static const size_t sizes[] = {1400, 65536, 1 << 20};
static const enum seal_engine engines[] = {SEAL_IPSEC_MB, SEAL_OPENSSL};

/* Of one engine; the best of all rounds. */
struct racer {
    struct seal *sender, *receiver; /* NULL: not here */
    uint64_t sequence;
    double seal[ARRAY_LENGTH(sizes)], open[ARRAY_LENGTH(sizes)]; /* bytes a nanosecond */
};

static uint8_t tags[RECORDS_MAX][SEAL_TAG_BYTES];
static const uint8_t extra[EXTRA_BYTES];

/* Every record of the batch once; bytes a nanosecond in @best if it was never better. */
static int pass(struct racer *r, bool open, uint8_t *data, size_t bytes, double *best)
{
    uint64_t start = time_ns();
    size_t count = BATCH_BYTES / bytes;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = open ? seal_open(r->receiver, r->sequence + i, extra, EXTRA_BYTES, data + i * bytes,
                              data + i * bytes, bytes, tags[i])
                  : seal_apply(r->sender, r->sequence + i, extra, EXTRA_BYTES, data + i * bytes,
                               bytes, tags[i]);
    *best = MAX(*best, (double)(count * bytes) / (double)(time_ns() - start));
    return rc;
}

static int race(struct racer *racers, uint8_t *data)
{
    int rc = 0;

    for (size_t round = 0; rc == 0 && round < ROUNDS; round++)
        for (size_t s = 0; s < ARRAY_LENGTH(sizes); s++)
            for (size_t e = 0; rc == 0 && e < ARRAY_LENGTH(engines); e++) {
                if (!racers[e].sender)
                    continue;
                rc = pass(&racers[e], false, data, sizes[s], &racers[e].seal[s]);
                if (rc == 0)
                    rc = pass(&racers[e], true, data, sizes[s], &racers[e].open[s]);
                racers[e].sequence += RECORDS_MAX;
            }
    return rc;
}

static int ready(struct racer *racers, struct err *err)
{
    struct seal_keys *keys = seal_keys_new(), *mirror;
    int rc = 0;

    if (!keys)
        return -ENOMEM;
    random_bytes(keys, sizeof(*keys));
    mirror = seal_keys_mirror(keys);
    if (!mirror)
        rc = -ENOMEM;
    for (size_t e = 0; rc == 0 && e < ARRAY_LENGTH(engines); e++) {
        if (!seal_engine_here(engines[e]))
            continue;
        rc = seal_new(keys, engines[e], &racers[e].sender, err);
        if (rc == 0)
            rc = seal_new(mirror, engines[e], &racers[e].receiver, err);
    }
    seal_keys_free(keys);
    seal_keys_free(mirror);
    return rc;
}

static json_t *describe(const struct racer *racers)
{
    json_t *rows = json_array();

    for (size_t e = 0; e < ARRAY_LENGTH(engines); e++)
        for (size_t s = 0; racers[e].sender && s < ARRAY_LENGTH(sizes); s++)
            json_array_append_new(rows, json_pack("{s:s, s:I, s:f, s:f}", "engine",
                                                  seal_engine_name(engines[e]), "bytes",
                                                  (json_int_t)sizes[s], "seal", racers[e].seal[s],
                                                  "open", racers[e].open[s]));
    return rows;
}

int bench_seal(json_t **ret_rows, struct err *err)
{
    struct racer racers[ARRAY_LENGTH(engines)] = {0};
    uint8_t *data = secret_alloc(BATCH_BYTES);
    int rc = data ? ready(racers, err) : -ENOMEM;

    if (rc == 0)
        rc = race(racers, data);
    if (rc == 0)
        *ret_rows = describe(racers);
    for (size_t e = 0; e < ARRAY_LENGTH(engines); e++) {
        seal_free(racers[e].sender);
        seal_free(racers[e].receiver);
    }
    secret_free(data, BATCH_BYTES);
    return rc;
}
