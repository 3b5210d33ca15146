/* mpcformer: the tool of the operator, the model owner, the data owner and the benchmarker. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "base/base.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

struct subcommand {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *help;
};

static const struct subcommand subcommands[] = {
    {"lab", cmd_lab, "party0, party1 and dealer on this machine, to try things"},
    {"infer", cmd_infer, "classify texts in private"},
    {"eval", cmd_eval, "a task's metric, in private and with the float model"},
    {"report", cmd_report, "evaluations and a speed table as one HTML page"},
    {"bench", cmd_bench, "measure a model, the ring product, the share link"},
    {"keygen", cmd_keygen, "make an authority, keys and certificates; show fingerprints"},
    {"finetune", cmd_train, "train a model on a task's labels"},
    {"distill", cmd_train, "make a student with cheaper functions from a trained teacher"},
    {"vocab", cmd_train, "make a vocabulary of one's own text"},
    {"share", cmd_share, "compile a model and split its weights between the parties"},
    {"model", cmd_model, "load, unload and list the models of an appliance"},
    {"job", cmd_job, "leave a query with the parties, or with their operators as files"},
    {"dealer", cmd_dealer, "the masks that a dealer keeps: list, backup, restore, destroy"},
    {"tape", cmd_control, "tapes in stock at a party: status, fill, discard"},
    {"drain", cmd_control, "have a party take no new jobs and finish the others"},
    {"peer", cmd_control, "a party's peers: status"},
    {"log", cmd_control, "what an appliance logs: level"},
    {"host", cmd_host, "what this host must be set to: check, apply, revert"},
    {"status", cmd_status, "what an appliance is doing"},
    {"top", cmd_top, "the same again and again, of several"},
    {"metrics", cmd_metrics, "the same, for Prometheus"},
    {"audit", cmd_audit, "verify the audit log of an appliance"},
    {"reload", cmd_reload, "have an appliance read its pins and certificates again"},
};

const char *argp_program_version = "mpcformer " MPCFORMER_VERSION;

static void print_help(FILE *out)
{
    fprintf(out, "Usage: mpcformer COMMAND [OPTION...]\n\n"
                 "Private inference with Transformer models between two parties and a dealer.\n\n");
    for (size_t i = 0; i < ARRAY_LENGTH(subcommands); i++)
        fprintf(out, "  %-10s %s\n", subcommands[i].name, subcommands[i].help);
    fprintf(out,
            "\n`mpcformer COMMAND --help` says more. Exit status: %d done, %d a negative answer, "
            "%d wrong\nusage, %d failed.\n",
            EXIT_OK, EXIT_NEGATIVE, EXIT_USAGE, EXIT_FAILED);
}

static int run(const struct subcommand *subcommand, int argc, char **argv)
{
    char name[64];
    int code;

    snprintf(name, sizeof(name), "mpcformer %s", subcommand->name);
    argv[0] = name;
    code = subcommand->main(argc, argv);
    /* A full disk or a closed pipe must not look like success to a script. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "mpcformer: cannot write to standard output\n");
        return EXIT_FAILED;
    }
    return code;
}

int main(int argc, char **argv)
{
    const struct rlimit none = {0, 0};

    argp_err_exit_status = EXIT_USAGE;
    signal(SIGPIPE, SIG_IGN);
    /* A text, weights or keys may be in this process: none of it goes into a core dump. */
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts(argp_program_version);
        return EXIT_OK;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(subcommands); i++)
        if (strcmp(argv[1], subcommands[i].name) == 0)
            return run(&subcommands[i], argc - 1, argv + 1);
    fprintf(stderr, "mpcformer: no command \"%s\"; `mpcformer --help` lists them\n", argv[1]);
    return EXIT_USAGE;
}
