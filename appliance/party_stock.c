/* Tapes in stock: small steps under the party's lock. */
#include "appliance/log.h"
#include "appliance/party.h"

#include <sys/eventfd.h>
#include <time.h>

void party_wait(struct party_state *p, unsigned int ms)
{
    uint64_t until = time_ns() + (uint64_t)ms * 1000000;
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000),
                         .tv_nsec = (long)(until % 1000000000)};

    pthread_cond_timedwait(&p->changed, &p->lock, &t);
}

void party_changed(struct party_state *p)
{
    pthread_cond_broadcast(&p->changed);
    eventfd_write(p->dealer_wake, 1);
}

int stock_add(struct party_state *p, struct served *s, struct tape *tape, uint64_t deal_ns)
{
    if (p->stock_count == PARTY_STOCK_MAX)
        return -ENOSPC;
    p->stock_bytes += tape_memory(tape->variant, tape->party);
    p->stock[p->stock_count++] = (struct held){.served = s, .tape = tape, .deal_ns = deal_ns};
    return 0;
}

struct held *stock_find(struct party_state *p, const struct served *s, uint64_t number)
{
    for (size_t i = 0; i < p->stock_count; i++)
        if (p->stock[i].served == s && p->stock[i].tape->number == number)
            return &p->stock[i];
    return NULL;
}

struct held *stock_lowest(struct party_state *p, const struct served *s, const struct variant *v)
{
    struct held *lowest = NULL;

    for (size_t i = 0; i < p->stock_count; i++) {
        struct held *h = &p->stock[i];

        if (h->served == s && h->ready && h->tape->variant == v &&
            (!lowest || h->tape->number < lowest->tape->number))
            lowest = h;
    }
    return lowest;
}

size_t stock_count(const struct party_state *p, const struct served *s, const struct variant *v)
{
    size_t count = 0;

    for (size_t i = 0; i < p->stock_count; i++)
        count += p->stock[i].served == s && p->stock[i].tape->variant == v;
    return count;
}

struct held stock_take(struct party_state *p, struct held *h)
{
    struct held taken = *h;

    p->stock_bytes -= tape_memory(taken.tape->variant, taken.tape->party);
    *h = p->stock[--p->stock_count];
    return taken;
}

void stock_put_back(struct party_state *p, struct held h)
{
    if (h.served->gone || stock_add(p, h.served, h.tape, h.deal_ns) < 0) {
        tape_free(h.tape);
        return;
    }
    p->stock[p->stock_count - 1] = h;
    party_changed(p);
}

void stock_destroy(struct party_state *p, struct held *h)
{
    struct held taken = stock_take(p, h);

    log_info("tape-destroyed", log_text("model", taken.served->id),
             log_number("number", (int64_t)taken.tape->number));
    p->tapes_destroyed++;
    tape_free(taken.tape);
}
