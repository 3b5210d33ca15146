/* A checkpoint as a folder in the HF layout. */
#include "transformer/checkpoint.h"

#include "base/bytes.h"
#include "base/file.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Adds a tensor to the header, in the order of the values. */
static int describe(void *ctx, const struct checkpoint_tensor *t, struct err *err)
{
    json_t *header = ctx, *shape = json_array(), *entry;
    json_int_t begin = json_integer_value(json_object_get(header, "__end__"));
    json_int_t end = begin + (json_int_t)(t->count * sizeof(float));

    for (size_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets", begin,
                      end);
    if (json_object_set_new(header, t->name, entry) < 0 ||
        json_object_set_new(header, "__end__", json_integer(end)) < 0)
        return err_set(err, -ENOMEM, "no memory for the header of a checkpoint");
    return 0;
}

/* The header's text, padded with spaces so that the values begin on a multiple of eight. */
static int make_header(const struct checkpoint *c, char **ret_text, size_t *ret_bytes,
                       struct err *err)
{
    json_t *header = json_pack("{s:{s:s}, s:i}", "__metadata__", "format", "pt", "__end__", 0);
    char *text = NULL, *padded = NULL;
    size_t bytes;
    int rc = header ? checkpoint_each(c, describe, header, err) : -ENOMEM;

    if (rc == 0) {
        json_object_del(header, "__end__");
        text = json_dumps(header, JSON_COMPACT);
    }
    json_decref(header);
    if (text) {
        bytes = (strlen(text) + 7) / 8 * 8;
        padded = calloc(1, bytes + 1);
    }
    if (!padded) {
        free(text);
        return err_set(err, rc < 0 ? rc : -ENOMEM, "no memory for the header of a checkpoint");
    }
    memset(padded, ' ', bytes);
    memcpy(padded, text, strlen(text));
    free(text);
    *ret_text = padded;
    *ret_bytes = bytes;
    return 0;
}

static int save_values(const struct checkpoint *c, const char *path, struct err *err)
{
    size_t bytes = 0;
    char *header = NULL;
    uint8_t length[sizeof(uint64_t)];
    int rc = make_header(c, &header, &bytes, err);

    if (rc < 0)
        return rc;
    store_le64(length, bytes);
    rc = file_write_parts(path, 0600,
                          (const struct file_part[]){
                              {length, sizeof(length)}, {header, bytes}, {c->values, c->bytes}},
                          3, err);
    free(header);
    return rc;
}

int checkpoint_save(const struct checkpoint *c, const char *folder, struct err *err)
{
    char path[PATH_MAX];
    int rc = file_path(path, sizeof(path), folder, "model.safetensors");

    if (rc < 0)
        return err_set(err, rc, "%s/model.safetensors: the path is too long", folder);
    rc = model_config_write(&c->config, folder, err);
    return rc < 0 ? rc : save_values(c, path, err);
}
