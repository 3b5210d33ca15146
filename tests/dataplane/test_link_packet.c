/*
 * The link of packets against what a network and a peer can do to it. The other end of the line is
 * in the test's hands: it has the peer's keys, and says what it likes.
 */
#include "base/bytes.h"
#include "dataplane/packet_link.h"
#include "tests/dataplane/pair.h"
#include "tests/dataplane/port_mem.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME    1514
#define CHUNK    1344 /* (1514 - 42 - 68) rounded down to 64 */
#define FUZZED   FUZZED_FRAMES
#define OUTER    PACKET_OUTER_BYTES
#define SHORT_MS 200
#define LOOK_NS  20000

static const struct link_options patient = {.timeout_ms = 20000, .busy_poll_us_max = 50};
static const struct link_options hasty = {.timeout_ms = SHORT_MS};

struct bench {
    struct port *port[2]; /* the link's, the peer's */
    struct link *l;
    int lifeline[2];
    struct seal *data, *control; /* the peer's */
    uint64_t control_number;
    struct link_counters before;
};

struct frame {
    uint8_t at[PORT_FRAME_MAX];
    uint32_t bytes;
};

static struct seal_keys *keys_of(uint8_t change)
{
    struct seal_keys *keys = pair_keys();

    keys->send.key[0] ^= change;
    keys->receive.key[0] ^= change;
    return keys;
}

static struct seal *peer_seal(const struct seal_keys *keys)
{
    struct seal_keys *mirror = seal_keys_mirror(keys);
    struct seal *s = NULL;

    assert_non_null(mirror);
    assert_int_equal(seal_new(mirror, SEAL_FASTEST, &s, NULL), 0);
    seal_keys_free(mirror);
    return s;
}

/* A packet of the peer's, sealed under @s and @h->number. */
static void make(struct seal *s, const struct packet *h, const uint8_t *body, size_t bytes,
                 struct frame *ret)
{
    uint8_t *head = ret->at + OUTER;

    packet_write_outer(&pair_paths[1], bytes, ret->at);
    packet_write(h, head);
    if (bytes > 0)
        memcpy(head + PACKET_BYTES, body, bytes);
    assert_int_equal(seal_apply(s, h->number, head, PACKET_HEAD_BYTES, head + PACKET_BYTES, bytes,
                                head + PACKET_HEAD_BYTES),
                     0);
    ret->bytes = (uint32_t)(OUTER + PACKET_BYTES + bytes);
}

static void put(struct bench *b, const struct frame *f)
{
    const struct port_send send = {.head = f->at, .head_bytes = f->bytes};

    assert_int_equal(b->port[1]->ops->send(b->port[1], &send, 1), 1);
}

static void put_control(struct bench *b, enum packet_type type, uint64_t next, const uint8_t *body,
                        size_t bytes)
{
    const struct packet h = {.type = type,
                             .session = 7,
                             .number = b->control_number++,
                             .next = next,
                             .credit = CREDIT_MAX};
    struct frame f;

    make(b->control, &h, body, bytes, &f);
    put(b, &f);
}

/* The head of the piece at @offset of a record of @bytes at @position. */
static struct packet piece(uint64_t number, uint64_t position, uint32_t bytes, uint32_t offset)
{
    return (struct packet){.type = PACKET_DATA,
                           .session = 7,
                           .number = number,
                           .credit = CREDIT_MAX,
                           .position = position,
                           .record_bytes = bytes,
                           .offset = offset};
}

static int open_link(struct bench *b, const struct link_options *o, struct err *err)
{
    struct seal_keys *data = keys_of(0), *control = keys_of(1);
    const struct link_packet_options where =
        pair_packets(b->port[0], 0, b->lifeline[0], UINT32_MAX);
    int rc = link_packet_new(&where, data, control, o, &b->l, err);

    seal_keys_free(data);
    seal_keys_free(control);
    return rc;
}

static void set_up_closed(struct bench *b)
{
    struct seal_keys *data = keys_of(0), *control = keys_of(1);

    *b = (struct bench){0};
    port_mem_new(FRAME, b->port);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b->lifeline), 0);
    b->data = peer_seal(data);
    b->control = peer_seal(control);
    seal_keys_free(data);
    seal_keys_free(control);
}

static void set_up(struct bench *b, const struct link_options *o)
{
    static const uint8_t seen[CHUNK] = {1};
    struct err err = {""};

    set_up_closed(b);
    put_control(b, PACKET_HELLO, 0, seen, sizeof(seen));
    if (open_link(b, o, &err) < 0)
        fail_msg("%s", err.text);
}

