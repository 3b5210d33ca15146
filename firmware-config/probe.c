#include "firmware-config/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- readings --- */

void reading_free(struct reading *r)
{
    for (size_t i = 0; i < r->count; i++) {
        free(r->item[i].where);
        free(r->item[i].value);
    }
    free(r->item);
    memset(r, 0, sizeof(*r));
}

int reading_add(struct reading *r, const char *where, const char *value)
{
    struct reading_item *more = realloc(r->item, (r->count + 1) * sizeof(*more));
    struct reading_item item = {NULL, NULL};

    if (!more)
        return -ENOMEM;
    r->item = more;
    item.where = strdup(where);
    item.value = strdup(value);
    if (!item.where || !item.value) {
        free(item.where);
        free(item.value);
        return -ENOMEM;
    }
    r->item[r->count++] = item;
    return 0;
}

void reading_unknown(struct reading *r, const char *format, ...)
{
    va_list list;

    if (r->why[0])
        return;
    va_start(list, format);
    vsnprintf(r->why, sizeof(r->why), format, list);
    va_end(list);
}

/* --- files --- */

static int read_fd(int fd, char **ret)
{
    char *text = malloc(PROBE_FILE_MAX + 1);
    size_t count = 0;
    ssize_t n = text ? 1 : -1;
    int rc;

    /* Files of /proc and /sys do not say how long they are. */
    while (n > 0 && count < PROBE_FILE_MAX) {
        n = read(fd, text + count, PROBE_FILE_MAX - count);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            count += (size_t)n;
    }
    if (n < 0) {
        rc = text ? -errno : -ENOMEM;
        free(text);
        return rc;
    }
    text[count] = 0;
    while (count && strchr(" \t\n", text[count - 1]))
        text[--count] = 0;
    *ret = text;
    return 0;
}

int probe_text(const char *root, const char *path, char **ret)
{
    char full[PATH_MAX];
    int fd, rc;

    if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
        return -ENAMETOOLONG;
    fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    rc = read_fd(fd, ret);
    close(fd);
    return rc;
}

static int add_file(const char *root, const char *path, const char *where, struct reading *r)
{
    char *text = NULL;
    int rc = probe_text(root, path, &text);

    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        reading_unknown(r, "%s: %s", path, strerror(-rc));
        return 0;
    }
    /* Linux prints a list of CPUs that was never made like this. */
    rc = reading_add(r, where, strcmp(text, "(null)") == 0 ? "" : text);
    free(text);
    return rc;
}

/* A setting that is seen in part is not seen: one file that cannot be read makes all unknown. */
static void all_or_nothing(struct reading *r)
{
    char why[sizeof(r->why)];

    if (!r->why[0] || !r->count)
        return;
    memcpy(why, r->why, sizeof(why));
    reading_free(r);
    memcpy(r->why, why, sizeof(why));
}

/* --- paths with stars --- */

static int glob_errno; /* of the folder that could not be looked into, or 0 */

static int note_glob_error(const char *path, int error)
{
    (void)path;
    if (error != ENOENT && error != ENOTDIR)
        glob_errno = error;
    return 0;
}

/* Paths below @root that match; where there are none, why. */
static int find_paths(const char *root, const char *pattern, glob_t *ret, struct reading *r)
{
    char full[2 * PATH_MAX], *at = full;
    int rc;

    for (const char *c = root; *c && at < full + PATH_MAX; c++) {
        if (strchr("*?[\\", *c))
            *at++ = '\\';
        *at++ = *c;
    }
    snprintf(at, (size_t)(full + sizeof(full) - at), "%s", pattern);
    glob_errno = 0;
    memset(ret, 0, sizeof(*ret));
    rc = glob(full, 0, note_glob_error, ret);
    if (rc == GLOB_NOSPACE)
        return -ENOMEM;
    if (ret->gl_pathc == 0)
        reading_unknown(r, "%s: %s", pattern, strerror(glob_errno ? glob_errno : ENOENT));
    return 0;
}

/* The name of the first folder that stands where @pattern has a star, else the whole path. */
static void short_name(const char *pattern, const char *path, char *ret, size_t bytes)
{
    size_t before = strcspn(pattern, "*?["), count;

    while (before && pattern[before] && pattern[before - 1] != '/')
        before--;
    if (!pattern[before]) {
        snprintf(ret, bytes, "%s", path);
        return;
    }
    count = strcspn(path + before, "/");
    snprintf(ret, bytes, "%.*s", (int)count, path + before);
}

