#include "firmware-config/profile.h"

#include "base/file.h"
#include "firmware-config/profile_entry.h"

#include <dirent.h>
#include <ini.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".conf"

struct key {
    const char *name;
    bool required, repeats;
};

static const struct key entry_keys[PROFILE_KEYS] = {
    [PROFILE_REASON] = {"reason", true, false},     [PROFILE_READ] = {"read", true, false},
    [PROFILE_EXPECT] = {"expect", false, false},    [PROFILE_SEVERITY] = {"severity", true, false},
    [PROFILE_SET] = {"set", false, true},           [PROFILE_BY_HAND] = {"by_hand", false, false},
    [PROFILE_COST] = {"cost", true, false},         [PROFILE_SOURCE] = {"source", true, true},
    [PROFILE_VERIFIED] = {"verified", true, false},
};

enum file_key { FILE_TITLE, FILE_INCLUDE, FILE_MATCH, FILE_KEYS };

static const struct key file_keys[FILE_KEYS] = {
    [FILE_TITLE] = {"title", true, false},
    [FILE_INCLUDE] = {"include", false, true},
    [FILE_MATCH] = {"match", false, true},
};

/* Where a file is read; a section is checked when the next one begins. */
struct parser {
    const char *path, *at;
    struct profile *profile;
    struct profile_file *file;
    struct profile_entry *entry; /* NULL: in [profile], or before it */
    struct profile_values own[FILE_KEYS];
    bool in_profile, continued;
    unsigned int line;
    int rc;
    struct err *err;
};

/* --- values --- */

static void values_free(struct profile_values *v)
{
    for (size_t i = 0; i < v->count; i++)
        free(v->text[i]);
    free(v->text);
    free(v->line);
    memset(v, 0, sizeof(*v));
}

static int values_add(struct profile_values *v, const char *text, unsigned int line)
{
    char **texts = realloc(v->text, (v->count + 1) * sizeof(*texts));
    unsigned int *lines = texts ? realloc(v->line, (v->count + 1) * sizeof(*lines)) : NULL;

    if (texts)
        v->text = texts;
    if (!lines)
        return -ENOMEM;
    v->line = lines;
    v->line[v->count] = line;
    v->text[v->count] = strdup(text);
    if (!v->text[v->count])
        return -ENOMEM;
    v->count++;
    return 0;
}

static int values_continue(struct profile_values *v, const char *text)
{
    char **last = &v->text[v->count - 1], *longer;

    if (asprintf(&longer, "%s %s", *last, text) < 0)
        return -ENOMEM;
    free(*last);
    *last = longer;
    return 0;
}

const char *profile_value(const struct profile_entry *e, enum profile_key key)
{
    return e->value[key].count ? e->value[key].text[0] : NULL;
}

/* --- errors --- */

static int fail(struct parser *p, unsigned int line, const char *key, int rc,
                const struct err *detail)
{
    if (p->rc == 0)
        p->rc = key ? err_set(p->err, rc, "%s:%u: `%s`: %s", p->path, line, key, detail->text)
                    : err_set(p->err, rc, "%s:%u: %s", p->path, line, detail->text);
    return p->rc;
}

static int fail_text(struct parser *p, unsigned int line, const char *key, int rc,
                     const char *format, ...) PRINTF_LIKE(5, 6);

static int fail_text(struct parser *p, unsigned int line, const char *key, int rc,
                     const char *format, ...)
{
    struct err detail;
    va_list list;

    va_start(list, format);
    vsnprintf(detail.text, sizeof(detail.text), format, list);
    va_end(list);
    return fail(p, line, key, rc, &detail);
}

static int no_memory(struct parser *p)
{
    return p->rc = err_set(p->err, -ENOMEM, "no memory");
}

/* --- sections --- */

static int check_required(struct parser *p, const struct key *keys, size_t count,
                          const struct profile_values *values, unsigned int line)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i].required && !values[i].count)
            return fail_text(p, line, keys[i].name, -EINVAL, "is missing: add %s = ...",
                             keys[i].name);
    return 0;
}

