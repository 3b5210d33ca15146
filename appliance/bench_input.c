/* mpcformer bench input: a query's keys, made as its owner does and expanded as a party does. */
#include "appliance/bench.h"
#include "appliance/exit.h"
#include "appliance/tool.h"
#include "base/random.h"
#include "base/secret.h"
#include "mpc/dpf.h"
#include "mpc/ring.h"

#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX 512
#define REPEAT_MAX 1000

struct options {
    unsigned int ring;
    size_t tokens, vocab, repeat;
    const char *isa; /* NULL: the best that is here */
    bool json;
};

static const struct argp_option option_table[] = {
    {"tokens", 't', "N", 0, "Tokens of a query (128)", 0},
    {"vocab", 'v', "N", 0, "Vocabulary (30522)", 0},
    {"ring", 'r', "K", 0, "Bits of an element, 1 to 64 (24)", 0},
    {"isa", 'i', "NAME", 0, "vaes, aesni or c (default: the best that this CPU has)", 0},
    {"repeat", 'n', "N", 0, "Repetitions (20)", 0},
    TOOL_OPTION_JSON,
    {0},
};

static error_t take_option(int key, char *text, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 't':
        o->tokens = bench_number(state, "tokens", text, 1, TOKENS_MAX);
        return 0;
    case 'v':
        o->vocab = bench_number(state, "vocab", text, 1, DPF_DOMAIN_MAX);
        return 0;
    case 'r':
        o->ring = (unsigned int)bench_number(state, "ring", text, 1, DPF_RING_MAX);
        return 0;
    case 'i':
        o->isa = text;
        return 0;
    case 'n':
        o->repeat = bench_number(state, "repeat", text, 1, REPEAT_MAX);
        return 0;
    case 'j':
        o->json = true;
        return 0;
    default:
        return bench_option_none(key, text, state);
    }
}

struct bench {
    const struct options *o;
    const struct dpf_kernels *kernels;
    struct dpf *dpf;
    size_t key_bytes;
    uint8_t *keys[2];            /* (tokens, key_bytes) */
    uint64_t *rows[2];           /* (tokens, vocab) */
    double *make_ms, *expand_ms; /* (repeat) */
};

static int choose(struct bench *b, struct err *err)
{
    static const unsigned int sets[] = {DPF_VAES, DPF_AESNI, 0};
    unsigned int here = dpf_cpu_features();

    for (size_t i = 0; i < ARRAY_LENGTH(sets) && !b->kernels; i++) {
        const struct dpf_kernels *at = dpf_kernels_choose(sets[i]);

        if ((here & sets[i]) == sets[i] && (!b->o->isa || strcmp(at->isa, b->o->isa) == 0))
            b->kernels = at;
    }
    return b->kernels ? 0
                      : err_set(err, -ENOTSUP, "--isa %s: vaes, aesni or c, where the CPU has it",
                                b->o->isa);
}

static size_t rows_bytes(const struct options *o)
{
    return o->tokens * o->vocab * sizeof(uint64_t);
}

static int make_room(struct bench *b, struct err *err)
{
    const struct options *o = b->o;
    bool good;

    b->dpf = dpf_new((uint32_t)o->vocab, b->kernels);
    b->key_bytes = dpf_key_bytes((uint32_t)o->vocab, o->ring);
    b->make_ms = calloc(o->repeat, sizeof(double));
    b->expand_ms = calloc(o->repeat, sizeof(double));
    good = b->dpf && b->make_ms && b->expand_ms;
    for (unsigned int party = 0; party < 2; party++) {
        b->keys[party] = calloc(o->tokens, b->key_bytes);
        b->rows[party] = secret_alloc(rows_bytes(o));
        good = good && b->keys[party] && b->rows[party];
    }
    return good ? 0 : err_set(err, -ENOMEM, "no memory for a query of that size");
}

static void free_all(struct bench *b)
{
    dpf_free(b->dpf);
    for (unsigned int party = 0; party < 2; party++) {
        free(b->keys[party]);
        secret_free(b->rows[party], rows_bytes(b->o));
    }
    free(b->make_ms);
    free(b->expand_ms);
}

