#include "appliance/config.h"

#include "base/file.h"
#include "mpc/kernels.h"

#include <arpa/inet.h>
#include <ini.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define PARTY0  ROLE_BIT(ROLE_PARTY0)
#define PARTY1  ROLE_BIT(ROLE_PARTY1)
#define DEALER  ROLE_BIT(ROLE_DEALER)
#define OWNER   ROLE_BIT(ROLE_OWNER)
#define PARTIES (PARTY0 | PARTY1)
#define DAEMONS (PARTIES | DEALER)
#define ALL     (DAEMONS | OWNER)

#define STORE_MIN      ((uint64_t)1 << 20)
#define STORE_MAX      ((uint64_t)1 << 50)
#define TIMEOUT_MS_MIN 100
#define TIMEOUT_MS_MAX 600000

/* Who is pinned by a key. */
enum pin_of { PIN_OTHER_PARTY, PIN_PARTY0, PIN_PARTY1, PIN_DEALER, PIN_OWNER };

enum type {
    TYPE_ROLE,
    TYPE_LISTEN,  /* host:port, port 0 lets the system choose */
    TYPE_ADDRESS, /* host:port */
    TYPE_PATH,
    TYPE_PEM,    /* a path, or credential:NAME */
    TYPE_SECRET, /* the same, of what a reload does not read again */
    TYPE_BYTES,  /* digits, and k, M, G or T for powers of 1024 */
    TYPE_SOCKET, /* a path that fits a Unix socket's address */
    TYPE_NUMBER,
    TYPE_LINK,
    TYPE_PORT,
    TYPE_PAGES,
    TYPE_IPV4,
    TYPE_MAC,
    TYPE_CPUS, /* see cpu_list.h */
    TYPE_ISA,
    TYPE_SHAPE,
    TYPE_METRICS, /* host:port, and a word where it is not private */
    TYPE_PINS,    /* may stand on several lines */
    TYPE_LIMIT,   /* the same */
};

struct key {
    const char *name;
    enum type type;
    unsigned int roles;                  /* that may have it */
    unsigned int required;               /* roles that must */
    const char *default_value;           /* NULL: none */
    unsigned int number_min, number_max; /* TYPE_NUMBER */
    enum pin_of pin;                     /* TYPE_PINS */
    size_t offset;
    const char *help;
};

#define AT(field) offsetof(struct config, field)

