/*
 * mpcformer host: this host beside what firmware-config/ says it must be.
 *
 *     check     compares, and prints what is wrong, what that costs and the fix
 *     apply     writes drop-ins for what does not pass, after it has shown them
 *     revert    removes what apply wrote
 *
 * --json of check: "profiles", "pass", "warn", "fail", "unknown" (of the warnings), "entries".
 */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/host_report.h"
#include "appliance/tool.h"
#include "firmware-config/drop_in.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who leaves more out wants a profile of his own. */
#define WITHOUT_MAX 32

struct options {
    const char *verb, *root, *folder, *cpus;
    const char *profile[PROFILE_FILES_MAX], *without[WITHOUT_MAX];
    size_t profile_count, without_count;
    bool json, dry_run, yes;
};

enum { OPTION_YES = 256, OPTION_CPUS, OPTION_FOLDER };

static const struct argp_option option_table[] = {
    {"profile", 'p', "NAME", 0,
     "Compare with this profile; may be given several times (default: generic, and what the CPU "
     "and the network devices call for)",
     0},
    {"without", 'x', "ID", 0, "Leave this entry out; may be given several times", 0},
    {"root", 'r', "TREE", 0, "A folder with the host's proc, sys and etc (default: this host)", 0},
    {"folder", OPTION_FOLDER, "DIR", 0, "Where the profiles are", 0},
    TOOL_OPTION_JSON_OF("check: print one JSON object on one line"),
    {"cpus", OPTION_CPUS, "LIST", 0, "apply: CPUs that are the appliance's alone, such as 2-7", 0},
    {"dry-run", 'n', NULL, 0, "apply: show what would be written, and write nothing", 0},
    {"yes", OPTION_YES, NULL, 0, "apply: write without asking", 0},
    {0},
};

