/* mpcformer lab: the three appliances on this machine, and a command among them. */
#include "appliance/bench.h"
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/lab.h"
#include "appliance/shape.h"
#include "appliance/tool.h"
#include "base/file.h"
#include "base/workers.h"

#include <argp.h>
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MODEL "sst2-tiny"

/* So that a lab starts at once, and says the same as long as nobody asks for more. */
#define RING_DEFAULT "64"

struct options {
    const char *model, *ring, *frac, *tokens, *length, *batch, *state; /* NULL: the default */
    unsigned int workers;
    enum config_link link;
    const char *shape; /* NULL: none */
    bool units;
    char **command; /* NULL: none */
};

enum { OPTION_SHAPE = 256, OPTION_LENGTH, OPTION_SYSTEMD };

static const struct argp_option option_table[] = {
    {"model", 'm', "DIR", 0,
     "The model, a folder in the HF layout (default: the " DEFAULT_MODEL " that comes along)", 0},
    {"ring", 'r', "BITS", 0, "Ring width, as `mpcformer share` takes it (" RING_DEFAULT ")", 0},
    {"frac", 'f', "BITS", 0, "Fraction bits, likewise", 0},
    {"tokens", 't', "LIST", 0, "Lengths that are planned for, likewise", 0},
    {"length", OPTION_LENGTH, "MODE", 0, "Who may know how many a text has, likewise", 0},
    {"batch", 'b', "LIST", 0, "Queries at once that are planned for, likewise", 0},
    {"link", 'l', "DRIVER", 0, "Of the share link: uring, or dpdk, over memif (uring)", 0},
    {"workers", 'w', "N", 0,
     "Threads that each party works with, on CPUs of their own where there are enough (1)", 0},
    {"shape", OPTION_SHAPE, "LINE", 0,
     "Impose a line on the share link: its rate, its delay one way or both, as in 10gbit,20us; "
     "with "
     "--link dpdk also what it does to frames: 1%loss,1%duplicate,1%reorder",
     0},
    {"state", 's', "DIR", 0,
     "Keep everything in DIR, and go on with what is there (default: a folder that is removed)", 0},
    {"systemd", OPTION_SYSTEMD, NULL, 0,
     "The three as units of this host, instances of the installed mpcformerd@.service: what is "
     "deployed is what is tried. Takes root",
     0},
    {0},
};

/* What goes together. */
static void check(struct argp_state *state, const struct options *o)
{
    if (o->units && o->state)
        argp_error(state, "--state: units keep what they have where units do, and a lab of them "
                          "ends with nothing kept: leave --state or --systemd away");
    if (o->units && o->link == CONFIG_LINK_DPDK)
        argp_error(state, "--link dpdk: over memif two processes share memory, from which the "
                          "units are kept: leave --link or --systemd away");
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    struct shape shape;
    struct err err = {""};

    switch (key) {
    case 'm':
        options->model = argument;
        return 0;
    case 'r':
        options->ring = argument;
        return 0;
    case 'f':
        options->frac = argument;
        return 0;
    case 't':
        options->tokens = argument;
        return 0;
    case OPTION_LENGTH:
        options->length = argument;
        return 0;
    case 'b':
        options->batch = argument;
        return 0;
    case 'l':
        if (config_link_parse(argument, &options->link) < 0)
            argp_error(state, "--link %s: there are uring and dpdk", argument);
        return 0;
    case 'w':
        options->workers = (unsigned int)bench_number(state, "workers", argument, 1, WORKERS_MAX);
        return 0;
    case OPTION_SHAPE:
        if (shape_parse(argument, &shape, &err) < 0)
            argp_error(state, "--shape %s: %s", argument, err.text);
        options->shape = argument;
        return 0;
    case 's':
        options->state = argument;
        return 0;
    case OPTION_SYSTEMD:
        options->units = true;
        return 0;
    case ARGP_KEY_END:
        check(state, options);
        return 0;
    case ARGP_KEY_ARG:
        /* The rest is the command's, options included. */
        options->command = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void say(const char *text)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "mpcformer: %s\n", text);
}

/* --- the model --- */

static int find_model(const struct options *o, char ret_path[PATH_MAX], struct err *err)
{
    if (o->model) {
        if (!realpath(o->model, ret_path))
            return err_set(err, -errno, "%s: %s", o->model, strerror(errno));
        return 0;
    }
    if (tool_beside("../../models/" DEFAULT_MODEL, ret_path) < 0 &&
        !realpath(MPCFORMER_MODELS "/" DEFAULT_MODEL, ret_path))
        return err_set(err, -ENOENT, "%s: %s: say --model DIR", MPCFORMER_MODELS "/" DEFAULT_MODEL,
                       strerror(errno));
    return 0;
}

struct sharing {
    const struct options *options;
    const char *model, *out;
};

/* In a process of its own, so that the weights are gone when it ends. */
static int share(void *context)
{
    const struct sharing *s = context;
    const struct {
        const char *option, *value;
    } given[] = {{"--model", s->model},
                 {"--out", s->out},
                 {"--ring", s->options->ring ? s->options->ring : RING_DEFAULT},
                 {"--frac", s->options->frac},
                 {"--tokens", s->options->tokens},
                 {"--length", s->options->length},
                 {"--batch", s->options->batch}};
    char name[] = "mpcformer share", *argv[2 * ARRAY_LENGTH(given) + 2] = {name};
    int argc = 1, null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    for (size_t i = 0; i < ARRAY_LENGTH(given); i++) {
        if (!given[i].value)
            continue;
        argv[argc++] = (char *)(uintptr_t)given[i].option;
        argv[argc++] = (char *)(uintptr_t)given[i].value;
    }
    /* Standard output belongs to the command. */
    if (null < 0 || dup2(null, STDOUT_FILENO) < 0)
        return EXIT_FAILED;
    return cmd_share(argc, argv);
}

