/*
 * A team: every part once, whoever runs it; more workers than CPUs; runs one after the other so
 * short that late workers meet the next one; and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/workers.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEAM_MAX  8
#define PARTS_MAX 100

/* Plain counters, one a part: a part that ran twice at once, or unseen by the caller, is a race. */
struct tally {
    unsigned int parts[PARTS_MAX];
    unsigned int workers; /* in the team */
    _Alignas(64) unsigned int by_worker[TEAM_MAX][16];
    atomic_bool stranger;
};

static void count_part(void *context, size_t part, unsigned int worker)
{
    struct tally *t = context;

    t->parts[part]++;
    if (worker < t->workers)
        t->by_worker[worker][0]++;
    else
        atomic_store(&t->stranger, true);
}

static struct workers *team(unsigned int count, unsigned int spin_us)
{
    const struct workers_options options = {.name = "team", .count = count, .spin_us = spin_us};
    struct workers *w = NULL;
    struct err err = {""};

    if (workers_new(&options, &w, &err) < 0)
        fail_msg("%s", err.text);
    return w;
}

static void check_tally(const struct tally *t, size_t parts, unsigned int times)
{
    unsigned int sum = 0;

    for (size_t i = 0; i < PARTS_MAX; i++)
        assert_int_equal(t->parts[i], i < parts ? times : 0);
    for (unsigned int i = 0; i < TEAM_MAX; i++)
        sum += t->by_worker[i][0];
    assert_int_equal(sum, parts * times);
    assert_false(t->stranger);
}

static void test_every_part_once(void **state)
{
    static const size_t parts[] = {0, 1, 2, 7, 8, 9, PARTS_MAX};

    (void)state;
    for (unsigned int count = 1; count <= TEAM_MAX; count++) {
        struct workers *w = team(count, count % 2 ? 0 : WORKERS_SPIN_US);

        assert_int_equal(workers_count(w), count);
        for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
            struct tally t = {.workers = count};

            workers_run(w, count_part, &t, parts[i]);
            check_tally(&t, parts[i], 1);
        }
        workers_free(w);
    }
}

static void test_no_team(void **state)
{
    struct tally t = {.workers = 1};

    (void)state;
    assert_int_equal(workers_count(NULL), 1);
    workers_run(NULL, count_part, &t, PARTS_MAX);
    check_tally(&t, PARTS_MAX, 1);
    workers_free(NULL);
}

/* Runs of different tasks one after the other: a late worker must neither run a part of the last
 * one nor read what the next one is being given. */
static void test_many_short_runs(void **state)
{
    static const unsigned int spins[] = {0, 5, WORKERS_SPIN_US};
    const unsigned int runs = 3000;

    (void)state;
    for (size_t s = 0; s < ARRAY_LENGTH(spins); s++)
        for (unsigned int count = 2; count <= TEAM_MAX; count += 3) {
            struct workers *w = team(count, spins[s]);
            struct tally even = {.workers = count}, odd = {.workers = count};

            for (unsigned int i = 0; i < runs; i++) {
                workers_run(w, count_part, &even, 3);
                workers_run(w, count_part, &odd, 1 + count);
            }
            check_tally(&even, 3, runs);
            check_tally(&odd, 1 + count, runs);
            workers_free(w);
        }
}

struct sum {
    const uint64_t *values;
    uint64_t *sums; /* (parts) */
};

static void add_up(void *context, size_t part, unsigned int worker)
{
    const struct sum *s = context;

    (void)worker;
    for (size_t i = 0; i < 1000; i++)
        s->sums[part] += s->values[part * 1000 + i] * (i + 1);
}

/* Longer parts, two teams in two threads' hands, three times as many threads as CPUs. */
static void test_two_teams(void **state)
{
    static uint64_t values[16 * 1000];
    struct workers *w[2] = {team(3, 0), team(3, WORKERS_SPIN_US)};
    uint64_t want[16] = {0}, got[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(values); i++)
        values[i] = i * UINT64_C(0x9e3779b97f4a7c15);
    workers_run(NULL, add_up, &(struct sum){values, want}, 16);
    for (int i = 0; i < 200; i++) {
        memset(got, 0, sizeof(got));
        workers_run(w[i % 2], add_up, &(struct sum){values, got}, 16);
        assert_memory_equal(got, want, sizeof(want));
    }
    workers_free(w[0]);
    workers_free(w[1]);
}

