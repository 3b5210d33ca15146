#include "transformer/safetensors.h"

#include "base/bytes.h"
#include "base/secret.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENGTH_BYTES 8
#define STAGE_BYTES  16384

struct safetensors {
    int fd;
    char *path;
    uint64_t data_at; /* where the data starts in the file */
    uint64_t data_bytes;
    json_t *header; /* owns the names and types */
    struct safetensors_entry *entries;
    size_t count;
};

static const struct dtype {
    const char *name;
    size_t bytes;
} dtypes[] = {
    {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8},     {"I64", 8},
    {"U64", 8}, {"I32", 4}, {"U32", 4},  {"I16", 2},     {"U16", 2},
    {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

static size_t dtype_bytes(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(dtypes); i++)
        if (!strcmp(name, dtypes[i].name))
            return dtypes[i].bytes;
    return 0;
}

static int read_at(const struct safetensors *s, uint64_t at, void *ret, size_t count,
                   struct err *err)
{
    uint8_t *to = ret;

    while (count) {
        ssize_t got = pread(s->fd, to, count, (off_t)at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, -errno, "%s: %s", s->path, strerror(errno));
        if (!got)
            return err_set(err, -EIO,
                           "%s: ends at byte %" PRIu64 ", while it is read; copy it again", s->path,
                           at);
        to += got;
        at += (uint64_t)got;
        count -= (size_t)got;
    }
    return 0;
}

/* Names end up in messages on a terminal, so nothing unprintable gets in. */
static bool name_is_sane(const char *name)
{
    size_t bytes = strlen(name);

    if (!bytes || bytes > SAFETENSORS_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (name[i] < 0x20 || name[i] > 0x7e)
            return false;
    return true;
}

static int parse_shape(const struct safetensors *s, const json_t *shape,
                       struct safetensors_entry *e, struct err *err)
{
    size_t rank = json_array_size(shape);

    if (!json_is_array(shape) || rank > SAFETENSORS_RANK_MAX)
        return err_set(err, -EINVAL, "%s: tensor %s: shape is not a list of at most %d numbers",
                       s->path, e->name, SAFETENSORS_RANK_MAX);
    e->rank = rank;
    e->elements = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);

        if (!json_is_integer(dim) || json_integer_value(dim) < 0 ||
            size_mul(e->elements, (size_t)json_integer_value(dim), &e->elements))
            return err_set(err, -EINVAL, "%s: tensor %s: dimension %zu of its shape is impossible",
                           s->path, e->name, i);
        e->shape[i] = (size_t)json_integer_value(dim);
    }
    return 0;
}

static int parse_offsets(const struct safetensors *s, const json_t *offsets,
                         struct safetensors_entry *e, struct err *err)
{
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    size_t bytes;

    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return err_set(err, -EINVAL,
                       "%s: tensor %s: data_offsets is not [begin, end] with begin <= end", s->path,
                       e->name);
    e->begin = (uint64_t)json_integer_value(begin);
    e->end = (uint64_t)json_integer_value(end);
    if (e->end > s->data_bytes)
        return err_set(err, -EINVAL,
                       "%s: tensor %s: ends at byte %" PRIu64 " of the data, which has %" PRIu64
                       "; the file is cut off or its header lies",
                       s->path, e->name, e->end, s->data_bytes);
    if (size_mul(e->elements, dtype_bytes(e->dtype), &bytes) || bytes != e->end - e->begin)
        return err_set(err, -EINVAL,
                       "%s: tensor %s: its offsets span %" PRIu64
                       " bytes, which is not what its shape and type %s take",
                       s->path, e->name, e->end - e->begin, e->dtype);
    return 0;
}

static int parse_entry(const struct safetensors *s, const char *name, const json_t *value,
                       struct safetensors_entry *e, struct err *err)
{
    int rc;

