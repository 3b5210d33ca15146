#include "distill/course_state.h"

#include "base/bytes.h"
#include "base/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC   "MPCFTRST"
#define VERSION 1

struct head {
    char magic[8];
    uint32_t version;
    uint32_t zero;
    uint8_t course[HASH_BYTES];
    uint64_t parameters;
    uint64_t steps;
    struct course_state state;
};

_Static_assert(sizeof(struct head) == 8 + 8 + HASH_BYTES + 16 + 8 * 8, "a file format has no gaps");

int course_state_save(const char *path, const uint8_t course[HASH_BYTES],
                      const struct course_state *s, const struct trainer *t, struct err *err)
{
    struct head head = {.version = VERSION, .parameters = t->count, .steps = t->steps, .state = *s};
    size_t bytes = t->count * sizeof(float);
    const struct file_part parts[] = {
        {&head, sizeof(head)}, {t->model->values, bytes}, {t->m, bytes}, {t->v, bytes}};

    memcpy(head.magic, MAGIC, sizeof(head.magic));
    memcpy(head.course, course, HASH_BYTES);
    return file_write_parts(path, 0600, parts, ARRAY_LENGTH(parts), err);
}

static int read_all(int fd, void *ret, size_t count)
{
    for (size_t at = 0; at < count;) {
        ssize_t n = read(fd, (uint8_t *)ret + at, count - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EINVAL;
        at += (size_t)n;
    }
    return 0;
}

static int check(const char *path, int fd, const struct head *h, const uint8_t course[HASH_BYTES],
                 const struct trainer *t, struct err *err)
{
    struct stat st;

    if (memcmp(h->magic, MAGIC, sizeof(h->magic)) != 0 || h->version != VERSION)
        return err_set(err, -EINVAL, "%s: not a state of training, or of another version", path);
    if (memcmp(h->course, course, HASH_BYTES) != 0)
        return err_set(err, -EINVAL,
                       "%s: belongs to a training with other options, another model or other data: "
                       "give the same, or take another --out",
                       path);
    if (fstat(fd, &st) < 0)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    if (h->parameters != t->count ||
        (uint64_t)st.st_size != sizeof(*h) + 3 * t->count * sizeof(float))
        return err_set(err, -EINVAL, "%s: is not of the size that it should be: remove it", path);
    return 0;
}

int course_state_load(const char *path, const uint8_t course[HASH_BYTES], struct course_state *ret,
                      struct trainer *t, struct err *err)
{
    size_t bytes = t->count * sizeof(float);
    struct head h;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0)
        return errno == ENOENT ? -ENOENT : err_set(err, -errno, "%s: %s", path, strerror(errno));
    rc = read_all(fd, &h, sizeof(h));
    if (rc == 0)
        rc = check(path, fd, &h, course, t, err);
    if (rc == 0)
        rc = read_all(fd, t->model->values, bytes);
    if (rc == 0)
        rc = read_all(fd, t->m, bytes);
    if (rc == 0)
        rc = read_all(fd, t->v, bytes);
    close(fd);
    if (rc < 0)
        return err_set(err, rc, "%s: cannot be read: %s", path, strerror(-rc));
    t->steps = h.steps;
    *ret = h.state;
    return 0;
}
