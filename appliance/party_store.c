/*
 * Tapes on the disk of a party: put there as they come, found again after a restart, read and
 * prepared when their numbers have been struck off.
 *
 * A file is removed when its tape is in memory, or is destroyed; a crash before that leaves a file
 * whose number is struck, or a tape that the other party lacks, and either goes at the next start.
 */
#include "appliance/daemon.h"
#include "appliance/log.h"
#include "appliance/party.h"
#include "appliance/tape_store.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* On the disk at most: the rest of the stock is memory's. */
#define STORE_TAPES_MAX (PARTY_STOCK_MAX * 3 / 4)

/* After a write that failed, a full disk mostly, none is tried for so long. */
#define STORE_RETRY_MS 10000

#define IDLE_MS 1000

static struct tape_name name_of(const struct held *h)
{
    struct tape_name name = {.variant = (uint32_t)served_variant(h->served, h->variant),
                             .number = h->number};

    memcpy(name.model, h->served->plan->model_id, sizeof(name.model));
    return name;
}

/* --- how much --- */

static uint64_t file_bytes(const struct party_state *p, const struct held *h)
{
    return h->stored || h->writing ? tape_store_bytes(h->variant, p->party) : 0;
}

uint64_t party_store_used(const struct party_state *p)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < p->stock_count; i++)
        bytes += file_bytes(p, &p->stock[i]);
    return bytes;
}

static uint64_t used_by(const struct party_state *p, const struct served *s,
                        const struct variant *v)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < p->stock_count; i++)
        if (p->stock[i].served == s && p->stock[i].variant == v)
            bytes += file_bytes(p, &p->stock[i]);
    return bytes;
}

/* Variants that the bound is shared out to. */
static uint64_t wanted_count(const struct party_state *p)
{
    uint64_t count = 0;

    for (size_t i = 0; i < p->served_count; i++)
        for (size_t v = 0; v < p->served[i]->plan->variant_count; v++)
            count += p->served[i]->wanted[v];
    return count;
}

size_t party_store_room(const struct party_state *p, const struct served *s,
                        const struct variant *v)
{
    uint64_t bound = p->config->tape_store, used = party_store_used(p), mine = used_by(p, s, v);
    uint64_t share = bound / MAX(wanted_count(p), (uint64_t)1);
    size_t count = STORE_TAPES_MAX - MIN(p->stock_count, (size_t)STORE_TAPES_MAX);
    uint64_t room = MIN(share - MIN(mine, share), bound - MIN(used, bound));

    if (p->store_sweep || time_ns() < p->store_not_ns || !s->wanted[served_variant(s, v)])
        return 0;
    return (size_t)MIN(room / tape_store_bytes(v, p->party), (uint64_t)count);
}

/* --- in --- */

/* Room is taken, so that the bound holds while the file grows. */
static bool begin_write(struct party_state *p, struct served *s, const struct tape *tape)
{
    struct held *h;
    bool room;

    pthread_mutex_lock(&p->lock);
    h = stock_find(p, s, tape->number);
    room = !s->gone && party_store_room(p, s, tape->variant) > 0;
    h->writing = room;
    pthread_mutex_unlock(&p->lock);
    return room;
}

static void end_write(struct party_state *p, struct served *s, const struct tape *tape, bool done)
{
    struct held *h;

    pthread_mutex_lock(&p->lock);
    h = stock_find(p, s, tape->number);
    h->writing = false;
    if (done) {
        h->stored = true;
        h->tape = NULL;
        p->stock_bytes -= tape_memory(tape->variant, tape->party);
        if (s->gone)
            stock_destroy(p, h);
    } else {
        p->store_not_ns = time_ns() + STORE_RETRY_MS * 1000000ull;
        p->store_sweep = true; /* it may be there though nobody knows for certain */
    }
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
}

bool party_store_put(struct party_state *p, struct served *s, struct tape *tape, uint64_t deal_ns)
{
    struct err err = {0};
    int rc;

    if (!party_stores(p) || !begin_write(p, s, tape))
        return false;
    rc = tape_store_write(p->tape_folder, p->store_key, tape, deal_ns, &err);
    if (rc < 0)
        log_error("tape-not-stored", log_text("model", s->id),
                  log_number("number", (int64_t)tape->number),
                  log_text("error", err_text(&err, rc)));
    else
        log_info("tape-stored", log_text("model", s->id),
                 log_number("number", (int64_t)tape->number));
    end_write(p, s, tape, rc == 0);
    if (rc == 0)
        tape_free(tape);
    return rc == 0;
}

/* --- out --- */

/* The lowest that may be read: where another party could find it used, once the dealer knows. */
static bool next_to_read(struct party_state *p, struct held *ret)
{
    const struct held *lowest = NULL;

    for (size_t i = 0; i < p->stock_count; i++) {
        const struct held *h = &p->stock[i];

        if (h->stored && !h->tape && h->batch && (p->party == 1 || h->batch <= h->served->marked) &&
            (!lowest || h->number < lowest->number))
            lowest = h;
    }
    if (!lowest)
        return false;
    *ret = *lowest;
    ret->served->users++;
    return true;
}

static void remove_file(struct party_state *p, const struct tape_name *name)
{
    char path[PATH_MAX];
    int rc = tape_store_path(p->tape_folder, name, path);

    if (rc == 0 && unlink(path) < 0 && errno != ENOENT)
        log_error("tape-not-removed", log_text("file", path), log_text("error", strerror(errno)));
}

