/*
 * The ring product mod 2^64 as one makes it from a BLAS: numbers cut into three signed limbs of 22
 * bits, six products of doubles, summed by shift. bench/compare runs it beside our own. The right
 * side is cut ahead, as a model's weights would be, unless --pack-right says otherwise.
 */
#include <argp.h>
#include <cblas.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIMBS     3
#define LIMB_BITS 22

/*
 * Sums are exact below 2^53. Limbs are at most 2^21 in size, the upper ones 2^19, so that an inner
 * index adds at most 2 * 2^42 to a sum of one shift (two pairs of lower limbs): 2^10 of them fit.
 */
#define INNER_STEP 1024

#define SIDE_MAX   65536
#define REPEAT_MAX 1000
#define MEASURE_NS 50000000u

struct options {
    size_t rows, inner, cols, count, repeat;
    bool pack_right;
};

static const struct argp_option option_table[] = {
    {"rows", 'm', "M", 0, "Rows of the left side (128)", 0},
    {"inner", 'k', "K", 0, "Its columns (768)", 0},
    {"cols", 'n', "N", 0, "Columns of the right side (768)", 0},
    {"count", 'c', "N", 0, "Products of that shape, one after another (1)", 0},
    {"pack-right", 'p', NULL, 0, "Cut the right sides within the time, as attention does", 0},
    {"repeat", 'R', "N", 0, "Repetitions (5)", 0},
    {0},
};

static size_t number(struct argp_state *state, const char *text, size_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*end || value < 1 || value > max)
        argp_error(state, "\"%s\" is no number from 1 to %zu", text, max);
    return value;
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'm':
        o->rows = number(state, text, SIDE_MAX);
        return 0;
    case 'k':
        o->inner = number(state, text, SIDE_MAX);
        return 0;
    case 'n':
        o->cols = number(state, text, SIDE_MAX);
        return 0;
    case 'c':
        o->count = number(state, text, REPEAT_MAX);
        return 0;
    case 'p':
        o->pack_right = true;
        return 0;
    case 'R':
        o->repeat = number(state, text, REPEAT_MAX);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": options only", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Each @count matrices, one after another; of limbs, all of the lowest first. */
struct bench {
    const struct options *o;
    uint64_t *left, *right, *result, *expected;
    double *left_limbs, *right_limbs;
    double *sum; /* (rows, cols): of one shift */
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static bool allocate(struct bench *b)
{
    const struct options *o = b->o;
    size_t left = o->count * o->rows * o->inner, right = o->count * o->inner * o->cols;
    size_t result = o->count * o->rows * o->cols;
    uint64_t random = 1;

    b->left = malloc(left * sizeof(*b->left));
    b->right = malloc(right * sizeof(*b->right));
    b->result = malloc(result * sizeof(*b->result));
    b->expected = calloc(result, sizeof(*b->expected));
    b->left_limbs = malloc(LIMBS * left * sizeof(*b->left_limbs));
    b->right_limbs = malloc(LIMBS * right * sizeof(*b->right_limbs));
    b->sum = malloc(o->rows * o->cols * sizeof(*b->sum));
    if (!b->left || !b->right || !b->result || !b->expected || !b->left_limbs || !b->right_limbs ||
        !b->sum)
        return false;
    for (size_t i = 0; i < left; i++)
        b->left[i] = draw(&random);
    for (size_t i = 0; i < right; i++)
        b->right[i] = draw(&random);
    return true;
}

static void release(struct bench *b)
{
    free(b->left);
    free(b->right);
    free(b->result);
    free(b->expected);
    free(b->left_limbs);
    free(b->right_limbs);
    free(b->sum);
}

/* A number is the sum of its limbs times 2^(22 i), mod 2^64. */
static void cut(const uint64_t *v, size_t count, double *limbs)
{
    const uint64_t half = (uint64_t)1 << (LIMB_BITS - 1), mask = ((uint64_t)1 << LIMB_BITS) - 1;

    for (size_t i = 0; i < count; i++) {
        uint64_t carried = v[i] + half;
        int64_t low = (int64_t)(carried & mask) - (int64_t)half;
        uint64_t upper = (uint64_t)((int64_t)carried >> LIMB_BITS) + half;
        int64_t middle = (int64_t)(upper & mask) - (int64_t)half;

        limbs[i] = (double)low;
        limbs[count + i] = (double)middle;
        limbs[2 * count + i] = (double)((int64_t)upper >> LIMB_BITS);
    }
}

/* @sum = the products of all limb pairs whose shift is @shift limbs, over a part of the inner side.
 */
static void multiply(const struct bench *b, size_t which, size_t from, size_t inner,
                     unsigned int shift)
{
    const struct options *o = b->o;
    const size_t left_all = o->count * o->rows * o->inner;
    const size_t right_all = o->count * o->inner * o->cols;
    const double *left = b->left_limbs + which * o->rows * o->inner + from;
    const double *right = b->right_limbs + (which * o->inner + from) * o->cols;

    for (unsigned int i = 0; i <= shift; i++)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)o->rows, (int)o->cols,
                    (int)inner, 1, left + i * left_all, (int)o->inner,
                    right + (shift - i) * right_all, (int)o->cols, i ? 1 : 0, b->sum, (int)o->cols);
}

