/* What the kernel says of huge pages: for the programs, and for the plug-in, which has this too. */
#include "dataplane/port_open.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define HUGE_PAGES "/sys/kernel/mm/hugepages"

static uint64_t number_in(const char *folder, const char *name)
{
    char path[512], text[32] = "";
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s/%s", HUGE_PAGES, folder, name);
    f = fopen(path, "re");
    if (!f)
        return 0;
    if (!fgets(text, sizeof(text), f))
        text[0] = '\0';
    fclose(f);
    return strtoull(text, NULL, 10);
}

uint64_t port_huge_bytes(void)
{
    DIR *folder = opendir(HUGE_PAGES);
    uint64_t bytes = 0;
    struct dirent *d;

    while (folder && (d = readdir(folder))) {
        uint64_t kib;

        if (sscanf(d->d_name, "hugepages-%" SCNu64 "kB", &kib) == 1)
            bytes += (kib << 10) * number_in(d->d_name, "free_hugepages");
    }
    if (folder)
        closedir(folder);
    return bytes;
}
