/* The probe of network devices: what their links, configuration spaces and places say. */
#include "firmware-config/cpus.h"
#include "firmware-config/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices"

/* PCI Local Bus Specification 3.0, 6.1 and 6.7; PCI Express Base Specification, 7.5.3: the list of
 * capabilities, and of the one of PCI Express the device control register. */
#define CONFIG_BYTES        256
#define CONFIG_STATUS       0x06
#define STATUS_CAPABILITIES 0x10
#define CONFIG_FIRST        0x34
#define CAPABILITY_EXPRESS  0x10
#define EXPRESS_CONTROL     8
#define CONTROL_RELAXED     0x10
#define CONTROL_READ_SHIFT  12

struct device {
    const char *root, *folder, *address;
};

static int attribute_text(const struct device *d, const char *name, char **ret)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", d->folder, name) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    return probe_text(d->root, path, ret);
}

static bool attribute_begins(const struct device *d, const char *name, const char *text,
                             size_t bytes)
{
    char *value = NULL;
    bool same = attribute_text(d, name, &value) == 0 && strncmp(value, text, bytes) == 0;

    free(value);
    return same;
}

/* --- what there is to ask --- */

static int add_link(const struct device *d, struct reading *r)
{
    static const char *const names[] = {"current_link_speed", "max_link_speed",
                                        "current_link_width", "max_link_width"};
    char *value[4] = {NULL}, text[256];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < 4; i++) {
        rc = attribute_text(d, names[i], &value[i]);
        if (rc < 0)
            reading_unknown(r, "%s/%s: %s", d->folder, names[i], strerror(-rc));
    }
    if (rc == 0) {
        bool full = strcmp(value[0], value[1]) == 0 && strcmp(value[2], value[3]) == 0;

        snprintf(text, sizeof(text), "%.60s x%.8s of %.60s x%.8s", value[0], value[2], value[1],
                 value[3]);
        rc = reading_add(r, d->address, full ? "full" : text);
    } else if (rc != -ENOMEM) {
        rc = 0;
    }
    for (size_t i = 0; i < 4; i++)
        free(value[i]);
    return rc;
}

