#include "mpc/exchange.h"

#include "base/secret.h"

static int send_block(struct exchange *x, size_t first, size_t count, size_t unit_bytes,
                      exchange_fill *fill, void *context)
{
    size_t bytes = count * unit_bytes;
    uint8_t *to = x->reserve(x, bytes);

    if (!to)
        return x->error(x);
    fill(context, first, count, to);
    CT_DECLASSIFY(to, bytes);
    x->bytes_sent += bytes;
    return x->commit(x);
}

static int take_block(struct exchange *x, size_t first, size_t count, size_t unit_bytes,
                      exchange_use *use, void *context)
{
    const uint8_t *from = x->take(x, count * unit_bytes);

    if (!from)
        return x->error(x);
    use(context, first, count, from);
    return 0;
}

int exchange_all(struct exchange *x, size_t count, size_t unit_bytes, exchange_fill *fill,
                 exchange_use *use, void *context)
{
    size_t block = EXCHANGE_BLOCK_BYTES / unit_bytes & ~(size_t)(EXCHANGE_UNITS - 1);
    size_t sent = 0, taken = 0;
    int rc = 0;

    x->rounds++;
    while (rc == 0 && taken < count) {
        if (sent < count && sent - taken < EXCHANGE_WINDOW * block) {
            size_t n = MIN(block, count - sent);

            rc = send_block(x, sent, n, unit_bytes, fill, context);
            sent += n;
        } else {
            size_t n = MIN(block, count - taken);

            rc = take_block(x, taken, n, unit_bytes, use, context);
            taken += n;
        }
    }
    return rc;
}
