/*
 * turns: whose job is next. Data owners take turns, by the time that their jobs have taken: of the
 * owners with a job that can run, the one that has had least goes first, so that nobody waits for
 * the many jobs, or the large ones, of somebody else. Among one owner's own jobs the higher
 * priority goes first, then the earlier deadline, then the earlier arrival. A priority is its
 * owner's word and counts against nobody else.
 *
 * This is start-time fair queueing (Goyal, Vin, Cheng, 1997) with what a job took in place of what
 * it will take. An owner that had no job for a while does not save up: it comes back level with
 * whoever is being served. Pure arithmetic: no clock, no lock, no memory of its own.
 */
#ifndef APPLIANCE_TURNS_H
#define APPLIANCE_TURNS_H

#include "appliance/identity.h"

#define TURNS_PRIORITY_MAX     9 /* goes first */
#define TURNS_PRIORITY_DEFAULT 5

/** Owners that are remembered: more than there are jobs, so that there is always a free one. */
#define TURNS_OWNERS_MAX 256

struct turns_owner {
    uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES];
    uint64_t had_ns; /* of service, on a scale that all share */
    uint64_t since;  /* when it came back: of two that had as much the earlier goes first */
    unsigned int jobs;
};

struct turns {
    struct turns_owner owner[TURNS_OWNERS_MAX];
    uint64_t level_ns; /* had_ns of who was served last, when it was */
    uint64_t arrivals;
};

/* A job's place. */
struct turn {
    struct turns_owner *owner;
    unsigned int priority;
    uint64_t deadline_ns;
    uint64_t arrival;
};

/** A job of the owner of @fingerprint comes; fewer than TURNS_OWNERS_MAX owners have any. */
struct turn turns_join(struct turns *t, const uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES],
                       unsigned int priority);

/** It goes. */
void turns_leave(const struct turn *turn);

/** Whether @a goes before @b. */
bool turns_before(const struct turn *a, const struct turn *b);

/** The job is being served. */
void turns_begin(struct turns *t, const struct turn *turn);

/** It took @ns of the parties' time, whatever came out. */
void turns_charge(const struct turn *turn, uint64_t ns);

#endif
