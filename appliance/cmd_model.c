/*
 * mpcformer model: the models of an appliance, through its control socket.
 *
 *     "model list"                        -> "models": [{"model": ID, "state": STATE, ...}]
 *     "model load" plan, [share]          -> "model": ID; the work goes on behind
 *     "model unload" model                -> nothing more
 *
 * Paths are sent absolute, since the appliance has a working folder of its own; it reads the files
 * itself, with its own rights. STATE is "ready" or "failed" (then "error" says why) in the end, and
 * anything else on the way there.
 */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/tool.h"

#include <argp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between two looks at a model that is being loaded. */
#define WAIT_STEP_MS 200

struct options {
    const char *socket, *plan, *share;
    bool json, wait;
    const char *verb, *model;
};

static const struct argp_option option_table[] = {
    TOOL_OPTION_SOCKET,
    TOOL_OPTION_JSON,
    {"plan", 'p', "FILE", 0, "load: the plan, as `mpcformer share` wrote it", 0},
    {"share", 'w', "FILE", 0, "load: this party's share of the weights (a dealer has none)", 0},
    {"wait", 'W', NULL, 0, "load: return when the model is ready", 0},
    {0},
};

static error_t check(struct argp_state *state, const struct options *o)
{
    bool load, unload;

    if (!o->verb)
        argp_error(state, "say load, unload or list");
    load = strcmp(o->verb, "load") == 0;
    unload = strcmp(o->verb, "unload") == 0;
    if (!load && !unload && strcmp(o->verb, "list") != 0)
        argp_error(state, "\"%s\" is not load, unload or list", o->verb);
    if (load && !o->plan)
        argp_error(state, "load needs --plan FILE");
    if (!load && (o->plan || o->share || o->wait))
        argp_error(state, "--plan, --share and --wait are for load only");
    if (unload != (o->model != NULL))
        argp_error(state, unload ? "unload needs the model's id; list shows it"
                                 : "only unload takes a model's id");
    return 0;
}

static error_t take_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 's':
        options->socket = argument;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'p':
        options->plan = argument;
        return 0;
    case 'w':
        options->share = argument;
        return 0;
    case 'W':
        options->wait = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            return ARGP_ERR_UNKNOWN;
        *(state->arg_num ? &options->model : &options->verb) = argument;
        return 0;
    case ARGP_KEY_END:
        return check(state, options);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int add_path(json_t *arguments, const char *name, const char *path, struct err *err)
{
    char *absolute;
    int rc;

    if (!path)
        return 0;
    absolute = realpath(path, NULL);
    if (!absolute)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    rc = json_object_set_new(arguments, name, json_string(absolute)) < 0 ? -EINVAL : 0;
    if (rc < 0)
        err_set(err, rc, "%s: the path is not UTF-8, so it cannot be sent: rename it", absolute);
    free(absolute);
    return rc;
}

static int wait_ready(const char *socket, const char *model, struct err *err)
{
    int rc;

    if (!model)
        return err_set(err, -EPROTO, "the appliance did not say which model to wait for");
    while ((rc = tool_model_ready(socket, model, err)) == 0)
        usleep(WAIT_STEP_MS * 1000);
    return rc < 0 ? rc : 0;
}

static int ask(const struct options *o, json_t **ret_reply, struct err *err)
{
    json_t *arguments = json_object();
    char command[32];
    int rc;

    if (!arguments || (o->model && json_object_set_new(arguments, "model", json_string(o->model))))
        rc = err_set(err, -EINVAL, "the model's id is not UTF-8, or there is no memory");
    else if ((rc = add_path(arguments, "plan", o->plan, err)) == 0)
        rc = add_path(arguments, "share", o->share, err);
    if (rc < 0) {
        json_decref(arguments);
        return rc;
    }
    snprintf(command, sizeof(command), "model %s", o->verb);
    return tool_ask(o->socket, command, arguments, ret_reply, err);
}

int cmd_model(int argc, char **argv)
{
    static const struct argp argp = {option_table, take_option,
                                     "load --plan FILE [--share FILE] [--wait]\nunload ID\nlist",
                                     "The models of an appliance."};
    struct options options = {.socket = NULL};
    struct err err = {""};
    json_t *reply = NULL;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = ask(&options, &reply, &err);
    if (rc == 0 && options.wait)
        rc = wait_ready(options.socket, json_string_value(json_object_get(reply, "model")), &err);
    if (rc < 0) {
        json_decref(reply);
        return tool_fail(&err, rc);
    }
    if (options.json)
        tool_print_json(stdout, reply);
    else
        tool_print_people(stdout, reply);
    json_decref(reply);
    return EXIT_OK;
}
