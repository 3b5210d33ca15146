/* Metrics against scikit-learn and SciPy (tests/data/metric.py), and their intervals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "transformer/metric.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define VALUES_MAX     128
#define CELLS_MAX      5
#define ERROR_MAX      1e-12
#define INTERVAL_ERROR 0.02 /* two bootstraps, each with its own draws */

static size_t read_values(const char *text, double ret[VALUES_MAX])
{
    size_t count = 0;
    char *end;

    for (double v = strtod(text, &end); end != text; v = strtod(text, &end)) {
        assert_true(count < VALUES_MAX);
        ret[count++] = v;
        text = end;
    }
    return count;
}

static enum metric metric_of(const char *name)
{
    for (size_t m = 0; m < METRICS; m++)
        if (strcmp(metric_name((enum metric)m), name) == 0)
            return (enum metric)m;
    fail_msg("no metric \"%s\"", name);
    return METRICS;
}

static void check_metric(char *const cells[])
{
    double given[VALUES_MAX], right[VALUES_MAX], value;
    size_t count = read_values(cells[1], given);

    assert_int_equal(read_values(cells[2], right), count);
    assert_int_equal(metric_compute(metric_of(cells[0]), given, right, count, &value), 0);
    if (!(fabs(value - strtod(cells[3], NULL)) <= ERROR_MAX))
        fail_msg("%s of %zu: %.15g, not %s", cells[0], count, value, cells[3]);
}

static void check_wilson(char *const cells[])
{
    double wanted[VALUES_MAX], got[2];

    assert_int_equal(read_values(cells[3], wanted), 2);
    metric_wilson(strtoul(cells[1], NULL, 10), strtoul(cells[2], NULL, 10), got);
    for (size_t i = 0; i < 2; i++)
        if (!(fabs(got[i] - wanted[i]) <= ERROR_MAX))
            fail_msg("wilson %s of %s: %.15g, not %.15g", cells[1], cells[2], got[i], wanted[i]);
}

static void check_interval(char *const cells[])
{
    double given[VALUES_MAX], right[VALUES_MAX], wanted[VALUES_MAX], got[2], again[2];
    size_t count = read_values(cells[2], given);

    assert_int_equal(read_values(cells[3], right), count);
    assert_int_equal(read_values(cells[4], wanted), 2);
    assert_int_equal(metric_interval(metric_of(cells[1]), given, right, count, got), 0);
    assert_int_equal(metric_interval(metric_of(cells[1]), given, right, count, again), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_true(got[i] == again[i]);
        if (!(fabs(got[i] - wanted[i]) <= INTERVAL_ERROR))
            fail_msg("%s: %g, not %g", cells[1], got[i], wanted[i]);
    }
}

static void metrics_are_those_of_others(void **state)
{
    FILE *in = fopen(SOURCE_ROOT "/tests/data/metric.tsv", "re");
    size_t size = 0, seen[3] = {0};
    char *line = NULL;

    (void)state;
    assert_non_null(in);
    while (getline(&line, &size, in) >= 0) {
        char *rest = line, *cells[CELLS_MAX] = {NULL};

        if (*line == '#')
            continue;
        for (size_t i = 0; i < CELLS_MAX && rest; i++)
            cells[i] = strsep(&rest, "\t");
        assert_non_null(cells[3]);
        if (strcmp(cells[0], "wilson") == 0 && ++seen[0])
            check_wilson(cells);
        else if (strcmp(cells[0], "interval") == 0 && ++seen[1])
            check_interval(cells);
        else if (++seen[2])
            check_metric(cells);
    }
    free(line);
    fclose(in);
    assert_true(seen[0] >= 7 && seen[1] == 4 && seen[2] > 30);
}

static void accuracys_interval_is_wilsons(void **state)
{
    const double given[] = {0, 1, 1, 0, 1}, right[] = {0, 1, 0, 0, 1};
    double got[2], wanted[2];

    (void)state;
    assert_int_equal(metric_interval(METRIC_ACCURACY, given, right, 5, got), 0);
    metric_wilson(4, 5, wanted);
    assert_true(got[0] == wanted[0] && got[1] == wanted[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_are_those_of_others),
        cmocka_unit_test(accuracys_interval_is_wilsons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
