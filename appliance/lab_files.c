#include "appliance/lab_files.h"

#include "appliance/cpu_list.h"
#include "appliance/identity.h"
#include "appliance/net.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/sealed.h"

#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define HUGE_BYTES ((uint64_t)192 << 20) /* of two ports' frames */

static const struct member {
    const char *name;
    enum role role;
} members[] = {{"party0", ROLE_PARTY0},
               {"party1", ROLE_PARTY1},
               {"dealer", ROLE_DEALER},
               {"owner", ROLE_OWNER}};

int lab_free_ports(uint16_t ret_ports[LAB_PORTS], struct err *err)
{
    const struct net_address any = {.host = "127.0.0.1"};
    int fds[LAB_PORTS], rc = 0;
    size_t count;

    /* All are held until all are known, so that they differ. */
    for (count = 0; rc == 0 && count < LAB_PORTS; count++) {
        rc = net_listen(&any, &fds[count], err);
        if (rc < 0)
            break;
        rc = net_port(fds[count], &ret_ports[count]);
    }
    while (count)
        close(fds[--count]);
    return rc;
}

static int path_of(const char *folder, const char *name, const char *ending,
                   char ret_path[PATH_MAX], struct err *err)
{
    if (snprintf(ret_path, PATH_MAX, "%s/%s%s", folder, name, ending) >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "%s: path too long", folder);
    return 0;
}

static int make_identity(const char *folder, const struct member *m, struct err *err)
{
    char authority_key[PATH_MAX], authority[PATH_MAX], key[PATH_MAX], request[PATH_MAX],
        certificate[PATH_MAX];
    int rc = path_of(folder, "authority", ".key", authority_key, err);

    if (rc == 0)
        rc = path_of(folder, "authority", ".pem", authority, err);
    if (rc == 0)
        rc = path_of(folder, m->name, ".key", key, err);
    if (rc == 0)
        rc = path_of(folder, m->name, ".csr", request, err);
    if (rc == 0)
        rc = path_of(folder, m->name, ".pem", certificate, err);
    if (rc == 0)
        rc = identity_make_request(m->name, key, request, err);
    if (rc == 0)
        rc = identity_sign(authority_key, authority, request, m->role, m->name, IDENTITY_DAYS,
                           certificate, err);
    return rc;
}

int lab_make_identities(const char *folder, struct err *err)
{
    char key[PATH_MAX], certificate[PATH_MAX];
    int rc = path_of(folder, members[ARRAY_LENGTH(members) - 1].name, ".pem", certificate, err);

    if (rc < 0 || access(certificate, F_OK) == 0)
        return rc;
    rc = path_of(folder, "authority", ".key", key, err);
    if (rc == 0)
        rc = path_of(folder, "authority", ".pem", certificate, err);
    if (rc == 0)
        rc = identity_make_authority("lab", IDENTITY_DAYS_AUTHORITY, key, certificate, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(members); i++)
        rc = make_identity(folder, &members[i], err);
    return rc;
}

static int pin_text(const char *folder, const struct member *m,
                    char ret_pin[IDENTITY_NAME_SIZE + IDENTITY_FINGERPRINT_SIZE], struct err *err)
{
    char path[PATH_MAX], hex[IDENTITY_FINGERPRINT_SIZE];
    struct identity identity;
    int rc = path_of(folder, m->name, ".pem", path, err);

    if (rc == 0)
        rc = identity_read(path, &identity, err);
    if (rc < 0)
        return rc;
    identity_fingerprint(&identity, hex);
    sprintf(ret_pin, "%s=%s", m->name, hex);
    return 0;
}

static void PRINTF_LIKE(2, 3) add_line(struct writer *w, const char *format, ...)
{
    char line[256];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    write_bytes(w, line, strlen(line));
}

/* What only this role's file says. */
static void add_role_lines(struct writer *w, enum role role, const uint16_t ports[LAB_PORTS],
                           char (*pins)[IDENTITY_NAME_SIZE + IDENTITY_FINGERPRINT_SIZE])
{
    const char *p0 = pins[0], *p1 = pins[1], *dealer = pins[2], *owner = pins[3];

    if (role == ROLE_PARTY0)
        add_line(w,
                 "listen = 127.0.0.1:%u\npeer = 127.0.0.1:%u\npeer_link = 127.0.0.1:%u\n"
                 "dealer = 127.0.0.1:%u\n",
                 ports[LAB_PORT_PARTY0], ports[LAB_PORT_PARTY1], ports[LAB_PORT_LINK],
                 ports[LAB_PORT_DEALER]);
    if (role == ROLE_PARTY1)
        add_line(w, "listen = 127.0.0.1:%u\nlink_listen = 127.0.0.1:%u\ndealer = 127.0.0.1:%u\n",
                 ports[LAB_PORT_PARTY1], ports[LAB_PORT_LINK], ports[LAB_PORT_DEALER]);
    if (role == ROLE_DEALER)
        add_line(w, "listen = 127.0.0.1:%u\n", ports[LAB_PORT_DEALER]);
    if (role == ROLE_OWNER)
        add_line(w, "party0 = 127.0.0.1:%u\nparty1 = 127.0.0.1:%u\nmodel = model/client\n",
                 ports[LAB_PORT_PARTY0], ports[LAB_PORT_PARTY1]);
    if (role == ROLE_PARTY0 || role == ROLE_PARTY1) {
        add_line(w, "peer_pin = %s\n", role == ROLE_PARTY0 ? p1 : p0);
        add_line(w, "dealer_pin = %s\n", dealer);
        add_line(w, "client_pin = %s\n", owner);
    } else {
        add_line(w, "party0_pin = %s\n", p0);
        add_line(w, "party1_pin = %s\n", p1);
    }
}

