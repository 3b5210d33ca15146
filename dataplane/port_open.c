#include "dataplane/port_open.h"

#include <dlfcn.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static const struct kind {
    const char *prefix; /* of the name in text */
    bool interface;     /* must exist */
} kinds[] = {
    [PORT_PCI] = {"", false},
    [PORT_MEMIF] = {"memif:", false},
    [PORT_AF_PACKET] = {"af_packet:", true},
    [PORT_AF_XDP] = {"af_xdp:", true},
    [PORT_TAP] = {"tap:", false},
};

/* DDDD:BB:DD.F, as lspci -D prints it. */
static bool is_pci(const char *text)
{
    unsigned int domain, bus, device, function;
    int end = 0;

    return sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) == 4 &&
           end == 12 && text[end] == '\0';
}

static enum port_kind kind_of(const char *text)
{
    for (size_t k = PORT_MEMIF; k < ARRAY_LENGTH(kinds); k++)
        if (!strncmp(text, kinds[k].prefix, strlen(kinds[k].prefix)))
            return (enum port_kind)k;
    return PORT_PCI;
}

int port_parse(const char *text, struct port_where *ret, struct err *err)
{
    enum port_kind kind = kind_of(text);
    const char *name = text + strlen(kinds[kind].prefix);
    size_t bytes = strlen(name);

    if (kind == PORT_PCI && !is_pci(name))
        return err_set(err, -EINVAL,
                       "'%s' is no port: write 0000:3b:00.0 (see lspci -D), memif:/PATH, "
                       "af_packet:INTERFACE, af_xdp:INTERFACE or tap:INTERFACE",
                       text);
    if (kind == PORT_MEMIF && (name[0] != '/' || bytes >= sizeof((struct sockaddr_un){0}.sun_path)))
        return err_set(err, -EINVAL,
                       "'%s': the path of a memif socket must begin with / and have less than %zu "
                       "bytes",
                       text, sizeof((struct sockaddr_un){0}.sun_path));
    if (kind > PORT_MEMIF && (bytes == 0 || bytes >= IF_NAMESIZE || strpbrk(name, "/,= ")))
        return err_set(err, -EINVAL, "'%s': '%s' is no name of an interface (see ip link)", text,
                       name);
    /* A comma would begin another of the driver's options. */
    if (strchr(name, ',') || bytes >= PORT_WHERE_MAX)
        return err_set(err, -EINVAL, "'%s': commas, and more than %d bytes, cannot be used", text,
                       PORT_WHERE_MAX - 1);
    *ret = (struct port_where){.kind = kind};
    memcpy(ret->name, name, bytes);
    return 0;
}

void port_format(const struct port_where *where, char ret[PORT_WHERE_MAX + 16])
{
    snprintf(ret, PORT_WHERE_MAX + 16, "%s%s", kinds[where->kind].prefix, where->name);
}

int port_here(const struct port_where *where, struct err *err)
{
    char path[PORT_WHERE_MAX + 64], *slash;

    if (kinds[where->kind].interface && if_nametoindex(where->name) == 0)
        return err_set(err, -ENODEV, "there is no interface %s (see ip link)", where->name);
    if (where->kind == PORT_PCI) {
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", where->name);
        if (access(path, F_OK) < 0)
            return err_set(err, -ENODEV, "there is no device %s (see lspci -D)", where->name);
    }
    if (where->kind == PORT_MEMIF) {
        snprintf(path, sizeof(path), "%s", where->name);
        slash = strrchr(path, '/');
        slash[slash == path] = '\0';
        if (access(path, W_OK | X_OK) < 0)
            return err_set(err, -errno, "%s: %s: a memif socket needs a folder that can be written",
                           path, strerror(errno));
    }
    return 0;
}

int port_open(const char *plugin, const struct port_options *options, struct port **ret,
              struct err *err)
{
    const struct port_plugin *p;
    int rc = port_here(&options->where, err);
    void *library;

    if (rc < 0)
        return rc;
    library = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return err_set(err, -ENOENT,
                       "DPDK's ports need their plug-in: %s; install it, or the DPDK libraries "
                       "that it names",
                       dlerror());
    p = dlsym(library, PORT_PLUGIN_SYMBOL);
    if (!p || p->version != PORT_PLUGIN_VERSION)
        return err_set(err, -EPROTO, "%s is of another version: install that of this program",
                       plugin);
    return p->open(options, ret, err);
}