    if (!name_is_sane(name))
        return err_set(err, -EINVAL,
                       "%s: a tensor's name is not 1 to %d characters of printable ASCII", s->path,
                       SAFETENSORS_NAME_BYTES_MAX);
    e->name = name;
    e->dtype = json_string_value(json_object_get(value, "dtype"));
    if (json_object_size(value) != 3 || !e->dtype)
        return err_set(err, -EINVAL, "%s: tensor %s: its entry is not {dtype, shape, data_offsets}",
                       s->path, name);
    if (!dtype_bytes(e->dtype))
        return err_set(err, -ENOTSUP, "%s: tensor %s: its type is not known; save it as F32",
                       s->path, name);
    rc = parse_shape(s, json_object_get(value, "shape"), e, err);
    if (rc < 0)
        return rc;
    return parse_offsets(s, json_object_get(value, "data_offsets"), e, err);
}

static int by_place(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* The entries are a partition of the data; afterwards they are ordered by name. */
static int check_cover(struct safetensors *s, struct err *err)
{
    uint64_t covered = 0;

    qsort(s->entries, s->count, sizeof(*s->entries), by_place);
    for (size_t i = 0; i < s->count; i++) {
        const struct safetensors_entry *e = &s->entries[i];

        if (e->begin < covered)
            return err_set(err, -EINVAL, "%s: tensor %s overlaps tensor %s", s->path, e->name,
                           s->entries[i - 1].name);
        if (e->begin > covered)
            return err_set(err, -EINVAL,
                           "%s: %" PRIu64 " bytes before tensor %s belong to no tensor", s->path,
                           e->begin - covered, e->name);
        covered = e->end;
    }
    if (covered != s->data_bytes)
        return err_set(err, -EINVAL, "%s: the last %" PRIu64 " bytes belong to no tensor", s->path,
                       s->data_bytes - covered);
    qsort(s->entries, s->count, sizeof(*s->entries), by_name);
    return 0;
}

static int parse_entries(struct safetensors *s, struct err *err)
{
    size_t count = json_object_size(s->header);
    const char *name;
    json_t *value;

    if (count > SAFETENSORS_TENSORS_MAX)
        return err_set(err, -EFBIG, "%s: %zu tensors, more than %d", s->path, count,
                       SAFETENSORS_TENSORS_MAX);
    s->entries = calloc(count + 1, sizeof(*s->entries));
    if (!s->entries)
        return -ENOMEM;
    json_object_foreach(s->header, name, value)
    {
        int rc;

        if (!strcmp(name, "__metadata__"))
            continue;
        rc = parse_entry(s, name, value, &s->entries[s->count], err);
        if (rc < 0)
            return rc;
        s->count++;
    }
    return check_cover(s, err);
}

static int load_header(struct safetensors *s, uint64_t file_bytes, struct err *err)
{
    uint8_t length[LENGTH_BYTES];
    uint64_t bytes;
    json_error_t why;
    char *text;
    int rc;

    if (file_bytes < LENGTH_BYTES)
        return err_set(err, -EINVAL, "%s: %" PRIu64 " bytes are too few for a safetensors file",
                       s->path, file_bytes);
    rc = read_at(s, 0, length, sizeof(length), err);
    if (rc < 0)
        return rc;
    bytes = load_le64(length);
    if (bytes > file_bytes - LENGTH_BYTES)
        return err_set(err, -EINVAL,
                       "%s: the header claims %" PRIu64 " bytes, the file has %" PRIu64
                       "; it is cut off, or no safetensors file",
                       s->path, bytes, file_bytes);
    if (bytes > SAFETENSORS_HEADER_BYTES_MAX)
        return err_set(err, -EFBIG, "%s: the header has %" PRIu64 " bytes, more than %" PRIu64,
                       s->path, bytes, SAFETENSORS_HEADER_BYTES_MAX);
    s->data_at = LENGTH_BYTES + bytes;
    s->data_bytes = file_bytes - s->data_at;
    text = malloc(bytes + 1);
    if (!text)
        return -ENOMEM;
    rc = read_at(s, LENGTH_BYTES, text, bytes, err);
    if (rc < 0)
        goto out;
    s->header = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(s->header))
        rc = err_set(err, -EINVAL, "%s: the header is no JSON object of tensors (byte %d of it)",
                     s->path, s->header ? 0 : why.position);
out:
    free(text);
    return rc;
}