static const struct key keys[] = {
    {"role", TYPE_ROLE, ALL, ALL, NULL, 0, 0, 0, AT(role),
     "party0, party1 or dealer; owner in an owner's file"},
    {"listen", TYPE_LISTEN, DAEMONS, DAEMONS, NULL, 0, 0, 0, AT(listen),
     "host:port for sessions of owners, parties and the dealer"},
    {"link_listen", TYPE_LISTEN, PARTY1, 0, NULL, 0, 0, 0, AT(link_listen),
     "host:port for the share link, where `link` is uring"},
    {"peer", TYPE_ADDRESS, PARTY0, PARTY0, NULL, 0, 0, 0, AT(peer),
     "host:port where party1 listens"},
    {"peer_link", TYPE_ADDRESS, PARTY0, 0, NULL, 0, 0, 0, AT(peer_link),
     "host:port of party1's share link, where `link` is uring"},
    {"dealer", TYPE_ADDRESS, PARTIES, PARTIES, NULL, 0, 0, 0, AT(dealer),
     "host:port where the dealer listens"},
    {"party0", TYPE_ADDRESS, OWNER, OWNER, NULL, 0, 0, 0, AT(party[0]),
     "host:port where party0 listens"},
    {"party1", TYPE_ADDRESS, OWNER, OWNER, NULL, 0, 0, 0, AT(party[1]),
     "host:port where party1 listens"},
    {"certificate", TYPE_PEM, ALL, ALL, NULL, 0, 0, 0, AT(certificate),
     "this process's certificate, PEM; credential:NAME is systemd's LoadCredential=NAME:..."},
    {"key", TYPE_PEM, ALL, ALL, NULL, 0, 0, 0, AT(key),
     "its private key, PEM, mode 0600; or credential:NAME"},
    {"authority", TYPE_PEM, ALL, ALL, NULL, 0, 0, 0, AT(authority),
     "the authority's certificate, PEM; or credential:NAME"},
    {"peer_pin", TYPE_PINS, PARTIES, PARTIES, NULL, 0, 0, PIN_OTHER_PARTY, AT(pins),
     "fingerprint of the other party"},
    {"dealer_pin", TYPE_PINS, PARTIES, PARTIES, NULL, 0, 0, PIN_DEALER, AT(pins),
     "fingerprint of the dealer"},
    {"party0_pin", TYPE_PINS, DEALER | OWNER, DEALER | OWNER, NULL, 0, 0, PIN_PARTY0, AT(pins),
     "fingerprint of party0"},
    {"party1_pin", TYPE_PINS, DEALER | OWNER, DEALER | OWNER, NULL, 0, 0, PIN_PARTY1, AT(pins),
     "fingerprint of party1"},
    {"client_pin", TYPE_PINS, PARTIES, 0, NULL, 0, 0, PIN_OWNER, AT(pins),
     "fingerprints of the owners that may come; as often as needed"},
    {"limit", TYPE_LIMIT, PARTIES, 0, NULL, 0, 0, 0, AT(limits),
     "what an owner may ask: its name in client_pin, or * for all, then any of model=ID, queries=N "
     "an hour, burst=N, job=N queries, waiting=N jobs (default: any); as often as needed"},
    {"model", TYPE_PATH, OWNER, OWNER, NULL, 0, 0, 0, AT(model),
     "folder of config.json, vocabulary, plan.mpcf; of weights to compare with"},
    {"state", TYPE_PATH, DAEMONS, DAEMONS, NULL, 0, 0, 0, AT(state),
     "folder of models, tapes and what must survive a restart"},
    {"control", TYPE_SOCKET, DAEMONS, DAEMONS, NULL, 0, 0, 0, AT(control),
     "Unix socket that the mpcformer tool talks to"},
    {"store_key", TYPE_SECRET, DAEMONS, 0, NULL, 0, 0, 0, AT(store_key),
     "seals what is kept in `state`: a file of `mpcformer keygen store`, mode 0600; or "
     "credential:NAME"},
    {"metrics", TYPE_METRICS, DAEMONS, 0, NULL, 0, 0, 0, AT(metrics),
     "host:port where /metrics is for Prometheus and /healthz for a probe, without encryption: a "
     "loopback or private address, or another followed by the word public (default: nowhere)"},
    {"audit", TYPE_PATH, DAEMONS, 0, NULL, 0, 0, 0, AT(audit),
     "file that notes, chained, who loaded, asked, was refused, reloaded (default: none)"},
    {"memory", TYPE_BYTES, PARTIES, 0, NULL, 0, 0, 0, AT(memory),
     "bytes of memory that models and tapes may take together, such as 20G (default: what the host "
     "has to give)"},
    {"tapes", TYPE_NUMBER, PARTIES, 0, "2", 1, CONFIG_TAPES_MAX, 0, AT(tapes),
     "tapes kept in memory a plan variant"},
    {"tape_store", TYPE_BYTES, PARTIES, 0, NULL, 0, 0, 0, AT(tape_store),
     "bytes of disk for tapes that outlast a restart, such as 20G; takes `store_key`, and stands "
     "in "
     "both parties' files or in none"},
    {"tape_folder", TYPE_PATH, PARTIES, 0, NULL, 0, 0, 0, AT(tape_folder),
     "folder of those tapes, better one that no backup takes (default: `tapes` in `state`)"},
    {"timeout_ms", TYPE_NUMBER, ALL, 0, "10000", TIMEOUT_MS_MIN, TIMEOUT_MS_MAX, 0, AT(timeout_ms),
     "longest wait for a peer in one step of a session"},
    {"link", TYPE_LINK, PARTIES, 0, "uring", 0, 0, 0, AT(link),
     "driver of the share link: uring (TCP through the kernel) or dpdk (packets over `port`)"},
    {"streams", TYPE_NUMBER, PARTIES, 0, "1", 1, LINK_STREAMS_MAX, 0, AT(streams),
     "of uring: TCP connections that the share link takes turns on; the same at both"},
    {"port", TYPE_PORT, PARTIES, 0, NULL, 0, 0, 0, AT(port.where),
     "of dpdk: 0000:3b:00.0, memif:/PATH (both parties on one host, which trust each other), "
     "af_packet:INTERFACE, af_xdp:INTERFACE or tap:INTERFACE"},
    {"port_pages", TYPE_PAGES, PARTIES, 0, "huge", 0, 0, 0, AT(port.pages),
     "huge pages for the port's frames; or small ones, slower, for tests"},
    {"port_address", TYPE_IPV4, PARTIES, 0, NULL, 0, 0, 0, AT(port.address),
     "IPv4 address of this end of the port's line (default: 169.254.77.1 of party0, .2 of party1)"},
    {"port_vlan", TYPE_NUMBER, PARTIES, 0, NULL, 1, 4094, 0, AT(port.vlan),
     "VLAN of the port's frames (default: untagged)"},
    {"port_mtu", TYPE_NUMBER, PARTIES, 0, NULL, 1500, PORT_FRAME_MAX - PORT_ETHERNET_BYTES, 0,
     AT(port.mtu), "most bytes behind an Ethernet header, if a switch passes less than both ports"},
    {"port_peer_mac", TYPE_MAC, PARTIES, 0, NULL, 0, 0, 0, AT(port.peer_mac),
     "where to send frames, if a router is between the ports (default: where the peer says it "
     "is)"},
    {"workers", TYPE_CPUS, DAEMONS, 0, "1 anywhere", 0, 0, 0, AT(workers),
     "threads of a job, or at the dealer of a tape: 0-7 or 0,2-3 a CPU each, or 4 anywhere"},
    {"offline_workers", TYPE_CPUS, PARTIES, 0, NULL, 0, 0, 0, AT(offline_workers),
     "threads that prepare tapes while no job needs the CPUs (default: as many, where `workers` "
     "are)"},
    {"isa", TYPE_ISA, DAEMONS, 0, "auto", 0, 0, 0, AT(isa),
     "instructions of the ring product: auto, amx, ifma, avx512, avx2 or c"},
    {"shape", TYPE_SHAPE, PARTIES, 0, NULL, 0, 0, 0, AT(shape),
     "for tests with both parties on one host: a line to impose on the share link, as rate, delay "
     "one way or both: 10gbit,20us; of dpdk also 1%loss,1%duplicate,1%reorder; the same at both"},
};