static void tear_down(struct bench *b)
{
    link_free(b->l);
    seal_free(b->data);
    seal_free(b->control);
    port_free(b->port[0]);
    port_free(b->port[1]);
    close(b->lifeline[0]);
    if (b->lifeline[1] >= 0)
        close(b->lifeline[1]);
}

/* Let the link look at what came. */
static void look(struct bench *b)
{
    assert_int_equal(b->l->kind->idle(b->l, time_ns() + LOOK_NS), 0);
}

/* The peer sends record 0 of @bytes filled by @seed, its pieces made into @ret. */
static unsigned int make_record(struct bench *b, uint64_t number, uint64_t position, uint32_t bytes,
                                struct frame *ret)
{
    uint8_t body[8 * CHUNK];
    unsigned int count = 0;

    assert_true(bytes <= sizeof(body));
    pair_fill(body, bytes, number);
    for (uint32_t offset = 0; offset < bytes; offset += CHUNK, count++) {
        const struct packet h = piece(number + count, position, bytes, offset);

        make(b->data, &h, body + offset, MIN((size_t)CHUNK, bytes - offset), &ret[count]);
    }
    return count;
}

static void expect_record(struct bench *b, uint64_t number, uint32_t bytes)
{
    const uint8_t *p = link_take(b->l, bytes);
    struct err err = {""};

    if (!p) {
        link_error(b->l, &err);
        fail_msg("record %d: %s", (int)number, err.text);
    }
    assert_true(pair_filled(p, bytes, number));
}

static struct link_counters counters(struct bench *b)
{
    struct link_counters c;

    link_counters(b->l, &c);
    return c;
}

static void expect_error(struct bench *b, int code, const char *words)
{
    struct err err = {""};

    assert_int_equal(link_error(b->l, &err), code);
    if (!strstr(err.text, words))
        fail_msg("'%s' says nothing of '%s'", err.text, words);
}

/* --- the line --- */

static void test_pieces_in_any_order_twice(void **state)
{
    struct frame f[8];
    struct bench b;

    (void)state;
    set_up(&b, &patient);
    assert_int_equal(make_record(&b, 0, 0, 7 * CHUNK + 5, f), 8);
    for (unsigned int i = 0; i < 8; i++) {
        put(&b, &f[i * 5 % 8]);
        put(&b, &f[i * 3 % 8]);
    }
    expect_record(&b, 0, 7 * CHUNK + 5);
    assert_int_equal(counters(&b).duplicates, 8);
    put(&b, &f[2]); /* long taken */
    look(&b);
    assert_int_equal(counters(&b).duplicates, 9);
    tear_down(&b);
}

/* Each byte of a packet is checked, and a wrong one spoils nothing that is there. */
static void test_forged(void **state)
{
    struct frame f[3], forged;
    struct bench b;

    (void)state;
    set_up(&b, &patient);
    assert_int_equal(make_record(&b, 0, 0, 3 * CHUNK, f), 3);
    put(&b, &f[1]);
    for (uint32_t at = OUTER; at < f[0].bytes; at += at < OUTER + PACKET_BYTES ? 1 : 97) {
        forged = f[0];
        forged.at[at] ^= 0x20;
        put(&b, &forged);
        look(&b);
    }
    /* It claims the place of one that came. */
    forged = f[2];
    store_le32(forged.at + OUTER + 48, CHUNK);
    put(&b, &forged);
    look(&b);
    assert_true(counters(&b).seal_failures > PACKET_BYTES / 2);
    assert_int_equal(counters(&b).frame_failures, 0);
    put(&b, &f[2]);
    put(&b, &f[0]);
    expect_record(&b, 0, 3 * CHUNK);
    tear_down(&b);
}

static void test_truncated(void **state)
{
    struct frame f[1], cut;
    struct bench b;

    (void)state;
    set_up(&b, &patient);
    assert_int_equal(make_record(&b, 0, 0, 1000, f), 1);
    for (cut = f[0]; cut.bytes-- > 0;) {
        put(&b, &cut);
        look(&b);
    }
    /* Its own lengths made to fit, only the seal is left to tell. */
    cut = f[0];
    packet_write_outer(&pair_paths[1], 900, cut.at);
    cut.bytes = OUTER + PACKET_BYTES + 900;
    put(&b, &cut);
    look(&b);
    assert_int_equal(counters(&b).seal_failures, 1);
    put(&b, &f[0]);
    expect_record(&b, 0, 1000);
    tear_down(&b);
}

