/*
 * The configuration file: one good file a role, then every way to be wrong, each with the message
 * that its author must see.
 */
#include "tests/appliance/fixture.h"

#include "appliance/config.h"
#include "base/file.h"
#include "mpc/kernels.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define HEX_D "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

#define COMMON                                                                                     \
    "listen = 0.0.0.0:4100\ncertificate = own.pem\nkey = own.key\nauthority = /etc/ca.pem\n"       \
    "state = state\ncontrol = control\n"

/* Each without its first line, so that a test can put another there. */
#define PARTY0_REST                                                                                \
    COMMON "peer = p1.example.org:4100\npeer_link = 10.0.0.2:4101\ndealer = [::1]:4200\n"          \
           "peer_pin = " HEX_A "\ndealer_pin = dan=" HEX_B "\n"
#define PARTY1_BARE COMMON "dealer = [::1]:4200\npeer_pin = " HEX_A "\ndealer_pin = " HEX_B "\n"
#define PARTY1_REST PARTY1_BARE "link_listen = 10.0.0.2:4101\n"
#define OWNER_REST                                                                                 \
    "certificate = own.pem\nkey = own.key\nauthority = /etc/ca.pem\nmodel = model\n"               \
    "party0 = p0.example.org:4100\nparty1 = [::1]:4100\nparty0_pin = " HEX_A                       \
    "\nparty1_pin = p1=" HEX_B "\n"
#define DEALER_REST COMMON "party0_pin = " HEX_A "\nparty1_pin = " HEX_B "\n"

static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct err err = {""};

    write_text("test.conf", text);
    if (config_load("test.conf", &config, &err) < 0)
        fail_msg("%s", err.text);
    return config;
}

static void test_party0(void **state)
{
    struct config *config = load("# the first party\nrole = party0\n" PARTY0_REST);
    char folder[PATH_MAX], path[PATH_MAX];

    (void)state;
    assert_non_null(getcwd(folder, sizeof(folder)));
    assert_int_equal(config->role, ROLE_PARTY0);
    assert_string_equal(config->listen.host, "0.0.0.0");
    assert_int_equal(config->listen.port, 4100);
    assert_string_equal(config->peer.host, "p1.example.org");
    assert_string_equal(config->peer_link.host, "10.0.0.2");
    assert_int_equal(config->peer_link.port, 4101);
    assert_string_equal(config->dealer.host, "::1");

    /* Relative paths start at the file's folder, absolute ones are kept. */
    assert_int_equal(file_path(path, sizeof(path), folder, "own.pem"), 0);
    assert_string_equal(config->certificate, path);
    assert_string_equal(config->authority, "/etc/ca.pem");

    /* What was not said has its default. */
    assert_int_equal(config->tapes, 2);
    assert_int_equal(config->timeout_ms, 10000);
    assert_int_equal(config->link, CONFIG_LINK_URING);
    assert_int_equal(config->workers.count, 1);
    assert_false(config->workers.pinned);
    assert_int_equal(config->offline_workers.count, 1);
    assert_int_equal(config->shape.line.bits_per_s, 0);
    assert_int_equal(config->shape.line.delay_us, 0);

    /* The peer of party0 is party1. */
    assert_int_equal(config->pins.count, 2);
    assert_int_equal(config->pins.pin[0].role, ROLE_PARTY1);
    assert_int_equal(config->pins.pin[0].fingerprint[31], 0xaa);
    assert_int_equal(config->pins.pin[1].role, ROLE_DEALER);
    assert_string_equal(config->pins.pin[1].name, "dan");
    config_free(config);
}

static void test_party1(void **state)
{
    struct config *config = load("role = party1\n" PARTY1_REST "tapes = 1024\ntimeout_ms=100\n"
                                 "link = uring\nshape = 10gbit,20us\n");

    (void)state;
    assert_int_equal(config->role, ROLE_PARTY1);
    assert_int_equal(config->link_listen.port, 4101);
    assert_string_equal(config->peer.host, "");
    assert_int_equal(config->pins.pin[0].role, ROLE_PARTY0);
    assert_int_equal(config->tapes, 1024);
    assert_int_equal(config->timeout_ms, 100);
    assert_int_equal(config->shape.line.bits_per_s, 10000000000);
    assert_int_equal(config->shape.line.delay_us, 20);
    config_free(config);
}

