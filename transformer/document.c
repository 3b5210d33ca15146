#include "transformer/document.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN_BYTES_MAX 255

int document_read(const char *folder, const char *name, size_t bytes_max, struct document *ret,
                  struct err *err)
{
    struct document d = {.root = NULL};
    uint8_t *bytes = NULL;
    json_error_t why;
    size_t count;
    int rc = file_path(d.path, sizeof(d.path), folder, name);

    if (rc < 0)
        return err_set(err, rc, "%s/%s: the path is too long", folder, name);
    rc = file_read(d.path, bytes_max, &bytes, &count, err);
    if (rc < 0)
        return rc;
    d.root = json_loadb((const char *)bytes, count, JSON_REJECT_DUPLICATES, &why);
    free(bytes);
    if (!d.root)
        return err_set(err, -EINVAL, "%s: not JSON: line %d, column %d: %s", d.path, why.line,
                       why.column, why.text);
    if (!json_is_object(d.root)) {
        json_decref(d.root);
        return err_set(err, -EINVAL, "%s: not a JSON object", d.path);
    }
    *ret = d;
    return 0;
}

void document_free(struct document *d)
{
    json_decref(d->root);
    d->root = NULL;
}

const json_t *document_get(const struct document *d, const char *key)
{
    const json_t *value = json_object_get(d->root, key);

    return json_is_null(value) ? NULL : value;
}

int document_bool(const struct document *d, const char *key, bool *ret_known, bool *ret_value,
                  struct err *err)
{
    const json_t *value = document_get(d, key);

    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return err_set(err, -EINVAL, "%s: %s must be true or false", d->path, key);
    *ret_known = true;
    *ret_value = json_is_true(value);
    return 0;
}

bool document_text_is_sane(const char *text, size_t bytes_max)
{
    size_t bytes = text ? strlen(text) : 0;

    if (!bytes || bytes > bytes_max)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

const char *document_shown(const char *text)
{
    return document_text_is_sane(text, SHOWN_BYTES_MAX) ? text : "(no printable text)";
}
