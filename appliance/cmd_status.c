/* mpcformer status and reload: a command of an appliance that takes nothing but its socket. */
#include "appliance/cmd.h"
#include "appliance/exit.h"
#include "appliance/tool.h"

#include <argp.h>
#include <stdbool.h>

struct options {
    const char *socket;
    bool json;
};

static const struct argp_option option_table[] = {
    TOOL_OPTION_SOCKET,
    TOOL_OPTION_JSON,
    {0},
};

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
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int ask(int argc, char **argv, const char *command, const char *help)
{
    const struct argp argp = {option_table, take_option, NULL, help};
    struct options options = {.socket = NULL};
    struct err err = {""};
    json_t *reply = NULL;
    int rc;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options) != 0)
        return EXIT_USAGE;
    rc = tool_ask(options.socket, command, NULL, &reply, &err);
    if (rc < 0)
        return tool_fail(&err, rc);
    if (options.json) {
        tool_print_json(stdout, reply);
    } else {
        json_object_del(reply, "online_histogram");
        json_object_del(reply, "queue_histogram");
        json_object_del(reply, "offline_histogram");
        json_object_del(json_object_get(reply, "link"), "round_histogram");
        tool_print_people(stdout, reply);
    }
    json_decref(reply);
    return EXIT_OK;
}

int cmd_status(int argc, char **argv)
{
    return ask(argc, argv, "status", "Say what an appliance is doing.");
}

int cmd_reload(int argc, char **argv)
{
    return ask(argc, argv, "reload",
               "Have an appliance read its pins, certificate, key and authority again. Sessions of "
               "owners whose pin is gone end; anything else in its configuration takes a restart.");
}
