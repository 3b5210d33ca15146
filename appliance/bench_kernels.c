/* mpcformer bench kernels: what surrounds the ring product, and the PRG, on one core. */
#include "appliance/bench.h"
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "mpc/kernels.h"
#include "mpc/prg.h"

#include <stdlib.h>
#include <string.h>

#define REPEAT_MAX 1000
/* Repetitions are short, so that most of them fall between two turns of other programs. */
#define REPEAT_NS  300000u   /* the least that one takes */
#define MEASURE_NS 60000000u /* after that there are no more than REPEAT_MIN */
#define REPEAT_MIN 3

/* In L1, in L2, in memory. */
static const size_t counts[] = {1024, 98304, 4194304};
static const size_t prg_bytes[] = {64, 4096, 262144, 4194304};

#define COUNT_MAX 4194304

/* The shapes of a BERT at l = 48, f = 12. */
#define RING   48
#define SHIFT  12
#define BITS   36
#define COLS   64
#define DIGITS 12
#define ROWS   1024 /* of a table of two columns */

/*
 * Operands, one behind the other: a large one runs into the next. They start at different places of
 * a page, as buffers in an arena do: loads that meet a store at the same place of another page
 * wait.
 */
enum { OPERANDS = 7, OPERAND_WORDS = COUNT_MAX + 41 * 8 };

struct room {
    uint64_t *all, *at[OPERANDS];
};

/* --- the kernels, over @n elements --- */

#define CASE(name) static void name(const struct kernels *k, uint64_t *const w[OPERANDS], size_t n)

CASE(pack)
{
    k->pack((uint8_t *)w[0], w[1], n, RING);
}

CASE(unpack_add)
{
    k->unpack_add(w[0], (const uint8_t *)w[1], n, RING);
}

CASE(pack_12)
{
    k->pack_fields((uint8_t *)w[0], w[1], n, 12);
}

CASE(pack_35)
{
    k->pack_fields((uint8_t *)w[0], w[1], n, 35);
}

CASE(pack_36)
{
    k->pack_fields((uint8_t *)w[0], w[1], n, 36);
}

CASE(unpack_12)
{
    k->unpack_fields(w[0], (const uint8_t *)w[1], n, 12);
}

CASE(unpack_35)
{
    k->unpack_fields(w[0], (const uint8_t *)w[1], n, 35);
}

CASE(unpack_36)
{
    k->unpack_fields(w[0], (const uint8_t *)w[1], n, 36);
}

CASE(hide)
{
    k->hide(w[0], (uint8_t *)w[1], w[2], w[3], n, RING);
}

CASE(hide_cut)
{
    k->hide_cut(w[0], (uint8_t *)w[1], w[2], w[3], n, 1ull << (RING - 2), SHIFT, RING, BITS);
}

CASE(reveal_cut)
{
    k->reveal_cut(w[0], w[1], (const uint8_t *)w[2], w[3], w[4], n, BITS);
}

CASE(add_carried)
{
    k->add_carried(w[0], w[1], w[2], n, BITS);
}

CASE(wrap_bits)
{
    k->wrap_bits(w[0], w[1], w[2], n, 1ull << (RING - 2), RING);
}

CASE(truncate)
{
    k->truncate(w[0], w[1], w[2], w[3], w[4], w[5], n, 1ull << (RING - 2), SHIFT, RING, 1);
}

CASE(square)
{
    k->square(w[0], w[1], w[2], w[3], n, 1);
}

CASE(square_sum)
{
    k->square_sum(w[0], w[1], w[2], w[3], n / COLS, COLS, 1);
}

CASE(mul)
{
    k->mul_rows(w[0], w[1], w[2], w[3], w[4], w[5], n, 1, 1);
}

CASE(mul_rows)
{
    k->mul_rows(w[0], w[1], w[2], w[3], w[4], w[5], n / COLS, COLS, 1);
}

CASE(centre)
{
    k->centre(w[0], w[1], n / COLS, COLS);
}

CASE(row_sum)
{
    k->row_sum(w[0], w[1], n / COLS, COLS);
}

/* A result for every ROWS elements, all of one table. */
CASE(masked_sum)
{
    for (size_t at = 0; at < n / ROWS; at++)
        k->masked_sum(w[0] + 2 * at, w[1], w[2] + at * ROWS / 64, ROWS, 2);
}

