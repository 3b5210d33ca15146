/*
 * Rates from what benches print, and latency from rates: a made-up machine is found again from the
 * rows that it would have measured; a plan's layers add up to the whole; what is no measurement is
 * refused, and why.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/transformer/folder.h"
#include "transformer/latency.h"

#include <math.h>
#include <string.h>

/* Half of 30 us a round, 8 Gbit/s. */
#define LINK                                                                                       \
    "{\"pingpong_us_p50\":30,\"exchange\":[{\"bytes\":4096,\"gbit_per_s_median\":2},"              \
    "{\"bytes\":65536,\"gbit_per_s_median\":8}]}\n"

static struct folder folder;

static const char *file_of(const char *text)
{
    folder_write(&folder, "rates", text, strlen(text));
    return folder.file;
}

static int read_text(const char *text, struct rates *ret, struct err *err)
{
    return rates_read(file_of(text), ret, err);
}

static void expect_near(double value, double expected)
{
    if (fabs(value - expected) > 1e-9 * fabs(expected))
        fail_msg("%.12g instead of %.12g", value, expected);
}

/* 2 ns of work of an opened element and 100 ns a round of it; 0.5 ns of a product. The row stands
 * before the line's rates.
 */
static void a_machine_is_found_again(void **state)
{
    static const char rows[] =
        "{\"ops\":[{\"kind\":\"open\",\"ms\":0.0649,\"bytes\":4000,\"rounds\":4,\"work\":250},"
        "{\"kind\":\"matmul\",\"ms\":0.5,\"bytes\":0,\"rounds\":0,\"work\":1000000}]}\n"
        "{\"ops\":[{\"kind\":\"open\",\"ms\":0.0322,\"bytes\":1000,\"rounds\":2,\"work\":500}]}\n"
        "{\"error\":\"does not fit\"}\n" LINK;
    struct rates r, again;
    json_t *row, *object;
    char *text;

    (void)state;
    assert_int_equal(read_text(rows, &r, NULL), 0);
    expect_near(r.round_ns, 15000);
    expect_near(r.byte_ns, 1);
    expect_near(r.work_ns[OP_OPEN], 2);
    expect_near(r.wait_ns[OP_OPEN], 100);
    expect_near(r.work_ns[OP_MATMUL], 0.5);
    assert_true(r.work_ns[OP_LOOKUP] < 0);
    row = json_loads(rows, JSON_DISABLE_EOF_CHECK, NULL);
    expect_near(latency_of_row(&r, row), 0.0649 + 0.5);
    json_decref(row);

    object = rates_json(&r);
    text = json_dumps(object, 0);
    assert_int_equal(read_text(text, &again, NULL), 0);
    for (size_t i = 0; i < OP_ID_END; i++)
        expect_near(again.work_ns[i], r.work_ns[i]);
    expect_near(again.wait_ns[OP_OPEN], 100);
    expect_near(again.round_ns, r.round_ns);
    free(text);
    json_decref(object);
}

/* A line adds its delay to each round, and bounds the rate. */
static void a_line_is_put_under_it(void **state)
{
    const struct cost c = {.bytes_online = 1000000, .rounds_online = 10, .work = 500};
    struct rates r;

    (void)state;
    assert_int_equal(read_text(LINK
                               "{\"ops\":[{\"kind\":\"open\",\"ms\":1,\"bytes\":0,\"rounds\":0,"
                               "\"work\":1000}]}",
                               &r, NULL),
                     0);
    expect_near(latency_ms(&r, OP_OPEN, &c), 0.15 + 1 + 0.5);
    rates_put_on_line(&r, 5e6, 8);
    expect_near(latency_ms(&r, OP_OPEN, &c), 50.15 + 8 + 0.5);
    rates_put_on_line(&r, 0, 0.001);
    expect_near(r.byte_ns, 8);
}