static error_t check_options(struct argp_state *state, const struct options *o)
{
    bool check, apply;

    if (!o->verb)
        argp_error(state, "say check, apply or revert");
    check = strcmp(o->verb, "check") == 0;
    apply = strcmp(o->verb, "apply") == 0;
    if (!check && !apply && strcmp(o->verb, "revert") != 0)
        argp_error(state, "\"%s\" is not check, apply or revert", o->verb);
    if (o->json && !check)
        argp_error(state, "--json is for check only");
    if ((o->cpus || o->dry_run || o->yes) && !apply)
        argp_error(state, "--cpus, --dry-run and --yes are for apply only");
    if (!check && !apply && (o->profile_count || o->without_count || o->folder))
        argp_error(state, "revert undoes all that was applied: leave --profile, --without and "
                          "--folder out");
    return 0;
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'p':
        if (o->profile_count == PROFILE_FILES_MAX)
            argp_error(state, "at most %d profiles", PROFILE_FILES_MAX);
        o->profile[o->profile_count++] = argument;
        return 0;
    case 'x':
        if (o->without_count == WITHOUT_MAX)
            argp_error(state, "at most %d entries are left out: write a profile", WITHOUT_MAX);
        o->without[o->without_count++] = argument;
        return 0;
    case 'r':
        o->root = strcmp(argument, "/") == 0 ? "" : argument;
        return 0;
    case OPTION_FOLDER:
        o->folder = argument;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case OPTION_CPUS:
        o->cpus = argument;
        return 0;
    case 'n':
        o->dry_run = true;
        return 0;
    case OPTION_YES:
        o->yes = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            return ARGP_ERR_UNKNOWN;
        o->verb = argument;
        return 0;
    case ARGP_KEY_END:
        return check_options(state, o);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- the host and its profiles --- */

static int find_folder(const struct options *o, char ret[PATH_MAX], struct err *err)
{
    if (o->folder)
        return snprintf(ret, PATH_MAX, "%s", o->folder) < PATH_MAX
                   ? 0
                   : err_set(err, -ENAMETOOLONG, "%s: path too long", o->folder);
    if (tool_beside("../../firmware-config/profiles", ret) == 0 ||
        realpath(MPCFORMER_PROFILES, ret))
        return 0;
    return err_set(err, -ENOENT, "%s: %s: say --folder DIR", MPCFORMER_PROFILES, strerror(errno));
}

static int load(const struct options *o, struct profile **ret, struct err *err)
{
    char folder[PATH_MAX];
    int rc = find_folder(o, folder, err);

    if (rc == 0 && access(*o->root ? o->root : "/", X_OK) < 0)
        rc = err_set(err, -errno, "%s: %s", o->root, strerror(errno));
    if (rc < 0)
        return rc;
    rc = o->profile_count ? profile_load(folder, o->profile, o->profile_count, ret, err)
                          : check_matching(folder, o->root, ret, err);
    for (size_t i = 0; rc == 0 && i < o->without_count; i++)
        rc = profile_leave_out(*ret, o->without[i], err);
    return rc;
}

/* --- check --- */

static int print_check(const struct options *o, const struct profile *p, const struct check *c)
{
    json_t *report = host_report(p, c);

    if (!report)
        return -ENOMEM;
    if (o->json)
        tool_print_json(stdout, report);
    else
        host_report_print(stdout, report);
    json_decref(report);
    return 0;
}

/* --- apply --- */

static bool agreed(const struct options *o)
{
    char answer[8] = "";

    if (o->yes)
        return true;
    printf("\nWrite this? [y/N] ");
    fflush(stdout);
    return fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y');
}

static size_t count_changes(const struct drop_ins *d)
{
    size_t count = 0;

    for (size_t i = 0; i < SETTING_KINDS; i++)
        count += drop_in_changes(&d->file[i]);
    return count;
}

static int apply(const struct options *o, const struct check *c, struct err *err)
{
    struct drop_ins plan;
    size_t changes;
    int rc = drop_ins_plan(c, o->root, o->cpus, &plan, err);

    if (rc < 0)
        return rc;
    changes = count_changes(&plan);
    rc = host_report_changes(stdout, &plan, err);
    if (rc == 0)
        host_report_rest(stdout, &plan, c);
    if (rc == 0)
        rc = drop_ins_check(&plan, err);
    if (rc == 0 && changes && !o->dry_run) {
        if (!o->yes && !isatty(STDIN_FILENO))
            rc = err_set(err, -EINVAL, "nobody is there to be asked: say --yes, or --dry-run");
        else if (!agreed(o))
            rc = err_set(err, -ECANCELED, "nothing was written");
        else
            rc = drop_ins_write(&plan, err);
    }
    if (rc == 0 && changes && !o->dry_run)
        host_report_effects(stdout, &plan);
    drop_ins_free(&plan);
    return rc;
}

static int check_or_apply(const struct options *o, struct err *err, int *ret_code)
{
    struct profile *p = NULL;
    struct check c = {NULL};
    int rc = load(o, &p, err);

    if (rc == 0)
        rc = check_run(p, o->root, &c, err);
    if (rc == 0 && strcmp(o->verb, "check") == 0) {
        rc = print_check(o, p, &c);
        *ret_code = c.results[CHECK_FAIL] ? EXIT_NEGATIVE : EXIT_OK;
    } else if (rc == 0) {
        rc = apply(o, &c, err);
        if (rc == -ECANCELED)
            *ret_code = EXIT_NEGATIVE;
    }
    check_free(&c);
    profile_free(p);
    return rc;
}

/* --- revert --- */

static void print_reverted(void *context, const char *path, bool removed)
{
    const char *undo = "";

    (void)context;
    for (size_t i = 0; i < SETTING_KINDS; i++)
        if (strcmp(setting_file((enum setting_kind)i)->path, path) == 0)
            undo = setting_file((enum setting_kind)i)->undo;
    if (removed)
        printf("removed %s; it counts after: %s\n", path, undo);
    else
        printf("left, since it was changed: %s\n", path);
}

int cmd_host(int argc, char **argv)
{
    static const struct argp argp = {
        option_table, take_option,
        "check [--profile NAME]... [--json]\napply [--cpus LIST] [--dry-run | "
        "--yes]\nrevert",
        "What this host must be set to: BIOS, kernel command line, huge pages, interrupts, network "
        "devices. check only reads, and needs no privilege; what this user cannot read is unknown, "
        "and a warning. apply and revert are root's."};
    struct options o = {.root = ""};
    struct err err = {""};
    int rc, code = EXIT_OK;

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return EXIT_USAGE;
    if (strcmp(o.verb, "revert") == 0) {
        rc = drop_ins_revert(o.root, print_reverted, NULL, &err);
    } else {
        rc = check_or_apply(&o, &err, &code);
    }
    if (rc < 0 && code == EXIT_OK)
        return tool_fail(&err, rc);
    if (rc < 0)
        tool_fail(&err, rc);
    return code;
}