static void product(const struct bench *b, size_t which)
{
    const struct options *o = b->o;
    const size_t count = o->rows * o->cols;
    uint64_t *result = b->result + which * count;

    memset(result, 0, count * sizeof(*result));
    for (size_t from = 0; from < o->inner; from += INNER_STEP) {
        size_t inner = o->inner - from < INNER_STEP ? o->inner - from : INNER_STEP;

        for (unsigned int shift = 0; shift < LIMBS; shift++) {
            multiply(b, which, from, inner, shift);
            for (size_t i = 0; i < count; i++)
                result[i] += (uint64_t)(int64_t)b->sum[i] << (shift * LIMB_BITS);
        }
    }
}

static void cut_right(const struct bench *b)
{
    cut(b->right, b->o->count * b->o->inner * b->o->cols, b->right_limbs);
}

static void products(const struct bench *b)
{
    cut(b->left, b->o->count * b->o->rows * b->o->inner, b->left_limbs);
    if (b->o->pack_right)
        cut_right(b);
    for (size_t i = 0; i < b->o->count; i++)
        product(b, i);
}

static bool correct(const struct bench *b)
{
    const struct options *o = b->o;

    for (size_t i = 0; i < o->count * o->rows; i++) {
        const uint64_t *right = b->right + i / o->rows * o->inner * o->cols;

        for (size_t k = 0; k < o->inner; k++)
            for (size_t j = 0; j < o->cols; j++)
                b->expected[i * o->cols + j] += b->left[i * o->inner + k] * right[k * o->cols + j];
    }
    return memcmp(b->expected, b->result, o->count * o->rows * o->cols * sizeof(*b->result)) == 0;
}

/* Multiply-adds a nanosecond, over as many rounds as it takes. */
static double measure(const struct bench *b)
{
    const struct options *o = b->o;
    uint64_t start = now_ns(), spent;
    double macs = (double)o->count * (double)o->rows * (double)o->inner * (double)o->cols;
    unsigned int rounds = 0;

    do {
        products(b);
        rounds++;
        spent = now_ns() - start;
    } while (spent < MEASURE_NS);
    return macs * rounds / (double)spent;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static bool report(const struct bench *b)
{
    const struct options *o = b->o;
    double rates[REPEAT_MAX];
    bool right;

    if (!o->pack_right)
        cut_right(b);
    products(b);
    for (size_t i = 0; i < o->repeat; i++)
        rates[i] = measure(b);
    qsort(rates, o->repeat, sizeof(*rates), compare);
    right = correct(b);
    printf("{\"gmac_per_s_median\":%.6g,\"gmac_per_s_min\":%.6g,\"gmac_per_s_max\":%.6g,"
           "\"correct\":%s,\"kernel\":\"%s\",\"version\":\"%s\"}\n",
           (rates[(o->repeat - 1) / 2] + rates[o->repeat / 2]) / 2, rates[0], rates[o->repeat - 1],
           right ? "true" : "false", openblas_get_corename(), openblas_get_config());
    return right;
}

static const char doc[] =
    "Measure the ring product mod 2^64 by OpenBLAS, on three limbs of 22 bits, with one thread, as "
    "one JSON object.\vExit status: 0 equal to the definition, bit for bit; 1 not; 3 no memory.";

int main(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options o = {.rows = 128, .inner = 768, .cols = 768, .count = 1, .repeat = 5};
    struct bench b = {.o = &o};
    int code = 3;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    openblas_set_num_threads(1);
    if (allocate(&b))
        code = report(&b) ? 0 : 1;
    else
        fprintf(stderr, "openblas: no memory\n");
    release(&b);
    return code;
}