int safetensors_open(const char *path, struct safetensors **ret_file, struct err *err)
{
    struct safetensors *s = calloc(1, sizeof(*s));
    struct stat st;
    int rc = -ENOMEM;

    if (!s)
        return rc;
    s->fd = -1;
    s->path = strdup(path);
    if (!s->path)
        goto fail;
    /* O_NONBLOCK: a FIFO put in the file's place must not hang us before fstat() refuses it. */
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->fd < 0 || fstat(s->fd, &st)) {
        rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = err_set(err, -EINVAL, "%s: not a regular file", path);
        goto fail;
    }
    if ((uint64_t)st.st_size > SAFETENSORS_FILE_BYTES_MAX) {
        rc = err_set(err, -EFBIG, "%s: %" PRIu64 " bytes, more than %" PRIu64, path,
                     (uint64_t)st.st_size, SAFETENSORS_FILE_BYTES_MAX);
        goto fail;
    }
    rc = load_header(s, (uint64_t)st.st_size, err);
    if (rc < 0)
        goto fail;
    rc = parse_entries(s, err);
    if (rc < 0)
        goto fail;
    *ret_file = s;
    return 0;
fail:
    safetensors_close(s);
    return rc;
}

void safetensors_close(struct safetensors *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    free(s->entries);
    json_decref(s->header);
    free(s->path);
    free(s);
}

size_t safetensors_count(const struct safetensors *s)
{
    return s->count;
}

const struct safetensors_entry *safetensors_at(const struct safetensors *s, size_t index)
{
    return &s->entries[index];
}

const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name)
{
    struct safetensors_entry key = {.name = name};

    return bsearch(&key, s->entries, s->count, sizeof(key), by_name);
}

static float float_of_bits(uint32_t bits)
{
    float v;

    memcpy(&v, &bits, sizeof(v));
    return v;
}

/*
 * Shifting a half's 15 magnitude bits into a float's place divides by 2^112 (the biases are 15 and
 * 127), for subnormal halves too; multiplying back is exact. Exponent 31 (NaN, infinity) would
 * become a number, so it gets the float's own exponent for these.
 */
static float float_of_half(uint16_t h)
{
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    float v = float_of_bits(magnitude) * 0x1p112f;

    if ((h & 0x7c00) == 0x7c00)
        v = float_of_bits(magnitude | UINT32_C(0x7f800000));
    return h & 0x8000 ? -v : v;
}

static void widen(const char *dtype, const uint8_t *from, size_t count, float *ret)
{
    if (!strcmp(dtype, "F32")) {
        memcpy(ret, from, count * sizeof(*ret));
        return;
    }
    if (!strcmp(dtype, "F16")) {
        for (size_t i = 0; i < count; i++)
            ret[i] = float_of_half(load_le16(from + 2 * i));
        return;
    }
    for (size_t i = 0; i < count; i++)
        ret[i] = float_of_bits((uint32_t)load_le16(from + 2 * i) << 16);
}

int safetensors_read(const struct safetensors *s, const struct safetensors_entry *entry,
                     float ret[], struct err *err)
{
    uint8_t stage[STAGE_BYTES];
    size_t bytes = dtype_bytes(entry->dtype), done = 0;
    int rc = 0;

    if (strcmp(entry->dtype, "F32") && strcmp(entry->dtype, "F16") && strcmp(entry->dtype, "BF16"))
        return err_set(err, -ENOTSUP,
                       "%s: tensor %s: has type %s; only F32, F16 and BF16 can be read", s->path,
                       entry->name, entry->dtype);
    while (done < entry->elements) {
        size_t count = MIN(entry->elements - done, STAGE_BYTES / bytes);

        rc = read_at(s, s->data_at + entry->begin + done * bytes, stage, count * bytes, err);
        if (rc < 0)
            goto out;
        widen(entry->dtype, stage, count, ret + done);
        for (size_t i = 0; i < count; i++) {
            if (isfinite(ret[done + i]))
                continue;
            rc = err_set(err, -EINVAL,
                         "%s: tensor %s: element %zu is NaN or infinite; the model is damaged",
                         s->path, entry->name, done + i);
            goto out;
        }
        done += count;
    }
out:
    secret_wipe(stage, sizeof(stage));
    return rc;
}
