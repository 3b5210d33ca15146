/*
 * Secrets in memory: locked where the limit allows, kept out of core dumps and of children, wiped
 * when freed.  Shares, masks, tapes, tokens and keys live nowhere else.
 *
 * Large blocks take the 1 GiB or 2 MiB pages that the host has reserved, where little of them would
 * be wasted; else they ask for transparent ones.  secret_memory() says what is in use.
 *
 * CT_SECRET marks bytes as secret for a run under Valgrind, CT_DECLASSIFY marks what the protocol
 * makes public (a masked value, an opened bit): `grep -rn CT_DECLASSIFY` is the list of all that
 * leaves a party.  In a build without -DCT_CHECK both are nothing.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/base.h"

#ifdef CT_CHECK
#include <valgrind/memcheck.h>
#define CT_SECRET(p, n)     ((void)VALGRIND_MAKE_MEM_UNDEFINED(p, n))
#define CT_DECLASSIFY(p, n) ((void)VALGRIND_MAKE_MEM_DEFINED(p, n))
#else
#define CT_SECRET(p, n)     ((void)(p), (void)(n))
#define CT_DECLASSIFY(p, n) ((void)(p), (void)(n))
#endif

enum secret_pages {
    SECRET_PAGES_SMALL,
    SECRET_PAGES_TRANSPARENT, /* asked for: how many of them are huge is up to the kernel */
    SECRET_PAGES_2M,
    SECRET_PAGES_1G,
    SECRET_PAGES_KINDS,
};

/** @bytes zeroed bytes, 64-byte aligned, page-backed; NULL when there is no memory (never for 0).
 */
MUST_CHECK void *secret_alloc(size_t bytes);

/** Wipe and release; NULL is nothing. @bytes is what secret_alloc() was given. */
void secret_free(void *p, size_t bytes);

/** Bytes of the pages that are allocated now in this process, by kind. */
void secret_memory(uint64_t ret_bytes[SECRET_PAGES_KINDS]);

/** Count @bytes (less for a negative number) of pages that were mapped elsewhere. */
void secret_memory_add(enum secret_pages kind, int64_t bytes);

/** Overwrite with zeros in a way that the compiler keeps. */
void secret_wipe(void *p, size_t bytes);

/** Compare without a branch on the contents. */
bool secret_equal(const void *a, const void *b, size_t bytes);

#endif