static int read_file(const char *root, const char *argument, struct reading *ret)
{
    size_t skip = strlen(root);
    glob_t paths;
    int rc = find_paths(root, argument, &paths, ret);

    for (size_t i = 0; rc == 0 && i < paths.gl_pathc; i++) {
        const char *path = paths.gl_pathv[i] + skip;
        char where[PATH_MAX];

        short_name(argument, path, where, sizeof(where));
        rc = add_file(root, path, where, ret);
    }
    globfree(&paths);
    return rc;
}

static int check_path(const char *argument, struct err *err)
{
    if (*argument != '/' || strstr(argument, ".."))
        return err_set(err, -EINVAL, "\"%.80s\" is no path from / on", argument);
    return 0;
}

/* --- the other probes --- */

static int read_sysctl(const char *root, const char *argument, struct reading *ret)
{
    char path[PATH_MAX] = "/proc/sys/";
    size_t used = strlen(path);

    if (snprintf(path + used, sizeof(path) - used, "%s", argument) >= (int)(sizeof(path) - used))
        return -ENAMETOOLONG;
    for (char *c = path + used; *c; c++)
        if (*c == '.')
            *c = '/';
    return add_file(root, path, argument, ret);
}

static int check_sysctl(const char *argument, struct err *err)
{
    if (!strchr(argument, '.') || strpbrk(argument, "/ *"))
        return err_set(err, -EINVAL, "\"%.80s\" is no sysctl: write vm.nr_hugepages", argument);
    return 0;
}

/* The last one counts, as for most of the kernel's own parameters. */
static int read_cmdline(const char *root, const char *argument, struct reading *ret)
{
    char *text = NULL, *state = NULL;
    const char *value = "";
    size_t count = strlen(argument);
    int rc = probe_text(root, "/proc/cmdline", &text);

    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        reading_unknown(ret, "/proc/cmdline: %s", strerror(-rc));
        return 0;
    }
    for (char *word = strtok_r(text, " ", &state); word; word = strtok_r(NULL, " ", &state))
        if (strncmp(word, argument, count) == 0 && (!word[count] || word[count] == '='))
            value = word[count] ? word + count + 1 : "(given)";
    rc = reading_add(ret, argument, value);
    free(text);
    return rc;
}

/* Of the first processor; all are alike in what is asked for. */
static int read_cpuinfo(const char *root, const char *argument, struct reading *ret)
{
    char *text = NULL, *end, *state = NULL;
    size_t count = strlen(argument);
    int rc = probe_text(root, "/proc/cpuinfo", &text);

    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        reading_unknown(ret, "/proc/cpuinfo: %s", strerror(-rc));
        return 0;
    }
    end = strstr(text, "\n\n");
    if (end)
        *end = 0;
    rc = 0;
    for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        char *colon = strchr(line, ':');

        if (colon && strncmp(line, argument, count) == 0 &&
            strspn(line + count, " \t") == (size_t)(colon - line) - count) {
            rc = reading_add(ret, argument, colon + 1 + strspn(colon + 1, " "));
            break;
        }
    }
    if (rc == 0 && !ret->count)
        reading_unknown(ret, "/proc/cpuinfo has no line \"%s\"", argument);
    free(text);
    return rc;
}

static int read_count(const char *root, const char *argument, struct reading *ret)
{
    char full[PATH_MAX], number[16];
    unsigned int count = 0;
    struct dirent *e;
    DIR *d;

    if (snprintf(full, sizeof(full), "%s%s", root, argument) >= (int)sizeof(full))
        return -ENAMETOOLONG;
    d = opendir(full);
    if (!d) {
        reading_unknown(ret, "%s: %s", argument, strerror(errno));
        return 0;
    }
    while ((e = readdir(d)))
        count += e->d_name[0] != '.';
    closedir(d);
    snprintf(number, sizeof(number), "%u", count);
    return reading_add(ret, argument, number);
}

static int read_lines(const char *root, const char *argument, struct reading *ret)
{
    char *text = NULL, number[16];
    unsigned int count;
    int rc = probe_text(root, argument, &text);

    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        reading_unknown(ret, "%s: %s", argument, strerror(-rc));
        return 0;
    }
    count = text[0] != 0;
    for (const char *c = text; *c; c++)
        count += *c == '\n';
    free(text);
    snprintf(number, sizeof(number), "%u", count);
    return reading_add(ret, argument, number);
}