_Static_assert(ARRAY_LENGTH(keys) <= CONFIG_KEYS_MAX, "a value each");

/* The file is read twice: first for the role alone, since it decides what other keys mean. */
struct parser {
    const char *path;
    char folder[PATH_MAX];
    const char *at; /* what of the text is not read yet */
    unsigned int line;
    unsigned int roles; /* that the reader of the file can be */
    bool role_only, role_known;
    unsigned int key_line[ARRAY_LENGTH(keys)]; /* where a key stood first; 0: nowhere yet */
    struct config *config;
    int rc;
    struct err *err;
};

static int fail(struct parser *p, int rc, const char *key, const struct err *detail)
{
    if (p->rc == 0)
        p->rc = err_set(p->err, rc, "%s:%u: %s%s%s", p->path, p->line, key ? key : "",
                        key ? ": " : "", err_text(detail, rc));
    return p->rc;
}

/* Values */

static int set_path(const struct parser *p, const char *text, char **ret_path, struct err *err)
{
    char *path = NULL;

    if (text[0] == '/' ? !(path = strdup(text)) : asprintf(&path, "%s/%s", p->folder, text) < 0)
        return err_set(err, -ENOMEM, "no memory");
    *ret_path = path;
    return 0;
}

/* systemd hands a unit its credentials in a folder that nobody else can read. */
static int set_pem(const struct parser *p, const char *text, char **ret_path, struct err *err)
{
    static const char prefix[] = "credential:";
    const char *folder = getenv("CREDENTIALS_DIRECTORY"), *name = text + sizeof(prefix) - 1;

    if (strncmp(text, prefix, sizeof(prefix) - 1) != 0)
        return set_path(p, text, ret_path, err);
    if (!*name || strchr(name, '/'))
        return err_set(err, -EINVAL,
                       "\"%.80s\": write credential:NAME, as LoadCredential= names it", text);
    if (!folder)
        return err_set(err, -ENOENT,
                       "\"%.80s\", and there are none: start this by its systemd unit, or write a "
                       "path",
                       text);
    return asprintf(ret_path, "%s/%s", folder, name) < 0 ? err_set(err, -ENOMEM, "no memory") : 0;
}