static void test_metrics(void **state)
{
    static const char *const good[] = {
        "127.0.0.1:9464",
        "127.8.9.1:1",
        "10.1.2.3:9464",
        "172.31.255.1:9464",
        "192.168.0.7:9464",
        "[::1]:9464",
        "[fd00::7]:9464",
        "[fe80::1]:9464",
        "169.254.1.1:9464",
        "0.0.0.0:0 public",
        "[2001:db8::1]:9464\tpublic",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        char text[1024];
        struct config *config;

        snprintf(text, sizeof(text), "role = dealer\n" DEALER_REST "metrics = %s\n", good[i]);
        config = load(text);
        assert_true(config->metrics.host[0]);
        config_free(config);
    }
}

/* The role may come last, and still decides whose pin peer_pin is. */
static void test_dealer_and_order(void **state)
{
    struct config *config = load(DEALER_REST "role = dealer\n");

    (void)state;
    assert_int_equal(config->role, ROLE_DEALER);
    assert_int_equal(config->pins.pin[0].role, ROLE_PARTY0);
    assert_int_equal(config->pins.pin[1].role, ROLE_PARTY1);
    assert_int_equal(config->tapes, 0);
    config_free(config);

    config = load(PARTY1_REST "role = party1\n");
    assert_int_equal(config->pins.pin[0].role, ROLE_PARTY0);
    config_free(config);
}

static void test_many_clients(void **state)
{
    struct config *config = load("role = party0\n" PARTY0_REST "client_pin = carl=" HEX_C "\n"
                                 "client_pin = " HEX_D "\n");

    (void)state;
    assert_int_equal(config->pins.count, 4);
    assert_int_equal(config->pins.pin[2].role, ROLE_OWNER);
    assert_string_equal(config->pins.pin[2].name, "carl");
    assert_string_equal(config->pins.pin[3].name, "");
    config_free(config);

    config = load("role = party0\n" PARTY0_REST "client_pin = carl=" HEX_C " , " HEX_D "\n");
    assert_int_equal(config->pins.count, 4);
    assert_int_equal(config->pins.pin[3].role, ROLE_OWNER);
    config_free(config);
}

/* What editors and people do: indentation, tabs, comments, DOS line ends, no last line end, a BOM.
 */
static void test_spelling(void **state)
{
    struct config *config =
        load("\xef\xbb\xbfrole = dealer\r\n\r\n  ; a comment\n\t# another\n"
             "  listen\t=\t127.0.0.1:0  ; the system chooses\n"
             "certificate = a b.pem\nkey = k\nauthority = c\nstate = s\ncontrol = x\n"
             "    party0_pin = " HEX_A "\n\tparty1_pin = " HEX_B);

    (void)state;
    assert_int_equal(config->role, ROLE_DEALER);
    assert_string_equal(config->listen.host, "127.0.0.1");
    assert_int_equal(config->listen.port, 0);
    assert_string_equal(strrchr(config->certificate, '/'), "/a b.pem");
    config_free(config);
}

