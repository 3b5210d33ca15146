#include "base/file.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, uint8_t *bytes, size_t count)
{
    while (count) {
        ssize_t n = read(fd, bytes, count);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        bytes += n;
        count -= (size_t)n;
    }
    return 0;
}

int file_read(const char *path, size_t bytes_max, uint8_t **ret_bytes, size_t *ret_count,
              struct err *err)
{
    uint8_t *bytes = NULL;
    struct stat st;
    int rc, fd;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    rc = fstat(fd, &st) < 0 ? -errno : 0;
    if (rc < 0) {
        err_set(err, rc, "%s: %s", path, strerror(-rc));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = err_set(err, -EINVAL, "%s: not a regular file", path);
        goto out;
    }
    if ((uint64_t)st.st_size > bytes_max) {
        rc = err_set(err, -EFBIG, "%s: %" PRIu64 " bytes, at most %zu are taken", path,
                     (uint64_t)st.st_size, bytes_max);
        goto out;
    }
    bytes = malloc((size_t)st.st_size + 1);
    rc = bytes ? read_all(fd, bytes, (size_t)st.st_size) : -ENOMEM;
    if (rc < 0) {
        err_set(err, rc, "%s: cannot read: %s", path, strerror(-rc));
        goto out;
    }
    bytes[st.st_size] = 0;
    *ret_bytes = bytes;
    *ret_count = (size_t)st.st_size;
    bytes = NULL;
out:
    free(bytes);
    close(fd);
    return rc;
}

int file_write_all(int fd, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;

    while (count) {
        ssize_t n = write(fd, at, count);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        count -= (size_t)n;
    }
    return 0;
}

int file_sync_folder(const char *path, struct err *err)
{
    char copy[PATH_MAX];
    int fd, rc;

    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return err_set(err, -ENAMETOOLONG, "%s: path too long", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, -errno, "folder of %s: %s", path, strerror(errno));
    rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc < 0 ? err_set(err, rc, "folder of %s: fsync: %s", path, strerror(-rc)) : 0;
}

int file_write(const char *path, unsigned int mode, const void *bytes, size_t count,
               struct err *err)
{
    return file_write_parts(path, mode, &(struct file_part){bytes, count}, 1, err);
}

struct parts {
    const struct file_part *part;
    size_t count;
};

static int write_parts(void *context, int fd)
{
    const struct parts *p = context;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < p->count; i++)
        rc = file_write_all(fd, p->part[i].bytes, p->part[i].count);
    return rc;
}

int file_write_parts(const char *path, unsigned int mode, const struct file_part parts[],
                     size_t count, struct err *err)
{
    return file_write_by(path, mode, write_parts, &(struct parts){parts, count}, err);
}

int file_write_by(const char *path, unsigned int mode, file_writer *write, void *context,
                  struct err *err)
{
    char temporary[PATH_MAX];
    int fd, rc;

    if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
        return err_set(err, -ENAMETOOLONG, "%s: path too long", path);
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, -errno, "%s: cannot create: %s", path, strerror(errno));
    rc = fchmod(fd, mode) < 0 ? -errno : write(context, fd);
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    if (rc == 0 && rename(temporary, path) < 0)
        rc = -errno;
    if (rc < 0) {
        unlink(temporary);
        return err_set(err, rc, "%s: cannot write: %s", path, strerror(-rc));
    }
    return file_sync_folder(path, err);
}

/* O_EXCL, not file_write(): a file that appears in between is not replaced either. */
int file_create(const char *path, unsigned int mode, const void *bytes, size_t count,
                struct err *err)
{
    int fd, rc;

    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0 && errno == EEXIST)
        return err_set(err, -EEXIST,
                       "%s exists already and is not replaced: name another file, or move it away",
                       path);
    if (fd < 0)
        return err_set(err, -errno, "%s: cannot create: %s", path, strerror(errno));
    rc = file_write_all(fd, bytes, count);
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    if (rc < 0)
        err_set(err, rc, "%s: cannot write: %s", path, strerror(-rc));
    else
        rc = file_sync_folder(path, err);
    if (rc < 0)
        unlink(path);
    return rc;
}

int file_make_folders(const char *path, unsigned int mode, struct err *err)
{
    char copy[PATH_MAX];

    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return err_set(err, -ENAMETOOLONG, "%s: path too long", path);
    for (char *at = copy + 1;; at++) {
        char old = *at;

        if (old != '/' && old != 0)
            continue;
        *at = 0;
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return err_set(err, -errno, "%s: cannot make folder: %s", copy, strerror(errno));
        *at = old;
        if (old == 0)
            return 0;
    }
}

int file_path(char *ret, size_t size, const char *folder, const char *name)
{
    int n = snprintf(ret, size, "%s/%s", folder, name);

    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
