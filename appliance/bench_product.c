/* mpcformer bench product: the ring product on one core. */
#include "appliance/bench.h"
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "mpc/kernels.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SIDE_MAX     65536
#define ELEMENTS_MAX ((size_t)1 << 28) /* of each matrix */
#define REPEAT_MAX   1000
#define COUNT_MAX    1000

/* The least that a repetition takes, in as many rounds as needed. */
#define MEASURE_NS 50000000u

/* What the naive loop multiplies at most, so that it does not take longer than the rest. */
#define NAIVE_ROWS 8
#define NAIVE_SIDE 768

/* TDPBUUD: products of one, how many a measurement of its rate takes, and how many of those. */
#define DOT_MACS   (16 * 16 * 64)
#define DOT_COUNT  100000
#define DOT_TRIALS 20

struct options {
    unsigned int ring;
    size_t rows, inner, cols, count, repeat;
    const char *isa; /* NULL: the best that is here */
    bool pack_right, json;
};

static const struct argp_option option_table[] = {
    {"ring", 'r', "L", 0, "Bits of an element (64)", 0},
    {"rows", 'm', "M", 0, "Rows of the left side (128)", 0},
    {"inner", 'k', "K", 0, "Its columns (768)", 0},
    {"cols", 'n', "N", 0, "Columns of the right side (768)", 0},
    {"isa", 'i', "NAME", 0, "amx, ifma, avx512, avx2 or c (default: the best that this CPU has)",
     0},
    {"count", 'c', "N", 0, "Products of that shape, one after another (1)", 0},
    {"pack-right", 'p', NULL, 0, "Pack the right sides within the time, as attention does", 0},
    {"repeat", 'R', "N", 0, "Repetitions (5)", 0},
    TOOL_OPTION_JSON,
    {0},
};

static void check(struct argp_state *state, const struct options *o)
{
    unsigned int features;

    if (o->rows * o->inner > ELEMENTS_MAX / o->count ||
        o->inner * o->cols > ELEMENTS_MAX / o->count || o->rows * o->cols > ELEMENTS_MAX / o->count)
        argp_error(state, "a side has more than %zu elements", ELEMENTS_MAX);
    if (o->isa && kernels_isa_features(o->isa, &features) < 0)
        argp_error(state, "--isa %s: amx, ifma, avx512, avx2 or c", o->isa);
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'r':
        o->ring = (unsigned int)bench_number(state, "ring", text, 1, RING_BITS_MAX);
        return 0;
    case 'm':
        o->rows = bench_number(state, "rows", text, 1, SIDE_MAX);
        return 0;
    case 'k':
        o->inner = bench_number(state, "inner", text, 1, SIDE_MAX);
        return 0;
    case 'n':
        o->cols = bench_number(state, "cols", text, 1, SIDE_MAX);
        return 0;
    case 'c':
        o->count = bench_number(state, "count", text, 1, COUNT_MAX);
        return 0;
    case 'p':
        o->pack_right = true;
        return 0;
    case 'i':
        o->isa = text;
        return 0;
    case 'R':
        o->repeat = bench_number(state, "repeat", text, 1, REPEAT_MAX);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return bench_option_none(key, text, state);
    }
}

struct bench {
    const struct options *o;
    struct kernels kernels;
    /* Each @count matrices. */
    uint64_t *left, *right, *result, *expected;
    uint8_t *packed;
    size_t packed_bytes; /* of one */
    void *scratch;
    double *rates; /* (repeat) */
    double naive_rate;
};

static int choose(struct bench *b, struct err *err)
{
    unsigned int here = kernels_cpu_features(), features = here;
    const char *isa = b->o->isa;

    if (isa && kernels_isa_features(isa, &features) < 0)
        return err_set(err, -EINVAL, "--isa %s is none", isa);
    if (features & ~here)
        return err_set(err, -ENOTSUP, "--isa %s: this CPU lacks it", isa);
    b->kernels = kernels_choose(features);
    if (isa && strcmp(b->kernels.isa, isa) != 0)
        return err_set(err, -ENOTSUP, "--isa %s: it multiplied wrongly on this CPU", isa);
    return 0;
}