static const struct bad {
    const char *text, *says;
} bad[] = {
    /* role */
    {"", "test.conf: `role` is missing: add role = ... (party0, party1 or dealer"},
    {COMMON, "`role` is missing"},
    {"role = party2\n" PARTY0_REST, "test.conf:1: role: \"party2\" is no role: write party0"},
    {"role = owner\n",
     "test.conf:1: role: \"owner\" is no role of mpcformerd: write party0, party1 or dealer"},
    {"role =\n" PARTY0_REST, "test.conf:1: role: has no value: write role = ..."},
    {"role = party0\nrole = party0\n", "test.conf:2: role: stands twice, first on line 1"},
    {"role = party0\nrole = party1\n", "test.conf:2: role: stands twice"},
    /* keys */
    {"role = party0\ncolour = red\n",
     "test.conf:2: unknown key `colour`: there are role, listen, peer, peer_link, dealer, "},
    {"Role = party0\n", "test.conf:1: unknown key `Role`"},
    {"role = party0\nlisten = a:1\n# x\nlisten = a:2\n",
     "test.conf:4: listen: stands twice, first on line 2: keep one"},
    {"role = party0\nlink_listen = a:1\n",
     "test.conf:2: link_listen: is for party1 only, and this is party0: remove it"},
    {"role = party1\npeer = a:1\n", "test.conf:2: peer: is for party0 only, and this is party1"},
    {"role = dealer\ntapes = 2\n",
     "test.conf:2: tapes: is for party0 and party1 only, and this is dealer"},
    {"role = dealer\nmetrics = 192.0.2.1:9464\n",
     "test.conf:2: metrics: 192.0.2.1:9464 is no loopback or private address, and anybody who "
     "reaches it would read there: write 127.0.0.1:9464, or `192.0.2.1:9464 public`"},
    {"role = dealer\nmetrics = 0.0.0.0:9464\n", "metrics: 0.0.0.0:9464 is no loopback"},
    {"role = dealer\nmetrics = 172.32.0.1:9464\n", "metrics: 172.32.0.1:9464 is no loopback"},
    {"role = dealer\nmetrics = [2001:db8::1]:9464\n", "is no loopback or private address"},
    {"role = dealer\nmetrics = localhost:9464\n", "metrics: localhost:9464 is no loopback"},
    {"role = dealer\nmetrics = 127.0.0.1:9464 open\n",
     "metrics: \"open\" after the address: write public or nothing"},
    {"role = dealer\nmetrics = 9464\n", "test.conf:2: metrics: "},
    {"role = party0\nparty1_pin = " HEX_A "\n", "party1_pin: is for the dealer and owners only"},
    {"dealer = a:1\nrole = dealer\n", "test.conf:1: dealer: is for party0 and party1 only"},
    /* what is missing */
    {"role = party0\n", "test.conf: `listen` is missing: add listen = ... (host:port for sessions"},
    {"role = party1\n" COMMON, "`dealer` is missing"},
    {"role = party1\n" PARTY1_BARE, "`link_listen` is missing: add link_listen = ... (host:port"},
    {"role = party1\nlink = dpdk\n" PARTY1_BARE,
     "`port` is missing: add port = ... (of dpdk: 0000:"},
    {"role = dealer\n" COMMON "party0_pin = " HEX_A "\n", "`party1_pin` is missing"},
    {"role = party0\n" COMMON "peer = a:1\npeer_link = a:2\ndealer = a:3\n",
     "`peer_pin` is missing: add peer_pin = ... (fingerprint of the other party)"},
    /* tapes on the disk */
    {"role = party0\ntape_store = 20X\n", "\"20X\" is no number of bytes: write one like 800M"},
    {"role = party0\ntape_store = 20GB\n", "test.conf:2: tape_store: \"20GB\" is no number"},
    {"role = party0\ntape_store = -1G\n", "is no number of bytes"},
    {"role = party0\ntape_store = 1000\n", "1000 is out of range: 1M to 1024T"},
    {"role = party0\ntape_store = 99999999999999999999999T\n", "is out of range"},
    {"role = party0\n" PARTY0_REST "tape_store = 1G\n",
     "test.conf: `tape_store` takes `store_key`: tapes are kept sealed or not at all"},
    {"role = dealer\ntape_store = 1G\n", "tape_store: is for party0 and party1 only"},
    {"role = party0\nstore_key = credential:\n", "write credential:NAME"},
    /* addresses */
    {"role = party0\nlisten = localhost\n", "\"localhost\" is no address: write host:port"},
    {"role = party0\nlisten = :4100\n", "\":4100\" has no usable host"},
    {"role = party0\nlisten = ::1:4100\n", "an IPv6 address in brackets"},
    {"role = party0\nlisten = [::1:4100\n", "is no address: write host:port or [IPv6]:port"},
    {"role = party0\nlisten = [::1]4100\n", "is no address"},
    {"role = party0\nlisten = a:\n", "\"a:\" has no usable port"},
    {"role = party0\nlisten = a:65536\n", "it is a number up to 65535"},
    {"role = party0\nlisten = a:-1\n", "has no usable port"},
    {"role = party0\nlisten = a b:1\n", "has no usable host"},
    {"role = party0\npeer = a:0\n", "test.conf:2: peer: \"a:0\": nobody can be reached at port 0"},
    /* numbers and choices */
    {"role = party0\ntapes = two\n", "test.conf:2: tapes: \"two\" is no number: write digits only"},
    {"role = party0\ntapes = 0\n", "tapes: 0 is out of range: 1 to 1024"},
    {"role = party0\ntapes = 1025\n", "1025 is out of range"},
    {"role = party0\ntapes = 99999999999999999999999\n", "is out of range: 1 to 1024"},
    {"role = party0\ntapes = -1\n", "\"-1\" is no number"},
    {"role = party0\ntimeout_ms = 99\n", "timeout_ms: 99 is out of range: 100 to 600000"},
    {"role = party0\ntimeout_ms = 1s\n", "\"1s\" is no number"},
    {"role = party0\nlink = pigeon\n", "link: \"pigeon\" is no link driver: write uring or dpdk"},
    /* ports */
    {"role = party0\nport = eth1\n", "test.conf:2: port: 'eth1' is no port: write 0000:3b:00.0"},
    {"role = party0\nport = 0000:3b:00\n", "is no port"},
    {"role = party0\nport = 0000:3b:00.0,x=1\n", "is no port"},
    {"role = party0\nport = memif:port.sock\n", "the path of a memif socket must begin with /"},
    {"role = party0\nport = memif:/a,role=server\n", "commas"},
    {"role = party0\nport = af_packet:\n", "'' is no name of an interface"},
    {"role = party0\nport = af_packet:sixteen-letters!\n", "is no name of an interface"},
    {"role = party0\nport = af_xdp:a,b\n", "is no name of an interface"},
    {"role = dealer\nport = tap:t0\n", "port: is for party0 and party1 only"},
    {"role = party0\nport_pages = some\n", "\"some\" is neither: write huge or small"},
    {"role = party0\nport_address = 10.0.0\n", "\"10.0.0\" is no IPv4 address"},
    {"role = party0\nport_address = ::1\n", "\"::1\" is no IPv4 address"},
    {"role = party0\nport_vlan = 4095\n", "port_vlan: 4095 is out of range: 1 to 4094"},
    {"role = party0\nport_mtu = 1499\n", "out of range: 1500 to "},
    {"role = party0\nport_peer_mac = 02:00:5e:10:00\n", "is no MAC address: write one like 02:"},
    {"role = party0\nport_peer_mac = 01:00:5e:10:00:01\n", "is a group's address"},
    {"role = party1\nlink = dpdk\nport = memif:/p.sock\nstreams = 2\n" PARTY1_BARE,
     "`streams` are TCP's: leave it away"},
    {"role = party1\nstreams = 9\n" PARTY1_REST, "streams: 9 is out of range: 1 to 8"},
    {"role = party1\nshape = 1%loss\n" PARTY1_REST, "`shape` loses packets, and TCP has none"},
    /* workers */
    {"role = party0\nworkers = all\n",
     "test.conf:2: workers: \"all\" is no list of CPUs: write 0-7 or 0,2-3, or 4 anywhere"},
    {"role = party0\nworkers = anywhere\n", "\"anywhere\" is no list of CPUs"},
    {"role = party0\nworkers = 0,\n", "\"0,\" is no list of CPUs"},
    {"role = party0\nworkers = -1\n", "is no list of CPUs"},
    {"role = party0\nworkers = 1-0\n", "is no list of CPUs"},
    {"role = party0\nworkers = 999999999999999999999\n", "is no list of CPUs"},
    {"role = party0\nworkers = 0 anywhere\n", "workers: 0 workers: 1 to 64"},
    {"role = party0\nworkers = 65 anywhere\n", "workers: 65 workers: 1 to 64"},
    {"role = party1\noffline_workers = 99999\n",
     "test.conf:2: offline_workers: CPU 99999 does not exist: this machine has 0 to "},
    {"role = dealer\noffline_workers = 0\n", "offline_workers: is for party0 and party1 only"},
    {"role = party0\nisa = sse\n",
     "test.conf:2: isa: \"sse\" is none: write auto, amx, ifma, avx512, avx2 or c"},
    {"role = party0\nshape = fast\n",
     "test.conf:2: shape: \"fast\" is no rate and no delay: write a whole number and gbit, mbit"},
    {"role = party0\nshape =\n", "test.conf:2: shape: has no value: write shape = ..."},
    {"role = party1\nshape = 1gbit\nshape = 1ms\n", "shape: stands twice"},
    {"role = dealer\nshape = 1gbit\n", "shape: is for party0 and party1 only, and this is dealer"},
    /* pins */
    {"role = party0\npeer_pin = abc\n",
     "test.conf:2: peer_pin: \"abc\" is no pin: write HEX or NAME=HEX with the 64 digits that "
     "`mpcformer keygen show`"},
    {"role = party0\npeer_pin = a b=" HEX_A "\n", "\"a b\" cannot be a name"},
    {"role = party0\nclient_pin = " HEX_A ",\n", "\"\" is no pin"},
    {"role = party0\npeer_pin = " HEX_A "\nclient_pin = " HEX_A "\n",
     "is pinned already, as party1: one key has one role"},
    {"role = dealer\n" COMMON "party0_pin = " HEX_A "\nparty1_pin = " HEX_A "\n",
     "is pinned already, as party0"},
    /* limits */
    {"role = party0\nclient_pin = carl=" HEX_C "\nlimit = carl queries=0\n",
     "test.conf:3: limit: queries=0: write a number from 1 to 1000000000, or any"},
    {"role = party1\nlimit = carl queries=9\n" PARTY1_REST,
     "test.conf:2: limit: no owner is pinned as carl: name one as its client_pin does"},
    {"role = dealer\nlimit = * queries=9\n", "limit: is for party0 and party1 only"},
    /* lines */
    {"role = party0\nlisten\n", "test.conf:2: \"listen\" is no line of ours: write key = value"},
    {"role = party0\nlisten: a:1\n", "test.conf:2: \"listen: a:1\" is no line of ours"},
    {"[party]\nrole = party0\n", "test.conf:1: there are no sections: remove the line"},
    {"= party0\n", "test.conf:1: unknown key ``"},
    {"role = party0\nstate = a\x01z\n", "test.conf:2: a control character"},
    {"role = party0\nstate = "
     "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012"
     "3"
     "456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"
     "7"
     "8901234567\n",
     "use shorter paths, a line a pin"},
    {"role = party0\ncontrol = /"
     "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012"
     "3"
     "45678901234567\n",
     "control: the path has 109 bytes, a Unix socket's at most 107"},
};

