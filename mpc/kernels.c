#include "mpc/kernels.h"

#include "base/secret.h"
#include "mpc/elementwise.h"

#include <cpuid.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From linux/arch_prctl: ask for a feature of the extended state, here the tiles' data. */
#define ASK_FOR_STATE 0x1023
#define TILE_DATA     18
#define TILE_STATE    (3u << 17) /* configuration and data, in XCR0 */
#define OSXSAVE       (1u << 27) /* CPUID 1, ecx */
#define TILE_AND_INT8 (3u << 24) /* CPUID 7.0, edx */

static bool os_keeps_tiles(void)
{
    unsigned int low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & TILE_STATE) == TILE_STATE &&
           syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) == 0;
}

static bool has_amx(void)
{
    unsigned int a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE))
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILE_AND_INT8) == TILE_AND_INT8 &&
           os_keeps_tiles();
}

unsigned int kernels_cpu_features(void)
{
    unsigned int features = 0;

    if (__builtin_cpu_supports("avx2"))
        features |= KERNELS_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        features |= KERNELS_AVX512;
    if (__builtin_cpu_supports("avx512vbmi"))
        features |= KERNELS_VBMI;
    if (__builtin_cpu_supports("avx512ifma"))
        features |= KERNELS_IFMA;
    if (__builtin_cpu_supports("avx512vnni"))
        features |= KERNELS_VNNI;
    if (has_amx())
        features |= KERNELS_AMX_INT8;
    return features;
}

#define NEEDS_AMX  (KERNELS_AVX512 | KERNELS_VBMI | KERNELS_AMX_INT8)
#define NEEDS_VNNI (KERNELS_AVX512 | KERNELS_VNNI)

/* Best first. What a variant needs includes all that its file is compiled for. */
static const struct variant {
    const char *isa;
    unsigned int needs;
    void (*fill)(struct kernels *k);
} variants[] = {
    {"amx", NEEDS_AMX, kernels_fill_gemm_amx},
    {"ifma", NEEDS_VNNI | KERNELS_IFMA, kernels_fill_gemm_ifma},
    {"avx512", NEEDS_VNNI, kernels_fill_gemm_avx512},
    {"avx2", KERNELS_AVX2, kernels_fill_gemm_avx2},
    {"c", 0, kernels_fill_gemm_c},
};

int kernels_isa_features(const char *isa, unsigned int *ret_features)
{
    for (size_t i = 0; i < ARRAY_LENGTH(variants); i++)
        if (strcmp(variants[i].isa, isa) == 0) {
            *ret_features = variants[i].needs;
            return 0;
        }
    return -EINVAL;
}

/* --- the trial: odd sizes, over the edges of every variant's registers --- */

#define TRIAL_ROWS  19
#define TRIAL_INNER 133
#define TRIAL_COLS  37

struct trial {
    _Alignas(64) uint8_t scratch[KERNELS_SCRATCH_BYTES];
    _Alignas(64) uint8_t right[16 * (TRIAL_INNER + 64) * (TRIAL_COLS + 64)];
    uint64_t a[TRIAL_ROWS * TRIAL_INNER], b[TRIAL_INNER * TRIAL_COLS];
    uint64_t c[2][TRIAL_ROWS * TRIAL_COLS];
};

static void trial_fill(uint64_t *to, size_t count)
{
    uint64_t x = 1;

    for (size_t i = 0; i < count; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        to[i] = x ^ x >> 29;
        if (i % 7 == 0)
            to[i] = i % 2 ? UINT64_MAX : 0x8000800080008000;
    }
}

static void trial_run(struct trial *t, const struct kernels *k, unsigned int ring, uint64_t *c)
{
    k->pack_right(t->right, t->b, TRIAL_COLS, 1, TRIAL_INNER, TRIAL_COLS, ring);
    k->product(c, TRIAL_COLS, t->a, TRIAL_INNER, t->right, TRIAL_ROWS, TRIAL_INNER, TRIAL_COLS,
               ring, true, t->scratch);
}

static bool trial_passes(const struct kernels *k)
{
    struct trial *t = secret_alloc(sizeof(*t));
    struct kernels reference;
    uint64_t wrong = !t;

    kernels_fill_gemm_c(&reference);
    for (unsigned int ring = 8; t && ring <= 64; ring += 8) {
        trial_fill(t->a, ARRAY_LENGTH(t->a));
        trial_fill(t->b, ARRAY_LENGTH(t->b));
        trial_fill(t->c[0], 2 * ARRAY_LENGTH(t->c[0]));
        memcpy(t->c[1], t->c[0], sizeof(t->c[0]));
        trial_run(t, k, ring, t->c[0]);
        trial_run(t, &reference, ring, t->c[1]);
        for (size_t i = 0; i < ARRAY_LENGTH(t->c[0]); i++)
            wrong |= (t->c[0][i] ^ t->c[1][i]) & ring_mask(ring);
    }
    secret_free(t, sizeof(*t));
    return !wrong;
}

static void choose_passes(struct kernels *k, unsigned int features)
{
    const unsigned int avx512 = KERNELS_AVX2 | KERNELS_AVX512 | KERNELS_VBMI;

    elementwise_loops_c(k);
    if (features & KERNELS_AVX2)
        elementwise_fill_avx2(k);
    if ((features & avx512) == avx512)
        elementwise_fill_avx512(k);
}

struct kernels kernels_choose(unsigned int features)
{
    struct kernels k;
    const char *refused = NULL;

    kernels_fill_c(&k);
    choose_passes(&k, features);
    for (size_t i = 0; i < ARRAY_LENGTH(variants); i++) {
        const struct variant *v = &variants[i];

        if ((features & v->needs) != v->needs)
            continue;
        v->fill(&k);
        k.isa = v->isa;
        /* C, the last, has nothing to be compared with. */
        if (!v->needs || trial_passes(&k))
            break;
        refused = refused ? refused : v->isa;
        k.dots = NULL;
    }
    k.refused = refused;
    return k;
}

static struct kernels here;
static unsigned int allowed = ~0u;

void kernels_mask(unsigned int features)
{
    allowed = features;
}

static void choose_here(void)
{
    here = kernels_choose(kernels_cpu_features() & allowed);
}

const struct kernels *kernels_here(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, choose_here);
    return &here;
}

/* The deepest step of the inner dimension is a tile's, the widest panel AVX-512's; no variant takes
 * more than 8 bytes an element. */
#define STEP_MAX  64
#define PANEL_MAX 32

size_t kernels_right_bytes_max(size_t inner, size_t cols)
{
    inner = (inner + STEP_MAX - 1) / STEP_MAX * STEP_MAX;
    cols = (cols + PANEL_MAX - 1) / PANEL_MAX * PANEL_MAX;
    return inner * cols * sizeof(uint64_t);
}
