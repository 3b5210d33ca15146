/* The contract of link.h, over every kind of link. */
#include "dataplane/frame.h"
#include "tests/dataplane/pair.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define PATIENT_MS 20000 /* for what should succeed, on a machine that does other things too */
#define SHORT_MS   60

#define SEED 4711

/* Each test below runs this once for each kind. */
static void over_all(uint32_t timeout_ms, pair_side left, pair_side right, void *shared)
{
    for (size_t k = 0; k < pair_kind_count; k++)
        pair_run(&pair_kinds[k], timeout_ms, left, right, shared);
}

static int commit_filled(struct link *l, size_t bytes, uint64_t seed)
{
    uint8_t *p = link_reserve(l, bytes);

    EXPECT(p);
    EXPECT((uintptr_t)p % LINK_ALIGN == 0);
    pair_fill(p, bytes, seed);
    EXPECT(link_commit(l) == 0);
    return 0;
}

static int take_filled(struct link *l, size_t bytes, uint64_t seed)
{
    const uint8_t *p = link_take(l, bytes);

    EXPECT(p);
    EXPECT((uintptr_t)p % LINK_ALIGN == 0);
    EXPECT(pair_filled(p, bytes, seed));
    return 0;
}

/* Small ones, large ones, and both bounds. */
static size_t random_size(uint64_t *state)
{
    uint64_t r = pair_random(state);

    switch (r % 8) {
    case 0:
        return 1;
    case 1:
        return LINK_RECORD_MAX;
    case 2:
    case 3:
        return 1 + (r >> 8) % LINK_RECORD_MAX;
    default:
        return 1 + (r >> 8) % 5000;
    }
}

/* Rounds of up to four records each way. Both sides draw the same sizes, as from a plan. */
static int exchange_random(struct link *l, unsigned int side, void *shared)
{
    uint64_t state = SEED;

    (void)shared;
    for (unsigned int round = 0; round < 60; round++) {
        unsigned int count = 1 + pair_random(&state) % 4;
        size_t bytes[2][4];

        for (unsigned int i = 0; i < count; i++) {
            bytes[0][i] = random_size(&state);
            bytes[1][i] = random_size(&state);
        }
        for (unsigned int i = 0; i < count; i++)
            EXPECT(commit_filled(l, bytes[side][i], 100 * round + 2 * i + side) == 0);
        for (unsigned int i = 0; i < count; i++)
            EXPECT(take_filled(l, bytes[!side][i], 100 * round + 2 * i + !side) == 0);
    }
    EXPECT(link_flush(l) == 0);
    return 0;
}

static void test_random_sizes(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    over_all(PATIENT_MS, exchange_random, exchange_random, NULL);
}

struct window {
    pthread_barrier_t committed;
    size_t bytes;
};

/* Nobody takes before both have committed their whole window. Three times, to go around. */
static int fill_window(struct link *l, unsigned int side, void *shared)
{
    struct window *w = shared;
    size_t count = LINK_WINDOW / LINK_RECORD_COST(w->bytes);
    bool ok = true;

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; ok && i < count; i++)
            ok = commit_filled(l, w->bytes, 2 * i + side) == 0;
        pthread_barrier_wait(&w->committed);
        for (size_t i = 0; ok && i < count; i++)
            ok = take_filled(l, w->bytes, 2 * i + !side) == 0;
        /* Who has taken all may still have to send: nobody sends while it waits at the barrier. */
        ok = ok && link_flush(l) == 0;
        pthread_barrier_wait(&w->committed);
    }
    EXPECT(ok);
    return 0;
}

static void test_full_window_both_ways(void **state)
{
    static const size_t sizes[] = {LINK_RECORD_MAX - LINK_ALIGN, 100000, 1000};
    struct window w;

    (void)state;
    assert_true(LINK_WINDOW / LINK_RECORD_COST(sizes[0]) == 8);
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        w.bytes = sizes[i];
        assert_int_equal(pthread_barrier_init(&w.committed, NULL, 2), 0);
        over_all(PATIENT_MS, fill_window, fill_window, &w);
        pthread_barrier_destroy(&w.committed);
    }
}

/* One side streams far more than a window, the other only takes: reserve waits for it. */
static int stream(struct link *l, unsigned int side, void *shared)
{
    (void)shared;
    for (unsigned int i = 0; i < 40; i++)
        EXPECT(side == 0 ? commit_filled(l, LINK_RECORD_MAX, i) == 0
                         : take_filled(l, LINK_RECORD_MAX, i) == 0);
    EXPECT(link_flush(l) == 0);
    return 0;
}

static void test_one_way_stream(void **state)
{
    (void)state;
    over_all(PATIENT_MS, stream, stream, NULL);
}