static void test_bad_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct config *config = NULL;
        struct err err = {""};

        write_text("test.conf", bad[i].text);
        assert_true(config_load("test.conf", &config, &err) < 0);
        assert_contains(err.text, bad[i].says);
        assert_null(config);
    }
}

static void expect_workers(const char *key, const char *value, const char *text)
{
    char file[4096], back[CPU_LIST_TEXT_SIZE];
    struct config *config;

    snprintf(file, sizeof(file), "role = party0\n" PARTY0_REST "%s = %s\n", key, value);
    config = load(file);
    cpu_list_text(strcmp(key, "workers") ? &config->offline_workers : &config->workers, back);
    assert_string_equal(back, text);
    config_free(config);
}

static void expect_no_workers(const char *value, const char *says)
{
    char file[4096];
    struct config *config = NULL;
    struct err err = {""};

    snprintf(file, sizeof(file), "role = party0\n" PARTY0_REST "workers = %s\n", value);
    write_text("test.conf", file);
    assert_int_equal(config_load("test.conf", &config, &err), -EINVAL);
    assert_contains(err.text, says);
}

/* CPUs are held against what this process may use. */
static void test_workers(void **state)
{
    unsigned int own[2] = {0}, found = 0;
    cpu_set_t before, one;
    char text[64];

    (void)state;
    expect_workers("workers", "64 anywhere", "64 anywhere");
    expect_workers("offline_workers", "2\tanywhere", "2 anywhere");
    expect_workers("workers = 3 anywhere\noffline_workers", "2 anywhere", "2 anywhere");

    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    for (unsigned int cpu = 0; found < 2 && cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &before))
            own[found++] = cpu;
    snprintf(text, sizeof(text), "%u", own[0]);
    expect_workers("workers", text, text);
    snprintf(text, sizeof(text), "%u,%u", own[0], own[0]);
    expect_no_workers(text, "stands twice");
    if (found < 2)
        return;
    snprintf(text, sizeof(text), "%u,%u", own[1], own[0]);
    expect_workers("workers", text, text);
    snprintf(text, sizeof(text), "%u-%u", own[0], own[1]);
    if (own[1] == own[0] + 1)
        expect_workers("workers", text, text);

    CPU_ZERO(&one);
    CPU_SET(own[0], &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    snprintf(text, sizeof(text), "%u", own[1]);
    expect_no_workers(text, "may not be used by this process");
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static void test_isa(void **state)
{
    struct config *config = load("role = dealer\n" DEALER_REST "isa = c\n");

    (void)state;
    assert_int_equal(config->isa, 0);
    config_free(config);
    config = load("role = dealer\n" DEALER_REST "isa = auto\n");
    assert_int_equal(config->isa, kernels_cpu_features());
    config_free(config);
}

/* An owner's file is read by the tool, never by mpcformerd, and the other way round. */
static void test_owner(void **state)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"role = dealer\n" DEALER_REST, "\"dealer\" is no role of an owner: write owner"},
        {"role = nobody\n", "\"nobody\" is no role: write owner"},
        {OWNER_REST, "test.conf: `role` is missing"},
        {"role = owner\nparty0 = a:0\n", "party0: \"a:0\": nobody can be reached at port 0"},
        {"role = owner\nparty1_pin = abc\n", "party1_pin: \"abc\" is no pin"},
        {"role = owner\nlisten = a:1\n", "listen: is for party0, party1 and the dealer only"},
        {"role = owner\npeer = a:1\n", "peer: is for party0 only, and this is owner: remove it"},
        {"role = owner\ncertificate = a\nkey = b\nauthority = c\nparty0 = a:1\n",
         "`party1` is missing: add party1 = ... (host:port where party1 listens)"},
        {"role = owner\npigeon = 1\n", "unknown key `pigeon`: there are role, party0, party1"},
    };
    struct config *config = NULL;
    struct err err = {""};

    (void)state;
    write_text("test.conf", "role = owner\n" OWNER_REST);
    if (config_load_owner("test.conf", &config, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(config->party[0].host, "p0.example.org");
    assert_string_equal(config->party[1].host, "::1");
    assert_string_equal(strrchr(config->model, '/'), "/model");
    assert_int_equal(config->pins.pin[0].role, ROLE_PARTY0);
    assert_int_equal(config->pins.pin[1].role, ROLE_PARTY1);
    assert_int_equal(config->timeout_ms, 10000);
    config_free(config);

    config = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        err = (struct err){""};
        write_text("test.conf", wrong[i].text);
        assert_true(config_load_owner("test.conf", &config, &err) < 0);
        assert_contains(err.text, wrong[i].says);
        assert_null(config);
    }
}