/* The entry, or [profile], that ends here. */
static int finish_section(struct parser *p)
{
    struct profile_entry *e = p->entry;
    struct profile_place where = {PROFILE_READ, p->line};
    struct err detail = {""};
    int rc;

    if (!e)
        return 0;
    p->entry = NULL;
    rc = check_required(p, entry_keys, PROFILE_KEYS, e->value, e->line);
    if (rc == 0)
        rc = profile_entry_parse(e, &where, &detail);
    return rc < 0 ? fail(p, where.line, entry_keys[where.key].name, rc, &detail) : 0;
}

/* --- lines --- */

static bool is_name(const char *text, size_t bytes)
{
    return bytes && bytes < PROFILE_NAME_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") >= bytes;
}

static int begin_entry(struct parser *p, const char *id, size_t bytes)
{
    const struct profile_entry *other;
    struct profile_entry *more, *e;
    char name[PROFILE_NAME_MAX];

    snprintf(name, sizeof(name), "%.*s", (int)bytes, id);
    other = profile_find(p->profile, name);
    if (other)
        return fail_text(p, p->line, NULL, -EEXIST,
                         "entry %s stands in %s, line %u, too: remove one", name, other->file,
                         other->line);
    more = realloc(p->profile->entry, (p->profile->entry_count + 1) * sizeof(*more));
    if (!more)
        return no_memory(p);
    p->profile->entry = more;
    e = &more[p->profile->entry_count++];
    memset(e, 0, sizeof(*e));
    memcpy(e->id, name, sizeof(name));
    e->file = p->file->name;
    e->line = p->line;
    p->entry = e;
    return 0;
}

/* "[profile]" or "[entry ID]"; inih cuts a longer name off. */
static int begin_section(struct parser *p, const char *line, size_t bytes)
{
    int rc = finish_section(p);

    if (rc < 0)
        return rc;
    while (bytes && strchr(" \t\r", line[bytes - 1]))
        bytes--;
    if (bytes == strlen("[profile]") && memcmp(line, "[profile]", bytes) == 0) {
        p->in_profile = true;
        return 0;
    }
    p->in_profile = false;
    if (bytes < 9 || memcmp(line, "[entry ", 7) != 0 || line[bytes - 1] != ']' ||
        !is_name(line + 7, bytes - 8))
        return fail_text(p, p->line, NULL, -EINVAL,
                         "\"%.*s\": write [profile], or [entry ID] with an ID of a-z, 0-9 and "
                         "hyphens, at most %d",
                         (int)MIN(bytes, (size_t)60), line, PROFILE_NAME_MAX - 1);
    return begin_entry(p, line + 7, bytes - 8);
}

static int check_line(struct parser *p, const char *line, size_t bytes, size_t size)
{
    if (bytes + 2 > size)
        return fail_text(p, p->line, NULL, -EMSGSIZE,
                         "the line has %zu bytes, at most %zu are read: go on in an indented line",
                         bytes, size - 2);
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)line[i] < ' ' && !strchr("\t\r", line[i]))
            return fail_text(p, p->line, NULL, -EINVAL,
                             "a control character: this is to be a text file");
        /* For inih a comment begins there. */
        if (line[i] == ';' && (i == 0 || strchr(" \t", line[i - 1])))
            return fail_text(p, p->line, NULL, -EINVAL,
                             "a ; after a space: write another word, or # for a comment");
    }
    if (bytes && !strchr(" \t#[\r", *line) && !memchr(line, '=', bytes))
        return fail_text(p, p->line, NULL, -EINVAL,
                         "\"%.*s\" is no line of ours: write key = value, or indent it to go on",
                         (int)MIN(bytes, (size_t)40), line);
    return 0;
}

/* inih's fgets(): it counts lines, and sees what inih does not tell. */
static char *next_line(char *ret_line, int size, void *context)
{
    struct parser *p = context;
    size_t bytes;
    int rc;

    if (p->rc < 0 || !*p->at)
        return NULL;
    p->line++;
    bytes = strcspn(p->at, "\n");
    rc = check_line(p, p->at, bytes, (size_t)size);
    if (rc == 0 && *p->at == '[')
        rc = begin_section(p, p->at, bytes);
    if (rc < 0)
        return NULL;
    p->continued = bytes && strchr(" \t", *p->at);
    memcpy(ret_line, p->at, bytes);
    memcpy(ret_line + bytes, "\n", 2);
    p->at += bytes + (p->at[bytes] == '\n');
    return ret_line;
}

