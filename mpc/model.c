#include "mpc/model.h"

#include "base/hash.h"
#include "base/secret.h"
#include "mpc/op.h"

#include <stdlib.h>
#include <string.h>

static size_t value_bytes(const struct plan *plan, size_t weight)
{
    return weight_elements(&plan->weights[weight]) * sizeof(uint64_t);
}

/* A product weight is packed; a gain row stays as it is. */
static size_t right_bytes(const struct kernels *k, const struct plan *plan, size_t weight)
{
    const struct weight *w = &plan->weights[weight];

    return w->use == WEIGHT_PRODUCT ? k->right_bytes(w->rows, w->cols, w->ring)
                                    : value_bytes(plan, weight);
}

static void make_right(const struct kernels *k, void *to, const uint64_t *values,
                       const struct plan *plan, size_t weight)
{
    const struct weight *w = &plan->weights[weight];

    if (w->use == WEIGHT_PRODUCT)
        k->pack_right(to, values, w->cols, 1, w->rows, w->cols, w->ring);
    else
        memcpy(to, values, value_bytes(plan, weight));
}

struct model *model_new(const struct plan *plan, unsigned int party)
{
    struct model *m = secret_alloc(sizeof(*m));

    if (!m)
        return NULL;
    m->plan = plan;
    m->party = party;
    m->values = calloc(plan->weight_count + 1, sizeof(*m->values));
    m->right_hat = calloc(plan->weight_count + 1, sizeof(*m->right_hat));
    m->right_online = calloc(plan->weight_count + 1, sizeof(*m->right_online));
    if (!m->values || !m->right_hat || !m->right_online)
        goto fail;
    for (size_t i = 0; i < plan->weight_count; i++) {
        m->values[i] = secret_alloc(value_bytes(plan, i));
        if (!m->values[i])
            goto fail;
    }
    return m;
fail:
    model_free(m);
    return NULL;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->plan->weight_count; i++) {
        size_t right = m->kernels ? right_bytes(m->kernels, m->plan, i) : 0;

        if (m->values)
            secret_free(m->values[i], value_bytes(m->plan, i));
        if (m->right_hat)
            secret_free(m->right_hat[i], right);
        if (m->right_online)
            secret_free(m->right_online[i], right);
    }
    free(m->values);
    free(m->right_hat);
    free(m->right_online);
    secret_free(m, sizeof(*m));
}

size_t model_memory(const struct plan *plan, const struct kernels *kernels, size_t *ret_most)
{
    size_t bytes = 0, most;

    for (size_t i = 0; i < plan->weight_count; i++)
        bytes += value_bytes(plan, i);
    most = bytes + model_file_bytes(plan);
    for (size_t i = 0; i < plan->weight_count; i++)
        if (weight_masked(&plan->weights[i])) {
            bytes += 2 * right_bytes(kernels, plan, i);
            most = MAX(most, bytes + value_bytes(plan, i));
            bytes -= value_bytes(plan, i);
        }
    *ret_most = most;
    return bytes;
}

size_t model_open_bytes(const struct plan *plan)
{
    size_t bytes = 0;

    for (size_t i = 0; i < plan->weight_count; i++)
        if (weight_masked(&plan->weights[i]))
            bytes += weight_bytes(&plan->weights[i]);
    return bytes;
}

struct opening {
    uint64_t *values;
    unsigned int ring;
};

static void fill_values(void *context, size_t first, size_t count, uint8_t *to)
{
    const struct opening *open = context;

    kernels_here()->pack(to, open->values + first, count, open->ring);
}

static void add_values(void *context, size_t first, size_t count, const uint8_t *from)
{
    const struct opening *open = context;

    kernels_here()->unpack_add(open->values + first, from, count, open->ring);
}

static int open_weight(struct model *m, size_t weight, struct prg *prg, struct exchange *x)
{
    struct opening open = {.values = m->values[weight], .ring = m->plan->weights[weight].ring};
    size_t count = weight_elements(&m->plan->weights[weight]);
    uint64_t *mask = secret_alloc(value_bytes(m->plan, weight));
    int rc;

    if (!mask)
        return -ENOMEM;
    prg_words(prg, (uint32_t)weight, STREAM_WEIGHT, 0, mask, count);
    for (size_t i = 0; i < count; i++)
        open.values[i] += mask[i];
    secret_free(mask, value_bytes(m->plan, weight));
    CT_DECLASSIFY(open.values, value_bytes(m->plan, weight));
    rc = exchange_all(x, count, open.ring / 8, fill_values, add_values, &open);
    for (size_t i = 0; i < count; i++)
        open.values[i] &= ring_mask(open.ring);
    return rc;
}

static void fill_digest(void *context, size_t first, size_t count, uint8_t *to)
{
    (void)first, (void)count;
    memcpy(to, context, HASH_BYTES);
}

