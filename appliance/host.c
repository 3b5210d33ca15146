#include "appliance/host.h"

#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

void host_text(char ret[HOST_TEXT_SIZE])
{
    char cpu[64] = "", line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    struct utsname u;

    while (f && !cpu[0] && fgets(line, sizeof(line), f))
        sscanf(line, "model name : %63[^\n]", cpu);
    if (f)
        fclose(f);
    uname(&u);
    snprintf(ret, HOST_TEXT_SIZE, "%.40s, %.20s %.40s, %.24s", u.nodename, u.sysname, u.release,
             cpu);
}

/* --- an interface --- */

static bool ethtool(int fd, struct ifreq *r, void *command)
{
    r->ifr_data = command;
    return ioctl(fd, SIOCETHTOOL, r) == 0;
}

static void describe(const char *interface, char ret[HOST_NIC_SIZE])
{
    struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
    struct ethtool_cmd settings = {.cmd = ETHTOOL_GSET};
    struct ifreq r = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int used = snprintf(ret, HOST_NIC_SIZE, "%.*s", IFNAMSIZ - 1, interface);
    const char *between = ": ";

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%.*s", IFNAMSIZ - 1, interface);
    if (ethtool(fd, &r, &driver)) {
        used += snprintf(ret + used, HOST_NIC_SIZE - (size_t)used, "%s%.31s %.31s", between,
                         driver.driver, driver.version);
        between = ", ";
    }
    if (ethtool(fd, &r, &settings) && (int)ethtool_cmd_speed(&settings) > 0) {
        used += snprintf(ret + used, HOST_NIC_SIZE - (size_t)used, "%s%u Mbit/s", between,
                         ethtool_cmd_speed(&settings));
        between = ", ";
    }
    if (ioctl(fd, SIOCGIFMTU, &r) == 0)
        snprintf(ret + used, HOST_NIC_SIZE - (size_t)used, "%sMTU %d", between, r.ifr_mtu);
    if (fd >= 0)
        close(fd);
}

static bool same_host(const struct sockaddr *a, const struct sockaddr_storage *b)
{
    if (!a || a->sa_family != b->ss_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 &&
           memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

void host_nic_of_socket(int fd, char ret[HOST_NIC_SIZE])
{
    struct sockaddr_storage here;
    socklen_t size = sizeof(here);
    struct ifaddrs *all;

    ret[0] = '\0';
    if (getsockname(fd, (struct sockaddr *)&here, &size) < 0 || getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i && !ret[0]; i = i->ifa_next)
        if (same_host(i->ifa_addr, &here))
            describe(i->ifa_name, ret);
    freeifaddrs(all);
}

void host_nic_of_port(const struct port_where *where, const char *driver, char ret[HOST_NIC_SIZE])
{
    bool interface = where->kind != PORT_PCI && where->kind != PORT_MEMIF;
    char nic[HOST_NIC_SIZE];

    if (interface)
        describe(where->name, nic);
    snprintf(ret, HOST_NIC_SIZE, "%.32s on %.150s", driver, interface ? nic : where->name);
}