static int is_weights(const struct dirent *entry)
{
    return fnmatch("*.safetensors*", entry->d_name, 0) == 0;
}

/* The owner in a lab may compare: give it the float model too, be it one file or shards. */
static int link_float(const struct lab *lab, const char *model, struct err *err)
{
    char client[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    struct dirent **files = NULL;
    int rc = lab_path(lab, "model/client", client, err);
    int count = rc < 0 ? 0 : scandir(model, &files, is_weights, NULL);

    if (count < 0)
        rc = err_set(err, -errno, "%s: %s", model, strerror(errno));
    for (int i = 0; i < count; i++) {
        const char *name = files[i]->d_name;

        if (rc == 0 && ((rc = file_path(from, sizeof(from), model, name)) < 0 ||
                        (rc = file_path(to, sizeof(to), client, name)) < 0))
            err_set(err, rc, "%s: path too long", model);
        if (rc == 0 && symlink(from, to) < 0 && errno != EEXIST)
            rc = err_set(err, -errno, "%s: %s", to, strerror(errno));
        free(files[i]);
    }
    free(files);
    return rc;
}

/* An exit code. */
static int make_model(struct lab *lab, const struct options *o)
{
    char model[PATH_MAX], out[PATH_MAX];
    struct sharing s = {.options = o, .model = model, .out = out};
    struct err err = {""};
    int code, rc = find_model(o, model, &err);

    if (rc == 0)
        rc = lab_path(lab, "model", out, &err);
    if (rc < 0)
        return tool_fail(&err, rc);
    say("sharing the model");
    code = lab_run(lab, share, &s);
    if (code != EXIT_OK)
        return code;
    rc = link_float(lab, model, &err);
    return rc < 0 ? tool_fail(&err, rc) : EXIT_OK;
}

/* --- the command --- */

static int add_to_path(void)
{
    const char *before = getenv("PATH");
    char folder[PATH_MAX], *path = NULL;
    int rc = tool_beside(".", folder);

    if (rc < 0)
        return rc;
    if (asprintf(&path, "%s%s%s", folder, before ? ":" : "", before ? before : "") < 0)
        return -ENOMEM;
    rc = setenv("PATH", path, 1) < 0 ? -errno : 0;
    free(path);
    return rc;
}

static int run_command(void *context)
{
    char **command = context;
    int rc = add_to_path();

    if (rc == 0)
        execvp(command[0], command);
    fprintf(stderr, "mpcformer: %s: %s\n", command[0], strerror(rc < 0 ? -rc : errno));
    return 127;
}

static void explain(const struct lab *lab)
{
    printf("party0, party1 and the dealer are up in %s. In another shell:\n\n"
           "    export " TOOL_CONFIG_VARIABLE "=%s/owner.conf\n"
           "    export " TOOL_SOCKET_VARIABLE "=%s/party0.control\n"
           "    mpcformer infer \"a film to remember\"\n"
           "    mpcformer status\n\n"
           "An interrupt ends them.\n",
           lab_folder(lab), lab_folder(lab), lab_folder(lab));
    fflush(stdout);
}

static int run_lab(struct lab *lab, const struct options *o)
{
    const struct lab_options options = {.workers = o->workers, .link = o->link, .shape = o->shape};
    struct err err = {""};
    int code = EXIT_OK, rc;

    if (!lab_has_model(lab))
        code = make_model(lab, o);
    if (code != EXIT_OK)
        return code;
    say("starting party0, party1 and the dealer");
    rc = lab_start(lab, &options, &err);
    if (rc < 0)
        return tool_fail(&err, rc);
    if (!o->command) {
        explain(lab);
        return lab_run(lab, NULL, NULL);
    }
    return lab_run(lab, run_command, o->command);
}

static const char doc[] =
    "Start party0, party1 and the dealer on this machine, share a model between them, and run CMD "
    "with the environment set so that `mpcformer` commands in it find them. Without CMD they stay "
    "until interrupted.\v"
    "CMD finds its owner's configuration in $" TOOL_CONFIG_VARIABLE
    ", the control socket of party0 "
    "in $" TOOL_SOCKET_VARIABLE ", the folder with everything in $" LAB_FOLDER_VARIABLE
    ", and `mpcformer` in its PATH. No privilege is needed. A lab is for trying and measuring: "
    "with "
    "one administrator for all three it keeps nothing secret.\n\n"
    "With --systemd the three have the sandbox, the slice with its CPUs, the credentials and the "
    "watchdog of the installed units, and are started again when they end; their logs are in the "
    "journal. All of it is removed when CMD has ended, however it or the lab ends.\n\n"
    "Exit status: CMD's own (128 and the signal when one ended it); 2 the command line is wrong; 3 "
    "the lab could not be started.";

int cmd_lab(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option, "[-- CMD...]", doc};
    struct options options = {.workers = 1};
    struct lab *lab = NULL;
    struct err err = {""};
    int code, rc;

    if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = options.units ? lab_new_units(&lab, &err) : lab_new(options.state, &lab, &err);
    if (rc < 0)
        return tool_fail(&err, rc);
    if (lab_has_model(lab) && (options.model || options.ring || options.frac || options.tokens ||
                               options.length || options.batch)) {
        fprintf(stderr,
                "mpcformer: %s holds a lab with a model: leave --model, --ring, --frac, "
                "--tokens and --batch away, or choose another folder\n",
                lab_folder(lab));
        code = EXIT_USAGE;
    } else {
        code = run_lab(lab, &options);
    }
    lab_free(lab);
    return code;
}