static int set_socket(const struct parser *p, const char *text, char **ret_path, struct err *err)
{
    size_t limit = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    int rc = set_path(p, text, ret_path, err);

    if (rc == 0 && strlen(*ret_path) > limit)
        return err_set(err, -ENAMETOOLONG,
                       "the path has %zu bytes, a Unix socket's at most %zu: choose a shorter one",
                       strlen(*ret_path), limit);
    return rc;
}

static int set_number(const struct key *key, const char *text, unsigned int *ret_number,
                      struct err *err)
{
    unsigned long number = 0;

    for (const char *c = text; *c && number <= key->number_max; c++) {
        if (*c < '0' || *c > '9')
            return err_set(err, -EINVAL, "\"%.40s\" is no number: write digits only", text);
        number = number * 10 + (unsigned long)(*c - '0');
    }
    if (number < key->number_min || number > key->number_max)
        return err_set(err, -ERANGE, "%.40s is out of range: %u to %u", text, key->number_min,
                       key->number_max);
    *ret_number = (unsigned int)number;
    return 0;
}

static int set_bytes(const char *text, uint64_t *ret_bytes, struct err *err)
{
    static const char units[] = "kMGT";
    char *end;
    unsigned long long bytes = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    unsigned int shift = unit ? 10 * (unsigned int)(unit - units + 1) : 0;

    if (*text < '0' || *text > '9' || (*end && (!unit || end[1])))
        return err_set(err, -EINVAL, "\"%.40s\" is no number of bytes: write one like 800M or 20G",
                       text);
    if (bytes > STORE_MAX >> shift || bytes << shift < STORE_MIN)
        return err_set(err, -ERANGE, "%.40s is out of range: 1M to 1024T", text);
    *ret_bytes = (uint64_t)bytes << shift;
    return 0;
}

static int set_address(const struct key *key, const char *text, struct net_address *ret_address,
                       struct err *err)
{
    int rc = net_parse(text, ret_address, err);

    if (rc == 0 && ret_address->port == 0 && key->type == TYPE_ADDRESS)
        return err_set(err, -EINVAL, "\"%.80s\": nobody can be reached at port 0", text);
    return rc;
}

static int set_metrics(const char *text, struct net_address *ret_address, struct err *err)
{
    static const char open_word[] = "public";
    size_t count = strcspn(text, " \t");
    const char *word = text + count + strspn(text + count, " \t");
    char address[NET_TEXT_SIZE];
    int rc;

    if (count >= sizeof(address))
        return err_set(err, -EINVAL, "\"%.80s\" is too long", text);
    memcpy(address, text, count);
    address[count] = '\0';
    if (*word && strcmp(word, open_word) != 0)
        return err_set(err, -EINVAL, "\"%.40s\" after the address: write %s or nothing", word,
                       open_word);
    rc = net_parse(address, ret_address, err);
    if (rc == 0 && !*word && !net_is_private(ret_address))
        return err_set(err, -EINVAL,
                       "%s is no loopback or private address, and anybody who reaches it would "
                       "read there: write 127.0.0.1:%u, or `%s %s`",
                       address, ret_address->port, address, open_word);
    return rc;
}

static enum role pin_role(const struct parser *p, const struct key *key)
{
    static const enum role roles[] = {[PIN_PARTY0] = ROLE_PARTY0,
                                      [PIN_PARTY1] = ROLE_PARTY1,
                                      [PIN_DEALER] = ROLE_DEALER,
                                      [PIN_OWNER] = ROLE_OWNER};