/* Words of the peer that are old say nothing new, whatever they say. */
static void test_control_replayed(void **state)
{
    const struct packet close = {.type = PACKET_CLOSE, .session = 7, .number = 0};
    struct seal_keys *control = keys_of(1);
    struct seal *other = peer_seal(control);
    struct frame f[1], old;
    struct bench b;

    (void)state;
    set_up(&b, &patient);
    make(other, &close, NULL, 0, &old); /* number 0 was the hello */
    put(&b, &old);
    assert_int_equal(make_record(&b, 0, 0, 100, f), 1);
    put(&b, &f[0]);
    expect_record(&b, 0, 100);
    assert_int_equal(counters(&b).strays, 1);
    assert_non_null(link_reserve(b.l, 1));
    seal_free(other);
    seal_keys_free(control);
    tear_down(&b);
}

/* A packet of another session, of a peer that started again, is none of this one's. */
static void test_other_session(void **state)
{
    struct packet h = piece(0, 0, 100, 0);
    uint8_t body[100] = {0};
    struct frame f, right[1];
    struct bench b;

    (void)state;
    set_up(&b, &patient);
    h.session = 8;
    make(b.data, &h, body, sizeof(body), &f);
    put(&b, &f);
    look(&b);
    assert_int_equal(counters(&b).strays, 1);
    seal_free(b.data);
    {
        struct seal_keys *data = keys_of(0);

        b.data = peer_seal(data);
        seal_keys_free(data);
    }
    assert_int_equal(make_record(&b, 0, 0, 100, right), 1);
    put(&b, &right[0]);
    expect_record(&b, 0, 100);
    tear_down(&b);
}

/* --- a peer that has the keys and lies --- */

struct lie {
    const char *what;
    struct packet h;
    size_t bytes;
};

static void test_lies_about_places(void **state)
{
    const struct lie lies[] = {
        {"too large", piece(0, 0, FRAME_PAYLOAD_MAX + 1, 0), CHUNK},
        {"nothing", piece(0, 0, 0, 0), 0},
        {"longer than its record", piece(0, 0, 10, 0), 11},
        {"shorter than a piece", piece(0, 0, 2 * CHUNK, 0), 64},
        {"off the cuts", piece(0, 0, 2 * CHUNK, 64), CHUNK},
        {"behind its record", piece(0, 0, CHUNK, CHUNK), 0},
        {"beyond the arena", piece(0, ARENA_BYTES, 64, 0), 64},
        {"far beyond", piece(0, UINT64_MAX - 63, 64, 0), 64},
        {"between places", piece(0, 1, 64, 0), 64},
        {"over its end", piece(0, ARENA_ROOM / 64 * 64, 1024, 0), 1024},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(lies); i++) {
        uint8_t body[CHUNK] = {0};
        struct frame f;
        struct bench b;

        set_up(&b, &patient);
        make(b.data, &lies[i].h, body, lies[i].bytes, &f);
        put(&b, &f);
        if (link_take(b.l, 64))
            fail_msg("%s: taken", lies[i].what);
        expect_error(&b, -EPROTO, "belongs nowhere");
        tear_down(&b);
    }
}

/* In bounds, but not what the plan says. */
static void test_lies_about_lengths(void **state)
{
    const struct lie lies[] = {
        {"longer", piece(0, 0, 200, 0), 200},
        {"many pieces", piece(0, 0, 1 << 20, 0), CHUNK},
        {"a later place", piece(0, 512, 100, 0), 100},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(lies); i++) {
        uint8_t body[CHUNK] = {0};
        struct frame f;
        struct bench b;

        set_up(&b, &patient);
        make(b.data, &lies[i].h, body, lies[i].bytes, &f);
        put(&b, &f);
        if (link_take(b.l, 100))
            fail_msg("%s: taken", lies[i].what);
        expect_error(&b, -EPROTO, "same plan");
        assert_int_equal(counters(&b).frame_failures, 1);
        tear_down(&b);
    }
}

static void test_lies_about_acknowledgements(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, &patient);
    assert_non_null(link_reserve(b.l, 100));
    assert_int_equal(link_commit(b.l), 0);
    put_control(&b, PACKET_CLOSE, 2, NULL, 0);
    assert_null(link_take(b.l, 1));
    expect_error(&b, -EPROTO, "never sent");
    tear_down(&b);
}

