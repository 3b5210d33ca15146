#include "dataplane/zero_copy.h"

void zero_copy_init(struct zero_copy *z, enum link_zero_copy wanted, const char *plain)
{
    *z = (struct zero_copy){.always = wanted == LINK_ZERO_COPY_ALWAYS, .plain = plain};
    if (wanted == LINK_ZERO_COPY_NEVER)
        z->plain = "as asked for";
}

int zero_copy_start(struct zero_copy *z, uint64_t from, size_t bytes)
{
    unsigned int most = z->paid || z->always ? ZERO_COPY_SENDS_MAX : ZERO_COPY_TRIALS;
    unsigned int number = (z->first + z->count) % ZERO_COPY_SENDS_MAX;

    if (z->plain || bytes < ZERO_COPY_BYTES_MIN || z->count >= most)
        return -1;
    z->sends[number].from = from;
    z->sends[number].queued = false;
    z->sends[number].held = true;
    z->count++;
    return (int)number;
}

/* Forget the oldest, as far as the kernel is through with them. */
static void forget(struct zero_copy *z)
{
    while (z->count > 0 && z->sends[z->first].queued && !z->sends[z->first].held) {
        z->first = (z->first + 1) % ZERO_COPY_SENDS_MAX;
        z->count--;
    }
}

bool zero_copy_queued(struct zero_copy *z, unsigned int number, int rc, bool more)
{
    /* Unknown operation or flag; a socket that has none; not enough memory may be pinned. */
    bool refused = rc == -EINVAL || rc == -EOPNOTSUPP || rc == -ENOMEM || rc == -ENOBUFS;

    z->sends[number].queued = true;
    z->sends[number].held = more;
    forget(z);
    if (refused)
        z->plain = "the kernel refused zero-copy ones";
    return refused;
}

void zero_copy_notified(struct zero_copy *z, unsigned int number, bool copied)
{
    z->sends[number].held = false;
    forget(z);
    z->paid |= !copied;
    z->copied = copied ? z->copied + 1 : 0;
    if (z->copied >= ZERO_COPY_TRIALS && !z->always)
        z->plain = "zero-copy ones were copied";
}

uint64_t zero_copy_held(const struct zero_copy *z, uint64_t sent)
{
    return z->count > 0 ? z->sends[z->first].from : sent;
}
