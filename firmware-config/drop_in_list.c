#include "firmware-config/drop_in_list.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "firmware-config/drop_in.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_MAX ((size_t)64 << 10)

static json_t *digest(const char *text)
{
    uint8_t hash[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];

    hash_bytes(text, strlen(text), hash);
    hex_encode(hash, HASH_BYTES, hex);
    return json_string(hex);
}

static bool is_list(const json_t *list)
{
    size_t i;
    json_t *value;

    if (!json_is_array(json_object_get(list, "files")) ||
        !json_is_array(json_object_get(list, "folders")))
        return false;
    json_array_foreach(json_object_get(list, "files"), i, value)
    {
        if (!json_is_string(json_object_get(value, "path")) ||
            !json_is_array(json_object_get(value, "sha256")))
            return false;
    }
    json_array_foreach(json_object_get(list, "folders"), i, value)
    {
        if (!json_is_string(value))
            return false;
    }
    return true;
}

int drop_in_list_read(const char *root, json_t **ret, struct err *err)
{
    char path[PATH_MAX];
    uint8_t *text = NULL;
    size_t bytes;
    json_t *list;
    int rc;

    if (snprintf(path, sizeof(path), "%s" DROP_IN_LIST, root) >= (int)sizeof(path))
        return err_set(err, -ENAMETOOLONG, "%s: path too long", root);
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        *ret = json_pack("{s:[], s:[]}", "files", "folders");
        return *ret ? 0 : err_set(err, -ENOMEM, "no memory");
    }
    rc = file_read(path, LIST_MAX, &text, &bytes, err);
    if (rc < 0)
        return rc;
    list = json_loadb((char *)text, bytes, 0, NULL);
    free(text);
    if (!list || !is_list(list)) {
        json_decref(list);
        return err_set(err, -EINVAL,
                       "%s: no list of what was written: restore it from a copy, or remove it and "
                       "the files named *90-mpcformer* yourself",
                       path);
    }
    *ret = list;
    return 0;
}

int drop_in_list_write(const char *root, const json_t *list, struct err *err)
{
    char path[PATH_MAX], folder[PATH_MAX], *text;
    int rc;

    if (snprintf(path, sizeof(path), "%s" DROP_IN_LIST, root) >= (int)sizeof(path))
        return err_set(err, -ENAMETOOLONG, "%s: path too long", root);
    snprintf(folder, sizeof(folder), "%s", path);
    rc = file_make_folders(dirname(folder), 0755, err);
    if (rc < 0)
        return rc;
    text = json_dumps(list, JSON_INDENT(1));
    rc =
        text ? file_write(path, 0644, text, strlen(text), err) : err_set(err, -ENOMEM, "no memory");
    free(text);
    return rc;
}

static json_t *find(const json_t *list, const char *path, size_t *ret_index)
{
    size_t i;
    json_t *file;

    json_array_foreach(json_object_get(list, "files"), i, file)
    {
        if (strcmp(json_string_value(json_object_get(file, "path")), path) == 0) {
            *ret_index = i;
            return file;
        }
    }
    return NULL;
}

bool drop_in_list_has(const json_t *list, const char *path, const char *text)
{
    size_t i;
    json_t *file = find(list, path, &i), *own, *one;
    bool has = false;

    if (!file)
        return false;
    own = digest(text);
    json_array_foreach(json_object_get(file, "sha256"), i, one) has |= json_equal(own, one);
    json_decref(own);
    return has;
}

int drop_in_list_set(json_t *list, const char *path, const char *text, const char *old)
{
    json_t *files = json_object_get(list, "files"), *file, *digests;
    size_t i;

    if (find(list, path, &i))
        json_array_remove(files, i);
    if (!text && !old)
        return 0;
    file = json_pack("{s:s, s:[]}", "path", path, "sha256");
    digests = json_object_get(file, "sha256");
    if (!file || json_array_append_new(files, file) < 0 ||
        (text && json_array_append_new(digests, digest(text)) < 0) ||
        (old && json_array_append_new(digests, digest(old)) < 0))
        return -ENOMEM;
    return 0;
}

/* Deepest last, so that revert goes from the end. */
int drop_in_list_folders(json_t *list, const char *root, const char *path)
{
    json_t *folders = json_object_get(list, "folders");
    char full[PATH_MAX];
    size_t skip = strlen(root);

    if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
        return -ENAMETOOLONG;
    for (char *at = strchr(full + skip + 1, '/'); at; at = strchr(at + 1, '/')) {
        bool known = false;
        json_t *one;
        size_t i;

        *at = 0;
        json_array_foreach(folders, i, one) known |=
            strcmp(json_string_value(one), full + skip) == 0;
        if (!known && access(full, F_OK) < 0 && errno == ENOENT &&
            json_array_append_new(folders, json_string(full + skip)) < 0)
            return -ENOMEM;
        *at = '/';
    }
    return 0;
}