/* --- opening and closing --- */

static void test_nobody_there(void **state)
{
    struct err err = {""};
    struct bench b;

    (void)state;
    set_up_closed(&b);
    assert_int_equal(open_link(&b, &hasty, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "cable"));
    tear_down(&b);
}

static void test_other_keys(void **state)
{
    static const uint8_t seen[CHUNK] = {1};
    struct err err = {""};
    struct bench b;

    (void)state;
    set_up_closed(&b);
    seal_free(b.control);
    {
        struct seal_keys *other = keys_of(2);

        b.control = peer_seal(other);
        seal_keys_free(other);
    }
    put_control(&b, PACKET_HELLO, 0, seen, sizeof(seen));
    assert_int_equal(open_link(&b, &hasty, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "1 with a wrong seal"));
    tear_down(&b);
}

static void test_peer_dies(void **state)
{
    uint64_t start_ns = time_ns();
    struct bench b;

    (void)state;
    set_up(&b, &patient);
    close(b.lifeline[1]);
    b.lifeline[1] = -1;
    assert_null(link_take(b.l, 1));
    expect_error(&b, -ECONNRESET, "closed");
    assert_true(time_ns() - start_ns < 5000000000u);
    tear_down(&b);
}

static void test_arp(void **state)
{
    static const uint8_t question[] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,  0, 0, 0, 0, 1, 8, 6, /* broadcast */
        0,    1,    8,    0,    6,    4,    0,  1,                   /* a question */
        2,    0,    0,    0,    0,    1,    10, 0, 0, 2,             /* of the peer */
        0,    0,    0,    0,    0,    0,    10, 0, 0, 1,             /* for 10.0.0.1 */
    };
    static const uint8_t here[] = {2, 0, 0, 0, 0, 0, 10, 0, 0, 1};
    const struct port_send send = {.head = question, .head_bytes = sizeof(question)};
    struct port_frame got[PORT_BURST];
    bool answered = false;
    struct bench b;

    (void)state;
    set_up(&b, &patient);
    assert_int_equal(b.port[1]->ops->send(b.port[1], &send, 1), 1);
    look(&b);
    for (unsigned int n; (n = b.port[1]->ops->receive(b.port[1], got, PORT_BURST)) > 0;)
        for (unsigned int i = 0; i < n; i++)
            answered = answered || (got[i].bytes == PACKET_ARP_BYTES && got[i].at[21] == 2 &&
                                    memcmp(got[i].at + 22, here, sizeof(here)) == 0);
    assert_true(answered);
    tear_down(&b);
}

/* --- both ends ours --- */

struct both {
    struct port *port[2];
    unsigned int rounds;
    size_t bytes;
    unsigned int epoch_bits;
    uint64_t cut_ms; /* after a tenth of the rounds */
    uint64_t retransmissions;
};

struct both_side {
    struct both *both;
    unsigned int side;
    int rc;
    struct err err;
};

static int exchange(struct both_side *s, struct link *l)
{
    const struct both *b = s->both;

    for (unsigned int round = 0; round < b->rounds; round++) {
        bool cut = s->side == 0 && b->cut_ms > 0 && round == b->rounds / 10;
        uint8_t *to = link_reserve(l, b->bytes);
        const uint8_t *from;

        EXPECT(to);
        pair_fill(to, b->bytes, 2 * round + s->side);
        if (cut)
            port_mem_cut(b->port[0], true);
        EXPECT(link_commit(l) == 0);
        if (cut) {
            usleep((useconds_t)b->cut_ms * 1000);
            port_mem_cut(b->port[0], false);
        }
        from = link_take(l, b->bytes);
        EXPECT(from && pair_filled(from, b->bytes, 2 * round + !s->side));
    }
    EXPECT(link_flush(l) == 0);
    return 0;
}

static void *run_side(void *side)
{
    struct both_side *s = side;
    struct seal_keys *keys[2] = {keys_of(0), keys_of(1)};
    struct seal_keys *mirror[2] = {seal_keys_mirror(keys[0]), seal_keys_mirror(keys[1])};
    struct link_packet_options where =
        pair_packets(s->both->port[s->side], s->side, -1, UINT32_MAX);
    struct link_counters c;
    struct link *l = NULL;

    where.epoch_bits = s->both->epoch_bits;
    s->rc = link_packet_new(&where, s->side ? mirror[0] : keys[0], s->side ? mirror[1] : keys[1],
                            &patient, &l, &s->err);
    if (s->rc == 0) {
        s->rc = exchange(s, l);
        link_error(l, &s->err);
        link_counters(l, &c);
        __atomic_fetch_add(&s->both->retransmissions, c.retransmissions, __ATOMIC_RELAXED);
    }
    link_free(l);
    for (int i = 0; i < 2; i++) {
        seal_keys_free(keys[i]);
        seal_keys_free(mirror[i]);
    }
    return NULL;
}

