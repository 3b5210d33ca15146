#include "appliance/host_memory.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CGROUPS   "sys/fs/cgroup"
#define HUGEPAGES "sys/kernel/mm/hugepages"

/* The number behind the line's word @key; of a file that is one number @key is NULL. UINT64_MAX:
 * there is none, as of "max". */
static uint64_t read_number(const char *path, const char *key)
{
    uint64_t number = UINT64_MAX;
    char line[512], word[64];
    FILE *f = fopen(path, "re");

    while (f && number == UINT64_MAX && fgets(line, sizeof(line), f))
        if (key ? sscanf(line, "%63s %" SCNu64, word, &number) < 2 || strcmp(word, key) != 0
                : sscanf(line, "%" SCNu64, &number) < 1)
            number = UINT64_MAX;
    if (f)
        fclose(f);
    return number;
}

__attribute__((format(printf, 2, 3))) static uint64_t number_at(const char *key, const char *format,
                                                                ...)
{
    char path[PATH_MAX];
    va_list words;
    int count;

    va_start(words, format);
    count = vsnprintf(path, sizeof(path), format, words);
    va_end(words);
    return count < (int)sizeof(path) ? read_number(path, key) : UINT64_MAX;
}

/* Of pages of all sizes that are reserved and free. */
static uint64_t free_huge(const char *root)
{
    char path[PATH_MAX];
    struct dirent *entry;
    uint64_t bytes = 0;
    DIR *dir = NULL;

    if (snprintf(path, sizeof(path), "%s/" HUGEPAGES, root) < (int)sizeof(path))
        dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        uint64_t kib, pages;

        if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kib) != 1)
            continue;
        pages = number_at(NULL, "%s/" HUGEPAGES "/%s/free_hugepages", root, entry->d_name);
        bytes += pages == UINT64_MAX ? 0 : pages * kib * 1024;
    }
    if (dir)
        closedir(dir);
    return bytes;
}

/* What one group leaves: pages of files that nobody has read lately can be dropped. */
static uint64_t group_left(const char *root, const char *group)
{
    uint64_t most = number_at(NULL, "%s/" CGROUPS "%s/memory.max", root, group);
    uint64_t used = number_at(NULL, "%s/" CGROUPS "%s/memory.current", root, group);
    uint64_t files = number_at("inactive_file", "%s/" CGROUPS "%s/memory.stat", root, group);

    if (most == UINT64_MAX || used == UINT64_MAX)
        return UINT64_MAX;
    used -= files == UINT64_MAX ? 0 : MIN(files, used);
    return most - MIN(used, most);
}

/* The least of the group's, and of those that it is in. */
static uint64_t groups_left(const char *root)
{
    char path[PATH_MAX], line[PATH_MAX] = "";
    uint64_t least = UINT64_MAX;
    FILE *f = NULL;

    if (snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) < (int)sizeof(path))
        f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f) && strncmp(line, "0::/", 4) != 0)
        *line = '\0';
    if (f)
        fclose(f);
    if (!*line)
        return UINT64_MAX;
    line[strcspn(line, "\n")] = '\0';
    for (char *group = line + 3, *end; *group; *end = '\0') {
        uint64_t left = group_left(root, strcmp(group, "/") ? group : "");

        least = MIN(least, left);
        end = strrchr(group, '/');
        if (end == group && end[1])
            end++;
    }
    return least;
}

uint64_t host_memory_left_at(const char *root, const char **ret_bound)
{
    uint64_t host = number_at("MemAvailable:", "%s/proc/meminfo", root);
    uint64_t groups = groups_left(root), left;

    host = host == UINT64_MAX ? host : host * 1024; /* it is in KiB */
    left = MIN(host, groups);
    *ret_bound = groups < host ? "the control group's memory.max" : "the host's memory";
    return left == UINT64_MAX ? left : left + free_huge(root);
}

uint64_t host_memory_left(const char **ret_bound)
{
    return host_memory_left_at("", ret_bound);
}
