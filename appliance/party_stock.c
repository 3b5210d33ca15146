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

bool party_stores(const struct party_state *p)
{
    return p->config->tape_store != 0;
}

void party_seen(struct peer_seen *seen, bool up)
{
    seen->since_ns = time_ns();
    seen->sessions += up;
}

int stock_add(struct party_state *p, struct served *s, struct tape *tape, uint64_t deal_ns)
{
    if (p->stock_count == PARTY_STOCK_MAX)
        return -ENOSPC;
    p->stock_bytes += tape_memory(tape->variant, tape->party);
    p->stock[p->stock_count++] = (struct held){.served = s,
                                               .variant = tape->variant,
                                               .number = tape->number,
                                               .tape = tape,
                                               .deal_ns = deal_ns};
    s->none_told[served_variant(s, tape->variant)] = false;
    return 0;
}

struct held *stock_find(struct party_state *p, const struct served *s, uint64_t number)
{
    for (size_t i = 0; i < p->stock_count; i++)
        if (p->stock[i].served == s && p->stock[i].number == number)
            return &p->stock[i];
    return NULL;
}

/* The lowest of those that are reserved comes first even while it is not ready: party 1 takes all
 * below what is proposed for lost. */
struct held *stock_lowest(struct party_state *p, const struct served *s, const struct variant *v)
{
    bool stores = party_stores(p);
    struct held *lowest = NULL;

    for (size_t i = 0; i < p->stock_count; i++) {
        struct held *h = &p->stock[i];

        if (h->served == s && h->variant == v && (stores ? h->batch != 0 : h->ready) &&
            (!lowest || h->number < lowest->number))
            lowest = h;
    }
    return lowest && lowest->ready ? lowest : NULL;
}

size_t stock_count(const struct party_state *p, const struct served *s, const struct variant *v)
{
    size_t count = 0;

    for (size_t i = 0; i < p->stock_count; i++) {
        const struct held *h = &p->stock[i];

        count += h->served == s && h->variant == v && (h->tape || h->batch);
    }
    return count;
}

size_t stock_on_disk(const struct party_state *p, const struct served *s, const struct variant *v)
{
    size_t count = 0;

    for (size_t i = 0; i < p->stock_count; i++) {
        const struct held *h = &p->stock[i];

        count += h->served == s && h->variant == v && !h->tape && !h->batch;
    }
    return count;
}

size_t stock_want(const struct party_state *p, const struct served *s, const struct variant *v)
{
    size_t have = p->party == 0 || party_stores(p) ? stock_count(p, s, v) : 0;
    size_t most = party_stock_most(p);
    size_t room = (most - MIN(p->stock_bytes, most)) / (tape_memory(v, p->party) + 1);

    if (!s->wanted[served_variant(s, v)] || s->state != SERVED_READY)
        return 0;
    /* One in any case, so that no job waits in vain. */
    return MIN(s->tapes ? s->tapes : p->config->tapes, MAX((size_t)1, have + room));
}

struct held stock_take(struct party_state *p, struct held *h)
{
    struct held taken = *h;

    if (taken.tape)
        p->stock_bytes -= tape_memory(taken.variant, taken.tape->party);
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
             log_number("number", (int64_t)taken.number));
    p->tapes_destroyed++;
    p->store_sweep |= taken.stored;
    tape_free(taken.tape);
}

size_t stock_discard(struct party_state *p, const struct served *s)
{
    size_t count = 0;

    for (size_t i = p->stock_count; i-- > 0;)
        if (p->stock[i].served == s && stock_idle(&p->stock[i])) {
            stock_destroy(p, &p->stock[i]);
            count++;
        }
    return count;
}

int party_prepare(struct party_state *p, struct tape *tape, const struct model *model)
{
    int rc;

    pthread_mutex_lock(&p->offline_lock);
    rc = tape_prepare(tape, model, p->offline_workers);
    pthread_mutex_unlock(&p->offline_lock);
    pthread_mutex_lock(&p->lock);
    if (rc == 0)
        histogram_add(&p->offline, tape->prepare_ns);
    pthread_mutex_unlock(&p->lock);
    return rc;
}
