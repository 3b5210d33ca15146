/* Files: bounded reads, durable and atomic writes. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/base.h"

/**
 * The whole of @path, at most @bytes_max bytes, plus a NUL that is not counted; the caller frees.
 * -EFBIG with the size in the text when larger; anything but a regular file is refused.
 */
MUST_CHECK int file_read(const char *path, size_t bytes_max, uint8_t **ret_bytes, size_t *ret_count,
                         struct err *err);

/**
 * Write @path so that after a crash it holds either the old or the new bytes: temporary file in the
 * same folder, fsync, rename, fsync of the folder. @mode is the permission (0600 for secrets).
 */
MUST_CHECK int file_write(const char *path, unsigned int mode, const void *bytes, size_t count,
                          struct err *err);

/** The same of @count parts, one after the other. */
struct file_part {
    const void *bytes;
    size_t count;
};
MUST_CHECK int file_write_parts(const char *path, unsigned int mode, const struct file_part parts[],
                                size_t count, struct err *err);

/** The same of what @write puts into the file; it returns 0 or a negative errno, which gives up. */
typedef int file_writer(void *context, int fd);
MUST_CHECK int file_write_by(const char *path, unsigned int mode, file_writer *write, void *context,
                             struct err *err);

/** Write a new file durably, or leave none. -EEXIST when there is one: it is never replaced. */
MUST_CHECK int file_create(const char *path, unsigned int mode, const void *bytes, size_t count,
                           struct err *err);

/** fsync the folder that holds @path, so that a creation or rename in it is durable. */
MUST_CHECK int file_sync_folder(const char *path, struct err *err);

/** Write all of @count bytes to @fd, through short writes and EINTR. */
MUST_CHECK int file_write_all(int fd, const void *bytes, size_t count);

/** mkdir -p with @mode for what is made. */
MUST_CHECK int file_make_folders(const char *path, unsigned int mode, struct err *err);

/** "@folder/@name" in @ret, or -ENAMETOOLONG. */
MUST_CHECK int file_path(char *ret, size_t size, const char *folder, const char *name);

#endif
