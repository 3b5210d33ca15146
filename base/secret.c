#include "base/secret.h"

#include <linux/mman.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* From this size on, transparent two megabyte pages save the page walks of a pass over the block.
 */
#define TRANSPARENT_MIN ((size_t)4 << 20)

/* Reserved pages are scarce: a block takes them when rounding up costs an eighth of it at most. */
#define WASTE_PART 8

static const struct huge {
    enum secret_pages kind;
    size_t bytes;
    int flags;
} huges[] = {
    {SECRET_PAGES_1G, (size_t)1 << 30, MAP_HUGETLB | MAP_HUGE_1GB},
    {SECRET_PAGES_2M, (size_t)2 << 20, MAP_HUGETLB | MAP_HUGE_2MB},
};

/* A block on reserved pages: its mapping is longer than its size says. */
struct block {
    struct block *next;
    void *at;
    size_t size;
    enum secret_pages kind;
};

static pthread_mutex_t blocks_lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks;

static _Atomic int64_t in_use[SECRET_PAGES_KINDS];

/* 0 when it overflows. */
static size_t round_up(size_t bytes, size_t page)
{
    size_t size = (MAX(bytes, 1) + page - 1) & ~(page - 1);

    return size < bytes ? 0 : size;
}

static size_t small_round(size_t bytes)
{
    return round_up(bytes, 4096);
}

static enum secret_pages plain_kind(size_t size)
{
    return size >= TRANSPARENT_MIN ? SECRET_PAGES_TRANSPARENT : SECRET_PAGES_SMALL;
}

static void *map(size_t size, int flags)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    madvise(p, size, MADV_DONTDUMP);
    madvise(p, size, MADV_DONTFORK);
    return p;
}

/* Pages that were promised may still be refused when they are touched, by a control group or for
 * their node, and that would be a SIGBUS: so they are touched here. EINVAL: before Linux 5.14. */
static void *map_huge(const struct huge *h, size_t size)
{
    void *p = map(size, h->flags);

    if (p && madvise(p, size, MADV_POPULATE_WRITE) < 0 && errno != EINVAL) {
        munmap(p, size);
        return NULL;
    }
    return p;
}

static void *alloc_huge(const struct huge *h, size_t bytes)
{
    size_t size = round_up(bytes, h->bytes);
    struct block *b;

    if (size < bytes || size - bytes > bytes / WASTE_PART)
        return NULL;
    b = malloc(sizeof(*b));
    if (!b)
        return NULL;
    *b = (struct block){.at = map_huge(h, size), .size = size, .kind = h->kind};
    if (!b->at) {
        free(b);
        return NULL;
    }
    secret_memory_add(h->kind, (int64_t)size);
    pthread_mutex_lock(&blocks_lock);
    b->next = blocks;
    blocks = b;
    pthread_mutex_unlock(&blocks_lock);
    return b->at;
}

/* Out of the list, for the caller to free; NULL when @p is on no reserved pages. */
static struct block *take_block(const void *p)
{
    struct block **at = &blocks, *b;

    pthread_mutex_lock(&blocks_lock);
    while (*at && (*at)->at != p)
        at = &(*at)->next;
    b = *at;
    if (b)
        *at = b->next;
    pthread_mutex_unlock(&blocks_lock);
    return b;
}

void *secret_alloc(size_t bytes)
{
    size_t size = small_round(bytes);
    void *p = NULL;

    if (!size)
        return NULL;
    for (size_t i = 0; !p && i < ARRAY_LENGTH(huges); i++)
        p = alloc_huge(&huges[i], bytes);
    if (p)
        return p;
    p = map(size, 0);
    if (!p)
        return NULL;
    if (plain_kind(size) == SECRET_PAGES_TRANSPARENT)
        madvise(p, size, MADV_HUGEPAGE);
    /* Best effort: RLIMIT_MEMLOCK of an ordinary user is small, and the appliance's unit raises
     * it. Swap is the only thing lost; MADV_DONTDUMP holds either way. Reserved pages are never
     * swapped. */
    (void)!mlock2(p, size, MLOCK_ONFAULT);
    secret_memory_add(plain_kind(size), (int64_t)size);
    return p;
}

void secret_free(void *p, size_t bytes)
{
    size_t size = small_round(bytes);
    struct block *b;

    if (!p)
        return;
    secret_wipe(p, bytes);
    b = take_block(p);
    if (b)
        size = b->size;
    secret_memory_add(b ? b->kind : plain_kind(size), -(int64_t)size);
    munmap(p, size);
    free(b);
}

void secret_memory(uint64_t ret_bytes[SECRET_PAGES_KINDS])
{
    for (size_t i = 0; i < SECRET_PAGES_KINDS; i++)
        ret_bytes[i] = (uint64_t)atomic_load_explicit(&in_use[i], memory_order_relaxed);
}

void secret_memory_add(enum secret_pages kind, int64_t bytes)
{
    atomic_fetch_add_explicit(&in_use[kind], bytes, memory_order_relaxed);
}

void secret_wipe(void *p, size_t bytes)
{
    explicit_bzero(p, bytes);
}

bool secret_equal(const void *a, const void *b, size_t bytes)
{
    return CRYPTO_memcmp(a, b, bytes) == 0;
}