    if (key->pin == PIN_OTHER_PARTY)
        return p->config->role == ROLE_PARTY0 ? ROLE_PARTY1 : ROLE_PARTY0;
    return roles[key->pin];
}

static int add_pins(struct parser *p, const struct key *key, const char *text, struct err *err)
{
    char *copy = strdup(text), *rest = copy, *pin;
    int rc = copy ? 0 : err_set(err, -ENOMEM, "no memory");

    while (rc == 0 && (pin = strsep(&rest, ","))) {
        size_t count;

        pin += strspn(pin, " \t");
        for (count = strlen(pin); count && strchr(" \t", pin[count - 1]); count--)
            pin[count - 1] = 0;
        rc = tls_pins_add(&p->config->pins, pin_role(p, key), pin, err);
    }
    free(copy);
    return rc;
}

static int set_role(const struct parser *p, const char *text, enum role *ret_role, struct err *err)
{
    bool owner = p->roles == OWNER;
    enum role role = ROLE_AUTHORITY;

    if (role_parse(text, &role) < 0 || !(p->roles & ROLE_BIT(role)))
        return err_set(err, -EINVAL, "\"%.40s\" is no role%s: write %s", text,
                       role == ROLE_AUTHORITY ? ""
                       : owner                ? " of an owner"
                                              : " of mpcformerd",
                       owner ? "owner" : "party0, party1 or dealer");
    *ret_role = role;
    return 0;
}

static const char *const link_names[] = {
    [CONFIG_LINK_URING] = "uring", [CONFIG_LINK_DPDK] = "dpdk"};

const char *config_link_name(enum config_link link)
{
    return link_names[link];
}

int config_link_parse(const char *text, enum config_link *ret_link)
{
    for (size_t i = 0; i < ARRAY_LENGTH(link_names); i++)
        if (!strcmp(text, link_names[i])) {
            *ret_link = (enum config_link)i;
            return 0;
        }
    return -EINVAL;
}

/* One of two words: 0 or 1. */
static int set_choice(const char *text, const char *const words[2], unsigned int *ret_choice,
                      struct err *err)
{
    for (*ret_choice = 0; *ret_choice < 2; ++*ret_choice)
        if (strcmp(text, words[*ret_choice]) == 0)
            return 0;
    return err_set(err, -EINVAL, "\"%.40s\" is neither: write %s or %s", text, words[0], words[1]);
}

static int set_ipv4(const char *text, uint32_t *ret_address, struct err *err)
{
    struct in_addr a;

    if (inet_pton(AF_INET, text, &a) != 1 || a.s_addr == 0)
        return err_set(err, -EINVAL, "\"%.40s\" is no IPv4 address: write one like 10.0.0.1", text);
    *ret_address = ntohl(a.s_addr);
    return 0;
}

static int set_mac(const char *text, uint8_t ret_mac[PORT_MAC_BYTES], struct err *err)
{
    int end = 0;

    if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &ret_mac[0], &ret_mac[1], &ret_mac[2],
               &ret_mac[3], &ret_mac[4], &ret_mac[5], &end) != PORT_MAC_BYTES ||
        text[end])
        return err_set(err, -EINVAL, "\"%.40s\" is no MAC address: write one like %s", text,
                       "02:00:5e:10:00:01");
    if (ret_mac[0] & 1)
        return err_set(err, -EINVAL, "\"%.40s\" is a group's address: write a port's", text);
    return 0;
}

static int set_isa(const char *text, unsigned int *ret_features, struct err *err)
{
    unsigned int here = kernels_cpu_features();

    if (strcmp(text, "auto") == 0) {
        *ret_features = here;
        return 0;
    }
    if (kernels_isa_features(text, ret_features) < 0)
        return err_set(err, -EINVAL, "\"%.40s\" is none: write auto, amx, ifma, avx512, avx2 or c",
                       text);
    if (*ret_features & ~here)
        return err_set(err, -EINVAL, "this machine has no %s: write auto", text);
    return 0;
}