static void compare_digest(void *context, size_t first, size_t count, const uint8_t *from)
{
    uint8_t *digest = context;

    (void)first, (void)count;
    digest[HASH_BYTES] = !secret_equal(digest, from, HASH_BYTES);
}

static int compare_digests(struct model *m, struct exchange *x)
{
    uint8_t digest[HASH_BYTES + 1] = {0};
    struct hash *h = hash_new();
    int rc;

    if (!h)
        return -ENOMEM;
    for (size_t i = 0; i < m->plan->weight_count; i++)
        if (weight_masked(&m->plan->weights[i]))
            hash_add(h, m->values[i], value_bytes(m->plan, i));
    hash_end(h, digest);
    rc = exchange_all(x, 1, HASH_BYTES, fill_digest, compare_digest, digest);
    return rc == 0 && digest[HASH_BYTES] ? -EBADMSG : rc;
}

int model_open(struct model *m, struct exchange *x)
{
    struct prg *prg = prg_new(m->mask_seed);
    int rc = prg ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < m->plan->weight_count; i++)
        if (weight_masked(&m->plan->weights[i]))
            rc = open_weight(m, i, prg, x);
    if (rc == 0)
        rc = compare_digests(m, x);
    prg_free(prg);
    m->opened = rc == 0;
    return rc;
}

static int pack_weight(struct model *m, size_t i, struct prg *prg)
{
    size_t count = weight_elements(&m->plan->weights[i]);
    size_t right = right_bytes(m->kernels, m->plan, i);
    uint64_t *online = secret_alloc(value_bytes(m->plan, i));
    int rc = -ENOMEM;

    m->right_hat[i] = secret_alloc(right);
    m->right_online[i] = secret_alloc(right);
    if (online && m->right_hat[i] && m->right_online[i]) {
        prg_words(prg, (uint32_t)i, STREAM_WEIGHT, 0, online, count);
        for (size_t j = 0; j < count; j++)
            online[j] = m->party * m->values[i][j] - online[j];
        make_right(m->kernels, m->right_hat[i], m->values[i], m->plan, i);
        make_right(m->kernels, m->right_online[i], online, m->plan, i);
        secret_free(m->values[i], value_bytes(m->plan, i));
        m->values[i] = NULL;
        rc = 0;
    }
    secret_free(online, value_bytes(m->plan, i));
    return rc;
}

int model_pack(struct model *m, const struct kernels *kernels)
{
    struct prg *prg = prg_new(m->mask_seed);
    int rc = prg ? 0 : -ENOMEM;

    m->kernels = kernels;
    for (size_t i = 0; rc == 0 && i < m->plan->weight_count; i++)
        if (weight_masked(&m->plan->weights[i]))
            rc = pack_weight(m, i, prg);
    prg_free(prg);
    return rc;
}

/* --- the dealer's side --- */

static int mask_weight(struct mask_weights *m, size_t i, struct prg *prg[2])
{
    size_t count = weight_elements(&m->plan->weights[i]), bytes = value_bytes(m->plan, i);
    uint64_t *r = secret_alloc(bytes), *r1 = secret_alloc(bytes);
    int rc = -ENOMEM;

    m->right[i] = secret_alloc(right_bytes(m->kernels, m->plan, i));
    if (r && r1 && m->right[i]) {
        prg_words(prg[0], (uint32_t)i, STREAM_WEIGHT, 0, r, count);
        prg_words(prg[1], (uint32_t)i, STREAM_WEIGHT, 0, r1, count);
        for (size_t j = 0; j < count; j++)
            r[j] += r1[j];
        make_right(m->kernels, m->right[i], r, m->plan, i);
        rc = 0;
    }
    secret_free(r, bytes);
    secret_free(r1, bytes);
    return rc;
}

struct mask_weights *mask_weights_new(const struct plan *plan,
                                      const uint8_t seed[2][PRG_SEED_BYTES],
                                      const struct kernels *kernels)
{
    struct mask_weights *m = calloc(1, sizeof(*m));
    struct prg *prg[2] = {prg_new(seed[0]), prg_new(seed[1])};
    int rc = -ENOMEM;

    if (!m)
        goto out;
    m->plan = plan;
    m->kernels = kernels;
    m->right = calloc(plan->weight_count + 1, sizeof(*m->right));
    if (!m->right || !prg[0] || !prg[1])
        goto out;
    rc = 0;
    for (size_t i = 0; rc == 0 && i < plan->weight_count; i++)
        if (weight_masked(&plan->weights[i]))
            rc = mask_weight(m, i, prg);
out:
    prg_free(prg[0]);
    prg_free(prg[1]);
    if (rc < 0) {
        mask_weights_free(m);
        m = NULL;
    }
    return m;
}

void mask_weights_free(struct mask_weights *m)
{
    if (!m)
        return;
    for (size_t i = 0; m->right && i < m->plan->weight_count; i++)
        secret_free(m->right[i], right_bytes(m->kernels, m->plan, i));
    free(m->right);
    free(m);
}