static uint32_t token(const struct bench *b, size_t row)
{
    return (uint32_t)(row * 2654435761u % b->o->vocab);
}

static void make_keys(struct bench *b)
{
    uint8_t seeds[2 * DPF_SEED_BYTES], tweak[DPF_TWEAK_BYTES] = {0};

    for (size_t row = 0; row < b->o->tokens; row++) {
        uint8_t *const keys[2] = {b->keys[0] + row * b->key_bytes, b->keys[1] + row * b->key_bytes};

        memcpy(tweak, &row, sizeof(row));
        random_bytes(seeds, sizeof(seeds));
        dpf_generate(b->dpf, b->o->ring, tweak, token(b, row), seeds, keys);
    }
}

static int expand(struct bench *b, unsigned int party)
{
    uint8_t tweak[DPF_TWEAK_BYTES] = {0};
    int rc = 0;

    for (size_t row = 0; rc == 0 && row < b->o->tokens; row++) {
        memcpy(tweak, &row, sizeof(row));
        rc = dpf_expand(b->dpf, b->o->ring, tweak, party, b->keys[party] + row * b->key_bytes,
                        b->key_bytes, b->rows[party] + row * b->o->vocab);
    }
    return rc;
}

static int measure(struct bench *b)
{
    int rc = expand(b, 0); /* pages and frequency */

    for (size_t i = 0; rc == 0 && i < b->o->repeat; i++) {
        uint64_t start = time_ns(), made;

        make_keys(b);
        made = time_ns();
        rc = expand(b, 0);
        b->make_ms[i] = (double)(made - start) / 1e6;
        b->expand_ms[i] = (double)(time_ns() - made) / 1e6;
    }
    return rc < 0 ? rc : expand(b, 1);
}

static bool correct(const struct bench *b)
{
    uint64_t wrong = 0;

    for (size_t row = 0; row < b->o->tokens; row++)
        for (size_t i = 0; i < b->o->vocab; i++) {
            size_t at = row * b->o->vocab + i;

            wrong |=
                (b->rows[0][at] + b->rows[1][at] - (i == token(b, row))) & ring_mask(b->o->ring);
        }
    return !wrong;
}

/* An exit code. */
static int report(struct bench *b)
{
    const struct options *o = b->o;
    bool right = correct(b);
    double median = tool_median(b->expand_ms, o->repeat);
    json_t *figures =
        json_pack("{s:f, s:f, s:f, s:f, s:s, s:b, s:I, s:i, s:I, s:I}", "expand_ms_median", median,
                  "expand_ms_min", b->expand_ms[0], "expand_ms_max", b->expand_ms[o->repeat - 1],
                  "make_ms_median", tool_median(b->make_ms, o->repeat), "isa", b->kernels->isa,
                  "correct", right, "bytes_keys", (json_int_t)(o->tokens * b->key_bytes), "ring",
                  (int)o->ring, "tokens", (json_int_t)o->tokens, "vocab", (json_int_t)o->vocab);

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

static const char doc[] =
    "Measure what the input of a query takes on one core: expand is a party's, from keys to its "
    "share of the one-hot rows, make is the owner's of both parties' keys.\v"
    "bytes_keys is what one party is sent of them. correct: the two parties' rows add up to the "
    "tokens.\n\n"
    "Exit status: 0 correct; 1 not; 2 the command line is wrong; 3 failed.";

int bench_input(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL, doc};
    struct options o = {.ring = 24, .tokens = 128, .vocab = 30522, .repeat = 20};
    struct bench b = {.o = &o};
    struct err err = {""};
    int code, rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    rc = choose(&b, &err);
    if (rc == 0)
        rc = make_room(&b, &err);
    if (rc == 0)
        rc = measure(&b);
    code = rc < 0 ? tool_fail(&err, rc) : report(&b);
    free_all(&b);
    return code;
}