static void run_both(struct both *b)
{
    struct both_side s[2] = {{.both = b, .side = 0}, {.both = b, .side = 1}};
    pthread_t thread;

    port_mem_new(FRAME, b->port);
    assert_int_equal(pthread_create(&thread, NULL, run_side, &s[1]), 0);
    run_side(&s[0]);
    pthread_join(thread, NULL);
    for (unsigned int side = 0; side < 2; side++) {
        if (s[side].rc != 0)
            fail_msg("side %u: line or code %d: %s", side, s[side].rc, s[side].err.text);
        port_free(b->port[side]);
    }
}

static void test_keys_change(void **state)
{
    /* Three epochs of 2^16 packets, of 98 packets a round. */
    struct both b = {.rounds = 1400, .bytes = 128 << 10, .epoch_bits = 16};

    (void)state;
    run_both(&b);
}

static void test_cable_pulled(void **state)
{
    struct both b = {.rounds = 200, .bytes = 64 << 10, .cut_ms = 2000};
    uint64_t start_ns = time_ns();

    (void)state;
    run_both(&b);
    assert_true(time_ns() - start_ns >= 2000000000u);
    assert_true(b.retransmissions > 0);
}

/* --- anything --- */

/* A packet that was right, with something else in it; every other one has fitting lengths. */
static void mangle(const struct frame *right, uint64_t *random, struct frame *ret)
{
    uint64_t r = pair_random(random);

    *ret = *right;
    switch (r % 4) {
    case 0: /* noise */
        ret->bytes = 1 + (uint32_t)(r >> 8) % FRAME;
        pair_fill(ret->at, ret->bytes, r);
        break;
    case 1: /* a few bytes of the head */
        for (unsigned int i = 0; i < 1 + (r >> 16) % 4; i++) {
            uint64_t s = pair_random(random);

            ret->at[OUTER + s % PACKET_HEAD_BYTES] = (uint8_t)(s >> 32);
        }
        break;
    case 2: /* anywhere */
        ret->at[(r >> 8) % ret->bytes] ^= (uint8_t)(1u << (r >> 40) % 8);
        break;
    default: /* another length */
        ret->bytes = (uint32_t)(r >> 8) % (FRAME + 1);
        if (ret->bytes >= OUTER + PACKET_BYTES)
            packet_write_outer(&pair_paths[1], ret->bytes - OUTER - PACKET_BYTES, ret->at);
        break;
    }
}

static void test_fuzz(void **state)
{
    uint64_t random = 4711, records = 0;
    struct frame f[2], mangled;
    struct bench b;

    (void)state;
    print_message("seed 4711\n");
    set_up(&b, &patient);
    for (unsigned int i = 0; i < FUZZED; i++) {
        if (i % 1000 == 0)
            assert_int_equal(
                make_record(&b, 2 * records, records * packet_step(CHUNK + 100), CHUNK + 100, f),
                2);
        mangle(&f[i % 2], &random, &mangled);
        put(&b, &mangled);
        if (i % (PORT_MEM_RING / 2) == 0)
            look(&b);
        if (i % 1000 == 999) {
            look(&b);
            put(&b, &f[1]);
            put(&b, &f[0]);
            expect_record(&b, 2 * records++, CHUNK + 100);
            while (b.port[1]->ops->receive(b.port[1], (struct port_frame[PORT_BURST]){{0}},
                                           PORT_BURST) > 0)
                ;
        }
    }
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_in_any_order_twice),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_control_replayed),
        cmocka_unit_test(test_other_session),
        cmocka_unit_test(test_lies_about_places),
        cmocka_unit_test(test_lies_about_lengths),
        cmocka_unit_test(test_lies_about_acknowledgements),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_other_keys),
        cmocka_unit_test(test_peer_dies),
        cmocka_unit_test(test_arp),
        cmocka_unit_test(test_keys_change),
        cmocka_unit_test(test_cable_pulled),
        cmocka_unit_test(test_fuzz),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