/* What is being written stays where it is while the peer's record is taken. */
static int take_while_writing(struct link *l, unsigned int side, void *shared)
{
    (void)shared;
    for (uint64_t round = 0; round < 20; round++) {
        uint8_t *p;

        EXPECT(commit_filled(l, 300, round) == 0);
        p = link_reserve(l, 5000);
        EXPECT(p);
        pair_fill(p, 5000, 1000 + round + side);
        EXPECT(take_filled(l, 300, round) == 0);
        EXPECT(link_commit(l) == 0);
        EXPECT(take_filled(l, 5000, 1000 + round + !side) == 0);
    }
    EXPECT(link_flush(l) == 0);
    return 0;
}

static void test_take_between_reserve_and_commit(void **state)
{
    (void)state;
    over_all(PATIENT_MS, take_while_writing, take_while_writing, NULL);
}

static int reserve_twice(struct link *l, unsigned int side, void *shared)
{
    uint8_t *p = link_reserve(l, 4000);

    (void)shared;
    EXPECT(p);
    pair_fill(p, 4000, 1);
    EXPECT(commit_filled(l, 70, side) == 0);
    EXPECT(take_filled(l, 70, !side) == 0);
    EXPECT(link_flush(l) == 0);
    return 0;
}

static void test_second_reserve_takes_the_place_of_the_first(void **state)
{
    (void)state;
    over_all(PATIENT_MS, reserve_twice, reserve_twice, NULL);
}

static int count(struct link *l, unsigned int side, void *shared)
{
    const struct pair_kind *kind = shared;
    const uint64_t stamp = kind->shaped ? 8 : 0;
    const uint64_t wire_bytes = frame_bytes(1 + stamp) + frame_bytes(1000 + stamp);
    struct link_counters c;

    EXPECT(commit_filled(l, 1, side) == 0);
    EXPECT(commit_filled(l, 1000, side) == 0);
    EXPECT(take_filled(l, 1, !side) == 0);
    EXPECT(take_filled(l, 1000, !side) == 0);
    EXPECT(link_flush(l) == 0);
    link_counters(l, &c);
    EXPECT(c.sent_records == 2 && c.received_records == 2);
    EXPECT(c.sent_bytes == 1001 && c.received_bytes == 1001);
    if (kind->packets) /* with hellos, acknowledgements, and what the line makes of it */
        EXPECT(c.sent_wire_bytes >= wire_bytes && c.received_wire_bytes >= wire_bytes);
    else
        EXPECT(c.sent_wire_bytes == wire_bytes && c.received_wire_bytes == wire_bytes);
    EXPECT(c.seal_failures == 0 && c.frame_failures == 0);
    return 0;
}

static void test_counters(void **state)
{
    (void)state;
    for (size_t k = 0; k < pair_kind_count; k++) {
        struct pair_kind kind = pair_kinds[k];

        pair_run(&pair_kinds[k], PATIENT_MS, count, count, &kind);
    }
}

/* From here on things go wrong. Whatever kills a link, it stays dead and says why. */
static int expect_dead(struct link *l, int code, const char *words)
{
    struct err err = {0};

    EXPECT(link_error(l, &err) == code);
    EXPECT(strstr(err.text, words));
    EXPECT(!link_reserve(l, 1));
    EXPECT(!link_take(l, 1));
    EXPECT(link_commit(l) == code);
    EXPECT(link_flush(l) == code);
    EXPECT(link_error(l, NULL) == code);
    return 0;
}

static int send_100(struct link *l, unsigned int side, void *shared)
{
    (void)shared;
    EXPECT(commit_filled(l, 100, side) == 0);
    EXPECT(link_flush(l) == 0);
    return 0;
}

static int take_101(struct link *l, unsigned int side, void *shared)
{
    struct link_counters c;

    (void)side;
    (void)shared;
    EXPECT(!link_take(l, 101));
    link_counters(l, &c);
    EXPECT(c.frame_failures == 1);
    EXPECT(c.received_records == 0);
    return expect_dead(l, -EPROTO, "same plan");
}

static void test_wrong_size_taken(void **state)
{
    (void)state;
    over_all(PATIENT_MS, send_100, take_101, NULL);
}

static int leave_at_once(struct link *l, unsigned int side, void *shared)
{
    (void)l;
    (void)side;
    (void)shared;
    return 0;
}

static int notice_by_taking(struct link *l, unsigned int side, void *shared)
{
    uint64_t start_ns = time_ns();

    (void)side;
    (void)shared;
    EXPECT(!link_take(l, 1));
    EXPECT(time_ns() - start_ns < (uint64_t)PATIENT_MS * 1000000 / 2);
    return expect_dead(l, -ECONNRESET, "closed");
}

/* A sender notices as well, at the latest when its window is full. */
static int notice_by_sending(struct link *l, unsigned int side, void *shared)
{
    (void)side;
    (void)shared;
    for (int i = 0; i < 100 && link_reserve(l, LINK_RECORD_MAX); i++)
        if (link_commit(l) < 0)
            break;
    return expect_dead(l, -ECONNRESET, "closed");
}

