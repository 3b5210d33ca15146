/* mpcformerd: the appliance. One process a party or dealer, its configuration says which, and
 * one beside it that keeps its keys (keeper.h). */
#include "appliance/config.h"
#include "appliance/daemon.h"
#include "appliance/exit.h"
#include "appliance/keeper.h"
#include "appliance/log.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

const char *argp_program_version = "mpcformerd " MPCFORMER_VERSION;

struct options {
    const char *config;
    bool keys;
};

static const struct argp_option option_table[] = {
    {"config", 'c', "FILE", 0, "The configuration file (required)", 0},
    {"keys", 'k', NULL, 0, "Say what a configuration file may hold, and exit", 0},
    {"debug", 'd', NULL, 0, "Log more", 0},
    {0},
};

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'c':
        options->config = argument;
        return 0;
    case 'k':
        options->keys = true;
        return 0;
    case 'd':
        log_level_set(LOG_LEVEL_DEBUG);
        return 0;
    case ARGP_KEY_END:
        if (!options->config && !options->keys)
            argp_error(state, "say which configuration: --config FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Before any thread and any secret: no core dump, no debugger, signals for one descriptor. */
static int make_process(void)
{
    const struct rlimit none = {0, 0};
    sigset_t set;

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error like a full disk */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return signalfd(-1, &set, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, NULL,
                                     "Run one appliance of a private inference: a party or the "
                                     "dealer, as its configuration says."};
    struct options options = {0};
    struct config *config = NULL;
    struct keeper *keeper = NULL;
    struct err err = {0};
    int rc, stop_fd, code;

    argp_err_exit_status = EXIT_USAGE;
    log_start();
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (options.keys) {
        config_help(stdout);
        return EXIT_OK;
    }
    rc = config_load(options.config, &config, &err);
    if (rc < 0) {
        fprintf(stderr, "mpcformerd: %s\n", err_text(&err, rc));
        return EXIT_USAGE;
    }
    stop_fd = make_process();
    if (stop_fd < 0) {
        fprintf(stderr, "mpcformerd: no signal descriptor: %s\n", err_text(NULL, stop_fd));
        return EXIT_FAILED;
    }
    rc = keeper_start(&keeper, &err);
    if (rc < 0) {
        fprintf(stderr, "mpcformerd: %s\n", err_text(&err, rc));
        return EXIT_FAILED;
    }
    code = daemon_run(config, keeper, stop_fd);
    keeper_stop(keeper);
    config_free(config);
    return code;
}
