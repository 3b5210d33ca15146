/* A folder of a test's own, for model files made on the spot. */
#ifndef TESTS_TRANSFORMER_FOLDER_H
#define TESTS_TRANSFORMER_FOLDER_H

#include "base/bytes.h"
#include "base/file.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEST_DATA SOURCE_ROOT "/tests/data/"

struct folder {
    char path[64];
    char file[PATH_MAX]; /* the last that folder_at() named */
};

static inline void folder_make(struct folder *f)
{
    snprintf(f->path, sizeof(f->path), "/tmp/mpcformer-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

static inline const char *folder_at(struct folder *f, const char *name)
{
    assert_int_equal(file_path(f->file, sizeof(f->file), f->path, name), 0);
    return f->file;
}

static inline void folder_write(struct folder *f, const char *name, const void *bytes, size_t count)
{
    assert_int_equal(file_write(folder_at(f, name), 0600, bytes, count, NULL), 0);
}

static inline void folder_remove(struct folder *f)
{
    DIR *all = opendir(f->path);

    assert_non_null(all);
    for (struct dirent *entry; (entry = readdir(all));)
        if (entry->d_name[0] != '.')
            unlink(folder_at(f, entry->d_name));
    closedir(all);
    assert_int_equal(rmdir(f->path), 0);
}

/* A safetensors file from a header and its data. */
static inline void folder_write_shard(struct folder *f, const char *name, const char *header,
                                      const void *data, size_t count)
{
    struct writer w = {0};

    write_u64(&w, strlen(header));
    write_bytes(&w, header, strlen(header));
    write_bytes(&w, data, count);
    assert_false(w.failed);
    folder_write(f, name, w.bytes, w.count);
    writer_free(&w);
}

static inline void folder_write_tensors(struct folder *f, const char *header, const void *data,
                                        size_t count)
{
    folder_write_shard(f, "model.safetensors", header, data, count);
}

#endif