static int unknown_key(struct parser *p, const char *name, const struct key *keys, size_t count)
{
    char list[128] = "";

    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(list);

        snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", keys[i].name);
    }
    return fail_text(p, p->line, name, -EINVAL, "there is no such key here: there are %s", list);
}

static int take_value(struct parser *p, const struct key *key, struct profile_values *v,
                      const char *value)
{
    int rc;

    if (p->continued && v->count)
        rc = values_continue(v, value);
    else if (v->count && !key->repeats)
        return fail_text(p, p->line, key->name, -EEXIST, "stands twice, first on line %u: keep one",
                         v->line[0]);
    else if (!*value)
        return fail_text(p, p->line, key->name, -EINVAL, "has no value: write one or remove it");
    else
        rc = values_add(v, value, p->line);
    return rc < 0 ? no_memory(p) : 0;
}

/* inih calls this for each `key = value` and each line that goes on; 0 is failure there. */
static int on_value(void *context, const char *section, const char *name, const char *value)
{
    struct parser *p = context;
    const struct key *keys = p->entry ? entry_keys : file_keys;
    struct profile_values *values = p->entry ? p->entry->value : p->own;
    size_t count = p->entry ? PROFILE_KEYS : FILE_KEYS;

    (void)section;
    if (p->rc < 0)
        return 0;
    if (!p->entry && !p->in_profile)
        return fail_text(p, p->line, name, -EINVAL,
                         "stands before any section: begin with [profile]") == 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, keys[i].name) == 0)
            return take_value(p, &keys[i], &values[i], value) == 0;
    return unknown_key(p, name, keys, count) == 0;
}

/* --- files --- */

static int check_match(struct parser *p)
{
    const struct profile_values *match = &p->file->match;

    for (size_t i = 0; i < match->count; i++) {
        const struct profile_entry *e = profile_find(p->profile, match->text[i]);

        if (!e || e->file != p->file->name)
            return fail_text(p, match->line[i], "match", -ENOENT,
                             "this file has no entry \"%.40s\": name one that tells this hardware",
                             match->text[i]);
    }
    return 0;
}

static int parse(struct parser *p, const char *text)
{
    int rc;

    p->at = text;
    rc = ini_parse_stream(next_line, p, on_value, p);
    if (p->rc == 0 && rc != 0)
        p->rc = fail_text(p, (unsigned int)MAX(rc, 0), NULL, -EINVAL,
                          "cannot be read: write key = value");
    if (p->rc == 0 && finish_section(p) == 0)
        check_required(p, file_keys, FILE_KEYS, p->own, 1);
    if (p->rc == 0) {
        snprintf(p->file->title, sizeof(p->file->title), "%s", p->own[FILE_TITLE].text[0]);
        p->file->include = p->own[FILE_INCLUDE];
        p->file->match = p->own[FILE_MATCH];
        memset(&p->own[FILE_INCLUDE], 0, sizeof(p->own[0]));
        memset(&p->own[FILE_MATCH], 0, sizeof(p->own[0]));
        check_match(p);
    }
    for (size_t i = 0; i < FILE_KEYS; i++)
        values_free(&p->own[i]);
    return p->rc;
}

static int no_profile(const char *folder, const char *name, struct err *err)
{
    char **names = NULL, text[256] = "";
    size_t count = 0;
    int rc = profile_list(folder, &names, &count, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(text);

        snprintf(text + used, sizeof(text) - used, "%s%s", used ? ", " : "", names[i]);
    }
    profile_list_free(names, count);
    return err_set(err, -ENOENT, "there is no profile \"%.40s\" in %s: there are %s", name, folder,
                   text);
}

/* As jansson sees it, since all of it can end up there. */
static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);
    bool valid = string;

    json_decref(string);
    return valid;
}