/* The second and third word of each line are a folder and a type. */
static int read_mount(const char *root, const char *argument, struct reading *ret)
{
    char *text = NULL, *state = NULL, folder[256], type[64], found[256] = "";
    int rc = probe_text(root, "/proc/mounts", &text);

    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        reading_unknown(ret, "/proc/mounts: %s", strerror(-rc));
        return 0;
    }
    for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state))
        if (sscanf(line, "%*s %255s %63s", folder, type) == 2 && strcmp(type, argument) == 0)
            snprintf(found, sizeof(found), "%s", folder);
    free(text);
    return reading_add(ret, argument, found);
}

/* One idle state: its latency, unless it is switched off. */
static int add_idle_state(const char *root, const char *folder, struct reading *ret)
{
    char path[PATH_MAX], *disabled = NULL, where[64];
    unsigned int cpu = 0, state = 0;
    int rc;

    snprintf(path, sizeof(path), "%s/disable", folder);
    rc = probe_text(root, path, &disabled);
    if (rc < 0 && rc != -ENOENT) {
        reading_unknown(ret, "%s: %s", path, strerror(-rc));
        return rc == -ENOMEM ? rc : 0;
    }
    if (rc == 0 && strcmp(disabled, "0") != 0) {
        free(disabled);
        return 0;
    }
    free(disabled);
    sscanf(folder, "/sys/devices/system/cpu/cpu%u/cpuidle/state%u", &cpu, &state);
    snprintf(where, sizeof(where), "cpu%u state%u", cpu, state);
    snprintf(path, sizeof(path), "%s/latency", folder);
    return add_file(root, path, where, ret);
}

static int read_idle(const char *root, const char *argument, struct reading *ret)
{
    size_t skip = strlen(root);
    glob_t paths;
    int rc = find_paths(root, "/sys/devices/system/cpu/cpu[0-9]*/cpuidle/state[0-9]*", &paths, ret);

    (void)argument;
    for (size_t i = 0; rc == 0 && i < paths.gl_pathc; i++)
        rc = add_idle_state(root, paths.gl_pathv[i] + skip, ret);
    /* All switched off: then none takes longer than no time. */
    if (rc == 0 && paths.gl_pathc && !ret->count && !ret->why[0])
        rc = reading_add(ret, "all", "0");
    globfree(&paths);
    return rc;
}

static int check_idle(const char *argument, struct err *err)
{
    if (strcmp(argument, "latency") != 0)
        return err_set(err, -EINVAL, "\"%.40s\": of idle states there is `latency`", argument);
    return 0;
}

static int read_by_hand(const char *root, const char *argument, struct reading *ret)
{
    (void)root;
    reading_unknown(ret, "no file shows it: %s", argument);
    return 0;
}

static const struct probe *const probes[] = {
    &(const struct probe){"file", "PATH", check_path, read_file},
    &(const struct probe){"sysctl", "NAME", check_sysctl, read_sysctl},
    &(const struct probe){"cmdline", "WORD", NULL, read_cmdline},
    &(const struct probe){"cpuinfo", "FIELD", NULL, read_cpuinfo},
    &(const struct probe){"count", "FOLDER", check_path, read_count},
    &(const struct probe){"lines", "PATH", check_path, read_lines},
    &(const struct probe){"mount", "TYPE", NULL, read_mount},
    &(const struct probe){"idle", "latency", check_idle, read_idle},
    &probe_pci,
    &(const struct probe){"by-hand", "COMMAND", NULL, read_by_hand},
};

const struct probe *probe_find(const char *name, size_t bytes)
{
    for (size_t i = 0; i < ARRAY_LENGTH(probes); i++)
        if (strlen(probes[i]->name) == bytes && memcmp(probes[i]->name, name, bytes) == 0)
            return probes[i];
    return NULL;
}

void probe_names(char ret[PROBE_NAMES_SIZE])
{
    int used = 0;

    for (size_t i = 0; i < ARRAY_LENGTH(probes) && used < PROBE_NAMES_SIZE; i++)
        used += snprintf(ret + used, PROBE_NAMES_SIZE - (size_t)used, "%s%s", i ? ", " : "",
                         probes[i]->name);
}

int probe_read(const struct probe *probe, const char *root, const char *argument,
               struct reading *ret)
{
    int rc;

    memset(ret, 0, sizeof(*ret));
    rc = probe->read(root, argument, ret);
    all_or_nothing(ret);
    return rc;
}
