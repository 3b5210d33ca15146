/*
 * Zero-copy sends: which sends are worth one, and the memory that the kernel still reads.
 *
 * Such a send is finished twice: once when the bytes are in the socket's queue, and again, by a
 * notification, when nothing reads the memory any longer, which for TCP is when the peer has
 * acknowledged it. Until then the memory must not change: a repeated segment is read from it again.
 *
 * Whether nothing was copied depends on the way to the peer: over loopback, or through an interface
 * that cannot gather, the kernel copies all the same, later and slower. It tells so in its
 * notification. So sends are zero-copy until ZERO_COPY_TRIALS in a row were copied, and plain from
 * then on. Before the first report, no more than that many are under way.
 *
 * Here are no system calls: the link tells what it sent and what the kernel said.
 */
#ifndef DATAPLANE_ZERO_COPY_H
#define DATAPLANE_ZERO_COPY_H

#include "base/base.h"
#include "dataplane/link.h"

#define ZERO_COPY_TRIALS 4

/* Pinning and the second completion cost about as much as copying 10 KB does (the kernel's
 * msg_zerocopy.rst), on registered memory less: well above that. */
#define ZERO_COPY_BYTES_MIN ((size_t)64 << 10)

/* As many as the window holds of the smallest; past them sends are plain. */
#define ZERO_COPY_SENDS_MAX ((unsigned int)(LINK_WINDOW / ZERO_COPY_BYTES_MIN))

struct zero_copy {
    bool always;         /* whatever the reports say */
    const char *plain;   /* why sends are plain; NULL: large ones are zero-copy */
    bool paid;           /* a report said that nothing was copied */
    unsigned int copied; /* so many in a row were */
    unsigned int first, count;
    struct {
        uint64_t from;            /* where its memory starts, a position in the stream */
        bool queued;              /* its first completion came */
        bool held;                /* the kernel still reads it */
    } sends[ZERO_COPY_SENDS_MAX]; /* a ring, in the order of the stream */
};

/** @plain, if not NULL, is why they cannot be had: text that stays. */
void zero_copy_init(struct zero_copy *z, enum link_zero_copy wanted, const char *plain);

/** A send of @bytes from position @from starts: its number, or -1 if it should be plain. */
int zero_copy_start(struct zero_copy *z, uint64_t from, size_t bytes);

/**
 * The first completion of send @number: @rc as the kernel has it; @more: a notification will come.
 * True if it is to be sent again, plainly, because zero-copy sends cannot be had.
 */
bool zero_copy_queued(struct zero_copy *z, unsigned int number, int rc, bool more);

/** The notification of send @number. */
void zero_copy_notified(struct zero_copy *z, unsigned int number, bool copied);

/** Where the memory starts that may not be written; @sent when all before that may. */
uint64_t zero_copy_held(const struct zero_copy *z, uint64_t sent);

#endif
