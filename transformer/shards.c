#include "transformer/shards.h"

#include "base/file.h"
#include "transformer/document.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONE_FILE   "model.safetensors"
#define INDEX_FILE "model.safetensors.index.json"

struct tensor {
    const struct safetensors_entry *entry;
    const struct safetensors *file;
};

struct shards {
    char path[PATH_MAX];
    struct shard {
        const char *name; /* the index's, or ONE_FILE */
        struct safetensors *file;
    } files[SHARDS_MAX];
    size_t file_count;
    struct document index;  /* owns the names of files; without an index, nothing */
    struct tensor *tensors; /* (count), by name */
    size_t count;
};

static int path_of(const char *folder, const char *name, char ret[PATH_MAX], struct err *err)
{
    int rc = file_path(ret, PATH_MAX, folder, name);

    return rc < 0 ? err_set(err, rc, "%s/%s: the path is too long", folder, name) : 0;
}

int shards_exist(const char *folder, struct err *err)
{
    static const char *const names[] = {ONE_FILE, INDEX_FILE};
    char path[PATH_MAX];

    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        int rc = path_of(folder, names[i], path, err);

        if (rc < 0 || access(path, F_OK) == 0)
            return rc;
    }
    return err_set(err, -ENOENT,
                   "%s: has neither " ONE_FILE " nor " INDEX_FILE
                   "; another form of weights has to be saved as safetensors first",
                   folder);
}

static int by_name(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;

    return strcmp(x->entry->name, y->entry->name);
}

/* The name of a file in the index's own folder. */
static bool is_plain_name(const char *name)
{
    return document_text_is_sane(name, NAME_MAX) && !strchr(name, '/') && name[0] != '.';
}

/* Number of the file called @name, which is a new one when it is file_count. */
static size_t file_number(const struct shards *s, const char *name)
{
    size_t i = 0;

    while (i < s->file_count && strcmp(s->files[i].name, name))
        i++;
    return i;
}

/* The files that the index names, each once. */
static int list_files(struct shards *s, struct err *err)
{
    json_t *map = json_object_get(s->index.root, "weight_map"), *value;
    const char *tensor;

    if (!json_is_object(map) || !json_object_size(map))
        return err_set(err, -EINVAL, "%s: weight_map is to be an object of tensors and their files",
                       s->path);
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        size_t number;

        if (!is_plain_name(name))
            return err_set(err, -EINVAL, "%s: tensor %.255s is not in a file of this folder",
                           s->path, document_shown(tensor));
        number = file_number(s, name);
        if (number == SHARDS_MAX)
            return err_set(err, -EFBIG, "%s: names more than %d files", s->path, SHARDS_MAX);
        if (number == s->file_count)
            s->files[s->file_count++].name = name;
    }
    return 0;
}

static int open_files(struct shards *s, const char *folder, struct err *err)
{
    char path[PATH_MAX];
    size_t count = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < s->file_count; i++) {
        struct shard *f = &s->files[i];
        struct err why = {""};

        rc = path_of(folder, f->name, path, err);
        if (rc < 0)
            return rc;
        rc = safetensors_open(path, &f->file, &why);
        if (rc < 0)
            return err_set(err, rc, "%s%s", err_text(&why, rc),
                           rc == -ENOENT && s->index.root ? "; " INDEX_FILE " names it" : "");
        count += safetensors_count(f->file);
    }
    s->tensors = calloc(count + 1, sizeof(*s->tensors));
    if (!s->tensors)
        return err_set(err, -ENOMEM, "%s: no memory for %zu tensors", s->path, count);
    for (size_t i = 0; i < s->file_count; i++)
        for (size_t j = 0; j < safetensors_count(s->files[i].file); j++)
            s->tensors[s->count++] = (struct tensor){.entry = safetensors_at(s->files[i].file, j),
                                                     .file = s->files[i].file};
    qsort(s->tensors, s->count, sizeof(*s->tensors), by_name);
    return 0;
}

static const char *file_of(const struct shards *s, const struct tensor *t)
{
    size_t i = 0;

    while (s->files[i].file != t->file)
        i++;
    return s->files[i].name;
}

/* Both ways: what the files hold is what the index says. */
static int check_index(const struct shards *s, struct err *err)
{
    json_t *map = json_object_get(s->index.root, "weight_map"), *value;
    const char *name;

    for (size_t i = 0; i < s->count; i++) {
        const char *tensor = s->tensors[i].entry->name, *in = file_of(s, &s->tensors[i]);
        const char *said = json_string_value(json_object_get(map, tensor));

        if (i && !strcmp(s->tensors[i - 1].entry->name, tensor))
            return err_set(err, -EINVAL, "%s: tensor %s is in two files: %s and %s", s->path,
                           tensor, file_of(s, &s->tensors[i - 1]), in);
        if (!said)
            return err_set(err, -EINVAL, "%s: does not name tensor %s, which is in %s", s->path,
                           tensor, in);
        if (strcmp(said, in) != 0)
            return err_set(err, -EINVAL, "%s: tensor %s is in %s, not in %s", s->path, tensor, in,
                           said);
    }
    json_object_foreach(map, name, value)
    {
        if (shards_find(s, name) == s->count)
            return err_set(err, -EINVAL, "%s: tensor %.255s is not in %s", s->path,
                           document_shown(name), json_string_value(value));
    }
    return 0;
}

int shards_open(const char *folder, struct shards **ret, struct err *err)
{
    struct shards *s;
    int rc = shards_exist(folder, err);

    if (rc < 0)
        return rc;
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, -ENOMEM, "no memory for the weights");
    rc = path_of(folder, ONE_FILE, s->path, err);
    if (rc == 0 && access(s->path, F_OK) == 0) {
        s->files[s->file_count++].name = ONE_FILE;
        rc = open_files(s, folder, err);
    } else if (rc == 0) {
        rc = document_read(folder, INDEX_FILE, SHARDS_INDEX_BYTES_MAX, &s->index, err);
        if (rc == 0) {
            memcpy(s->path, s->index.path, sizeof(s->path));
            rc = list_files(s, err);
        }
        if (rc == 0)
            rc = open_files(s, folder, err);
        if (rc == 0)
            rc = check_index(s, err);
    }
    if (rc < 0)
        shards_close(s);
    else
        *ret = s;
    return rc;
}

void shards_close(struct shards *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->file_count; i++)
        safetensors_close(s->files[i].file);
    document_free(&s->index);
    free(s->tensors);
    free(s);
}

size_t shards_count(const struct shards *s)
{
    return s->count;
}

const struct safetensors_entry *shards_at(const struct shards *s, size_t index)
{
    return s->tensors[index].entry;
}

size_t shards_find(const struct shards *s, const char *name)
{
    const struct safetensors_entry entry = {.name = name};
    const struct tensor key = {.entry = &entry};
    const struct tensor *t = bsearch(&key, s->tensors, s->count, sizeof(key), by_name);

    return t ? (size_t)(t - s->tensors) : s->count;
}

int shards_read(const struct shards *s, size_t index, float ret[], struct err *err)
{
    return safetensors_read(s->tensors[index].file, s->tensors[index].entry, ret, err);
}

const char *shards_path(const struct shards *s)
{
    return s->path;
}
