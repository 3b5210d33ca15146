#include "appliance/bench_memory.h"

#include "mpc/tape.h"

#include <stdio.h>

#define WORD sizeof(uint64_t)

/* Whoever holds the weights has them this often: the bench once, each party W^ and W^ less its mask
 * as its products read them, the dealer its masks. As measured: 47 bytes a weight at the most. */
#define WEIGHT_COPIES 6

/* The clear executor's, both parties' and the dealer's. */
#define ARENAS 4

struct need {
    double weights, arenas, tapes; /* bytes */
};

static struct need estimate(const struct compiled *m, const struct variant *v, bool lab)
{
    double tape = (double)tape_memory(v, 0) + (double)tape_memory(v, 1);
    double words = 0;

    for (size_t i = 0; i < m->plan->weight_count; i++)
        words += (double)weight_elements(&m->plan->weights[i]);
    return (struct need){.weights = WEIGHT_COPIES * words * WORD,
                         .arenas = ARENAS * (double)(v->arena_words + v->scratch_words) * WORD,
                         .tapes = lab ? 2 * tape : tape};
}

/* Bytes; 0 when the kernel does not say. */
static double available(void)
{
    FILE *in = fopen("/proc/meminfo", "re");
    unsigned long long kib = 0;
    char line[128];

    while (in && !kib && fgets(line, sizeof(line), in))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
            kib = 0;
    if (in)
        fclose(in);
    return (double)kib * 1024;
}

static double total(const struct need *n)
{
    return n->weights + n->arenas + n->tapes;
}

static int refuse(const struct need *n, const char *hint, struct err *err)
{
    double gib = (double)(1 << 30);

    return err_set(err, -ENOMEM,
                   "does not fit in memory: about %.1f GiB are needed, %.1f of them for tapes, and "
                   "%.1f are available%s",
                   total(n) / gib, n->tapes / gib, available() / gib, hint);
}

int bench_memory_check_weights(const struct model_config *c, struct err *err)
{
    double h = (double)c->hidden;
    double layer = 4 * h * h + 2 * h * (double)c->intermediate;
    const struct need need = {
        .weights = WEIGHT_COPIES * WORD *
                   ((double)(c->vocab + c->positions_max) * h + (double)c->layers * layer)};

    return available() && total(&need) > available() ? refuse(&need, "", err) : 0;
}

int bench_memory_check(const struct compiled *m, const struct variant *v, bool lab, struct err *err)
{
    struct need need = estimate(m, v, lab), least = estimate(m, v, false);
    double there = available();
    char hint[64] = "";

    if (!there || total(&need) <= there)
        return 0;
    if (total(&least) <= there)
        snprintf(hint, sizeof(hint), "; --link mem needs %.1f", total(&least) / (1 << 30));
    return refuse(&need, hint, err);
}