static void test_peer_leaves(void **state)
{
    (void)state;
    over_all(PATIENT_MS, leave_at_once, notice_by_taking, NULL);
    over_all(PATIENT_MS, leave_at_once, notice_by_sending, NULL);
}

/* What it sent before it left is still there. */
static int take_last_then_notice(struct link *l, unsigned int side, void *shared)
{
    (void)shared;
    usleep(30000);
    EXPECT(take_filled(l, 100, !side) == 0);
    EXPECT(!link_take(l, 100));
    return expect_dead(l, -ECONNRESET, "closed");
}

static void test_last_record_of_a_peer_that_left(void **state)
{
    (void)state;
    over_all(PATIENT_MS, send_100, take_last_then_notice, NULL);
}

static int stay_silent(struct link *l, unsigned int side, void *shared)
{
    (void)l;
    (void)side;
    pthread_barrier_wait(shared);
    return 0;
}

static int wait_in_vain(struct link *l, unsigned int side, void *shared)
{
    uint64_t start_ns = time_ns();
    const uint8_t *p = link_take(l, 1);
    uint64_t waited_ns = time_ns() - start_ns;

    (void)side;
    pthread_barrier_wait(shared);
    EXPECT(!p);
    EXPECT(waited_ns >= (uint64_t)SHORT_MS * 1000000);
    return expect_dead(l, -ETIMEDOUT, "60 ms");
}

/* The peer lives but does not take: its arena fills, then mine. */
static int send_in_vain(struct link *l, unsigned int side, void *shared)
{
    int sent = 0;

    (void)side;
    while (sent < 100 && link_reserve(l, LINK_RECORD_MAX) && link_commit(l) == 0)
        sent++;
    pthread_barrier_wait(shared);
    EXPECT(sent >= 8 && sent < 100);
    return expect_dead(l, -ETIMEDOUT, "window is full");
}

static void test_silence(void **state)
{
    pthread_barrier_t done;

    (void)state;
    assert_int_equal(pthread_barrier_init(&done, NULL, 2), 0);
    over_all(SHORT_MS, stay_silent, wait_in_vain, &done);
    over_all(SHORT_MS, stay_silent, send_in_vain, &done);
    pthread_barrier_destroy(&done);
}

/* Calls out of contract, while the peer is well. */
struct misuse {
    pthread_barrier_t done;
    int (*call)(struct link *l);
};

static int commit_nothing(struct link *l)
{
    EXPECT(link_commit(l) == -EINVAL);
    return expect_dead(l, -EINVAL, "without a reserved record");
}

static int commit_twice(struct link *l)
{
    EXPECT(commit_filled(l, 10, 1) == 0);
    return commit_nothing(l);
}

static int reserve_nothing(struct link *l)
{
    EXPECT(!link_reserve(l, 0));
    return expect_dead(l, -EINVAL, "0 bytes");
}

static int take_too_much(struct link *l)
{
    EXPECT(!link_take(l, LINK_RECORD_MAX + 1));
    return expect_dead(l, -EINVAL, "1048577 bytes");
}

static int misuse(struct link *l, unsigned int side, void *shared)
{
    struct misuse *m = shared;
    int rc = m->call(l);

    (void)side;
    pthread_barrier_wait(&m->done);
    return rc;
}

static void test_calls_out_of_contract(void **state)
{
    static int (*const calls[])(struct link *) = {commit_nothing, commit_twice, reserve_nothing,
                                                  take_too_much};
    struct misuse m;

    (void)state;
    assert_int_equal(pthread_barrier_init(&m.done, NULL, 2), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(calls); i++) {
        m.call = calls[i];
        over_all(PATIENT_MS, misuse, misuse, &m);
    }
    pthread_barrier_destroy(&m.done);
}

static void test_options(void **state)
{
    const struct link_options never = {.timeout_ms = 0};
    struct link *end[2] = {NULL, NULL};
    struct err err = {0};

    (void)state;
    assert_int_equal(link_mem_new(NULL, &never, end, &err), -EINVAL);
    assert_non_null(strstr(err.text, "timeout"));
    assert_null(end[0]);
    link_free(NULL);
}

/* Over everything there is here; or over the ports that the arguments name, see pair_use(). */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_sizes),
        cmocka_unit_test(test_full_window_both_ways),
        cmocka_unit_test(test_one_way_stream),
        cmocka_unit_test(test_take_between_reserve_and_commit),
        cmocka_unit_test(test_second_reserve_takes_the_place_of_the_first),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_wrong_size_taken),
        cmocka_unit_test(test_peer_leaves),
        cmocka_unit_test(test_last_record_of_a_peer_that_left),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_calls_out_of_contract),
        cmocka_unit_test(test_options),
    };

    if (argc >= 3)
        pair_use(argv[1], argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
