#include "appliance/plugin.h"

#include "appliance/shape.h"
#include "base/random.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "mpcformer-dpdk.so"

/* In the build's folder, else where it is installed. */
static void find(char ret_path[PATH_MAX])
{
    char self[PATH_MAX], beside[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n > 0) {
        self[n] = '\0';
        snprintf(beside, sizeof(beside), "%s/../dataplane/dpdk/" NAME, dirname(self));
        if (realpath(beside, ret_path))
            return;
    }
    snprintf(ret_path, PATH_MAX, "%s", MPCFORMER_PLUGINS "/" NAME);
}

int plugin_open(const struct port_options *options, struct port **ret, struct err *err)
{
    char path[PATH_MAX];

    find(path);
    return port_open(path, options, ret, err);
}

int plugin_open_configured(const struct config *config, struct port **ret, struct err *err)
{
    const struct port_options options = {
        .where = config->port.where,
        .small_pages = config->port.pages == CONFIG_PAGES_SMALL,
        .memif_server = config->role == ROLE_PARTY1,
        .frame_max = config->port.mtu ? config->port.mtu + PORT_ETHERNET_BYTES : 0,
    };
    struct port *port, *faulty;
    uint64_t seed;
    int rc = plugin_open(&options, &port, err);

    if (rc < 0)
        return rc;
    *ret = port;
    if (!shape_faulty(&config->shape))
        return 0;
    random_bytes(&seed, sizeof(seed));
    rc = port_faulty_new(port, &config->shape.faults, seed, &faulty, err);
    if (rc < 0)
        port_free(port);
    else
        *ret = faulty;
    return rc;
}
