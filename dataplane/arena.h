/*
 * Arenas: the rings that records are written, sealed, received and opened in. Plain shares pass
 * through, so an arena is locked where the limit allows, left out of core dumps and of children,
 * and wiped when freed.
 *
 * The same pages are mapped twice in a row: at + ARENA_BYTES is again at. So a record that wraps
 * around the end is still contiguous, for the program as for the kernel.
 *
 * Two megabyte pages are taken from the reserved ones where the host has some, else asked for
 * (which helps where shmem_enabled allows it), else the pages are small ones.
 */
#ifndef DATAPLANE_ARENA_H
#define DATAPLANE_ARENA_H

#include "base/secret.h"
#include "dataplane/frame.h"

/* The window, one record that was taken and is still read, and what rounds it up to huge pages. */
#define ARENA_BYTES (LINK_WINDOW + ((size_t)2 << 20))

/* One unit stays free, for the 32 bytes by which frames are shifted. */
#define ARENA_ROOM (ARENA_BYTES - FRAME_ALIGN)

_Static_assert(ARENA_ROOM >= LINK_WINDOW + LINK_RECORD_COST(FRAME_PAYLOAD_MAX),
               "the window fits besides the record that was taken last");

struct arena {
    uint8_t *at; /* 2 * ARENA_BYTES of addresses; NULL: none */
    enum secret_pages pages;
};

/** -ENOMEM when there is no memory. All pages are touched here, none later. */
MUST_CHECK int arena_init(struct arena *a, struct err *err);

/** Wipe and release; zeros are nothing. */
void arena_clear(struct arena *a);

/**
 * Where the byte at @position of an endless stream of frames lies. ARENA_ROOM bytes from there on
 * are contiguous; a frame at a multiple of FRAME_ALIGN has its payload at one.
 */
static inline uint8_t *arena_at(const struct arena *a, uint64_t position)
{
    return a->at + position % ARENA_BYTES + FRAME_HEAD_BYTES;
}

#endif