CASE(look_up)
{
    k->look_up(w[0], n / 64, (const uint16_t *)(const void *)w[2], n, w[1], n, 0, DIGITS, 1);
}

static const struct kernel {
    const char *name;
    void (*run)(const struct kernels *k, uint64_t *const w[OPERANDS], size_t n);
} kernels[] = {
    {"pack, l=48", pack},
    {"unpack_add, l=48", unpack_add},
    {"pack_fields, 12 bits", pack_12},
    {"pack_fields, 35 bits", pack_35},
    {"pack_fields, 36 bits", pack_36},
    {"unpack_fields, 12 bits", unpack_12},
    {"unpack_fields, 35 bits", unpack_35},
    {"unpack_fields, 36 bits", unpack_36},
    {"hide, l=48", hide},
    {"hide_cut, 36 bits", hide_cut},
    {"reveal_cut, 36 bits", reveal_cut},
    {"add_carried", add_carried},
    {"wrap_bits", wrap_bits},
    {"truncate", truncate},
    {"square", square},
    {"square_sum, 64 columns", square_sum},
    {"mul_rows, 1 column", mul},
    {"mul_rows, 64 columns", mul_rows},
    {"centre, 64 columns", centre},
    {"row_sum, 64 columns", row_sum},
    {"masked_sum, 1024 x 2", masked_sum},
    {"look_up, 12 digits", look_up},
};

/* --- measuring --- */

struct options {
    size_t repeat;
    bool json;
};

struct bench {
    const struct options *o;
    struct kernels best, c;
    struct room room;
    double *rates; /* (repeat) */
    bool correct;
};

static void fill(struct room *r)
{
    uint64_t random = 1;

    for (size_t i = 0; i < OPERANDS * (size_t)OPERAND_WORDS; i++)
        r->all[i] = bench_random(&random);
}

/* What a kernel made of the beginning of every operand, after one call. */
static uint64_t made(struct room *r, const struct kernel *kernel, const struct kernels *k)
{
    uint64_t random = 1, digest = 0;

    for (size_t i = 0; i < OPERANDS; i++)
        for (size_t j = 0; j < counts[0]; j++)
            r->at[i][j] = bench_random(&random);
    kernel->run(k, r->at, counts[0]);
    for (size_t i = 0; i < OPERANDS; i++)
        for (size_t j = 0; j < counts[0]; j++)
            digest = (digest ^ r->at[i][j]) * UINT64_C(0x9e3779b97f4a7c15) + (digest >> 32);
    return digest;
}

struct pass {
    const struct kernel *kernel;
    const struct kernels *kernels;
    uint64_t *const *operands;
    size_t count;
};

static void run_pass(const void *context)
{
    const struct pass *p = context;

    p->kernel->run(p->kernels, p->operands, p->count);
}

struct draw {
    const struct prg *prg;
    uint64_t *to;
    size_t bytes;
};

static void run_draw(const void *context)
{
    const struct draw *d = context;

    prg_words(d->prg, 0, 0, 0, d->to, d->bytes / sizeof(uint64_t));
}

/* The median rate of what does @units a call, a nanosecond. */
static double rate(struct bench *b, void (*run)(const void *context), const void *context,
                   size_t units)
{
    uint64_t begin = time_ns();
    size_t done = 0;

    run(context);
    for (; done < b->o->repeat; done++) {
        uint64_t start = time_ns(), spent;
        size_t calls = 0;

        if (done >= REPEAT_MIN && start - begin > MEASURE_NS)
            break;
        do {
            run(context);
            calls++;
            spent = time_ns() - start;
        } while (spent < REPEAT_NS);
        b->rates[done] = (double)units * (double)calls / (double)spent;
    }
    return tool_median(b->rates, done);
}

static double pass_rate(struct bench *b, const struct kernel *kernel, const struct kernels *k,
                        size_t n)
{
    struct pass pass = {kernel, k, b->room.at, n};

    return rate(b, run_pass, &pass, n);
}

