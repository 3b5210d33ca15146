#include "appliance/tool.h"

#include "appliance/control.h"
#include "appliance/exit.h"
#include "base/file.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A table's column may become wider than this only in its last column. */
#define COLUMN_MAX 40

int tool_fail(const struct err *err, int rc)
{
    fprintf(stderr, "mpcformer: %s\n", err_text(err, rc));
    return EXIT_FAILED;
}

const char *tool_socket(const char *option)
{
    const char *variable = getenv(TOOL_SOCKET_VARIABLE);

    if (option)
        return option;
    return variable && *variable ? variable : TOOL_SOCKET_DEFAULT;
}

int tool_ask(const char *socket, const char *command, json_t *arguments, json_t **ret_reply,
             struct err *err)
{
    json_t *request = arguments ? arguments : json_object();
    int rc;

    if (!request || json_object_set_new(request, "command", json_string(command)) < 0)
        rc = err_set(err, -ENOMEM, "no memory");
    else
        rc = control_call(tool_socket(socket), request, ret_reply, TOOL_TIMEOUT_MS, err);
    json_decref(request);
    if (rc < 0)
        return rc;
    json_object_del(*ret_reply, "ok");
    json_object_del(*ret_reply, "version");
    return 0;
}

int tool_model_ready(const char *socket, const char *model, struct err *err)
{
    json_t *reply = NULL, *row;
    const char *state = NULL, *why;
    size_t i;
    int rc;

    rc = tool_ask(socket, "model list", NULL, &reply, err);
    if (rc < 0)
        return rc;
    rc = 0;
    json_array_foreach(json_object_get(reply, "models"), i, row)
    {
        const char *id = json_string_value(json_object_get(row, "model"));

        if (!id || strcmp(id, model) != 0)
            continue;
        state = json_string_value(json_object_get(row, "state"));
        why = json_string_value(json_object_get(row, "error"));
        if (state && strcmp(state, "failed") == 0)
            rc = err_set(err, -EREMOTEIO, "model %s: %s", model, why ? why : "failed");
    }
    if (!state)
        rc = err_set(err, -ENOENT, "model %s is gone: the appliance's log says why", model);
    if (rc == 0)
        rc = strcmp(state, "ready") == 0;
    json_decref(reply);
    return rc;
}

int tool_beside(const char *name, char ret_path[PATH_MAX])
{
    char self[PATH_MAX], path[PATH_MAX];
    ssize_t count = readlink("/proc/self/exe", self, sizeof(self) - 1);
    int rc;

    if (count < 0)
        return -errno;
    self[count] = 0;
    rc = file_path(path, sizeof(path), dirname(self), name);
    if (rc < 0)
        return rc;
    if (!realpath(path, ret_path))
        return -errno;
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double tool_median(double values[], size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

void tool_print_json(FILE *out, const json_t *value)
{
    json_dumpf(value, out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    fputc('\n', out);
}

/* A scalar as text without what would move the cursor of a terminal. NULL: no memory. */
static char *scalar_text(const json_t *value)
{
    char *text;

    if (!json_is_string(value))
        return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    text = strdup(json_string_value(value));
    for (char *c = text; c && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return text;
}

static void print_scalar(FILE *out, const json_t *value, int width)
{
    char *text = value ? scalar_text(value) : NULL;

    fprintf(out, "%-*s", width, text ? text : "-");
    free(text);
}

static int column_width(const json_t *rows, const char *key)
{
    size_t width = strlen(key), i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        char *text = scalar_text(json_object_get(row, key));

        if (text && strlen(text) > width)
            width = strlen(text);
        free(text);
    }
    return (int)MIN(width, (size_t)COLUMN_MAX);
}

/* Columns are the members of the first row. */
static void print_table(FILE *out, const json_t *rows)
{
    json_t *first = json_array_get(rows, 0), *row, *value;
    const char *key;
    size_t i;

    json_object_foreach(first, key, value) fprintf(out, "%-*s  ", column_width(rows, key), key);
    fputc('\n', out);
    json_array_foreach(rows, i, row)
    {
        json_object_foreach(first, key, value)
        {
            print_scalar(out, json_object_get(row, key), column_width(rows, key));
            fputs("  ", out);
        }
        fputc('\n', out);
    }
}

static void print_member(FILE *out, const char *prefix, const char *key, const json_t *value)
{
    char name[128];

    snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", key);
    if (json_is_object(value)) {
        const char *inner_key;
        json_t *inner;

        json_object_foreach((json_t *)(uintptr_t)value, inner_key, inner)
            print_member(out, name, inner_key, inner);
    } else if (json_is_array(value) && json_is_object(json_array_get(value, 0))) {
        fprintf(out, "%s:\n", name);
        print_table(out, value);
    } else {
        fprintf(out, "%-24s ", name);
        print_scalar(out, value, 0);
        fputc('\n', out);
    }
}

void tool_print_people(FILE *out, const json_t *value)
{
    const char *key;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)value, key, member) print_member(out, "", key, member);
}