/* It may have been destroyed meanwhile; then it is still the caller's. */
static bool into_stock(struct party_state *p, const struct held *of, struct tape *tape,
                       uint64_t deal_ns)
{
    struct held *h;

    pthread_mutex_lock(&p->lock);
    h = stock_find(p, of->served, of->number);
    if (h && tape) {
        h->tape = tape;
        h->deal_ns = deal_ns;
        h->ready = true;
        h->stored = false;
        p->stock_bytes += tape_memory(tape->variant, tape->party);
    } else if (h) {
        stock_destroy(p, h);
    }
    party_changed(p);
    pthread_mutex_unlock(&p->lock);
    return h && tape;
}

static void read_tape(struct party_state *p, const struct held *h)
{
    struct tape_name name = name_of(h);
    struct tape *tape = NULL;
    struct err err = {0};
    uint64_t deal_ns = 0;
    int rc = tape_store_read(p->tape_folder, p->store_key, h->served->plan, p->party, &name, &tape,
                             &deal_ns, &err);

    if (rc == 0) {
        rc = party_prepare(p, tape, h->served->model);
        if (rc < 0) {
            tape_free(tape);
            tape = NULL;
        }
    }
    if (rc < 0)
        log_error("tape-not-read", log_text("model", h->served->id),
                  log_number("number", (int64_t)h->number), log_text("error", err_text(&err, rc)));
    if (into_stock(p, h, tape, deal_ns)) {
        remove_file(p, &name);
        log_info("tape-ready", log_text("model", h->served->id),
                 log_number("number", (int64_t)h->number));
    } else {
        tape_free(tape);
    }
}

/* --- what is there --- */

/* While files are being written and read. */
static bool still_there(void *context, const struct tape_name *name, uint64_t bytes)
{
    struct party_state *p = context;
    bool stays = false;

    (void)bytes;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; !stays && i < p->stock_count; i++) {
        const struct held *h = &p->stock[i];

        stays = name ? (h->stored || h->writing) && h->number == name->number &&
                           !memcmp(h->served->plan->model_id, name->model, sizeof(name->model))
                     : h->writing;
    }
    pthread_mutex_unlock(&p->lock);
    return stays;
}

static void sweep(struct party_state *p)
{
    struct err err = {0};
    int rc = tape_store_sweep(p->tape_folder, still_there, p, &err);

    if (rc < 0)
        log_error("tape-not-removed", log_text("error", err_text(&err, rc)));
}

struct finding {
    struct party_state *p;
    uint64_t found, removed;
};

static struct served *find_ready(struct party_state *p, const uint8_t id[PLAN_ID_BYTES])
{
    for (size_t i = 0; i < p->served_count; i++)
        if (!memcmp(p->served[i]->plan->model_id, id, PLAN_ID_BYTES) &&
            p->served[i]->state == SERVED_READY)
            return p->served[i];
    return NULL;
}

/* At start, before any thread. That party 0 has its half is seen when the two compare. */
static bool may_be_used(struct finding *f, const struct tape_name *name, uint64_t bytes)
{
    struct party_state *p = f->p;
    struct served *s = name && party_stores(p) ? find_ready(p, name->model) : NULL;
    const struct variant *v;

    if (!s || name->variant >= s->plan->variant_count || p->stock_count == STORE_TAPES_MAX ||
        ledger_has_tape(p->ledger, name->model, name->number))
        return false;
    v = &s->plan->variants[name->variant];
    if (bytes != tape_store_bytes(v, p->party))
        return false;
    p->stock[p->stock_count++] = (struct held){
        .served = s, .variant = v, .number = name->number, .stored = true, .kept = true};
    s->wanted[name->variant] = true;
    s->tape_max = MAX(s->tape_max, name->number);
    return true;
}

static bool found(void *context, const struct tape_name *name, uint64_t bytes)
{
    struct finding *f = context;
    bool stays = may_be_used(f, name, bytes);

    f->found += stays;
    f->removed += !stays;
    return stays;
}

int party_store_open(struct party_state *p, struct err *err)
{
    const char *folder = p->config->tape_folder;
    struct finding f = {.p = p};
    int n = folder ? snprintf(p->tape_folder, PATH_MAX, "%s", folder)
                   : snprintf(p->tape_folder, PATH_MAX, "%s/tapes", p->config->state);
    int rc;

    if (n < 0 || n >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "%s: path too long", p->config->state);
    if (!party_stores(p) && access(p->tape_folder, F_OK) < 0)
        return 0;
    rc = tape_store_sweep(p->tape_folder, found, &f, err);
    if (rc == 0 && (f.found || f.removed))
        log_info("tapes-found", log_text("folder", p->tape_folder),
                 log_number("tapes", (int64_t)f.found), log_number("removed", (int64_t)f.removed));
    return rc;
}

void *party_store_thread(void *state)
{
    struct party_state *p = state;

    daemon_lead(p->offline_workers);
    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        struct held h;

        if (next_to_read(p, &h)) {
            pthread_mutex_unlock(&p->lock);
            read_tape(p, &h);
            served_put(p, h.served);
            pthread_mutex_lock(&p->lock);
        } else if (p->store_sweep) {
            p->store_sweep = false;
            pthread_mutex_unlock(&p->lock);
            sweep(p);
            pthread_mutex_lock(&p->lock);
        } else {
            party_wait(p, IDLE_MS);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}