static void what_is_no_measurement_is_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "nothing measured"},
        {LINK, "nothing measured"},
        {"[1]", "byte 0: no JSON object"},
        {LINK "{", "no JSON object"},
        {"{\"online_ms_median\":3}", "object 1 is no line of `mpcformer bench link --json`"},
        {"{\"ops\":[{\"kind\":\"open\",\"ms\":1,\"bytes\":0,\"rounds\":0}]}", "object 1"},
        {"{\"ops\":[{\"kind\":\"fly\",\"ms\":1,\"bytes\":0,\"rounds\":0,\"work\":1}]}", "object 1"},
        {LINK "{\"round_ns\":1,\"byte_ns\":1,\"work_ns\":{\"open\":-2}}", "object 2"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct err err = {""};
        struct rates r;

        assert_int_equal(read_text(bad[i].text, &r, &err), -EINVAL);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
}

static struct compiled *compile(const char *hidden_act, const char *softmax_act)
{
    struct model_config k = {.hidden = 16,
                             .layers = 2,
                             .heads = 2,
                             .intermediate = 24,
                             .vocab = 40,
                             .positions_max = 16,
                             .types = 2,
                             .labels = 2,
                             .layer_norm_eps = 1e-12};
    const uint32_t tokens = 8;
    struct encoding *sample = calloc(1, sizeof(*sample));
    const struct compile_options options = {.ring = 48,
                                            .frac = 12,
                                            .tokens = &tokens,
                                            .token_count = 1,
                                            .lengths = 1u << LENGTH_BUCKET,
                                            .samples = sample,
                                            .sample_count = 1};
    struct checkpoint *c;
    struct compiled *m;

    assert_non_null(sample);
    sample->count = 8;
    for (uint32_t i = 0; i < 8; i++)
        sample->ids[i] = i;
    assert_int_equal(model_config_set_hidden(&k, hidden_act, NULL), 0);
    assert_int_equal(model_config_set_softmax(&k, softmax_act, NULL), 0);
    assert_int_equal(checkpoint_random(&k, 1, &c, NULL), 0);
    assert_int_equal(compile_model(c, &options, &m, NULL), 0);
    checkpoint_free(c);
    free(sample);
    return m;
}

/* The built-in rates know every function; layers and the rest are all of it; exact costs more. */
static void layers_add_up(void **state)
{
    static const char *const hidden[] = {"quad", "relu", "gelu", "gelu_new", "tanh"};
    static const char *const softmax[] = {"2quad", "2relu", "softmax", "2quad", "2quad"};
    double first = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(hidden); i++) {
        struct compiled *m = compile(hidden[i], softmax[i]);
        struct cost total, kinds[OP_ID_END];
        double ms[3], all = 0;

        assert_int_equal(latency_layers(&rates_default, m, 2, ms, NULL), 0);
        cost_variant(m->plan, &m->plan->variants[0], &total, kinds);
        for (unsigned int id = 1; id < OP_ID_END; id++)
            all += latency_ms(&rates_default, id, &kinds[id]);
        expect_near(ms[0] + ms[1] + ms[2], all);
        assert_true(ms[0] > 0 && ms[1] > 0 && ms[2] > 0);
        if (i == 0)
            first = all;
        assert_true(softmax[i][0] != 's' || all > first); /* exact softmax, with gelu */
        compiled_free(m);
    }
}

static void an_unknown_rate_is_named(void **state)
{
    struct compiled *m = compile("gelu", "softmax");
    struct rates r = rates_default;
    struct err err = {""};
    double ms[3];

    (void)state;
    r.work_ns[OP_SPLINE] = -1;
    assert_int_equal(latency_layers(&r, m, 2, ms, &err), -ENOENT);
    assert_non_null(strstr(err.text, "\"spline\""));
    compiled_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_is_found_again),
        cmocka_unit_test(a_line_is_put_under_it),
        cmocka_unit_test(what_is_no_measurement_is_refused),
        cmocka_unit_test(layers_add_up),
        cmocka_unit_test(an_unknown_rate_is_named),
    };
    int failed;

    folder_make(&folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    folder_remove(&folder);
    return failed;
}