static void test_credentials(void **state)
{
    struct config *config = NULL;
    struct err err = {""};

    (void)state;
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/run/credentials/unit", 1), 0);
    config = load("role = dealer\nlisten = 0.0.0.0:1\ncertificate = credential:mine\nkey = key\n"
                  "authority = a\nstate = s\ncontrol = c\nparty0_pin = " HEX_A
                  "\nparty1_pin = " HEX_B "\n");
    assert_string_equal(config->certificate, "/run/credentials/unit/mine");
    config_free(config);

    write_text("test.conf", "role = dealer\nkey = credential:../passwd\n");
    assert_int_equal(config_load("test.conf", &config, &err), -EINVAL);
    assert_contains(err.text, "test.conf:2: key: \"credential:../passwd\"");
    unsetenv("CREDENTIALS_DIRECTORY");
    err = (struct err){""};
    write_text("test.conf", "role = dealer\nkey = credential:key\n");
    assert_int_equal(config_load("test.conf", &config, &err), -ENOENT);
    assert_contains(err.text, "start this by its systemd unit");
}

static void test_reload(void **state)
{
    struct config *config = load("role = party1\ntapes = 2\n" PARTY1_REST), *fresh = NULL;
    struct err err = {""};

    (void)state;
    /* Pins, and which files hold the keys; a default that is spelled out is no change. */
    write_text("test.conf", "role = party1\nisa = auto\nlisten = 0.0.0.0:4100\nkey = new.key\n"
                            "certificate = new.pem\nauthority = ca\nstate = state\n"
                            "control = control\ndealer = [::1]:4200\npeer_pin = " HEX_C
                            "\ndealer_pin = " HEX_B "\nlink_listen = 10.0.0.2:4101\n");
    assert_int_equal(config_reload(config, &fresh, &err), 0);
    assert_true(strstr(fresh->key, "/new.key"));
    assert_int_equal(fresh->pins.count, 2);
    config_free(fresh);

    write_text("test.conf", "role = party1\nlimit = * queries=9\nlimit = carl waiting=2\n"
                            "client_pin = carl=" HEX_D "\n" PARTY1_REST);
    assert_int_equal(config_reload(config, &fresh, &err), 0);
    assert_int_equal(fresh->limits.count, 2);
    config_free(fresh);

    write_text("test.conf", "role = party1\ntimeout_ms = 1000\n" PARTY1_REST);
    assert_int_equal(config_reload(config, &fresh, &err), -EBUSY);
    assert_contains(err.text, "`timeout_ms` has changed, which takes a restart");
    err = (struct err){""};
    write_text("test.conf", "role = dealer\n" DEALER_REST);
    assert_int_equal(config_reload(config, &fresh, &err), -EBUSY);
    assert_contains(err.text, "`role` has changed");
    write_text("test.conf", "role = party1\n");
    assert_int_equal(config_reload(config, &fresh, &err), -EINVAL);
    config_free(config);
}