static int set_value(struct parser *p, const struct key *key, const char *text, struct err *err)
{
    void *field = (char *)p->config + key->offset;

    if (!*text)
        return err_set(err, -EINVAL, "has no value: write %s = ... (%s)", key->name, key->help);
    switch (key->type) {
    case TYPE_ROLE:
        return set_role(p, text, field, err);
    case TYPE_LISTEN:
    case TYPE_ADDRESS:
        return set_address(key, text, field, err);
    case TYPE_PATH:
        return set_path(p, text, field, err);
    case TYPE_PEM:
    case TYPE_SECRET:
        return set_pem(p, text, field, err);
    case TYPE_BYTES:
        return set_bytes(text, field, err);
    case TYPE_SOCKET:
        return set_socket(p, text, field, err);
    case TYPE_NUMBER:
        return set_number(key, text, field, err);
    case TYPE_LINK:
        return config_link_parse(text, field) == 0
                   ? 0
                   : err_set(err, -EINVAL, "\"%.40s\" is no link driver: write uring or dpdk",
                             text);
    case TYPE_PAGES:
        return set_choice(text, (const char *[]){"huge", "small"}, field, err);
    case TYPE_PORT:
        return port_parse(text, field, err);
    case TYPE_IPV4:
        return set_ipv4(text, field, err);
    case TYPE_MAC:
        return set_mac(text, field, err);
    case TYPE_CPUS:
        return cpu_list_parse(text, field, err);
    case TYPE_ISA:
        return set_isa(text, field, err);
    case TYPE_SHAPE:
        return shape_parse(text, field, err);
    case TYPE_METRICS:
        return set_metrics(text, field, err);
    case TYPE_PINS:
        return add_pins(p, key, text, err);
    case TYPE_LIMIT:
        return limits_add(field, p->line, text, err);
    }
    return -EINVAL;
}

/* Lines */

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

static const char *role_names_of(unsigned int roles)
{
    switch (roles) {
    case ALL:
        return "all";
    case DAEMONS:
        return "party0, party1 and the dealer";
    case PARTIES:
        return "party0 and party1";
    case DEALER | OWNER:
        return "the dealer and owners";
    case PARTY0:
        return "party0";
    case PARTY1:
        return "party1";
    case OWNER:
        return "owners";
    default:
        return "the dealer";
    }
}

static int unknown_key(const struct parser *p, const char *name, struct err *err)
{
    unsigned int roles = p->role_known ? ROLE_BIT(p->config->role) : p->roles;
    char list[ERR_TEXT_MAX / 2] = "";

    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        size_t used = strlen(list);

        if (keys[i].roles & roles)
            snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", keys[i].name);
    }
    return err_set(err, -EINVAL, "unknown key `%.40s`: there are %s", name, list);
}

static bool is_list(const struct key *key)
{
    return key->type == TYPE_PINS || key->type == TYPE_LIMIT;
}

/* What a reload cannot change is kept as text, to see whether somebody tries. */
static bool reloads(const struct key *key)
{
    return is_list(key) || key->type == TYPE_PEM;
}

static int note(struct parser *p, const struct key *key, const char *value)
{
    char **at = &p->config->value[key - keys];

    if (reloads(key) || *at) /* `role` comes by twice */
        return 0;
    return (*at = strdup(value)) ? 0 : -ENOMEM;
}

static int take_key(struct parser *p, const struct key *key, const char *value, struct err *err)
{
    unsigned int *line = &p->key_line[key - keys];

    if (p->role_known && !(key->roles & ROLE_BIT(p->config->role)))
        return err_set(err, -EINVAL, "is for %s only, and this is %s: remove it",
                       role_names_of(key->roles), role_name(p->config->role));
    if (*line && !is_list(key))
        return err_set(err, -EEXIST, "stands twice, first on line %u: keep one", *line);
    if (!*line)
        *line = p->line;
    return note(p, key, value) < 0 ? err_set(err, -ENOMEM, "no memory")
                                   : set_value(p, key, value, err);
}