static int load_file(const char *folder, const char *name, struct profile *profile, struct err *err)
{
    char path[PATH_MAX];
    struct parser p = {.path = path, .profile = profile, .err = err};
    uint8_t *text = NULL;
    size_t bytes;
    int rc;

    for (size_t i = 0; i < profile->file_count; i++)
        if (strcmp(profile->file[i].name, name) == 0)
            return 0;
    if (!is_name(name, strlen(name)))
        return no_profile(folder, name, err);
    if (profile->file_count == PROFILE_FILES_MAX)
        return err_set(err, -E2BIG, "%s: more than %d profiles at once", folder, PROFILE_FILES_MAX);
    if (snprintf(path, sizeof(path), "%s/%s" SUFFIX, folder, name) >= (int)sizeof(path))
        return err_set(err, -ENAMETOOLONG, "%s: path too long", folder);
    p.file = &profile->file[profile->file_count++];
    snprintf(p.file->name, sizeof(p.file->name), "%s", name);
    if (access(path, F_OK) < 0)
        return no_profile(folder, name, err);
    rc = file_read(path, PROFILE_FILE_MAX, &text, &bytes, err);
    if (rc < 0)
        return rc;
    if (strlen((char *)text) != bytes)
        rc = err_set(err, -EINVAL, "%s: holds a NUL: this is to be a text file", path);
    else if (!is_utf8((char *)text))
        rc = err_set(err, -EINVAL, "%s: is not UTF-8: convert it", path);
    else
        rc = parse(&p, (char *)text);
    free(text);
    for (size_t i = 0; rc == 0 && i < p.file->include.count; i++)
        rc = load_file(folder, p.file->include.text[i], profile, err);
    return rc;
}

int profile_load(const char *folder, const char *const names[], size_t count, struct profile **ret,
                 struct err *err)
{
    struct profile *p = calloc(1, sizeof(*p));
    int rc = p ? 0 : err_set(err, -ENOMEM, "no memory");

    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = load_file(folder, names[i], p, err);
    if (rc == 0)
        *ret = p;
    else
        profile_free(p);
    return rc;
}

static void entry_free(struct profile_entry *e)
{
    for (size_t k = 0; k < PROFILE_KEYS; k++)
        values_free(&e->value[k]);
    free(e->setting);
}

void profile_free(struct profile *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->entry_count; i++)
        entry_free(&p->entry[i]);
    for (size_t i = 0; i < p->file_count; i++) {
        values_free(&p->file[i].include);
        values_free(&p->file[i].match);
    }
    free(p->entry);
    free(p);
}

const struct profile_entry *profile_find(const struct profile *p, const char *id)
{
    for (size_t i = 0; i < p->entry_count; i++)
        if (strcmp(p->entry[i].id, id) == 0)
            return &p->entry[i];
    return NULL;
}

int profile_leave_out(struct profile *p, const char *id, struct err *err)
{
    size_t i = 0;

    while (i < p->entry_count && strcmp(p->entry[i].id, id) != 0)
        i++;
    if (i == p->entry_count)
        return err_set(err, -ENOENT,
                       "there is no entry \"%.40s\" to leave out: `host check` lists "
                       "them",
                       id);
    entry_free(&p->entry[i]);
    memmove(&p->entry[i], &p->entry[i + 1], (--p->entry_count - i) * sizeof(*p->entry));
    return 0;
}

static int is_profile(const struct dirent *e)
{
    size_t bytes = strlen(e->d_name), suffix = strlen(SUFFIX);

    return bytes > suffix && strcmp(e->d_name + bytes - suffix, SUFFIX) == 0 &&
           is_name(e->d_name, bytes - suffix);
}

int profile_list(const char *folder, char ***ret_names, size_t *ret_count, struct err *err)
{
    struct dirent **list = NULL;
    int count = scandir(folder, &list, is_profile, alphasort), rc = 0;
    char **names;

    if (count < 0)
        return err_set(err, -errno, "profiles in %s: %s", folder, strerror(errno));
    names = calloc((size_t)count + 1, sizeof(*names));
    for (int i = 0; i < count; i++) {
        if (names)
            names[i] = strndup(list[i]->d_name, strlen(list[i]->d_name) - strlen(SUFFIX));
        if (!names || !names[i])
            rc = -ENOMEM;
        free(list[i]);
    }
    free(list);
    if (!names || rc < 0) {
        profile_list_free(names, (size_t)count);
        return err_set(err, -ENOMEM, "no memory");
    }
    *ret_names = names;
    *ret_count = (size_t)count;
    return 0;
}

void profile_list_free(char **names, size_t count)
{
    for (size_t i = 0; names && i < count; i++)
        free(names[i]);
    free(names);
}
