#include "appliance/turns.h"

#include <string.h>

/* The owner's place or, where it is not known any more, that of who has been away longest. */
static struct turns_owner *find_owner(struct turns *t, const uint8_t *fingerprint)
{
    struct turns_owner *oldest = NULL;

    for (size_t i = 0; i < TURNS_OWNERS_MAX; i++) {
        struct turns_owner *o = &t->owner[i];

        if (o->since && !memcmp(o->fingerprint, fingerprint, sizeof(o->fingerprint)))
            return o;
        if (!o->jobs && (!oldest || o->since < oldest->since))
            oldest = o;
    }
    *oldest = (struct turns_owner){.jobs = 0};
    memcpy(oldest->fingerprint, fingerprint, sizeof(oldest->fingerprint));
    return oldest;
}

struct turn turns_join(struct turns *t, const uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES],
                       unsigned int priority)
{
    struct turns_owner *o = find_owner(t, fingerprint);
    struct turn turn = {.owner = o, .priority = priority, .arrival = ++t->arrivals};

    if (!o->jobs++) {
        o->had_ns = MAX(o->had_ns, t->level_ns);
        o->since = turn.arrival;
    }
    return turn;
}

void turns_leave(const struct turn *turn)
{
    turn->owner->jobs--;
}

bool turns_before(const struct turn *a, const struct turn *b)
{
    if (a->owner != b->owner)
        return a->owner->had_ns != b->owner->had_ns ? a->owner->had_ns < b->owner->had_ns
                                                    : a->owner->since < b->owner->since;
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns;
    return a->arrival < b->arrival;
}

void turns_begin(struct turns *t, const struct turn *turn)
{
    t->level_ns = MAX(t->level_ns, turn->owner->had_ns);
}

void turns_charge(const struct turn *turn, uint64_t ns)
{
    turn->owner->had_ns += ns;
}
