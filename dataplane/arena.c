#include "dataplane/arena.h"

#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

_Static_assert(ARENA_BYTES % HUGE_PAGE == 0, "an arena is whole huge pages");

/* Addresses for both images, at a multiple of a huge page. */
static uint8_t *addresses(void)
{
    size_t bytes = 2 * ARENA_BYTES;
    uint8_t *p = mmap(NULL, bytes + HUGE_PAGE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t before;

    if (p == MAP_FAILED)
        return NULL;
    before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (before > 0)
        munmap(p, before);
    if (before < HUGE_PAGE)
        munmap(p + before + bytes, HUGE_PAGE - before);
    return p + before;
}

/* Every page of @fd touched once, so that mapping it again takes nothing that may be short. */
static bool populate(int fd)
{
    uint8_t *p = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    bool ok;

    if (p == MAP_FAILED)
        return false;
    madvise(p, ARENA_BYTES, MADV_HUGEPAGE);
    /* EINVAL: before Linux 5.14, where the first use touches the pages instead. */
    ok = madvise(p, ARENA_BYTES, MADV_POPULATE_WRITE) == 0 || errno == EINVAL;
    munmap(p, ARENA_BYTES);
    return ok;
}

static bool map_image(int fd, uint8_t *at)
{
    if (mmap(at, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        return false;
    madvise(at, ARENA_BYTES, MADV_HUGEPAGE);
    madvise(at, ARENA_BYTES, MADV_DONTDUMP);
    madvise(at, ARENA_BYTES, MADV_DONTFORK);
    madvise(at, ARENA_BYTES, MADV_POPULATE_WRITE);
    /* Best effort, as in base/secret.c: beyond RLIMIT_MEMLOCK only swap is lost. */
    (void)!mlock2(at, ARENA_BYTES, MLOCK_ONFAULT);
    return true;
}

/* Both images of new memory, or NULL. */
static uint8_t *map(unsigned int flags)
{
    int fd = memfd_create("mpcformer-arena", MFD_CLOEXEC | flags);
    uint8_t *p = NULL;

    if (fd < 0)
        return NULL;
    if (ftruncate(fd, (off_t)ARENA_BYTES) == 0 && populate(fd))
        p = addresses();
    /* A MAP_FIXED that fails may leave a hole, which another thread's mapping may fill at once. So
     * these addresses are given up, not unmapped. */
    if (p && !(map_image(fd, p) && map_image(fd, p + ARENA_BYTES)))
        p = NULL;
    close(fd);
    return p;
}

int arena_init(struct arena *a, struct err *err)
{
    uint8_t *p = map(MFD_HUGETLB | MFD_HUGE_2MB);

    a->pages = p ? SECRET_PAGES_2M : SECRET_PAGES_TRANSPARENT;
    if (!p)
        p = map(0);
    if (!p)
        return err_set(err, -ENOMEM, "no memory for a link's arena of %zu bytes", ARENA_BYTES);
    a->at = p;
    secret_memory_add(a->pages, (int64_t)ARENA_BYTES);
    return 0;
}

void arena_clear(struct arena *a)
{
    if (!a->at)
        return;
    secret_wipe(a->at, ARENA_BYTES);
    munmap(a->at, 2 * ARENA_BYTES);
    secret_memory_add(a->pages, -(int64_t)ARENA_BYTES);
    a->at = NULL;
}
