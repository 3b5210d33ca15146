#include "distill/knapsack.h"

#include <stdlib.h>
#include <string.h>

/* A choice among the first things: what it spends, what it is worth, and the choice among one thing
 * less that it comes from. */
struct state {
    uint64_t spent;
    double worth;
    size_t from;
    bool takes;
};

/* The states after each thing, one list behind the other: list i begins at start[i]. In a list both
 * spent and worth rise. */
struct lists {
    struct state *states;
    size_t room, count;
    size_t *start; /* (things + 2) */
};

static int push(struct lists *l, size_t list, const struct state *s, struct err *err)
{
    if (l->count > l->start[list] && s->worth <= l->states[l->count - 1].worth)
        return 0; /* as dear as the last or dearer, and worth no more */
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 256;
        struct state *more =
            room <= KNAPSACK_STATES_MAX ? realloc(l->states, room * sizeof(*more)) : NULL;

        if (!more)
            return err_set(err, room <= KNAPSACK_STATES_MAX ? -ENOMEM : -E2BIG,
                           "too many different sums of costs to choose from");
        l->states = more;
        l->room = room;
    }
    l->states[l->count++] = *s;
    return 0;
}

/* List @i + 1 out of list @i: with thing @i and without it, merged by what they spend; of equals
 * what is worth more comes first, of those the one without. */
static int add_thing(struct lists *l, size_t i, const struct thing *t, uint64_t most,
                     struct err *err)
{
    size_t begin = l->start[i], end = l->count, without = begin, with = begin;
    int rc = 0;

    l->start[i + 1] = end;
    while (rc == 0 && (without < end || with < end)) {
        struct state a = {.spent = UINT64_MAX}, b = {.spent = UINT64_MAX};

        if (without < end)
            a = (struct state){l->states[without].spent, l->states[without].worth, without, false};
        if (with < end)
            b = (struct state){l->states[with].spent + t->price, l->states[with].worth + t->worth,
                               with, true};
        if (with < end && (!(t->worth > 0) || b.spent > most || b.spent < t->price)) {
            with = end; /* nor will a later one do */
            continue;
        }
        if (with < end && (b.spent < a.spent || (b.spent == a.spent && b.worth > a.worth))) {
            rc = push(l, i + 1, &b, err);
            with++;
        } else {
            rc = push(l, i + 1, &a, err);
            without++;
        }
    }
    return rc;
}

int knapsack(const struct thing things[], size_t count, uint64_t most, bool ret_taken[],
             struct err *err)
{
    struct lists l = {.start = calloc(count + 2, sizeof(*l.start))};
    int rc = l.start ? push(&l, 0, &(struct state){.spent = 0}, err)
                     : err_set(err, -ENOMEM, "no memory for a choice");

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = add_thing(&l, i, &things[i], most, err);
    for (size_t i = count, at = l.count - 1; rc == 0 && i > 0; at = l.states[at].from, i--)
        ret_taken[i - 1] = l.states[at].takes;
    free(l.states);
    free(l.start);
    return rc;
}
