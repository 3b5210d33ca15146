#include "base/secret.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/mman.h>

/* From this size on, two megabyte pages save the page walks of a pass over the block. */
#define HUGE_PAGE_MIN ((size_t)4 << 20)

static size_t page_round(size_t bytes)
{
    return (bytes + 4095) & ~(size_t)4095;
}

void *secret_alloc(size_t bytes)
{
    size_t size = page_round(bytes ? bytes : 1);
    void *p;

    if (size < bytes)
        return NULL;
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (size >= HUGE_PAGE_MIN)
        madvise(p, size, MADV_HUGEPAGE);
    madvise(p, size, MADV_DONTDUMP);
    madvise(p, size, MADV_DONTFORK);
    /* Best effort: RLIMIT_MEMLOCK of an ordinary user is small, and the appliance's unit raises
     * it. Swap is the only thing lost; MADV_DONTDUMP holds either way. */
    (void)!mlock2(p, size, MLOCK_ONFAULT);
    return p;
}

void secret_free(void *p, size_t bytes)
{
    if (!p)
        return;
    secret_wipe(p, bytes);
    munmap(p, page_round(bytes ? bytes : 1));
}

void secret_wipe(void *p, size_t bytes)
{
    explicit_bzero(p, bytes);
}

bool secret_equal(const void *a, const void *b, size_t bytes)
{
    return CRYPTO_memcmp(a, b, bytes) == 0;
}