static json_t *measure_kernel(struct bench *b, const struct kernel *kernel)
{
    json_t *row = json_pack("{s:s}", "kernel", kernel->name);

    b->correct &= made(&b->room, kernel, &b->best) == made(&b->room, kernel, &b->c);
    for (size_t i = 0; row && i < ARRAY_LENGTH(counts); i++) {
        static const char *const keys[][2] = {
            {"g_per_s_1k", "c_1k"}, {"g_per_s_96k", "c_96k"}, {"g_per_s_4m", "c_4m"}};

        json_object_set_new(row, keys[i][0], json_real(pass_rate(b, kernel, &b->best, counts[i])));
        json_object_set_new(row, keys[i][1], json_real(pass_rate(b, kernel, &b->c, counts[i])));
    }
    return row;
}

static json_t *measure_prg(struct bench *b, enum prg_cipher cipher)
{
    static const uint8_t seed[PRG_SEED_BYTES] = {1};
    static const char *const keys[] = {"gb_per_s_64", "gb_per_s_4k", "gb_per_s_256k",
                                       "gb_per_s_4m"};
    struct prg *prg = prg_new_with(seed, cipher);
    json_t *row = json_pack("{s:s}", "cipher", prg_cipher_name(cipher));

    for (size_t i = 0; prg && row && i < ARRAY_LENGTH(prg_bytes); i++) {
        struct draw draw = {prg, b->room.all, prg_bytes[i]};

        json_object_set_new(row, keys[i], json_real(rate(b, run_draw, &draw, prg_bytes[i])));
    }
    prg_free(prg);
    return row;
}

static json_t *measure(struct bench *b)
{
    json_t *rows = json_array(), *ciphers = json_array();

    b->correct = true;
    for (size_t i = 0; i < ARRAY_LENGTH(kernels); i++)
        json_array_append_new(rows, measure_kernel(b, &kernels[i]));
    for (enum prg_cipher cipher = 0; cipher < PRG_CIPHERS; cipher++)
        if (prg_cipher_here(cipher))
            json_array_append_new(ciphers, measure_prg(b, cipher));
    return json_pack("{s:s, s:b, s:o, s:o}", "passes", b->best.passes, "correct", b->correct,
                     "kernels", rows, "prg", ciphers);
}

/* An exit code. */
static int report(const struct bench *b, json_t *figures)
{
    if (!figures) {
        fprintf(stderr, "mpcformer: no memory for the result\n");
        return EXIT_FAILED;
    }
    if (b->o->json)
        tool_print_json(stdout, figures);
    else
        tool_print_people(stdout, figures);
    json_decref(figures);
    return b->correct ? EXIT_OK : EXIT_NEGATIVE;
}

static int make(struct bench *b, struct err *err)
{
    struct room *r = &b->room;

    r->all = aligned_alloc(64, OPERANDS * (size_t)OPERAND_WORDS * sizeof(uint64_t));
    b->rates = calloc(b->o->repeat, sizeof(double));
    if (!r->all || !b->rates)
        return err_set(err, -ENOMEM, "no memory for the operands");
    for (size_t i = 0; i < OPERANDS; i++)
        r->at[i] = r->all + i * OPERAND_WORDS;
    fill(r);
    b->best = *kernels_here();
    b->c = kernels_choose(0);
    return 0;
}

static const struct argp_option option_table[] = {
    {"repeat", 'R', "N", 0, "Repetitions, of which the median counts (25)", 0},
    TOOL_OPTION_JSON,
    {0},
};

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'R':
        o->repeat = bench_number(state, "repeat", text, 1, REPEAT_MAX);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    default:
        return bench_option_none(key, text, state);
    }
}

static const char doc[] =
    "Measure the passes over elements that surround the ring product, and the PRG, on one core.\v"
    "g_per_s_1k, _96k, _4m: billions of elements a second of the variant that this CPU runs, over "
    "1024, 98304 and 4194304 elements; c_...: of plain C. A masked sum counts rows of its "
    "table, a look-up elements of twelve digits. gb_per_s_...: of draws of 64 bytes, 4 KiB, 256 "
    "KiB and 4 MiB; evp is "
    "OpenSSL's. correct: every kernel made what plain C makes.\n\n"
    "Exit status: 0 correct; 1 not; 2 the command line is wrong; 3 failed.";

int bench_kernels(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options o = {.repeat = 25};
    struct bench b = {.o = &o};
    struct err err = {""};
    int code, rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rc = make(&b, &err);
    code = rc < 0 ? tool_fail(&err, rc) : report(&b, measure(&b));
    free(b.room.all);
    free(b.rates);
    return code;
}