/* inih calls this for each `key = value`; 0 is failure there. */
static int on_value(void *context, const char *section, const char *name, const char *value)
{
    struct parser *p = context;
    const struct key *key = find_key(name);
    struct err detail = {""};
    int rc = 0;

    (void)section;
    if (p->role_only && (!key || key->type != TYPE_ROLE))
        return 1;
    rc = key ? take_key(p, key, value, &detail) : unknown_key(p, name, &detail);
    if (rc < 0)
        fail(p, rc, key ? name : NULL, &detail);
    p->role_known |= rc == 0 && key->type == TYPE_ROLE;
    return rc == 0;
}

static int check_line(const struct parser *p, const char *line, size_t count, size_t size,
                      struct err *err)
{
    if (count + 2 > size)
        return err_set(
            err, -EMSGSIZE,
            "the line has %zu bytes, at most %zu are read: use shorter paths, a line a pin", count,
            size - 2);
    for (size_t i = 0; i < count; i++)
        if ((unsigned char)line[i] < ' ' && !strchr("\t\r", line[i]))
            return err_set(err, -EINVAL, "a control character: this is to be a text file");
    if (p->line == 1 && count > 2 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
        return 0;
    if (count && *line == '[')
        return err_set(err, -EINVAL, "there are no sections: remove the line");
    if (count && !strchr("#;\r", *line) && !memchr(line, '=', count))
        return err_set(err, -EINVAL, "\"%.*s\" is no line of ours: write key = value",
                       (int)MIN(count, (size_t)40), line);
    return 0;
}

/*
 * inih's fgets(). It counts lines for the messages, and strips what stands before a key, since inih
 * takes an indented line for more of the value above.
 */
static char *next_line(char *ret_line, int size, void *context)
{
    struct parser *p = context;
    struct err detail = {""};
    size_t count;
    int rc;

    if (p->rc < 0 || !*p->at)
        return NULL;
    p->line++;
    p->at += strspn(p->at, " \t");
    count = strcspn(p->at, "\n");
    rc = check_line(p, p->at, count, (size_t)size, &detail);
    if (rc < 0) {
        fail(p, rc, NULL, &detail);
        return NULL;
    }
    memcpy(ret_line, p->at, count);
    memcpy(ret_line + count, "\n", 2);
    p->at += count + (p->at[count] == '\n');
    return ret_line;
}

static int parse(struct parser *p, const char *text, bool role_only)
{
    int rc;

    memset(p->key_line, 0, sizeof(p->key_line));
    p->line = 0;
    p->at = text;
    p->role_only = role_only;
    rc = ini_parse_stream(next_line, p, on_value, p);
    if (p->rc == 0 && rc != 0)
        p->rc = err_set(p->err, -EINVAL, "%s:%d: cannot be read: write key = value", p->path, rc);
    return p->rc;
}

static int check_missing(struct parser *p)
{
    for (size_t i = 0; i < ARRAY_LENGTH(keys) && p->rc == 0; i++) {
        const struct key *key = &keys[i];
        struct err detail = {""};

        if (p->key_line[i] || !(key->roles & ROLE_BIT(p->config->role)))
            continue;
        if (!p->role_known || (key->required & ROLE_BIT(p->config->role)))
            p->rc = err_set(p->err, -EINVAL, "%s: `%s` is missing: add %s = ... (%s)", p->path,
                            key->name, key->name, key->help);
        else if (key->default_value)
            p->rc = set_value(p, key, key->default_value, &detail);
    }
    return p->rc;
}

static int check_limits(struct parser *p)
{
    struct err detail = {""};
    int rc = limits_check(&p->config->limits, &p->config->pins, &p->line, &detail);

    return rc < 0 ? fail(p, rc, "limit", &detail) : 0;
}

/* What depends on more than one key. */
static int check_together(const struct parser *p, struct err *err)
{
    const struct config *c = p->config;
    bool party = ROLE_BIT(c->role) & PARTIES, dpdk = c->link == CONFIG_LINK_DPDK;
    const char *missing = NULL;

    if (party && !dpdk && c->role == ROLE_PARTY0 && !c->peer_link.host[0])
        missing = "peer_link";
    if (party && !dpdk && c->role == ROLE_PARTY1 && !c->link_listen.host[0])
        missing = "link_listen";
    if (party && dpdk && !c->port.where.name[0])
        missing = "port";
    if (missing)
        return err_set(err, -EINVAL, "%s: `%s` is missing: add %s = ... (%s)", p->path, missing,
                       missing, find_key(missing)->help);
    if (c->tape_store && !c->store_key)
        return err_set(err, -EINVAL,
                       "%s: `tape_store` takes `store_key`: tapes are kept sealed or not at all. "
                       "Make one with `mpcformer keygen store --key FILE`",
                       p->path);
    if (dpdk && c->streams > 1)
        return err_set(err, -EINVAL, "%s: `streams` are TCP's: leave it away, or set link = uring",
                       p->path);
    if (!dpdk && shape_faulty(&c->shape))
        return err_set(err, -EINVAL,
                       "%s: `shape` loses packets, and TCP has none to lose: set link = dpdk, or "
                       "write a rate and a delay only",
                       p->path);
    return 0;
}

static int load(const char *path, unsigned int roles, struct config **ret_config, struct err *err)
{
    struct parser p = {.path = path, .roles = roles, .err = err};
    uint8_t *text = NULL;
    char copy[PATH_MAX];
    size_t count;
    int rc;

    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return err_set(err, -ENAMETOOLONG, "%s: path too long", path);
    if (!realpath(dirname(copy), p.folder))
        return err_set(err, -errno, "folder of %s: %s", path, strerror(errno));
    rc = file_read(path, CONFIG_FILE_MAX, &text, &count, err);
    if (rc < 0)
        return rc;
    p.config = calloc(1, sizeof(*p.config));
    if (!p.config || !(p.config->path = realpath(path, NULL)))
        rc = err_set(err, -errno, "%s: %s", path, strerror(errno));
    else if (strlen((char *)text) != count)
        rc = err_set(err, -EINVAL, "%s: holds a NUL: this is to be a text file", path);
    else if ((rc = parse(&p, (char *)text, true)) == 0 &&
             (rc = parse(&p, (char *)text, false)) == 0)
        rc = check_missing(&p);
    if (rc == 0)
        rc = check_limits(&p);
    if (rc == 0)
        rc = check_together(&p, err);
    if (rc == 0 && !p.config->offline_workers.count)
        p.config->offline_workers = p.config->workers;
    free(text);
    if (rc < 0)
        config_free(p.config);
    else
        *ret_config = p.config;
    return rc;
}

int config_load(const char *path, struct config **ret_config, struct err *err)
{
    return load(path, DAEMONS, ret_config, err);
}

int config_load_owner(const char *path, struct config **ret_config, struct err *err)
{
    return load(path, OWNER, ret_config, err);
}

static const char *value_of(const struct config *c, size_t i)
{
    return c->value[i] ? c->value[i] : keys[i].default_value ? keys[i].default_value : "";
}

int config_reload(const struct config *old, struct config **ret_config, struct err *err)
{
    struct config *fresh;
    int rc = config_load(old->path, &fresh, err);

    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(keys); i++)
        if (strcmp(value_of(old, i), value_of(fresh, i)) != 0) {
            rc = err_set(err, -EBUSY,
                         "%s: `%s` has changed, which takes a restart; nothing was reloaded",
                         old->path, keys[i].name);
            config_free(fresh);
        }
    if (rc == 0)
        *ret_config = fresh;
    return rc;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < ARRAY_LENGTH(config->value); i++)
        free(config->value[i]);
    free(config->path);
    free(config->certificate);
    free(config->key);
    free(config->authority);
    free(config->audit);
    free(config->state);
    free(config->store_key);
    free(config->tape_folder);
    free(config->control);
    free(config->model);
    tls_pins_free(&config->pins);
    limits_free(&config->limits);
    free(config);
}

void config_help(FILE *out)
{
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        const struct key *key = &keys[i];

        fprintf(out, "  %-15s %s\n  %-15s (%s%s%s%s)\n", key->name, key->help, "",
                role_names_of(key->roles), key->required ? ", required" : "",
                key->default_value ? ", default " : "",
                key->default_value ? key->default_value : "");
    }
}
