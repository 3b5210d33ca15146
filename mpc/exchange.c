#include "mpc/exchange.h"

#include "base/secret.h"

/* Units of a block. */
static size_t block_of(const struct round *r)
{
    size_t most = EXCHANGE_BLOCK_BYTES / r->unit_bytes & ~(size_t)(EXCHANGE_UNITS - 1);

    return r->block ? MIN(r->block, most) : most;
}

static int send_block(struct exchange *x, struct round *r)
{
    size_t count = MIN(block_of(r), r->count - r->sent), bytes = count * r->unit_bytes;
    int rc = r->ready ? r->ready(r->context, r->sent, count) : 0;
    uint8_t *to;

    if (rc < 0)
        return rc;
    to = x->reserve(x, bytes);
    if (!to)
        return x->error(x);
    r->fill(r->context, r->sent, count, to);
    CT_DECLASSIFY(to, bytes);
    r->sent += count;
    x->ahead++;
    x->bytes_sent += bytes;
    return x->commit(x);
}

static int take_block(struct exchange *x, struct round *r)
{
    size_t count = MIN(block_of(r), r->count - r->taken);
    const uint8_t *from = x->take(x, count * r->unit_bytes);

    if (!from)
        return x->error(x);
    r->use(r->context, r->taken, count, from);
    r->taken += count;
    x->ahead--;
    return 0;
}

int exchange_send(struct exchange *x, struct round *r, struct round *before)
{
    int rc = 0;

    x->rounds++;
    while (rc == 0 && r->sent < r->count) {
        if (x->ahead < EXCHANGE_WINDOW)
            rc = send_block(x, r);
        else
            rc = take_block(x, before && before->taken < before->count ? before : r);
    }
    return rc;
}

int exchange_take(struct exchange *x, struct round *r, size_t count)
{
    int rc = 0;

    while (rc == 0 && r->taken < count)
        rc = take_block(x, r);
    return rc;
}

int exchange_all(struct exchange *x, size_t count, size_t unit_bytes, exchange_fill *fill,
                 exchange_use *use, void *context)
{
    struct round r = {
        .count = count, .unit_bytes = unit_bytes, .fill = fill, .use = use, .context = context};
    int rc = exchange_send(x, &r, NULL);

    return rc < 0 ? rc : exchange_take(x, &r, count);
}
