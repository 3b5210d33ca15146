/*
 * Whose job is next: a queue of jobs played through by hand, each run taking what the test says.
 */
#include "tests/appliance/fixture.h"

#include "appliance/turns.h"

#include <string.h>

#define JOBS_MAX 512

struct waiting {
    struct turn turn;
    char owner;
};

static struct turns turns;
static struct waiting queue[JOBS_MAX];
static size_t waiting;

static int start(void **state)
{
    (void)state;
    turns = (struct turns){.level_ns = 0};
    waiting = 0;
    return 0;
}

static void come(char owner, unsigned int priority, uint64_t deadline_ns)
{
    uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES] = {(uint8_t)owner};

    assert_true(waiting < JOBS_MAX);
    queue[waiting].turn = turns_join(&turns, fingerprint, priority);
    queue[waiting].turn.deadline_ns = deadline_ns;
    queue[waiting++].owner = owner;
}

/* Serve the next job, which takes @ns. */
static struct waiting serve(uint64_t ns)
{
    size_t next = 0;
    struct waiting served;

    assert_true(waiting);
    for (size_t i = 1; i < waiting; i++)
        if (turns_before(&queue[i].turn, &queue[next].turn))
            next = i;
    served = queue[next];
    turns_begin(&turns, &served.turn);
    turns_charge(&served.turn, ns);
    turns_leave(&served.turn);
    memmove(&queue[next], &queue[next + 1], (--waiting - next) * sizeof(queue[0]));
    return served;
}

/* What @order's jobs take 1 each; a job that came when it was its turn. */
static void assert_order(const char *order)
{
    for (; *order; order++)
        assert_int_equal(serve(1).owner, *order);
}

static void test_one_owner(void **state)
{
    static const struct {
        unsigned int priority;
        uint64_t deadline;
    } jobs[] = {{5, 100}, {5, 90}, {9, 200}, {0, 1}, {5, 90}};
    static const uint64_t arrivals[] = {3, 2, 5, 1, 4};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(jobs); i++)
        come('a', jobs[i].priority, jobs[i].deadline);
    for (size_t i = 0; i < ARRAY_LENGTH(arrivals); i++)
        assert_int_equal(serve(1).turn.arrival, arrivals[i]);
}

/* Forty jobs of one owner, all of the highest priority, delay another's single one by one job. */
static void test_owners_take_turns(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++)
        come('a', TURNS_PRIORITY_MAX, 1);
    assert_order("aaa");
    come('b', 0, 1000);
    come('b', 0, 1000);
    assert_order("baba");
    come('c', 0, 1000);
    assert_order("caaa");
}

/* Who comes first of two that had as much goes first. */
static void test_ties(void **state)
{
    (void)state;
    come('b', 0, 9);
    come('a', 9, 1);
    assert_order("ba");
}

/* Large jobs count as what they take: three owners get the same time, not as many jobs. */
static void test_time_counts(void **state)
{
    static const uint64_t takes[] = {['a'] = 1, ['b'] = 4, ['c'] = 16};
    uint64_t had[128] = {0};

    (void)state;
    for (int i = 0; i < 150; i++) {
        come('a', 5, 1);
        come('b', 5, 1);
        come('c', 5, 1);
    }
    while (had['a'] < 140) {
        size_t next = 0;
        char owner;

        for (size_t i = 1; i < waiting; i++)
            if (turns_before(&queue[i].turn, &queue[next].turn))
                next = i;
        owner = queue[next].owner;
        had[(int)owner] += takes[(int)owner];
        assert_int_equal(serve(takes[(int)owner]).owner, owner);
    }
    for (int owner = 'b'; owner <= 'c'; owner++) {
        assert_in_range(had[owner], 140 - 16, 140 + 16);
    }
}

/* An owner that was away does not save up: it shares from now on, it does not have all for a while.
 */
static void test_no_saving_up(void **state)
{
    (void)state;
    come('b', 5, 1);
    assert_order("b");
    for (int i = 0; i < 100; i++)
        come('a', 5, 1);
    for (int i = 0; i < 50; i++)
        assert_order("a");
    for (int i = 0; i < 5; i++)
        come('b', 5, 1);
    assert_order("babababab");
}

/* Nor does it lose what it had too much of by going away for a moment. */
static void test_no_escape(void **state)
{
    (void)state;
    come('a', 5, 1);
    come('b', 5, 1);
    come('b', 5, 1);
    assert_int_equal(serve(100).owner, 'a');
    come('a', 5, 1);
    assert_order("bb");
    come('b', 5, 1);
    come('b', 5, 1);
    assert_order("bba");
}

/* More owners than are remembered, one after the other. */
static void test_many_owners(void **state)
{
    uint8_t fingerprint[IDENTITY_FINGERPRINT_BYTES] = {0};

    (void)state;
    for (unsigned int i = 1; i <= 4 * TURNS_OWNERS_MAX; i++) {
        struct turn turn;

        memcpy(fingerprint, &i, sizeof(i));
        turn = turns_join(&turns, fingerprint, 5);
        assert_int_equal(turn.owner->jobs, 1);
        assert_memory_equal(turn.owner->fingerprint, fingerprint, sizeof(fingerprint));
        turns_begin(&turns, &turn);
        turns_charge(&turn, 1);
        turns_leave(&turn);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_owner, start),
        cmocka_unit_test_setup(test_owners_take_turns, start),
        cmocka_unit_test_setup(test_ties, start),
        cmocka_unit_test_setup(test_time_counts, start),
        cmocka_unit_test_setup(test_no_saving_up, start),
        cmocka_unit_test_setup(test_no_escape, start),
        cmocka_unit_test_setup(test_many_owners, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