static void pack(struct bench *b, size_t i)
{
    const struct options *o = b->o;

    b->kernels.pack_right(b->packed + i * b->packed_bytes, b->right + i * o->inner * o->cols,
                          o->cols, 1, o->inner, o->cols, o->ring);
}

static int make(struct bench *b, struct err *err)
{
    const struct options *o = b->o;
    uint64_t random = 1;

    b->packed_bytes = kernels_right_bytes_max(o->inner, o->cols);
    b->left = calloc(o->count * o->rows * o->inner, sizeof(uint64_t));
    b->right = calloc(o->count * o->inner * o->cols, sizeof(uint64_t));
    b->packed = aligned_alloc(KERNELS_ALIGN, o->count * b->packed_bytes);
    b->scratch = aligned_alloc(KERNELS_ALIGN, KERNELS_SCRATCH_BYTES);
    b->result = calloc(o->count * o->rows * o->cols, sizeof(uint64_t));
    b->expected = calloc(o->count * o->rows * o->cols, sizeof(uint64_t));
    b->rates = calloc(o->repeat, sizeof(double));
    if (!b->left || !b->right || !b->packed || !b->scratch || !b->result || !b->expected ||
        !b->rates)
        return err_set(err, -ENOMEM, "no memory for matrices of that size");
    for (size_t i = 0; i < o->count * o->rows * o->inner; i++)
        b->left[i] = bench_random(&random);
    for (size_t i = 0; i < o->count * o->inner * o->cols; i++)
        b->right[i] = bench_random(&random);
    for (size_t i = 0; i < o->count; i++)
        pack(b, i);
    return 0;
}

static void free_all(struct bench *b)
{
    free(b->left);
    free(b->right);
    free(b->packed);
    free(b->scratch);
    free(b->result);
    free(b->expected);
    free(b->rates);
}

static void products(struct bench *b)
{
    const struct options *o = b->o;

    for (size_t i = 0; i < o->count; i++) {
        if (o->pack_right)
            pack(b, i);
        b->kernels.product(b->result + i * o->rows * o->cols, o->cols,
                           b->left + i * o->rows * o->inner, o->inner,
                           b->packed + i * b->packed_bytes, o->rows, o->inner, o->cols, o->ring,
                           false, b->scratch);
    }
}

/* By the definition, in an order that a cache likes. */
static bool correct(const struct bench *b)
{
    const struct options *o = b->o;
    uint64_t wrong = 0;

    for (size_t i = 0; i < o->count * o->rows; i++) {
        const uint64_t *right = b->right + i / o->rows * o->inner * o->cols;

        for (size_t k = 0; k < o->inner; k++)
            for (size_t j = 0; j < o->cols; j++)
                b->expected[i * o->cols + j] += b->left[i * o->inner + k] * right[k * o->cols + j];
    }
    for (size_t i = 0; i < o->count * o->rows * o->cols; i++)
        wrong |= (b->expected[i] ^ b->result[i]) & ring_mask(o->ring);
    return !wrong;
}

/* The definition as one writes it down, on a part of the matrices. */
static double naive_rate(struct bench *b)
{
    const struct options *o = b->o;
    size_t rows = MIN(o->rows, (size_t)NAIVE_ROWS), inner = MIN(o->inner, (size_t)NAIVE_SIDE);
    size_t cols = MIN(o->cols, (size_t)NAIVE_SIDE);
    uint64_t start = time_ns();

    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            uint64_t sum = 0;

            for (size_t k = 0; k < inner; k++)
                sum += b->left[i * o->inner + k] * b->right[k * o->cols + j];
            b->result[i * o->cols + j] = sum;
        }
    return (double)rows * (double)inner * (double)cols / (double)(time_ns() - start);
}