/* Others than root see 64 bytes of it. */
static int read_config(const struct device *d, uint8_t ret[CONFIG_BYTES])
{
    char path[PATH_MAX];
    ssize_t count;
    int fd;

    if (snprintf(path, sizeof(path), "%s%s/config", d->root, d->folder) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    count = pread(fd, ret, CONFIG_BYTES, 0);
    close(fd);
    if (count < 0)
        return -errno;
    return count == CONFIG_BYTES ? 0 : -EACCES;
}

static int device_control(const uint8_t config[CONFIG_BYTES], unsigned int *ret)
{
    unsigned int at = config[CONFIG_FIRST] & ~3u;

    if (!(config[CONFIG_STATUS] & STATUS_CAPABILITIES))
        return -ENOENT;
    /* As many as fit, so that a ring of them ends. */
    for (unsigned int left = CONFIG_BYTES / 4; at >= 64 && left; left--) {
        if (config[at] == CAPABILITY_EXPRESS && at + EXPRESS_CONTROL + 2 <= CONFIG_BYTES) {
            *ret = config[at + EXPRESS_CONTROL] | (unsigned int)config[at + EXPRESS_CONTROL + 1]
                                                      << 8;
            return 0;
        }
        at = config[at + 1] & ~3u;
    }
    return -ENOENT;
}

static int add_control(const struct device *d, bool relaxed, struct reading *r)
{
    uint8_t config[CONFIG_BYTES];
    unsigned int control = 0;
    char text[16];
    int rc = read_config(d, config);

    if (rc < 0) {
        reading_unknown(r, "%s/config: %s", d->folder,
                        rc == -EACCES ? "only root may read beyond its first 64 bytes"
                                      : strerror(-rc));
        return 0;
    }
    if (device_control(config, &control) < 0) {
        reading_unknown(r, "%s is no PCI Express device", d->address);
        return 0;
    }
    snprintf(text, sizeof(text), "%u", 128u << ((control >> CONTROL_READ_SHIFT) & 7));
    if (relaxed)
        snprintf(text, sizeof(text), "%s", control & CONTROL_RELAXED ? "on" : "off");
    return reading_add(r, d->address, text);
}

static int add_read_request(const struct device *d, struct reading *r)
{
    return add_control(d, false, r);
}

static int add_relaxed_ordering(const struct device *d, struct reading *r)
{
    return add_control(d, true, r);
}

/* Whether the isolated CPUs are of the device's memory node. */
static int add_isolated(const struct device *d, struct reading *r)
{
    char *isolated = NULL, *local = NULL, *far = NULL, text[256] = "near";
    cpu_set_t own, near, away;
    int rc = probe_text(d->root, "/sys/devices/system/cpu/isolated", &isolated);

    if (rc == 0)
        rc = attribute_text(d, "local_cpulist", &local);
    if (rc == 0)
        rc = cpus_parse(isolated, &own);
    if (rc == 0)
        rc = cpus_parse(local, &near);
    if (rc < 0) {
        reading_unknown(r, "the isolated CPUs, or those near %s: %s", d->address, strerror(-rc));
    } else if (CPU_COUNT(&own) == 0) {
        reading_unknown(r, "no CPU is isolated");
    } else {
        cpus_without(&own, &near, &away);
        far = cpus_text(&away);
        if (far && *far)
            snprintf(text, sizeof(text), "CPUs %.200s are far", far);
        rc = far ? reading_add(r, d->address, text) : -ENOMEM;
    }
    free(far);
    free(isolated);
    free(local);
    return rc == -ENOMEM ? rc : 0;
}

static const struct {
    const char *name;
    int (*add)(const struct device *d, struct reading *r);
} attributes[] = {
    {"link", add_link},
    {"max-read-request", add_read_request},
    {"relaxed-ordering", add_relaxed_ordering},
    {"isolated-cpus", add_isolated},
};

/* --- which devices --- */

/* "15b3 link" or "8086:1592,1593 link" */
struct query {
    char vendor[8], devices[128];
    size_t attribute;
};

static int parse(const char *argument, struct query *ret, struct err *err)
{
    char name[32] = "";

    memset(ret, 0, sizeof(*ret));
    if (sscanf(argument, "%4[0-9a-f]:%127[0-9a-f,] %31[a-z-]", ret->vendor, ret->devices, name) !=
            3 &&
        sscanf(argument, "%4[0-9a-f] %31[a-z-]", ret->vendor, name) != 2)
        return err_set(err, -EINVAL, "\"%.80s\" is no device: write 15b3 link, or 8086:1592 link",
                       argument);
    while (ret->attribute < ARRAY_LENGTH(attributes) &&
           strcmp(name, attributes[ret->attribute].name) != 0)
        ret->attribute++;
    if (ret->attribute == ARRAY_LENGTH(attributes))
        return err_set(err, -EINVAL,
                       "\"%s\": of a device there are link, max-read-request, relaxed-ordering, "
                       "isolated-cpus",
                       name);
    return 0;
}

static bool is_wanted(const struct device *d, const struct query *q)
{
    char id[16], *device = NULL;
    bool wanted;

    snprintf(id, sizeof(id), "0x%s", q->vendor);
    /* Class 2 is the network; a virtual function has its link from the physical one. */
    if (!attribute_begins(d, "vendor", id, 6) || !attribute_begins(d, "class", "0x02", 4) ||
        attribute_begins(d, "current_link_speed", "Unknown", 7))
        return false;
    if (!q->devices[0])
        return true;
    wanted = attribute_text(d, "device", &device) == 0 && strlen(device) > 2 &&
             strstr(q->devices, device + 2);
    free(device);
    return wanted;
}

static int read_pci(const char *root, const char *argument, struct reading *ret)
{
    struct dirent **list = NULL;
    char full[PATH_MAX];
    struct query q;
    int count, rc = parse(argument, &q, NULL);
    bool any = false;

    if (rc < 0)
        return rc;
    if (snprintf(full, sizeof(full), "%s" DEVICES, root) >= (int)sizeof(full))
        return -ENAMETOOLONG;
    count = scandir(full, &list, NULL, alphasort);
    if (count < 0)
        reading_unknown(ret, DEVICES ": %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        char folder[PATH_MAX];
        struct device d = {root, folder, list[i]->d_name};

        snprintf(folder, sizeof(folder), DEVICES "/%s", list[i]->d_name);
        if (rc == 0 && list[i]->d_name[0] != '.' && is_wanted(&d, &q)) {
            any = true;
            rc = attributes[q.attribute].add(&d, ret);
        }
        free(list[i]);
    }
    free(list);
    if (!any)
        reading_unknown(ret, "no network device %s%s%s here", q.vendor, q.devices[0] ? ":" : "",
                        q.devices);
    return rc;
}

static int check_pci(const char *argument, struct err *err)
{
    struct query q;

    return parse(argument, &q, err);
}

const struct probe probe_pci = {
    "pci",
    "VENDOR[:DEVICE,...] link | max-read-request | relaxed-ordering | isolated-cpus",
    check_pci,
    read_pci,
};