struct where {
    atomic_uint arrived, wrong;
    unsigned int cpu[TEAM_MAX];
};

/* Two parts that wait for each other, so that both workers have one. */
static void look_where(void *context, size_t part, unsigned int worker)
{
    struct where *w = context;

    (void)part;
    atomic_fetch_add(&w->arrived, 1);
    while (atomic_load(&w->arrived) < 2)
        sched_yield();
    if ((unsigned int)sched_getcpu() != w->cpu[worker])
        atomic_fetch_add(&w->wrong, 1);
}

/* Each worker stays on its CPU, worker 0 from workers_lead() on. */
static void test_pinned(void **state)
{
    uint16_t cpus[2];
    struct workers_options options = {.name = "pinned", .count = 2, .cpus = cpus};
    struct where where = {.wrong = 0};
    cpu_set_t before, set;
    struct workers *w;
    unsigned int found = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    for (unsigned int i = 0; found < 2 && i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &before))
            cpus[found++] = (uint16_t)i;
    if (found < 2)
        skip();
    where.cpu[0] = cpus[0];
    where.cpu[1] = cpus[1];
    assert_int_equal(workers_new(&options, &w, NULL), 0);
    assert_int_equal(workers_lead(w, NULL), 0);
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    assert_int_equal(CPU_COUNT(&set), 1);
    workers_run(w, look_where, &where, 2);
    assert_int_equal(where.wrong, 0);
    workers_free(w);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static void test_refused(void **state)
{
    static const uint16_t no_such[] = {0, CPU_SETSIZE - 1};
    struct workers_options options = {.name = "bad", .count = 2, .cpus = no_such};
    struct workers *w = NULL;
    struct err err = {""};

    (void)state;
    assert_int_equal(workers_new(&options, &w, &err), -EINVAL);
    assert_non_null(strstr(err.text, "CPU 1023"));
    options = (struct workers_options){.name = "bad", .count = 0};
    assert_int_equal(workers_new(&options, &w, NULL), -EINVAL);
    options.count = WORKERS_MAX + 1;
    assert_int_equal(workers_new(&options, &w, NULL), -EINVAL);
    assert_null(w);
}

static void run_again(void *context, size_t part, unsigned int worker)
{
    struct tally t = {.workers = TEAM_MAX};

    (void)part, (void)worker;
    workers_run(context, count_part, &t, 2);
}

/* In a process of its own, since it ends there. */
static void test_nested_use_asserts(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        struct workers *w;

        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        w = team(2, 0);
        workers_run(w, run_again, w, 2);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* Their names, for whoever looks with top or gdb; and they are gone afterwards. */
static size_t threads_named(const char *prefix)
{
    DIR *d = opendir("/proc/self/task");
    struct dirent *e;
    size_t count = 0;

    assert_non_null(d);
    while ((e = readdir(d))) {
        char path[300], name[32] = "";
        FILE *in;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        in = fopen(path, "re");
        if (!in)
            continue;
        count += fgets(name, sizeof(name), in) && strncmp(name, prefix, strlen(prefix)) == 0;
        fclose(in);
    }
    closedir(d);
    return count;
}

static void test_names_and_end(void **state)
{
    struct workers_options options = {.name = "named", .count = 4, .background = true};
    struct workers *w;

    (void)state;
    assert_int_equal(workers_new(&options, &w, NULL), 0);
    assert_int_equal(threads_named("named-"), 3);
    workers_free(w);
    assert_int_equal(threads_named("named-"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_once),
        cmocka_unit_test(test_no_team),
        cmocka_unit_test(test_many_short_runs),
        cmocka_unit_test(test_two_teams),
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nested_use_asserts),
        cmocka_unit_test(test_names_and_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