static void test_no_text(void **state)
{
    static const char nul[] = "role = party0\0\n";
    struct config *config = NULL;
    struct err err = {""};
    char *large;

    (void)state;
    assert_int_equal(config_load("absent.conf", &config, &err), -ENOENT);
    assert_contains(err.text, "absent.conf: No such file");
    err = (struct err){""};
    assert_true(config_load("nowhere/absent.conf", &config, &err) < 0);
    assert_contains(err.text, "folder of nowhere/absent.conf");
    assert_int_equal(config_load(".", &config, NULL), -EINVAL);

    assert_int_equal(file_write("nul.conf", 0600, nul, sizeof(nul), NULL), 0);
    err = (struct err){""};
    assert_int_equal(config_load("nul.conf", &config, &err), -EINVAL);
    assert_contains(err.text, "holds a NUL");

    large = malloc(CONFIG_FILE_MAX + 1);
    assert_non_null(large);
    memset(large, '#', CONFIG_FILE_MAX + 1);
    assert_int_equal(file_write("large.conf", 0600, large, CONFIG_FILE_MAX + 1, NULL), 0);
    assert_int_equal(config_load("large.conf", &config, NULL), -EFBIG);
    free(large);
    assert_null(config);
}

/* From a folder below, a file's paths are still relative to where it lies. */
static void test_other_folder(void **state)
{
    struct config *config = NULL;
    char folder[PATH_MAX], path[PATH_MAX];

    (void)state;
    assert_non_null(getcwd(folder, sizeof(folder)));
    assert_int_equal(mkdir("etc", 0700), 0);
    write_text("etc/dealer.conf", "role = dealer\n" DEALER_REST);
    assert_int_equal(config_load("etc/dealer.conf", &config, NULL), 0);
    assert_int_equal(file_path(path, sizeof(path), folder, "etc/control"), 0);
    assert_string_equal(config->control, path);
    config_free(config);
    config_free(NULL);
}

/* The help comes from the same table: no key can be missing from it. */
static void test_help(void **state)
{
    char *text = NULL;
    size_t count = 0;
    FILE *out = open_memstream(&text, &count);

    (void)state;
    assert_non_null(out);
    config_help(out);
    assert_int_equal(fclose(out), 0);
    assert_contains(text, "link_listen");
    assert_contains(text, "(party0 and party1, default 2)");
    assert_contains(text, "(party0, party1 and the dealer, required)");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_party0),
        cmocka_unit_test(test_party1),
        cmocka_unit_test(test_dealer_and_order),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_many_clients),
        cmocka_unit_test(test_spelling),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_isa),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_no_text),
        cmocka_unit_test(test_other_folder),
        cmocka_unit_test(test_help),
    };

    return cmocka_run_group_tests_name("config", tests, setup_folder, teardown_folder);
}