static void measure(struct bench *b)
{
    const struct options *o = b->o;
    double macs = (double)o->count * (double)o->rows * (double)o->inner * (double)o->cols;

    for (int i = 0; i < 3; i++)
        b->naive_rate = MAX(b->naive_rate, naive_rate(b));
    products(b);
    for (size_t i = 0; i < o->repeat; i++) {
        uint64_t start = time_ns(), spent;
        unsigned int rounds = 0;

        do {
            products(b);
            rounds++;
            spent = time_ns() - start;
        } while (spent < MEASURE_NS);
        b->rates[i] = macs * rounds / (double)spent;
    }
}

/* Of what the multiplying instruction alone can do, measured now; null where that is not known. */
static json_t *peak_fraction(const struct bench *b, double rate)
{
    unsigned int limbs = (b->o->ring + 7) / 8;
    double best = 0;

    if (!b->kernels.dots)
        return json_null();
    for (int i = 0; i < DOT_TRIALS; i++) {
        uint64_t start = time_ns();

        b->kernels.dots(DOT_COUNT);
        best = MAX(best, (double)DOT_COUNT * DOT_MACS / (double)(time_ns() - start));
    }
    return json_real(rate * (limbs * (limbs + 1) / 2) / best);
}

/* An exit code. */
static int report(struct bench *b)
{
    const struct options *o = b->o;
    bool right = correct(b);
    double median = tool_median(b->rates, o->repeat);
    json_t *figures =
        json_pack("{s:f, s:f, s:f, s:f, s:s, s:o, s:b, s:i, s:I, s:I, s:I, s:I, s:b}",
                  "gmac_per_s_median", median, "gmac_per_s_min", b->rates[0], "gmac_per_s_max",
                  b->rates[o->repeat - 1], "naive_gmac_per_s", b->naive_rate, "isa", b->kernels.isa,
                  "peak_fraction", peak_fraction(b, median), "correct", right, "ring", (int)o->ring,
                  "rows", (json_int_t)o->rows, "inner", (json_int_t)o->inner, "cols",
                  (json_int_t)o->cols, "count", (json_int_t)o->count, "pack_right", o->pack_right);

    if (!figures) {
        fprintf(stderr, "mpcformer: no memory for the result\n");
        return EXIT_FAILED;
    }
    if (o->json)
        tool_print_json(stdout, figures);
    else
        tool_print_people(stdout, figures);
    json_decref(figures);
    return right ? EXIT_OK : EXIT_NEGATIVE;
}

static void pin_here(void)
{
    int cpu = sched_getcpu();
    cpu_set_t set;

    CPU_ZERO(&set);
    if (cpu >= 0)
        CPU_SET((size_t)cpu, &set);
    /* Where that is not allowed, the figures are less steady and no less true. */
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static const char doc[] =
    "Measure the ring product (M x K) (K x N) on one core, the right side packed ahead as a "
    "model's weights are, the left one within the time.\v"
    "correct: equal to the definition, bit for bit. naive_gmac_per_s: three nested loops, on a "
    "part of the matrices. peak_fraction: of what TDPBUUD alone can do, measured in the same run; "
    "null but for amx. Attention of twelve heads is --rows 128 --inner 64 --cols 128 --count 12 "
    "--pack-right.\n\n"
    "Exit status: 0 correct; 1 not; 2 the command line is wrong; 3 failed.";

int bench_product(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options o = {
        .ring = 64, .rows = 128, .inner = 768, .cols = 768, .count = 1, .repeat = 5};
    struct bench b = {.o = &o};
    struct err err = {""};
    int code, rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    pin_here();
    rc = choose(&b, &err);
    if (rc == 0)
        rc = make(&b, &err);
    if (rc == 0)
        measure(&b);
    code = rc < 0 ? tool_fail(&err, rc) : report(&b);
    free_all(&b);
    return code;
}
