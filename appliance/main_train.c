/* mpcformer-train: finetune, distill, vocab. Users call it as `mpcformer finetune` and so on. */
#include "appliance/exit.h"
#include "appliance/train.h"
#include "base/base.h"
#include "distill/cpu.h"
#include "distill/ranks.h"
#include "distill/trace.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

const char *argp_program_version = "mpcformer-train " MPCFORMER_VERSION;

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
} commands[] = {
    {"finetune", train_finetune},
    {"distill", train_distill},
    {"vocab", train_vocab},
};

static int run(size_t command, int argc, char **argv)
{
    char name[64];
    int code;

    snprintf(name, sizeof(name), "mpcformer %s", commands[command].name);
    argv[0] = name;
    code = commands[command].main(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "mpcformer: cannot write to standard output\n");
        return EXIT_FAILED;
    }
    return code;
}

/* Rank 0 speaks for all. What another says is heard only if it fails alone. */
static char *aside;
static size_t aside_bytes;

static bool hush(void)
{
    FILE *kept = open_memstream(&aside, &aside_bytes);

    if (!kept || !freopen("/dev/null", "w", stdout))
        return false;
    stderr = kept; /* as glibc allows */
    return true;
}

static int run_rank(size_t command, int argc, char **argv)
{
    FILE *messages = stderr;
    struct err err = {""};
    bool all;
    int code;

    if (ranks_start(&err) < 0 || (ranks_own() && !hush())) {
        fprintf(messages, "mpcformer: %s\n", err_text(&err, -EIO));
        return EXIT_FAILED;
    }
    code = run(command, argc, argv);
    if (trace_close(&err) < 0 && !code) {
        fprintf(stderr, "mpcformer: %s\n", err_text(&err, -EIO));
        code = EXIT_FAILED;
    }
    all = ranks_all_failed(code);
    if (stderr != messages) {
        fclose(stderr);
        stderr = messages;
        if (code && !all)
            fprintf(stderr, "rank %zu: %s", ranks_own(), aside);
        free(aside);
    }
    ranks_stop(code, all);
    return code;
}

int main(int argc, char **argv)
{
    const struct rlimit none = {0, 0};

    argp_err_exit_status = EXIT_USAGE;
    signal(SIGPIPE, SIG_IGN);
    /* Weights and texts are in this process: none of it goes into a core dump. */
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    if (!cpu_can_train()) {
        fprintf(stderr, "mpcformer: training needs a CPU with AVX2, FMA and BMI2\n");
        return EXIT_FAILED;
    }
    for (size_t i = 0; argc > 1 && i < ARRAY_LENGTH(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return run_rank(i, argc - 1, argv + 1);
    fprintf(stderr, "mpcformer-train: call it as `mpcformer finetune`, `mpcformer distill` or "
                    "`mpcformer vocab`\n");
    return EXIT_USAGE;
}
