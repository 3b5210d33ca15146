/* mpcformer dealer: the masks that a dealer keeps, in its state folder. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/mask_backup.h"
#include "appliance/tool.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *verb, *state, *store_key, *backup_key, *file, *model;
    bool json, all;
};

enum { OPTION_ALL = 256 };

static const struct argp_option option_table[] = {
    {"state", 's', "DIR", 0, "The dealer's state folder, `state` in its configuration", 0},
    {"store-key", 'k', "FILE", 0, "The key that its masks are sealed with, if it has a `store_key`",
     0},
    {"backup-key", 'b', "FILE", 0,
     "backup, restore: the key that seals the backup (mpcformer keygen store)", 0},
    {"file", 'f', "FILE", 0, "backup, restore: the backup", 0},
    {"all", OPTION_ALL, NULL, 0, "destroy: the mask of every model", 0},
    TOOL_OPTION_JSON,
    {0},
};

static const char *const verbs[] = {"list", "backup", "restore", "destroy"};
enum { LIST, BACKUP, RESTORE, DESTROY, VERBS };

static unsigned int verb_of(const struct options *o)
{
    unsigned int i = 0;

    while (i < VERBS && (!o->verb || strcmp(o->verb, verbs[i]) != 0))
        i++;
    return i;
}

static void check(struct argp_state *state, const struct options *o)
{
    unsigned int verb = verb_of(o);
    bool file = verb == BACKUP || verb == RESTORE;

    if (verb == VERBS)
        argp_error(state, "say list, backup, restore or destroy");
    if (!o->state)
        argp_error(state, "%s needs --state DIR", o->verb);
    if (file != (o->backup_key && o->file) || file != (o->backup_key || o->file))
        argp_error(state,
                   file ? "%s needs --backup-key FILE and --file FILE"
                        : "--backup-key and --file are not for %s",
                   o->verb);
    if (verb == DESTROY ? o->all == (o->model != NULL) : o->all || o->model)
        argp_error(state,
                   verb == DESTROY ? "%s takes one model's id, or --all"
                                   : "%s takes no model and no --all",
                   o->verb);
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 's':
        options->state = argument;
        return 0;
    case 'k':
        options->store_key = argument;
        return 0;
    case 'b':
        options->backup_key = argument;
        return 0;
    case 'f':
        options->file = argument;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case OPTION_ALL:
        options->all = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            return ARGP_ERR_UNKNOWN;
        *(state->arg_num ? &options->model : &options->verb) = argument;
        return 0;
    case ARGP_KEY_END:
        check(state, options);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void report(void *context, const char *id, const char *name, const char *what)
{
    json_array_append_new(context,
                          json_pack("{s:s, s:s, s:s}", "model", id, "name", name, "mask", what));
}

static int load_key(const char *path, struct sealed_key **ret_key, struct err *err)
{
    return path ? sealed_key_load(path, ret_key, err) : 0;
}

static int run(const struct options *o, json_t *models, struct err *err)
{
    struct sealed_key *key = NULL, *backup_key = NULL;
    int rc = load_key(o->store_key, &key, err);

    if (rc == 0)
        rc = load_key(o->backup_key, &backup_key, err);
    if (rc == 0)
        switch (verb_of(o)) {
        case LIST:
            rc = mask_list(o->state, key, report, models, err);
            break;
        case BACKUP:
            rc = mask_backup(o->state, key, o->file, backup_key, report, models, err);
            break;
        case RESTORE:
            rc = mask_restore(o->state, key, o->file, backup_key, report, models, err);
            break;
        default:
            rc = mask_destroy(o->state, o->model, report, models, err);
        }
    sealed_key_free(key);
    sealed_key_free(backup_key);
    return rc;
}

static const char doc[] =
    "The seeds of models' masks, a dealer's only lasting secret.\v"
    "With either party's opened model they give its weights away; without them no tape of the "
    "model "
    "can be dealt any more. backup may run beside the dealer; restore and destroy take it stopped. "
    "A backup is opened with its own key only: keep the two apart. Where a mask was destroyed its "
    "model must be shared again, which takes a new id; destroy its backups too.";

int cmd_dealer(int argc, char **argv)
{
    static const struct argp argp = {
        option_table, take_option,
        "list --state DIR [--store-key FILE]\n"
        "backup --state DIR [--store-key FILE] --backup-key FILE --file FILE\n"
        "restore --state DIR [--store-key FILE] --backup-key FILE --file FILE\n"
        "destroy --state DIR {ID | --all}",
        doc};
    struct options options = {.verb = NULL};
    json_t *models = json_array(), *reply;
    struct err err = {""};
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = run(&options, models, &err);
    reply = json_pack("{s:o}", "models", models);
    /* Also what was done before it failed. */
    if (rc == 0 || json_array_size(models)) {
        if (options.json)
            tool_print_json(stdout, reply);
        else
            tool_print_people(stdout, reply);
    }
    json_decref(reply);
    if (rc < 0)
        return tool_fail(&err, rc);
    if (verb_of(&options) == DESTROY)
        fprintf(stderr, "Share these models again; unload them at both parties; destroy backups "
                        "that hold their masks.\n");
    return EXIT_OK;
}