/*
 * CPUs for the member of this place: parties 0 and 1, which work at the same time, have their own
 * or none; so has the dealer when even then there are some left.
 */
static void add_workers(struct writer *w, unsigned int place, unsigned int workers,
                        const cpu_set_t *cpus)
{
    struct cpu_list list = {.count = workers};
    char text[CPU_LIST_TEXT_SIZE];
    unsigned int seen = 0, found = 0;

    list.pinned = (unsigned int)CPU_COUNT(cpus) >= workers * (place < 2 ? 2 : 3);
    for (unsigned int cpu = 0; list.pinned && found < workers; cpu++)
        if (CPU_ISSET(cpu, cpus) && seen++ >= place * workers)
            list.cpu[found++] = (uint16_t)cpu;
    cpu_list_text(&list, text);
    add_line(w, "workers = %s\n", text);
}

bool lab_has_huge_pages(void)
{
    return port_huge_bytes() >= HUGE_BYTES;
}

/* Made once: what a member has kept is sealed with it. */
static int make_store_key(const char *folder, const struct member *m, struct err *err)
{
    char path[PATH_MAX];
    int rc = path_of(folder, m->name, ".store", path, err);

    return rc < 0 || access(path, F_OK) == 0 ? rc : sealed_key_make(path, err);
}

/* Where the member's own things are. */
static void add_own_lines(struct writer *w, const struct member *m, const struct lab_units *units)
{
    if (units && m->role != ROLE_OWNER) {
        lab_units_lines(units, m->name, w);
        return;
    }
    add_line(w, "certificate = %s.pem\nkey = %s.key\nauthority = authority.pem\n", m->name,
             m->name);
    if (m->role != ROLE_OWNER)
        add_line(w, "state = %s\ncontrol = %s.control\nstore_key = %s.store\n", m->name, m->name,
                 m->name);
}

static int make_config(const char *folder, const struct member *m, const struct lab_units *units,
                       const cpu_set_t *cpus, const uint16_t ports[LAB_PORTS],
                       char (*pins)[IDENTITY_NAME_SIZE + IDENTITY_FINGERPRINT_SIZE],
                       const struct lab_options *options, struct err *err)
{
    bool party = m->role == ROLE_PARTY0 || m->role == ROLE_PARTY1;
    struct writer w = {0};
    char path[PATH_MAX];
    int rc = path_of(folder, m->name, ".conf", path, err);

    if (rc < 0)
        return rc;
    add_line(&w, "role = %s\n", role_name(m->role));
    add_own_lines(&w, m, units);
    add_role_lines(&w, m->role, ports, pins);
    if (m->role != ROLE_OWNER)
        rc = make_store_key(folder, m, err);
    if (party && options->tapes)
        add_line(&w, "tapes = %u\n", options->tapes);
    if (party && options->link == CONFIG_LINK_DPDK)
        add_line(&w, "link = dpdk\nport = memif:%s/port.sock\nport_pages = %s\n", folder,
                 lab_has_huge_pages() ? "huge" : "small");
    if (party && options->shape)
        add_line(&w, "shape = %s\n", options->shape);
    if (options->timeout_ms)
        add_line(&w, "timeout_ms = %u\n", options->timeout_ms);
    if (options->workers && m->role != ROLE_OWNER)
        add_workers(&w, (unsigned int)(m - members), options->workers, cpus);
    if (rc == 0)
        rc = w.failed ? err_set(err, -ENOMEM, "no memory for a configuration")
                      : file_write(path, units ? 0644 : 0600, w.bytes, w.count, err);
    writer_free(&w);
    return rc;
}

int lab_make_configs(const char *folder, const struct lab_units *units,
                     const uint16_t ports[LAB_PORTS], const struct lab_options *options,
                     struct err *err)
{
    char pins[ARRAY_LENGTH(members)][IDENTITY_NAME_SIZE + IDENTITY_FINGERPRINT_SIZE];
    cpu_set_t cpus;
    int rc = 0;

    CPU_ZERO(&cpus);
    if (units)
        rc = lab_units_cpus(units, &cpus, err);
    else if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        CPU_ZERO(&cpus);
    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(members); i++)
        rc = pin_text(folder, &members[i], pins[i], err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(members); i++)
        rc = make_config(folder, &members[i], units, &cpus, ports, pins, options, err);
    return rc;
}
