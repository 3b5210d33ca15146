#include "appliance/trust.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One reading of the files, never changed; the last user frees it. */
struct reading {
    struct tls_context *tls;
    struct tls_pins pins;
    struct limits limits;
    unsigned int users;
};

struct trust {
    pthread_mutex_t lock;
    struct keeper *keeper;
    struct reading *now; /* one use of it is the trust's own */
};

static void reading_free(struct reading *r)
{
    if (!r)
        return;
    tls_context_free(r->tls);
    tls_pins_free(&r->pins);
    limits_free(&r->limits);
    free(r);
}

static int copy_pins(const struct tls_pins *from, struct tls_pins *to)
{
    size_t bytes = from->count * sizeof(*from->pin);

    if (!bytes)
        return 0;
    to->pin = malloc(bytes);
    if (!to->pin)
        return -ENOMEM;
    memcpy(to->pin, from->pin, bytes);
    to->count = from->count;
    return 0;
}

static int read_key(void *keeper, const char *path, struct evp_pkey_st **ret_key, struct err *err)
{
    return keeper_load(keeper, path, ret_key, err);
}

static int reading_new(const struct config *config, struct keeper *keeper, struct reading **ret,
                       struct err *err)
{
    struct reading *r = calloc(1, sizeof(*r));
    enum role role;
    int rc;

    if (!r)
        return -ENOMEM;
    r->users = 1;
    rc = tls_context_new(config->certificate, config->key, config->authority, read_key, keeper,
                         &r->tls, err);
    if (rc < 0)
        goto fail;
    role = tls_context_identity(r->tls)->role;
    if (role != config->role) {
        rc = err_set(err, -EINVAL, "%s is a certificate of role %s, and the configuration says %s",
                     config->certificate, role_name(role), role_name(config->role));
        goto fail;
    }
    rc = copy_pins(&config->pins, &r->pins);
    if (rc == 0)
        rc = limits_copy(&config->limits, &r->limits);
    if (rc < 0)
        goto fail;
    *ret = r;
    return 0;
fail:
    reading_free(r);
    return rc;
}

static struct reading *take(struct trust *trust)
{
    struct reading *r;

    pthread_mutex_lock(&trust->lock);
    r = trust->now;
    r->users++;
    pthread_mutex_unlock(&trust->lock);
    return r;
}

static void put(struct trust *trust, struct reading *r)
{
    bool last;

    pthread_mutex_lock(&trust->lock);
    last = --r->users == 0;
    pthread_mutex_unlock(&trust->lock);
    if (last)
        reading_free(r);
}

int trust_new(const struct config *config, struct keeper *keeper, struct trust **ret_trust,
              struct err *err)
{
    struct trust *trust = calloc(1, sizeof(*trust));
    int rc;

    if (!trust)
        return -ENOMEM;
    trust->keeper = keeper;
    rc = reading_new(config, keeper, &trust->now, err);
    if (rc < 0) {
        free(trust);
        return rc;
    }
    pthread_mutex_init(&trust->lock, NULL);
    *ret_trust = trust;
    return 0;
}

void trust_free(struct trust *trust)
{
    if (!trust)
        return;
    reading_free(trust->now);
    pthread_mutex_destroy(&trust->lock);
    free(trust);
}

int trust_renew(struct trust *trust, const struct config *config, struct err *err)
{
    struct reading *fresh, *old;
    int rc = reading_new(config, trust->keeper, &fresh, err);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&trust->lock);
    old = trust->now;
    trust->now = fresh;
    pthread_mutex_unlock(&trust->lock);
    put(trust, old);
    return 0;
}

int trust_connect(struct trust *trust, int fd, enum role expect, int timeout_ms,
                  struct tls_session **ret_session, struct err *err)
{
    struct reading *r = take(trust);
    int rc = tls_connect(r->tls, fd, expect, &r->pins, timeout_ms, ret_session, err);

    put(trust, r);
    return rc;
}

int trust_accept(struct trust *trust, int fd, int timeout_ms, struct tls_session **ret_session,
                 struct err *err)
{
    struct reading *r = take(trust);
    int rc = tls_accept(r->tls, fd, &r->pins, timeout_ms, ret_session, err);

    put(trust, r);
    return rc;
}

bool trust_believes(struct trust *trust, const struct identity *peer)
{
    struct reading *r = take(trust);
    bool believed = tls_pins_believe(&r->pins, peer);

    put(trust, r);
    return believed;
}

void trust_limit(struct trust *trust, const struct identity *owner, struct limit *ret)
{
    struct reading *r = take(trust);

    limits_of(&r->limits, &r->pins, owner, ret);
    put(trust, r);
}

int64_t trust_valid_until(struct trust *trust)
{
    struct reading *r = take(trust);
    int64_t until = tls_context_identity(r->tls)->valid_until_s;

    put(trust, r);
    return until;
}
